"""Covering number of the class (HL24, Lemma 2): whole rational networks.

The domain is finite, so that the state bound M of the class is a maximum over finitely many rational states: two
members of the class are compared with `Lambda |theta - theta'|` in rational arithmetic.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial

import numpy as np
from flint import arb, fmpq
from hypothesis import strategies as st

from construct.theory import class_log_lipschitz, log_covering_number, step_constants
from proofs_as_code.framework import Hypothesis, Statement, Twin, Verdict, verdict
from proofs_as_code.statements.theory.covering_steps import (
    Rational,
    clip,
    constant,
    feed_forward,
    head,
    largest,
    rational,
)

POINTS = 3
SAMPLES = 8


@dataclass(frozen=True)
class Class:
    """Sizes of a class, kappa, the distance eta of two members, and how they are drawn."""

    blocks: int
    heads: int
    tokens: int
    width: int
    depth: int
    kappa: Fraction
    eta: Fraction
    aligned: bool
    seed: int

    def shapes(self) -> list[tuple[int, ...]]:
        """Of the initial state, then per block of Q, K, V of every head and W, b of every layer."""
        w = self.width
        block = [(w, w)] * (3 * self.heads) + [(w, w), (w,)] * self.depth
        return [(self.tokens, w), *(block * self.blocks)]

    def members(self) -> tuple[list[Rational], list[Rational]]:
        """Parameters of two members at most eta apart; aligned: all kappa, and all kappa - eta."""
        rng = np.random.default_rng(self.seed)
        if self.aligned:
            return tuple([constant(s, k) for s in self.shapes()] for k in (self.kappa, self.kappa - self.eta))  # type: ignore[return-value]
        first = [rational(rng, shape, self.kappa) for shape in self.shapes()]
        moved = [clip(p + rational(rng, p.shape, self.eta), self.kappa) for p in first]
        return first, moved

    def run(self, parameters: list[Rational], x: Fraction) -> tuple[Fraction, Fraction]:
        """Output (last entry) and the largest entry of any H or Z at input x, which is added to entry (0, 0)."""
        left = iter(parameters)
        hidden = next(left).copy()
        hidden[0, 0] += x
        size = largest(hidden)
        for _ in range(self.blocks):
            z = hidden
            for _ in range(self.heads):
                z = z + head((next(left), next(left), next(left)), hidden)
            size = max(size, largest(z))
            layers = [(next(left), next(left)) for _ in range(self.depth)]
            hidden = z + feed_forward(layers, z) if layers else z
            size = max(size, largest(hidden))
        return hidden[-1, -1], size

    def compare(self) -> tuple[Fraction, Fraction, Fraction, Fraction]:
        """Largest difference over the domain, M of both on it, M of the embedding alone, and |theta - theta'|."""
        first, moved = self.members()
        domain = [Fraction(k, POINTS) for k in range(1 if self.aligned else POINTS)]
        outputs = [(self.run(first, x), self.run(moved, x)) for x in domain]
        difference = max(abs(a[0] - b[0]) for a, b in outputs)
        bound = max(Fraction(1), *(max(a[1], b[1]) for a, b in outputs))
        start = max(Fraction(1), self.kappa + domain[-1])
        eta = max(largest(p - q) for p, q in zip(first, moved, strict=True))
        return difference, bound, start, eta

    def recursion(self, bound: Fraction, blocks: int | None = None, drive: int = 1) -> Fraction:
        """`delta_L` of `delta_i = A delta_(i-1) + drive B`, `delta_0 = 1`, step by step."""
        c = step_constants(self.heads, self.tokens, self.width, self.depth, self.kappa, bound)
        change = Fraction(1)
        for _ in range(self.blocks if blocks is None else blocks):
            change = c.growth * change + drive * c.drive
        return change

    def log_lipschitz(self, bound: Fraction) -> float:
        sizes = (self.blocks, self.heads, self.tokens, self.width, self.depth)
        return class_log_lipschitz(*sizes, float(self.kappa), float(bound))


def classes(*, aligned: bool | None = None) -> st.SearchStrategy[Class]:
    return st.builds(
        Class,
        blocks=st.integers(1, 2),
        heads=st.integers(1, 2),
        tokens=st.integers(1, 3),
        width=st.integers(1, 3),
        depth=st.integers(0, 3) if not aligned else st.integers(1, 3),
        kappa=st.integers(4, 8).map(lambda k: Fraction(k, 4)),
        eta=st.integers(1, 8).map(lambda k: Fraction(k, 10**6)),
        aligned=st.booleans() if aligned is None else st.just(aligned),
        seed=st.integers(0, 2**32 - 1),
    )


ANY = {"member": Hypothesis("two rational members of a class, |theta - theta'| <= eta, on a finite domain", classes())}
ALIGNED = {"member": Hypothesis("all parameters kappa, and all kappa - eta", classes(aligned=True))}


def _witness(member: Class) -> dict[str, object]:
    return {k: (str(v) if isinstance(v, Fraction) else v) for k, v in vars(member).items()}


def check_class(member: Class, embedding_only: bool = False) -> Verdict:
    """|T - T'| <= Lambda eta, Lambda by the recursion. embedding_only: M bounds the embedding but not the later
    states.
    """
    difference, bound, start, eta = member.compare()
    claimed = member.recursion(start if embedding_only else bound) * eta
    return verdict(claimed, difference, kind="exact", points=POINTS, dtype="rational", worst_point=_witness(member))


def check_closed_form(member: Class, blocks: int = 0, drive: int = 1) -> Verdict:
    """`class_log_lipschitz` encloses the log of the recursion to 1e-10, both sides by balls; blocks: one too few."""
    bound = member.compare()[1]
    value = member.recursion(bound, member.blocks + blocks, drive)
    gap = abs(arb(fmpq(value.numerator, value.denominator)).log() - arb(member.log_lipschitz(bound)))
    witness = _witness(member) | {"log_lambda": member.log_lipschitz(bound)}
    return Verdict(1e-10, float(gap.upper()), "rigorous", 1, "arb", witness, bool(gap <= arb(1e-10)))


def check_cover(member: Class, log_lipschitz: float | None = None) -> Verdict:
    """Two members in one cube of side `2 kappa / K` are within delta: K^P cubes cover the class.

    The class has twice the M of the members that were drawn, so that those in one cube belong to it too.
    """
    delta = Fraction(1, 100)
    bound = 2 * member.compare()[1]
    log_lambda = member.log_lipschitz(bound) if log_lipschitz is None else log_lipschitz
    per_axis = log_covering_number(float(delta), 1, float(member.kappa), log_lambda)
    side = 2 * member.kappa / round(math.exp(per_axis))
    same_cube = replace(member, eta=min(side, member.kappa))
    difference, moved_bound, _, _ = same_cube.compare()
    assert log_lipschitz is not None or moved_bound <= bound
    parameters = sum(math.prod(shape) for shape in member.shapes())
    witness = _witness(same_cube) | {"parameters": parameters, "log_cover": parameters * per_axis}
    return verdict(delta, difference, kind="exact", points=POINTS, dtype="rational", worst_point=witness)


CLASSES: tuple[Statement, ...] = (
    Statement(
        name="covering.class",
        source="HL24 Lemma 2; constants ours",
        claim="|T_theta - T_theta'| <= Lambda |theta - theta'| for two members: delta_i = A delta_(i-1) + B eta,"
        " delta_0 = eta",
        latex=r"\|T_\theta-T_{\theta'}\|_\infty\le\Lambda|\theta-\theta'|_\infty,\quad"
        r"\Lambda=A^L+B\tfrac{A^L-1}{A-1}",
        hypotheses=ANY,
        check=check_class,
        twins=(
            Twin(
                "embedding_only",
                "M bounds every state: here it bounds the embedding only",
                partial(check_class, embedding_only=True),
                ALIGNED,
            ),
        ),
    ),
    Statement(
        name="covering.closed_form",
        source="HL24 Lemma 2; constants ours",
        claim="log Lambda = log(A^L + B (A^L - 1)/(A - 1)) is the log of the recursion, to 1e-10",
        latex=r"\delta_i=A\delta_{i-1}+B,\ \delta_0=1\ \Rightarrow\ \delta_L=A^L+B\tfrac{A^L-1}{A-1}",
        hypotheses=ANY,
        check=check_closed_form,
        twins=(
            Twin("one_block_less", "L blocks: the recursion has one less", partial(check_closed_form, blocks=-1)),
            Twin(
                "no_drive",
                "B: the recursion forgets that each block's own weights move",
                partial(check_closed_form, drive=0),
            ),
        ),
    ),
    Statement(
        name="covering.cubes",
        source="HL24 Lemma 2; constants ours",
        claim="two members in a cube of side 2 kappa / ceil(2 kappa Lambda / delta) differ by at most delta",
        latex=r"\log\mathcal N(\delta)\le P\log\lceil 2\kappa\Lambda/\delta\rceil",
        hypotheses=ANY,
        check=check_cover,
        twins=(
            Twin(
                "no_lipschitz_constant", "Lambda: cubes of side delta", partial(check_cover, log_lipschitz=0.0), ALIGNED
            ),
        ),
    ),
)

"""Ridge programs: the compiled network is its formula on all of R^D, and its sizes are formulas.

Formula. `T(x) = c_0 + sum_t c_t (1 + T_p(clip(delta + <alpha_t, v y(x)>, -1, 1)))`. Block 1 has no gate: only inputs
hold a != 0, so that direction t receives `sum_s relu(+-A_i(t) v_i) (x_s - c_s) = <alpha_t, v y>` (inputs carry unit
vectors); after its FFN `|a| <= 1` whatever x is, so that the maps act as `maps` says, and the read-out sums `relu(a_s
+ 1) b_s = (1 + a_s) b_s`. `out` holds `a = delta` and hears itself: `b (1 + 1 + delta) = c_0`. No step depends on M
or on a box.

Sizes, with C stored coefficients (c_0 among them where it is not 0), k coordinates, Z centres that are not 0, s = 2
where a direction has a negative entry and 1 otherwise, `p = 3^m3 2^m2`, D inputs and n tokens of directions:

    non-zeros   C + Z + 7 + s (2k + 1) + (2k + 8) m3 + (2k + 9) m2 + 4      (+ 2 where the read-out is gated)
    blocks      2 + m3 + m2           heads   s + m3 + m2 + 1, at most s in a block
    width       k + 4                 tokens  D + 1 + n

Seven numbers are the clip's; a form `sum_i A_i(t) v_i A_i(s)` has 2k and its value 1; the gate of equal vectors has
2k + 4 and the constant of the form, T3's `-a_t a_s` and value 3, T2's `-a_t` and value 4; the read-out 4. Blocks and
heads depend on the degree (and s) alone: not on D, on C, on the directions, nor on epsilon at a fixed degree. Where
all of a lattice are tokens, stored numbers are the non-zeros and at most k more, the unit vectors of the inputs that
are read.

Everything is computed from the compiled weights in rational arithmetic. In float64 1 + delta, delta - 1 and `c_0/(2 +
delta)` are rounded, which moves T by at most `2^-52 (|c_0| + p^2 sum |c_t|)` (|T_p'| <= p^2); for p <= 4, where delta
= 1/4, and c_0 a multiple of 9/4 of few bits nothing is rounded, and network and formula are equal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from flint import fmpq, fmpz_poly
from hypothesis import strategies as st

from construct.arrays import Float
from construct.manifolds import Sphere
from construct.program.compile import Program, Stage
from construct.program.ffn import Ffn
from construct.program.heads import B
from construct.ridge.approximator import RidgeApproximator, RidgeBasis
from construct.ridge.coordinates import Coordinates
from construct.ridge.directions import Lattice, Shape
from construct.ridge.maps import chain
from construct.ridge.program import free_numbers, free_program
from construct.transformer.weights import Weights
from proofs_as_code import rational
from proofs_as_code.framework import Hypothesis, Statement, Twin, Verdict, verdict
from proofs_as_code.rational import ZERO
from proofs_as_code.statements.program.compiled import sizes_of
from proofs_as_code.statements.ridge.maps import clipped

Change = Callable[[Program], Program]


@dataclass(frozen=True)
class Net:
    """A ridge network: D inputs, the chosen ones, degree, order and shape of the lattice, a seed of its numbers."""

    ambient: int
    chosen: tuple[int, ...]
    degree: int
    order: int
    shape: Shape
    picked: bool
    seed: int
    full: bool = field(default=False)

    def approximator(self) -> RidgeApproximator:
        """Dyadic numbers of few bits; some coefficients and centres 0, unless `full`; c_0 a multiple of 9/4."""
        rng = np.random.default_rng(self.seed)
        k, family = len(self.chosen), Lattice(len(self.chosen), self.order, self.shape)
        centre = rng.integers(-4, 5, k) / 8
        coordinates = Coordinates(np.array(self.chosen), centre, np.exp2(rng.integers(-1, 2, k)), 1.0)
        share = family.count if self.full else int(rng.integers(1, family.count + 1))
        numbers = np.sort(rng.permutation(family.count)[:share])
        coefficients = (rng.integers(1, 9, share) if self.full else rng.integers(-4, 5, share)) / 4
        basis = RidgeBasis(
            Sphere(2, ambient=self.ambient), coordinates, self.degree, family, numbers, rng.integers(1, 9, k) / 8
        )
        constant = 2.25 * (1.0 if self.full else float(rng.integers(-2, 3)) / 2)
        return RidgeApproximator(basis, torch.from_numpy(coefficients), constant)

    def program(self) -> Program:
        return free_program(self.approximator(), picked=self.picked)


def evaluated(weights: Weights, x: list[fmpq]) -> fmpq:
    """T(x) from the weights, exactly."""
    state = rational.matrix(weights.hidden0)
    for token, coordinate in enumerate(x):
        state[token, 0] += coordinate
    for heads, ffn in weights.blocks:
        middle = state + rational.attention(heads, state)
        state = middle + rational.feed_forward(ffn, middle)
    return state[weights.readout]


def formula(approximator: RidgeApproximator, x: list[fmpq], directions: Float | None = None) -> fmpq:
    """T(x) by its formula; directions (n, k): of the basis, where they are not to be taken from it."""
    basis, q = approximator.basis, rational.rational
    c, polynomial = basis.coordinates, fmpz_poly.chebyshev_t(basis.degree)
    y = [
        q(float(v)) * q(float(s)) * (x[int(j)] - q(float(m)))
        for j, m, s, v in zip(c.chosen, c.centre, c.scale, basis.scales, strict=True)
    ]
    total = q(float(approximator.constant))
    alphas = basis.directions if directions is None else directions
    for alpha, weight in zip(alphas, approximator.coefficients.tolist(), strict=True):
        form = sum((q(float(a)) * value for a, value in zip(alpha, y, strict=True)), ZERO)
        total += q(weight) * (1 + polynomial(clipped(q(basis.shift) + form)))
    return total


def rounding_of(approximator: RidgeApproximator) -> fmpq:
    """What rounding of the weights may move T by; 0 where delta has few bits."""
    if approximator.degree <= 4:
        return ZERO
    size = rational.rational(float(approximator.coefficients.abs().sum())) * approximator.degree**2
    return (abs(rational.rational(approximator.constant)) + size) / 2**52


def check_formula(net: Net, point: list[fmpq], change: Change | None = None) -> Verdict:
    """The compiled network against the formula at one point; change: of the program."""
    approximator, program = net.approximator(), net.program()
    weights = (change(program) if change else program).compile(approximator.manifold.box.numpy())
    x = point[: net.ambient]
    off = abs(evaluated(weights, x) - formula(approximator, x))
    where = {"p": net.degree, "k": len(net.chosen), "x": [str(v) for v in x], "seed": net.seed}
    return verdict(rounding_of(approximator), off, kind="exact", points=1, dtype="rational", worst_point=where)


# -- twins ------------------------------------------------------------------------------------------------------------


def first_stage(program: Program, **changes: Any) -> Program:
    """The program with another first stage."""
    stage: Stage = replace(program.stages[0], **changes)
    return replace(program, stages=(stage, *program.stages[1:]))


def without_clip(program: Program) -> Program:
    """A clip that ends so far out that it does nothing."""
    ffn = program.stages[0].ffn
    assert ffn is not None
    return first_stage(program, ffn=Ffn("shifted_clip", numbers={**ffn.numbers, "limit": 2.0**20}))


def without_second_head(program: Program) -> Program:
    """Linear forms by their positive entries alone."""
    return first_stage(program, rules=program.stages[0].rules[:1])


def deaf(program: Program) -> Program:
    """c_0 stored as if `out` did not hear itself."""
    shift = program.stages[0].ffn
    assert shift is not None
    registers = dict(program.registers)
    registers["out", B] = np.asarray(registers["out", B]) * (2 + shift.numbers["shift"])
    return replace(program, registers=registers)


# -- counts -----------------------------------------------------------------------------------------------------------


def sizes_by_formula(net: Net, approximator: RidgeApproximator) -> dict[str, int]:
    """The module's formulas, from (k, D, p, C, Z, s, n)."""
    k, basis = len(net.chosen), approximator.basis
    used = basis.numbers[approximator.coefficients.numpy() != 0]
    ridges = basis.family.vectors[used] if net.picked else basis.family.vectors
    stored = len(used) + (approximator.constant != 0)
    centres = int(np.count_nonzero(basis.coordinates.centre))
    s = 2 if (ridges < 0).any() else 1
    m3, m2 = chain(net.degree).count(3), chain(net.degree).count(2)
    numbers = stored + centres + 7 + s * (2 * k + 1) + (2 * k + 8) * m3 + (2 * k + 9) * m2 + 4
    return {
        "blocks": 2 + m3 + m2,
        "heads": s,
        "total_heads": s + m3 + m2 + 1,
        "embedding_dim": k + 4,
        "tokens": net.ambient + 1 + len(ridges),
        "nonzero_parameters": numbers,
    }


def check_counts(net: Net, change: Callable[[Net, dict[str, int]], dict[str, int]] | None = None) -> Verdict:
    """The formulas against the program's counts and those of the weights, entry by entry."""
    approximator, program = net.approximator(), net.program()
    stated = sizes_by_formula(net, approximator)
    if change is not None:
        stated = change(net, stated)
    weights = sizes_of(program.compile(approximator.manifold.box.numpy()))
    counts = vars(program.counts)
    off = {name: max(abs(value - counts[name]), abs(value - weights[name])) for name, value in stated.items()}
    if not net.picked:  # the k choices of inputs besides, at most, which plans count
        stated["stored_numbers"] = stated["nonzero_parameters"] + len(net.chosen)
        planned = abs(free_numbers(approximator) - stated["stored_numbers"])
        off["stored_numbers"] = planned + max(0, counts["stored_numbers"] - stated["stored_numbers"])
    worst = max(off, key=lambda name: off[name])
    where = vars(net) | {"quantity": worst, "stated": stated[worst], "counted": counts[worst]}
    return verdict(0, off[worst], kind="exact", points=2 * len(off), dtype="integers", worst_point=where)


def shortest(net: Net, stated: dict[str, int]) -> dict[str, int]:
    """L = 2 + ceil(log_3 p), as if every chain were one of T3 alone."""
    maps = next(m for m in range(6) if 3**m >= net.degree)
    return stated | {"blocks": 2 + maps}


def by_inputs(net: Net, stated: dict[str, int]) -> dict[str, int]:
    """A head for every input and block."""
    return stated | {"total_heads": stated["total_heads"] + net.ambient - len(net.chosen)}


def one_head(net: Net, stated: dict[str, int]) -> dict[str, int]:
    """Signed forms with one head."""
    return stated | {"nonzero_parameters": stated["nonzero_parameters"] - 2 * len(net.chosen) - 1}


# -- statements -------------------------------------------------------------------------------------------------------


@st.composite
def _nets(draw: st.DrawFn, degrees: tuple[int, ...], most: int = 3, order: int = 3) -> Net:
    ambient = draw(st.integers(3, 6))
    chosen = draw(st.lists(st.integers(0, ambient - 1), min_size=1, max_size=most, unique=True).map(sorted))
    shape: Shape = draw(st.sampled_from(["principal", "octahedron"]))
    largest = order if len(chosen) < 3 else 2
    return Net(
        ambient,
        tuple(chosen),
        draw(st.sampled_from(degrees)),
        draw(st.integers(1, largest)),
        shape,
        draw(st.booleans()),
        draw(st.integers(0, 2**31)),
    )


def one(degree: int = 3, shape: Shape = "principal", ambient: int = 4) -> st.SearchStrategy[Net]:
    """k = 1, all directions of order 2 used, c_0 = 9/4."""
    return st.integers(0, 50).map(lambda seed: Net(ambient, (1,), degree, 2, shape, False, seed, full=True))


NET = Hypothesis(
    "k <= 3 of D <= 6 inputs, p in {1, 2, 3, 4, 6, 9}, either lattice, any numbers", _nets((1, 2, 3, 4, 6, 9))
)
COUNTED = Hypothesis(
    "k <= 3 of D <= 6 inputs, p up to 108, either lattice, any numbers",
    _nets((1, 2, 3, 4, 6, 8, 9, 12, 16, 18, 24, 27, 36, 54, 72, 108)),
)
coordinate = rational.dyadics(2, 6) | rational.dyadics(2**20, 1)
POINT = Hypothesis("any rational point, on M or off it, near or far", st.lists(coordinate, min_size=6, max_size=6))
FAR = Hypothesis("x_2 = 1000, where the forms are beyond 1", st.just([fmpq(1000)] * 6))
NEAR = Hypothesis("x_2 = 1", st.just([fmpq(1)] * 6))

STATEMENTS: tuple[Statement, ...] = (
    Statement(
        name="ridge.network.formula",
        source="ours",
        claim="the compiled network equals c_0 + sum c_t (1 + T_p(clip(delta + <alpha_t, v y>, -1, 1))) for every x "
        "in R^D, exactly for p <= 4, and up to the rounding of delta in the weights beyond",
        latex=r"$T(x)=c_0+\sum_t c_t\,(1+T_p(\mathrm{clip}(\delta+\langle\alpha_t,vy\rangle,-1,1)))$ for every "
        r"$x\in\mathbb{R}^D$.",
        hypotheses={"net": NET, "point": POINT},
        check=check_formula,
        twins=(
            Twin(
                "without the clip",
                "the clip is there: a as it is, far from M",
                lambda net, point: check_formula(net, point, without_clip),
                {"net": Hypothesis("p = 3, all used", one()), "point": FAR},
            ),
            Twin(
                "without the second head",
                "two heads for directions of both signs: one",
                lambda net, point: check_formula(net, point, without_second_head),
                {"net": Hypothesis("p = 3, signed, all used", one(shape="octahedron")), "point": NEAR},
            ),
            Twin(
                "out deaf to itself",
                "b = c_0/(2 + delta): c_0",
                lambda net, point: check_formula(net, point, deaf),
                {"net": Hypothesis("c_0 != 0", one())},
            ),
        ),
        examples=40,
    ),
    Statement(
        name="ridge.network.counts",
        source="ours",
        claim="non-zeros C + Z + 11 + s(2k+1) + (2k+8) m3 + (2k+9) m2, blocks 2 + m3 + m2, heads s + 1 + m3 + m2, "
        "width k + 4: blocks and heads depend on p and s alone, not on D, C or epsilon",
        latex=r"$C+Z+11+s(2k+1)+(2k+8)m_3+(2k+9)m_2$ non-zeros, $2+m_3+m_2$ blocks, $s+1+m_3+m_2$ heads, width $k+4$, "
        r"for $p=3^{m_3}2^{m_2}$.",
        hypotheses={"net": COUNTED},
        check=check_counts,
        twins=(
            Twin(
                "L = 2 + ceil(log_3 p)",
                "blocks are 2 + m3 + m2: 2 + ceil(log_3 p), p with two factors 2 or more",
                lambda net: check_counts(net, shortest),
                {"net": Hypothesis("p in {8, 16, 24}", _nets((8, 16, 24)))},
            ),
            Twin(
                "heads grow with D",
                "heads do not depend on D: one for each input that is not chosen",
                lambda net: check_counts(net, by_inputs),
                {"net": Hypothesis("D > k", one())},
            ),
            Twin(
                "signed forms for one",
                "s = 2 for signed directions: 1",
                lambda net: check_counts(net, one_head),
                {"net": Hypothesis("signed", one(shape="octahedron"))},
            ),
        ),
        examples=40,
    ),
)

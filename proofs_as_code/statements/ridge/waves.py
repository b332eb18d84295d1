"""Layout Z: directions that are waves of a token's position, made exactly, and the network of width 5.

Waves. With T a power of two let `u_0 = t` and `u_j = relu(u_(j-1)) - 2 relu(u_(j-1) - T/2^j)`, tent folds. Then, for
0 <= t <= T, `2^f u_f / T` is the distance of `2^f t / T` to the nearest even integer: u_j goes up with slope 1 from 0
to T/2^j and down again where u_(j-1) goes through [0, T/2^(j-1)], so that each fold halves height and period. All
numbers are dyadic, so the network's are the same. For t <= 0 every fold is 0.

Network. Inputs stand at positions where no wave is, W at 1..T, K at the opposite positions -T..-1, `out` at 0. Read
1: `relu(t_t b_s) a_s`, b = 1 at the first chosen input, and no other token holds an a. Read i: `relu(w_(i-1)(t) g(s))
a_s` with `g(s) = 1 - (s - s_i)^2`, an integer that is 1 at the input and at most 0 elsewhere. Move: `1 - (t + s)^2`
is 1 for opposite positions and at most 0 otherwise. Then W holds `<alpha_t, v y>` and K_-t takes it; signed waves
`alpha = 2 w - 1` subtract `sum_i v_i y_i` from every token. After the clip |a| <= 1 in every token and the maps are
those of `maps`; what is outside K is pushed to at most -1, where the read-out `relu(a_s + 1) b_s` does not hear it.

Sizes, with the symbols of `networks`, T positions, f_1 < .. < f_(k-1) folds and f_0 = 0:

    non-zeros   C + Z + 4 + 5 (k - 1) + sum_i (5 f_i + carried_i) + 8 + 5 h + 7 + 10 m3 + 11 m2 + 3 (6) + 4
    blocks      k + 2 + m3 + m2 (+ 1)    heads   k + 1 + h + m3 + m2 + 1          width   5          tokens   D + 1 + 2T

`carried_i = f_i - f_(i-1)` where that is at least 2 and i >= 2, else 0: the wave that is taken off again waits; h
heads take the common part of signed waves off; 6 where inputs stand below K; one block more where there is no map, as
the silencing then stands alone. Stored numbers are the non-zeros and one more, the position at which inputs begin:
all other entries of the code follow from the number of their token.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from flint import fmpq
from hypothesis import strategies as st

from construct.arrays import Float
from construct.manifolds import Sphere
from construct.program.compile import Program
from construct.program.ffn import Ffn
from construct.program.heads import A
from construct.ridge.approximator import RidgeApproximator, RidgeBasis
from construct.ridge.coordinates import Coordinates
from construct.ridge.maps import chain
from construct.ridge.narrow import narrow_dense, narrow_numbers, narrow_program
from construct.ridge.waves import Waves
from proofs_as_code import rational
from proofs_as_code.framework import Hypothesis, Statement, Twin, Verdict, verdict
from proofs_as_code.rational import ZERO
from proofs_as_code.statements.program.compiled import sizes_of
from proofs_as_code.statements.ridge.networks import POINT, evaluated, formula, rounding_of

Change = Callable[[Program], Program]


def triangle(z: Fraction) -> Fraction:
    """Distance to the nearest even integer."""
    left = z % 2
    return min(left, 2 - left)


@dataclass(frozen=True)
class Narrow:
    """A network of width 5: D inputs, the chosen ones, degree, folds, T, signed or not, a seed of its numbers."""

    ambient: int
    chosen: tuple[int, ...]
    degree: int
    folds: tuple[int, ...]
    length: int
    signed: bool
    seed: int
    full: bool = field(default=False)

    def waves(self) -> Waves:
        return Waves(self.folds, self.length, self.signed)

    def wave(self, i: int, t: int) -> Fraction:
        """w_i(t) in closed form."""
        if t <= 0:
            return Fraction(0)
        return Fraction(t, self.length) if i == 0 else triangle(Fraction(2 ** self.folds[i - 1] * t, self.length))

    def directions(self) -> Float:
        """(T, k), in closed form."""
        waves = [[self.wave(i, t) for i in range(len(self.chosen))] for t in range(1, self.length + 1)]
        return np.array([[float(2 * w - 1 if self.signed else w) for w in row] for row in waves])

    def approximator(self) -> RidgeApproximator:
        """Dyadic numbers of few bits; some coefficients and centres 0, unless `full`."""
        rng = np.random.default_rng(self.seed)
        k, family = len(self.chosen), self.waves()
        coordinates = Coordinates(
            np.array(self.chosen), rng.integers(-4, 5, k) / 8, np.exp2(rng.integers(-1, 2, k)), 1.0
        )
        share = family.count if self.full else int(rng.integers(1, family.count + 1))
        numbers = np.sort(rng.permutation(family.count)[:share])
        coefficients = (rng.integers(1, 9, share) if self.full else rng.integers(-4, 5, share)) / 4
        basis = RidgeBasis(
            Sphere(2, ambient=self.ambient), coordinates, self.degree, family, numbers, rng.integers(1, 9, k) / 8
        )
        return RidgeApproximator(basis, torch.from_numpy(coefficients), 1.0 if self.full else rng.integers(-4, 5) / 8)

    def program(self) -> Program:
        return narrow_program(self.approximator())


def check_waves(net: Narrow, more: int = 0, change: Change | None = None) -> Verdict:
    """Register a of every token that is no input, after each FFN of the reads, against the closed form.

    more: claimed folds beyond those that there are; change: of the program.
    """
    program = net.program()
    program = change(program) if change else program
    layout, claimed = program.layout, replace(net, folds=tuple(f + more for f in net.folds))
    positions = layout.code.entry_values("t").tolist()
    state = rational.matrix(layout.initial_state())
    worst, where, points = ZERO, {"wave": 0}, 0
    for i, stage in enumerate(program.stages[: len(net.folds)], 1):
        if stage.ffn is not None:
            state = state + rational.feed_forward(stage.ffn.weights(layout, 0.0), state)
        for token in range(net.ambient, layout.count):
            wanted = rational.rational(claimed.wave(i, positions[token]))
            off, points = abs(state[token, layout.row(A)] - wanted), points + 1
            if off > worst:
                worst, where = off, {"wave": i, "t": positions[token]}
    stated = abs(net.waves().vectors - net.directions()).max()
    if stated > 0:
        worst, where = max(worst, rational.rational(float(stated))), {"wave": -1}
    return verdict(ZERO, worst, kind="exact", points=points, dtype="rational", worst_point=where | vars(net))


def check_narrow(net: Narrow, point: list[fmpq], change: Change | None = None) -> Verdict:
    """The compiled network against the formula with waves in closed form, at one point; change: of the program."""
    approximator, program = net.approximator(), net.program()
    weights = (change(program) if change else program).compile(approximator.manifold.box.numpy())
    x = point[: net.ambient]
    off = abs(evaluated(weights, x) - formula(approximator, x, net.directions()[approximator.basis.numbers]))
    where = vars(net) | {"x": [str(v) for v in x]}
    return verdict(rounding_of(approximator), off, kind="exact", points=1, dtype="rational", worst_point=where)


def sizes_by_formula(net: Narrow, approximator: RidgeApproximator, program: Program) -> dict[str, int]:
    """The module's formulas."""
    k, basis = len(net.chosen), approximator.basis
    m3, m2 = chain(net.degree).count(3), chain(net.degree).count(2)
    stored = int(approximator.coefficients.count_nonzero()) + (approximator.constant != 0)
    centres = int(np.count_nonzero(basis.coordinates.centre))
    common = common_heads(net, basis) if net.signed else 0
    steps = list(zip(net.folds, (0, *net.folds), strict=False))
    waves = sum(5 * f + (f - held if held and f - held >= 2 else 0) for f, held in steps)
    below = min(program.layout.code.entry_values("t")[: net.ambient]) < 0
    maps = 10 * m3 + 11 * m2
    return {
        "blocks": k + 2 + m3 + m2 + (net.degree == 1),
        "total_heads": k + 1 + common + m3 + m2 + 1,
        "embedding_dim": 5,
        "tokens": net.ambient + 1 + 2 * net.length,
        "nonzero_parameters": (
            numbers := stored + centres + 4 + 5 * (k - 1) + waves + 8 + 5 * common + 7 + maps + 3 + 3 * below + 4
        ),
        "stored_numbers": numbers + 1,
    }


def common_heads(net: Narrow, basis: RidgeBasis) -> int:
    """Heads for the common part: one for each chosen input, or for two neighbours with equal v."""
    scales = (basis.scales * basis.coordinates.scale).tolist()
    inputs, count, i = list(net.chosen), 0, 0
    while i < len(inputs):
        two = i + 1 < len(inputs) and inputs[i + 1] == inputs[i] + 1 and scales[i + 1] == scales[i]
        count, i = count + 1, i + 1 + two
    return count


def check_narrow_counts(
    net: Narrow, change: Callable[[Narrow, dict[str, int]], dict[str, int]] | None = None
) -> Verdict:
    """The formulas against the program's counts and those of the weights, entry by entry."""
    approximator, program = net.approximator(), net.program()
    stated = sizes_by_formula(net, approximator, program)
    stated = change(net, stated) if change else stated
    counts, weights = vars(program.counts), sizes_of(program.compile(approximator.manifold.box.numpy()))
    off = {name: max(abs(value - counts[name]), abs(value - weights[name])) for name, value in stated.items()}
    planned = {"stored_numbers": narrow_numbers(approximator), "parameters": narrow_dense(approximator)}  # by plans
    for name, value in planned.items():
        off[name] = max(off.get(name, 0), abs(value - counts[name]))
    stated = planned | stated
    worst = max(off, key=lambda name: off[name])
    where = vars(net) | {"quantity": worst, "stated": stated[worst], "counted": counts[worst]}
    return verdict(0, off[worst], kind="exact", points=2 * len(off), dtype="integers", worst_point=where)


# -- twins ------------------------------------------------------------------------------------------------------------


def with_stage(program: Program, number: int, **changes: Any) -> Program:
    """The program with another stage."""
    stages = list(program.stages)
    stages[number] = replace(stages[number], **changes)
    return replace(program, stages=tuple(stages))


def kept(program: Program) -> Program:
    """The second wave added to the first, which is not taken off."""
    ffn = program.stages[1].ffn
    assert ffn is not None
    return with_stage(program, 1, ffn=Ffn("zigzag", numbers={**ffn.numbers, "held": 0}))


def loud(program: Program) -> Program:
    """No silence outside K."""
    return with_stage(program, len(program.stages) - 2, ffn=None)


def one_sided(program: Program) -> Program:
    """The common part of signed waves left in."""
    number = next(i for i, stage in enumerate(program.stages) if stage.name == "move")
    return with_stage(program, number, rules=program.stages[number].rules[:1])


def far_clip(program: Program) -> Program:
    """A clip that ends so far out that it does nothing."""
    number = next(i for i, stage in enumerate(program.stages) if stage.name == "move")
    ffn = program.stages[number].ffn
    assert ffn is not None
    return with_stage(program, number, ffn=Ffn("shifted_clip", numbers={**ffn.numbers, "limit": 2.0**20}))


def a_row_less(net: Narrow, stated: dict[str, int]) -> dict[str, int]:
    """Waves of one fold less."""
    return stated | {"nonzero_parameters": stated["nonzero_parameters"] - 5}


def shorter(net: Narrow, stated: dict[str, int]) -> dict[str, int]:
    """Blocks that do not depend on k."""
    return stated | {"blocks": stated["blocks"] - len(net.chosen) + 1}


# -- statements -------------------------------------------------------------------------------------------------------


@st.composite
def _narrow(
    draw: st.DrawFn, degrees: tuple[int, ...], least: int = 1, signed: bool | None = None, full: bool = False
) -> Narrow:
    ambient = draw(st.integers(3, 5))
    chosen = sorted(draw(st.lists(st.integers(0, ambient - 1), min_size=least, max_size=3, unique=True)))
    doublings = draw(st.integers(3, 5))
    folds = sorted(draw(st.sets(st.integers(1, doublings - 1), min_size=len(chosen) - 1, max_size=len(chosen) - 1)))
    return Narrow(
        ambient,
        tuple(chosen),
        draw(st.sampled_from(degrees)),
        tuple(folds),
        2**doublings,
        draw(st.booleans()) if signed is None else signed,
        draw(st.integers(0, 2**31)),
        full,
    )


SMALL = "k <= 3 of D <= 5 inputs, T = 8 to 32, any folds, signed or not, "
NET = Hypothesis(SMALL + "p in {1, 2, 3, 4, 6, 9}", _narrow((1, 2, 3, 4, 6, 9)))
WAVES = Hypothesis("k = 2 or 3, any folds, T = 8 to 32", _narrow((3,), 2))
COUNTED = Hypothesis(SMALL + "p up to 108", _narrow((1, 2, 3, 4, 6, 8, 9, 12, 27, 54, 108)))
FULL = Hypothesis("all positions used, c_0 = 1", _narrow((3,), full=True))
ODD = Hypothesis("all positions used, signed", _narrow((3,), 1, True, True))
THREE = Hypothesis("k = 3", _narrow((3,), 3))
FAR = Hypothesis("x_j = 1000, where the forms are beyond 1", st.just([fmpq(1000)] * 6))
NEAR = Hypothesis("x_j = 1", st.just([fmpq(1)] * 6))

STATEMENTS: tuple[Statement, ...] = (
    Statement(
        name="ridge.waves.made",
        source="ours",
        claim="the FFNs of width 5 make w_i(t) = the distance of 2^f_i t/T to the nearest even integer on 0 <= t <= "
        "T and 0 on t <= 0, exactly",
        latex=r"The FFNs of width $5$ make $w_i(t)=\mathrm{dist}(2^{f_i}t/T,\,2\mathbb{Z})$ on $0\le t\le T$ and $0$ "
        r"for $t\le 0$, exactly.",
        hypotheses={"net": WAVES},
        check=check_waves,
        twins=(
            Twin("a fold more", "f_i folds: f_i + 1 claimed", lambda net: check_waves(net, more=1)),
            Twin(
                "the last wave kept",
                "the wave before is taken off: it is not",
                lambda net: check_waves(net, change=kept),
                {"net": THREE},
            ),
        ),
        examples=20,
    ),
    Statement(
        name="ridge.waves.formula",
        source="ours",
        claim="the network of width 5 equals c_0 + sum c_t (1 + T_p(clip(delta + <alpha_t, v y>, -1, 1))), alpha_t "
        "the waves (signed: 2w - 1) of its position, for every x in R^D, exactly for p <= 4",
        latex=r"Width $5$: $T(x)=c_0+\sum_t c_t\,(1+T_p(\mathrm{clip}(\delta+\langle\alpha_t,vy\rangle,-1,1)))$ for "
        r"every $x\in\mathbb{R}^D$, $\alpha_t$ the waves of position $t$.",
        hypotheses={"net": NET, "point": POINT},
        check=check_narrow,
        twins=(
            Twin(
                "without the clip",
                "the clip is there: a as it is, far from M",
                lambda net, point: check_narrow(net, point, far_clip),
                {"net": FULL, "point": FAR},
            ),
            Twin(
                "nobody is silenced",
                "a <= -1 outside K at the read-out: as it is",
                lambda net, point: check_narrow(net, point, loud),
                {"net": FULL, "point": NEAR},
            ),
            Twin(
                "the common part left in",
                "signed waves take sum v_i y_i off: they do not",
                lambda net, point: check_narrow(net, point, one_sided),
                {"net": ODD, "point": NEAR},
            ),
        ),
        examples=25,
    ),
    Statement(
        name="ridge.waves.counts",
        source="ours",
        claim="width 5: the non-zeros, k + 2 + m3 + m2 blocks, k + 2 + h + m3 + m2 heads as the module's formulas in "
        "(k, D, p, C, folds, signed); blocks and heads do not depend on D, C or epsilon",
        latex="Width $5$: $k+2+m_3+m_2$ blocks, $k+2+h+m_3+m_2$ heads, and non-zeros by a formula in $k$, $D$, $p$, "
        "$C$ and the folds.",
        hypotheses={"net": COUNTED},
        check=check_narrow_counts,
        twins=(
            Twin("a fold less", "5 numbers a fold: one fold less", lambda net: check_narrow_counts(net, a_row_less)),
            Twin(
                "blocks without k",
                "k reads, one after the other: one",
                lambda net: check_narrow_counts(net, shorter),
                {"net": Hypothesis("k >= 2", _narrow((3,), 2))},
            ),
        ),
        examples=25,
    ),
)

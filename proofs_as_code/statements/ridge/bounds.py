"""Bounds of ridge programs: intervals follow `|a| <= 1` through the maps, and the output by the coefficients.

Compilation propagates intervals. As a sum of two intervals `a + relu(1 - a^2) (-4 a)` is only bounded by 5 on [-1,
1], and a chain of maps by powers of that; where a token hears itself in one register that nothing else enters, the
sum is a piecewise cubic of that register, whose exact range is taken (`construct.execution.cubics`). So after the
clip every proved interval of a is [-1, 1] up to rounding, whatever the number of maps, gate constants stay at the
least power of two, and the read-out adds at most `(1 + 1) |c_t|` for each direction:

    |T| <= |c_0| + 2 sum |c_t|.

Checked on compiled programs, with the exact states at a point of the box, which must be inside the intervals.
"""

from __future__ import annotations

from typing import Any

from flint import fmpq
from hypothesis import strategies as st

from construct.program.compile import Program
from construct.program.heads import A
from construct.ridge.maps import chain
from construct.transformer.weights import Weights
from proofs_as_code import rational
from proofs_as_code.framework import Hypothesis, Statement, Twin, Verdict, verdict
from proofs_as_code.statements.ridge import networks, waves
from proofs_as_code.statements.ridge.networks import Change, Net
from proofs_as_code.statements.ridge.waves import Narrow

ROUNDING = fmpq(1, 2**30)


def states(weights: Weights, x: list[fmpq]) -> list[Any]:
    """The hidden states after every block, exactly."""
    state, found = rational.matrix(weights.hidden0), []
    for token, coordinate in enumerate(x):
        state[token, 0] += coordinate
    for heads, ffn in weights.blocks:
        middle = state + rational.attention(heads, state)
        state = middle + rational.feed_forward(ffn, middle)
        found.append(state)
    return found


def map_stages(program: Program) -> list[int]:
    """The stage of the clip and those of the maps, but the one that silences."""
    clip = next(
        i for i, stage in enumerate(program.stages) if stage.ffn is not None and stage.ffn.gadget == "shifted_clip"
    )
    return [i for i in range(clip, len(program.stages) - 1) if i == clip or program.stages[i].ffn is None]


def naive(net: Net | Narrow) -> fmpq:
    """What sums of intervals say of a after the maps."""
    bound = fmpq(1)
    for m in chain(net.degree):
        bound += (1 + bound**2) * 4 * bound if m == 3 else (1 + bound) * (2 * bound + 1)
    return bound


def check_bounds(net: Net | Narrow, point: list[fmpq], change: Change | None = None, sums: bool = False) -> Verdict:
    """Shares of what is claimed that the proved bounds reach; a state outside of them is more than any.

    change: of the program; sums: bounds of a as sums of intervals.
    """
    approximator, program = net.approximator(), net.program()
    program = change(program) if change else program
    box = approximator.manifold.box
    weights = program.compile(box.numpy())
    assert weights.bounds is not None
    row, (token, output) = program.layout.row(A), weights.readout
    sizes = [rational.largest(rational.matrix(b.after.magnitude()[:, [row]])) for b in weights.bounds]
    shares = [sizes[i] / (1 + ROUNDING) for i in map_stages(program)]
    size = 2 * float(approximator.coefficients.abs().sum()) + abs(approximator.constant)
    reached = rational.rational(float(weights.bounds[-1].after.magnitude()[token, output]))
    shares += [naive(net) if sums else fmpq(0), reached / (rational.rational(size) * (1 + ROUNDING) + ROUNDING)]
    x = [rational.rational(end) * share for end, share in zip(box[1].tolist(), point, strict=False)]
    for bounds, state in zip(weights.bounds, states(weights, x), strict=True):
        lower, upper = rational.matrix(bounds.after.lower), rational.matrix(bounds.after.upper)
        outside = [
            max(below, above) for below, above in zip((lower - state).entries(), (state - upper).entries(), strict=True)
        ]
        shares.append(2 + max(outside) if max(outside) > 0 else fmpq(0))
    return verdict(fmpq(1), max(shares), kind="exact", points=len(shares), dtype="rational", worst_point=vars(net))


PROGRAMS = Hypothesis(
    "a network of free width or of width 5, p <= 108", networks.COUNTED.strategy | waves.COUNTED.strategy
)
INSIDE = Hypothesis("a point of the box", st.lists(rational.dyadics(1, 6), min_size=6, max_size=6))
MAPPED = Hypothesis("p >= 2", PROGRAMS.strategy.filter(lambda net: net.degree >= 2))
FREE = Hypothesis("free width, forms beyond 1", networks.one())

STATEMENTS: tuple[Statement, ...] = (
    Statement(
        name="ridge.network.bounds",
        source="ours",
        claim="proved intervals: |a| <= 1 + 2^-30 after the clip and every map, and |T| <= |c_0| + 2 sum |c_t| up to "
        "2^-30, for any number of maps; exact states are inside",
        latex=r"Proved intervals: $|a|\le 1+2^{-30}$ after the clip and every map, and $|T|\le|c_0|+2\sum|c_t|$ up "
        r"to $2^{-30}$.",
        hypotheses={"net": PROGRAMS, "point": INSIDE},
        check=check_bounds,
        twins=(
            Twin(
                "sums of intervals",
                "exact ranges of what hears itself: sums of intervals",
                lambda net, point: check_bounds(net, point, sums=True),
                {"net": MAPPED},
            ),
            Twin(
                "without the clip",
                "the clip is there: a as it is",
                lambda net, point: check_bounds(net, point, networks.without_clip),
                {"net": FREE},
            ),
        ),
        examples=25,
    ),
)

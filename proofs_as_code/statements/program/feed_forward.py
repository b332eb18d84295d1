"""Gated feed-forward gadgets: the formula on a range of tokens, exactly zero outside, width 5.

The gate channels of layer 1 sum to g = 0 on the range and g >= floor outside (`codes.range`), and every gated relu of
the layer that closes has argument at most B - C g, B the largest value that it takes without the gate. So C floor >= B
silences it outside; the library takes the power of two in [1.01, 2.02] B/floor. Inside, g = 0 exactly, and what is
left is an identity between piecewise linear functions of (a, b) with known kinks: checked in rational arithmetic at the
kinks, on both sides of each and at random points, for every token. Bumps, clamps and ramps have B = 1 whatever the
data; the others need a bound on the data outside.

Ramp: n doubling layers with weights 1 and 2 make the slope 1/Delta = 2^n/r^2 out of 1/r^2: depth
log2(r^2/Delta) + 4, and no weight depends on n. Largest weight: max(2, 1/r^2, C, l/2) for the integer code (C = 2 and
the range's ends are code values), max(2, 1/r^2, C) with C <= 2.02/floor <= 7 l^2 for the trigonometric code.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from flint import fmpq, fmpq_mat
from hypothesis import strategies as st

from construct.program.layout import TokenLayout
from construct.transformer.weights import FeedForward
from proofs_as_code import instances, rational
from proofs_as_code.framework import Hypothesis, Statement, Twin, Verdict, verdict
from proofs_as_code.rational import ZERO
from proofs_as_code.statements.program.ffn_gadgets import GADGETS, Gadget, Knobs, Point, Span, everything

SPREAD = 8  # random registers inside the range are up to this size


@dataclass(frozen=True)
class Change:
    """What a negative twin changes: by default nothing.

    gate: factor of the least gate constant, instead of the library's; shift: of the range that is claimed; fewer:
    doublings left out; beyond: factor of the data outside the range; scale: factor of the gadget's scale.
    """

    gate: float | None = None
    shift: int = 0
    fewer: int = 0
    beyond: int = 1
    scale: float = 1.0


def check_gadget(
    span: tuple[int, Span], code: str, knobs: Knobs, units: list[Point], *, gadget: Gadget, change: Change = Change()
) -> Verdict:
    """The weights against the formula: largest difference over tokens and points, 0 claimed; also shape and depth."""
    tokens, (first, last) = span
    layout = instances.layout(tokens, code)
    built = replace(knobs, scale=knobs.scale * change.scale, doublings=knobs.doublings - change.fewer)
    network = gadget.build(layout, (first, last), built)
    if change.gate is not None:
        network = with_gate(network, layout, change.gate * gadget.peak(knobs)[0])
    whole = gadget.silences and last - first + 1 == tokens  # nothing to silence: no layers
    if network.depth != (0 if whole else gadget.layers(built)) or any(w.shape != (5, 5) for w, _ in network.layers):
        return verdict(0, 1, kind="exact", points=1, dtype="rational", worst_point={"depth": network.depth})
    rows, wanted = [], []
    for token in range(tokens):
        inside = not gadget.gated or first + change.shift <= token <= last + change.shift
        for a, b in _points(gadget, knobs, units, inside, change.beyond):
            rows.append((token, a, b))
            wanted.append(inside)
    added = rational.feed_forward(network, _state(layout, rows))
    worst, witness = ZERO, {"tokens": tokens, "range": [first, last], "knobs": repr(knobs)}
    for index, ((token, a, b), inside) in enumerate(zip(rows, wanted, strict=True)):
        off = _difference(gadget, knobs, layout, added, index, (a, b), inside)
        if off > worst:
            worst, witness = off, {**witness, "token": token, "a": str(a), "b": str(b)}
    return verdict(ZERO, worst, kind="exact", points=len(rows), dtype="rational", worst_point=witness)


def _points(gadget: Gadget, knobs: Knobs, units: list[Point], inside: bool, beyond: int) -> list[Point]:
    kinks = gadget.kinks(knobs)
    if inside:
        points = [*kinks, *((SPREAD * a, SPREAD * b) for a, b in units)]
        return [(a, b) for a, b in points if a >= 0 or not gadget.positive]
    limit = rational.rational(gadget.outside(knobs))
    a, b = gadget.peak(knobs)[1]
    points = [*kinks, *((limit * x, limit * y) for x, y in units), (a, b), (-a, b)]
    return [(beyond * a, b) for a, b in points if abs(a) <= limit and abs(b) <= limit]


def _state(layout: TokenLayout, rows: list[tuple[int, fmpq, fmpq]]) -> fmpq_mat:
    """One token per row: its stored code, the registers given."""
    codes = rational.matrix(layout.initial_state()).tolist()
    state = rational.matrix([codes[token] for token, _, _ in rows])
    for index, (_, a, b) in enumerate(rows):
        for register, entry in zip(layout.register_rows, (a, b), strict=True):
            state[index, register] = entry
    return state


def _difference(
    gadget: Gadget, knobs: Knobs, layout: TokenLayout, added: fmpq_mat, index: int, point: Point, inside: bool
) -> fmpq:
    want = gadget.formula(knobs, *point) if inside else (ZERO, ZERO)
    row_a, row_b = layout.register_rows
    others = [abs(added[index, row]) for row in range(added.ncols()) if row not in layout.register_rows]
    off_a, off_b = abs(added[index, row_a] - want[0]), abs(added[index, row_b] - want[1])
    if gadget.silences and not inside:
        off_a = max(point[0] + added[index, row_a], ZERO)
    return max(off_a, off_b, *others)


def with_gate(network: FeedForward, layout: TokenLayout, constant: float) -> FeedForward:
    """The same network with gate constant `constant` (integer code, floor 1): its gate channels are scaled."""
    weight, bias = (array.copy() for array in network.layers[0])
    gates = np.any(weight[:, list(layout.code_rows)[:2]] != 0, axis=1)
    closing = min(float(w[:, gates].min()) for w, _ in network.layers[1:])  # -C
    weight[gates] *= constant / -closing
    bias[gates] *= constant / -closing
    return FeedForward(((weight, bias), *network.layers[1:]))


def check_ramp_weights(span: tuple[int, Span], code: str, knobs: Knobs, *, factor: float = 7.0) -> Verdict:
    """Largest weight of the ramp against max(2, 1/r^2, l/2) or, trigonometric, max(2, 1/r^2, `factor` l^2)."""
    tokens, ends = span
    layout = instances.layout(tokens, code)
    ramp = next(gadget for gadget in GADGETS if gadget.name == "ramp")
    network = ramp.build(layout, ends, knobs)
    kappa = max(float(max(np.abs(weight).max(), np.abs(bias).max())) for weight, bias in network.layers)
    place = tokens / 2 if code == "integer" else factor * tokens**2
    allowed = max(2.0, 1 / knobs.square, place)
    where = {"tokens": tokens, "range": list(ends), "code": code, "doublings": knobs.doublings}
    return verdict(allowed, kappa, kind="exact", points=network.depth, dtype="float64", worst_point=where)


@st.composite
def _spans(draw: st.DrawFn, margin: int, most: int) -> tuple[int, Span]:
    tokens = draw(st.integers(1 + 2 * margin, most))
    first = draw(st.integers(margin, tokens - 1 - margin))
    return tokens, (first, draw(st.integers(first, tokens - 1 - margin)))


KNOBS = Hypothesis(
    "scale c in {1/4, 1, 1.1, 3, 8}, data bound B in [1/4, 10], r^2 in {1/4, 1, 2}, 1 <= n <= 20 doublings",
    st.builds(
        Knobs,
        scale=st.sampled_from([1.0, 0.25, 1.1, 3.0, 8.0]),
        bound=st.integers(1, 40).map(lambda k: k / 4),
        square=st.sampled_from([1.0, 0.25, 2.0]),
        doublings=st.integers(1, 20),
    ),
)
SPANS = Hypothesis("1 <= l <= 10 tokens and any range of them", _spans(0, 10))
INNER = Hypothesis("a range with a token on either side", _spans(1, 10))
CODES = Hypothesis("either code", st.sampled_from(["integer", "trigonometric"]))
INTEGER = Hypothesis("integer code", st.just("integer"))
UNITS = Hypothesis("registers (a, b) in units of the bound, any dyadic rationals", rational.registers(3, bits=6))


def _twins(gadget: Gadget) -> tuple[Twin, ...]:
    def twin(name: str, violates: str, change: Change, **hypotheses: Hypothesis) -> Twin:
        return Twin(name, violates, partial(check_gadget, gadget=gadget, change=change), hypotheses)

    if not gadget.gated:
        return (twin("wider limit", "the limit is c: 2 c", Change(scale=2.0)),)
    half = twin(
        "gate constant halved",
        "C floor >= B: C floor = B/2, integer code",
        Change(gate=0.5),
        span=INNER,
        code=INTEGER,
    )
    moved = twin("range shifted by one token", "the range is the one that was built", Change(shift=1), span=INNER)
    found = [half, moved]
    if gadget.name == "ramp":
        found.append(twin("one doubling less", "n = log2(r^2/Delta): n - 1", Change(fewer=1)))
    if gadget.outside is not everything:
        found.append(twin("data beyond the bound", "|a| <= B outside: |a| = 16 B", Change(beyond=16), span=INNER))
    return tuple(found)


def _statement(gadget: Gadget) -> Statement:
    bounded = gadget.outside is not everything
    scope = " on every token of a range" if gadget.gated else ""
    outside = ", and exactly nothing outside it for " if gadget.gated and not gadget.silences else " for "
    data, data_tex = ("|a| <= B there", r"$|a|\le B$ there") if bounded else ("any data", "any data")
    hypotheses: dict[str, Any] = {"span": SPANS, "code": CODES, "knobs": KNOBS, "units": UNITS}
    return Statement(
        name=f"ffn.{gadget.name}",
        source="HL24, proof of Theorem 2" if gadget.name in ("trapezoid", "ramp") else "ours",
        claim=f"{gadget.claim}{scope}{outside}{data}; 5 x 5 layers, both codes",
        latex=f"{gadget.latex}{scope}{outside}{data_tex}; layers of width 5.",
        hypotheses=hypotheses,
        check=partial(check_gadget, gadget=gadget),
        twins=_twins(gadget),
        examples=40,
    )


RAMP_WEIGHTS = Statement(
    name="ffn.ramp_weights",
    source="HL24, L_FFN = O(log 1/eps)",
    claim="weights of the ramp do not grow with the slope 1/Delta: kappa <= max(2, 1/r^2, l/2) (integer code), "
    "max(2, 1/r^2, 7 l^2) (trigonometric)",
    latex=r"Weights of the ramp are at most $\max(2,r^{-2},l/2)$ (integer code) or $\max(2,r^{-2},7l^2)$ "
    r"(trigonometric), whatever the slope.",
    hypotheses={
        "span": Hypothesis("1 <= l <= 300 tokens and any range of them", _spans(0, 300)),
        "code": CODES,
        "knobs": KNOBS,
    },
    check=check_ramp_weights,
    twins=(
        Twin(
            "smaller constant",
            "7 l^2: 3 l^2, range from token 1 of the trigonometric code, l >= 8",
            partial(check_ramp_weights, factor=3.0),
            {
                "span": Hypothesis(
                    "8 <= l <= 300, tokens 1..3", st.integers(8, 300).map(lambda tokens: (tokens, (1, 3)))
                ),
                "code": Hypothesis("trigonometric code", st.just("trigonometric")),
            },
        ),
    ),
    examples=40,
)

STATEMENTS: tuple[Statement, ...] = (*(_statement(gadget) for gadget in GADGETS), RAMP_WEIGHTS)

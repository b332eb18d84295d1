"""From weights to formulas: against exact rational evaluation of the very weights, and against floating point.

`proofs_as_code.rational` evaluates a network in Q; `AtPoint` evaluates a formula in Q by the definitions of its
quantities. Neither shares code with the extraction.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, cast

import numpy as np
import pytest
import torch
from flint import arb, ctx, fmpq
from hypothesis import given, settings
from hypothesis import strategies as st

import construct
from construct import Network, manifolds, targets
from construct.certificates.charts import charts_of
from construct.certificates.extraction import NetworkFormula, extract
from construct.certificates.extraction.arithmetic import Arithmetic, Register
from construct.certificates.extraction.execution import executed
from construct.certificates.extraction.state import State
from construct.certificates.polynomials import PRECISION, Polynomial, Quantities
from construct.certificates.weights import weights_of
from construct.errors import InputError
from construct.network import Execution
from construct.transformer import Weights
from construct.transformer.weights import FeedForward, Heads
from proofs_as_code import rational as exactly
from tests.certificates.oracle import UNITS, AtPoint, box_of, network, points_in, rational, tensor
from tests.certificates.random_networks import random_network, tampered
from tests.transformer.networks import manifold_of, plain

SEEDS = st.integers(0, 2**31)
ZERO, ZERO_Q = arb(0), fmpq(0)

SMALL: dict[str, dict[str, Any]] = {
    "circle": {"charts": 3, "degree": 2},
    "circle, degree 5": {"charts": 3, "degree": 5},
    "circle, spline": {"charts": 4, "cells": 3},
    "circle in R^12, projected": {"charts": 3, "degree": 2, "ambient": 12},
    "circle, trigonometric": {"charts": 3, "degree": 2, "code": "trigonometric"},
    "circle, cusp": {"charts": 3, "cells": 4, "target": "cusp"},
    "circle, kink, float32": {"charts": 3, "cells": 4, "target": "kink", "dtype": torch.float32},
    "circle, float32": {"charts": 4, "degree": 2, "dtype": torch.float32},
    "sphere": {"name": "sphere", "charts": 6, "degree": 2},
}
LARGER: dict[str, dict[str, Any]] = {
    "sphere, degree 4": {"name": "sphere", "charts": 6, "degree": 4},
    "sphere in R^20": {"name": "sphere", "charts": 6, "degree": 2, "ambient": 20},
    "sphere, float32": {"name": "sphere", "charts": 6, "degree": 3, "dtype": torch.float32},
    "sphere, splines": {"name": "sphere", "charts": 6, "cells": 2, "target": "kink"},
}
LARGEST: dict[str, dict[str, Any]] = {
    "torus": {"name": "torus", "degree": 1},
    "Klein bottle": {"name": "klein_bottle", "degree": 1},
}


def small(name: str) -> Network:
    return network(**SMALL[name])


@cache
def formula_of(name: str, unit: float) -> NetworkFormula:
    net = network(**{**SMALL, **LARGER, **LARGEST}[name])
    return extract(weights_of(net), box_of(net), unit)


def evaluated(net: Network, execution: str, x: list[fmpq]) -> fmpq:
    """The number that the floating-point network returns."""
    net.execution = cast("Execution", execution)
    try:
        return rational(float(net(tensor(x, net.dtype))))
    finally:
        net.execution = "sparse"


@pytest.mark.parametrize("name", SMALL)
def test_formula_is_the_network(name):
    """In exact arithmetic; what is left is the signs and, with the trigonometric code, the gates."""
    net = small(name)
    formula = extract(weights_of(net), box_of(net))
    for x in points_in(box_of(net), 4, seed=1):
        assert (
            abs(arb(AtPoint(formula.quantities.table, x).formula(formula) - exactly.transformer(net.transformer, x)))
            <= formula.error
        )
    assert formula.error <= (1e-8 if "trigonometric" in name else 1e-13)


@pytest.mark.parametrize("execution", ["dense", "sparse"])
@pytest.mark.parametrize("name", [*SMALL, *LARGER, *(pytest.param(name, marks=pytest.mark.slow) for name in LARGEST)])
def test_error_covers_rounding(name, execution):
    """On the manifold and anywhere in the box; the sparse execution is not what is proved, but no worse in practice."""
    net = network(**{**SMALL, **LARGER, **LARGEST}[name])
    formula = formula_of(name, UNITS[net.dtype])
    with ctx.workprec(200):
        on = [[rational(round(v * 512) / 512) for v in row] for row in manifold_of(net).sample(10, seed=3).tolist()]
        for x in [*on, *points_in(box_of(net), 4, seed=2)]:
            value = AtPoint(formula.quantities.table, x).formula(formula)
            assert abs(arb(value - evaluated(net, execution, x))) <= formula.error
    assert formula.error <= (1e-5 if net.dtype == torch.float64 else 10)


@pytest.mark.parametrize("name", ["circle, degree 5", "circle, spline", "circle, trigonometric", "circle, float32"])
def test_error_is_not_absurd(name):
    """Within a factor 10^6 of what is really lost: a bound that is always huge would pass every other test."""
    net = small(name)
    formula = formula_of(name, UNITS[net.dtype])
    sample = [[rational(round(v * 512) / 512) for v in row] for row in manifold_of(net).sample(40, seed=4).tolist()]
    lost = [
        abs(arb(AtPoint(formula.quantities.table, x).formula(formula) - evaluated(net, "dense", x))) for x in sample
    ]
    assert formula.error <= max(float(v) for v in lost) * 1e6


@settings(max_examples=50)
@given(SEEDS)
def test_tampered_network_is_refused_or_understood(seed):
    """Whatever is done to the weights, the formula is that of the weights as they are now."""
    rng = np.random.default_rng(seed)
    base = small(list(SMALL)[rng.integers(len(SMALL) - 1)])
    net, box, unit = tampered(base, rng), box_of(base), (0.0, UNITS[base.dtype])[rng.integers(2)]
    try:
        formula = extract(weights_of(net), box, unit)
    except InputError:
        return
    for x in points_in(box, 4, seed):
        value = evaluated(net, "dense", x) if unit else exactly.transformer(net.transformer, x)
        assert abs(arb(AtPoint(formula.quantities.table, x).formula(formula) - value)) <= formula.error


def execution(net: Network, unit: float = 0.0) -> State:
    """The registers after the last block, whether the output is a partition of unity or not."""
    weights = weights_of(net)
    with ctx.workprec(PRECISION):
        return executed(weights, weights.box, unit)


def final_state(net: Network, x: list[fmpq], unit: float) -> Any:
    """Token by token, row by row: exactly, or as the dense execution has it."""
    if not unit:
        last = exactly.hidden_states(net.transformer, x)[-1]
        return [[last[t, r] for r in range(last.ncols())] for t in range(last.nrows())]
    hidden = net.transformer.embed(tensor(x, net.dtype))
    for block in net.transformer.stack:
        hidden = hidden + block.attention.in_parts(hidden) if block.attention.query.shape[0] else hidden
        hidden = hidden + block.ffn(hidden) if len(block.ffn) else hidden
    return [[rational(v) for v in row] for row in hidden[0].tolist()]


def disagreements(net: Network, unit: float, seed: int) -> list[str]:
    """Registers whose value is not what the symbolic execution says it is."""
    run, found = execution(net, unit), []
    for x in points_in(net.box[1].double().numpy(), 4, seed):
        values, point = final_state(net, x, unit), AtPoint(run.names.table, x)
        for token, row in np.ndindex(run.tokens, run.width):
            register, value = run.registers[token][row], values[token][row]
            with ctx.workprec(PRECISION):
                low, high = run.names.range(register.polynomial)
                outside = (low - register.error).lower() > value or (high + register.error).upper() < value
                unknown = "free" in run.names.kinds_below(register.polynomial)
                off = ZERO if unknown else abs(arb(value - point.of(register.polynomial)))
                if outside or off > register.error:
                    found.append(f"token {token}, row {row}: {value} at {x}, {register}")
    return found


@settings(max_examples=250)
@given(SEEDS)
def test_registers_of_any_network(seed):
    """Every register of a network that nobody designed: its polynomial, its error and its range."""
    rng = np.random.default_rng(seed)
    dtype = torch.float64 if rng.random() < 0.7 else torch.float32
    net, unit = random_network(rng, dtype), (0.0, UNITS[dtype])[rng.integers(2)]
    try:
        found = disagreements(net, unit, seed)
    except InputError as error:
        assert "expected registers below" in str(error) or "expected scores below" in str(error), error
        return
    assert not found


# -- networks that were once misread ------------------------------------------------------------------------------


def one_block(ffn: FeedForward, *, heads: Heads | None = None, box: float = 1.0, row: int = 0) -> Network:
    """One token (x, 0, 0, 0, 1), read out at `row`."""
    hidden = np.array([[0.0, 0, 0, 0, 1]])
    return Network(Weights(hidden, ((heads or Heads.none(5), ffn),), (0, row), np.array([box])))


def layer(entries: Mapping[tuple[int, int], float], bias: Mapping[int, float] | None = None) -> tuple[Any, Any]:
    weight, offset = np.zeros((5, 5)), np.zeros(5)
    for place, value in entries.items():
        weight[place] = value
    for channel, value in (bias or {}).items():
        offset[channel] = value
    return weight, offset


def test_relu_of_a_relu_less_a_trifle():
    """`relu(relu(x) - 1e-20)` is no `x - 1e-20` for x < 0, though its range is all but non-negative."""
    deep = FeedForward((layer({(0, 0): 1}), layer({(0, 0): 1}, {0: -1e-20}), layer({(1, 0): 1})))
    assert not disagreements(one_block(deep), 0.0, seed=0)


def test_two_corners_on_one_side_are_no_clip():
    """`x - relu(x - 1/2) - relu(x - 1/4)`."""
    ffn = FeedForward((layer({(0, 0): 1, (1, 0): 1}, {0: -0.5, 1: -0.25}), layer({(0, 0): -1, (0, 1): -1})))
    assert not disagreements(one_block(ffn), 0.0, seed=0)


def test_two_clips_of_one_number_are_two():
    """`a` is clipped to [-1, 1] and its copy `b` to [-1/2, 1/2]."""
    copy = Heads(*(np.array([layer(entries)[0]]) for entries in ({(0, 4): 1}, {(0, 4): 1}, {(1, 0): 1})))
    first = layer({(0, 0): -1, (1, 0): 1, (2, 1): -1, (3, 1): 1}, {0: -1, 1: -1, 2: -0.5, 3: -0.5})
    ffn = FeedForward((first, layer({(0, 0): 1, (0, 1): -1, (1, 2): 1, (1, 3): -1})))
    net = one_block(ffn, heads=copy, box=2.0)
    assert not disagreements(net, 0.0, seed=0)
    registers = execution(net).registers[0][:2]
    assert len({number for r in registers for number in r.polynomial.quantities()}) == 2


def test_input_is_added_with_rounding():
    """A register that is not 0 where the input is added."""
    net = one_block(FeedForward())
    with net.edit() as transformer:
        transformer.hidden0[0, 0] = 100.1
    error = execution(net, 2.0**-53).registers[0][0].error
    x = 1 / 3
    lost = abs(rational(100.1 + x) - rational(100.1) - rational(x))
    assert lost > 0 and arb(lost) + 2.0**-53 <= error


def test_number_with_an_error_is_not_exact():
    """A known number plus something that only floating point sees: what is done to it afterwards is rounded too."""
    arithmetic = Arithmetic(Quantities(), 2.0**-53)
    three, error, size = Polynomial.constant(fmpq(3)), arb(2) ** -60, arb(3)
    assert arithmetic.exact_sum([three], ZERO)
    assert not arithmetic.exact_sum([three], error)
    five = Register.fixed(5.0)
    assert arithmetic.product_rounding(Register(three, ZERO), five, size) == 0
    assert arithmetic.product_rounding(Register(three, error), five, size) >= 2.0**-53 * 3


def test_almost_silent_pairs_in_float32():
    """Scores that are negative by 1e-8 in exact arithmetic, and positive in float32: their leak is in the error."""
    leaks = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        weights = rng.uniform(-1, 1, 5).astype(np.float32).astype(np.float64)
        hidden = rng.uniform(0.5, 1, 5).astype(np.float32).astype(np.float64)
        hidden[0] = 0
        query, key, value = (np.zeros((1, 5, 5)) for _ in range(3))
        query[0, 0], key[0, 0, 4] = weights, 1
        query[0, 1, 4], key[0, 1, 4] = -(weights @ hidden + 2e-8) / hidden[4], 1
        value[0, 1, 4] = 1
        parts = Weights(hidden[None], ((Heads(query, key, value), FeedForward()),), (0, 1), np.zeros(1))
        net = Network(parts, dtype=torch.float32)
        score = exactly.scores(query[0].astype(np.float32), key[0], exactly.matrix(hidden[None]))[0, 0]
        leaks += score < 0 and final_state(net, [ZERO_Q], 2.0**-24)[0][1] > rational(hidden[1])
        assert not disagreements(net, 2.0**-24, seed)
    assert leaks >= 3


# -- what is refused ------------------------------------------------------------------------------------------------


def test_paper_construction_is_refused():
    net = construct.approximate(
        targets.target("exp_sin"),
        manifolds.manifold("circle"),
        construction="paper",
        charts=3,
        cells=2,
        degree=1,
        smoothness=2.0,
    )
    with pytest.raises(InputError, match=r"net: expected a compact network.*, got an output that depends on ReLUs"):
        extract(weights_of(net), box_of(net))


def test_random_networks_are_refused_or_constant():
    refused = 0
    for seed in range(20):
        net = random_network(np.random.default_rng(seed))
        try:
            found = extract(weights_of(net), net.box.numpy())
            charts_of(found, torch.eye(net.ambient))
        except InputError as error:
            assert "net: expected " in str(error) and ", got" in str(error)
            refused += 1
            continue
        assert found.rest.is_constant and not found.weights and found.error == 0
        for share in (0.0, 0.3, 1.0):
            point = [rational(v) for v in (net.box[0] + share * (net.box[1] - net.box[0])).tolist()]
            assert exactly.transformer(net.transformer, point) == found.rest.value()
    assert 12 <= refused < 20  # what is left is a constant


def test_dense_networks_are_refused():
    """As they come from training: no weight is 0, every block writes every row."""
    draw = np.random.default_rng(0)
    blocks = []
    for _ in range(2):
        heads = Heads(*(draw.normal(size=(2, 5, 5)) / 2 for _ in range(3)))
        layers = tuple((draw.normal(size=(5, 5)) / 2, draw.normal(size=5) / 10) for _ in range(2))
        blocks.append((heads, FeedForward(layers)))
    net = Network(Weights(draw.normal(size=(4, 5)), tuple(blocks), (0, 1), np.ones(2)))
    with pytest.raises(InputError, match=r"net: expected a compact network.*, got an output that depends on ReLUs"):
        extract(weights_of(net), np.ones(2), 2.0**-53)


def test_large_trigonometric_networks_are_refused():
    """Traces of so many gates leave the signs of partition weights open."""
    net = network("sphere", code="trigonometric", charts=20, degree=4)
    with pytest.raises(InputError, match=r"net: expected a compact network.*, got an output that depends on ReLUs"):
        extract(weights_of(net), box_of(net), 2.0**-53)


@pytest.mark.parametrize(
    ("box", "unit", "message"),
    [
        (np.ones(1), 0.0, r"box: expected finite ends of shape \(2, 2\).*, got an array of shape \(1,\)"),
        (np.array([1.0, np.nan]), 0.0, "box: expected finite ends .*, got"),
        (np.array([1.0, np.inf]), 0.0, "box: expected finite ends .*, got"),
        (np.array([1.0, -1.0]), 0.0, "box: expected finite ends .*, got"),
        (np.ones(2), -1.0, "unit: expected .*, got -1.0"),
        (np.ones(2), float("nan"), "unit: expected .*, got nan"),
        (np.ones(2), 0.5, "unit: expected .*, got 0.5"),
    ],
)
def test_arguments(box, unit, message):
    with pytest.raises(InputError, match=message):
        extract(weights_of(small("circle")), box, unit)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e200])
def test_weights_that_are_no_numbers(value):
    net = tampered(small("circle"), np.random.default_rng(0))
    net.transformer.stack[0].attention.value[0, 0, 4] = value
    with pytest.raises(InputError, match=r"net: expected (finite weights|scores below|registers below).*, got"):
        extract(weights_of(plain(net)), box_of(small("circle")), 2.0**-53)

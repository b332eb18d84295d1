"""Networks made by hand to be mistaken for windows and products with them: what the verifier accepts is true."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from flint import arb, ctx, fmpq
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.judge import dense, worst_error
from construct.manifolds import Circle, Cube
from proofs_as_code.verifier import near as arrays
from proofs_as_code.verifier.network import Network
from proofs_as_code.verifier.schema import Certificate, Manifold
from proofs_as_code.verifier.weights import Weights
from proofs_as_code.verifier.windowcells import WindowCells
from tests.certificates.cell_networks import network_of, random_cells
from tests.certificates.random_networks import tampered
from tests.proofs.test_cell_networks import by_hand
from tests.proofs.test_ridge_attacks import Check, Tensors, check, network

__all__ = ["check"]  # a fixture

Layer = tuple[dict[tuple[int, int], float], dict[int, float]]

LOOSE: dict[str, Any] = {"local": 0.1, "error": 1e-9, "bound": 0.11}
TENT = ["add", 1.0, ["mul", -1.0, ["abs", ["add", ["x", 0], -2.0]]]]  # 1 - |x - 2|, on [1.5, 2.5] at least 1/2


def hat(
    kinks: tuple[float, float] = (2.0, 2.0),
    slopes: tuple[float, float] = (-1.0, -1.0),
    height: float = 1.0,
    factor: float = 1.0,
    weight: float = 1.0,
) -> Tensors:
    """One token x, w, b, 1: w = factor relu(height + slopes relu(+-(x - kink))), b = relu(1) weight w."""
    first: Layer = {(0, 0): 1.0, (1, 0): -1.0}, {0: -kinks[0], 1: kinks[1]}
    second: Layer = {(0, 0): slopes[0], (0, 1): slopes[1]}, {0: height}
    third: Layer = {(1, 0): factor}, {}
    read = ({(0, 3): 1.0}, {(0, 3): 1.0}, {(2, 1): weight})
    return network([[0.0, 0.0, 0.0, 1.0]], (0, 2), ([], [first, second, third]), ([read], []))


def test_a_hat_is_what_it_is(check: Check) -> None:
    report, error = check(hat(), target=TENT, **LOOSE)
    assert report.holds, report.reason
    assert error <= 1


WRONG: dict[str, dict[str, Any]] = {
    "another kink": {"kinks": (2.25, 2.25)},
    "a kink on one side only": {"kinks": (2.0, 2.5)},
    "a slope": {"slopes": (-0.5, -1.0)},
    "a slope up": {"slopes": (0.5, -1.0)},  # above 1: no window
    "no slope": {"slopes": (0.0, 0.0)},
    "not clipped by anything": {"height": 1.5},
    "lower": {"height": 0.75},
    "a factor": {"factor": 0.75},
    "minus": {"factor": -1.0},
    "another weight": {"weight": 0.75},
}


@pytest.mark.parametrize("name", WRONG)
def test_another_hat_is_no_hat(check: Check, name: str) -> None:
    report, error = check(hat(**WRONG[name]), target=TENT, **LOOSE)
    assert error > 1
    assert not report.holds, name


def test_a_hat_that_is_off_by_little_has_the_bound_for_it(check: Check) -> None:
    """A kink that is a little elsewhere, a slope that is a little smaller: true, and accepted as that."""
    for change in ({"kinks": (2.0, 2.0625)}, {"slopes": (-0.9375, -1.0)}, {"height": 0.96875}):
        report, error = check(hat(**change), target=TENT, **LOOSE)
        assert error <= 1
        assert report.holds, report.reason


def test_a_product_of_windows_is_refused(check: Check) -> None:
    """relu(w) w is the square of a hat, of which nothing is known here; claimed to be the hat itself."""
    tensors = hat()
    tensors["blocks.1.attention.query"][0] = 0.0
    tensors["blocks.1.attention.query"][0, 0, 1] = 1.0
    report, error = check(tensors, target=TENT, **LOOSE)
    assert error > 1
    assert not report.holds


def test_a_window_of_another_token_is_not_this_one(check: Check) -> None:
    """Two tokens whose hats differ by their kinks: the sum of both is not twice the first."""
    first: Layer = {(0, 0): 1.0, (0, 3): -1.0, (1, 0): -1.0, (1, 3): 1.0}, {}
    second: Layer = {(0, 0): -1.0, (0, 1): -1.0}, {0: 1.0}
    third: Layer = {(1, 0): 1.0}, {}
    read = ({(0, 4): 1.0}, {(0, 4): 1.0}, {(2, 1): 0.5})
    for other, true in ((2.0, True), (2.5, False)):
        hidden = [[0.0, 0.0, 0.0, 2.0, 1.0], [0.0, 0.0, 0.0, other, 1.0]]
        tensors = network(hidden, (0, 2), ([], [first, second, third]), ([read], []))
        report, error = check(tensors, target=TENT, manifold={"frame": [[1.0], [1.0]], "offset": [0.0, 0.0]}, **LOOSE)
        assert (error <= 1) == true
        assert report.holds == true, report.reason


def test_a_map_whose_register_hears_more_is_no_map(check: Check) -> None:
    """T2 of a clipped x on [-1, 1] and, from another head of the same token, half of b in the same register."""
    clip: list[Any] = [({(0, 0): -1.0, (1, 0): 1.0}, {0: -1.0, 1: -1.0}), ({(0, 0): 1.0, (0, 1): -1.0}, {})]
    square = ({(0, 2): 1.0, (1, 0): -1.0}, {(0, 2): 1.0, (1, 2): 1.0}, {(0, 0): -2.0, (0, 2): -1.0})
    box = {"lower": [-0.5], "upper": [0.5]}
    target = ["add", ["mul", 2.0, ["mul", ["x", 0], ["x", 0]]], -1.0]
    for row, true in ((1, True), (0, False)):
        other = ({(0, 2): 1.0}, {(0, 2): 1.0}, {(row, 1): 0.5})
        tensors = network([[0.0, 1.0, 1.0]], (0, 0), ([], clip), ([square, other], []))
        report, error = check(tensors, target=target, manifold=box, canonical_box=[[-3.0, 3.0]], **LOOSE)
        assert (error <= 1) == true
        assert report.holds == true, report.reason


# -- whole networks ---------------------------------------------------------------------------------------------------


def tensors_of(net: Any) -> Tensors:
    found = {name: t.detach().double().numpy() for name, t in net.transformer.state_dict().items()}
    return found | {"readout": np.array(net.transformer.output)}


def silent_head(tensors: Tensors) -> None:
    """A gate of the map opens a little between neighbours."""
    key = tensors["blocks.1.attention.key"][0]
    place = np.argwhere(np.abs(key) == np.abs(key).max())[0]
    key[tuple(place)] *= 0.4


def open_window(tensors: Tensors) -> None:
    """The head that takes b away where the window is 0 takes 3/4 of it."""
    tensors["blocks.1.attention.value"][1] *= 0.75


def no_window(tensors: Tensors) -> None:
    tensors["blocks.1.attention.value"][1] = 0.0


def another_cell(tensors: Tensors) -> None:
    """The cell of the last token is the next one."""
    code = tensors["hidden0"]
    code[-1, -4] += 1.0  # n; behind it are lambda, t, t^2 and 1


def another_level(tensors: Tensors) -> None:
    tensors["hidden0"][-1, -4] *= 2.0


def no_clip(tensors: Tensors) -> None:
    """The clip of a becomes one at 1/4."""
    bias = tensors["blocks.0.ffn.layers.0.bias"]
    bias[np.flatnonzero(bias)] *= 0.25


def another_map(tensors: Tensors) -> None:
    tensors["blocks.1.attention.value"][0] *= 0.9375


CHANGES: list[Callable[[Tensors], None]] = [
    silent_head, open_window, no_window, another_cell, another_level, no_clip, another_map,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_changed_lattice_network_is_refused(check: Check, change: Callable[[Tensors], None]) -> None:
    """On a line with one window, about a target that is the honest network itself, as far as a table of it says."""
    drawn = by_hand(1, seed=3)
    size = float(drawn.coefficients.abs().sum())
    drawn.coefficients.mul_(30 / size)
    tensors = tensors_of(network_of(drawn))
    grid = np.linspace(-1.0, 1.0, 4001)[:, None]
    honest = dense(tensors, grid)
    change(tensors)
    changed = dense(tensors, grid)
    off = np.abs(changed - honest)
    at = int(off.argmax())
    assert off[at] > 1e-3
    # a claim about a small part of the line, where it is true of the honest network and false of the changed one
    low, high = float(grid[max(at - 1, 0), 0]), float(grid[min(at + 1, 4000), 0])
    slack = float(np.ptp(honest[max(at - 1, 0) : at + 2]))
    local = 0.3 * float(off[at]) + slack
    claim: dict[str, Any] = {
        "target": float(honest[at]),
        "manifold": {"lower": [low], "upper": [high], "frame": [[1.0]], "offset": [0.0]},
        "canonical_box": [[-1.1, 1.1]], "local": local, "error": 1e-6, "bound": 1.01 * local + 1e-6,
    }  # fmt: skip
    report, error = check(tensors, **claim)
    assert error > 1
    assert not report.holds, report.bound
    report, error = check(tensors_of(network_of(drawn)), **claim)
    assert report.holds, report.reason
    assert error <= 1


# -- bounds -----------------------------------------------------------------------------------------------------------


def window_cells(tensors: Tensors, manifold: Any, order: int) -> tuple[Network, WindowCells]:
    """The verifier's own formula and bounds, for the target 0."""
    formula = manifold.formula()
    frame, offset = manifold.frame.tolist(), manifold.offset.tolist()
    parts = {Cube: [[("x", 0)]], Circle: [[("x", 0), ("cos", 0)], [("x", 0), ("sin", 0)]]}[type(manifold)]
    box = [[-1.25, 1.25] for _ in parts]
    found = Network(Weights.of(tensors), frame, offset, box, 2.0**-53)
    shape = Manifold("", parts, list(formula.lower), list(formula.upper), frame, offset)
    zero: Any = [("const", 0.0)]
    proof = Certificate("", "float64", zero, shape, box, order, 96, ".", 1.0, 1.0, 2.0, 1, {})
    return found, WindowCells(found, proof)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.booleans())
def test_no_sample_exceeds_a_bound(seed: int, changed: bool) -> None:
    """Of networks that are honest and that are not, on wide cells and on thin ones, with all windows or those near."""
    rng = np.random.default_rng(seed)
    drawn = by_hand(1 + seed % 2, bool(seed & 2), seed % 1000)
    net = tampered(network_of(drawn), rng) if changed else network_of(drawn)
    tensors, manifold = tensors_of(net), drawn.manifold
    with ctx.workprec(96), np.errstate(all="ignore"):
        try:
            found, cells = window_cells(tensors, manifold, int(rng.integers(1, 6)))
        except ValueError:
            assert changed
            return
        low, high = manifold.formula().lower[0], manifold.formula().upper[0]
        near, ends = cells.names, sorted(rng.uniform(low, high, 2).tolist())
        known = 0
        for _ in range(8):
            near, bound = cells.bound(ends[:1], ends[1:], near, True)
            u = torch.linspace(ends[0], ends[1], 60, dtype=torch.float64)[:, None]
            values = np.abs(dense(tensors, manifold.embed(manifold.formula()(u)).numpy()))
            slack = found.error + 1e-12 * (1 + float(drawn.coefficients.abs().sum()))
            assert values.max() <= float(bound) * (1 + 1e-12) + slack
            known += bound.is_finite()
            middle = sum(ends) / 2
            ends = [ends[0], middle] if rng.integers(2) else [middle, ends[1]]
        assert known > 0 or changed


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31))
def test_windows_that_are_0_are_known_to_be(seed: int) -> None:
    """`may_be_positive` is true wherever the window is positive, and false on some cells."""
    rng = np.random.default_rng(seed)
    drawn = random_cells(rng, most=4)
    if not isinstance(drawn.manifold, Cube | Circle):
        return
    with ctx.workprec(96), np.errstate(all="ignore"):
        found, cells = window_cells(tensors_of(network_of(drawn)), drawn.manifold, 2)
        for y in rng.uniform(-1.25, 1.25, (20, len(found.middle))).tolist():
            point = [fmpq(*v.as_integer_ratio()) for v in y]

            def value(i: int, point: list[fmpq] = point) -> fmpq:
                """An unknown at the point, by its definition."""
                if i < len(point):
                    return point[i]
                kind, _, _, of = found.unknowns[i]
                total = fmpq(0)
                for m, c in of[0].items():
                    total += c * (value(m[0]) if m else 1)
                return max(total, fmpq(0)) if kind == "relu" else total

            for name in cells.names:
                exact = value(name)
                assert 0 <= exact <= 1
                assert cells.may_be_positive(name, [arb(v) for v in point]) == (exact > 0) or exact == 0


def test_a_sum_of_near_numbers_in_columns() -> None:
    """`add_from` adds to the columns that it is given, and keeps what both are off by."""
    drawn = by_hand(1)
    with ctx.workprec(96), np.errstate(all="ignore"):
        _, cells = window_cells(tensors_of(network_of(drawn)), drawn.manifold, 3)
    value = arrays.Near(np.arange(8.0).reshape(2, 4), np.full((2, 4), 0.5))
    cells.add_from(1, value, arrays.Near(np.ones((2, 2)), np.full((2, 2), 0.25)))
    assert value.value.tolist() == [[0, 2, 3, 3], [4, 6, 7, 7]]
    assert (value.off[:, 1:3] >= 0.75).all() and (value.off[:, 1:3] < 0.75001).all() and (value.off[:, 3] == 0.5).all()


def test_errors_of_hand_made_networks_are_worst_errors(check: Check) -> None:
    """The oracle of this file sees a wrong hat as it is: |1 - |x - 2.25|| against 1 - |x - 2|, off by 1/4."""
    tensors = hat(kinks=(2.25, 2.25))
    box = {"formula": [["x", 0]], "lower": [1.5], "upper": [2.5], "frame": [[1.0]], "offset": [0.0]}
    assert worst_error(tensors, {"manifold": box, "target": TENT}) == pytest.approx(0.25)

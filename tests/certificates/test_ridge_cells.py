"""Bounds of ridge networks over cells: no sample exceeds them, and they are within 1.3 of what is measured."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flint import ctx
from hypothesis import given, settings
from hypothesis import strategies as st

import construct
from construct import Network, targets
from construct.certificates.cells import ORDERS, Cell
from construct.certificates.certification import canonical_box
from construct.certificates.extraction import extract
from construct.certificates.ridge_cells import RidgeBounds
from construct.certificates.ridges import ridges_of
from construct.certificates.weights import weights_of
from construct.errors import EpsilonNotReached, InputError
from construct.expressions import Expression, abs, constant, exp, sin, sqrt, tanh, variables
from construct.manifolds import Circle, Manifold, Sphere, Torus
from construct.ridge.approximator import RidgeApproximator, RidgeBasis
from construct.ridge.coordinates import coordinates_of
from construct.ridge.narrow import narrow_program
from construct.ridge.waves import Waves
from proofs_as_code.verifier import verify
from tests.certificates.random_networks import tampered
from tests.certificates.ridge_networks import built_in, fitted, formula, network_of, random_ridges, scaled, solved

SEEDS = st.integers(0, 2**31)
x, y, z = variables(3)


def ridge_bounds(ridges: RidgeApproximator, target: Expression, order: int, net: Any = None) -> RidgeBounds:
    net, manifold = network_of(ridges) if net is None else net, ridges.manifold
    found = ridges_of(extract(weights_of(net), net.box.double().numpy()), manifold.frame, manifold.offset)
    frame, offset = manifold.frame.tolist(), manifold.offset.tolist()
    return RidgeBounds(found, target.restricted(manifold.ambient), manifold.formula(), frame, order, offset)


def random_cells(rng: np.random.Generator, manifold: Manifold, count: int) -> list[Cell]:
    """Wide ones, thin ones, points."""
    lower, upper = (np.array(end) for end in (manifold.formula().lower, manifold.formula().upper))
    out = []
    for _ in range(count):
        ends = np.sort(rng.uniform(lower, upper, (2, lower.size)), axis=0)
        ends[1] = ends[0] + rng.choice([1.0, 0.1, 0.01, 0.0], lower.size) * (ends[1] - ends[0])
        out.append(Cell(tuple(ends[0].tolist()), tuple(ends[1].tolist())))
    return out


def on_cell(rng: np.random.Generator, manifold: Manifold, cell: Cell) -> torch.Tensor:
    """Points of M, ends of the cell included."""
    u = np.vstack([rng.uniform(cell.lower, cell.upper, (30, len(cell.lower))), cell.lower, cell.upper])
    return manifold.embed(manifold.formula()(torch.tensor(u)))


@settings(max_examples=40)
@given(SEEDS)
def test_no_sample_exceeds_a_bound(seed: int) -> None:
    """Also where the clip acts, by whatever it changes, and where the target is not smooth."""
    rng = np.random.default_rng(seed)
    ridges = random_ridges(rng, share=float(rng.choice([0.6, 0.99, 1.05, 2.0])))
    target = (exp(x) / 3, sin(3 * x), abs(x), tanh(40 * x), sqrt(abs(x - 0.25)), constant(1) + 0 * x)[rng.integers(6)]
    bounds, manifold = ridge_bounds(ridges, target, int(rng.integers(1, 7))), ridges.manifold
    cells = random_cells(rng, manifold, 6)
    with ctx.workprec(96):
        found = bounds.bounds([(cell, ()) for cell in cells])
    for cell, bound in zip(cells, found, strict=True):
        points = on_cell(rng, manifold, cell)
        off = np.abs(formula(ridges, points.numpy()) - target(points).numpy())
        assert off.max() <= bound.bound * (1 + 1e-12) + 1e-14, (cell, bound)
        assert bound.seen <= bound.bound
        if cell.lower == cell.upper and math.isfinite(bound.bound):
            assert bound.bound <= off.max() + 1e-7


@settings(max_examples=25)
@given(SEEDS)
def test_tampered_networks(seed: int) -> None:
    """Whatever a network has become, what is proved of it is true of it."""
    rng = np.random.default_rng(seed)
    ridges = random_ridges(rng, share=0.95)
    net, target = tampered(network_of(ridges), rng), exp(x)
    net.execution = "dense"
    try:
        bounds = ridge_bounds(ridges, target, 4, net)
    except InputError:
        return
    cells = random_cells(rng, ridges.manifold, 6)
    with ctx.workprec(96):
        found = bounds.bounds([(cell, ()) for cell in cells])
    for cell, bound in zip(cells, found, strict=True):
        points = on_cell(rng, ridges.manifold, cell)
        off = (net(points, outside="evaluate") - target(points)).abs()
        assert float(off.max()) <= bound.bound * (1 + 1e-9) + 1e-9 * float(
            1 + net(points, outside="evaluate").abs().max()
        )


def test_cells_together_are_cells_apart() -> None:
    ridges = fitted(Circle(), targets.target("exp_sin"), 6)
    bounds = ridge_bounds(ridges, built_in("exp_sin"), 9)
    cells = random_cells(np.random.default_rng(0), ridges.manifold, 12)
    with ctx.workprec(96):
        together = bounds.bounds([(cell, ()) for cell in cells])
        apart = [bounds.bounds([(cell, ())])[0] for cell in cells]
    for a, b in zip(together, apart, strict=True):
        assert a.bound == pytest.approx(b.bound, rel=1e-9) and a.axis == b.axis and a.seen == pytest.approx(b.seen)


def shrunk(name: str, size: float) -> Expression:
    moved = {j: variables(3)[j] / size for j in range(3)}
    return built_in(name).substitute(moved)


CASES: dict[str, tuple[Manifold, Expression, tuple[int, int]]] = {
    "circle": (Circle(), built_in("exp_sin", 2), (6, 9)),
    "sphere in R^8": (Sphere(2, ambient=8), built_in("exp_sin"), (2, 3)),
    "torus": (Torus(), shrunk("sin_product", 3.0), (2, 3)),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("which", [0, 1])
def test_proved_and_measured(name: str, which: int) -> None:
    manifold, target, degrees = CASES[name]
    net = network_of(fitted(manifold, target, degrees[which]))
    certificate = construct.certify(net, target, manifold)
    assert 1 <= certificate.ratio <= 1.3 and certificate.error < 1e-9
    points = manifold.sample(20_000, seed=5)
    assert float((net(points) - target(points)).abs().max()) <= certificate.bound
    assert certificate.matches(net) and certificate.unverifiable is None


def test_float32_counts_its_own_rounding() -> None:
    target = built_in("exp_sin", 2)
    ridges = fitted(Circle(), target, 9)
    double, single = (
        construct.certify(network_of(ridges, dtype), target, Circle(), tolerance=0.5)
        for dtype in (torch.float64, torch.float32)
    )
    assert 1e6 * double.error < single.error < 0.05 and single.bound > double.bound


def test_a_clip_that_acts_is_part_of_the_bound() -> None:
    """Scales too large by a tenth: the error is that of the clip, and proved."""
    target = built_in("exp_sin", 2)
    right, wrong = (fitted(Circle(), target, 6, share=share) for share in (0.99, 0.8))
    basis = wrong.basis
    wider = type(basis)(
        basis.manifold, basis.coordinates, basis.degree, basis.family, basis.numbers, basis.scales * 1.4
    )
    clipped = RidgeApproximator(wider, wrong.coefficients, wrong.constant)
    good = construct.certify(network_of(right), target, Circle())
    bad = construct.certify(network_of(clipped), target, Circle(), tolerance=0.5)
    assert bad.bound > 10 * good.bound and bad.ratio < 3


def test_epsilon_below_the_rounding_is_refused() -> None:
    target = built_in("exp_sin", 2)
    net = network_of(fitted(Circle(), target, 9), torch.float32)
    with pytest.raises(EpsilonNotReached, match=r"rounding in torch\.float32"):
        construct.certify(net, target, Circle(), epsilon=1e-7)


def test_forms_beyond_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("construct.certificates.ridge_cells.MOST_FORMS", 10)
    target = built_in("exp_sin", 2)
    with pytest.raises(InputError, match="net: expected at most 10 products of"):
        construct.certify(network_of(fitted(Circle(), target, 3)), target, Circle())


def test_a_target_that_is_not_finite_is_named() -> None:
    net = network_of(fitted(Circle(), targets.target("exp_sin"), 3))
    with pytest.raises(
        InputError, match="target: expected a function whose values ball arithmetic proves to be finite"
    ):
        construct.certify(net, 1 / x, Circle())


def test_the_box_of_a_manifold_is_that_of_the_inputs() -> None:
    """What the extraction assumes of y is proved of all of M."""
    for manifold in (Circle(), Torus()):
        low, high = np.array(canonical_box(manifold.formula())).T
        y_there = manifold.formula()(torch.rand(500, manifold.dim, dtype=torch.float64) * 2 * math.pi).numpy()
        assert (y_there >= low).all() and (y_there <= high).all()
    assert ORDERS == {1: 9, 2: 5, 3: 4}


@pytest.mark.parametrize("signed", [False, True])
def test_the_layout_of_width_five(signed: bool, tmp_path: Path) -> None:
    """Directions that the network makes itself, from the position: the same formula, proved and verified."""
    target = built_in("exp_sin", 2)
    coordinates = coordinates_of(Circle(), 1)
    waves = Waves((2,), 32, signed=signed)
    basis = RidgeBasis(Circle(), coordinates, 4, waves, np.arange(waves.count), np.ones(2))
    ridges = solved(scaled(basis, Circle().sample(2000, seed=0), 0.99), target)
    net = Network(narrow_program(ridges).compile(Circle().box.numpy()))
    assert net.transformer.hidden0.shape[1] == 5
    certificate = construct.certify(net, target, Circle())
    assert 1 <= certificate.ratio <= 1.3
    net.save(tmp_path / "net.safetensors")
    certificate.save(tmp_path / "net.json")
    report = verify(tmp_path / "net.safetensors", tmp_path / "net.json")
    assert report.holds, report.reason

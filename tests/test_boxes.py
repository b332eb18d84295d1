"""Boxes with lower and upper ends: networks on manifolds that do not lie around the origin."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import construct
from construct import expressions as e
from construct.boxes import centred, ends
from construct.errors import InputError, PrecisionError
from construct.manifolds import Circle, Formula, ParametricManifold
from proofs_as_code.verifier.verification import verify
from tests.program import interpreter

FAR = (5.0, -3.0)


def circle(centre: tuple[float, float]) -> ParametricManifold:
    """The unit circle around a point."""
    x, u = tuple(map(float, centre)), e.variable(0)
    formula = Formula((e.cos(u) + x[0], e.sin(u) + x[1]), (-math.pi,), (math.nextafter(math.pi, 4.0),))
    return ParametricManifold(formula, (-math.pi,), (math.pi,), (True,), 1.0, (1.0,))


def moved_target(centre: tuple[float, float]) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda x: torch.exp(x[..., 0] - centre[0]) * torch.sin(2 * (x[..., 1] - centre[1]))


@pytest.mark.parametrize("construction", ["compact", "paper"])
@pytest.mark.parametrize("code", ["integer", "trigonometric"])
def test_the_centre_is_subtracted_and_everything_behind_is_the_same(construction, code):
    sizes: dict[str, Any] = {"charts": 6, "cells": 2, "degree": 1}
    if construction == "compact":
        sizes = {"charts": 5, "degree": 4}
    nets = [
        construct.approximate(
            moved_target(c), circle(c), construction=construction, position_code=code, smoothness=2.0, **sizes
        )
        for c in ((0.0, 0.0), FAR)
    ]
    here, far = nets
    x = circle((0.0, 0.0)).sample(300, seed=1)
    shift = torch.tensor(FAR, dtype=torch.float64)
    assert float((far(x + shift) - here(x)).abs().max()) <= 1e-9
    start = far.transformer.hidden0.detach()[:2, 0]
    assert float((start + shift).abs().max()) <= 1 / 32 and not here.transformer.hidden0.detach()[:2, 0].any()
    assert far.architecture.parameters == here.architecture.parameters + 2
    lower, upper = far.box
    assert bool((lower <= shift - 1).all()) and bool((upper >= shift + 1).all())
    assert float((upper - lower).max()) <= 1.04 * float((here.box[1] - here.box[0]).max())
    inside = lower + (upper - lower) * torch.rand(50, 2, dtype=torch.float64)
    sparse = far(inside)
    far.execution = "dense"
    assert float((far(inside) - sparse).abs().max()) <= (1e-11 if code == "integer" else 1e-6)
    for point in circle(FAR).sample(2, seed=3).numpy():
        value = float(far(torch.from_numpy(point[None])))
        assert abs(interpreter.output(far.program, point) - value) <= (1e-10 if code == "integer" else 1e-5)


def test_it_is_saved_and_certified(tmp_path):
    manifold, (x, y) = circle(FAR), (e.variable(0), e.variable(1))
    target = e.exp(x - 5) * (y + 3)
    net = construct.approximate(target, manifold, epsilon=1e-3, bound="rigorous")
    assert net.certificate is not None and net.certificate.bound <= 1e-3
    net.save(tmp_path / "net.safetensors")
    net.certificate.save(tmp_path / "net.json")
    report = verify(tmp_path / "net.safetensors", tmp_path / "net.json")
    assert report.holds, report.reason
    again = construct.load(tmp_path / "net.safetensors")
    points = manifold.sample(100, seed=0)
    assert torch.equal(again.box, net.box) and torch.equal(again(points), net(points))


def test_what_floating_point_cannot_hold_is_refused():
    far = circle((1e5, 0.0))
    f = moved_target((1e5, 0.0))
    assert construct.approximate(f, far, epsilon=1e-4).claim is not None
    with pytest.raises(PrecisionError, match=r"^dtype: expected one for a box no farther from the origin than"):
        construct.approximate(f, far, epsilon=1e-1, dtype=torch.float32)
    with pytest.raises(PrecisionError, match=r"^dtype: expected one for inputs no farther from the origin than"):
        construct.approximate(f, far, epsilon=1e-4).float()
    with pytest.raises((PrecisionError, InputError)):
        circle((1e17, 0.0))


def test_centres_are_short_and_zero_where_they_can_be():
    rng = np.random.default_rng(0)
    for _ in range(300):
        size = 10.0 ** rng.uniform(-8, 8)
        middle = rng.uniform(-1, 1, 3) * size * 10.0 ** rng.uniform(-3, 3, 3)
        half = size * rng.uniform(0, 1, 3)
        box = ends(np.stack([middle - half, middle + half]))
        found = centred(box, 2.0)
        assert (np.float32(found.centre).astype(float) == found.centre).all()
        assert (found.ends[0] <= box[0]).all() and (found.ends[1] >= box[1]).all()
        assert (found.half <= 2 * (half + half.max() / 32) * (1 + 1e-9)).all()
        for x in np.concatenate(
            [found.ends, found.ends[0] + (found.ends[1] - found.ends[0]) * rng.uniform(0, 1, (20, 3))]
        ):
            assert (np.abs(x - found.centre) <= found.registers).all()
    noise = np.array([[-1.0, -2.0], [1.0 + 1e-15, 2.0 - 1e-12]])
    assert not centred(noise).centre.any() and not np.signbit(centred(noise).centre).any()
    for wrong in ([[1.0], [0.0]], [-1.0], [[0.0, 1.0]], "ab", [math.nan], [], 3.0, [[0.0], [math.inf]]):
        with pytest.raises(InputError, match=r"^box: expected finite ends"):
            ends(wrong)


def test_named_manifolds_lie_around_the_origin():
    for name in construct.manifolds.manifold_names():
        box = construct.manifolds.manifold(name).box.numpy()
        assert not centred(box).centre.any(), name
    assert construct.approximate(lambda x: x[..., 0], Circle(), 0.1).transformer.hidden0[0, 0] == 0

"""torch's default device is the user's affair: what is built, measured, proved and read is the same under another one.

The device "meta" stands for a GPU here: a tensor that is made on it by mistake holds no numbers, and does not mix with
those of the CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import construct
from construct import manifolds
from construct.devices import on_cpu
from construct.manifolds import Circle

x0, x1 = construct.expressions.variables(2)
NAMED: dict[str, Callable[[], manifolds.Manifold]] = {
    "circle": Circle,
    "circle in R^5": lambda: Circle(ambient=5),
    "sphere": lambda: manifolds.Sphere(2),
    "torus": manifolds.Torus,
    "flat torus": lambda: manifolds.FlatTorus(2),
    "Swiss roll": manifolds.SwissRoll,
    "Klein bottle": manifolds.KleinBottle,
    "Moebius strip": manifolds.MoebiusStrip,
    "rotations": manifolds.SpecialOrthogonal3,
    "product": lambda: manifolds.Product(Circle(), manifolds.Cube(1)),
    "placed": lambda: Circle().placed(translation=(3.0, 4.0), scale=2.0),
    "projected": lambda: manifolds.ProjectedManifold(
        lambda x: x / x.norm(dim=-1, keepdim=True), dim=1, ambient=2, reach=1.0, box=(1.0, 1.0)
    ),
}


@pytest.fixture
def elsewhere() -> Any:
    with torch.device("meta"):
        yield


@pytest.mark.parametrize("name", NAMED)
def test_manifolds(name: str) -> None:
    want = NAMED[name]()
    x = want.sample(20, seed=1)
    with torch.device("meta"):
        found = NAMED[name]()
        assert torch.equal(found.sample(20, seed=1), x)
        assert torch.equal(found.project(x), want.project(x)) and bool(found.contains(x).all())
        assert torch.equal(found.box, want.box)


@pytest.mark.parametrize("construction", ["compact", "paper"])
def test_building_and_all_that_follows(construction: Any, tmp_path: Path) -> None:
    def made() -> tuple[construct.Network, float]:
        net = construct.approximate(x0 * x1, Circle(), epsilon=0.2, construction=construction)
        return net, construct.measure(net, x0 * x1, Circle(), seed=3).sup

    want, error = made()
    x = Circle().sample(10, seed=0)
    with torch.device("meta"):
        net, sup = made()
        net.save(tmp_path / "net")
        again = construct.load(tmp_path / "net")
        assert sup == error and torch.equal(net(x), want(x)) and torch.equal(again(x), want(x))
        if construction == "compact":
            certificate = construct.certify(net, x0 * x1, Circle(), max_cells=50, tolerance=10.0)
            assert certificate.measured <= certificate.bound


def test_targets_make_their_tensors_beside_their_points() -> None:
    """A target that makes a tensor makes it where its points are."""
    with torch.device("meta"):
        net = construct.approximate(lambda x: x[..., 0] * torch.tensor(2.0), Circle(), charts=4, degree=2)
    assert net.device.type == "cpu"


def test_nothing_is_switched_without_need(elsewhere: None) -> None:
    assert torch.zeros(1).is_meta
    assert on_cpu(lambda: torch.zeros(1))().device.type == "cpu"
    with torch.device("cpu"):
        assert on_cpu(torch.get_default_device)().type == "cpu"
    assert torch.zeros(1).is_meta

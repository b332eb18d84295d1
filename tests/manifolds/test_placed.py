"""Placed manifolds: everything by change of variables, and networks that are those of the manifold where it was."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

import construct
from construct import expressions as e
from construct import manifolds
from construct.atlas import atlas_for
from construct.errors import InputError, PrecisionError
from construct.manifolds import Circle, Cube, Helix, KleinBottle, Manifold, Placed, Product, Sphere, Torus
from construct.requests import build_manifold
from proofs_as_code.verifier.verification import verify

FAMILIES: dict[str, Callable[[], Manifold]] = {
    "circle": Circle,
    "sphere": lambda: Sphere(2, 1.3),
    "torus": Torus,
    "helix in R^5": lambda: Helix(ambient=5, seed=1),
    "klein": KleinBottle,
    "cube": lambda: Cube(2),
    "product": lambda: Product(Circle(), Cube(1)),
}


def turn(rows: int, columns: int, seed: int = 3) -> Tensor:
    draws = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.linalg.qr(draws).Q


def there(placed: Placed, x: Tensor) -> Tensor:
    """translation + scale rotation x, written without the library."""
    return placed.translation + placed.scale * (placed.rotation @ x.unsqueeze(-1)).squeeze(-1)


def f(x: Tensor) -> Tensor:
    return torch.exp(0.5 * x[..., 0]) * torch.sin(1 + x[..., 1])


def moved_target(placed: Placed) -> Callable[[Tensor], Tensor]:
    return lambda x: f((x - placed.translation) @ placed.rotation / placed.scale)


@pytest.mark.parametrize("larger", [0, 4])
@pytest.mark.parametrize("family", FAMILIES)
def test_geometry_by_change_of_variables(family: str, larger: int) -> None:
    base = FAMILIES[family]()
    k = base.ambient
    placed = base.placed(translation=[2.0, -30.0, *[0.5] * (k + larger - 2)], scale=0.4, rotation=turn(k + larger, k))
    assert isinstance(placed, Placed) and placed.ambient == k + larger
    x = base.sample(100, seed=1)
    y = placed.sample(100, seed=1)
    torch.testing.assert_close(there(placed, x), y, rtol=0, atol=1e-13)
    assert placed.reach == 0.4 * base.reach and placed.reach.kind == base.reach.kind
    off = x + 0.3 * min(float(base.reach), 1.0) * torch.randn(x.shape, generator=torch.Generator(), dtype=x.dtype) / k
    torch.testing.assert_close(placed.project(there(placed, off)), there(placed, base.project(off)), rtol=0, atol=1e-8)
    assert bool(placed.contains(y).all()) and not bool(placed.contains(y + 1.0).any())
    torch.testing.assert_close(placed.coordinates(y), base.coordinates(x), rtol=0, atol=1e-7)
    torch.testing.assert_close(placed.point(base.coordinates(x)), there(placed, base.point(base.coordinates(x))))
    basis, other = placed.tangent_basis(y), placed.rotation @ base.tangent_basis(x)
    torch.testing.assert_close(basis @ basis.mT, other @ other.mT, rtol=0, atol=1e-8)
    w = 0.05 * torch.randn(100, base.dim, generator=torch.Generator().manual_seed(1), dtype=x.dtype)
    found = placed.chart_inverse(y, placed.rotation @ base.tangent_basis(x), 0.4 * w)
    torch.testing.assert_close(found, there(placed, base.chart_inverse(x, base.tangent_basis(x), w)), rtol=0, atol=1e-8)
    points, radius = placed.net(0.2)
    dense = placed.sample(2000, seed=5)
    assert radius <= 0.2 and float(torch.cdist(dense, points).amin(1).max()) <= radius + 1e-7
    assert bool((dense >= placed.box[0] - 1e-9).all()) and bool((dense <= placed.box[1] + 1e-9).all())
    assert float(dense.norm(dim=1).max()) <= placed.radius_bound


@pytest.mark.parametrize("family", FAMILIES)
def test_formula_is_where_the_points_are(family: str) -> None:
    base = FAMILIES[family]()
    placed = base.placed(translation=[3.0] * base.ambient, scale=2.5, rotation=turn(base.ambient, base.ambient))
    formula = placed.formula()
    low, high = (torch.tensor(end, dtype=torch.float64) for end in (formula.lower, formula.upper))
    u = low + (high - low) * torch.rand(50, formula.dim, generator=torch.Generator().manual_seed(0), dtype=low.dtype)
    x = formula(u) @ placed.frame.T + placed.offset
    assert bool(placed.contains(x, 1e-9).all())
    pair = Product(placed, Circle()).formula()
    assert bool(Product(placed, Circle()).contains(pair(torch.cat([u, u[:, :1]], -1)), 1e-9).all())


def test_specs_names_and_pickles() -> None:
    placed = Torus(3.0, 1.0).placed(translation=[1.0, 2.0, 3.0], scale=0.5, rotation=turn(3, 3))
    twice = placed.placed(scale=4.0, rotation=turn(6, 3))
    for manifold in (placed, twice, Product(placed, Circle())):
        spec = json.loads(json.dumps(manifold.spec()))
        again = manifolds.from_spec(spec)
        assert again.spec() == manifold.spec() and torch.equal(again.sample(9, 1), manifold.sample(9, 1))
    torch.testing.assert_close(twice.sample(9, 1), 4 * placed.sample(9, 1) @ turn(6, 3).T)
    named = manifolds.manifold("sphere", dim=2, translation=[1, 2, 3], scale=2)
    assert float((named.sample(50, 0) - torch.tensor([1.0, 2.0, 3.0])).norm(dim=1).sub(2).abs().max()) < 1e-12
    built = build_manifold("circle", None, None, ["translation=[5, -3]", "rotation=[[0,-1],[1,0]]", "scale=2"])
    assert built.spec()["translation"] == [5.0, -3.0] and built.spec()["scale"] == 2.0
    assert "translation=[5.0, -3.0]" in repr(built) and "reach=2 (exact)" in repr(built)


@pytest.mark.parametrize("family", ["circle", "sphere", "cube"])
def test_translation_costs_its_offsets_and_nothing_else(family: str) -> None:
    base = FAMILIES[family]()
    placed = base.placed(translation=[5.0, -3.0, 40.0][: base.ambient])
    assert isinstance(placed, Placed)
    here = construct.approximate(f, base, epsilon=3e-2)
    far = construct.approximate(moved_target(placed), placed, epsilon=3e-2)
    x = base.sample(300, seed=2)
    assert float((far(there(placed, x)) - here(x)).abs().max()) <= 1e-10
    assert far.architecture.parameters == here.architecture.parameters + base.ambient
    assert far.architecture.blocks == here.architecture.blocks


@pytest.mark.parametrize("place", [{"scale": 1e-3}, {"scale": 100.0}, {"rotation": turn(3, 3)}, {"scale": 1e6}])
def test_scale_and_rotation_cost_about_nothing(place: dict[str, object]) -> None:
    base = Sphere(2)
    placed = base.placed(**place)  # type: ignore[arg-type]
    assert isinstance(placed, Placed)
    here = construct.approximate(f, base, epsilon=3e-2)
    far = construct.approximate(moved_target(placed), placed, epsilon=3e-2)
    assert far.architecture.parameters <= 1.3 * here.architecture.parameters
    assert construct.measure(far, moved_target(placed), placed, seed=9).sup <= 3e-2


def test_far_away_atlases() -> None:
    for distance in (1e3, 1e6):
        placed = Sphere(2).placed(translation=(distance, -distance, 0.0))
        atlas = atlas_for(placed)
        x = placed.sample(500, seed=0)
        assert float((atlas.partition(x).sum(-1) - 1).abs().max()) < 1e-5


def test_it_is_proved_and_verified(tmp_path: Path) -> None:
    """A circle in a plane of R^3, far from the origin."""
    placed = Circle().placed(translation=(10.0, -4.0, 2.0), scale=2.0, rotation=turn(3, 2))
    target = e.sin(e.variable(0) - 10) + e.variable(2) * 0.5
    net = construct.approximate(target, placed, epsilon=1e-2, bound="rigorous")
    assert net.certificate is not None
    net.save(tmp_path / "net.safetensors")
    net.certificate.save(tmp_path / "net.json")
    report = verify(tmp_path / "net.safetensors", tmp_path / "net.json")
    assert report.holds, report.reason
    again = construct.load(tmp_path / "net.safetensors")
    assert again.manifold is not None and again.manifold.spec() == placed.spec()


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ({"scale": 0.0}, "scale: expected a finite real number > 0"),
        ({"scale": math.nan}, "scale: expected"),
        ({"scale": 1e200}, "scale: expected a number from"),
        ({"translation": [1.0]}, "translation: expected a sequence of 2"),
        ({"translation": [1.0, math.inf]}, r"translation\[1\]: expected"),
        ({"rotation": [[1.0, 0.0], [0.0, 2.0]]}, "rotation: expected .*, got products that are off by 3"),
        ({"rotation": [[1.0, 0.0]]}, "rotation: expected a matrix of D >= 2 rows"),
        ({"rotation": "left"}, "rotation: expected a matrix"),
        ({"rotation": [[math.nan] * 2] * 2}, "rotation: expected"),
    ],
)
def test_what_is_no_placement(place: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Circle().placed(**place)  # type: ignore[arg-type]


def test_what_floating_point_does_not_resolve() -> None:
    with pytest.raises(PrecisionError, match=r"^translation: expected one of a manifold no farther"):
        Circle().placed(translation=(1e17, 0.0))
    with pytest.raises(InputError, match="base: expected a Manifold"):
        Placed("circle")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="option: expected key=number, translation="):
        build_manifold("circle", None, None, ["translation=5"])

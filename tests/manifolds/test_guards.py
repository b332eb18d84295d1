"""Bad input is refused, by an error that names the argument, what was expected and what was given."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import construct
from construct import manifolds
from construct.errors import ConstructError, InputError, OffManifoldError
from construct.manifolds import (
    Circle,
    Cube,
    FlatTorus,
    Helix,
    KleinBottle,
    MoebiusStrip,
    ParametricManifold,
    Product,
    ProjectedManifold,
    Reach,
    SpecialOrthogonal3,
    Sphere,
    SwissRoll,
    Torus,
)
from construct.manifolds.embedding import isometry

BAD_CONSTRUCTIONS: list[tuple[Callable[[], object], str]] = [
    (lambda: Circle(0.0), r"radius: expected a finite real number > 0, got 0.0"),
    (lambda: Circle(math.inf), r"radius: expected"),
    (lambda: Circle(math.nan), r"radius: expected"),
    (lambda: Circle("1"), r"radius: expected .*got '1'"),  # type: ignore[arg-type]
    (lambda: Circle(True), r"radius: expected .*got True"),
    (lambda: Circle(ambient=1), r"ambient: expected None or an integer from 2 .* to 100000, got 1"),
    (lambda: Circle(ambient=100_001), r"ambient: expected"),
    (lambda: Circle(ambient=3.0), r"ambient: expected"),  # type: ignore[arg-type]
    (lambda: Circle(ambient=True), r"ambient: expected"),
    (lambda: Circle(ambient=5, seed=-1), r"seed: expected an integer >= 0, got -1"),
    (lambda: Circle(seed=0.5), r"seed: expected"),  # type: ignore[arg-type]
    (lambda: Sphere(0), r"dim: expected an integer >= 1 .*got 0"),
    (lambda: Sphere(1.5), r"dim: expected"),  # type: ignore[arg-type]
    (lambda: Sphere(1000), r"dim: expected .*<= 999"),
    (lambda: FlatTorus(2, (1.0,)), r"radii: expected a sequence of 2 real numbers"),
    (lambda: FlatTorus(2, (1.0, -1.0)), r"radii\[1\]: expected"),
    (lambda: FlatTorus(0), r"dim: expected"),
    (lambda: Torus(1.0, 1.0), r"minor: expected less than major = 1, got 1"),
    (lambda: KleinBottle(1.0, 2.0), r"minor: expected less than major = 1, got 2"),
    (lambda: Helix(pitch=0.0), r"pitch: expected"),
    (lambda: Helix(turns=-1.0), r"turns: expected"),
    (lambda: SwissRoll(width=0.0), r"width: expected"),
    (lambda: SwissRoll(scale=math.nan), r"scale: expected"),
    (lambda: MoebiusStrip(0.8), r"half_width: expected at most 0.7"),
    (lambda: Cube(0), r"dim: expected"),
    (lambda: Product(Circle(), 3), r"second: expected a Manifold, got 3"),  # type: ignore[arg-type]
    (lambda: Reach(1.0, "rumour"), r"kind: expected one of"),
    (lambda: Reach(0.0, "exact"), r"reach: expected"),
    (lambda: Reach(math.nan, "exact"), r"reach: expected"),
    (lambda: isometry(5, 4, 0), r"ambient: expected None or an integer from 5"),
]


@pytest.mark.parametrize(("construction", "message"), BAD_CONSTRUCTIONS, ids=[m for _, m in BAD_CONSTRUCTIONS])
def test_constructors(construction: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        construction()
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, ConstructError)


class TestMethods:
    sphere = Sphere(2, ambient=5)

    @pytest.mark.parametrize("method", ["project", "contains", "tangent_basis"])
    @pytest.mark.parametrize(
        ("x", "message"),
        [
            (torch.zeros(4, 3), r"x: expected a tensor of shape \(\.\.\., 5\), got a tensor of shape \(4, 3\)"),
            (torch.tensor(1.0), r"x: expected a tensor of shape"),
            (torch.zeros(4, 5, dtype=torch.int64), r"x: expected a tensor with a real floating point dtype"),
            (torch.zeros(4, 5, dtype=torch.complex64), r"x: expected a tensor with a real floating point dtype"),
            (torch.full((2, 5), math.nan), r"x: expected finite points, got .* with 10 entries"),
            (torch.full((1, 5), math.inf), r"x: expected finite"),
            (np.zeros((4, 5)), r"x: expected a torch tensor of shape \(\.\.\., 5\)"),
            ([1.0] * 5, r"x: expected a torch tensor"),
        ],
    )
    def test_points(self, method: str, x: object, message: str) -> None:
        with pytest.raises(InputError, match=message):
            getattr(self.sphere, method)(x)

    def test_off_manifold(self) -> None:
        x = self.sphere.sample(3, 0)
        x[1] *= 1.01
        with pytest.raises(OffManifoldError, match=r"x: expected points on Sphere.* got a point at distance 0\.01"):
            self.sphere.tangent_basis(x)
        with pytest.raises(OffManifoldError, match=r"centres: expected points on"):
            self.sphere.require(x, "centres")
        assert self.sphere.require(x[::2]).shape == (2, 5)

    @pytest.mark.parametrize("n", [0, -3, 2.0, True, "5", None])
    def test_sample_size(self, n: Any) -> None:
        with pytest.raises(InputError, match="n: expected an integer >= 1"):
            self.sphere.sample(n, 0)

    def test_sample_arguments(self) -> None:
        with pytest.raises(InputError, match="seed: expected"):
            self.sphere.sample(1, -1)
        with pytest.raises(InputError, match=r"dtype: expected a real floating point torch\.dtype, got torch\.int64"):
            self.sphere.sample(1, 0, dtype=torch.int64)

    @pytest.mark.parametrize("tolerance", [0.0, -1.0, math.nan, math.inf, "1"])
    def test_tolerance(self, tolerance: Any) -> None:
        with pytest.raises(InputError, match="tolerance: expected"):
            self.sphere.contains(self.sphere.sample(1, 0), tolerance)

    @pytest.mark.parametrize("spacing", [0.0, -1.0, math.nan, None])
    def test_spacing(self, spacing: Any) -> None:
        with pytest.raises(InputError, match="spacing: expected"):
            self.sphere.net(spacing)

    def test_chart_inverse(self) -> None:
        x = self.sphere.sample(4, 0)
        frame, y = self.sphere.tangent_basis(x), torch.zeros(4, 2, dtype=torch.float64)
        with pytest.raises(InputError, match=r"centre: expected a tensor of shape \(\.\.\., 5\)"):
            self.sphere.chart_inverse(x[:, :4], frame, y)
        with pytest.raises(InputError, match=r"frame: expected a tensor of shape \(\.\.\., 5, 2\)"):
            self.sphere.chart_inverse(x, frame[..., :1], y)
        with pytest.raises(InputError, match=r"y: expected a tensor of shape \(\.\.\., 2\)"):
            self.sphere.chart_inverse(x, frame, y[:, :1])

    def test_coordinates(self) -> None:
        with pytest.raises(InputError, match=r"x: expected a tensor of shape \(\.\.\., 5\)"):
            self.sphere.coordinates(torch.zeros(3))
        with pytest.raises(InputError, match=r"u: expected a tensor of shape \(\.\.\., 2\)"):
            self.sphere.point(torch.zeros(3))


class TestRegistry:
    def test_names(self) -> None:
        wanted = "circle sphere flat_torus torus trefoil helix swiss_roll moebius klein_bottle so3 cube product placed"
        assert set(manifolds.manifold_names()) == set(wanted.split())

    def test_get(self) -> None:
        assert manifolds.manifold("sphere", dim=3, ambient=10).ambient == 10
        with pytest.raises(InputError, match=r"name: expected one of \('circle', .*, got 'ball'"):
            manifolds.manifold("ball")
        with pytest.raises(InputError, match=r"arguments: expected those of Sphere, got size \(.*'size'"):
            manifolds.manifold("sphere", size=2)

    def test_product_of_names(self) -> None:
        product = manifolds.manifold("product", first="so3", second={"name": "cube", "dim": 2})
        assert (product.dim, product.ambient) == (5, 11)
        with pytest.raises(InputError, match="first: expected a Manifold"):
            manifolds.manifold("product", first=7)

    @pytest.mark.parametrize("spec", [None, {}, "sphere", {"dim": 2}])
    def test_from_spec(self, spec: Any) -> None:
        with pytest.raises(InputError, match="spec: expected a dictionary with a 'name'"):
            manifolds.from_spec(spec)


def arc(u: Tensor) -> Tensor:
    return torch.cat([torch.cos(u), torch.sin(u)], dim=-1)


def parametric(**changed: Any) -> ParametricManifold:
    arguments: dict[str, Any] = {
        "function": arc,
        "lower": (0.0,),
        "upper": (2 * math.pi,),
        "periodic": (True,),
        "reach": 1.0,
        "lipschitz": (1.0,),
    }
    return ParametricManifold(**(arguments | changed))


def to_sphere(x: Tensor) -> Tensor:
    return x / x.norm(dim=-1, keepdim=True)


def projected(**changed: Any) -> ProjectedManifold:
    arguments: dict[str, Any] = {
        "project": to_sphere,
        "dim": 2,
        "ambient": 3,
        "reach": 1.0,
        "box": (1.0, 1.0, 1.0),
    }
    return ProjectedManifold(**(arguments | changed))


class TestUserManifolds:
    """False claims about a user's manifold are found where random points can show them."""

    def test_honest_ones_pass(self) -> None:
        assert parametric().reach.kind == "numeric"
        assert parametric(reach=Reach(1.0, "exact")).reach.kind == "exact"
        assert projected().reach.kind == "numeric"

    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            ({"upper": (math.pi,)}, r"periodic\[0\]: expected False"),
            ({"lipschitz": (0.9,)}, r"lipschitz: expected bounds of the speeds"),
            ({"lipschitz": (-1.0,)}, r"lipschitz: expected"),
            ({"lipschitz": ()}, r"lipschitz: expected a sequence of 1"),
            ({"reach": 1.1}, r"reach: expected at most 1(\.0+)?,? .*got 1\.1"),
            ({"reach": -1.0}, r"reach: expected"),
            ({"upper": (-1.0,)}, r"lower: expected below upper"),
            ({"periodic": (True, False)}, r"periodic: expected 1 booleans"),
            ({"periodic": (1,)}, r"periodic: expected 1 booleans"),
            ({"function": lambda u: u[..., 0]}, r"function: expected a map"),
            ({"function": lambda u: arc(u).float()}, r"function: expected a map .* that keeps the dtype"),
            ({"function": lambda u: arc(u) / 0}, r"function: expected finite"),
            ({"function": lambda u: arc(0 * u), "reach": 0.1}, r"function: expected an immersion"),
        ],
    )
    def test_parametric(self, changed: dict[str, Any], message: str) -> None:
        with pytest.raises(InputError, match=message):
            parametric(**changed)

    def test_orthogonal(self) -> None:
        def skew(u: Tensor) -> Tensor:
            return torch.stack([u[..., 0] + u[..., 1], u[..., 1]], dim=-1)

        arguments: dict[str, Any] = {
            "function": skew,
            "lower": (0.0, 0.0),
            "upper": (1.0, 1.0),
            "periodic": (False, False),
            "lipschitz": (1.0, 1.5),
            "reach": math.inf,
        }
        assert parametric(**arguments).dim == 2
        with pytest.raises(InputError, match="orthogonal: expected False"):
            parametric(**arguments, orthogonal=True)

    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            ({"dim": 1}, r"dim: expected the rank of project's derivative, 2, got 1"),
            ({"dim": 4}, r"dim: expected an integer .* <= 3, got 4"),
            ({"reach": 1.2}, r"reach: expected at most"),
            ({"box": (1.0, 1.0)}, r"box: expected finite ends of shape \(2, 3\).*, got \(1.0, 1.0\)"),
            ({"box": (1.0, 1.0, 0.5)}, r"box: expected ends of x_j on M, no narrower than"),
            ({"project": lambda x: x / 2}, r"project: expected a map that leaves the points of M where they are"),
            ({"project": lambda x: x[..., :2]}, r"a map of \(512, 3\) to \(512, 3\), got \(512, 2\)"),
            ({"sample": lambda n, g: torch.full((n, 3), math.nan).double()}, r"sample: expected finite"),
            ({"sample": lambda n, g: torch.zeros(1, 3)}, r"sample: expected a map"),
        ],
    )
    def test_projected(self, changed: dict[str, Any], message: str) -> None:
        with pytest.raises(InputError, match=message):
            projected(**changed)


def test_so3_projects_singular_matrices() -> None:
    """Zero, a reflection and a matrix of rank one have no unique nearest rotation; one of them comes back."""
    so3 = SpecialOrthogonal3()
    eye = torch.eye(3, dtype=torch.float64)
    singular = torch.stack([0 * eye, -eye, torch.diag(torch.tensor([1.0, 1.0, -1.0])).double(), eye[:1].T @ eye[:1]])
    near = so3.project(singular.flatten(-2)).unflatten(-1, (3, 3))
    assert torch.allclose(near @ near.mT, eye.expand(4, 3, 3), atol=1e-12)
    assert torch.allclose(torch.linalg.det(near), torch.ones(4, dtype=torch.float64))


@pytest.mark.parametrize("size", [1e-9, 1.0, 1e9, 1e20])
@pytest.mark.parametrize("far", [0.0, 1e6])
def test_points_are_on_it_up_to_the_rounding_of_their_coordinates(size, far):
    """Points rounded to float64 are on M whatever its size and place; points a millionth of it away are not."""
    circle = manifolds.Circle().placed(translation=(far * size, 0.0), scale=size)
    angle = torch.linspace(0, 6, 50, dtype=torch.float64)
    unit = torch.stack([torch.cos(angle), torch.sin(angle)], dim=-1)
    centre = torch.tensor([far * size, 0.0], dtype=torch.float64)
    assert circle.contains(centre + size * unit).all()
    circle.require(centre + size * unit)
    if size >= 1.0:  # `contains` has an absolute tolerance, too
        assert not circle.contains(centre + (1 + 1e-6) * size * unit).any()


@pytest.mark.parametrize("size", [1e-9, 1e9, 1e20])
def test_networks_on_manifolds_of_any_size(size):
    """The same network up to units: what it claims does not depend on them, and it takes its own manifold's points."""
    found, unit = (
        construct.approximate(lambda x, s=s: torch.sin(x[..., 0] / s), manifolds.Circle(s), epsilon=1e-2)
        for s in (size, 1.0)
    )
    assert found.claim is not None and unit.claim is not None and found.manifold is not None
    assert found.claim.bound == pytest.approx(unit.claim.bound, rel=1e-3)
    x = found.manifold.sample(50, seed=1)
    assert float((found(x, check=True) - torch.sin(x[..., 0] / size)).abs().max()) <= 1e-2


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_manifolds_answer_without_gradients(mode):
    """Newton's method takes its second derivatives by reverse mode, which `torch.inference_mode` knows nothing of."""
    ellipse = ParametricManifold(
        lambda u: torch.cat([2 * torch.cos(u), torch.sin(u)], -1),
        [0.0],
        [2 * math.pi],
        [True],
        reach=0.5,
        lipschitz=[2.0],
    )
    x = ellipse.sample(5, seed=0)
    want = ellipse.project(1.01 * x)
    with mode():
        inside = ellipse.sample(5, seed=0)
        assert torch.equal(ellipse.project(1.01 * inside), want) and ellipse.project(inside[:0]).shape == (0, 2)
        assert bool(ellipse.contains(inside).all())

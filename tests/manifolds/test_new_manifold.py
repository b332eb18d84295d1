"""A new manifold is one class in one file: nothing else is told of it, and everything works on it."""

from __future__ import annotations

import json
import math
import pkgutil
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from construct import manifolds
from construct.atlas import atlas_for
from construct.errors import InputError
from construct.local import PolynomialSpace, SplineSpace, fit_charts
from construct.manifolds import Manifold, Product, Reach, Sphere
from construct.manifolds.base import REGISTERED
from construct.manifolds.parametrised import Parametrised
from construct.validation import positive_real


def define() -> type[Manifold]:
    class Ellipse(Parametrised):
        """(a cos t, b sin t), a >= b; reach b^2/a (exact)."""

        name = "ellipse"

        def __init__(self, a: float = 1.2, b: float = 1.0, *, ambient: int | None = None, seed: int = 0) -> None:
            self.a, self.b = positive_real(a, "a"), positive_real(b, "b")
            super().__init__(
                lower=(-math.pi,),
                upper=(math.pi,),
                closed=(True,),
                lipschitz=(self.a,),
                canonical=2,
                reach=Reach(self.b**2 / self.a, "exact"),
                box=torch.tensor([self.a, self.b], dtype=torch.float64),
                radius=self.a,
                ambient=ambient,
                seed=seed,
            )

        def _arguments(self) -> dict[str, Any]:
            return {"a": self.a, "b": self.b}

        def _point(self, u: Tensor) -> Tensor:
            return torch.cat([self.a * torch.cos(u), self.b * torch.sin(u)], dim=-1)

    return Ellipse


@pytest.fixture
def ellipse() -> Iterator[type[Manifold]]:
    known = dict(REGISTERED)
    yield define()
    REGISTERED.clear()
    REGISTERED.update(known)


def test_it_has_atlases_and_local_fits(ellipse: type[Manifold]) -> None:
    manifold = manifolds.manifold("ellipse", ambient=5)
    assert type(manifold) is ellipse
    atlas = atlas_for(manifold)
    x = manifold.sample(2000, 0)
    assert float((atlas.partition(x).sum(-1) - 1).abs().max()) < 1e-12
    for space in (PolynomialSpace(1, 12), SplineSpace(1, 64)):
        found = fit_charts(lambda t: torch.exp(t[..., 0]), atlas, space)
        assert float((found(x) - torch.exp(x[..., 0])).abs().max()) < 2e-3
        assert found.error_bound < 1e-3


def test_it_is_known_by_name_and_by_spec(ellipse: type[Manifold]) -> None:
    assert "ellipse" in manifolds.manifold_names() and manifolds.family("ellipse") is ellipse
    spec = json.loads(json.dumps(manifolds.manifold("ellipse", a=1.5, b=0.9, ambient=6, seed=3).spec()))
    again = manifolds.from_spec(spec)
    assert type(again) is ellipse and again.spec() == spec
    product = manifolds.from_spec(Product(again, Sphere(2)).spec())
    assert isinstance(product, Product) and type(product.first) is ellipse


def test_a_name_is_given_once(ellipse: type[Manifold]) -> None:
    assert define() is REGISTERED["ellipse"]  # the same definition again, as on a reload, takes its place
    with pytest.raises(InputError, match=r"name: expected another name than .*Ellipse has, got 'ellipse'"):

        class Oval(Sphere):
            name = "ellipse"

    class Ball(Sphere, registered=False):
        name = "unlisted"

    class Nameless(Sphere):
        pass

    assert "unlisted" not in manifolds.manifold_names() and manifolds.family("sphere") is Sphere


def test_every_module_of_the_folder_is_loaded() -> None:
    for module in pkgutil.iter_modules(manifolds.__path__):
        assert f"construct.manifolds.{module.name}" in sys.modules


def test_closed_forms_default_to_none() -> None:
    torus = manifolds.manifold("torus")
    centres = torus.sample(3, 0)
    frames = torus.tangent_basis(centres)
    assert torus.tangent_bound(centres, frames, 0.5) is None
    assert not torus.fills_cube(centres[0], frames[0], 1.0)


def test_only_a_chart_that_is_the_whole_cube_fills_it() -> None:
    cube = manifolds.manifold("cube", ambient=6, seed=2)
    centre = torch.zeros(6, dtype=torch.float64)
    turned = cube.frame @ torch.tensor([[0.6, -0.8], [0.8, 0.6]], dtype=torch.float64)
    assert cube.fills_cube(centre, cube.frame, 1.0)
    assert not cube.fills_cube(centre, cube.frame, 0.5)
    assert not cube.fills_cube(centre, turned, 1.0)
    assert not cube.fills_cube(centre + 0.1 * cube.frame[:, 0], cube.frame, 1.0)
    assert cube.tangent_bound(centre[None], cube.frame[None], 9.0) == 1.0
    assert cube.tangent_bound(centre[None], turned[None], 9.0) == 9.0

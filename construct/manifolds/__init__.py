"""Compact submanifolds of R^D with known reach: samples, nearest points, nets, covers and inverse charts."""

from __future__ import annotations

import inspect
from typing import Any

from construct.errors import InputError
from construct.manifolds.base import Cover, Manifold, Net, Reach
from construct.manifolds.cube import Cube
from construct.manifolds.flat_torus import FlatTorus
from construct.manifolds.formula import Formula
from construct.manifolds.helix import Helix
from construct.manifolds.klein import KleinBottle
from construct.manifolds.moebius import MoebiusStrip
from construct.manifolds.product import Product
from construct.manifolds.rotations import SpecialOrthogonal3
from construct.manifolds.sphere import Circle, Sphere
from construct.manifolds.swiss_roll import SwissRoll
from construct.manifolds.torus import Torus
from construct.manifolds.trefoil import TrefoilKnot
from construct.manifolds.user import ParametricManifold, ProjectedManifold

__all__ = [
    "Circle",
    "Cover",
    "Cube",
    "FlatTorus",
    "Formula",
    "Helix",
    "KleinBottle",
    "Manifold",
    "MoebiusStrip",
    "Net",
    "ParametricManifold",
    "Product",
    "ProjectedManifold",
    "Reach",
    "SpecialOrthogonal3",
    "Sphere",
    "SwissRoll",
    "Torus",
    "TrefoilKnot",
    "from_spec",
    "get",
    "names",
]

_CLASSES: tuple[type[Manifold], ...] = (
    Circle,
    Sphere,
    FlatTorus,
    Torus,
    TrefoilKnot,
    Helix,
    SwissRoll,
    MoebiusStrip,
    KleinBottle,
    SpecialOrthogonal3,
    Cube,
    Product,
)
_BY_NAME = {cls.name: cls for cls in _CLASSES}


def names() -> tuple[str, ...]:
    """The names that `get` knows."""
    return tuple(_BY_NAME)


def get(name: str, **arguments: Any) -> Manifold:
    """The manifold of this name, e.g. get("sphere", dim=3, ambient=10).

    The factors of "product" may be manifolds, names or specs; circle and sphere unless given.
    Raises InputError for an unknown name or an argument that the class does not take.
    """
    if name not in _BY_NAME:
        raise InputError(f"name must be one of {', '.join(_BY_NAME)}; got {name!r}")
    if name == Product.name:
        arguments = {"first": "circle", "second": "sphere", **arguments}
        arguments |= {key: _factor(arguments[key]) for key in ("first", "second")}
    cls = _BY_NAME[name]
    try:
        inspect.signature(cls).bind(**arguments)
    except TypeError as error:
        raise InputError(f"arguments of {name!r} must be those of {cls.__name__}; {error}") from error
    return cls(**arguments)


def _factor(factor: Any) -> Any:
    if isinstance(factor, str):
        return get(factor)
    return from_spec(factor) if isinstance(factor, dict) else factor


def from_spec(spec: dict[str, Any]) -> Manifold:
    """The manifold described by `Manifold.spec()`; those that hold a user's function cannot be rebuilt."""
    if not isinstance(spec, dict) or "name" not in spec:
        raise InputError(f"spec must be a dictionary with a 'name'; got {spec!r}")
    return get(**spec)

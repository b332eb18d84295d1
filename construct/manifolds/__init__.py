"""Compact submanifolds of R^D with known reach: samples, nearest points, nets, covers and inverse charts."""

from __future__ import annotations

import importlib
import pkgutil

from construct.manifolds.base import Manifold, Net, Reach, StructuredCover
from construct.manifolds.cube import Cube
from construct.manifolds.flat_torus import FlatTorus
from construct.manifolds.formula import Formula
from construct.manifolds.helix import Helix
from construct.manifolds.klein import KleinBottle
from construct.manifolds.moebius import MoebiusStrip
from construct.manifolds.placed import Placed
from construct.manifolds.product import Product
from construct.manifolds.projected import ProjectedManifold
from construct.manifolds.registry import family, from_spec, is_registered, manifold, manifold_names, register, spec_of
from construct.manifolds.rotations import SpecialOrthogonal3
from construct.manifolds.sphere import Circle, Sphere
from construct.manifolds.swiss_roll import SwissRoll
from construct.manifolds.torus import Torus
from construct.manifolds.trefoil import TrefoilKnot
from construct.manifolds.user import ParametricManifold

__all__ = [
    "Circle",
    "Cube",
    "FlatTorus",
    "Formula",
    "Helix",
    "KleinBottle",
    "Manifold",
    "MoebiusStrip",
    "Net",
    "ParametricManifold",
    "Placed",
    "Product",
    "ProjectedManifold",
    "Reach",
    "SpecialOrthogonal3",
    "Sphere",
    "StructuredCover",
    "SwissRoll",
    "Torus",
    "TrefoilKnot",
    "family",
    "from_spec",
    "is_registered",
    "manifold",
    "manifold_names",
    "register",
    "spec_of",
]

# a module of this folder registers the manifolds that it defines, whether it is named above or not
for _found in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_found.name}")

"""Rivals of the constructed transformer behind one interface: constructive ReLU networks, trained networks, classical.

>>> from construct import baselines, manifolds, targets
>>> rival = baselines.build("chen_improved", targets.target("exp_sin"), manifolds.Circle(), epsilon=1e-3)
>>> rival.counts, rival.measured
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from construct.baselines.base import FAMILIES, Baseline, BaselineCounts, Method, Settings
from construct.baselines.classical import METHODS as CLASSICAL
from construct.baselines.ours import Compact, Lattices, Paper, Ridge, Ridge5, RidgeSparse, constructed
from construct.baselines.relu.chart_method import ChenImproved
from construct.baselines.relu.chen import Chen
from construct.baselines.relu.ridge_method import RidgeRelu
from construct.baselines.relu.shallow_spline import ShallowSpline
from construct.baselines.relu.yarotsky import Yarotsky
from construct.baselines.trained import METHODS as TRAINED
from construct.baselines.trained import FineTuned, fine_tune
from construct.manifolds import Manifold
from construct.validation import one_of

__all__ = [
    "FAMILIES",
    "Baseline",
    "BaselineCounts",
    "FineTuned",
    "Method",
    "Settings",
    "build",
    "constructed",
    "fine_tune",
    "method",
    "method_names",
]

_OURS: tuple[type[Method], ...] = (Ridge, Ridge5, RidgeSparse, Lattices, Compact, Paper)
_CONSTRUCTIVE: tuple[type[Method], ...] = (*_OURS, Yarotsky, Chen, ChenImproved, RidgeRelu, ShallowSpline)
_METHODS: dict[str, type[Method]] = {method.name: method for method in (*_CONSTRUCTIVE, *TRAINED, *CLASSICAL)}


def method_names(family: str | None = None) -> tuple[str, ...]:
    """Names of all methods, or of those of one family ("constructive", "trained", "classical")."""
    if family is not None:
        one_of(family, "family", FAMILIES)
    return tuple(name for name, kind in _METHODS.items() if family in (None, kind.family))


def method(name: str, **options: Any) -> Method:
    """The method `name`; options are those of its constructor. `InputError` with the known names otherwise."""
    return _METHODS[one_of(name, "name", _METHODS)](**options)


def build(
    name: str,
    target: Callable[..., Any],
    manifold: Manifold,
    epsilon: float | None = None,
    *,
    budget: int | None = None,
    **options: Any,
) -> Baseline:
    """`method(name).build(target, manifold, epsilon, budget=budget, ...)`: see `Method.build`."""
    return method(name).build(target, manifold, epsilon, budget=budget, **options)

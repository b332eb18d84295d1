"""Manifolds by name. A class is known here as soon as it is defined: see `Manifold.__init_subclass__`."""

from __future__ import annotations

from typing import Any

from construct.manifolds.base import REGISTERED, Manifold
from construct.validation import invalid, one_of

PLACEMENT = ("translation", "scale", "rotation")


def manifold_names() -> tuple[str, ...]:
    """The names that `manifold` knows, in alphabetical order."""
    return tuple(sorted(REGISTERED))


def family(name: str) -> type[Manifold]:
    """The class of this name. Raises InputError for an unknown one."""
    return REGISTERED[one_of(name, "name", manifold_names())]


def manifold(name: str, **arguments: Any) -> Manifold:
    """The manifold of this name, e.g. manifold("sphere", dim=3, ambient=10).

    `translation`, `scale` and `rotation` place it (`Manifold.placed`), whatever its family.

    Raises InputError for an unknown name or an argument that the class does not take.
    """
    cls = family(name)
    place = {key: arguments.pop(key) for key in PLACEMENT if key in arguments and name != "placed"}
    found = cls.from_arguments(**arguments)
    return found.placed(**place) if place else found


def factor(given: Any) -> Any:
    """A name or a spec as the manifold; anything else as it is."""
    if isinstance(given, str):
        return manifold(given)
    return from_spec(given) if isinstance(given, dict) else given


def from_spec(spec: dict[str, Any]) -> Manifold:
    """The manifold described by `Manifold.spec()`; those that hold a user's function cannot be rebuilt."""
    if not isinstance(spec, dict) or "name" not in spec:
        raise invalid("spec", "a dictionary with a 'name'", spec)
    return manifold(**spec)

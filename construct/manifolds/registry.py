"""Manifolds by name: the classes of this library, those that a user defines, and factories that a user registers.

A class is known here as soon as it is defined: see `Manifold.__init_subclass__`.
"""

from __future__ import annotations

import functools
import inspect
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, cast

from construct.documents import written
from construct.errors import InputError
from construct.manifolds.base import FACTORIES, REGISTERED, Factory, Manifold
from construct.validation import invalid, one_of

PLACEMENT = ("translation", "scale", "rotation")
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
LONGEST_ARGUMENTS = 2**20  # characters of JSON

P = ParamSpec("P")


def manifold_names() -> tuple[str, ...]:
    """The names that `manifold` knows, in alphabetical order."""
    return tuple(sorted((*REGISTERED, *FACTORIES)))


def family(name: str) -> type[Manifold] | Factory:
    """The class of this name, or the factory that was registered for it. Raises InputError for an unknown one."""
    one_of(name, "name", manifold_names())
    return FACTORIES[name] if name in FACTORIES else REGISTERED[name]


def is_registered(name: str) -> bool:
    """Whether this is the name of a factory that a user registered."""
    return name in FACTORIES


def manifold(name: str, **arguments: Any) -> Manifold:
    """The manifold of this name, e.g. manifold("sphere", dim=3, ambient=10).

    `translation`, `scale` and `rotation` place it (`Manifold.placed`), unless its factory takes them itself.

    Raises InputError for an unknown name or an argument that its class or factory does not take.
    """
    found = family(name)
    own = inspect.signature(found).parameters
    place = {key: arguments.pop(key) for key in PLACEMENT if key in arguments and key not in own}
    made = REGISTERED[name].from_arguments(**arguments) if name in REGISTERED else found(**arguments)
    return made.placed(**place) if place else made


def factor(given: Any) -> Any:
    """A name or a spec as the manifold; anything else as it is."""
    if isinstance(given, str):
        return manifold(given)
    return from_spec(given) if isinstance(given, dict) else given


def register(name: str, factory: Callable[P, Manifold]) -> Callable[P, Manifold]:
    """Make a manifold of your own known by a name, so that files can say which one a network stands on.

    Args:
        name: a letter, then letters, digits, `_`, `.`, `-`; not that of another manifold.
        factory: builds the manifold from arguments that JSON can hold (numbers, texts, booleans, None, lists and
            dictionaries of them; a tuple becomes a list). It has to give the same manifold whenever it is called with
            the same arguments, in this process and in the one that loads the file.

    Returns:
        The factory, whose manifolds now know their name and arguments: `ellipse = register("ellipse", ellipse)`. What
        `manifold(name, ...)` and `construct.load` build is the same.

    Raises:
        InputError: a name that is taken or is none, or a factory with parameters that files cannot name.
    """
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise invalid("name", "a letter, then at most 63 letters, digits, '_', '.' or '-'", name)
    if not callable(factory):
        raise invalid("factory", "a callable that returns a Manifold", factory)
    if name in REGISTERED or (name in FACTORIES and not _same(FACTORIES[name], factory)):
        raise invalid("name", "one that no other manifold has", name)
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError) as error:
        raise invalid("factory", "a callable whose parameters are known", got=f"another ({error})") from None
    for parameter in signature.parameters.values():
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL) or parameter.name in (
            "name",
            "self",
        ):
            raise invalid("factory", "parameters that can be given by name, other than 'name'", got=f"{parameter}")

    @functools.wraps(factory)
    def built(*args: P.args, **kwargs: P.kwargs) -> Manifold:
        arguments = _arguments(name, signature, args, kwargs)
        made = cast("Callable[..., object]", factory)(**arguments)
        if not isinstance(made, Manifold):
            raise invalid("factory", f"one of {name!r} that returns a Manifold", made)
        return made.named(name, arguments)

    FACTORIES[name] = built
    return built


def from_spec(spec: dict[str, Any]) -> Manifold:
    """The manifold described by `Manifold.spec()`; one that holds a user's function has to be registered."""
    if not isinstance(spec, dict) or "name" not in spec or not all(isinstance(key, str) for key in spec):
        raise invalid("spec", "a dictionary with a 'name'", spec)
    return manifold(**spec)


def spec_of(space: Manifold) -> dict[str, Any] | None:
    """What `from_spec` builds this very manifold from; None where nothing does: a user's own that is not registered."""
    try:
        spec: dict[str, Any] = json.loads(written(space.spec(), "spec"))
        if spec["name"] in FACTORIES:
            return spec
        again = from_spec(spec)
    except (InputError, TypeError):
        return None
    return spec if type(again) is type(space) and json.loads(written(again.spec(), "spec")) == spec else None


def _same(known: Factory, factory: Callable[..., Any]) -> bool:
    """Whether a factory is the one that is known, perhaps defined again (a cell of a notebook that is run twice)."""
    place = ("__module__", "__qualname__")
    return all(getattr(known, name, None) == getattr(factory, name, "") for name in place)


def _arguments(
    name: str, signature: inspect.Signature, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """All arguments of a factory by name, defaults too, as they come back from a file."""
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as error:
        raise invalid("arguments", f"those of {name!r}", got=f"{', '.join(kwargs)} ({error})") from error
    bound.apply_defaults()
    given = dict(bound.arguments)
    for key, parameter in signature.parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            given |= given.pop(key, {})
    text = written(given, f"arguments of {name!r}")
    if len(text) > LONGEST_ARGUMENTS:
        raise invalid("arguments", f"at most {LONGEST_ARGUMENTS:,} characters of JSON", got=f"{len(text):,}")
    return cast("dict[str, Any]", json.loads(text))

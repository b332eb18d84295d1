"""Local spaces by name."""

from __future__ import annotations

from typing import Any

from construct.local.polynomials import PolynomialSpace
from construct.local.space import LocalSpace
from construct.local.splines import SplineSpace
from construct.validation import invalid, one_of

SPACES: dict[str, type[PolynomialSpace] | type[SplineSpace]] = {
    space.name: space for space in (PolynomialSpace, SplineSpace)
}


def space_from_spec(spec: dict[str, Any]) -> LocalSpace:
    """The space described by `LocalSpace.spec()`: {"name", "dim", "size"}.

    Raises InputError for another form, an unknown name, or a dimension or size out of range.
    """
    if not isinstance(spec, dict) or set(spec) != {"name", "dim", "size"}:
        raise invalid("spec", "a dictionary with 'name', 'dim' and 'size'", spec)
    return SPACES[one_of(spec["name"], "name", SPACES)](spec["dim"], spec["size"])

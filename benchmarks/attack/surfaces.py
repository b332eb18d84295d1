"""The surfaces under attack."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.attack.building import Building
from benchmarks.attack.calls import Calls
from benchmarks.attack.cases import Surface
from benchmarks.attack.commands import Commands
from benchmarks.attack.loading import Loading
from benchmarks.attack.proofs import Certifying, Verifying
from benchmarks.attack.saving import Saving
from benchmarks.attack.states import States


def surfaces() -> Sequence[type[Surface]]:
    """All of them."""
    return (Building, Calls, States, Loading, Saving, Certifying, Verifying, Commands)

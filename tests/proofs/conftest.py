"""Fixtures of the tests of the verifier."""

import pytest

from construct.expressions import exp, sin, variables
from tests.proofs.proved import Proved, proved

x, y = variables(2)


@pytest.fixture(scope="session")
def circle(tmp_path_factory: pytest.TempPathFactory) -> Proved:
    return proved(tmp_path_factory.mktemp("circle"), exp(x) * sin(3 * y), 1, 2, 1e-2)

"""Fixtures of the contract: every manifold of `CASES`, and points of it."""

import pytest
from torch import Tensor

from construct.manifolds import Manifold
from tests.manifolds.cases import CASES, built, samples


@pytest.fixture(params=list(CASES))
def case(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def manifold(case: str) -> Manifold:
    return built(case)


@pytest.fixture
def x(case: str) -> Tensor:
    return samples(case)

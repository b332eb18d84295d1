"""What a candidate costs, counted from its program before anything is fitted."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from construct.atlas import Atlas
from construct.compact.program import compact_program
from construct.local import LocalSpace, PiecewiseApproximator

DENSE_PER_HEAD = 75
COEFFICIENTS_PER_HEAD = 2  # at most
NUMBERS_PER_CHART = 20  # non-zeros, at least: 38 or more were counted on every manifold of the library


def least_parameters(atlas: Atlas, space: LocalSpace, coefficients: Tensor | None = None) -> int:
    """Fewer dense parameters than any network of this pair has: a head brings at most two coefficients."""
    numbers = atlas.count * space.count if coefficients is None else int(coefficients.count_nonzero())
    return DENSE_PER_HEAD * math.ceil(numbers / COEFFICIENTS_PER_HEAD)


def nonzeros(atlas: Atlas, space: LocalSpace) -> int:
    """Non-zeros with all coefficients."""
    return compact_program(counted_sample(atlas, space, None)).counts.nonzero_parameters


def dense_parameters(atlas: Atlas, space: LocalSpace, budget: int) -> int:
    """Dense parameters in R^D with all coefficients; a lower bound where that is over the budget already."""
    least = least_parameters(atlas, space)
    return least if least > budget else compact_program(counted_sample(atlas, space, None)).parameters


def counted_sample(atlas: Atlas, space: LocalSpace, coefficients: Tensor | None) -> PiecewiseApproximator:
    """An approximator to be counted: with these coefficients, or, before there are any, with some that are not 0."""
    if coefficients is None:
        generator = torch.Generator().manual_seed(0)
        coefficients = 1.0 + torch.rand(atlas.count, space.count, generator=generator, dtype=torch.float64)
    return PiecewiseApproximator(atlas, space, coefficients)

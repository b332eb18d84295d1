"""The paper's construction assigns the weights that it did: a change shows here, on purpose or not.

Charts, nodes and coefficients are given and dyadic, so that no derivative, cover or library of linear algebra has a
part in it. Whoever changes the weights on purpose renews the hashes (`python -m tests.paper.test_weights_hash`) and
says why in the commit.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from construct.paper.layout import PaperLayout
from construct.paper.program import program_of
from construct.transformer import Weights
from tests.weights_hash import dyadic, weights_hash

CODES = ("integer", "trigonometric")
SIZES = {
    "line, degree 0": (2, 2, 1, 3, 0, "trapezoid"),
    "line, degree 1": (3, 2, 1, 2, 1, "trapezoid"),
    "line, degree 2": (2, 3, 1, 2, 2, "hat"),
    "line, degree 4": (2, 2, 1, 2, 4, "trapezoid"),
    "line, degree 9": (1, 2, 1, 1, 9, "hat"),
    "surface, degree 0": (2, 3, 2, 1, 0, "trapezoid"),
    "surface, degree 1": (2, 3, 2, 2, 1, "trapezoid"),
    "surface, degree 3": (1, 3, 2, 1, 3, "hat"),
    "solid, degree 1": (1, 3, 3, 1, 1, "trapezoid"),
    "five coordinates": (1, 5, 5, 1, 0, "trapezoid"),
}
"""Charts, D, d, cells, degree and bump."""

HASHES = {
    "line, degree 0": ("f0784827776752ad", "ac43c799d75a615a"),
    "line, degree 1": ("d2e80cc397c6637f", "4b5ac01b45f64c15"),
    "line, degree 2": ("98c733b390b4830a", "b65ab3952b3f243d"),
    "line, degree 4": ("980af928ca0b9753", "5a6840a5c12daf23"),
    "line, degree 9": ("c0ae49b37c1ac7eb", "a3b79a80dcc9c222"),
    "surface, degree 0": ("facca070acb37f8c", "f85ca94d965907c3"),
    "surface, degree 1": ("44e8a05a0b494dec", "470d4a4a7709f8de"),
    "surface, degree 3": ("fcd50ad2bd34030e", "f4145e640eeadf34"),
    "solid, degree 1": ("297084f8eabedf75", "7f7000141e444ebf"),
    "five coordinates": ("702e56c4cdf46284", "c15d1c338fb3851b"),
}
"""Name: integer, trigonometric."""


def layout(name: str, code: str) -> PaperLayout:
    """Every second of all nodes; some entries of centres and frames are 0."""
    charts, ambient, dim, cells, degree, bump = SIZES[name]
    grid = itertools.product(range(charts), *[range(-cells, cells + 1)] * dim)
    kept = np.array(list(grid), dtype=np.int64)[::2]
    return PaperLayout(
        centres=dyadic(1, charts, ambient, zeros=0.2),
        frames=dyadic(2, charts, ambient, dim, zeros=0.2),
        scale=0.5,
        radius=1.5,
        box=1.0 + np.abs(dyadic(3, ambient)),
        cells=cells,
        degree=degree,
        bump=bump,
        doublings=3,
        charts=kept[:, 0],
        nodes=kept[:, 1:],
        position_code=code,
    )


def built(name: str, code: str) -> Weights:
    parts = layout(name, code)
    coefficients = dyadic(4, len(parts.nodes), len(parts.exponents), zeros=0.2)
    return program_of(parts, coefficients).compile(parts.box)


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("name", SIZES)
def test_weights_are_what_they_were(name: str, code: str) -> None:
    assert weights_hash(built(name, code), code) == HASHES[name][CODES.index(code)]


if __name__ == "__main__":
    for case in SIZES:
        print(f'    "{case}": {tuple(weights_hash(built(case, code), code) for code in CODES)},'.replace("'", '"'))

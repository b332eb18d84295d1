"""The compact construction assigns the weights that it did: a change shows here, on purpose or not.

Charts, basis and coefficients are given and dyadic, so that no fit, cover or library of linear algebra has a part in
it. Whoever changes the weights on purpose renews the hashes (`python -m tests.compact.test_weights_hash`) and says
why in the commit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from construct.compact.basis import LineBasis, PolynomialAxis, SplineAxis, TensorBasis, network_bases
from construct.compact.geometry import ChartGeometry
from construct.compact.layout import CompactLayout
from construct.compact.program import program_of
from construct.local import PolynomialSpace, SplineSpace
from construct.transformer import Weights
from tests.weights_hash import arrays_of, dyadic, rounded, weights_hash

HADAMARD = np.array([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]) / 2.0
CODES = ("integer", "trigonometric")


def geometry(charts: int, ambient: int, dim: int, hull: int = 0) -> ChartGeometry:
    """Charts on a line of neighbours, every chart with the next two; some entries of centres and frames are 0."""
    rows = hull or ambient
    pairs = [(m, n) for n in range(charts) for m in range(max(0, n - 2), n)]
    return ChartGeometry(
        centres=dyadic(1, charts, rows, zeros=0.2),
        frames=dyadic(2, charts, rows, dim, zeros=0.2),
        inputs=1.0 + np.abs(dyadic(3, ambient)),
        radius=1.5,
        core=1.0,
        scale=0.5,
        neighbours=np.array(pairs, dtype=np.int64).reshape(-1, 2),
        hull=HADAMARD[:, :hull] if hull else None,
    )


def line(degree: int, giants: int) -> LineBasis:
    """The basis of a line of that degree with the given number of giants."""
    axis = PolynomialAxis(degree)
    return next(b for b in (LineBasis(axis, pairs) for pairs in axis.lines()) if len(b.product.left) == giants)


def surface(space: PolynomialSpace | SplineSpace) -> Any:
    (basis,) = network_bases(space)
    return basis


CASES: dict[str, tuple[ChartGeometry, LineBasis | TensorBasis]] = {
    "line, degree 0": (geometry(4, 2, 1), line(0, 1)),
    "line, degree 1": (geometry(4, 2, 1), line(1, 1)),
    "line, degree 3": (geometry(4, 2, 1), line(3, 1)),
    "line, degree 8": (geometry(3, 2, 1), line(8, 2)),
    "line, degree 19, three giants": (geometry(3, 2, 1), line(19, 3)),
    "line, degree 24": (geometry(3, 3, 1), line(24, 4)),
    "line, splines": (geometry(5, 4, 1), LineBasis(SplineAxis(7), SplineAxis(7).lines()[0])),
    "surface, degree 2": (geometry(4, 3, 2), surface(PolynomialSpace(2, 2))),
    "surface, degree 8": (geometry(4, 3, 2), surface(PolynomialSpace(2, 8))),
    "surface, degree 10": (geometry(3, 3, 2), surface(PolynomialSpace(2, 10))),
    "surface, degree 17": (geometry(1, 2, 2), surface(PolynomialSpace(2, 17))),
    "surface in a hull": (geometry(4, 4, 2, hull=3), surface(PolynomialSpace(2, 4))),
    "line in a hull": (geometry(4, 4, 1, hull=2), line(5, 2)),
    "surface, splines": (geometry(4, 3, 2), surface(SplineSpace(2, 4))),
    "solid, degree 4": (geometry(2, 3, 3), surface(PolynomialSpace(3, 4))),
    "solid, splines": (geometry(1, 3, 3), surface(SplineSpace(3, 2))),
    "four coordinates": (geometry(1, 4, 4), surface(PolynomialSpace(4, 3))),
    "five coordinates": (geometry(1, 5, 5), surface(PolynomialSpace(5, 2))),
}

HASHES = {
    "line, degree 0": ("8a9d30baf2f44c4e", "57f872a5a1b5c964"),
    "line, degree 1": ("05b2e48800fe59ea", "3fe179cb1ce0f97a"),
    "line, degree 3": ("bb5d7aba21ed4607", "f07fa279cc7e62e9"),
    "line, degree 8": ("89eaf2f35e8ab26b", "65d365535c4be4c9"),
    "line, degree 19, three giants": ("376b4a8c9a555024", "ebe90d5cd58ffd0d"),
    "line, degree 24": ("10f80658e803e09f", "b06154d72dba1c9d"),
    "line, splines": ("eb66c9d46f325489", "a880da7c2bad42ec"),
    "surface, degree 2": ("34dd2c30aaefee18", "e67cdde1fc0b4e4a"),
    "surface, degree 8": ("dd58c75725b86ee2", "5d2ddf54df3f3161"),
    "surface, degree 10": ("2ed62c249c14bbec", "ff46d1c50ccd3671"),
    "surface, degree 17": ("38ddd2664da4d0b9", "9b98e7ab09fa687f"),
    "surface in a hull": ("434789abfbbf1484", "f62fe12aa53e3e5e"),
    "line in a hull": ("88657872f645708a", "7d795369927e6b83"),
    "surface, splines": ("de6fdf35201831ce", "5d31aba39fab4f35"),
    "solid, degree 4": ("e50fc1fcd3f9c1a4", "a1a41b76d3af3d64"),
    "solid, splines": ("ebe3d624cc148aff", "cd9ee339cd071fea"),
    "four coordinates": ("b9da9352eb237d0b", "97bc8e70b818297b"),
    "five coordinates": ("10608bb552f51a86", "9cf254555b842547"),
}
"""Name: integer, trigonometric."""


def coefficients(charts: int, basis: LineBasis | TensorBasis) -> np.ndarray[Any, Any]:
    """(n, left, right), a third of them 0."""
    return dyadic(4, charts, len(basis.product.left), len(basis.product.right), zeros=1 / 3)


def built(name: str, code: str) -> Weights:
    charts, basis = CASES[name]
    program = program_of(CompactLayout(charts, basis.product, code), coefficients(charts.charts, basis))
    return program.compile(charts.inputs)


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("name", CASES)
def test_weights_are_what_they_were(name: str, code: str) -> None:
    assert weights_hash(built(name, code), code) == HASHES[name][CODES.index(code)]


def test_the_hash_sees_every_array_and_no_rounding() -> None:
    weights = built("surface, degree 2", "integer")
    found = {weights_hash(weights, "integer")}
    for array in arrays_of(weights):
        array.setflags(write=True)
        array.ravel()[-1] += 0.25  # ravel of a contiguous array is a view
        found.add(weights_hash(weights, "integer"))
    filled = [array for array in arrays_of(weights) if array.size]
    assert len(found) == 1 + len(filled)
    exact = np.array([1 / 3, -2 / 3, 1e-30, 0.0, -0.0])
    assert np.array_equal(rounded(exact, 40), rounded(exact * (1 + 2e-16), 40))
    assert not np.array_equal(rounded(exact, 40), rounded(exact * (1 + 1e-11), 40))


if __name__ == "__main__":
    for case in CASES:
        print(f'    "{case}": {tuple(weights_hash(built(case, code), code) for code in CODES)},'.replace("'", '"'))

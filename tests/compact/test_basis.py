"""The network's own basis: conversion from local bases is exact, whatever the degree and dimension."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from construct.compact.atoms import atom_scale, atom_series
from construct.compact.basis import LineBasis, PolynomialAxis, SplineAxis, TensorBasis, network_bases
from construct.errors import InputError
from construct.local import PolynomialSpace, SplineSpace


def atom_values(atom, z):
    """F_1 .. F_8 and the knots from their definitions, not from the series of the library."""
    if atom.knot is not None:
        return np.maximum(z - atom.knot, 0)
    t2, t3 = 2 * z**2 - 1, 4 * z**3 - 3 * z
    return {
        1: z,
        2: t2,
        3: t3,
        4: (1 - t2) * t2,
        5: (1 - t2) * t3,
        6: t3 + 2 * t3**2,
        7: (1 + z * t3) * t3,
        8: t2 + 4 * t3**2 * t2,
    }[atom.index]


def entered(atom, z):
    """The factor 1 + ... by which an atom multiplies."""
    value = atom_values(atom, z)
    if atom.knot is None:
        value = value * atom_scale(atom.index)
        if atom.squared:
            value = (1 + value) * value / 2
    return 1 + value


def evaluate(product, coefficients, z):
    """sum over (g, h) of c[g, h] Psi_g Phi_h at one point z (d,)."""
    left = np.array([np.prod([entered(a, z[a.coordinate]) for a in atoms]) for atoms in product.left])
    right = []
    for atoms in product.right:
        factors = [entered(a, z[a.coordinate]) for a in atoms[:-1]] + [
            atom_values(a, z[a.coordinate]) for a in atoms[-1:]
        ]
        right.append(np.prod(factors))
    assert np.all(left >= 0)
    return left @ coefficients @ np.array(right)


@settings(max_examples=60)
@given(
    st.sampled_from(
        [
            (1, 0),
            (1, 1),
            (1, 5),
            (1, 12),
            (1, 16),
            (1, 19),
            (1, 24),
            (2, 1),
            (2, 4),
            (2, 9),
            (2, 17),
            (3, 3),
            (3, 9),
            (4, 3),
            (5, 2),
            (6, 2),
        ]
    ),
    st.integers(0, 2**31),
)
def test_polynomials_are_converted_exactly(shape, seed):
    dim, degree = shape
    rng = np.random.default_rng(seed)
    space = PolynomialSpace(dim, degree)
    local = rng.normal(size=(2, space.count))
    z = rng.uniform(-1, 1, (3, dim))
    want = local @ space.evaluate(torch.tensor(z)).numpy().T
    for basis in network_bases(space):
        network = basis.convert(local)
        got = np.array([[evaluate(basis.product, c, point) for point in z] for c in network])
        size = np.abs(network).sum(axis=(1, 2)).max()
        assert np.abs(got - want).max() <= 1e-13 * size + 1e-12 * np.abs(local).sum()
        assert max(basis.product.left_depth, basis.product.right_depth) <= 2 * ((dim + 1) // 2)


@settings(max_examples=40)
@given(st.integers(1, 3), st.integers(1, 9), st.integers(0, 2**31))
def test_splines_are_converted_exactly(dim, cells, seed):
    rng = np.random.default_rng(seed)
    space = SplineSpace(dim, cells)
    (basis,) = network_bases(space)
    local = rng.normal(size=(2, space.count))
    z = rng.uniform(-1, 1, (3, dim))
    want = local @ space.evaluate(torch.tensor(z)).numpy().T
    got = np.array([[evaluate(basis.product, c, point) for point in z] for c in basis.convert(local)])
    assert np.abs(got - want).max() <= 1e-13 * np.abs(basis.convert(local)).sum()


def test_atoms_have_their_degree_and_scale():
    z = np.linspace(-1, 1, 20001)
    for index in range(1, 9):
        assert atom_series(index).size == index + 1 and atom_series(index)[-1] != 0
        values = np.polynomial.chebyshev.chebval(z, atom_series(index))
        assert atom_scale(index) * np.abs(values).max() <= 1.0
        assert atom_scale(index) * np.abs(values).max() >= 1 - 1e-5


def test_five_blocks_reach_degree_24_on_a_line_and_8_on_a_surface():
    assert any(basis.product.middle_blocks == 1 for basis in network_bases(PolynomialSpace(1, 24)))
    (surface,) = network_bases(PolynomialSpace(2, 8))
    assert surface.product.right_depth == 1
    assert all(isinstance(basis, LineBasis) for basis in network_bases(PolynomialSpace(1, 3)))
    assert all(isinstance(basis, TensorBasis) for basis in network_bases(PolynomialSpace(2, 3)))
    assert PolynomialAxis(3).size == SplineAxis(3).size == 4


def test_too_high_a_degree_is_refused():
    with pytest.raises(InputError, match="degree: expected at most 24"):
        network_bases(PolynomialSpace(1, 25))

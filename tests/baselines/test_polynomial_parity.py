"""The global polynomial of an even or odd target: products of its parity alone, counted as such."""

import numpy as np
import pytest
import torch

from construct.baselines.classical.polynomials import ChebyshevExpansion, GlobalPolynomial, of_parity, picked_exponents
from construct.manifolds import Circle, Sphere
from construct.ridge.directions import Lattice


def even(x):
    return torch.cos(3 * x[..., 0] - x[..., 1])


def odd(x):
    return torch.sin(3 * x[..., 0] - x[..., 1]) + 0.5


def shaken(x):
    return even(x) + 1e-6 * x[..., 0]


@pytest.mark.parametrize(("manifold", "full"), [(Circle(), 17), (Sphere(2), 81)], ids=repr)
def test_an_even_target_takes_the_even_products(manifold, full):
    x = manifold.sample(5000, seed=3)
    found, plain = (GlobalPolynomial().fit(f, manifold, {"degree": 8}) for f in (even, shaken))
    half = {17: 9, 81: 45}[full]
    overhead = 2 * manifold.canonical
    assert found.counts.nonzero == half + overhead
    assert plain.counts.nonzero == full + overhead
    errors = [float((b(x) - even(x)).abs().max()) for b in (found, plain)]
    assert errors[0] <= 2 * errors[1] + 2e-6


def test_an_odd_target_takes_the_odd_products_and_the_constant():
    found = GlobalPolynomial().fit(odd, Circle(), {"degree": 9})
    assert found.counts.nonzero == 1 + 10 + 4
    x = Circle().sample(5000, seed=3)
    assert float((found(x) - odd(x)).abs().max()) < 1e-2


def test_whole_parities_are_given_and_others_picked():
    whole = Lattice(2, 6).integers
    totals = whole.sum(axis=1)
    for parity in (0, 1):
        basis = ChebyshevExpansion(whole, np.zeros(2), np.ones(2))
        kept = of_parity(basis, parity).indices
        assert {tuple(a) for a in kept} == {tuple(a) for a in whole[(totals % 2 == parity) | (totals == 0)]}
        assert picked_exponents(kept, parity) == 0
        less = np.delete(kept, -1, axis=0)  # (6, 0) or (5, 0)
        degree = int(kept.sum(axis=1).max())
        last = less[less.sum(axis=1) >= degree]
        assert picked_exponents(less, parity) == np.count_nonzero(last) > 0
    assert picked_exponents(whole) == 0
    assert picked_exponents(of_parity(ChebyshevExpansion(whole, np.zeros(2), np.ones(2)), 0).indices) > 0

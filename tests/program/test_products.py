"""Products and trees: exact, in ceil(log2) blocks, and nothing else is touched."""

from math import ceil, log2

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from construct.errors import InputError
from construct.program import products
from construct.program.heads import A
from construct.program.layout import TokenGroup, TokenLayout
from construct.transformer.weights import Heads
from tests.program.oracle import head_output


def run(batch, hidden):
    """State after all heads of a block read the same state."""
    added = [head_output(q, k, v, hidden) for q, k, v in zip(batch.query, batch.key, batch.value, strict=True)]
    return hidden + sum(added, np.zeros_like(hidden))


def weights(layout, rules, bound):
    """The heads of rules for registers within a bound."""
    return Heads.stack([rule.heads(layout, rule.constant(layout, bound)) for rule in rules], layout.embedding_dim)


def bound_of(hidden):
    return np.array([np.abs(hidden[:, 0]).max(), np.abs(hidden[:, 1]).max(), 1.0])


@settings(max_examples=30)
@given(st.integers(2, 12), st.integers(0, 2**31))
def test_multiply_and_square(tokens, seed):
    layout, rng = TokenLayout((TokenGroup("t", (tokens,)),)), np.random.default_rng(seed)
    hidden = layout.initial_state()
    hidden[:, :2] = rng.uniform(-3, 3, (tokens, 2))
    target, source = rng.permutation(tokens)[:2]
    rules = products.multiply(np.array([target]), np.array([source]), A)
    after = run(weights(layout, rules, bound_of(hidden)), hidden)
    want = hidden.copy()
    want[target, 0] *= hidden[source, 0]
    assert np.allclose(after, want, atol=1e-13)
    want = hidden.copy()
    want[:, 1] += hidden[:, 0] ** 2
    assert np.allclose(run(weights(layout, [products.square()], bound_of(hidden)), hidden), want, atol=1e-12)


@settings(max_examples=25)
@given(st.integers(1, 9), st.floats(-1, 1))
def test_power_and_chebyshev_trees(degree, z):
    layout = TokenLayout((TokenGroup("U", (degree + 1,)),))
    tokens, levels = layout.tokens("U"), products.power_levels(degree)
    assert levels == max(1, ceil(log2(degree)))
    hidden = layout.initial_state()
    hidden[:, 0], hidden[0, 0] = z, 1.0
    powers, chebyshev = hidden.copy(), hidden.copy()
    for level in range(1, levels + 1):
        steps = products.power_steps(degree, level)
        if steps:
            j, partner = (tokens[np.array(column)] for column in zip(*steps, strict=True))
            powers = run(weights(layout, products.multiply(j, partner, A), np.ones(3)), powers)
        rules = products.chebyshev_level(tokens, degree, level)
        chebyshev = run(weights(layout, rules, np.ones(3)), chebyshev)
    assert np.allclose(powers[:, 0], z ** np.arange(degree + 1), atol=1e-14)
    assert np.allclose(chebyshev[:, 0], np.cos(np.arange(degree + 1) * np.arccos(z)), atol=1e-12)


@given(st.integers(1, 40))
def test_product_tree_joins_all_factors(factors):
    values = [frozenset([i]) for i in range(factors)]
    for level in range(1, ceil(log2(factors)) + 1):
        before = list(values)
        for i, j in products.tree_steps(factors, level):
            assert not before[i] & before[j]
            values[i] = before[i] | before[j]
    assert values[0] == frozenset(range(factors))


def test_a_negative_degree_is_refused():
    with pytest.raises(InputError, match="degree"):
        products.power_levels(-1)

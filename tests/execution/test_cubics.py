"""Registers that hear themselves: ranges of piecewise cubics, sound for any and sharp for chains of T2 and T3."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from construct.arrays import Float
from construct.execution import pairs as all_pairs
from construct.execution.bounds import attention_bounds
from construct.execution.cubics import cubic_range
from construct.manifolds import Circle, Cube, Manifold, Sphere
from construct.network import Network
from construct.program.compile import Program, Stage
from construct.program.heads import A, B
from construct.program.layout import ONE, TokenGroup, TokenLayout
from construct.program.rules import EVERY, act
from construct.transformer.weights import HeadPairs, Intervals
from tests.proofs.test_counting import ridge

NUMBERS = st.floats(-4, 4, width=32) | st.sampled_from([0.0, 1.0, -1.0, 2.0, 1e-9, 64.0])


def cubic(form, value, a):
    """Exactly: `a + relu(g2 a^2 + g1 a + g0) (alpha a + beta)` in fractions."""
    (g2, g1, g0), (alpha, beta) = ([Fraction(v) for v in part] for part in (form, value))
    a = Fraction(a)
    return a + max(Fraction(0), g2 * a * a + g1 * a + g0) * (alpha * a + beta)


def scale_of(form, value, low, high):
    r = max(abs(low), abs(high))
    g2, g1, g0 = map(abs, form)
    return r + (g2 * r * r + g1 * r + g0) * (abs(value[0]) * r + abs(value[1]))


@settings(max_examples=200)
@given(st.tuples(*[NUMBERS] * 3), st.tuples(*[NUMBERS] * 2), NUMBERS, NUMBERS)
def test_the_range_of_a_cubic_is_sound_and_attained(form, value, one, other):
    low, high = sorted((one, other))
    column = lambda v: np.array(v, dtype=float)[:, None]  # noqa: E731
    lower, upper = (
        float(end[0]) for end in cubic_range(column(form), column(value), np.array([low]), np.array([high]))
    )
    scale = scale_of(form, value, low, high)
    grid = [low + (high - low) * k / 64 for k in range(65)]
    exact = [cubic(form, value, min(max(a, low), high)) for a in grid]
    assert min(exact) >= Fraction(lower) - Fraction(1e-13 * scale)
    assert max(exact) <= Fraction(upper) + Fraction(1e-13 * scale)
    # derivative at most 1 + (2 g2 r + g1) (alpha r + beta) + (..) alpha: between grid points it cannot rise by more
    r = max(abs(low), abs(high))
    g2, g1, g0 = map(abs, form)
    factor = abs(value[0]) * r + abs(value[1])
    steep = 1 + (2 * g2 * r + g1) * factor + (g2 * r * r + g1 * r + g0) * abs(value[0])
    slack = steep * (high - low) / 128 + 1e-12 * scale
    assert float(max(exact)) >= upper - slack and float(min(exact)) <= lower + slack


@pytest.mark.parametrize(
    ("form", "value", "low", "high", "want"),
    [
        ((-1, 0, 1), (-4, 0), -1, 1, (-1, 1)),  # T3
        ((-1, 0, 1), (-4, 0), -3, 2, (-3, 2)),  # which does nothing beyond
        ((0, -1, 1), (-2, -1), -1, 1, (-1, 1)),  # T2
        ((0, -1, 1), (-2, -1), -2, 1, (-1, 7)),
        ((0, 0, 1), (-1, 0), -5, 3, (0, 0)),  # a - a
        ((1, 0, -1), (0, 1), 0, 2, (0, 5)),  # a up to 1, a + a^2 - 1 beyond
        ((0, 0, 0), (1, 1), -1, 2, (-1, 2)),
        ((1, -2, 1), (-1, 1), 0, 2, (0, 2)),  # a double zero: a + (1 - a)^3, critical at 1 +- 1 / sqrt(3)
        ((0, 1, 0), (0, -1), -1, 1, (-1, 0)),  # min(a, 0)
    ],
)
def test_known_ranges(form, value, low, high, want):
    column = lambda v: np.array(v, dtype=float)[:, None]  # noqa: E731
    found = cubic_range(column(form), column(value), np.array([float(low)]), np.array([float(high)]))
    if form == (1, -2, 1):
        a = np.linspace(low, high, 100_001)
        want = (a + (1 - a) ** 3).min(), (a + (1 - a) ** 3).max()
    assert np.allclose([float(end[0]) for end in found], want, rtol=1e-9, atol=1e-9)


# -- in programs ------------------------------------------------------------------------------------------------------


def self_program(form, value, code="integer", stages=2):
    """Inputs that hear themselves, twice over."""
    layout = TokenLayout((TokenGroup("x", (2,)), TokenGroup("w", (2,)), TokenGroup("out", (1,))), code)
    rule = act(EVERY, EVERY, form, value, same=layout.code.entries)
    registers: dict[tuple[str, str], Float | float] = {("w", A): np.array([0.5, -0.25]), ("w", B): 2.0}
    return Program(layout, registers, tuple(Stage(str(k), (rule,)) for k in range(stages)), ("out", A))


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(*[NUMBERS] * 4), st.tuples(*[NUMBERS] * 2), st.sampled_from(["integer", "trigonometric"]),
    st.integers(0, 2**31), st.sampled_from([0.3, 1.0, 3.0]),
)  # fmt: skip
def test_sampled_states_are_inside_the_bounds(form, value, code, seed, size):
    forms = {(A, A): form[0], (A, ONE): form[1], (ONE, A): form[2], (ONE, ONE): form[3]}
    program = self_program(forms, {(A, A): value[0] or 1.0, (A, ONE): value[1]}, code)
    weights = program.compile(np.full(2, size))
    transformer = Network(weights).transformer
    draw = np.random.default_rng(seed)
    x = np.vstack([draw.uniform(-size, size, (20, 2)), size * np.sign(draw.normal(size=(4, 2)))])
    state = transformer.hidden0.detach()[None].repeat(len(x), 1, 1)
    state[:, :2, 0] += torch.as_tensor(x)
    for block, bound in zip(transformer.blocks, weights.bounds or (), strict=True):
        state = block(state).detach()
        assert (state.numpy() >= bound.after.lower).all() and (state.numpy() <= bound.after.upper).all()


T3 = {(ONE, ONE): 1.0, (A, A): -1.0}, {(A, A): -4.0}


def first_bounds(form, value):
    found = self_program(form, value, stages=1).compile(np.ones(2)).bounds
    assert found is not None
    return found[0].after


def test_a_head_that_writes_one_row_has_its_exact_range():
    after = first_bounds(*T3)
    assert np.allclose(after.upper[:2, 0], 1, atol=2e-11) and (after.upper[:2, 0] >= 1).all()
    assert np.allclose(after.lower[:2, 0], -1, atol=2e-11)
    assert np.allclose(after.upper[2:4, 0], [4 * 0.5**3 - 1.5, -4 * 0.25**3 + 0.75])  # numbers: as ever


@pytest.mark.parametrize("more", [{(B, ONE): 1.0}, {(B, B): 1.0}])
def test_one_that_writes_two_keeps_the_sum_of_intervals(more):
    """The compact construction's T3 does: constants that were compiled with these bounds stay."""
    after = first_bounds(T3[0], {**T3[1], **more})
    assert np.allclose(after.upper[:2, 0], 1 + 2 * 4, atol=1e-10)


@pytest.mark.parametrize(
    ("form", "value", "upper"),
    [
        ({(ONE, ONE): 1.0, (A, B): 1.0}, {(A, A): 1.0}, 1 + 1),  # b is a number
        ({(ONE, ONE): 1.0}, {(A, A): 1.0}, 1 + 1),  # a score of nothing that moves
        ({(ONE, A): 1.0}, {(A, ONE): 1.0}, 1 + 1),  # a value of nothing that moves
    ],
)
def test_what_is_no_cubic_is_bounded_as_before(form, value, upper):
    assert np.allclose(first_bounds(form, value).upper[:2, 0], upper, atol=1e-9)


def test_others_that_a_token_hears_are_added():
    """x_1 hears itself and 3 from w: [-1, 1] by T3, then + 3."""
    layout = self_program(*T3).layout
    other = act(np.array([1]), np.array([2]), {(ONE, ONE): 3.0}, {(A, ONE): 1.0})
    program = Program(layout, {}, (Stage("s", (act(EVERY, EVERY, *T3, same=("t",)), other)),), ("out", A))
    found = program.compile(np.ones(2)).bounds
    assert found is not None
    assert np.allclose(found[0].after.upper[:2, 0], [1, 4], atol=1e-9)
    assert np.allclose(found[0].after.lower[:2, 0], [-1, 2], atol=1e-9)


def test_two_heads_on_one_register_add_up_soundly():
    layout = self_program(*T3).layout
    rules = act(EVERY, EVERY, *T3, same=("t",)), act(EVERY, EVERY, {(ONE, A): 1.0}, {(A, A): 1.0}, same=("t",))
    weights = Program(layout, {}, (Stage("s", rules),), ("out", A)).compile(np.ones(2))
    a = np.linspace(-1, 1, 1001)
    values = 4 * a**3 - 3 * a + np.maximum(a, 0) * a
    assert weights.bounds is not None
    after = weights.bounds[0].after
    assert values.max() <= after.upper[0, 0] <= 2 + 1e-9 and values.min() >= after.lower[0, 0] >= -2 - 1e-9


@pytest.mark.parametrize(
    ("manifold", "degree", "shape"),
    [
        (Circle(), 54, "principal"),
        (Sphere(2), 8, "octahedron"),
        (Cube(1), 108, "principal"),
        (Cube(2), 27, "principal"),
    ],
)
def test_ridge_networks_are_bounded_by_twice_their_coefficients(manifold: Manifold, degree: int, shape: str) -> None:
    """|T_p| <= 1 survives every map: the bound is within a factor 2.01 of sum |c_t| + |c_0|."""
    program = ridge(manifold, degree, shape)
    weights = program.compile(manifold.box.numpy())
    assert weights.bounds is not None
    ridges = program.layout.tokens("R")
    for bound in weights.bounds[:-1]:
        assert np.abs(bound.after.upper[ridges, 0]).max() <= 1 + 1e-9
        assert np.abs(bound.after.lower[ridges, 0]).max() <= 1 + 1e-9
    size = float(np.abs(program.registers[("R", B)]).sum()) + 0.25
    assert 0 < Network(weights).output_bound <= 2.01 * size


# -- every pair at once -----------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 40), st.integers(2, 6), st.sampled_from([0.0, 0.3, 1.0]))
def test_all_pairs_are_those_that_a_search_finds(seed, tokens, width, moving):
    """Random heads, many pairs near 0; one by one with the definition, and by branch and bound."""
    draw = np.random.default_rng(seed)
    lower = draw.integers(-3, 4, (tokens, width)).astype(float)
    state = Intervals(lower, lower + (draw.random((tokens, width)) < moving) * draw.random((tokens, width)))
    query, key, value = (draw.integers(-1, 2, (width, width)).astype(float) for _ in range(3))
    tree = all_pairs.TokenTree(state)
    found = all_pairs._all_pairs(0, query, key, value, tree)
    each = np.arange(tokens)
    target, source = (side.ravel() for side in np.meshgrid(each, each, indexing="ij"))
    batch = query[None], key[None], value[None]
    head = np.zeros(len(target), dtype=np.int64)
    _, *kept = all_pairs._check(batch[0], batch[1], state, head, target, source)
    low, high = all_pairs.linear_range(np.broadcast_to(value, (tokens, width, width)), state.lower, state.upper)
    speaks = ((low != 0) | (high != 0)).any(axis=1)
    want = {(t, s) for t, s in zip(*(side.tolist() for side in kept), strict=True) if speaks[s]}
    assert set(zip(found[1].tolist(), found[2].tolist(), strict=True)) == want and len(found[1]) == len(want)
    searched = all_pairs._descend_pairs(0, *batch, tree, 10**9)
    assert set(zip(searched[1].tolist(), searched[2].tolist(), strict=True)) == want


def test_ranges_once_per_head_and_token_are_those_of_each_place():
    draw = np.random.default_rng(0)
    weight, low = draw.normal(size=(3, 5, 5)), draw.normal(size=(7, 5))
    state = Intervals(low, low + draw.random((7, 5)))
    head, token = draw.integers(0, 3, 100), draw.integers(0, 7, 100)
    many = all_pairs.ranges_at(weight, head, token, state)
    few = all_pairs.linear_range(weight[head], state.lower[token], state.upper[token])
    assert all(np.array_equal(a, b) for a, b in zip(many, few, strict=True))
    assert all(
        np.array_equal(a[:5], b)
        for a, b in zip(few, all_pairs.ranges_at(weight, head[:5], token[:5], state), strict=True)
    )


def test_attention_without_heads_changes_nothing():
    state = Intervals(np.zeros((3, 4)), np.ones((3, 4)))
    none = np.zeros((0, 4, 4))
    found, after = attention_bounds(none, none, none, state)
    assert isinstance(found, HeadPairs) and len(found) == 0
    assert np.array_equal(after.lower, state.lower) and np.array_equal(after.upper, state.upper)

"""The adaptive tree of Chebyshev polynomials: its partition of unity, bases, growth, counts and guards."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.polynomial.chebyshev import chebval

from construct import baselines, targets
from construct.baselines.classical import AdaptiveChebyshev, adaptive_chebyshev
from construct.baselines.classical.adaptive_chebyshev import bases
from construct.baselines.classical.box_points import BoxSampler
from construct.baselines.classical.chebyshev_tree import (
    OVERLAP,
    Leaf,
    LeafBasis,
    Node,
    Split,
    falling,
    halves,
    leaves,
)
from construct.errors import BudgetExceeded, EpsilonNotReached, InputError
from construct.manifolds import Circle, Cube, Manifold, Sphere, Torus
from construct.measurement import measure
from construct.ridge.coordinates import coordinates_of

EXP_SIN = targets.target("exp_sin")


# -- the tree --------------------------------------------------------------------------------------------------


@given(st.floats(-2, 3))
def test_the_blending_weight_is_a_smooth_step(t: float) -> None:
    here = falling(np.array([t, 1 - t, t + 1e-3]))
    assert here[0] + here[1] == pytest.approx(1.0, abs=1e-12) and here[0] >= here[2]
    assert 0 <= here[0] <= 1 and (t > 0 or here[0] == 1) and (t < 1 or here[0] == 0)
    if 0.01 < t < 0.99:
        first, second = math.exp(-1 / t), math.exp(-1 / (1 - t))
        assert here[0] == pytest.approx(second / (first + second), rel=1e-9)
    assert 1 - falling(np.array([0.02]))[0] < 1e-20  # flat at its ends: below every power of t


def random_tree(draw: st.DrawFn, lower: np.ndarray, upper: np.ndarray, depth: int) -> Node:
    k = len(lower)
    if depth == 0 or draw(st.booleans()):
        free = tuple(sorted(draw(st.sets(st.integers(0, k - 1), min_size=1))))
        basis = LeafBasis(k, draw(st.integers(0, 2)), free) if draw(st.booleans()) else LeafBasis(k)
        degree = draw(st.integers(0, 3))
        rng = np.random.default_rng(draw(st.integers(0, 2**20)))
        return Leaf(lower, upper, basis, degree, rng.standard_normal(basis.count(degree)))
    axis = draw(st.integers(0, k - 1))
    first, second = halves(lower, upper, axis)
    children: list[Node | None] = [random_tree(draw, *box, depth - 1) for box in (first, second)]
    empty = draw(st.sampled_from([None, None, None, 0, 1]))
    if empty is not None:
        children[empty] = None
    return Split(axis, float(second[0][axis]), float(first[1][axis]), (children[0], children[1]))


@st.composite
def trees(draw: st.DrawFn) -> tuple[Node, np.ndarray, np.ndarray]:
    k = draw(st.integers(1, 3))
    lower, upper = -np.ones(k), np.array([1.0, 2.0, 3.0])[:k]
    return random_tree(draw, lower, upper, 4), lower, upper


def naive(node: Node, u: list[float], lower: list[float], upper: list[float]) -> float:
    """The tree at one point in plain Python: boxes are found again from the axes, products from `chebval`."""
    if isinstance(node, Leaf):
        assert node.lower == pytest.approx(lower) and node.upper == pytest.approx(upper)
        z = [(2 * t - a - b) / (b - a) for t, a, b in zip(u, lower, upper, strict=True)]
        t = [[chebval(zj, [0] * a + [1]) for a in range(node.degree + 1)] for zj in z]
        every = itertools.product(range(node.degree + 1), repeat=len(u))
        wanted = [a for a in every if sum(a) <= node.degree and allowed(node.basis, a)]
        table = dict(zip(map(tuple, node.basis.exponents(node.degree).tolist()), node.coefficients, strict=True))
        assert set(table) == set(wanted)
        return sum(table[a] * math.prod(t[j][a[j]] for j in range(len(u))) for a in wanted)
    j = node.axis
    middle, over = (lower[j] + upper[j]) / 2, OVERLAP * (upper[j] - lower[j]) / 2
    assert (node.low, node.high) == pytest.approx((middle - over, middle + over))
    low, high = list(lower), list(upper)
    low[j], high[j] = middle - over, middle + over
    shares = [naive(child, u, *box) for child, box in zip(node.children, ((lower, high), (low, upper)), strict=True)
              if child is not None]  # fmt: skip
    if len(shares) == 1:
        return shares[0]
    s = (u[j] - middle + over) / (2 * over)
    weight = 1.0 if s <= 0 else 0.0 if s >= 1 else 1 / (1 + math.exp(min(700, 1 / (1 - s) - 1 / s)))
    return weight * shares[0] + (1 - weight) * shares[1]


def allowed(basis: LeafBasis, a: tuple[int, ...]) -> bool:
    return basis.cap is None or all(a[j] <= basis.cap for j in range(len(a)) if j not in basis.free)


@given(trees(), st.lists(st.floats(0, 1), min_size=3, max_size=3))
@settings(max_examples=60)
def test_a_tree_is_its_recursion(tree: tuple[Node, np.ndarray, np.ndarray], at: list[float]) -> None:
    node, lower, upper = tree
    u = lower + np.array(at[: len(lower)]) * (upper - lower)
    want = naive(node, u.tolist(), lower.tolist(), upper.tolist())
    assert node(u[None])[0] == pytest.approx(want, rel=1e-9, abs=1e-9)


@given(trees(), st.integers(0, 2**20))
@settings(max_examples=60)
def test_a_tree_is_between_its_leaves(tree: tuple[Node, np.ndarray, np.ndarray], seed: int) -> None:
    """Of leaves that are constant: the weights are >= 0 and sum to 1."""
    node, lower, upper = tree
    rng = np.random.default_rng(seed)
    every = list(leaves(node))
    for leaf in every:
        leaf.coefficients[1:] = 0
        leaf.coefficients[0] = rng.standard_normal()
    u = lower + rng.random((20, len(lower))) * (upper - lower)
    values, constants = node(u), [leaf.coefficients[0] for leaf in every]
    assert (values >= min(constants) - 1e-12).all() and (values <= max(constants) + 1e-12).all()
    for leaf in every:
        leaf.coefficients[0] = 1.5
    assert np.abs(node(u) - 1.5).max() < 1e-12


@given(st.integers(1, 4), st.integers(0, 5), st.sampled_from([None, 0, 1, 3]), st.data())
def test_the_products_of_a_leaf(k: int, degree: int, cap: int | None, data: st.DataObject) -> None:
    free = () if cap is None else tuple(sorted(data.draw(st.sets(st.integers(0, k - 1), min_size=1))))
    basis = LeafBasis(k, cap, free)
    every = itertools.product(range(degree + 1), repeat=k)
    want = {a for a in every if sum(a) <= degree and allowed(basis, a)}
    found = basis.exponents(degree)
    assert set(map(tuple, found.tolist())) == want and len(found) == len(want) == basis.count(degree)
    assert (np.diff(found.sum(axis=1)) >= 0).all()
    most = data.draw(st.integers(1, 60))
    p = basis.degree_within(most)
    assert basis.count(p) <= most
    assert basis.count(p + 1) > most or p == most  # p = most: a basis that grows by one, or not at all
    assert basis.integers == (0 if cap is None else 1 + min(len(free), k - len(free)))


def test_degrees_in_many_coordinates() -> None:
    assert math.comb(9 + 3, 3) <= 700 < math.comb(9 + 4, 4) and LeafBasis(9).degree_within(700) == 3
    assert math.comb(12 + 3, 3) <= 700 < math.comb(12 + 4, 4) and LeafBasis(12).degree_within(700) == 3
    assert LeafBasis(12, 0, (2, 5)).degree_within(700) == 35  # 36 * 37 / 2 = 666


# -- points ----------------------------------------------------------------------------------------------------


def sampler(manifold: Manifold) -> BoxSampler:
    return BoxSampler(EXP_SIN, manifold, coordinates_of(manifold, 0), np.random.default_rng(0))


@pytest.mark.parametrize("manifold", [Sphere(2), Torus(ambient=7), Cube(2)], ids=lambda m: m.name)
def test_points_of_a_box_are_points_of_the_manifold_in_it(manifold: Manifold) -> None:
    maker = sampler(manifold)
    half = 1 / maker.coordinates.scale
    known = maker.at(manifold.restrict(manifold.sample(50, 1)))
    centre = known.u[7]
    lower, upper = centre - 0.05 * half, centre + 0.03 * half
    found = maker.filled(known, lower, upper, 200)
    assert len(found) >= 200 and len(known.within(lower, upper)) < 20
    assert (found.u >= lower).all() and (found.u <= upper).all()
    x = manifold.embed(torch.from_numpy(found.places))
    assert bool(manifold.contains(x).all())
    assert np.abs(EXP_SIN(x).numpy() - found.f).max() < 1e-12
    read = x.numpy()[:, maker.coordinates.chosen] - maker.coordinates.centre
    assert np.abs(read - found.u).max() < 1e-12


def test_a_box_beside_the_known_points_is_found_and_one_off_the_manifold_is_empty() -> None:
    maker = sampler(Circle())
    angle = torch.linspace(0, 5, 40, dtype=torch.float64)  # none on the last part of the circle
    known = maker.at(torch.stack([angle.cos(), angle.sin()], dim=1))
    lower, upper = np.array([0.5, -0.8]), np.array([0.8, -0.5])
    assert len(known.within(lower, upper)) == 0 and len(maker.filled(known, lower, upper, 30)) >= 30
    assert len(maker.filled(known, np.array([-0.2, -0.2]), np.array([0.2, 0.2]), 30)) == 0


def test_bases_take_the_coordinates_over_which_the_points_are_a_graph() -> None:
    x = Sphere(2).sample(20_000, 0).numpy()
    near = x[np.linalg.norm(x - [0, 1, 0], axis=1) < 0.2]
    found = bases(near, 2)
    assert [b.cap for b in found] == [0, 1, 3, None] and {b.free for b in found[:3]} == {(0, 2)}
    assert bases(Cube(2).sample(50, 0).numpy(), 2) == [LeafBasis(2)]


# -- the method ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("manifold", "numbers"),
    [(Circle(), 2 * 3 + 1), (Circle(ambient=5), 2 * 3 + 1), (Sphere(2), 4 * 4), (Cube(2), 10)],
    ids=["circle", "circle in R^5", "sphere", "square"],
)
def test_a_polynomial_is_one_leaf_of_its_degree(manifold: Manifold, numbers: int) -> None:
    """And takes no more coefficients than there are polynomials of that degree on M."""

    def cubic(x: torch.Tensor) -> torch.Tensor:
        y = manifold.restrict(x)
        return y[..., 0] ** 3 - 2 * y[..., 1] ** 2 + y[..., 0] * y[..., 1] + 0.5

    found = AdaptiveChebyshev().fit(cubic, manifold, {"epsilon": 1e-9})
    assert isinstance(found.model, Leaf) and found.model.degree == 3
    assert measure(found, cubic, manifold, 2000).sup < 1e-9
    k, capped = len(found.model.lower), isinstance(found.model.basis.cap, int)
    assert found.counts.nonzero == numbers + 2 * k
    assert found.counts.chosen == 1 + 2 * capped + (k if manifold.embedded else 0)
    assert capped == (manifold.name != "cube")


CASES = [(Circle(), "kink", 2e-2), (Cube(2), "spike", 1e-1), (Sphere(2, ambient=6), "lifted", 1e-1)]


def problem(manifold: Manifold, name: str) -> Any:
    return targets.target(name) if name != "lifted" else lambda x: targets.spike(0.2)(manifold.restrict(x))


@pytest.mark.parametrize(("manifold", "name", "epsilon"), CASES, ids=[case[1] for case in CASES])
def test_epsilon_is_kept_on_points_that_were_not_seen(manifold: Manifold, name: str, epsilon: float) -> None:
    f = problem(manifold, name)
    found = baselines.build("adaptive_chebyshev", f, manifold, epsilon)
    assert found.measured is not None and found.measured.sup <= epsilon
    assert measure(found, f, manifold, 4000, seed=77).sup <= 1.1 * epsilon
    assert [t.outcome for t in found.history][-1] == "chosen"
    counted = naive_counts(found.model)
    k = len(next(leaves(found.model)).lower)
    assert found.counts.nonzero == found.counts.dense == counted[0] + 2 * k
    assert found.counts.chosen == counted[1] + (k if manifold.embedded else 0)
    assert found.settings["leaves"] == len(list(leaves(found.model))) and 0 < found.settings["epsilon"] < epsilon
    assert found.counts.depth == 1 and found.family == "classical"


def naive_counts(node: Node | None) -> tuple[int, int]:
    """Coefficients and integers, one node after another: a degree, an axis, or that there is nothing, one each; a
    capped leaf its cap and one coordinate for each that is capped, or free if these are fewer."""
    numbers, integers, left = 0, 0, [node]
    while left:
        here = left.pop()
        integers += 1
        if isinstance(here, Split):
            left += here.children
        elif isinstance(here, Leaf):
            numbers += here.coefficients.size
            if here.basis.cap is not None:
                integers += 1 + min(len(here.basis.free), len(here.lower) - len(here.basis.free))
    return numbers, integers


def test_the_tree_is_fine_where_the_target_is_sharp() -> None:
    found = AdaptiveChebyshev().fit(targets.target("spike"), Cube(2), {"epsilon": 0.1})
    sizes = [(float((leaf.upper - leaf.lower).max()), leaf) for leaf in leaves(found.model)]
    smallest, largest = min(sizes, key=lambda s: s[0]), max(sizes, key=lambda s: s[0])
    assert len(sizes) >= 4 and smallest[0] < 0.3 < 0.9 < largest[0]
    assert (np.abs((smallest[1].lower + smallest[1].upper) / 2 - [1, 0]) < 0.4).all()
    apart = np.maximum(0, np.maximum(largest[1].lower - [1, 0], [1, 0] - largest[1].upper))
    assert np.linalg.norm(apart) > 0.05  # its box does not hold the spike


def test_a_sharp_target_takes_fewer_numbers_than_one_polynomial() -> None:
    f = targets.target("kink")
    tree = baselines.build("adaptive_chebyshev", f, Cube(1), 3e-3)
    polynomial = baselines.build("global_polynomial", f, Cube(1), budget=tree.counts.stored)
    assert polynomial.measured is not None and polynomial.measured.sup > 3e-3
    one = AdaptiveChebyshev().fit(EXP_SIN, Cube(1), {"epsilon": 1e-6})
    assert one.settings["leaves"] == 1  # where a tree does not pay, it is one


def test_it_depends_on_its_seed_only() -> None:
    before, numpy_before = torch.get_rng_state(), np.array(np.random.get_state(legacy=False)["state"]["key"])
    f, M = problem(Circle(), "kink"), Circle()
    first, again = (AdaptiveChebyshev().fit(f, M, {"epsilon": 0.05}, seed=3) for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    assert np.array_equal(numpy_before, np.random.get_state(legacy=False)["state"]["key"])
    x = Circle().sample(50, 1)
    assert torch.equal(first(x), again(x)) and first.counts == again.counts
    single = AdaptiveChebyshev().fit(f, M, {"epsilon": 0.05}, seed=3, dtype=torch.float32)
    values = single(x.float())
    assert values.dtype == torch.float32 and float((values.double() - first(x)).abs().max()) < 1e-5


def test_multiply_adds_of_a_leaf_and_of_a_split() -> None:
    """Scaling k, T_2 .. T_p of each coordinate, for each coefficient one for the sum and k - 1 for the product; a split
    2 for its weight and one for each child with a share."""
    box = np.array([-1.0, -1.0]), np.array([1.0, 1.0])
    leaf = Leaf(*box, LeafBasis(2), 3, np.ones(10))
    capped = Leaf(*box, LeafBasis(2, 0, (1,)), 3, np.ones(4))
    u = np.array([[-0.9, 0.0], [0.0, 0.0], [0.9, 0.0]])
    assert leaf.work(u).tolist() == [2 + 2 * 2 + 10 * 2] * 3 and capped.work(u).tolist() == [2 + 2 + 4] * 3
    split = Split(0, -0.1, 0.1, (leaf, capped))
    assert split.work(u).tolist() == [2 + 1 + 26, 2 + 2 + 26 + 8, 2 + 1 + 8]
    assert Split(0, -0.1, 0.1, (None, capped)).work(u).tolist() == [2 + 1 + 8] * 3
    found = AdaptiveChebyshev().fit(EXP_SIN, Cube(2), {"epsilon": 0.5})
    assert isinstance(found.model, Leaf) and found.counts.multiply_adds == 2 + found.model.work(u)[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"settings": {}}, "epsilon: expected a finite real number > 0"),
        ({"settings": {"epsilon": 0.0}}, "epsilon: expected a finite real number > 0"),
        ({"settings": {"epsilon": 0.1, "leaves": 3}}, r"settings: expected those of adaptive_chebyshev \(epsilon\)"),
        ({"device": "cuda"}, "device: expected cpu, where adaptive_chebyshev computes, got cuda"),
        ({"dtype": torch.float16}, "dtype"),
        ({"manifold": "circle"}, "manifold"),
        ({"manifold": Cube(13)}, "manifold: expected one that spans at most 12 dimensions"),
        ({"seed": -1}, "seed"),
        ({"target": lambda x: x}, "target"),
    ],
)
def test_bad_arguments_of_the_tree_are_refused(arguments: dict[str, Any], message: str) -> None:
    given_ = {"target": EXP_SIN, "manifold": Circle(), "settings": {"epsilon": 0.1}, **arguments}
    with pytest.raises(InputError, match=f"^{message}"):
        AdaptiveChebyshev().fit(**given_)


def test_a_manifold_of_too_many_dimensions_is_refused_before_anything_is_built() -> None:
    with pytest.raises(InputError, match="manifold: expected one that spans at most 12 dimensions"):
        baselines.build("adaptive_chebyshev", EXP_SIN, Cube(13), 0.1)


@pytest.mark.parametrize(("limit", "value"), [("MOST_NODES", 20), ("DEEPEST", 5)])
def test_a_jump_ends_the_growth(monkeypatch: pytest.MonkeyPatch, limit: str, value: int) -> None:
    monkeypatch.setattr(adaptive_chebyshev, limit, value)
    jump = lambda x: torch.where(x[..., 0] > 0.3, 1.0, 0.0).double()  # noqa: E731
    with pytest.raises(EpsilonNotReached, match=r"^epsilon: expected an error that adaptive_chebyshev reaches with"):
        AdaptiveChebyshev().fit(jump, Circle(), {"epsilon": 0.1})
    smooth = AdaptiveChebyshev().fit(EXP_SIN, Circle(), {"epsilon": 0.1})
    assert smooth.settings["leaves"] == 1


def test_a_measured_error_above_epsilon_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adaptive_chebyshev, "STRICTER", (30.0, 10.0))
    with pytest.raises(EpsilonNotReached, match="epsilon: expected an error that adaptive_chebyshev reaches") as caught:
        baselines.build("adaptive_chebyshev", problem(Circle(), "kink"), Circle(), 1e-2)
    assert 1e-2 < caught.value.best < 0.2 and caught.value.plan is not None
    monkeypatch.setattr(adaptive_chebyshev, "STRICTER", (30.0, 0.8))
    found = baselines.build("adaptive_chebyshev", problem(Circle(), "kink"), Circle(), 1e-2)
    assert [t.outcome for t in found.history] == ["above epsilon", "chosen"]


def test_the_best_tree_within_a_budget() -> None:
    found = baselines.build("adaptive_chebyshev", EXP_SIN, Circle(), budget=20)
    assert found.counts.nonzero <= 20 and found.measured is not None and found.measured.sup < 0.1
    with pytest.raises(BudgetExceeded, match="budget"):
        baselines.build("adaptive_chebyshev", EXP_SIN, Circle(), budget=3)

"""Formulas of manifolds: all of M, nothing but M, and boxes that cover the ends which floats cannot hold."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from flint import arb, ctx
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import cKDTree
from torch import Tensor

from construct import manifolds
from construct.errors import InputError
from construct.expressions import cos, sin, variable, variables
from construct.expressions.balls import BallAlgebra
from construct.manifolds import (
    Circle,
    Cube,
    FlatTorus,
    Formula,
    Helix,
    KleinBottle,
    Manifold,
    MoebiusStrip,
    ParametricManifold,
    Product,
    ProjectedManifold,
    SpecialOrthogonal3,
    Sphere,
    SwissRoll,
    Torus,
    TrefoilKnot,
)
from construct.manifolds.formula import PI_ABOVE

ANGLE = 2 * PI_ABOVE
ARC = Formula((cos(variable(0)), sin(variable(0))), (0.0,), (2 * math.pi,))

CASES: dict[str, Callable[[], Manifold]] = {
    **{name: functools.partial(manifolds.manifold, name) for name in manifolds.manifold_names()},
    "circle 0.7 in R^8": lambda: Circle(0.7, ambient=8, seed=1),
    "sphere 1": lambda: Sphere(1, 3.0),
    "sphere 3 of radius 2 in R^10": lambda: Sphere(3, 2.0, ambient=10, seed=3),
    "sphere 4": lambda: Sphere(4),
    "flat torus 1": lambda: FlatTorus(1),
    "flat torus of unequal radii in R^8": lambda: FlatTorus(3, (1.0, 0.7, 0.5), ambient=8, seed=4),
    "torus 3, 0.5 in R^100": lambda: Torus(3.0, 0.5, ambient=100, seed=5),
    "trefoil in R^100": lambda: TrefoilKnot(ambient=100, seed=6),
    "short helix in R^10": lambda: Helix(2.0, 0.4, 0.8, ambient=10, seed=7),
    "swiss roll in R^5": lambda: SwissRoll(0.2, 3.0, ambient=5),
    "wide moebius in R^10": lambda: MoebiusStrip(0.5, ambient=10, seed=8),
    "klein bottle 1.5, 1 in R^1000": lambda: KleinBottle(1.5, 1.0, ambient=1000, seed=9),
    "so3 in R^100": lambda: SpecialOrthogonal3(ambient=100, seed=10),
    "interval": lambda: Cube(1),
    "cube in R^8": lambda: Cube(3, ambient=8, seed=11),
    "(circle in R^4) x helix in R^12": lambda: Product(Circle(ambient=4, seed=1), Helix(), ambient=12, seed=12),
    "swiss roll x circle": lambda: Product(SwissRoll(), Circle(0.5)),
    "parametric circle": lambda: ParametricManifold(ARC, (0.0,), (2 * math.pi,), (True,), 1.0, (1.0,), ambient=3),
}

PER_AXIS = {1: 1000, 2: 150, 3: 40, 4: 18}


@functools.cache
def built(case: str) -> Manifold:
    return CASES[case]()


@pytest.fixture(params=list(CASES))
def manifold(request: pytest.FixtureRequest) -> Manifold:
    return built(str(request.param))


def ends(formula: Formula) -> tuple[Tensor, Tensor]:
    return torch.tensor(formula.lower, dtype=torch.float64), torch.tensor(formula.upper, dtype=torch.float64)


def uniform(formula: Formula, n: int) -> Tensor:
    """Points of the box, all of its corners among them."""
    low, high = ends(formula)
    unit = torch.rand(n, formula.dim, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * formula.dim)
    return low + (high - low) * torch.cat([unit, corners.reshape(-1, formula.dim)])


def farthest(manifold: Manifold, formula: Formula) -> tuple[float, float]:
    """The largest distance from a sample of M to the points of a grid on the formula's box, and what it may be.

    A point of the box is half a cell's side from a node in every coordinate, hence its image at most half the sum of
    the sides times the largest speeds, which are measured at the nodes (with 5 % for what lies between them).
    """
    low, high = ends(formula)
    m = PER_AXIS[formula.dim]
    axes = [a + (b - a) * torch.linspace(0, 1, m, dtype=torch.float64) for a, b in zip(low, high, strict=True)]
    u = torch.cartesian_prod(*axes).reshape(-1, formula.dim)
    tree = cKDTree(formula(u).numpy())
    allowed = 0.0
    for j in range(formula.dim):
        along = torch.eye(formula.dim, dtype=torch.float64)[j].expand_as(u)
        speed = torch.func.jvp(formula, (u,), (along,))[1].norm(dim=-1).max()
        allowed += 1.05 * float(speed * (high[j] - low[j])) / (m - 1) / 2
    samples = manifold.restrict(manifold.sample(2000, seed=4))
    return float(np.max(tree.query(samples.numpy())[0])), allowed


def test_points_lie_on_the_manifold(manifold: Manifold) -> None:
    formula = manifold.formula()
    y = formula(uniform(formula, 500))
    assert y.shape[-1] == manifold.canonical and formula.dim == manifold.dim
    assert bool(manifold.contains(manifold.embed(y), 1e-9).all())


def test_points_cover_the_manifold(manifold: Manifold) -> None:
    distance, allowed = farthest(manifold, manifold.formula())
    assert distance <= allowed


def test_no_side_of_the_box_could_be_shorter(manifold: Manifold) -> None:
    formula = manifold.formula()
    for j in range(formula.dim):
        upper = list(formula.upper)
        upper[j] -= 0.25 * (formula.upper[j] - formula.lower[j])
        distance, allowed = farthest(manifold, Formula(formula.components, formula.lower, tuple(upper)))
        assert distance > allowed, f"u_{j} up to {upper[j]} is enough"


def test_balls_agree_with_tensors(manifold: Manifold) -> None:
    formula = manifold.formula()
    u = uniform(formula, 20)
    for point, y in zip(u.tolist(), formula(u).tolist(), strict=True):
        enclosures = formula.fold(BallAlgebra([arb(t) for t in point]))
        for enclosure, value in zip(enclosures, y, strict=True):
            assert float(enclosure.rad()) < 1e-12 and float(abs(enclosure - value).upper()) < 1e-12


def test_the_whole_box_gives_a_finite_enclosure(manifold: Manifold) -> None:
    """Of every canonical coordinate; not much wider than the manifold's own box."""
    formula = manifold.formula()
    box = [arb(a).union(arb(b)) for a, b in zip(formula.lower, formula.upper, strict=True)]
    widest = float(manifold.restrict(manifold.sample(2000, seed=4)).norm(dim=-1).max())
    for enclosure in formula.fold(BallAlgebra(box)):
        assert enclosure.is_finite() and float(enclosure.abs_upper()) <= 3 * widest


class TestEnds:
    """The ends of the boxes lie outside those meant, by at most two ulps; compared with 200 bits."""

    def test_pi(self) -> None:
        with ctx.workprec(200):
            pi = arb.pi()
            assert arb(math.pi) < pi < arb(PI_ABOVE)
            assert 2 * pi < arb(TrefoilKnot().formula().upper[0]) < 2 * pi * (1 + 1e-15)
            assert pi / 2 < arb(SpecialOrthogonal3().formula().upper[0]) < pi / 2 * (1 + 1e-15)

    @pytest.mark.parametrize("name", ["circle", "sphere", "flat_torus", "torus", "moebius", "klein_bottle", "so3"])
    def test_angles_are_half_or_full_turns(self, name: str) -> None:
        formula = manifolds.manifold(name).formula()
        found = set()
        with ctx.workprec(200):
            for a, b in zip(formula.lower, formula.upper, strict=True):
                count = round((b - a) / math.pi, 6)
                if count in (0.5, 1.0, 2.0):
                    assert arb.pi() * count < arb(b) - arb(a) < arb.pi() * count * (1 + 1e-15)
                    found.add(count)
        assert 2.0 in found

    @given(st.floats(1e-3, 50.0))
    def test_helix(self, turns: float) -> None:
        formula = Helix(1.0, 3.0, turns).formula()
        with ctx.workprec(200):
            wanted = 2 * arb.pi() * arb(turns)
            assert wanted < arb(formula.upper[0]) < wanted * (1 + 1e-15) and formula.lower == (0.0,)

    def test_swiss_roll(self) -> None:
        (low, bottom), (high, top) = SwissRoll(width=0.7).formula().lower, SwissRoll(width=0.7).formula().upper
        with ctx.workprec(200):
            assert 1.5 * arb.pi() * (1 - 1e-15) < arb(low) < 1.5 * arb.pi()
            assert 4.5 * arb.pi() < arb(high) < 4.5 * arb.pi() * (1 + 1e-15)
        assert (bottom, top) == (0.0, 0.7)


class TestUsersManifolds:
    def circle(self, formula: Formula | None) -> ParametricManifold:
        def function(u: Tensor) -> Tensor:
            return torch.cat([torch.cos(u), torch.sin(u)], dim=-1)

        return ParametricManifold(function, (0.0,), (2 * math.pi,), (True,), 1.0, (1.0,), formula=formula)

    def test_a_formula_beside_the_function(self) -> None:
        outward = Formula(ARC.components, (0.0,), (ANGLE,))
        assert self.circle(outward).formula() is outward
        assert self.circle(ARC).formula() is ARC

    def test_without_one_there_is_none(self) -> None:
        with pytest.raises(InputError, match=r"formula: expected a manifold given by .* got a ParametricManifold"):
            self.circle(None).formula()
        projected = ProjectedManifold(lambda x: x / x.norm(dim=-1, keepdim=True), 1, 2, 1.0, (1.0, 1.0))
        with pytest.raises(InputError, match=r"formula: expected .* argument formula, got a ProjectedManifold"):
            projected.formula()
        with pytest.raises(InputError, match="expected a manifold given by expressions"):
            Product(Circle(), projected).formula()

    @pytest.mark.parametrize(
        ("formula", "message"),
        [
            (Formula(ARC.components, (0.0,), (6.28,)), "formula: expected one with the box"),
            (Formula(ARC.components, (0.0,), (6.29,)), "formula: expected one with the box"),
            (Formula(ARC.components, (0.1,), ARC.upper), "formula: expected one with the box"),
            (Formula(ARC.components, (0.0, 0.0), (*ARC.upper, 1.0)), "formula: expected one with the box"),
            (Formula(ARC.components[::-1], ARC.lower, ARC.upper), "formula: expected the values of function"),
            (Formula(ARC.components[:1], ARC.lower, ARC.upper), "formula: expected the values of function"),
            (ARC.components, "formula: expected a Formula"),
        ],
    )
    def test_a_formula_of_something_else_is_refused(self, formula: Formula, message: str) -> None:
        with pytest.raises(InputError, match=message):
            self.circle(formula)


class TestFormula:
    def test_mapped_and_shifted(self) -> None:
        matrix = torch.tensor([[1.0, 0.0], [0.5, -2.0], [0.0, 0.0]], dtype=torch.float64)
        u = uniform(ARC, 7)
        torch.testing.assert_close(ARC.mapped(matrix)(u), ARC(u) @ matrix.T)
        assert ARC.shifted(2) == (cos(variable(2)), sin(variable(2)))

    def test_common_parts_are_evaluated_once(self) -> None:
        sines = [step for step in Torus().formula().program.steps if step[0] in ("sin", "cos")]
        assert len(sines) == 4

    def test_value_semantics(self) -> None:
        assert Torus().formula() == Torus().formula() and hash(Torus().formula()) == hash(Torus().formula())
        assert Torus().formula() != Torus(3.0).formula()

    @pytest.mark.parametrize(
        ("components", "lower", "upper", "message"),
        [
            ((), (0.0,), (1.0,), "components: expected a tuple of expressions"),
            ([variable(0)], (0.0,), (1.0,), "components: expected a tuple of expressions"),
            ((variable(0), "x"), (0.0,), (1.0,), "component: expected"),
            (variables(2), (0.0,), (1.0,), "components: expected functions of u_0 .. u_0 only"),
            ((variable(0),), (0.0,), (1.0, 2.0), "upper: expected a sequence of 1"),
            ((variable(0),), (1.0,), (0.0,), "lower: expected entries not above those of upper"),
            ((variable(0),), (math.nan,), (0.0,), "lower.*: expected a finite real number"),
        ],
    )
    def test_refusals(self, components: object, lower: object, upper: object, message: str) -> None:
        with pytest.raises(InputError, match=message):
            Formula(components, lower, upper)  # type: ignore[arg-type]

    def test_points_of_another_dimension_are_refused(self) -> None:
        with pytest.raises(InputError, match=r"u: expected a tensor of shape \(\.\.\., 1\)"):
            ARC(torch.zeros(3, 2, dtype=torch.float64))

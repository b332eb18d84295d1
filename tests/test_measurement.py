"""The search for the worst point finds what sampling misses, and never calls a NaN small."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from construct.errors import InputError
from construct.expressions import exp, variables
from construct.manifolds import Circle, Cube, FlatTorus, Manifold, Sphere
from construct.measurement import Measurement, features, measure, search_sup
from construct.measurement.features import MOST_CELLS, narrow_features

Error = Callable[[torch.Tensor], torch.Tensor]


def wave(manifold: Manifold, frequency: float) -> Error:
    """Many hills of the same height 1."""
    generator = torch.Generator().manual_seed(1)
    w = frequency * torch.randn(manifold.ambient, generator=generator, dtype=torch.float64)
    return lambda x: torch.cos(x @ w).abs()


@pytest.mark.parametrize(
    "manifold",
    [Circle(ambient=5), Sphere(dim=2, ambient=8), Sphere(dim=4), FlatTorus(dim=2), Cube(dim=3)],
    ids=repr,
)
def test_the_refined_sup_is_much_nearer_than_the_sampled_one(manifold: Manifold) -> None:
    error = wave(manifold, 12.0)
    sampled = search_sup(error, manifold, 500, rounds=0)
    refined = search_sup(error, manifold, 500)
    assert sampled.samples < refined.samples
    assert 0 <= 1 - refined.sup < 1e-8 < 1 - sampled.sup
    assert error(refined.worst_point[None]).item() == refined.sup
    assert manifold.contains(refined.worst_point)


@pytest.mark.parametrize("place", range(4))
def test_a_narrow_peak_beside_a_broad_hill_is_found(place: int) -> None:
    sphere = Sphere(dim=2, ambient=6)
    centre = sphere.sample(4, seed=99)[place]

    def error(x: torch.Tensor) -> torch.Tensor:
        broad = 0.9 * (1 - ((x + centre) ** 2).sum(dim=-1) / 4)  # 0.9 at the antipode, 0 at the peak
        return broad + torch.exp(-((x - centre) ** 2).sum(dim=-1) / (2 * 0.02**2))

    found = search_sup(error, sphere, 8000)
    assert found.sup == pytest.approx(1.0, abs=1e-3)
    assert (found.worst_point - centre).norm() < 1e-2


def test_a_peak_below_the_worst_points_of_the_sample_is_found_by_its_region() -> None:
    circle = Circle()
    centre = circle.sample(1, seed=3)[0]

    def error(x: torch.Tensor) -> torch.Tensor:
        distance = (x - centre).norm(dim=-1)
        return torch.where(distance > 1.9, 1.0, 0.0) + 2 * torch.relu(1 - distance / 2e-3) + 0.1 / (1 + distance)

    assert search_sup(error, circle, 3000, starts=4).sup > 1.9


def test_the_corner_of_a_cube_is_reached() -> None:
    cube = Cube(dim=5)
    found = search_sup(lambda x: x.sum(dim=-1).abs(), cube, 2000)
    assert found.sup == pytest.approx(5.0, abs=1e-12)


@given(seed=st.integers(0, 10**6))
def test_same_seed_same_answer_and_sup_is_at_least_rms(seed: int) -> None:
    circle = Circle()
    first = search_sup(wave(circle, 5.0), circle, 60, seed, rounds=3, starts=4)
    again = search_sup(wave(circle, 5.0), circle, 60, seed, rounds=3, starts=4)
    assert (first.sup, first.rms, first.samples) == (again.sup, again.rms, again.samples)
    assert torch.equal(first.worst_point, again.worst_point)
    assert first.rms <= first.sup <= 1


def test_one_sample_is_enough_to_run() -> None:
    assert search_sup(wave(Circle(), 1.0), Circle(), 1).sup <= 1


def test_given_centres_are_the_regions() -> None:
    circle = Circle()
    centres = circle.sample(3, seed=5)
    assert search_sup(wave(circle, 9.0), circle, 300, centres=centres).sup == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_one_bad_value_makes_the_sup_infinite(bad: float) -> None:
    circle = Circle()
    point = circle.sample(500, seed=0)[123]

    def error(x: torch.Tensor) -> torch.Tensor:
        return torch.where((x == point).all(dim=-1), bad, 1e-9)

    found = search_sup(error, circle, 500)
    assert found.sup == math.inf and not found.sup <= 1e-3
    assert torch.equal(found.worst_point, point)


@pytest.mark.parametrize(
    ("argument", "value"),
    [("samples", 0), ("samples", 2.5), ("samples", True), ("rounds", -1), ("starts", 0), ("seed", -1)],
)
def test_arguments_out_of_range(argument: str, value: float) -> None:
    arguments: dict[str, float] = {"samples": 10, "seed": 0, "rounds": 1, "starts": 1, argument: value}
    with pytest.raises(InputError, match=argument):
        measure(lambda x: x[..., 0], lambda x: x[..., 0], Circle(), **arguments)  # type: ignore[arg-type]


def test_measure_compares_with_the_target() -> None:
    sphere = Sphere(dim=2, ambient=5)

    def net(x: torch.Tensor) -> torch.Tensor:
        return x[..., 0] ** 2 + 1e-3 * torch.sin(5 * x[..., 1])

    found = measure(net, lambda x: x[..., 0] ** 2, sphere, samples=2000)
    assert isinstance(found, Measurement)
    assert found.sup == pytest.approx(1e-3, rel=1e-9)  # where |x1| = pi/10
    assert found.rms < found.sup
    assert found.kind == "measured" and found.dtype == torch.float64
    assert "measured on" in str(found) and f"{found.samples:,}" in str(found)
    with pytest.raises(AttributeError):
        found.sup = 0.0  # type: ignore[misc]


def test_a_module_is_evaluated_in_its_own_dtype() -> None:
    class Linear(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(3, dtype=torch.float32))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert x.dtype == torch.float32 and not torch.is_grad_enabled()
            return x @ self.weight

    found = measure(Linear(), lambda x: x.sum(dim=-1), Sphere(dim=2), samples=500)
    assert found.dtype == torch.float32
    assert 0 < found.sup < 1e-6


def test_a_net_of_the_wrong_shape_is_refused() -> None:
    with pytest.raises(InputError, match=r"net: expected values of shape \(10,\), got \(10, 2\)"):
        measure(lambda x: x, lambda x: x[..., 0], Circle(), samples=10)


@pytest.mark.parametrize("target", [lambda x: x, lambda x: x[..., 0] * math.nan, lambda x: x[..., 0] + 0j])
def test_a_bad_target_is_refused(target: Error) -> None:
    with pytest.raises(InputError, match=r"^target: expected"):
        measure(lambda x: x[..., 0], target, Circle(), samples=10)


@pytest.mark.parametrize("dim", [4, 5, 6])
def test_narrow_features_are_found_in_more_dimensions(dim: int) -> None:
    """A bump of width 0.02 and height 1, of which random points and a net see nothing."""
    centre, cube = [0.31, -0.42, 0.17, 0.53, -0.24, 0.11], Cube(dim)
    squares = [(x - c) ** 2 for x, c in zip(variables(dim), centre, strict=False)]
    bump = exp(-sum(squares[1:], squares[0]) / (2 * 0.02**2))
    hidden = measure(zero, lambda x: bump(x), cube, 1000, rounds=0)  # a function without an expression
    seen = measure(zero, bump, cube, 1000, rounds=0)
    assert hidden.sup < 0.01 and 0.2 < seen.sup <= 1
    assert len(narrow_features(bump, cube, cube.size)) <= MOST_CELLS


def zero(x: torch.Tensor) -> torch.Tensor:
    return torch.zeros(len(x), dtype=torch.float64)


def test_the_cells_of_an_expression_are_divided_once_a_manifold(monkeypatch):
    looks, look = [], features._Cells._look

    def counted(self, lower, upper):
        looks.append(len(lower))
        return look(self, lower, upper)

    monkeypatch.setattr(features._Cells, "_look", counted)
    f, circle = variables(2)[0] ** 2, Circle()
    first = narrow_features(f, circle, 1e-2)
    known = len(looks)
    assert known > 1 and len(first) and torch.equal(narrow_features(f, circle, 1e-2), first) and len(looks) == known
    fewer = narrow_features(f, circle, 1e-3)
    assert len(fewer) < len(first) and len(looks) == known
    assert torch.equal(narrow_features(f, Circle(), 1e-3), fewer) and len(looks) == 2 * known

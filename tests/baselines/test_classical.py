"""The classical methods: each against a formula of its own, their counts, their guards."""

import math
import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from construct import targets
from construct.baselines.base import Method
from construct.baselines.classical import (
    METHODS,
    GaussianProcess,
    GlobalPolynomial,
    KernelRegression,
    KernelRidge,
    LocalPolynomials,
    NearestNeighbours,
    RadialBasis,
    SparseGrid,
)
from construct.baselines.classical.common import RegressionProblem, Samples
from construct.baselines.classical.polynomials import picked_exponents
from construct.baselines.classical.radial import counts, interpolant
from construct.errors import BudgetExceeded, EpsilonNotReached, InputError
from construct.manifolds import Circle, Cube, Manifold, Sphere
from construct.measurement import measure

SMALL: list[tuple[type[Method], dict[str, int], float]] = [  # method, size, sup error of exp_sin on S^2 that it reaches
    (RadialBasis, {"points": 30}, 0.5),
    (KernelRidge, {"points": 30}, 0.5),
    (KernelRegression, {"points": 30}, 0.5),
    (GaussianProcess, {"points": 30}, 0.5),
    (NearestNeighbours, {"points": 500}, 5e-1),
    (GlobalPolynomial, {"degree": 10}, 1e-4),
    (LocalPolynomials, {"charts": 12, "degree": 6}, 1e-2),
]
CASES = pytest.mark.parametrize(("method", "size", "sup"), SMALL, ids=[entry[0].name for entry in SMALL])
EXP_SIN = targets.target("exp_sin")
pytest.importorskip("sklearn")


def squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return ((a[:, None, :] - b[None, :, :]) ** 2).sum(axis=-1)


def numpy_state() -> np.ndarray:
    return np.array(np.random.get_state(legacy=False)["state"]["key"])


# -- every method --------------------------------------------------------------------------------------------


@CASES
def test_it_approximates_depends_on_its_seed_only_and_leaves_the_global_random_state_alone(
    method: type[Method], size: dict[str, int], sup: float
) -> None:
    M = Sphere(2)
    before, numpy_before = torch.get_rng_state(), numpy_state()
    found = method().fit(EXP_SIN, M, size, seed=3)
    assert torch.equal(before, torch.get_rng_state())
    assert np.array_equal(numpy_before, numpy_state())
    measured = measure(found, EXP_SIN, M, 2000, rounds=4)
    assert measured.sup <= sup
    x = M.sample(7, 9)
    assert torch.equal(found(x), method().fit(EXP_SIN, M, size, seed=3)(x))
    assert found.family == "classical" and found.seconds > 0 and found.counts.depth == 1
    assert found.settings.items() >= size.items()
    assert found(x.reshape(7, 1, 3)).shape == (7, 1) and found(x[:0]).shape == (0,)


@CASES
def test_a_constant_is_found_off_the_origin_and_in_float32(
    method: type[Method], size: dict[str, int], sup: float
) -> None:
    M = Cube(2)
    smaller = (
        {"points": 20} if "points" in size else {**size, "degree": 2, **({"charts": 4} if "charts" in size else {})}
    )
    found = method().fit(lambda x: 5 + 0 * x[..., 0], M, smaller, dtype=torch.float32)
    values = found(M.sample(50, 1, dtype=torch.float32))
    assert values.dtype == torch.float32
    assert float((values - 5).abs().max()) < 1e-3


@CASES
def test_in_a_larger_space_it_stores_the_frame_and_is_as_good(
    method: type[Method], size: dict[str, int], sup: float
) -> None:
    M, embedded = Sphere(2), Sphere(2, ambient=9, seed=2)
    lifted = lambda x: EXP_SIN(embedded.restrict(x))  # noqa: E731
    flat, found = method().fit(EXP_SIN, M, size), method().fit(lifted, embedded, size)
    assert found.counts.nonzero - flat.counts.nonzero == 27
    assert found.counts.multiply_adds - flat.counts.multiply_adds in (26, 27, 28)  # a tree may look at one point more
    y = M.sample(20, 4)
    assert float((found(embedded.embed(y)) - flat(y)).abs().max()) <= 2 * sup


@CASES
def test_bad_arguments_are_refused(method: type[Method], size: dict[str, int], sup: float) -> None:
    M, m = Sphere(2), method()
    name = next(iter(size))
    for bad in ({}, {**size, name: 0}, {**size, name: 2.5}):
        with pytest.raises(InputError, match=name):
            m.fit(EXP_SIN, M, bad)
    with pytest.raises(InputError, match=r"settings: .* got colour"):
        m.fit(EXP_SIN, M, {**size, "colour": 1})
    with pytest.raises(InputError, match=r"device: .* got cuda"):
        m.fit(EXP_SIN, M, size, device="cuda")
    with pytest.raises(InputError, match="dtype"):
        m.fit(EXP_SIN, M, size, dtype=torch.float16)
    with pytest.raises(InputError, match="manifold"):
        m.fit(EXP_SIN, "sphere", size)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"target: .* finite"):
        m.fit(lambda x: x[..., 0] / 0, M, size)
    with pytest.raises(InputError, match="seed"):
        m.fit(EXP_SIN, M, size, seed=-1)


def test_ladders_grow_and_names_differ() -> None:
    assert len({method.name for method in METHODS}) == len(METHODS) == 9
    for method in METHODS:
        ladder = method().ladder(Sphere(2))
        assert len(ladder) >= 9
        if "points" in ladder[0]:
            sizes = [entry["points"] for entry in ladder]
        elif "charts" in ladder[0]:
            sizes = [entry["charts"] * (math.comb(entry["degree"] + 2, 2) + 9) for entry in ladder]
        elif "epsilon" in ladder[0]:
            sizes = [-entry["epsilon"] for entry in ladder]
        else:
            sizes = [entry["degree"] for entry in ladder]
        assert sizes == sorted(sizes)


@pytest.mark.parametrize("method", [KernelRidge, GaussianProcess, KernelRegression])
def test_too_many_points_are_refused(method: type[Any]) -> None:
    with pytest.raises(InputError, match="points: expected an integer >= 1 and <= "):
        method().fit(EXP_SIN, Sphere(2), {"points": method.most_points + 1})


@pytest.mark.parametrize("method", [KernelRidge, GaussianProcess, NearestNeighbours])
def test_a_missing_package_is_named(method: type[Method], monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.split(".")[0] == "sklearn"]:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=r"sklearn: .*pip install 'construct-transformer\[baselines\]'"):
        method().fit(EXP_SIN, Sphere(2), {"points": 20})


class Short(GlobalPolynomial):
    def ladder(self, manifold: Manifold) -> list[dict[str, Any]]:
        return [{"degree": 2}, {"degree": 4}]


def test_build_walks_the_ladder() -> None:
    M, method = Circle(), GlobalPolynomial()
    found = method.build(EXP_SIN, M, 1e-3)
    assert found.measured is not None and found.measured.sup <= 1e-3
    previous = method.fit(EXP_SIN, M, {"degree": found.settings["degree"] - 1})
    assert measure(previous, EXP_SIN, M).sup > 1e-3
    assert method.build(EXP_SIN, M, budget=30).counts.nonzero <= 30
    with pytest.raises(BudgetExceeded):
        method.build(EXP_SIN, M, budget=3)
    with pytest.raises(EpsilonNotReached) as caught:
        Short().build(targets.target("root"), M, 1e-6)
    assert 1e-3 < caught.value.best < 1


# -- each against its own formula ----------------------------------------------------------------------------


def test_kernel_ridge_solves_its_system() -> None:
    M = Sphere(2)
    found = KernelRidge().fit(EXP_SIN, M, {"points": 40})
    length, alpha = found.settings["length"], found.settings["alpha"]
    assert found.settings["kernel"] == "gaussian"
    centres, weights = found.model.centres, found.model.weights
    gram = np.exp(-squared_distances(centres, centres) / (2 * length**2))
    values = EXP_SIN(torch.from_numpy(centres)).numpy()
    rounding = 1e-14 * np.abs(weights).sum()
    assert rounding < 1e-3
    assert np.abs(gram @ weights + alpha * weights - (values - values.mean())).max() < rounding
    x = M.sample(30, 5)
    expected = values.mean() + np.exp(-squared_distances(x.numpy(), centres) / (2 * length**2)) @ weights
    assert np.abs(found(x).numpy() - expected).max() < rounding
    assert found.counts.nonzero == found.counts.dense == 40 * 3 + 40 + 3
    assert found.counts.multiply_adds == 40 * 5


@pytest.mark.parametrize("name", ["exp_sin", "kink"])
def test_tuning_pays(name: str) -> None:
    M, target = Circle(), targets.target(name)
    found = KernelRidge().fit(target, M, {"points": 40})
    centres = found.model.centres
    values = target(torch.from_numpy(centres)).numpy()

    def plain(x: Tensor) -> Tensor:  # scikit-learn's own defaults: gamma = 1 / k, alpha = 1
        gram = np.exp(-squared_distances(centres, centres) / 2)
        weights = np.linalg.solve(gram + np.eye(40), values)
        return torch.from_numpy(np.exp(-squared_distances(x.numpy(), centres) / 2) @ weights)

    assert 5 * measure(found, target, M, 2000).sup < measure(plain, target, M, 2000).sup


def test_kernel_regression_is_the_minimum_of_its_squares() -> None:
    M = Circle()
    found = KernelRegression().fit(EXP_SIN, M, {"points": 10})
    method, problem_points = KernelRegression(), 10
    problem = RegressionProblem(EXP_SIN, M, 0)
    samples = method.samples(problem, problem.spread(problem_points))
    assert len(samples) == 30
    solve = method.solver(problem.spread(problem_points), samples)
    fitted = solve("matern52", {"length": 0.7, "alpha": 1e-6})
    assert fitted is not None

    def objective(weights: np.ndarray) -> float:
        a = math.sqrt(5) * np.sqrt(squared_distances(samples.y, fitted.centres)) / 0.7
        residual = ((1 + a + a * a / 3) * np.exp(-a)) @ weights + samples.f.mean() - samples.f
        return float((residual**2).sum() + 1e-6 * problem_points * (weights**2).sum())

    least = objective(fitted.weights)
    rng = np.random.default_rng(0)
    for scale in (1e-3, 1e-1, 10.0):
        assert objective(fitted.weights + scale * rng.standard_normal(problem_points)) > least
    assert found.counts.nonzero == 10 * 2 + 10 + 3


def test_the_radial_interpolant_interpolates_and_counts() -> None:
    M = Sphere(2)
    found = RadialBasis().fit(EXP_SIN, M, {"points": 80})
    nodes = torch.from_numpy(found.model.y)
    assert float((found(nodes) - EXP_SIN(nodes)).abs().max()) < 1e-8
    assert found.settings["kernel"] in ("gaussian", "inverse_multiquadric")  # the target is entire
    assert found.counts.nonzero == 80 * 4 + 1
    spline = interpolant(Samples(found.model.y, found.model.d[:, 0]), "cubic", 1)
    assert spline is not None
    assert counts(M, 80, spline)[0] == 80 * 4 + 4 + 6 + 1
    assert np.abs(spline(found.model.y) - EXP_SIN(nodes).numpy()).max() < 1e-10


def test_points_that_do_not_determine_the_polynomials_are_noticed() -> None:
    y = Cube(3).sample(10, 0).numpy()
    assert interpolant(Samples(y, y[:, 0]), "quintic", 2) is not None  # ten monomials
    assert interpolant(Samples(y[:9], y[:9, 0]), "quintic", 2) is None
    assert interpolant(Samples(y[:9], y[:9, 0]), "quintic", 1) is not None


@pytest.mark.parametrize("method", [RadialBasis, KernelRidge, KernelRegression, GaussianProcess, NearestNeighbours])
def test_one_point_is_enough_for_a_value_there(method: type[Method]) -> None:
    found = method().fit(lambda x: 3 + 0 * x[..., 0], Circle(), {"points": 1})
    assert bool(torch.isfinite(found(Circle().sample(9, 0))).all())
    assert found.counts.nonzero >= 3


def test_neighbours_take_over_where_there_are_many_points() -> None:
    M = Circle(ambient=4)
    found = RadialBasis().fit(lambda x: M.restrict(x)[..., 0].abs(), M, {"points": 4500})
    assert found.settings["neighbours"] == 50
    assert found.counts.nonzero == 4500 * 2 + 2 * 4 + 4500
    assert measure(found, lambda x: M.restrict(x)[..., 0].abs(), M, 500, rounds=1).sup < 1e-2


def test_the_gaussian_process_is_its_posterior_mean() -> None:
    M = Circle()
    found = GaussianProcess().fit(EXP_SIN, M, {"points": 25})
    chosen, model = found.settings, found.model
    nodes = model.X_train_
    values = EXP_SIN(torch.from_numpy(nodes)).numpy()

    def covariance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        lengths = np.array(chosen["lengths"])
        r2 = squared_distances(a / lengths, b / lengths)
        if chosen["kernel"] == "matern52":
            s = np.sqrt(5 * r2)
            return chosen["variance"] * (1 + s + s * s / 3) * np.exp(-s)
        return chosen["variance"] * np.exp(-r2 / 2)

    x = M.sample(20, 3)
    system = covariance(nodes, nodes) + chosen["jitter"] * np.eye(25)
    weights = np.linalg.lstsq(system, values - values.mean(), rcond=1e-16)[0]
    expected = values.mean() + covariance(x.numpy(), nodes) @ weights
    assert np.abs(found(x).numpy() - expected).max() < 1e-5
    assert found.counts.nonzero == 25 * 3 + 3 + len(chosen["lengths"])


def test_nearest_neighbours_are_the_nearest() -> None:
    M = Sphere(2)
    found = NearestNeighbours().fit(EXP_SIN, M, {"points": 90})
    nodes = np.asarray(found.model._fit_X)
    values = EXP_SIN(torch.from_numpy(nodes)).numpy()
    q, x = found.settings["neighbours"], M.sample(25, 2)
    distance = np.sqrt(squared_distances(x.numpy(), nodes))
    nearest = np.argsort(distance, axis=1)[:, :q]
    weights = 1 / np.take_along_axis(distance, nearest, 1)
    if found.settings["weights"] == "uniform":
        weights = np.ones_like(weights)
    expected = (weights * values[nearest]).sum(axis=1) / weights.sum(axis=1)
    assert np.abs(found(x).numpy() - expected).max() < 1e-12
    assert found.counts.nonzero == 90 * 4 + 1
    assert 3 * q + q <= found.counts.multiply_adds <= 90 * 3 + q  # no more than all distances


@pytest.mark.parametrize("manifold", [Sphere(2), Cube(3), Circle(ambient=5)], ids=lambda m: m.name)
def test_a_global_polynomial_reproduces_polynomials_and_a_degree_less_does_not(manifold: Manifold) -> None:
    def cubic(x: Tensor) -> Tensor:
        y = manifold.restrict(x)
        return y[..., 0] ** 3 - 2 * y[..., 1] ** 2 + y[..., 0] * y[..., 1] + 0.5

    found = GlobalPolynomial().fit(cubic, manifold, {"degree": 3})
    assert measure(found, cubic, manifold, 2000).sup < 1e-12
    lower = GlobalPolynomial().fit(cubic, manifold, {"degree": 2})
    assert measure(lower, cubic, manifold, 2000).sup > 1e-2
    k, D = manifold.canonical, manifold.ambient
    assert found.counts.nonzero == found.settings["coefficients"] + 2 * k + (k * D if k < D else 0)


def test_exponents_that_were_picked_are_stored_and_a_whole_basis_is_not() -> None:
    """On a cube all products of degree <= 3 are kept. On a sphere |y|^2 = 1: of those of degree 2 one is left out, so
    that the exponents of degrees 2 and 3 have to be listed, all that are not 0."""
    assert GlobalPolynomial().fit(EXP_SIN, Cube(3), {"degree": 3}).counts.chosen == 0
    found = GlobalPolynomial().fit(EXP_SIN, Sphere(2), {"degree": 3})
    kept = [tuple(map(int, a)) for a in found.model.indices]
    assert len(kept) == 16 and {a for a in kept if sum(a) < 2} == {(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)}
    assert found.counts.chosen == sum(e != 0 for a in kept if sum(a) >= 2 for e in a) > 16
    assert found.counts.stored == found.counts.nonzero + found.counts.chosen
    assert picked_exponents(np.array([[0, 0], [1, 0], [0, 1], [3, 0], [2, 2]])) == 3
    assert picked_exponents(np.array([[1, 0], [0, 1]])) == 2  # without the constant no basis is whole
    assert picked_exponents(np.array([[0], [1], [2]])) == 0


def test_a_global_polynomial_of_high_degree_is_accurate_on_the_sphere() -> None:
    found = GlobalPolynomial().fit(EXP_SIN, Sphere(2), {"degree": 18})
    assert found.settings["coefficients"] == 361
    assert found.counts.multiply_adds == 3 + 3 * 17 + 361 * 3
    assert measure(found, EXP_SIN, Sphere(2), 5000).sup < 1e-10


def test_too_high_a_degree_is_refused() -> None:
    with pytest.raises(InputError, match="degree"):
        GlobalPolynomial().fit(EXP_SIN, Cube(6), {"degree": 12})
    with pytest.raises(InputError, match=r"degree: expected at most .* on every chart, got .* for degree 300"):
        LocalPolynomials().fit(EXP_SIN, Sphere(2), {"charts": 12, "degree": 300})
    with pytest.raises(InputError, match="charts"):
        LocalPolynomials().fit(EXP_SIN, Sphere(2), {"charts": 1, "degree": 3})


def test_local_polynomials_store_what_is_said() -> None:
    found = LocalPolynomials().fit(EXP_SIN, Sphere(2, ambient=8), {"charts": 12, "degree": 4})
    # 15 coefficients, a centre and two tangent vectors in 3 coordinates for each chart, the frame, two radii, the scale
    assert found.counts.nonzero == 12 * 15 + 12 * 9 + 24 + 3
    assert found.model.coefficients.shape == (12, 15)


# -- sparse grids --------------------------------------------------------------------------------------------


def test_sparse_grids_need_a_cube() -> None:
    with pytest.raises(InputError, match=r"manifold: expected a Cube of dimension <= .* for sparse_grid"):
        SparseGrid().fit(EXP_SIN, Sphere(2), {"points": 50})
    with pytest.raises(InputError, match=r"manifold: expected a Cube of dimension <= .* for sparse_grid"):
        SparseGrid().build(EXP_SIN, Cube(13), budget=50)


def test_a_missing_tasmanian_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "Tasmanian", None)
    with pytest.raises(InputError, match=r"Tasmanian: .*pip install Tasmanian"):
        SparseGrid().fit(EXP_SIN, Cube(2), {"points": 50})


def test_a_sparse_grid_keeps_to_its_points_and_is_exact_on_polynomials() -> None:
    pytest.importorskip("Tasmanian")
    M = Cube(2, ambient=4)

    def cubic(x: Tensor) -> Tensor:
        y = M.restrict(x)
        return y[..., 0] ** 3 - y[..., 0] * y[..., 1] + 1

    found = SparseGrid().fit(cubic, M, {"points": 40})
    assert found.settings["nodes"] <= 40 and found.counts.nonzero == found.settings["nodes"] + 8
    assert measure(found, cubic, M, 1000).sup < 1e-12
    finer = SparseGrid().fit(targets.target("runge"), Cube(2), {"points": 900})
    coarser = SparseGrid().fit(targets.target("runge"), Cube(2), {"points": 90})
    error = [measure(one, targets.target("runge"), Cube(2), 2000).sup for one in (coarser, finer)]
    assert error[1] < 1e-3 * error[0] < 1e-3

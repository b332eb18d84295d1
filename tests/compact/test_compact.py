"""The compact network computes its blended approximator, on the manifold and off it, in any dimension."""

import pytest
import torch

from construct.atlas import atlas_for
from construct.compact.geometry import compact_counts, compact_network
from construct.local import PolynomialSpace, SplineSpace, fit_charts
from construct.manifolds import Circle, Cube, FlatTorus, Sphere
from tests.transformer.networks import exp_sin

CASES = [
    (Circle(), 4, PolynomialSpace(1, 0)),
    (Circle(), 4, PolynomialSpace(1, 3)),
    (Circle(), 3, PolynomialSpace(1, 19)),
    (Circle(ambient=10), 5, SplineSpace(1, 7)),
    (Sphere(2), 6, PolynomialSpace(2, 8)),
    (Sphere(2, ambient=5), 6, PolynomialSpace(2, 10)),
    (Sphere(2, ambient=60), 6, PolynomialSpace(2, 2)),
    (Sphere(2), 4, SplineSpace(2, 4)),
    (FlatTorus(2), 16, PolynomialSpace(2, 3)),
    (Cube(1), 1, PolynomialSpace(1, 9)),
    (Cube(3), 1, PolynomialSpace(3, 4)),
    (Cube(3), 1, SplineSpace(3, 2)),
    (Cube(4), 1, PolynomialSpace(4, 3)),
    (Cube(5), 1, PolynomialSpace(5, 2)),
    (Sphere(3), 10, PolynomialSpace(3, 2)),
]


@pytest.mark.parametrize(("manifold", "charts", "space"), CASES, ids=lambda v: repr(v).split(",")[0])
@pytest.mark.parametrize("code", ["integer", "trigonometric"])
def test_network_equals_approximator(manifold, charts, space, code):
    approximator = fit_charts(exp_sin, atlas_for(manifold, charts=charts), space)
    net = compact_network(approximator, position_code=code)
    generator = torch.Generator().manual_seed(0)
    inside = (torch.rand(200, manifold.ambient, generator=generator, dtype=torch.float64) * 2 - 1) * net.box
    for x in (manifold.sample(300, seed=7), manifold.project(inside)):
        want = approximator(x)
        size = 1 + float(approximator.coefficients.abs().max())
        assert float((net(x) - want).abs().max()) <= (1e-11 if code == "integer" else 1e-6) * size
    assert torch.isfinite(net(inside)).all()
    assert torch.isfinite(net(inside[:2] * 100)).all()


@pytest.mark.parametrize(("manifold", "charts", "space"), CASES, ids=lambda v: repr(v).split(",")[0])
def test_counts_predict_the_network(manifold, charts, space):
    atlas = atlas_for(manifold, charts=charts)
    report = compact_network(fit_charts(exp_sin, atlas, space)).architecture
    parameters, nonzero = compact_counts(atlas, space)
    assert 0.55 * parameters <= report.parameters <= 1.15 * parameters
    assert 0.5 * nonzero <= report.nonzero_parameters <= 1.15 * nonzero


def test_blocks_do_not_depend_on_charts_or_accuracy():
    for charts, degree in ((3, 4), (8, 8), (30, 6)):
        net = compact_network(fit_charts(exp_sin, atlas_for(Circle(), charts=charts), PolynomialSpace(1, degree)))
        assert net.architecture.blocks == 5 and net.architecture.embedding_dim == 5


def test_off_the_manifold_the_network_is_zero_outside_the_balls():
    net = compact_network(fit_charts(exp_sin, atlas_for(Circle(), charts=8), PolynomialSpace(1, 6)))
    centre = torch.zeros(1, 2, dtype=torch.float64)
    assert float(net(centre).abs()) <= 1e-12


def test_projection_to_the_affine_hull_is_used_only_where_it_pays():
    small = compact_network(fit_charts(exp_sin, atlas_for(Sphere(2, ambient=4), charts=6), PolynomialSpace(2, 4)))
    large = compact_network(fit_charts(exp_sin, atlas_for(Sphere(2, ambient=60), charts=6), PolynomialSpace(2, 4)))
    assert small.architecture.blocks == 5 and large.architecture.blocks == 6

"""The compact network computes its blended approximator, on the manifold and off it, in any dimension."""

from dataclasses import asdict
from functools import cache

import pytest
import torch

from construct.atlas import atlas_for
from construct.local import PolynomialSpace, SplineSpace, fit_charts
from construct.manifolds import Circle, Cube, FlatTorus, Sphere
from construct.program.compile import Program
from construct.theorem import network_of
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


@cache
def network(case, code):
    manifold, charts, space = CASES[case]
    return network_of(fit_charts(exp_sin, atlas_for(manifold, charts=charts), space), position_code=code)


every_case = pytest.mark.parametrize(
    "case", range(len(CASES)), ids=lambda i: " ".join(repr(v).split(",")[0] for v in CASES[i])
)
both_codes = pytest.mark.parametrize("code", ["integer", "trigonometric"])


@every_case
@both_codes
def test_network_equals_approximator(case, code):
    net = network(case, code)
    manifold, approximator = net.manifold, net.approximator
    generator = torch.Generator().manual_seed(0)
    inside = (torch.rand(200, manifold.ambient, generator=generator, dtype=torch.float64) * 2 - 1) * net.box[1]
    for x in (manifold.sample(300, seed=7), manifold.project(inside)):
        want = approximator(x)
        size = 1 + float(approximator.coefficients.abs().max())
        assert float((net(x) - want).abs().max()) <= (1e-11 if code == "integer" else 1e-6) * size
    assert torch.isfinite(net(inside)).all()
    assert torch.isfinite(net(inside[:2] * 100, outside="evaluate")).all()


@every_case
@both_codes
def test_counts_are_those_of_the_network(case, code):
    """A program is counted before any constant is known; the network is counted from its tensors."""
    net = network(case, code)
    found = asdict(net.architecture)
    assert found.pop("weight_bound") > 0
    assert asdict(net.program.counts) == found
    assert net.program.parameters == net.program.counts.parameters


@every_case
@both_codes
def test_a_program_is_read_back_from_its_text(case, code):
    program = network(case, code).program
    again = Program.from_json(program.to_json())
    assert again.to_json() == program.to_json() and str(again) == str(program)
    assert again.counts == program.counts


def test_blocks_do_not_depend_on_charts_or_accuracy():
    for charts, degree in ((3, 4), (8, 8), (30, 6)):
        net = network_of(fit_charts(exp_sin, atlas_for(Circle(), charts=charts), PolynomialSpace(1, degree)))
        assert net.architecture.blocks == 5 and net.architecture.embedding_dim == 5


def test_off_the_manifold_the_network_is_zero_outside_the_balls():
    net = network_of(fit_charts(exp_sin, atlas_for(Circle(), charts=8), PolynomialSpace(1, 6)))
    centre = torch.zeros(1, 2, dtype=torch.float64)
    assert float(net(centre).abs()) <= 1e-12


def test_projection_to_the_affine_hull_is_used_only_where_it_pays():
    small = network_of(fit_charts(exp_sin, atlas_for(Sphere(2, ambient=4), charts=6), PolynomialSpace(2, 4)))
    large = network_of(fit_charts(exp_sin, atlas_for(Sphere(2, ambient=60), charts=6), PolynomialSpace(2, 4)))
    assert small.architecture.blocks == 5 and large.architecture.blocks == 6

"""The paper's network is its formula, in the shape that the theorem gives it."""

import math
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from construct import Network, targets
from construct.architecture import architecture_of
from construct.atlas import Atlas
from construct.errors import InputError, PrecisionError
from construct.manifolds import Circle, Cube, FlatTorus, Helix, Manifold, Sphere
from construct.paper.layout import PaperLayout, layout_of, layout_without_target
from construct.paper.planner import paper_parameters
from construct.paper.program import program_of, ramp_doublings
from construct.paper.taylor import TaylorApproximator, paper_atlas, taylor_approximator
from construct.problem import Sizes
from construct.program.compile import Program
from construct.theorem import network_of
from construct.transformer import Transformer
from tests.transformer.networks import manifold_of

EXP_SIN = targets.target("exp_sin")


def approximator(
    manifold: Manifold, cells: int, degree: int, bump: str = "trapezoid", modified: bool = False
) -> TaylorApproximator:
    atlas = paper_atlas(manifold)
    return taylor_approximator(EXP_SIN, atlas, cells=cells, degree=degree, bump=bump, modified=modified)


def with_ramp(t: TaylorApproximator, ramp: str = "epsilon", epsilon: float | None = None) -> TaylorApproximator:
    """The approximator with the indicator's ramp that the paper gives it, or another."""
    doublings = ramp_doublings(t.atlas.radius, t.inner_radius, t.cells, t.degree, ramp=ramp, epsilon=epsilon)
    return replace(t, doublings=doublings)


def paper_network(t: TaylorApproximator, **options: Any) -> Network:
    return network_of(with_ramp(t), **options)


def layout_for(atlas: Atlas, cells: int, degree: int, ramp: str = "epsilon") -> PaperLayout:
    doublings = ramp_doublings(atlas.radius, atlas.default_inner_radius, cells, degree, ramp=ramp)
    return layout_without_target(atlas, cells=cells, degree=degree, doublings=doublings)


def program_for(layout: PaperLayout) -> Program:
    return program_of(layout, np.ones((len(layout.nodes), len(layout.exponents))))


def difference(net: Network, points: int = 300) -> float:
    """Largest difference between a network and the formula it is to compute, relative to the formula's size."""
    assert net.approximator is not None
    x = manifold_of(net).sample(points, seed=2)
    exact = net.approximator(x)
    return float((net(x) - exact).abs().max() / exact.abs().max())


CASES = [
    (Circle(), 6),
    (Circle(ambient=4, seed=1), 3),
    (Helix(), 2),
    (Sphere(2), 2),
    (FlatTorus(2), 1),
    (Cube(2), 3),
    (Cube(3), 1),
]
SMALL = [
    (manifold, cells, degree) for manifold, cells in CASES for degree in range(5) if manifold.dim < 3 or degree < 4
]
COUNTED = [*SMALL, *((manifold, 1, degree) for manifold in (Circle(), Circle(ambient=5)) for degree in (0, 3))]


@pytest.mark.parametrize(("manifold", "cells", "degree"), SMALL, ids=str)
def test_network_is_the_formula_with_the_integer_code(manifold: Manifold, cells: int, degree: int) -> None:
    assert difference(paper_network(approximator(manifold, cells, degree))) < 1e-12


@pytest.mark.parametrize("degree", range(4))
@pytest.mark.parametrize(("manifold", "cells", "limit"), [(Circle(), 4, 1e-8), (Cube(2), 1, 1e-7), (Cube(3), 1, 1e-5)])
def test_network_is_the_formula_with_the_trigonometric_code(
    manifold: Manifold, cells: int, limit: float, degree: int
) -> None:
    net = paper_network(approximator(manifold, cells, degree), position_code="trigonometric")
    assert difference(net) < limit


@pytest.mark.parametrize(("bump", "modified"), [("hat", False), ("hat", True)])
@pytest.mark.parametrize("manifold", [Circle(), Cube(2)], ids=str)
def test_hats(manifold: Manifold, bump: str, modified: bool) -> None:
    assert difference(paper_network(approximator(manifold, 3, 3, bump, modified))) < 1e-12


def test_high_degrees() -> None:
    """s = 9 takes p = 4 blocks of powers, two of which clip; any coefficients will do."""
    t = approximator(Circle(), 2, 0)
    values = torch.randn(len(t.charts), 10, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    net = paper_network(replace(t, degree=9, coefficients=values))
    assert len(net.transformer.blocks) == 10 and difference(net) < 1e-12


def test_the_error_is_that_of_the_approximation() -> None:
    net = paper_network(approximator(Circle(), 32, 3))
    x = manifold_of(net).sample(2000, seed=0)
    assert float((net(x) - EXP_SIN(x)).abs().max()) < 2e-4


@pytest.mark.parametrize("code", ["integer", "trigonometric"])
@pytest.mark.parametrize(("manifold", "cells", "degree"), [(Circle(), 2, 2), (Cube(2), 1, 1), (Sphere(2), 1, 0)])
def test_dense_is_sparse(manifold: Manifold, cells: int, degree: int, code: str) -> None:
    net = paper_network(approximator(manifold, cells, degree), position_code=code)
    x = manifold.sample(4, seed=0)
    x = torch.cat([x, 1.2 * x, 0.3 * x])
    sparse = net(x)
    net.execution = "dense"
    limit = 1e-12 if code == "integer" else 1e-7
    assert float((net(x) - sparse).abs().max()) <= limit * float(sparse.abs().max())


def test_far_off_the_manifold_the_network_is_finite() -> None:
    net = paper_network(approximator(Circle(), 2, 1))
    assert bool(torch.isfinite(net(torch.randn(20, 2, dtype=torch.float64) * 5, outside="evaluate")).all())


def test_float32_runs() -> None:
    net = paper_network(approximator(Circle(), 4, 1), dtype=torch.float32)
    x = manifold_of(net).sample(100, seed=0)
    assert net.approximator is not None
    assert float((net(x.float()).double() - net.approximator(x)).abs().max()) < 1e-4


def test_the_zero_function() -> None:
    t = taylor_approximator(lambda x: 0 * x[..., 0], paper_atlas(Circle()), cells=4, degree=2)
    net = paper_network(t)
    assert bool((net(manifold_of(net).sample(20, seed=0)) == 0).all())


# -- shape ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dim", "degree", "blocks"),
    [
        *[(1, 0, 7), (1, 1, 7), (1, 2, 7), (1, 3, 8), (1, 4, 8), (1, 5, 9)],
        *[(2, 1, 9), (2, 3, 10), (3, 1, 10), (4, 1, 10), (5, 1, 11), (6, 0, 11)],
    ],
)  # fmt: skip
def test_number_of_blocks(dim: int, degree: int, blocks: int) -> None:
    """6 + p for d = 1, else 7 + p + ceil(log2 d); the same for every number of cells."""
    for cells in (1, 2) if dim < 5 else (1,):
        layout = layout_for(paper_atlas(Cube(dim)), cells, degree)
        assert layout.blocks == blocks == len(program_for(layout).stages)


@pytest.mark.parametrize(("manifold", "cells", "degree"), COUNTED, ids=str)
@pytest.mark.parametrize("code", ["integer", "trigonometric"])
def test_counts_are_those_of_the_network(manifold: Manifold, cells: int, degree: int, code: str) -> None:
    """A program is counted before any constant is known; the network is counted from its tensors."""
    t = with_ramp(approximator(manifold, cells, degree))
    layout = layout_of(t, code)
    program = program_of(layout, t.coefficients.numpy())
    found = asdict(architecture_of(Transformer(program.compile(layout.box))))
    assert found.pop("weight_bound") > 0 and found["embedding_dim"] == found["ffn_width"] == 5
    assert asdict(program.counts) == found
    assert program.parameters == program.counts.parameters <= paper_parameters(t.atlas, cells, degree)
    again = Program.from_json(program.to_json())
    assert again.to_json() == program.to_json() and again.counts == program.counts


def test_what_a_budget_counts_is_the_network_when_no_node_is_dropped() -> None:
    t = approximator(Circle(), 4, 1)
    assert paper_network(t).architecture.parameters == paper_parameters(t.atlas, 4, 1)


def test_overhead_does_not_depend_on_the_cells() -> None:
    """Only nodes, powers and sums grow with the cells: charts, indicators and read-out are the same heads."""
    atlas = paper_atlas(Sphere(2))
    few, many = (program_for(layout_for(atlas, n, 1, "constant")) for n in (2, 8))

    def fixed(program: Program) -> list[int]:
        heads = {stage.name: sum(rule.count for rule in program.rules(stage)) for stage in program.stages}
        nodes = sum(rule.count for rule in next(s for s in program.stages if s.name == "nodes").rules[1:])
        layers = sum(s.ffn.weights(program.layout, 1.0).depth for s in program.stages if s.ffn is not None)
        return [heads["charts"], heads["cut"], heads["read-out"], nodes, layers]

    assert fixed(few) == fixed(many) and len(few.stages) == len(many.stages)
    assert many.parameters > 5 * few.parameters


def test_values_read_only_the_constant_row() -> None:
    net = paper_network(approximator(Sphere(2), 1, 3))
    for block in net.transformer.stack:
        value = block.attention.value.numpy()
        assert not value[:, :, :4].any() and not value[:, 2:].any()
        assert (np.count_nonzero(value, axis=(1, 2)) <= 1).all()


@pytest.mark.parametrize("degree", range(1, 20))
def test_power_steps_reach_every_power(degree: int) -> None:
    layout = replace(layout_of(approximator(Circle(), 1, 0)), degree=degree)
    held = dict.fromkeys(range(1, degree + 1), 1)
    for level in range(1, layout.power_blocks + 1):
        held |= {j: held[j] + held[partner] for j, partner in layout.power_steps(level)}
    assert held == {j: j for j in range(1, degree + 1)}
    assert layout.power_blocks == max(1, math.ceil(math.log2(degree)))


@pytest.mark.parametrize("dim", range(2, 12))
def test_product_steps_multiply_every_factor_once(dim: int) -> None:
    layout = PaperLayout(
        np.zeros((1, dim)), np.eye(dim)[None], 1.0, 2.0, np.ones(dim), 1, 0, "hat", 1,
        np.zeros(1, dtype=np.int64), np.zeros((1, dim), dtype=np.int64),
    )  # fmt: skip
    held = {i: [i] for i in range(dim)}
    for level in range(1, layout.product_blocks + 1):
        before = dict(held)
        held |= {i: before[i] + before[j] for i, j in layout.product_steps(level)}
    assert sorted(held[0]) == list(range(dim))
    assert layout.product_blocks == math.ceil(math.log2(dim))


def test_the_ramp_grows_like_the_logarithm_of_epsilon() -> None:
    t = approximator(Circle(), 4, 1)
    depths = [network_of(with_ramp(t, epsilon=eps)).architecture.ffn_depth for eps in (1e-2, 1e-4, 1e-8)]
    assert depths == [math.ceil(math.log2(1 / eps)) + 4 for eps in (1e-2, 1e-4, 1e-8)]
    constant = network_of(with_ramp(t, "constant"))
    assert isinstance(constant.approximator, TaylorApproximator)
    assert constant.architecture.ffn_depth == constant.approximator.doublings + 4 < depths[0]
    assert constant.approximator.doublings == t.doublings
    for net in (constant, network_of(with_ramp(t, epsilon=1e-10))):
        assert difference(net) < 1e-12


def test_origin_and_layout() -> None:
    net = paper_network(approximator(Circle(), 4, 1))
    assert net.origin is not None and isinstance(net.approximator, TaylorApproximator)
    assert net.origin.construction == "paper" and net.origin.sizes == Sizes(net.approximator.atlas.count, 4, 1)
    assert net.origin.coefficients == net.approximator.parameters
    assert "paper construction" in repr(net) and "H[node" in str(net.origin.layout)
    assert net.manifold is net.approximator.atlas.manifold


# -- what must fail ---------------------------------------------------------------------------------------


def outputs(net: Network) -> Tensor:
    return net(manifold_of(net).sample(50, seed=0))


@pytest.mark.parametrize("block", range(7))
@pytest.mark.parametrize("side", ["query", "key"])
def test_without_its_gates_a_block_is_wrong(block: int, side: str) -> None:
    """Row 0 carries the gate of the target, row 1 that of the source: each is needed in every block.

    Only the last block may add the output to all tokens, since one is read.
    """
    net = paper_network(approximator(Circle(), 2, 2))
    exact = outputs(net)
    with net.edit() as transformer:
        weights: Any = getattr(transformer.stack[block].attention, side)
        weights[:, 0 if side == "query" else 1] = 0.0
    wrong = float((outputs(net) - exact).abs().max()) > 1e-3
    assert wrong or (block == 6 and side == "query")


def test_a_gate_constant_far_below_the_bound_leaks() -> None:
    net = paper_network(approximator(Circle(), 4, 1))
    exact = outputs(net)
    with net.edit() as transformer:
        reads = transformer.stack[0].attention.query  # the largest |a| there is an initial register of about 2N
        reads[:, 0] /= 64
    assert float((outputs(net) - exact).abs().max()) > 1e-6


def test_without_the_clip_idle_registers_spoil_the_gates() -> None:
    """Theory, section 4: u^4 reaches 32^4 in the tokens of far nodes; the gate constants count on the clips."""
    t = approximator(Circle(), 16, 0)
    few = t.nodes[:, 0].abs() <= 1
    values = torch.randn(int(few.sum()), 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    net = paper_network(replace(t, degree=4, charts=t.charts[few], nodes=t.nodes[few], coefficients=values))
    net.execution = "dense"  # without the clip most pairs are active
    x = manifold_of(net).sample(5, seed=0)
    exact = net(x)
    with net.edit() as transformer:
        for layer in transformer.stack[1].ffn.affine:
            layer.weight.zero_()
            layer.bias.zero_()
    assert float((net(x) - exact).abs().max()) > 1.0


def test_arguments_are_checked() -> None:
    t = approximator(Circle(), 3, 1)
    with pytest.raises(InputError, match="ramp: expected one of"):
        with_ramp(t, "steep")
    with pytest.raises(InputError, match=r"epsilon: expected a finite real number > 0, got 0.0"):
        with_ramp(t, epsilon=0.0)
    with pytest.raises(InputError, match="position_code: expected one of"):
        paper_network(t, position_code="binary")
    with pytest.raises(PrecisionError, match="dtype"):
        paper_network(approximator(Sphere(2), 5, 1), dtype=torch.float32)
    with pytest.raises(PrecisionError, match="dtype"):
        paper_network(approximator(Sphere(2), 3, 1), dtype=torch.float32, position_code="trigonometric")

"""The paper's network is its formula, in the shape that the theorem gives it."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from construct import targets
from construct.errors import InputError, PrecisionError
from construct.manifolds import Circle, Cube, FlatTorus, Helix, Manifold, Sphere
from construct.paper.layout import PaperDesign, paper_counts, paper_design, ramp_doublings
from construct.paper.program import paper_network
from construct.paper.taylor import TaylorApproximator, paper_atlas, taylor_approximator
from construct.transformer import Transformer

EXP_SIN = targets.get("exp_sin")


def approximator(
    manifold: Manifold, cells: int, degree: int, bump: str = "trapezoid", modified: bool = False
) -> TaylorApproximator:
    atlas = paper_atlas(manifold)
    return taylor_approximator(EXP_SIN, atlas, cells=cells, degree=degree, bump=bump, modified=modified)


def difference(net: Transformer, points: int = 300) -> float:
    """Largest difference between a network and the formula it is to compute, relative to the formula's size."""
    x = net.manifold.sample(points, seed=2)
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
    assert len(net.blocks) == 10 and difference(net) < 1e-12


def test_the_error_is_that_of_the_approximation() -> None:
    net = paper_network(approximator(Circle(), 32, 3))
    x = net.manifold.sample(2000, seed=0)
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
    assert bool(torch.isfinite(net(torch.randn(20, 2, dtype=torch.float64) * 5)).all())


def test_float32_runs() -> None:
    net = paper_network(approximator(Circle(), 4, 1), dtype=torch.float32)
    x = net.manifold.sample(100, seed=0)
    assert float((net(x.float()).double() - net.approximator(x)).abs().max()) < 1e-4


def test_the_zero_function() -> None:
    t = taylor_approximator(lambda x: 0 * x[..., 0], paper_atlas(Circle()), cells=4, degree=2)
    net = paper_network(t)
    assert bool((net(net.manifold.sample(20, seed=0)) == 0).all())


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
        assert paper_counts(paper_atlas(Cube(dim)), cells=cells, degree=degree).blocks == blocks


@pytest.mark.parametrize("manifold", [Circle(), Sphere(2), Cube(3), Circle(ambient=5)], ids=str)
def test_counts_are_those_of_the_network(manifold: Manifold) -> None:
    for degree, cells in ((0, 1), (1, 2), (3, 1)):
        net = paper_network(approximator(manifold, cells, degree))
        found, counts = net.architecture, paper_design(net.approximator).counts()
        for name in ("blocks", "heads", "total_heads", "tokens", "ffn_depth", "parameters"):
            assert getattr(found, name) == getattr(counts, name), name
        budget = paper_counts(net.approximator.atlas, cells=cells, degree=degree)
        assert 0 < counts.overhead < counts.parameters <= budget.parameters
        assert found.embedding_dim == found.ffn_width == 5


def test_overhead_does_not_depend_on_the_cells() -> None:
    atlas = paper_atlas(Sphere(2))
    few, many = (paper_counts(atlas, cells=n, degree=1, ramp="constant") for n in (2, 8))
    assert few.overhead == many.overhead and few.blocks == many.blocks and many.parameters > 5 * few.parameters


def test_values_read_only_the_constant_row() -> None:
    net = paper_network(approximator(Sphere(2), 1, 3))
    for block in net.blocks:
        value = block.value.numpy()  # type: ignore[operator]
        assert not value[:, :, :4].any() and not value[:, 2:].any()
        assert (np.count_nonzero(value, axis=(1, 2)) <= 1).all()


@pytest.mark.parametrize("degree", range(1, 20))
def test_power_steps_reach_every_power(degree: int) -> None:
    design = replace(paper_design(approximator(Circle(), 1, 0)), degree=degree)
    held = dict.fromkeys(range(1, degree + 1), 1)
    for level in range(1, design.power_blocks + 1):
        held |= {j: held[j] + held[partner] for j, partner in design.power_steps(level)}
    assert held == {j: j for j in range(1, degree + 1)}
    assert design.power_blocks == max(1, math.ceil(math.log2(degree)))


@pytest.mark.parametrize("dim", range(2, 12))
def test_product_steps_multiply_every_factor_once(dim: int) -> None:
    design = PaperDesign(
        np.zeros((1, dim)), np.eye(dim)[None], 1.0, 2.0, np.ones(dim), 1, 0, "hat", 1,
        np.zeros(1, dtype=np.int64), np.zeros((1, dim), dtype=np.int64),
    )  # fmt: skip
    held = {i: [i] for i in range(dim)}
    for level in range(1, design.product_blocks + 1):
        before = dict(held)
        held |= {i: before[i] + before[j] for i, j in design.product_steps(level)}
    assert sorted(held[0]) == list(range(dim))
    assert design.product_blocks == math.ceil(math.log2(dim))


def test_the_ramp_grows_like_the_logarithm_of_epsilon() -> None:
    t = approximator(Circle(), 4, 1)
    depths = [paper_network(t, epsilon=eps).architecture.ffn_depth for eps in (1e-2, 1e-4, 1e-8)]
    assert depths == [math.ceil(math.log2(1 / eps)) + 4 for eps in (1e-2, 1e-4, 1e-8)]
    constant = paper_network(t, ramp="constant")
    assert constant.architecture.ffn_depth == constant.approximator.doublings + 4 < depths[0]
    assert constant.approximator.doublings == t.doublings
    for net in (constant, paper_network(t, epsilon=1e-10)):
        assert difference(net) < 1e-12


def test_labels_and_layout() -> None:
    net = paper_network(approximator(Circle(), 4, 1))
    assert net.labels["construction"] == "paper" and net.labels["cells"] == 4 and net.labels["degree"] == 1
    assert net.labels["coefficients"] == net.approximator.parameters
    assert "paper construction" in repr(net) and "H[node" in net.labels["layout"]
    assert net.manifold is net.approximator.atlas.manifold


# -- what must fail ---------------------------------------------------------------------------------------


def outputs(net: Transformer) -> Tensor:
    return net(net.manifold.sample(50, seed=0))


@pytest.mark.parametrize("block", range(7))
@pytest.mark.parametrize("side", ["query", "key"])
def test_without_its_gates_a_block_is_wrong(block: int, side: str) -> None:
    """Row 0 carries the gate of the target, row 1 that of the source: each is needed in every block.

    Only the last block may add the output to all tokens, since one is read.
    """
    net = paper_network(approximator(Circle(), 2, 2))
    exact = outputs(net)
    weights: Any = getattr(net.blocks[block], side)
    weights[:, 0 if side == "query" else 1] = 0.0
    wrong = float((outputs(net) - exact).abs().max()) > 1e-3
    assert wrong or (block == 6 and side == "query")


def test_a_gate_constant_far_below_the_bound_leaks() -> None:
    net = paper_network(approximator(Circle(), 4, 1))
    exact = outputs(net)
    reads: Any = net.blocks[0].query  # the largest |a| there is an initial register of about 2N
    reads[:, 0] /= 64
    assert float((outputs(net) - exact).abs().max()) > 1e-6


def test_without_the_clip_idle_registers_spoil_the_gates() -> None:
    """Theory, section 4: u^4 reaches 32^4 in the tokens of far nodes; the gate constants count on the clips."""
    t = approximator(Circle(), 16, 0)
    few = t.nodes[:, 0].abs() <= 1
    values = torch.randn(int(few.sum()), 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    net = paper_network(replace(t, degree=4, charts=t.charts[few], nodes=t.nodes[few], coefficients=values))
    net.execution = "dense"  # without the clip most pairs are active
    x = net.manifold.sample(5, seed=0)
    exact = net(x)
    clip: Any = net.blocks[1].ffn
    for layer in clip:
        layer.weight.zero_()
        layer.bias.zero_()
    assert float((net(x) - exact).abs().max()) > 1.0


def test_arguments_are_checked() -> None:
    t = approximator(Circle(), 3, 1)
    with pytest.raises(InputError, match="ramp: expected one of"):
        ramp_doublings(t, "steep")
    with pytest.raises(InputError, match="epsilon: expected a number > 0"):
        paper_network(t, epsilon=0.0)
    with pytest.raises(InputError, match="position_code: expected one of"):
        paper_network(t, position_code="binary")
    with pytest.raises(PrecisionError, match="dtype"):
        paper_network(approximator(Sphere(2), 5, 1), dtype=torch.float32)
    with pytest.raises(PrecisionError, match="dtype"):
        paper_network(approximator(Sphere(2), 3, 1), dtype=torch.float32, position_code="trigonometric")

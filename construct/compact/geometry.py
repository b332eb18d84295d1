"""From a blended approximator to the compact network that computes it."""

from __future__ import annotations

from dataclasses import replace
from math import ceil

import numpy as np
import torch

from construct.arrays import Float
from construct.atlas import Atlas
from construct.compact.basis import LineBasis, PolynomialAxis, SplineAxis, TensorBasis
from construct.compact.program import ChartGeometry, CompactAssembler, CompactDesign
from construct.errors import InputError
from construct.local import LocalSpace, PiecewiseApproximator, PolynomialSpace, SplineSpace
from construct.progress import Progress
from construct.transformer import Transformer

BOX_MARGIN = 2.0  # admissible inputs: |x_j| <= 2 max_M |x_j|
LARGEST_DEGREE = 24
PROJECT_BELOW = 0.6  # project first when it leaves less than this share of the parameters: it costs a block


def network_basis(space: LocalSpace) -> LineBasis | TensorBasis:
    """The network's own basis of a local space.

    Raises:
        InputError: a degree above 24 (three atoms of degree 8), beyond which the basis is too ill-conditioned.
    """
    if isinstance(space, PolynomialSpace):
        if space.degree > LARGEST_DEGREE:
            raise InputError(
                f"degree: expected at most {LARGEST_DEGREE} for the compact construction, got {space.degree}"
            )
        axis: PolynomialAxis | SplineAxis = PolynomialAxis(space.degree)
    elif isinstance(space, SplineSpace):
        axis = SplineAxis(space.cells)
    else:
        raise InputError(f"space: expected a PolynomialSpace or a SplineSpace, got {type(space).__name__}")
    if space.dim == 1:
        return LineBasis(axis)
    return TensorBasis(axis, space.indices.numpy())


def chart_geometry(atlas: Atlas, *, project: bool) -> ChartGeometry:
    """Centres, frames and radii as the chart block reads them: in R^D, or in the affine hull R^k."""
    centres, frames = atlas.centres.numpy(), atlas.frames.numpy()
    hull: Float | None = None
    if project:
        hull = atlas.manifold.frame.numpy()
        centres = centres @ hull
        frames = np.einsum("Dk,nDd->nkd", hull, frames)
    return ChartGeometry(
        centres=_cleaned(centres),
        frames=_cleaned(frames),
        box=input_box(atlas),
        radius=atlas.radius,
        core=atlas.core_radius,
        scale=atlas.scale,
        neighbours=atlas.neighbours.numpy(),
        hull=hull,
    )


def _cleaned(values: Float) -> Float:
    """Drop entries that are rounding noise of an exact zero (below 1e-15 of the largest)."""
    return np.where(np.abs(values) > 1e-15 * max(np.abs(values).max(), 1e-300), values, 0.0)


def input_box(atlas: Atlas) -> Float:
    """Half-widths of the admissible inputs, (D,)."""
    box = atlas.manifold.box.numpy()
    return np.asarray(BOX_MARGIN * np.maximum(box, 1e-3 * box.max()))


def chart_nonzeros(atlas: Atlas) -> tuple[int, int]:
    """Non-zeros of the chart blocks without and with projection to the affine hull (8 a linear read)."""
    ambient, (hull, dim) = atlas.manifold.ambient, (atlas.manifold.frame.shape[1], atlas.manifold.dim)
    direct = 8 * atlas.count * ambient * (dim + 1) + 10 * ambient
    projected = 8 * ambient * hull + 8 * atlas.count * hull * (dim + 1) + 10 * hull
    return direct, projected


def compact_design(atlas: Atlas, space: LocalSpace, *, position_code: str = "integer") -> CompactDesign:
    """The layout for an atlas and a local space; projects to the affine hull first where that pays for the block."""
    basis = network_basis(space).product
    direct, projected = chart_nonzeros(atlas)
    manifold = atlas.manifold
    embedded = manifold.frame.shape[1] < manifold.ambient
    rest = 7 * atlas.count * space.count
    project = embedded and projected + rest < PROJECT_BELOW * (direct + rest)
    return CompactDesign(manifold.ambient, chart_geometry(atlas, project=project), basis, position_code)


def ranking_nonzeros(atlas: Atlas, space: LocalSpace, coefficients: float | None = None) -> int:
    """Non-zeros of the network on the canonical form of the manifold, in R^k: what the planner ranks candidates by.

    The choice of charts and degree, and with it the number of coefficients, then does not depend on D.
    """
    geometry = chart_geometry(atlas, project=True)
    canonical = replace(geometry, hull=None)
    design = CompactDesign(geometry.centres.shape[1], canonical, network_basis(space).product)
    return design_counts(design, space.count if coefficients is None else ceil(coefficients))[1]


def compact_counts(atlas: Atlas, space: LocalSpace, coefficients: float | None = None) -> tuple[int, int]:
    """Dense and non-zero parameters of the compact network, counted from its design without building it.

    coefficients: how many of a chart's are not zero, on average; default all of the space. The non-zeros are those
    of the heads as `gadgets.heads` writes them (8 for the gates of a pair, one less where constants fold); tests
    compare them with built networks.
    """
    design = compact_design(atlas, space)
    return design_counts(design, space.count if coefficients is None else ceil(coefficients))


def design_counts(design: CompactDesign, coefficients: int) -> tuple[int, int]:
    """Heads times 75 plus FFN, and the sum over kinds of heads of their non-zeros."""
    g, basis, width = design.geometry, design.basis, design.layout.embedding_dim
    n, d, inputs = g.charts, g.dim, g.centres.shape[1]
    kinds: list[tuple[int, int]] = []  # (heads, non-zeros each)
    if g.hull is not None:
        kinds.append((design.ambient * inputs, 8))
    kinds.append((n * inputs * d, 8))
    kinds.append((n * inputs, 8))
    kinds.append((inputs, 9))
    kinds.append((len(g.neighbours), 11))
    if design.powers:
        kinds += [(1, 11), (n * d, 8)]
    kinds += [(n * d * bool(design.indices & group), 13) for group in ({4, 5}, {6, 8}, {7})]
    left = len(basis.left)
    kinds.append((n * ((left + 1) // 2), 8))
    kinds.append((n * sum(len(atoms) for atoms in basis.left), 11))
    kinds.append((n * sum(len(atoms) for atoms in basis.right if len(atoms) > 1), 9))
    per_chart, functions = design.coefficient_reads(coefficients)
    kinds.append((n * per_chart, 7 if not functions else 11))
    heads = sum(count for count, _ in kinds) + 1
    ffn_layers = 2 + 3 + 2
    registers = n * (d * 2 * design.powers + 2 + left)
    dense = 3 * width**2 * heads + ffn_layers * (width**2 + width) + registers
    nonzero = sum(count * size for count, size in kinds) + n * coefficients + registers + 30
    return dense, nonzero


def compact_network(
    approximator: PiecewiseApproximator,
    *,
    position_code: str = "integer",
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> Transformer:
    """The compact transformer of a blended approximator, exact up to rounding.

    Raises:
        PrecisionError: the dtype cannot hold the position code of that many tokens.
    """
    atlas, space = approximator.atlas, approximator.space
    design = compact_design(atlas, space, position_code=position_code)
    design.layout.code.check(dtype)
    coefficients = network_basis(space).convert(approximator.coefficients.numpy())
    builder = CompactAssembler(design, coefficients, input_box(atlas), progress).assemble()
    polynomial = isinstance(space, PolynomialSpace)
    labels = {
        "construction": "compact",
        "cells": 1 if polynomial else space.cells,  # type: ignore[attr-defined]
        "degree": space.degree if polynomial else 1,  # type: ignore[attr-defined]
        "coefficients": int(approximator.coefficients.numel()),
        "nonzero_coefficients": int(approximator.coefficients.count_nonzero()),
    }
    return builder.build(approximator, labels=labels, dtype=dtype, device=device)

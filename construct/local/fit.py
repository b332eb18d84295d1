"""Least-squares and near-minimax fits of one function per chart, batched over the charts.

The basis matrix of a chart is factored once, A = Q R (Householder); every later step works with the
orthonormal factor. Lawson's algorithm (C. L. Lawson 1961; Ellacott and Williams 1976) multiplies the weights
of a weighted least-squares problem by the current residuals and tends to the minimax fit on the nodes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from construct.local.space import Fit, LocalSpace
from construct.progress import tick
from construct.validation import invalid

RIDGE = 1e-13
"""Tikhonov parameter relative to the node count: bounds the coefficients where the nodes fill only a part of
the cube (a chart at an edge), at the price of an error RIDGE * |coefficients|.
"""
LAWSON_STEPS = 20
LEAST_STEPS = 12
WARM_STEPS, WARM_STEPS_LARGE, LARGE, KEPT = 8, 3, 200, 3
"""After WARM_STEPS (fewer for more than LARGE coefficients c) the normal equations use the KEPT * c + 20 heaviest
nodes only.
"""
MEMORY_BYTES = 2**28
"""Size of the basis matrices held at a time; Q and the weighted copy make it about four times that."""
LARGEST_VALUE = 1e300


def check_values(values: Tensor, mask: Tensor) -> None:
    """Refuse target values that are not finite on a node, or so large that coefficients may overflow.

    Raises:
        InputError: naming `target`.
    """
    bad = mask & ~torch.isfinite(values)
    if bool(bad.any()):
        got = f"{int(bad.sum())} of {int(mask.sum())} that are NaN or infinite"
        raise invalid("target", "finite values on the manifold", got=got)
    check_size(values)


def check_size(values: Tensor) -> None:
    """Refuse target values so large that coefficients may overflow.

    Raises:
        InputError: naming `target`.
    """
    largest = float(values.abs().amax())
    if largest > LARGEST_VALUE:
        raise invalid(
            "target", f"values of at most {LARGEST_VALUE:.0e}, so that fits do not overflow", got=f"{largest:.3e}"
        )


def _check_shapes(space: LocalSpace, z: Tensor, values: Tensor, mask: Tensor) -> None:
    if z.ndim != 3 or z.shape[-1] != space.dim:
        raise invalid("z", f"a tensor of shape (n, q, {space.dim})", z)
    for name, given in (("values", values), ("mask", mask)):
        if given.shape != z.shape[:2]:
            raise invalid(name, f"a tensor of shape {tuple(z.shape[:2])}", given)
    if not bool(mask.any(-1).all()):
        empty = int((~mask.any(-1)).nonzero()[0])
        raise invalid("mask", "a node in every chart", got=f"none in chart {empty}")


def fit(space: LocalSpace, z: Tensor, values: Tensor, mask: Tensor, *, lawson: int = LAWSON_STEPS) -> Fit:
    """Fit one element of `space` per chart to values on nodes.

    Args:
        z: (n, q, d) nodes in chart coordinates; values: (n, q); mask: (n, q) bool, nodes that count.
        lawson: number of reweighting steps, 0 for plain least squares.

    Raises:
        InputError: wrong shapes, a chart without nodes, non-finite values (naming `target`).
    """
    _check_shapes(space, z, values, mask)
    check_values(values, mask)
    return space.fitted(z, values, mask, lawson=lawson)


def prefix_fits(
    space: LocalSpace,
    z: Tensor,
    values: Tensor,
    mask: Tensor,
    counts: list[int],
    *,
    lawson: int = LAWSON_STEPS,
) -> list[Fit]:
    """Fits in the span of the first `count` basis functions, for every count, from one factorisation."""
    n, q = mask.shape
    per_chart = 8 * (q + space.count) * space.count
    size = max(1, MEMORY_BYTES // per_chart)
    results: list[list[tuple[Tensor, Tensor]]] = [[] for _ in counts]
    for start in range(0, n, size):
        part = slice(start, start + size)
        f = torch.where(mask[part], values[part], 0.0)
        weights = mask[part].to(z.dtype)
        basis = space.evaluate(torch.where(mask[part].unsqueeze(-1), z[part], 0.0)) * weights.unsqueeze(-1)
        ridge = RIDGE * q**0.5 * torch.eye(space.count, dtype=z.dtype, device=z.device)
        stacked = torch.cat((basis, ridge.expand(len(basis), -1, -1)), 1)
        orthonormal, triangle = torch.linalg.qr(stacked)
        for found, count in zip(results, counts, strict=True):
            tick(start / n)
            a, residual = minimax(orthonormal[:, :q, :count], f, weights, steps=lawson)
            solved = torch.linalg.solve_triangular(triangle[:, :count, :count], a.unsqueeze(-1), upper=True)
            found.append((solved.squeeze(-1), residual))
    return [Fit(torch.cat([c for c, _ in found]), torch.cat([r for _, r in found])) for found in results]


def minimax(q: Tensor, f: Tensor, present: Tensor, *, steps: int) -> tuple[Tensor, Tensor]:
    """Lawson's iteration in the columns of q (n, m, c), which are orthonormal up to the ridge.

    f (n, m) is zero on absent nodes, present (n, m) is 1.0 or 0.0. The first iterate is the least-squares
    fit, the best one by sup residual is kept, so more steps never make the result worse.

    Returns the coefficients (n, c) with respect to q and the sup residuals (n,).
    """
    best = (q.mT @ f.unsqueeze(-1)).squeeze(-1)
    residual = (f - (q @ best.unsqueeze(-1)).squeeze(-1)).abs() * present
    best_sup = residual.amax(-1)
    weights = present / present.sum(-1, keepdim=True)
    # a floor for the diagonal, in the units of the weights: keeps the factorisation definite where fewer
    # nodes than coefficients carry weight
    eye = 1e-14 * torch.eye(q.shape[-1], dtype=q.dtype, device=q.device)
    tiny = torch.finfo(q.dtype).tiny
    kept = min(f.shape[-1], KEPT * q.shape[-1] + 20)
    warm = WARM_STEPS if q.shape[-1] <= LARGE else WARM_STEPS_LARGE
    for step in range(steps):
        tick()
        weights = weights * (residual + 1e-3 * residual.mean(-1, keepdim=True))
        weights = weights / weights.sum(-1, keepdim=True).clamp_min(tiny)
        if step < warm or kept == f.shape[-1]:
            rows, data, heavy = q, f, weights
        else:
            # the weight gathers on few nodes: the others hardly enter the normal equations
            heavy, index = weights.topk(kept, sorted=False)
            data = f.gather(-1, index)
            rows = q.gather(1, index.unsqueeze(-1).expand(-1, -1, q.shape[-1]))
        weighted = rows * (heavy * q.shape[1]).unsqueeze(-1)
        factor, info = torch.linalg.cholesky_ex(weighted.mT @ rows + eye)
        right = weighted.mT @ data.unsqueeze(-1)
        candidate = torch.cholesky_solve(right, factor).squeeze(-1)
        residual = (f - (q @ candidate.unsqueeze(-1)).squeeze(-1)).abs() * present
        residual = torch.where(torch.isfinite(residual), residual, 0.0)
        sup = residual.amax(-1)
        better = (info == 0) & torch.isfinite(candidate).all(-1) & (sup < best_sup)
        best = torch.where(better.unsqueeze(-1), candidate, best)
        best_sup = torch.where(better, sup, best_sup)
    return best, best_sup


def least_square_fit(space: LocalSpace, z: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """The least-squares fit on the nodes z (q, d) of one chart: coefficients (c,) and residuals (q,)."""
    basis = space.evaluate(z.clamp(-1.0, 1.0))
    ridge = RIDGE * len(z) ** 0.5 * torch.eye(space.count, dtype=z.dtype)
    orthonormal, triangle = torch.linalg.qr(torch.cat((basis, ridge)))
    right = orthonormal[: len(z)].mT @ values
    coefficients = torch.linalg.solve_triangular(triangle, right.unsqueeze(-1), upper=True).squeeze(-1)
    return coefficients, (values - basis @ coefficients).abs()


def least_residuals(
    space: LocalSpace, z: Tensor, values: Tensor, mask: Tensor, *, steps: int = LEAST_STEPS
) -> tuple[Tensor, Tensor]:
    """A lower bound (n,) of the sup residual that *every* element of `space` has on the nodes of a chart, and the
    residuals (n, q) of the least-squares fit.

    For weights w >= 0 with sum 1 and any P, max |f - P|^2 >= sum w |f - P|^2 >= min over P of the latter. The weights
    of Lawson's algorithm raise that minimum towards the minimax error. Arguments as in `fit`; exact up to rounding.
    """
    present = mask.to(z.dtype)
    basis = space.evaluate(torch.where(mask.unsqueeze(-1), z, 0.0)) * present.unsqueeze(-1)
    f = torch.where(mask, values, 0.0)
    q = torch.linalg.qr(basis)[0]
    eye = 1e-14 * torch.eye(q.shape[-1], dtype=q.dtype)
    first = residual = (f - (q @ (q.mT @ f.unsqueeze(-1))).squeeze(-1)).abs() * present
    weights = present / present.sum(-1, keepdim=True)
    least = (weights * residual**2).sum(-1).sqrt()
    for _ in range(steps):
        tick()
        weights = weights * (residual + 1e-3 * residual.mean(-1, keepdim=True))
        weights = weights / weights.sum(-1, keepdim=True).clamp_min(torch.finfo(q.dtype).tiny)
        weighted = q * (weights * q.shape[1]).unsqueeze(-1)
        factor, info = torch.linalg.cholesky_ex(weighted.mT @ q + eye)
        solved = torch.cholesky_solve(weighted.mT @ f.unsqueeze(-1), factor)
        residual = (f - (q @ solved).squeeze(-1)).abs() * present
        usable = (info == 0) & torch.isfinite(residual).all(-1)
        residual = torch.where(torch.isfinite(residual), residual, 0.0)
        bound = (weights * residual**2).sum(-1).sqrt()
        least = torch.where(usable, torch.maximum(least, bound), least)
    return least, first

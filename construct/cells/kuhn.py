"""Nodal hats of the Kuhn triangulation of R^m: a partition of unity that one FFN computes, and that can be refined.

The planes `u_i = k` and `u_i - u_j = k`, k any integer, cut R^m into simplices whose vertices are the integer vectors
(Freudenthal 1942, Kuhn 1960). The continuous function that is linear on each, 1 at 0 and 0 at all other vertices is

    psi(u) = relu(1 - max(0, u_1, .., u_m) - max(0, -u_1, .., -u_m)).

Members `psi(z - n)`, n in Z^m, are >= 0 and add up to 1. With the fractional parts of z in descending order `f_1 >=
.. >= f_m` those that are not 0 are at `floor(z)`, `floor(z) + e_1`, `floor(z) + e_1 + e_2`, .., one more unit vector
each, with the values `1 - f_1, f_1 - f_2, .., f_m`: barycentric coordinates.

Refinement: the planes of the triangulation of half the size contain those of the whole, so that psi is its own
piecewise linear interpolant there, `psi(z) = sum_k psi(k/2) psi(2z - k)`. k/2 is the vertex `floor(k/2)` or the
midpoint of the edge from there to `ceil(k/2)`: the *parents* of k, with 1/2 each (1 where they are one). A simplex
contains the midpoint of an edge only with the edge, so the support of `psi(2z - k)` is in those of both parents.
Children of n are the `2n + e` and `2n - e`, e a 0-1-vector: 2^(m+1) - 1 of them.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import Tensor

from construct.arrays import Int


def kuhn_hat(u: Tensor) -> Tensor:
    """psi, (.., m) -> (..)."""
    zero = u.new_zeros(())
    return (1 - u.amax(dim=-1).maximum(zero) - (-u).amax(dim=-1).maximum(zero)).relu()


def members(z: Tensor) -> tuple[Tensor, Tensor]:
    """The integer vectors n whose `psi(z - n)` may be positive, and these values.

    z (P, m) -> (P, m + 1, m) int64 and (P, m + 1), the values >= 0, of sum 1 up to rounding.
    """
    below = z.floor()
    parts, order = torch.sort(z - below, dim=1, descending=True)
    steps = torch.nn.functional.one_hot(order, z.shape[1]).cumsum(dim=1)  # (P, m, m)
    vertices = below[:, None].long() + torch.cat([torch.zeros_like(steps[:, :1]), steps], dim=1)
    ends = torch.cat([torch.ones_like(parts[:, :1]), parts, torch.zeros_like(parts[:, :1])], dim=1)
    return vertices, ends[:, :-1] - ends[:, 1:]


def parents(cells: Int) -> tuple[Int, Int]:
    """Of cells (n, m) of one level those of the level above, `floor(k/2)` and `ceil(k/2)`, (n, m) each."""
    lower = cells // 2
    return lower, cells - lower


def children(cells: Int) -> Int:
    """Of cells (n, m) of one level all of the level below, sorted, each once."""
    m = cells.shape[1]
    units = np.array(list(itertools.product((0, 1), repeat=m)), dtype=np.int64)
    offsets = np.unique(np.concatenate([units, -units]), axis=0)
    return np.unique((2 * cells[:, None] + offsets).reshape(-1, m), axis=0)

"""The theorems on the lattice construction carried out: sizes of networks, and Theorem C's approximator for |x|^beta.

Sizes (`construct.theory.lattice.lattice_sizes`): blocks, heads, FFN depth and width exactly, whatever the cells are;
tokens, non-zeros and the largest weight, position codes included, by their bounds, for networks with any tokens.

Theorem C on [-1, 1], d = r = m = 1, S = {0}, f = |x|^beta, by the algorithm that its proof describes, tokens and all: a
good cell gets the Taylor polynomial of its centre, or the constant f(c), less what it inherits, as a combination of
the K = p + 1 atoms of the stretched lattice; a bad one nothing. Then the library's approximator must be within eps of
f, the coefficients of a cell within `coefficient_bound`, and the cells no more than `adaptive_cells`. With `(beta)_j`
at most 1 in absolute value for beta <= 1, G = 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from numpy.polynomial import Chebyshev, Polynomial

from construct.arrays import Float, Int
from construct.cells.approximator import CellApproximator, CellBasis, reach_of
from construct.cells.kuhn import children
from construct.cells.program import cell_program
from construct.manifolds import Cube
from construct.ridge.coordinates import Coordinates
from construct.ridge.maps import shift_of
from construct.theory.lattice import (
    LatticeGeometry,
    LatticeSizes,
    Singularity,
    adaptive_cells,
    atoms_per_cell,
    coefficient_bound,
    lattice_sizes,
)
from proofs_as_code.framework import Hypothesis, Statement, Twin, Verdict, verdict
from proofs_as_code.statements.cells.networks import CellNet
from proofs_as_code.statements.cells.targets import CONE, falling, taylor_bound
from proofs_as_code.statements.program.compiled import sizes_of

POINTS = 4001
ROUNDING = 1e-9

# -- sizes ------------------------------------------------------------------------------------------------------------

SizesOf = Callable[..., LatticeSizes]


def check_sizes(net: CellNet, sizes: SizesOf = lattice_sizes) -> Verdict:
    """A compiled network against the formulas; sizes: other ones."""
    approximator = net.approximator()
    basis = approximator.basis
    weights = cell_program(approximator).compile(approximator.manifold.box.numpy())
    counted = sizes_of(weights)
    factors = np.maximum(basis.factors, 1.0)
    extent = max(1.0, float(((np.abs(basis.centres).max(axis=1) - 1) * net.spacing / factors).max()))
    geometry = LatticeGeometry(1, net.coordinates, net.ambient, 1.0, 1.0, 1.0, extent)
    forms = [
        np.abs(part).max() for part in (basis.coordinates.projection, basis.coordinates.centre) if part is not None
    ]
    stated = sizes(
        geometry,
        net.degree,
        -(-net.tokens // atoms_per_cell(net.degree, net.coordinates)),
        spacing=net.spacing,
        finest=net.spacing / float(factors.max()),
        coefficient=max(float(approximator.coefficients.max()), *map(float, forms)),
        projected=net.projected,
    )
    exact = ("blocks", "heads", "total_heads", "ffn_depth", "embedding_dim")
    arrays = [a for heads, ffn in weights.blocks for a in (heads.query, heads.key, heads.value, *sum(ffn.layers, ()))]
    largest = max(float(np.abs(a).max()) for a in (weights.hidden0, *arrays))
    off: dict[str, float] = {name: abs(getattr(stated, name) - counted[name]) for name in exact}
    off |= {
        "tokens": max(0, counted["tokens"] - stated.tokens),
        "parameters": max(0, counted["nonzero_parameters"] - stated.parameters),
        "weight_bound": max(0.0, largest - stated.weight_bound),
    }
    worst = max(off, key=lambda name: off[name])
    where: dict[str, Any] = vars(net) | {"quantity": worst}
    return verdict(0, off[worst], kind="exact", points=len(off), dtype="float64", worst_point=where)


def few(*arguments: Any, **named: Any) -> LatticeSizes:
    """The largest weight as if no token had a number."""
    geometry, degree, _ = arguments
    whole, none = lattice_sizes(*arguments, **named), lattice_sizes(geometry, degree, 0, **named)
    return LatticeSizes(**{**vars(whole), "weight_bound": none.weight_bound})


# -- Theorem C --------------------------------------------------------------------------------------------------------

LINE = LatticeGeometry(1, 1, 1, 2.0, 1.0, 1.0, 1.0)


def power(beta: float, q: int) -> Singularity:
    """(S), (H), (M) of |x|^beta on [-1, 1]."""
    return Singularity(beta, q, taylor_bound("end", beta, q), CONE, 1.0, 0.0, 2.0)


@dataclass(frozen=True, eq=False)
class Grown:
    """The approximator of the proof, its cells with tokens, and the largest sum |c| of a cell."""

    approximator: CellApproximator
    cells: int
    largest: float


def atoms(degree: int) -> Float:
    """(p + 1, p + 1): column alpha has the coefficients of `1 + T_p(delta + v s alpha u)` in u."""
    stretch = reach_of(degree) // degree * (1 - shift_of(degree)) / reach_of(degree)
    whole = 1 + Chebyshev.basis(degree).convert(kind=Polynomial)
    return np.stack([_padded(whole(Polynomial([shift_of(degree), stretch * a])), degree) for a in range(degree + 1)], 1)


def _padded(polynomial: Polynomial, degree: int) -> Float:
    return np.pad(polynomial.coef[: degree + 1], (0, max(0, degree + 1 - len(polynomial.coef))))


def polynomial_of(s: Singularity, epsilon: float, cell: int, spacing: float) -> Polynomial | None:
    """The polynomial of a good cell in its own u, None for a bad one."""
    t = abs(cell * spacing)
    if spacing <= s.cone * t and s.bound * t ** (s.smoothness - s.order - 1) * spacing ** (s.order + 1) <= epsilon:
        signs, step = math.copysign(1, cell), spacing / t
        terms = [falling(s.smoothness, j) / math.factorial(j) * (signs * step) ** j for j in range(s.order + 1)]
        return Polynomial(np.array(terms) * t**s.smoothness)
    return Polynomial([t**s.smoothness]) if s.holder * spacing**s.smoothness <= epsilon else None


@lru_cache(maxsize=64)
def carried_out(beta: float, q: int, degree: int, epsilon: float, inherit: bool = True) -> Grown:
    """The algorithm; not inherit: the cells' polynomials as they are, nothing taken off."""
    s, solved = power(beta, q), np.linalg.inv(atoms(degree))
    directions = (reach_of(degree) // degree * np.arange(degree + 1))[:, None]
    levels, centres, weights, largest = list[int](), list[int](), list[Float](), 0.0
    level, cells = 1, [-1, 0, 1]
    above = dict[int, Polynomial]()  # of cells of the level above, in their u; 0 where there is none
    while cells:
        here, bad = dict[int, Polynomial](), list[int]()
        for cell in cells:
            inherited = Polynomial([0.0])
            for n in (cell // 2, -(-cell // 2)):  # u of the parent is (u + cell)/2 - n
                inherited = inherited + above.get(n, Polynomial([0.0]))(Polynomial([cell / 2 - n, 0.5])) / 2
            own = polynomial_of(s, epsilon, cell, 2.0 ** (1 - level))
            here[cell] = inherited if own is None else own
            if own is None:
                bad.append(cell)
                continue
            added = own - inherited if inherit else own
            weights.append(solved @ _padded(added, degree))
            largest = max(largest, float(np.abs(weights[-1]).sum()))
            levels.append(level)
            centres.append(cell)
        if not bad:
            break
        half = 2**level
        cells = [k for (k,) in children(np.array(bad)[:, None]).tolist() if abs(k) <= half]
        above = {n: here.get(n, Polynomial([0.0])) for n in here}
        level += 1
    count, size = len(levels), degree + 1
    coordinates = Coordinates(np.array([0]), np.zeros(1), np.ones(1), 1.0)
    repeated: Int = np.repeat(np.array([levels, centres]), size, axis=1)
    basis = CellBasis(
        Cube(1),
        coordinates,
        np.array([0]),
        degree,
        1.0,
        repeated[0],
        repeated[1][:, None],
        np.tile(directions, (count, 1)),
    )
    return Grown(CellApproximator(basis, torch.from_numpy(np.concatenate(weights))), count, largest)


def check_theorem(beta: float, q: int, degree: int, octave: int, factor: float = 1.0, inherit: bool = True) -> Verdict:
    """Error over eps, cells and coefficients over their bounds: the largest of the three is at most 1.

    factor: of the tolerance, with eps as it is claimed.
    """
    epsilon = 2.0**-octave
    grown, s = carried_out(beta, q, degree, factor * epsilon, inherit), power(beta, q)
    near = 2.0 ** -np.linspace(0, octave / beta + 2, POINTS)
    points = torch.from_numpy(np.concatenate([np.linspace(-1, 1, POINTS), near, -near]))
    error = float((grown.approximator(points[:, None]) - points.abs() ** beta).abs().max())
    cells = adaptive_cells(LINE, s, epsilon)
    bound = coefficient_bound(LINE, degree, q, 1.0, 1.0, s.cone)
    shares = {
        "error": error / epsilon / (1 + ROUNDING),
        "cells": grown.cells / cells,
        "coefficients": grown.largest / bound,
    }
    worst = max(shares, key=lambda name: shares[name])
    where = {"beta": beta, "q": q, "p": degree, "eps": epsilon, "count": grown.cells, "quantity": worst} | shares
    return verdict(1, shares[worst], kind="sampled", points=len(points), dtype="float64", worst_point=where)


# -- statements -------------------------------------------------------------------------------------------------------


@st.composite
def square(draw: st.DrawFn, least: int = 1, most: int = 40) -> CellNet:
    r = draw(st.integers(1, 3))
    return CellNet(
        draw(st.integers(max(3, r), 6)),
        r,
        r,
        draw(st.sampled_from([2, 3, 4, 6, 8, 9, 12, 27])),
        draw(st.sampled_from([0.5, 1.0, 0.3, 0.125])),
        draw(st.booleans()),
        draw(st.integers(0, 2**31)),
        draw(st.integers(least, most)),
    )


ORDERS = Hypothesis("q <= p", st.integers(0, 3))
DEGREES = Hypothesis("p in {3, 4, 6}", st.sampled_from([3, 4, 6]))
SMOOTHNESS = Hypothesis("beta <= 1", st.sampled_from([0.25, 0.5, 0.75]))

STATEMENTS: tuple[Statement, ...] = (
    Statement(
        name="cells.theorem.sizes",
        source="ours",
        claim="blocks, heads, FFN depth and width are the formulas' for any cells; tokens, non-zeros and the largest "
        "weight at most",
        latex=r"Blocks, heads, depth and width are the formulas' for any cells, tokens, non-zeros, $\kappa$ at most.",
        hypotheses={"net": Hypothesis("m = r <= 3, p <= 27, up to 40 tokens, any spacing", square())},
        check=check_sizes,
        twins=(
            Twin(
                "no numbers",
                "kappa holds l^2/4, the squares of the tokens' numbers: without",
                partial(check_sizes, sizes=few),
                {"net": Hypothesis("200 tokens, p = 2", square(200, 200).filter(lambda net: net.degree == 2))},
                examples=3,
            ),
        ),
        examples=25,
    ),
    Statement(
        name="cells.theorem.adaptive",
        source="ours",
        claim="Theorem C's algorithm on |x|^beta: the library's approximator is within eps, with no more cells than "
        "the bound and sum |c| of a cell within its bound",
        latex=r"Theorem C carried out for $|x|^\beta$: error at most $\varepsilon$, cells and $\sum|c|$ at most their "
        r"bounds.",
        hypotheses={
            "beta": SMOOTHNESS,
            "q": ORDERS,
            "degree": DEGREES,
            "octave": Hypothesis("eps = 2^-j", st.integers(2, 8)),
        },
        check=check_theorem,
        twins=(
            Twin(
                "a tolerance of 32 eps",
                "the tolerance is eps: 32 eps",
                partial(check_theorem, factor=32.0),
                {"octave": Hypothesis("eps = 2^-j", st.integers(6, 8))},
            ),
            Twin(
                "nothing taken off",
                "cells hold what they inherit: their polynomials besides",
                partial(check_theorem, inherit=False),
                every=False,
            ),
        ),
        examples=20,
    ),
)

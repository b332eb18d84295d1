"""The network's own basis: which univariate functions its tokens hold, and how local coefficients become theirs.

A chart's approximator is `P(z) = sum_(g, h) c[g, h] Psi_g(z_left) Phi_h(z_right)` (*meet in the middle*): the left
factor is multiplied into register `a` of a coefficient token, starting from `rho >= 0` and staying non-negative, so
that `relu(a) b` multiplies it with the sum of right factors in register `b`. Both factors are products of *atoms*:

    polynomial   F_1 .. F_8 on [-1, 1], of degree 1..8 (`atoms`)
    spline       relu(z - knot)

    Psi: each atom enters as 1 + phi >= 0, phi = kappa F, kappa = 1/max|F|; or, squared, as 1 + (1 + phi) phi / 2
         in [7/8, 2], of twice the degree with one cubic head; or as 1 + relu(z - knot);
    Phi: all atoms but the last enter like that, the last as F or relu(z - knot) itself.

Any triangular basis has the span of the polynomials of the same degree; local fits are made in a well-conditioned basis
(Chebyshev, hats) and converted here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import singledispatch
from math import ceil
from typing import Any

import numpy as np
from numpy.polynomial import chebyshev

from construct.arrays import Float
from construct.compact.atoms import Atom, atom_series, highest_degree
from construct.local import LocalSpace, PolynomialSpace, SplineSpace
from construct.validation import invalid

ATOM_DEGREE = highest_degree()
LARGEST_DEGREE = 3 * ATOM_DEGREE  # a squared atom and a plain one; the basis is too ill-conditioned beyond

Pairs = list[tuple[int, int]]  # (giant, baby) of each function of a line


class Axis(ABC):
    """Univariate functions of one coordinate, `size` of them; the one with index 0 is the constant 1."""

    size: int

    @abstractmethod
    def atoms(self, coordinate: int, k: int, *, plain: bool = False) -> tuple[Atom, ...]:
        """Atoms of function k; `plain`: the last one stands for itself (Phi), else each is 1 + ... (Psi)."""

    @abstractmethod
    def matrix(self, last_plain: bool) -> Float:
        """(size, size): local coefficients -> coefficients over Psi (last_plain False) or Phi (True)."""

    @abstractmethod
    def lines(self) -> list[Pairs]:
        """Ways to write functions 0..size - 1 as giant times baby."""

    @abstractmethod
    def line_coefficients(self, pairs: Pairs, coefficients: Float) -> Float:
        """Local coefficients (n, size) -> coefficients (n, size) over `Psi_giant Phi_baby`."""


class PolynomialAxis(Axis):
    """Univariate polynomials of degree <= `degree` in the network's basis."""

    def __init__(self, degree: int) -> None:
        if degree > LARGEST_DEGREE:
            raise invalid("degree", f"at most {LARGEST_DEGREE} for the compact construction", degree)
        self.size = degree + 1
        self.degree = degree

    def atoms(self, coordinate: int, k: int, *, plain: bool = False) -> tuple[Atom, ...]:
        """Atoms of the function of degree k, at most two."""
        giant = Atom(coordinate, ATOM_DEGREE)
        square = Atom(coordinate, ATOM_DEGREE, squared=True)
        if k <= ATOM_DEGREE:
            return (Atom(coordinate, k),) if k else ()
        if k < 2 * ATOM_DEGREE or (k == 2 * ATOM_DEGREE and plain):
            return giant, Atom(coordinate, k - ATOM_DEGREE)
        return (square, Atom(coordinate, k - 2 * ATOM_DEGREE)) if k > 2 * ATOM_DEGREE else (square,)

    def series(self, k: int, *, plain: bool) -> Float:
        """Chebyshev coefficients of Phi_k (plain) or Psi_k."""
        atoms = self.atoms(0, k, plain=plain)
        out: Float = np.ones(1)
        for position, atom in enumerate(atoms):
            bare = plain and position + 1 == len(atoms)
            factor = atom_series(atom.index) if bare else atom.factor()
            out = np.asarray(chebyshev.chebmul(out, factor), dtype=np.float64)
        return out

    def matrix(self, last_plain: bool) -> Float:
        """From Chebyshev coefficients."""
        columns = np.zeros((self.size, self.size))
        for k in range(self.size):
            series = self.series(k, plain=last_plain)
            columns[: series.size, k] = series
        return np.asarray(np.linalg.inv(columns), dtype=np.float64)

    def lines(self) -> list[Pairs]:
        """Giants are the multiples of a step from 2 to the highest degree of an atom; without duplicates."""
        found = {tuple(_line_pairs(self.degree, step)): None for step in range(2, ATOM_DEGREE + 1)}
        return [list(pairs) for pairs in found]

    def line_coefficients(self, pairs: Pairs, coefficients: Float) -> Float:
        columns = np.zeros((self.size, self.size))
        for degree, (giant, baby) in enumerate(pairs):
            series = chebyshev.chebmul(self.series(giant, plain=False), self.series(baby, plain=True))
            columns[: series.size, degree] = series[: self.size]
        return np.asarray(np.linalg.solve(columns, coefficients.T).T)


class SplineAxis(Axis):
    """Continuous piecewise-linear functions on `cells` equal cells of [-1, 1], as truncated powers."""

    def __init__(self, cells: int) -> None:
        self.size = cells + 1
        self.knots = np.linspace(-1.0, 1.0, cells + 1)[:-1]

    def atoms(self, coordinate: int, k: int, *, plain: bool = False) -> tuple[Atom, ...]:
        """The knot of the k-th truncated power."""
        return (Atom(coordinate, k, float(self.knots[k - 1])),) if k else ()

    def matrix(self, last_plain: bool) -> Float:
        """From nodal values (hat coefficients), to 1 and relu(z - knot) (Phi) or 1 + relu(...) (Psi).

        `f = v_0 + sum_k delta_k relu(z - knot_k)`, delta the jumps of the slope.
        """
        size = self.size
        slope = (np.eye(size)[1:] - np.eye(size)[:-1]) * (size - 1) / 2
        jumps = np.vstack([slope[:1], slope[1:] - slope[:-1]])
        first = np.eye(size)[:1]
        return np.vstack([first if last_plain else first - jumps.sum(axis=0, keepdims=True), jumps])

    def lines(self) -> list[Pairs]:
        """Splines have no giants."""
        return [[(0, k) for k in range(self.size)]]

    def line_coefficients(self, pairs: Pairs, coefficients: Float) -> Float:
        return np.asarray(coefficients @ self.matrix(True).T)


@dataclass(frozen=True)
class ProductBasis:
    """Left and right functions as tuples of atoms; the index 0 of each is the constant 1 (no atoms)."""

    left: tuple[tuple[Atom, ...], ...]
    right: tuple[tuple[Atom, ...], ...]

    @property
    def left_depth(self) -> int:
        return max(len(atoms) for atoms in self.left)

    @property
    def right_depth(self) -> int:
        return max(len(atoms) for atoms in self.right)

    @property
    def middle_blocks(self) -> int:
        """Blocks between the basis and the read-out: one atom of every factor each."""
        return max(self.left_depth, self.right_depth, 1)

    def atom_indices(self) -> set[int]:
        """Degrees of the polynomial atoms that occur."""
        return {a.index for atoms in self.left + self.right for a in atoms if a.knot is None}


class TensorBasis:
    """Basis for d >= 2: the first ceil(d/2) coordinates left, the others right.

    indices: (c, d) array, exponents (or node numbers) per coordinate of the local basis; coefficients (n, c) become
    a tensor (n, left, right), non-zero only where the local basis' index set allows.
    """

    def __init__(self, axis: Axis, indices: np.ndarray) -> None:
        self.axis, self.indices = axis, np.asarray(indices, dtype=np.int64)
        dim = self.indices.shape[1]
        self.split = ceil(dim / 2)
        left, self._left_of = np.unique(self.indices[:, : self.split], axis=0, return_inverse=True)
        right, self._right_of = np.unique(self.indices[:, self.split :], axis=0, return_inverse=True)
        self._left_index, self._right_index = left, right
        self.product = ProductBasis(
            tuple(self._atoms(row, 0, plain=False) for row in left),
            tuple(self._atoms(row, self.split, plain=True) for row in right),
        )

    def _atoms(self, row: np.ndarray, start: int, *, plain: bool) -> tuple[Atom, ...]:
        last = max(np.flatnonzero(row), default=-1)
        return tuple(
            atom for i, k in enumerate(row) for atom in self.axis.atoms(start + i, int(k), plain=plain and i == last)
        )

    def convert(self, coefficients: Float) -> Float:
        """Local coefficients (n, c) -> network coefficients (n, left, right)."""
        count, dim = coefficients.shape[0], self.indices.shape[1]
        full = np.zeros((count, *([self.axis.size] * dim)))
        full[(slice(None), *self.indices.T)] = coefficients
        psi, phi = self.axis.matrix(False), self.axis.matrix(True)
        for axis in range(self.split):
            full = _apply(psi, full, axis + 1)
        full = _convert_right(psi, phi, full, self.split + 1, dim)
        out = np.zeros((count, self._left_index.shape[0], self._right_index.shape[0]))
        left, right = self._left_index, self._right_index
        where: list[Any] = [left[:, None, i] for i in range(self.split)]
        where += [right[None, :, i] for i in range(right.shape[1])]
        picked = full[(slice(None), *where)]
        allowed = np.zeros(out.shape[1:], dtype=bool)
        allowed[self._left_of.ravel(), self._right_of.ravel()] = True
        out[:, allowed] = picked[:, allowed]
        return out


def _apply(matrix: Float, tensor: Float, axis: int) -> Float:
    return np.moveaxis(np.tensordot(matrix, tensor, axes=(1, axis)), 0, axis)


def _convert_right(psi: Float, phi: Float, tensor: Float, first: int, last: int) -> Float:
    """Right factors: the last coordinate that occurs is plain (Phi), those before it enter as Psi."""
    tensor = _apply(phi, tensor, last)
    if first == last:
        return tensor
    index = [slice(None)] * tensor.ndim
    index[last] = slice(1, None)
    rest = tensor[tuple(index)]
    for axis in range(first, last):
        rest = _apply(psi, rest, axis)
    zero = _convert_right(psi, phi, np.take(tensor, 0, axis=last), first, last - 1)
    return np.concatenate([np.expand_dims(zero, last), rest], axis=last)


class LineBasis:
    """Basis for d = 1: giant steps `Psi_(g, 2g, ...)` times baby steps `Phi_0 .. Phi_(g-1)` of the same coordinate.

    pairs: one of `axis.lines()`; the last giant takes all remaining degrees as babies.
    """

    def __init__(self, axis: Axis, pairs: Pairs) -> None:
        self.axis, self.pairs = axis, pairs
        self._giants = sorted({g for g, _ in pairs})
        self._babies = sorted({b for _, b in pairs})
        self.product = ProductBasis(
            tuple(axis.atoms(0, g) for g in self._giants), tuple(axis.atoms(0, b, plain=True) for b in self._babies)
        )

    def convert(self, coefficients: Float) -> Float:
        """Local coefficients (n, c) -> network coefficients (n, giants, babies)."""
        solved = self.axis.line_coefficients(self.pairs, coefficients)
        out = np.zeros((coefficients.shape[0], len(self._giants), len(self._babies)))
        for k, (giant, baby) in enumerate(self.pairs):
            out[:, self._giants.index(giant), self._babies.index(baby)] = solved[:, k]
        return out


NetworkBasis = LineBasis | TensorBasis


@singledispatch
def axis_of(space: LocalSpace) -> Axis:
    """The univariate functions that a local space is made of.

    Raises:
        InputError: a space without a network basis, or a degree above 24.
    """
    raise invalid("space", "a PolynomialSpace or a SplineSpace", space)


@axis_of.register
def _(space: PolynomialSpace) -> Axis:
    return PolynomialAxis(space.degree)


@axis_of.register
def _(space: SplineSpace) -> Axis:
    return SplineAxis(space.cells)


def network_bases(space: LocalSpace) -> list[NetworkBasis]:
    """The network's bases of a local space, one or several; they have the same span."""
    axis = axis_of(space)
    if space.dim == 1:
        return [LineBasis(axis, pairs) for pairs in axis.lines()]
    return [TensorBasis(axis, space.indices.numpy())]


def _line_pairs(degree: int, giant: int) -> Pairs:
    """One (giant, baby) with giant + baby = k for every k <= degree; giants are multiples of the step."""
    top = giant * (degree // giant)
    if top and degree - top + giant <= ATOM_DEGREE and not (top - giant) % giant and degree < top + 1:
        top -= giant  # a giant for a single coefficient is dearer than one more baby
    return [(min(giant * (k // giant), top), k - min(giant * (k // giant), top)) for k in range(degree + 1)]

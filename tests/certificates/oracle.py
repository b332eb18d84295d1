"""Independent evaluation of what the certificate engine extracts, in exact rational arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, cast

import numpy as np
import torch
from flint import arb, fmpq

import construct
from construct import Network, manifolds, targets
from construct.certificates.polynomials import Polynomial, Quantity
from construct.network import PositionCodeName
from tests.transformer.networks import manifold_of

UNITS = {torch.float64: 2.0**-53, torch.float32: 2.0**-24}
Array = np.ndarray[Any, np.dtype[np.float64]]


def rational(value: float) -> fmpq:
    """The rational number that a float is."""
    return fmpq(*float(value).as_integer_ratio())


def exact(ball: arb) -> fmpq:
    """The number that a ball without radius is."""
    mantissa, exponent = (int(part) for part in ball.man_exp())
    return fmpq(mantissa) * fmpq(2) ** exponent


class AtPoint:
    """The quantities of a network at one x, by their definitions and by nothing else."""

    def __init__(self, table: Sequence[Quantity], x: Sequence[fmpq]) -> None:
        self.table, self.x = table, x
        self.known: dict[int, fmpq] = {}

    def formula(self, formula: Any) -> fmpq:
        """`rest + sum rho_n P_n`."""
        parts = zip(formula.weights, formula.terms, strict=True)
        return sum((self.quantity(n) * self.of(p) for n, p in parts), self.of(formula.rest))

    def of(self, polynomial: Polynomial) -> fmpq:
        """A polynomial in the quantities."""
        total = fmpq(0)
        for monomial, coefficient in polynomial.terms.items():
            term = coefficient
            for number in monomial:
                term = term * self.quantity(number)
            total += term
        return total

    def quantity(self, number: int) -> fmpq:
        """A quantity; it must lie in the range that was proved for it."""
        if number not in self.known:
            q = self.table[number]
            value = self._defined(number)
            assert exact(q.low.lower()) <= value <= exact(q.high.upper()), (number, q)
            self.known[number] = value
        return self.known[number]

    def _defined(self, number: int) -> fmpq:
        q = self.table[number]
        if q.kind == "input":
            return sum((self.of(part) for part in q.definition), self.x[int(str(q.label))])
        values = [self.of(part) for part in q.definition]
        zero = fmpq(0)
        if q.kind == "relu":
            return max(values[0], zero)
        if q.kind == "clip":
            return min(max(values[0], exact(q.low)), exact(q.high))
        if q.kind == "rho":
            return max(values[0], zero) - max(values[1], zero)
        assert q.kind in ("linear", "map", "window"), f"no value for a quantity of kind {q.kind}"
        return values[0]


@cache
def _built(name: str, target: str, dtype: torch.dtype, code: str, ambient: int, sizes: tuple[Any, ...]) -> Network:
    manifold = manifolds.manifold(name, **({"ambient": ambient} if ambient else {}))
    return construct.approximate(
        targets.target(target), manifold, position_code=cast("PositionCodeName", code), dtype=dtype, **dict(sizes)
    )


def network(
    name: str = "circle",
    target: str = "exp_sin",
    *,
    dtype: torch.dtype = torch.float64,
    code: str = "integer",
    ambient: int = 0,
    **sizes: int,
) -> Network:
    """A small network, built once and to be left as it is."""
    return _built(name, target, dtype, code, ambient, tuple(sorted(sizes.items())))


def box_of(net: Network) -> Array:
    """Half-widths of a box around the manifold."""
    return np.asarray(1.1 * manifold_of(net).largest_coordinates.double().numpy())


def points_in(box: Array, count: int, seed: int, bits: int = 10) -> list[list[fmpq]]:
    """Points of the box, a corner among every four, whose coordinates are short dyadic numbers: exact in float32."""
    draw = np.random.default_rng(seed)
    steps = np.floor(box * 2**bits)
    grid = np.trunc(draw.uniform(-1, 1, (count, box.size)) * steps)
    grid[::4] = np.sign(grid[::4]) * steps
    return [[fmpq(int(k), 2**bits) for k in row] for row in grid]


def tensor(x: Sequence[fmpq], dtype: torch.dtype) -> torch.Tensor:
    """A point of short dyadic numbers as (1, D), without rounding."""
    return torch.tensor([[int(v.p) / int(v.q) for v in x]], dtype=dtype)

"""Inheritance: a sum of tokens on several levels is one blend of the polynomials of its finest cells.

On level L >= 1 let `psi_k(u) = psi(2^(L-1) z - k)`, z the windows of u. Tokens are functions: `Q^0`, and `Q_k^L` on
some cells. With `P^0 = Q^0` and

    P_k^1 = P^0 + Q_k^1,   P_k^(L+1) = (P_floor(k/2)^L + P_ceil(k/2)^L) / 2 + Q_k^(L+1)

the function `f_L = Q^0 + sum over L' <= L and n of psi_n Q_n^(L')` is the blend

    f_L = sum_k psi_k P_k^L.                                                                                 (1)

Proof. L = 1: sum_k psi_k = 1. Step: by the refinement of psi (`hat`) `sum_n psi_n P_n^L = sum_k psi_k (mean of the
parents)`, with the same P, whatever functions they are. QED

What an ancestor gives. `P_k^L = Q^0 + sum over L' <= L and n of psi(k/2^(L-L') - n) Q_n^(L')`.                   (2)
Proof. The lattices of half the size are nested, so that `psi(w - n) = sum_k psi(k/2^j - n) psi(2^j w - k)` as for j = 1
(psi is linear on every simplex of the finest), and (1) of that of one token has the weight that (2) says. By induction:
psi at k/2^(j+1) is the mean of psi at the two ends of an edge, floor(k/2)/2^j and ceil(k/2)/2^j, since psi is linear
there. QED So the tokens of coarser levels are evaluated at the point itself, but their hats at the vertex k/2^(L-1) in
units of h: what `CellBasis.entries(u, seen)` does, and with it the fit of a cell.

Bound. psi_k >= 0 with sum 1: `|f - f_L| <= max |f - P_k|` over the cells k whose hats are not 0 at the point, so also
the suprema over M. It holds for any functions P_k: a clip that is active does no harm.

Good parents make good children. The support of a child lies in those of its parents, so there |f - mean| is at most the
larger |f - P| of both. With tolerances of their own a child has to have at least the mean of its parents': marks that
lower the tolerance of some cells are no part of it.

Why polynomials are inherited. With `Q_k = g - mean of the parents` on every cell of a level, g a polynomial, f_L = g.
What is left of g - f_(L-1) is none: it has the kinks of the coarse hats and the degree of hat times polynomial, and its
interpolants of degree p on the cells leave an error.

Everything is computed in rational arithmetic; the library's functions in float64 at numbers of so few bits that they do
not round (p <= 4: delta = 1/4, v = 1/32).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import product
from typing import Any

import numpy as np
import torch
from flint import fmpq, fmpq_poly, fmpz_poly
from hypothesis import strategies as st

from construct.cells.approximator import CellApproximator, CellBasis
from construct.manifolds import Sphere
from construct.ridge.coordinates import Coordinates
from proofs_as_code import rational
from proofs_as_code.framework import Hypothesis, Statement, Twin, Verdict, verdict
from proofs_as_code.rational import ZERO
from proofs_as_code.statements.cells.hat import Vertex, around, gauge, minus, psi, tensor_of
from proofs_as_code.statements.ridge.maps import clipped

Function = Callable[[list[fmpq]], fmpq]
MOST_LEVELS = 4
ONE = fmpq(1)


@dataclass(frozen=True)
class Tower:
    """Tokens of several levels: r coordinates, m of them windows, p, a seed of all numbers, and the finest level."""

    coordinates: int
    windows: int
    degree: int
    levels: int
    seed: int

    def approximator(self) -> CellApproximator:
        """Cells about 0, so that a point there is in the supports of many; numbers of few bits."""
        rng = np.random.default_rng(self.seed)
        r, m = self.coordinates, self.windows
        count = int(rng.integers(6, 15))
        levels = rng.integers(0, self.levels + 1, count)
        levels[:2] = self.levels, max(1, self.levels - 1)
        centres = rng.integers(-2, 3, (count, r)) * (levels > 0)[:, None]
        windows = np.sort(rng.permutation(r)[:m])
        coordinates = Coordinates(np.arange(r), np.zeros(r), np.ones(r), 1.0)
        directions = rng.integers(-6, 7, (count, r))
        basis = CellBasis(Sphere(2), coordinates, windows, self.degree, 1.0, levels, centres, directions)
        return CellApproximator(basis, torch.from_numpy(rng.integers(1, 9, count) / 4), 0.0)


class Exact:
    """The tokens of an approximator as rational functions of u."""

    def __init__(self, approximator: CellApproximator) -> None:
        basis = approximator.basis
        self.weights = [rational.rational(c) for c in approximator.coefficients.tolist()]
        self.levels, self.cells = basis.levels.tolist(), [tuple(cell) for cell in basis.cells.tolist()]
        self.directions, self.centres = basis.directions.tolist(), basis.centres.tolist()
        self.windows = basis.windows.tolist()
        self.shift, self.scale = rational.rational(basis.shift), rational.rational(basis.scale)
        self.chebyshev = fmpz_poly.chebyshev_t(basis.degree)

    def seen(self, u: list[fmpq]) -> list[fmpq]:
        return [u[i] for i in self.windows]

    def atom(self, token: int, u: list[fmpq]) -> fmpq:
        """`c (1 + T_p(clip(delta + v <alpha, lambda u - centre>)))`."""
        factor = 2 ** max(0, self.levels[token] - 1)
        entries = zip(self.directions[token], u, self.centres[token], strict=True)
        form = sum((a * (factor * c - n) for a, c, n in entries), ZERO)
        return self.weights[token] * (1 + self.chebyshev(clipped(self.shift + self.scale * form)))

    def own(self, level: int, cell: Vertex | None, u: list[fmpq]) -> fmpq:
        """Q of a cell; cell None: of level 0."""
        tokens = (t for t, held in enumerate(self.levels) if held == level and cell in (None, self.cells[t]))
        return sum((self.atom(t, u) for t in tokens), ZERO)

    def polynomial(self, level: int, cell: Vertex, u: list[fmpq]) -> fmpq:
        """P of a cell, by the recursion."""
        if level == 1:
            return self.own(0, None, u) + self.own(1, cell, u)
        lower = tuple(k // 2 for k in cell)
        upper = tuple(-(-k // 2) for k in cell)
        above = self.polynomial(level - 1, lower, u) + self.polynomial(level - 1, upper, u)
        return above / 2 + self.own(level, cell, u)

    def total(self, u: list[fmpq]) -> fmpq:
        """f of all tokens, by the formula."""
        found = self.own(0, None, u)
        for t, level in enumerate(self.levels):
            if level:
                found += psi(minus([2 ** (level - 1) * c for c in self.seen(u)], self.cells[t])) * self.atom(t, u)
        return found


def active(z: list[fmpq], window: Callable[[list[fmpq]], fmpq] = psi) -> dict[Vertex, fmpq]:
    """Cells whose hats are not 0 at z, with these."""
    found = {k: window(minus(z, k)) for k in around(z)}
    return {k: value for k, value in found.items() if value > 0}


# -- the blend --------------------------------------------------------------------------------------------------------


def check_blend(tower: Tower, point: list[fmpq], aside: bool = False) -> Verdict:
    """f by its tokens, and by the library, against the blend of the finest cells; aside: of what is not inherited."""
    approximator, u = tower.approximator(), point[: tower.coordinates]
    exact = Exact(approximator)
    cells = active([2 ** (tower.levels - 1) * c for c in exact.seen(u)])
    each = {k: exact.own(tower.levels, k, u) if aside else exact.polynomial(tower.levels, k, u) for k in cells}
    blend = sum((hat * each[k] for k, hat in cells.items()), ZERO)
    (computed,) = approximator.at(tensor_of([u])).tolist()
    off = [abs(exact.total(u) - blend), abs(rational.rational(computed) - exact.total(u))]
    return verdict(0, max(off), kind="exact", points=2, dtype="rational", worst_point=vars(tower) | {"u": u})


def check_weights(tower: Tower, point: list[fmpq], cell: Vertex, where: str = "vertex") -> Verdict:
    """P_k of a cell by the recursion, by (2), and from the library's entries seen from the vertex of the cell.

    where: "point": hats at the point itself; "nearest": at the vertex nearest to it on the ancestor's lattice.
    """
    approximator, u, k = tower.approximator(), point[: tower.coordinates], cell[: tower.windows]
    exact, factor = Exact(approximator), 2 ** (tower.levels - 1)
    recursive = exact.polynomial(tower.levels, k, u)
    found = exact.own(0, None, u)
    for t, level in enumerate(exact.levels):
        if level:
            place = [fmpq(c * 2**level, 2 * factor) for c in k]
            if where == "point":
                place = [2 ** (level - 1) * c for c in exact.seen(u)]
            elif where == "nearest":
                place = [fmpq((c + fmpq(1, 2)).floor()) for c in place]
            found += psi(minus(place, exact.cells[t])) * exact.atom(t, u)
    seen = torch.tensor([[c / factor for c in k]], dtype=torch.float64)
    _, tokens, values = approximator.basis.entries(tensor_of([u]), seen)
    library = rational.rational(float((approximator.coefficients[tokens] * values).sum()))
    off = [abs(recursive - found), abs(recursive - library)]
    return verdict(0, max(off), kind="exact", points=2, dtype="rational", worst_point=vars(tower) | {"k": k, "u": u})


# -- bounds -----------------------------------------------------------------------------------------------------------


def cube(u: list[fmpq]) -> fmpq:
    """`relu(1 - max |u_i|)`, which is no partition of unity."""
    return max(ZERO, 1 - max(abs(c) for c in u))


def check_bound(
    tower: Tower, point: list[fmpq], value: fmpq, window: Callable[[list[fmpq]], fmpq] = psi, coarse: bool = False
) -> Verdict:
    """`|f - f_L| <= max |f - P_k|` at a point where f is `value`; coarse: P_k of the level above."""
    exact, u = Exact(tower.approximator()), point[: tower.coordinates]
    level = tower.levels - coarse
    finest = active([2 ** (tower.levels - 1) * c for c in exact.seen(u)], window)
    blend = sum((hat * exact.polynomial(tower.levels, k, u) for k, hat in finest.items()), ZERO)
    held = active([2 ** (level - 1) * c for c in exact.seen(u)]) if coarse else finest
    claimed = max(abs(value - exact.polynomial(level, k, u)) for k in held)
    where = vars(tower) | {"u": u, "f": value}
    return verdict(claimed, abs(value - blend), kind="exact", points=len(finest), dtype="rational", worst_point=where)


def check_child(
    tower: Tower, cell: Vertex, inner: list[fmpq], value: fmpq, share: fmpq = ONE, halves: bool = True
) -> Verdict:
    """`|f - P_k|` of what k inherits, at a point of its support, against the larger error of its parents there.

    A parent whose support does not hold the point says nothing, and fails. share: of the tolerance; halves: parents as
    they are, not the vertex below alone and its neighbour.
    """
    exact, k, m = Exact(tower.approximator()), cell[: tower.windows], tower.windows
    level = max(1, tower.levels - 1)
    z = [(c + s) / 2 for c, s in zip(k, inner[:m], strict=True)]  # on the lattice of the parents
    u = [ZERO] * tower.coordinates
    for i, c in zip(exact.windows, z, strict=True):
        u[i] = c / 2 ** (level - 1)
    lower = tuple(c // 2 for c in k)
    upper = tuple(-(-c // 2) for c in k) if halves else (lower[0] - 1, *lower[1:])
    outside = [n for n in (lower, upper) if gauge(minus(z, n)) > 1]
    low, high = (exact.polynomial(level, n, u) for n in (lower, upper))
    claimed = fmpq(-1) if outside else share * max(abs(value - low), abs(value - high))
    where = vars(tower) | {"k": k, "u": u, "outside": outside}
    return verdict(claimed, abs(value - (low + high) / 2), kind="exact", points=1, dtype="rational", worst_point=where)


# -- polynomials ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Drawn:
    """m windows, degree p, and a seed of the polynomials."""

    windows: int
    degree: int
    seed: int

    def polynomial(self, *name: int) -> Function:
        """A polynomial of degree p in m variables, with small rational coefficients; one for each name."""
        rng = np.random.default_rng([self.seed % 2**32, *(n % 2**16 for n in name)])
        exponents = [e for e in product(range(self.degree + 1), repeat=self.windows) if sum(e) <= self.degree]
        terms = [(fmpq(int(c), 4), e) for c, e in zip(rng.integers(1, 9, len(exponents)), exponents, strict=True)]

        def value(u: list[fmpq]) -> fmpq:
            total = ZERO
            for coefficient, powers in terms:
                for c, power in zip(u, powers, strict=True):
                    coefficient *= c**power
                total += coefficient
            return total

        return value

    @lru_cache  # noqa: B019
    def coarse(self, n: Vertex) -> Function:
        """P of a cell of the first level."""
        return self.polynomial(1, *n)


def check_exact(drawn: Drawn, point: list[fmpq], residual: bool = False) -> Verdict:
    """`f_2 - g` for a polynomial g, whatever the polynomials of the first level are.

    residual: tokens of the second level are interpolants of degree p of g - f_1 on their cells (m = 1).
    """
    g, u = drawn.polynomial(0), point[: drawn.windows]
    first = partial(_blended, drawn.coarse)
    total = first(u)
    for k, hat in active([2 * c for c in u]).items():
        if residual:
            nodes = [(fmpq(k[0]) + fmpq(2 * j + 1, drawn.degree + 1) - 1) / 2 for j in range(drawn.degree + 1)]
            total += hat * _interpolant(nodes, [g([x]) - first([x]) for x in nodes])(u[0])
        else:
            lower, upper = tuple(c // 2 for c in k), tuple(-(-c // 2) for c in k)
            total += hat * (g(u) - (drawn.coarse(lower)(u) + drawn.coarse(upper)(u)) / 2)
    where: dict[str, Any] = {"m": drawn.windows, "p": drawn.degree, "seed": drawn.seed, "u": u}
    return verdict(0, abs(total - g(u)), kind="exact", points=1, dtype="rational", worst_point=where)


def _blended(polynomials: Callable[[Vertex], Function], u: list[fmpq]) -> fmpq:
    return sum((hat * polynomials(n)(u) for n, hat in active(u).items()), ZERO)


def _interpolant(nodes: list[fmpq], values: list[fmpq]) -> fmpq_poly:
    found = fmpq_poly([0])
    for i, (x, value) in enumerate(zip(nodes, values, strict=True)):
        term = fmpq_poly([value])
        for j, y in enumerate(nodes):
            if j != i:
                term *= fmpq_poly([-y, 1]) / (x - y)
        found += term
    return found


# -- statements -------------------------------------------------------------------------------------------------------


def towers(least: int = 1, most: int = MOST_LEVELS, windows: int = 1) -> st.SearchStrategy[Tower]:
    sizes = st.integers(max(1, windows), 3).flatmap(
        lambda r: st.tuples(st.just(r), st.integers(windows, min(r, 2) if windows < 3 else r))
    )
    parts = st.tuples(sizes, st.sampled_from([2, 3, 4]), st.integers(least, most), st.integers(0, 2**31))
    return parts.map(lambda drawn: Tower(*drawn[0], *drawn[1:]))


TOWER = Hypothesis("r <= 3 coordinates, m <= 2 windows, p in {2, 3, 4}, up to 4 levels, any tokens", towers())
DEEP = Hypothesis("two levels or more", towers(2))
POINT = Hypothesis("u near 0, where the cells are", st.lists(rational.dyadics(1, 4), min_size=3, max_size=3))
CELL = Hypothesis("any cell k", st.lists(st.integers(-6, 6), min_size=3, max_size=3).map(tuple))
VALUE = Hypothesis("any value of f", rational.dyadics(16, 3))
INNER = Hypothesis(
    "a point of the support of k",
    st.lists(rational.dyadics(1, 4), min_size=3, max_size=3).map(lambda s: [c / max(fmpq(1), 2 * gauge(s)) for c in s]),
)
OFF_NODES = Hypothesis("0 < u < 1, off nodes", st.integers(1, 63).map(lambda j: [fmpq(3 * j + 1, 199)] * 2))

STATEMENTS: tuple[Statement, ...] = (
    Statement(
        name="cells.inheritance.blend",
        source="ours",
        claim="tokens of several levels make f_L = sum_k psi_k P_k over the finest cells, P_k the mean of the parents' "
        "plus the tokens of k, for any functions; the library's sum is the same",
        latex=r"$f_L=\sum_k\psi_k^LP_k^L$ with $P_k^L=\frac12(P_{\lfloor k/2\rfloor}^{L-1}+P_{\lceil k/2\rceil}^{L-1})"
        r"+Q_k^L$.",
        hypotheses={"tower": TOWER, "point": POINT},
        check=check_blend,
        twins=(
            Twin(
                "nothing inherited",
                "P_k has the mean of the parents': the tokens of k alone",
                partial(check_blend, aside=True),
                {"tower": DEEP},
                every=False,
                examples=10,
            ),
        ),
        examples=40,
    ),
    Statement(
        name="cells.inheritance.weights",
        source="ours",
        claim="what cell k of level L inherits has the weight psi(k/2^(L-L') - n') of cell n' of level L': the "
        "library's entries seen from the vertex k",
        latex=r"Cell $k$ of level $L$ inherits $Q_{n'}^{L'}$ with the weight $\psi(k/2^{L-L'}-n')$.",
        hypotheses={"tower": TOWER, "point": POINT, "cell": CELL},
        check=check_weights,
        twins=(
            Twin(
                "hats at the point",
                "hats are seen from the vertex k: at the point",
                partial(check_weights, where="point"),
                {"tower": DEEP},
                every=False,
                examples=10,
            ),
            Twin(
                "the nearest ancestor",
                "the mean of all ancestors, weighted: the nearest one",
                partial(check_weights, where="nearest"),
                {"tower": DEEP},
                every=False,
                examples=10,
            ),
        ),
        examples=40,
    ),
    Statement(
        name="cells.inheritance.bound",
        source="ours",
        claim="|f - f_L| <= max |f - P_k| over the cells k whose hats are not 0 at the point",
        latex=r"|f-f_L|\le\max_{k:\,\psi_k>0}|f-P_k^L|",
        hypotheses={"tower": TOWER, "point": POINT, "value": VALUE},
        check=check_bound,
        twins=(
            Twin(
                "hats on cubes",
                "the hats have the sum 1: relu(1 - max |u_i|)",
                partial(check_bound, window=cube),
                {
                    "tower": Hypothesis("two windows", towers(windows=2)),
                    "point": Hypothesis("off the lattices", st.just([fmpq(5, 64), fmpq(3, 64), fmpq(11, 64)])),
                    "value": Hypothesis("f = 0, below all polynomials", st.just(ZERO)),
                },
                every=False,
                examples=10,
            ),
            Twin(
                "coarser polynomials",
                "P_k of the finest cells: of those of the level above",
                partial(check_bound, coarse=True),
                {"tower": DEEP, "value": Hypothesis("f = 0, below all polynomials", st.just(ZERO))},
                every=False,
                examples=10,
            ),
        ),
        examples=60,
    ),
    Statement(
        name="cells.inheritance.good",
        source="ours",
        claim="a child's support lies in its parents', and what it inherits is there as good as the worse of them",
        latex=r"On $\mathrm{supp}\,\psi_k$: $|f-\frac12(P_n+P_{n'})|\le\max(|f-P_n|,|f-P_{n'}|)$, $n,n'$ the parents.",
        hypotheses={"tower": TOWER, "cell": CELL, "inner": INNER, "value": VALUE},
        check=check_child,
        twins=(
            Twin(
                "a neighbour for a parent",
                "both parents' supports hold the child's: a neighbour of one",
                partial(check_child, halves=False),
                {"inner": Hypothesis("the centre, or near it", st.just([fmpq(1, 8)] * 3))},
            ),
            Twin(
                "a stricter child",
                "the tolerance of a child is at least its parents' mean: 0.55 of it, as a mark makes it",
                partial(check_child, share=fmpq(11, 20)),
                {"value": Hypothesis("f = 1000, far above all polynomials", st.just(fmpq(1000)))},
            ),
        ),
        examples=60,
    ),
    Statement(
        name="cells.inheritance.polynomials",
        source="ours",
        claim="with Q_k = g - mean of the parents on all cells of a level f_L = g, for every polynomial g of degree p",
        latex=r"$Q_k=g-\frac12(P_n+P_{n'})$ on all cells $k$ makes $f_L=g$, $g$ any polynomial of degree $p$.",
        hypotheses={
            "drawn": Hypothesis(
                "m <= 3, p <= 4, any polynomials on the first level",
                st.builds(Drawn, st.integers(1, 3), st.integers(2, 4), st.integers(0, 2**31)),
            ),
            "point": Hypothesis("any rational point", st.lists(rational.dyadics(8, 5), min_size=3, max_size=3)),
        },
        check=check_exact,
        twins=(
            Twin(
                "the residual interpolated",
                "g less the inherited polynomials is fitted: g - f_1, which has kinks",
                partial(check_exact, residual=True),
                {
                    "drawn": Hypothesis(
                        "m = 1", st.builds(Drawn, st.just(1), st.integers(2, 4), st.integers(0, 2**31))
                    ),
                    "point": OFF_NODES,
                },
            ),
        ),
        examples=40,
    ),
)

"""The nodal hat of the Kuhn triangulation: partition of unity, members, refinement, children and their supports.

    psi(u) = relu(1 - gauge(u)),   gauge(u) = max(0, u_1, .., u_m) + max(0, -u_1, .., -u_m)

is the function that is linear on every simplex of the triangulation by the planes `u_i = k` and `u_i - u_j = k`, 1 at 0
and 0 at the other vertices. Proof. gauge is the largest of 0, u_i, -u_j and u_i - u_j, each of which keeps its sign on
a simplex with vertex 0 (the planes through 0 do not cut it), so that there it is one of them; it is 1 at all vertices
of such a simplex but 0, which are `e` or `-e`, e a 0-1-vector (not 0). On a simplex without the vertex 0 it is at
least 1: the star of 0 is `gauge <= 1`, as gauge is positively homogeneous. QED

Hence, with barycentric coordinates:

- partition, members: at z the hats `psi(z - n)` are the barycentric coordinates of z in a simplex that holds it: they
  are >= 0, of sum 1, and m + 1 of them at most are not 0.
- refinement: the planes of the half lattice contain those of the lattice, so that psi is linear on every simplex of the
  half lattice: it is its own interpolant there, `psi(z) = sum_k psi(k/2) psi(2z - k)`. k/2 is the vertex `floor(k/2)`
  or the midpoint of the edge to `ceil(k/2)`: `psi(k/2 - n)` is 1 at the one parent, or 1/2 at each of both, and 0 at
  all others. Children of n are the k with `psi(k/2 - n) > 0`: `2n + e` and `2n - e`, `2^(m + 1) - 1` of them.
- supports: the star of k is the convex hull of the `k +- e` (gauge is convex), so that it lies in the star of n, which
  is convex, if these do: `gauge((k +- e)/2 - n) <= 1`. That depends on k modulo 2 alone, and on n - floor(k/2): the
  2^m cases are all of them. By the refinement `psi(z - n) >= psi(2z - k)/2` for a parent n.

The oracle. All m! simplices of every unit cube that holds z are tried, and the linear system of barycentric coordinates
is solved in each: of those that hold z all must give the same function. Nothing of the formulas above enters. The
library's functions are evaluated in float64 at dyadic numbers of few bits, where they do not round.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import permutations, product

import numpy as np
import torch
from flint import fmpq, fmpq_mat
from hypothesis import strategies as st
from torch import Tensor

from construct.arrays import Int
from construct.cells import kuhn
from proofs_as_code import rational
from proofs_as_code.framework import Hypothesis, Statement, Twin, Verdict, verdict
from proofs_as_code.rational import ZERO

Vertex = tuple[int, ...]
Window = Callable[[Tensor], Tensor]
MOST = 4  # windows

# -- rational arithmetic ----------------------------------------------------------------------------------------------


def gauge(u: list[fmpq]) -> fmpq:
    """`max(0, u) + max(0, -u)`."""
    return max(ZERO, *u) + max(ZERO, *(-c for c in u))


def psi(u: list[fmpq]) -> fmpq:
    """The hat, by its formula."""
    return max(ZERO, 1 - gauge(u))


def minus(z: list[fmpq], n: Vertex) -> list[fmpq]:
    return [c - k for c, k in zip(z, n, strict=True)]


def around(z: list[fmpq]) -> Iterator[Vertex]:
    """All integer vectors whose hat may not be 0 at z: those within 1 of it, and some more."""
    return product(*[range(int(c.floor()) - 1, int(c.floor()) + 3) for c in z])


def cubes(z: list[fmpq]) -> Iterator[Vertex]:
    """Lowest corners of the unit cubes that hold z."""
    return product(*[(int(c) - 1, int(c)) if c.denom() == 1 else (int(c.floor()),) for c in z])


def coordinates_in(vertices: list[Vertex], z: list[fmpq]) -> list[fmpq]:
    """Barycentric coordinates of z."""
    rows = [[1] * len(vertices), *([v[i] for v in vertices] for i in range(len(z)))]
    solved = rational.matrix(rows).solve(fmpq_mat(len(rows), 1, [fmpq(1), *z]))
    return solved.entries()


def barycentric(z: list[fmpq]) -> tuple[dict[Vertex, fmpq], int]:
    """What is positive of the barycentric coordinates of z, and in how many simplices that hold it they differ."""
    found: list[dict[Vertex, fmpq]] = []
    for corner in cubes(z):
        for order in permutations(range(len(z))):
            vertices = [corner]
            for i in order:
                vertices.append(tuple(k + (j == i) for j, k in enumerate(vertices[-1])))
            values = coordinates_in(vertices, z)
            if all(value >= 0 for value in values):
                found.append({v: value for v, value in zip(vertices, values, strict=True) if value > 0})
    return found[0], sum(other != found[0] for other in found)


def tensor_of(points: list[list[fmpq]]) -> Tensor:
    """Dyadic numbers of few bits as float64, which holds them."""
    return torch.tensor([[float(c.p) / float(c.q) for c in point] for point in points], dtype=torch.float64)


def values_of(window: Window, points: list[list[fmpq]]) -> list[fmpq]:
    """A function of the library at points, as it computes it."""
    return [rational.rational(value) for value in window(tensor_of(points)).tolist()]


def units(m: int) -> list[Vertex]:
    """The 0-1-vectors, 0 included."""
    return list(product((0, 1), repeat=m))


# -- windows that are none --------------------------------------------------------------------------------------------


def box_hat(u: Tensor) -> Tensor:
    """`relu(1 - max |u_i|)`."""
    return (1 - u.abs().amax(dim=-1)).relu()


def tensor_hat(u: Tensor) -> Tensor:
    """The product of the hats of the coordinates."""
    return (1 - u.abs()).relu().prod(dim=-1)


def quadratic_hat(u: Tensor) -> Tensor:
    """`relu(1 - |u|^2)`."""
    return (1 - (u * u).sum(dim=-1)).relu()


# -- checks -----------------------------------------------------------------------------------------------------------


def check_partition(z: list[fmpq], window: Window = kuhn.kuhn_hat) -> Verdict:
    """Hats about z against barycentric coordinates and the formula, and their sum."""
    nodes = list(around(z))
    values = values_of(window, [minus(z, n) for n in nodes])
    oracle, disagreements = barycentric(z)
    off = [abs(value - oracle.get(n, ZERO)) for n, value in zip(nodes, values, strict=True)]
    off += [abs(psi(minus(z, n)) - oracle.get(n, ZERO)) for n in nodes]
    off += [abs(sum(values, ZERO) - 1), fmpq(disagreements), fmpq(len(set(oracle) - set(nodes)))]
    return verdict(0, max(off), kind="exact", points=len(nodes), dtype="rational", worst_point={"z": z})


def ascending(z: Tensor) -> tuple[Tensor, Tensor]:
    """`kuhn.members` with the fractional parts in ascending order, and the values that these give."""
    below = z.floor()
    parts, order = torch.sort(z - below, dim=1)
    steps = torch.nn.functional.one_hot(order, z.shape[1]).cumsum(dim=1)
    vertices = below[:, None].long() + torch.cat([torch.zeros_like(steps[:, :1]), steps], dim=1)
    ends = torch.cat([torch.ones_like(parts[:, :1]), parts, torch.zeros_like(parts[:, :1])], dim=1)
    return vertices, ends[:, :-1] - ends[:, 1:]


def check_members(z: list[fmpq], members: Callable[[Tensor], tuple[Tensor, Tensor]] = kuhn.members) -> Verdict:
    """The library's members against barycentric coordinates."""
    vertices, values = members(tensor_of([z]))
    held = {
        tuple(v): rational.rational(value) for v, value in zip(vertices[0].tolist(), values[0].tolist(), strict=True)
    }
    oracle, disagreements = barycentric(z)
    off = [abs(held.get(v, ZERO) - oracle.get(v, ZERO)) for v in {*held, *oracle}]
    wrong = disagreements + (len(held) != len(z) + 1)
    return verdict(0, max(*off, fmpq(wrong)), kind="exact", points=len(off), dtype="rational", worst_point={"z": z})


def check_refinement(z: list[fmpq], window: Window = kuhn.kuhn_hat, mask: Window | None = None) -> Verdict:
    """`psi(z) - sum_k psi(k/2) psi(2z - k)`; mask: another function of k/2."""
    ks = list(product(range(-2, 3), repeat=len(z)))
    doubled = [2 * c for c in z]
    weights = values_of(mask or window, [[fmpq(c, 2) for c in k] for k in ks])
    fine = values_of(window, [minus(doubled, k) for k in ks])
    total = sum((w * value for w, value in zip(weights, fine, strict=True)), ZERO)
    off = abs(values_of(window, [z])[0] - total)
    return verdict(0, off, kind="exact", points=len(ks), dtype="rational", worst_point={"z": z})


def next_to(cells: Int) -> tuple[Int, Int]:
    """`floor(k/2)` and the next, whether k is odd or not."""
    lower = cells // 2
    return lower, lower + 1


def check_children(
    n: Vertex, parents: Callable[[Int], tuple[Int, Int]] = kuhn.parents, count: Callable[[int], int] | None = None
) -> Verdict:
    """The library's children of n and their parents against `psi(k/2 - n) > 0`, and how many there are."""
    m = len(n)
    near = 2 * np.array(n) + np.array(list(product(range(-2, 3), repeat=m)))
    places = near[:, None] // 2 + np.array(list(product(range(-1, 3), repeat=m)))  # (K, 4^m, m), all within 1 of k/2
    u = near[:, None] - 2 * places
    weights = np.maximum(0, 2 - np.maximum(0, u.max(axis=2)) - np.maximum(0, (-u).max(axis=2)))  # 2 psi(k/2 - n)
    expected = {tuple(k) for k in near[((places == n).all(axis=2) & (weights > 0)).any(axis=1)].tolist()}
    held = [tuple(k) for k in kuhn.children(np.array([n], dtype=np.int64)).tolist()]
    wrong = abs(len(held) - (count(m) if count else 2 ** (m + 1) - 1)) + len(expected ^ set(held))
    shares = sum((places == side[:, None]).all(axis=2) for side in parents(near))  # 1/2 each
    wrong += int((shares != weights).any(axis=1).sum())
    return verdict(0, wrong, kind="exact", points=weights.size, dtype="integers", worst_point={"n": n})


def corner(k: Int) -> tuple[Int, Int]:
    """A corner of the cube about k/2 that is no parent: up in the first odd place alone, and then a parent."""
    lower, upper = kuhn.parents(k)
    first = (k % 2).argmax(axis=1)
    other = lower.copy()
    other[np.arange(len(k)), first] += 1
    return other, upper


def check_supports(
    k: Vertex, parents: Callable[[Int], tuple[Int, Int]] = kuhn.parents, inner: list[fmpq] | None = None
) -> Verdict:
    """`gauge((k +- e)/2 - n) - 1` of the parents n, and `psi(2z - k)/2 - psi(z - n)` at z = (k + inner)/2."""
    ends = [[c + sign * d for c, d in zip(k, e, strict=True)] for sign in (1, -1) for e in units(len(k))]
    off = []
    for n in {tuple(side[0].tolist()) for side in parents(np.array([k], dtype=np.int64))}:
        off += [gauge([fmpq(c, 2) - d for c, d in zip(end, n, strict=True)]) - 1 for end in ends]
        if inner is not None:
            z = [(c + s) / 2 for c, s in zip(k, inner[: len(k)], strict=True)]
            off.append(psi(inner[: len(k)]) / 2 - psi(minus(z, n)))
    return verdict(fmpq(0), max(off), kind="exact", points=len(off), dtype="rational", worst_point={"k": k})


# -- statements -------------------------------------------------------------------------------------------------------


def vectors(entries: st.SearchStrategy[fmpq], least: int = 1, most: int = MOST) -> st.SearchStrategy[list[fmpq]]:
    return st.integers(least, most).flatmap(lambda m: st.lists(entries, min_size=m, max_size=m))


def whole(least: int = 1, most: int = MOST, entries: st.SearchStrategy[int] | None = None) -> st.SearchStrategy[Vertex]:
    drawn = entries if entries is not None else st.integers(-5, 5) | st.integers(-(2**20), 2**20)
    return st.integers(least, most).flatmap(lambda m: st.lists(drawn, min_size=m, max_size=m)).map(tuple)


NEAR = rational.dyadics(2, 4) | rational.dyadics(2, 1)  # 1: on planes of the triangulation
FAR = rational.dyadics(2**16, 5)
Z = Hypothesis("z in Q^m, m <= 4, on planes of the triangulation or off them, near or far", vectors(NEAR | FAR))
INSIDE = st.integers(1, 15).map(lambda j: fmpq(j, 16))
ODD = st.integers(-4, 4).map(lambda j: 2 * j + 1)
FRACTIONS = Hypothesis("no z_i whole, m >= 2", vectors(INSIDE, least=2))

STATEMENTS: tuple[Statement, ...] = (
    Statement(
        name="cells.hat.partition",
        source="ours; Kuhn 1960",
        claim="psi(z - n), n in Z^m, are the barycentric coordinates of z in the Kuhn triangulation: >= 0, of sum 1",
        latex=r"The $\psi(z-n)$, $n\in\mathbb{Z}^m$, are the barycentric coordinates of $z$ in Kuhn's triangulation: "
        r"$\ge 0$, of sum 1.",
        hypotheses={"z": Z},
        check=check_partition,
        twins=(
            Twin(
                "a hat on a cube",
                "psi = relu(1 - max(0, u) - max(0, -u)): relu(1 - max |u_i|)",
                partial(check_partition, window=box_hat),
                {"z": FRACTIONS},
            ),
            Twin(
                "a quadratic hat",
                "psi is linear on simplices: relu(1 - |u|^2)",
                partial(check_partition, window=quadratic_hat),
                {"z": FRACTIONS},
            ),
        ),
        examples=40,
    ),
    Statement(
        name="cells.hat.members",
        source="ours; Kuhn 1960",
        claim="with fractional parts f_1 >= .. >= f_m of z the hats that are not 0 are among floor(z), + e_1, + e_1 + "
        "e_2, .., with 1 - f_1, f_1 - f_2, .., f_m: one sort",
        latex=r"The hats that are not 0 at $z$ are among $\lfloor z\rfloor+e_1+\dots+e_i$, $i=0..m$, in the descending "
        r"order of the fractional parts, with $1-f_1$, $f_1-f_2$, .., $f_m$.",
        hypotheses={"z": Z},
        check=check_members,
        twins=(
            Twin(
                "ascending order",
                "the order is descending: ascending",
                partial(check_members, members=ascending),
                {
                    "z": Hypothesis(
                        "no two fractional parts equal, none 0, m >= 2",
                        st.integers(2, MOST).flatmap(
                            lambda m: st.lists(INSIDE, min_size=m, max_size=m, unique_by=lambda c: (c.p, c.q))
                        ),
                    )
                },
            ),
        ),
        examples=40,
    ),
    Statement(
        name="cells.hat.refinement",
        source="ours",
        claim="psi(z) = sum over k in Z^m of psi(k/2) psi(2z - k)",
        latex=r"\psi(z)=\sum_{k\in\mathbb{Z}^m}\psi(k/2)\,\psi(2z-k)",
        hypotheses={"z": Hypothesis("z in Q^m, m <= 4, in the support or near it", vectors(NEAR))},
        check=check_refinement,
        twins=(
            Twin(
                "a product of hats, the mask of psi",
                "the nodal hat: the product of the coordinates' hats with psi(k/2)",
                partial(check_refinement, window=tensor_hat, mask=kuhn.kuhn_hat),
                {"z": FRACTIONS},
            ),
            Twin(
                "a quadratic hat",
                "psi is piecewise linear: relu(1 - |u|^2) with its own values at k/2",
                partial(check_refinement, window=quadratic_hat),
                {"z": Hypothesis("m = 1, 0 < z < 1, not 1/2", INSIDE.filter(lambda c: c.q > 2).map(lambda c: [c]))},
            ),
        ),
        examples=40,
    ),
    Statement(
        name="cells.hat.children",
        source="ours",
        claim="psi(k/2 - n) is 1/2 for n = floor(k/2) and n = ceil(k/2), 1 where these are equal, 0 for all others; n "
        "has 2^(m+1) - 1 children, 2n + e and 2n - e",
        latex=r"$\psi(k/2-n)=\frac12$ for $n=\lfloor k/2\rfloor,\lceil k/2\rceil$ (1 where equal), else 0; $n$ has "
        r"$2^{m+1}-1$ children $2n\pm e$.",
        hypotheses={"n": Hypothesis("n in Z^m, m <= 4", whole())},
        check=check_children,
        twins=(
            Twin(
                "3^m children",
                "2^(m+1) - 1 of them: 3^m, as of products of hats",
                partial(check_children, count=lambda m: 3**m),
                {"n": Hypothesis("m >= 2", whole(least=2))},
            ),
            Twin(
                "two parents always",
                "an even k has one parent: floor(k/2) and the next",
                partial(check_children, parents=next_to),
            ),
        ),
        examples=25,
    ),
    Statement(
        name="cells.hat.supports",
        source="ours",
        claim="the support of psi(2z - k) lies in those of both parents, for every k (2^m cases), and psi(z - n) >= "
        "psi(2z - k)/2 for a parent n",
        latex=r"$\mathrm{supp}\,\psi(2\cdot-k)\subset\mathrm{supp}\,\psi(\cdot-n)$ for both parents $n$ of $k$, and "
        r"$\psi(z-n)\ge\frac12\psi(2z-k)$.",
        hypotheses={
            "k": Hypothesis("k in Z^m, m <= 4", whole()),
            "inner": Hypothesis("2z - k", st.lists(NEAR, min_size=MOST, max_size=MOST)),
        },
        check=check_supports,
        twins=(
            Twin(
                "another corner",
                "n is a parent: another corner of the cube about k/2, a parent for products of hats",
                partial(check_supports, parents=corner),
                {"k": Hypothesis("k odd in two places or more", whole(least=2, entries=ODD))},
            ),
        ),
        examples=60,
    ),
)

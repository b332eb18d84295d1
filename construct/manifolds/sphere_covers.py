"""Covers of the unit sphere S^d by balls, with proved chord radii.

For unit vectors c_1 .. c_n the largest distance from a point of the sphere to the nearest of them is
sqrt(2 - 2 b), where b > 0 is the inradius about the origin of their convex hull: |x - c|^2 = 2 - 2 <x, c>,
and the minimum over |x| = 1 of max_n <x, c_n> is the smallest value of the hull's support function, which is
its smallest facet distance. b is known for regular polytopes, and comes from Qhull for d <= 3 in general (the
radius is widened by 1e-9 for rounding).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from functools import cache

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from scipy.spatial import ConvexHull
from torch import Tensor

from construct.validation import invalid

GOLDEN = (1 + math.sqrt(5)) / 2
LARGEST_CUBE = 10  # cross-polytope with cube has 2^(d+1) + 2(d+1) points: 1044 for d = 9


def covering_radius(centres: Tensor) -> float:
    """Proved covering radius (chord) of unit vectors (n, d+1) on S^d, d <= 3, from their convex hull.

    Raises InputError when the origin is not inside the hull: then some open hemisphere holds no centre.
    """
    hull = ConvexHull(centres.double().numpy())
    inradius = float(-hull.equations[:, -1].max())
    if inradius <= 0:
        raise invalid("centres", "unit vectors with 0 inside their convex hull", got=f"facet distance {inradius:.3g}")
    return math.sqrt(2 - 2 * inradius) * (1 + 1e-9)


def simplex(d: int) -> tuple[Tensor, float]:
    """d + 2 vertices, b = 1/(d+1)."""
    n = d + 2
    centred = torch.eye(n, dtype=torch.float64) - 1 / n
    helmert = torch.zeros(n, d + 1, dtype=torch.float64)  # orthonormal basis of the vectors with sum zero
    for k in range(1, n):
        helmert[:k, k - 1], helmert[k, k - 1] = 1.0, -float(k)
        helmert[:, k - 1] /= math.sqrt(k * (k + 1))
    points = centred @ helmert
    return points / points.norm(dim=1, keepdim=True), math.sqrt(2 - 2 / (d + 1))


def cross_polytope(d: int) -> tuple[Tensor, float]:
    """2 (d + 1) points +- e_i, b = 1/sqrt(d+1)."""
    eye = torch.eye(d + 1, dtype=torch.float64)
    return torch.cat([eye, -eye]), math.sqrt(2 - 2 / math.sqrt(d + 1))


def cross_and_cube(d: int) -> tuple[Tensor, float]:
    """The points +- e_i and (+-1, .., +-1)/sqrt(n), n = d + 1; the 24-cell for d = 3.

    On |x|_2 = 1 with a given largest entry a the l1 norm is smallest where floor(1/a^2) entries are a, one is
    the rest and the others 0 (an extreme point). So max(|x|_inf, |x|_1/sqrt(n)) is smallest where both terms
    agree, k a + sqrt(1 - k a^2) = sqrt(n) a with k = floor(sqrt n), and b = a = 1/sqrt(k + (sqrt(n) - k)^2).
    """
    n = d + 1
    k = math.isqrt(n)
    corners = torch.tensor(list(itertools.product((1.0, -1.0), repeat=n)), dtype=torch.float64) / math.sqrt(n)
    b = 1 / math.sqrt(k + (math.sqrt(n) - k) ** 2)
    return torch.cat([cross_polytope(d)[0], corners]), math.sqrt(2 - 2 * b)


def _ring(k: int, height: float, turn: float) -> np.ndarray:
    angle = 2 * math.pi * (np.arange(k) + turn) / k
    rim = math.sqrt(1 - height**2)
    return np.stack([rim * np.cos(angle), rim * np.sin(angle), np.full(k, height)], axis=1)


POLES = np.array([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]])


def bipyramid(k: int) -> Tensor:
    """k + 2 points of S^2: the poles and k on the equator."""
    return torch.from_numpy(np.concatenate([POLES, _ring(k, 0.0, 0.0)]))


@cache
def _best_height(k: int) -> float:
    def radius(height: float) -> float:
        return covering_radius(_antiprism(k, height))

    return float(minimize_scalar(radius, bounds=(0.1, 0.8), method="bounded", options={"xatol": 1e-9}).x)


def _antiprism(k: int, height: float) -> Tensor:
    return torch.from_numpy(np.concatenate([POLES, _ring(k, height, 0.0), _ring(k, -height, 0.5)]))


def capped_antiprism(k: int) -> Tensor:
    """2 k + 2 points of S^2: the poles and two staggered rings, at the latitude with the smallest covering
    radius."""
    return _antiprism(k, _best_height(k))


def icosahedron() -> Tensor:
    """12 unit vectors; covering radius 0.640852."""
    points = [np.roll((0.0, s, t * GOLDEN), shift) for shift in range(3) for s in (1.0, -1.0) for t in (1.0, -1.0)]
    return torch.from_numpy(np.array(points) / math.sqrt(1 + GOLDEN**2))


def dodecahedron() -> Tensor:
    """20 unit vectors, the face directions of `icosahedron()`; its covering radius is 0.640852 as well
    (duality)."""
    hull = ConvexHull(icosahedron().numpy())
    return torch.from_numpy(np.ascontiguousarray(hull.equations[:, :3]))


def geodesic(frequency: int) -> Tensor:
    """10 f^2 + 2 unit vectors: each face of the icosahedron cut into f^2 triangles, pushed to the sphere."""
    vertices = icosahedron().numpy()
    weights = np.array([(i, j, frequency - i - j) for i in range(frequency + 1) for j in range(frequency + 1 - i)])
    points = np.concatenate([weights @ vertices[face] for face in ConvexHull(vertices).simplices]) / frequency
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    _, first = np.unique(points.round(9) + 0.0, axis=0, return_index=True)
    return torch.from_numpy(points[np.sort(first)])


def icosians() -> Tensor:
    """120 unit quaternions, the vertices of the 600-cell: the binary icosahedral group. Covering radius
    0.38512."""
    even = [p for p in itertools.permutations(range(4)) if _parity(p) == 0]
    points = [np.roll((s, 0.0, 0.0, 0.0), i) for s in (1.0, -1.0) for i in range(4)]
    points += [np.array(signs) / 2 for signs in itertools.product((1.0, -1.0), repeat=4)]
    for p in even:
        for signs in itertools.product((1.0, -1.0), repeat=3):
            base = np.array([signs[0] * GOLDEN, signs[1], signs[2] / GOLDEN, 0.0]) / 2
            points.append(base[list(p)])
    return torch.from_numpy(np.array(points))


def _parity(permutation: tuple[int, ...]) -> int:
    return sum(a > b for a, b in itertools.combinations(permutation, 2)) % 2


def twice_24_cell() -> Tensor:
    """48 unit quaternions, the binary octahedral group: a 24-cell and its dual."""
    pairs = [
        (s * np.eye(4)[i] + t * np.eye(4)[j]) / math.sqrt(2)
        for i, j in itertools.combinations(range(4), 2)
        for s in (1.0, -1.0)
        for t in (1.0, -1.0)
    ]
    return torch.cat([cross_and_cube(3)[0], torch.from_numpy(np.array(pairs))])


def _hulled(points: Tensor) -> tuple[Tensor, float]:
    return points, covering_radius(points)


def sphere_covers(d: int) -> Iterator[tuple[Tensor, float]]:
    """Covers of S^d, d >= 2, with more and more centres: (n, d+1) unit vectors and the proved chord
    radius."""
    yield simplex(d)
    if d == 2:
        yield _hulled(bipyramid(3))
    yield cross_polytope(d)
    if d == 2:
        yield _hulled(bipyramid(5))
        for k in (3, 4, 5, 6, 7):
            yield _hulled(capped_antiprism(k))
        yield _hulled(torch.cat([icosahedron(), dodecahedron()]))
        for frequency in range(2, 13):
            yield _hulled(geodesic(frequency))
    elif d <= LARGEST_CUBE - 1:
        yield cross_and_cube(d)
    if d == 3:
        yield _hulled(twice_24_cell())
        yield _hulled(icosians())

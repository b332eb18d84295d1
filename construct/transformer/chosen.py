"""Which entries of a network's code were chosen, and which a fixed formula of the token's number gives.

Code rows are the rows of the hidden state at x = 0 that no block writes. An entry that is zero counts as nothing; of
the others these are *given*:

a. a row that is the same in all tokens (the row of ones);
b. a row that is `cos(t pi / 2l)` or `sin(t pi / 2l)`, t the token's number, up to rounding;
c. of rows (v, v^2) of integers the squares, and every v that is one more than the v of the token before; of the first
   token also `-floor(l / 2)`, with which the ordinary code of l tokens begins: that code costs nothing, nor does
   `0, 1, 2, ..`, and one in three pieces at most 3;
d. a row q of integers that is the sum of squares of the rows before it, back to the last such row, or, in some tokens,
   one common power of two above these sums; only in these tokens the rows before it may hold what is no integer. Of
   those rows `A_1 .. A_k` every run of consecutive tokens that lists, in lexicographic order, for some order m the
   whole lattice `{A >= 0, |A|_1 <= m}` or `{|A|_1 <= m}`, or, k > 1, the whole shell `{m^2 - m < |A|_2^2 <= m^2}` but
   for the sign: of every pair +-A the one whose first entry that is not 0 is positive.

All other entries were chosen, and count one by one: directions or cells picked for a manifold or a function, the unit
vectors of the inputs that are used.
"""

from __future__ import annotations

import bisect
import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from construct.arrays import Float, Int

Mask = NDArray[np.bool_]
DOUBLE, SINGLE = 2.0**-50, 2.0**-22  # roundings of cosines held in float64 and in float32
FEWER = 4.0  # times fewer members than its volume says has no shell
LARGEST = 2.0**26  # of an entry whose square is looked at: squares of larger ones are not exact


def chosen_entries(code: Float) -> int:
    """How many entries of the code rows (l, r), in the order of the hidden state, were chosen."""
    given = np.zeros(code.shape, dtype=bool)
    whole = ((np.rint(code) == code) & (np.abs(code) <= LARGEST**2)).all(axis=0)
    for row, values in enumerate(code.T):
        given[:, row] = (values == values[0]).all() or _trigonometric(values)
    roots: set[tuple[int, int]] = set()
    for row in np.flatnonzero(whole).tolist():
        for square in _squares_of(code, row).tolist():
            if (square, row) in roots:  # two equal rows of 0 and 1: one of them is the square, not both
                continue
            roots.add((row, square))
            given[:, square] = True
            given[:, row] |= _numbered(code[:, row])
    first = 0
    for row in np.flatnonzero(whole).tolist():
        if row > first and _sums_squares(code[:, first:row], code[:, row]):
            given[:, row] = True
            if not given[:, first:row].all():
                vectors = code[:, first:row].copy()
                vectors[(np.rint(vectors) != vectors).any(axis=1)] = 2 * LARGEST  # no member of a lattice
                given[_listed(vectors.astype(np.int64)), first:row] = True
            first = row + 1
    return int(np.count_nonzero(code[~given]))


def _trigonometric(values: Float) -> bool:
    """b: a row of cosines or of sines."""
    angle = np.arange(len(values)) * (math.pi / (2 * len(values)))
    with np.errstate(over="ignore"):
        rounding = SINGLE if (values == values.astype(np.float32)).all() else DOUBLE
    return any(bool((np.abs(values - wave) <= rounding).all()) for wave in (np.cos(angle), np.sin(angle)))


def _squares_of(code: Float, row: int) -> Int:
    """c: the other rows that hold the squares of one."""
    values = code[:, row]
    if np.abs(values).max() > LARGEST:
        return np.zeros(0, dtype=np.int64)
    found = np.flatnonzero((code == values[:, None] ** 2).all(axis=0))
    return found[found != row]


def _numbered(values: Float) -> Mask:
    """c: where a number is that of the token before plus 1, or the first of the ordinary code."""
    return np.concatenate([[values[0] == -(len(values) // 2)], values[1:] == values[:-1] + 1])


def _sums_squares(rows: Float, q: Float) -> bool:
    """d: whether q is the sum of squares of the rows, integers, or where it is not, one power of two above it."""
    if np.abs(rows).max() > LARGEST:
        return False
    squares = (rows * rows).sum(axis=1)
    apart = q != squares
    powers = q[apart]
    if (np.rint(rows[~apart]) != rows[~apart]).any():
        return False
    return not apart.any() or bool(
        (powers == powers[0]).all() and powers[0] > squares[apart].max() and np.frexp(powers[0])[0] == 0.5
    )


# -- whole lattices ---------------------------------------------------------------------------------------------------


def _listed(vectors: Int) -> Mask:
    """d: tokens in runs that list a whole lattice. What starts a run tells its shape and its order."""
    count, dim = vectors.shape
    listed = np.zeros(count, dtype=bool)
    starts, at = np.flatnonzero(~vectors[:, 1:].any(axis=1) & (vectors[:, 0] <= 0)), 0
    while at < len(starts):
        start = int(starts[at])
        signed = bool(vectors[start, 0] < 0)
        order = int(-vectors[start, 0]) if signed else _ascent(vectors, start)
        size = _size(dim, order, signed, count - start) if order else 0
        run = slice(start, start + size)
        # both shapes end with (m, 0, .., 0)
        if size and vectors[run][-1, 0] == order and np.array_equal(vectors[run], _lattice(dim, order, signed)):
            listed[run] = True
            at = int(np.searchsorted(starts, run.stop))
        else:
            at += 1
    if dim > 1:
        _list_shells(vectors, listed)
    return listed


def _list_shells(vectors: Int, listed: Mask) -> None:
    """d: marks the runs that list a whole shell, from `(0, .., 0, m)` to the next `(m, 0, .., 0)`."""
    dim, ends = vectors.shape[1], dict[int, list[int]]()
    for end in np.flatnonzero(~vectors[:, 1:].any(axis=1) & (vectors[:, 0] > 0)).tolist():
        ends.setdefault(int(vectors[end, 0]), []).append(end)
    for start in np.flatnonzero(~vectors[:, :-1].any(axis=1) & (vectors[:, -1] > 0)).tolist():
        order = int(vectors[start, -1])
        later = ends.get(order, [])
        place = bisect.bisect(later, start)
        if listed[start] or place == len(later):
            continue
        run = slice(start, later[place] + 1)
        if _likely(dim, order) <= FEWER * (run.stop - start) and np.array_equal(vectors[run], _shell(dim, order)):
            listed[run] = True


def _likely(dim: int, order: int) -> float:
    """About how many members a shell has: half of the volume between its spheres, but at least those whose entries are
    0, 1 and -1."""
    ones = min(dim, order**2)
    least = math.comb(dim, ones) << (ones - 1) if ones > order**2 - order else 0
    return max(float(min(least, 2**60)), _volume(dim, order))


def _volume(dim: int, order: int) -> float:
    """Half of the volume between spheres of the squared radii m^2 - m and m^2."""
    ball = dim / 2 * math.log(math.pi) - math.lgamma(dim / 2 + 1) + dim * math.log(order)  # its logarithm
    return math.exp(min(ball, 700.0)) * (1 - (1 - 1 / order) ** (dim / 2)) / 2


@lru_cache(maxsize=8)
def _shell(dim: int, order: int) -> Int:
    """One of every pair +-A of integer vectors with `m^2 - m < |A|_2^2 <= m^2`, in lexicographic order."""
    found = np.zeros((1, 0), dtype=np.int64)
    for rest in range(dim - 1, -1, -1):
        left = order**2 - (found * found).sum(axis=1)
        most = np.sqrt(left).astype(np.int64)
        signed = found.any(axis=1)
        least = np.zeros_like(most) if rest else np.sqrt(np.maximum(left - order, 0)).astype(np.int64) + (left >= order)
        below, above = np.where(signed, most - least + 1, 0), most - np.maximum(least, 1) + 1  # entries <= 0, and > 0
        above += ~signed & (least == 0)
        sizes = below + above
        number = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        first, second = np.repeat(-most, sizes), np.repeat(np.where(signed, np.maximum(least, 1), least) - below, sizes)
        entry = np.where(number < np.repeat(below, sizes), first + number, second + number)
        found = np.concatenate([np.repeat(found, sizes, axis=0), entry[:, None]], axis=1)
    return found


def _ascent(vectors: Int, start: int) -> int:
    """m of the tokens `(0, .., 0, 0), (0, .., 0, 1) .. (0, .., 0, m)` from one on."""
    m = 0
    for vector in vectors[start + 1 :]:
        if vector[-1] != m + 1 or vector[:-1].any():
            break
        m += 1
    return m


def _size(dim: int, order: int, signed: bool, most: int) -> int:
    """Members of a lattice, 0 where they are more than `most`: C(k + m, k), or `sum_j 2^j C(k, j) C(m, j)`."""
    if order >= most:
        return 0
    terms = (2**j * math.comb(dim, j) * math.comb(order, j) for j in range(min(dim, order) + 1))
    size = sum(terms) if signed else math.comb(dim + order, dim)
    return size if size <= most else 0


@lru_cache(maxsize=8)
def _lattice(dim: int, order: int, signed: bool) -> Int:
    """All integer vectors with `|A|_1 <= order`, those with `A >= 0` if not signed, in lexicographic order."""
    found = np.zeros((1, 0), dtype=np.int64)
    for _ in range(dim):
        left = order - np.abs(found).sum(axis=1)
        first = -left if signed else np.zeros_like(left)
        sizes = left - first + 1
        starts = np.cumsum(sizes) - sizes
        entry = np.arange(sizes.sum()) - np.repeat(starts - first, sizes)
        found = np.concatenate([np.repeat(found, sizes, axis=0), entry[:, None]], axis=1)
    return found

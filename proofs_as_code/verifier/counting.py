"""The sizes of a network, counted from its file: what is stored, and what of its code was chosen.

Dense parameters are the entries of all heads and feed-forward layers, and the entries of the state at x = 0 that are
not zero in rows that are written: by x (row 0) or by a block. The other rows are the code. Of its entries that are not
zero some are given by the number t of their token, so that nobody has to store them; all others were chosen.

1. A row that is the same everywhere. 2. cos or sin of t pi / 2l, as far as the type holds them. 3. Beside a row v of
integers a row of its squares, and v where it is 1 more than at the token before; at the first token -(l // 2), too.
4. A row q of integers closes the rows since the last such row (or since the first row) if it is the sum of their
squares, but for tokens where it is one power of two, the same for all of these and above their sums; only there these
rows may hold what is no integer. Then q is given, and so are those rows wherever tokens in a row go through all vectors
with |A|_1 <= m, or all of them without a negative entry, or of two or more rows one of every pair +-A with
m^2 - m < |A|_2^2 <= m^2, that whose first entry which is not 0 is positive, in lexicographic order.

Stored are the parameters that are not zero and what was chosen. A code of more than MOST_CODE entries is refused: what
it takes to look at one grows with its tokens times the square of its rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from proofs_as_code.verifier.documents import Refused, require
from proofs_as_code.verifier.weights import Weights, read

MOST = 2**26  # of an entry whose square is looked at
MOST_CODE = 1 << 23
COSINES = {"float64": 2.0**-50, "float32": 2.0**-22}


class Sizes(NamedTuple):
    parameters: int
    nonzero_parameters: int
    code_entries: int
    chosen_entries: int
    stored_numbers: int


def count(path: str | Path) -> Sizes:
    """The sizes of the network in a file; raises `Refused` where it holds none, OSError where it cannot be read."""
    file = Path(path).read_bytes()
    try:
        return sizes(Weights.of(read(file)[0]))
    except (ArithmeticError, MemoryError, TypeError, ValueError) as failure:  # Refused is a ValueError
        told = (
            str(failure) if isinstance(failure, Refused) else f"{type(failure).__name__}: {ascii(str(failure))[:200]}"
        )
        raise Refused(told) from None


def sizes(weights: Weights) -> Sizes:
    """The sizes of a network."""
    (tokens, width), dtype = weights.hidden0.shape, weights.dtype()
    entries = nonzero = 0
    written = {0}
    for query, key, value, layers in weights.blocks:
        for array in (query, key, value, *(part for layer in layers for part in layer)):
            entries, nonzero = entries + array.size, nonzero + int((array != 0).sum())
        written |= {row for row in range(width) if value[:, row].any()}
        written |= {row for row in range(width) for weight, bias in layers[-1:] if weight[row].any() or bias[row] != 0}
    registers = int((weights.hidden0[:, sorted(written)] != 0).sum())
    rows = [weights.hidden0[:, row] for row in range(width) if row not in written]
    require(
        tokens * len(rows) <= MOST_CODE, "network", f"a code of at most {MOST_CODE} entries", f"{tokens * len(rows)}"
    )
    picked = chosen([row.astype(np.float64).tolist() for row in rows], COSINES[dtype])
    return Sizes(
        entries + registers,
        nonzero + registers,
        tokens * len(rows),
        picked,
        nonzero + registers + picked,
    )


def chosen(rows: list[list[float]], rounding: float) -> int:
    """How many entries of the rows of a code were chosen."""
    given = [alike(row) or waves(row, rounding) for row in rows]
    at: list[set[int]] = [set() for _ in rows]  # tokens whose entry is given
    integers = [whole(row) for row in rows]
    arrays = [np.array(v, dtype=np.int64) for v in integers]
    rooted: set[tuple[int, int]] = set()
    for i, v in enumerate(integers):
        squares = arrays[i] ** 2 if v and max(map(abs, v)) <= MOST else None
        for j, w in enumerate(integers):
            if squares is not None and i != j and (j, i) not in rooted and w and bool((arrays[j] == squares).all()):
                rooted.add((i, j))
                given[j] = True
        if any((i, j) in rooted for j in range(len(rows))):
            at[i] |= {t for t in range(len(v)) if v[t] == (v[t - 1] + 1 if t else -(len(v) // 2))}
    open_rows: list[int] = []
    for j, q in enumerate(integers):
        group = [rows[i] for i in open_rows]
        if q and group and closes(group, q):
            given[j] = True
            tokens = listed([tuple(map(lattice_entry, vector)) for vector in zip(*group, strict=True)])
            for i in open_rows:
                at[i] |= tokens
            open_rows = []
        else:
            open_rows.append(j)
    return sum(v != 0 and t not in at[i] for i, row in enumerate(rows) if not given[i] for t, v in enumerate(row))


def alike(row: list[float]) -> bool:
    return all(v == row[0] for v in row)


def waves(row: list[float], rounding: float) -> bool:
    step = math.pi / (2 * len(row))
    return any(all(abs(v - wave(t * step)) <= rounding for t, v in enumerate(row)) for wave in (math.cos, math.sin))


def whole(row: list[float]) -> list[int]:
    """The row in integers; none if it holds something else."""
    return [int(v) for v in row] if all(v.is_integer() and abs(v) <= MOST**2 for v in row) else []


def lattice_entry(v: float) -> int:
    """An integer, or, of what is none, a number beyond every lattice."""
    return int(v) if v.is_integer() else 2 * MOST


def closes(rows: list[list[float]], q: list[int]) -> bool:
    """4: whether q is made of the rows before it."""
    if any(abs(v) > MOST for row in rows for v in row):
        return False
    sums = [sum(row[t] ** 2 for row in rows) for t in range(len(q))]
    apart = {t: v for t, v in enumerate(q) if v != sums[t]}
    if not all(row[t].is_integer() for row in rows for t in range(len(q)) if t not in apart):
        return False
    powers = set(apart.values())
    return all(p > 0 and p & (p - 1) == 0 and all(p > sums[t] for t in apart) for p in powers) and len(powers) <= 1


def listed(vectors: list[tuple[int, ...]]) -> set[int]:
    """Tokens that are part of a run through a whole lattice; an order of 0 is none."""
    found: set[int] = set()
    last = list(range(len(vectors)))  # where a run of vectors ends, each of which is 1 more than the one before it
    for start in reversed(range(len(vectors) - 1)):
        if vectors[start + 1] == (*vectors[start][:-1], vectors[start][-1] + 1):
            last[start] = last[start + 1]
    for start, vector in enumerate(vectors):
        if start in found or any(vector[1:]) or vector[0] > 0:
            continue
        order = -vector[0]
        if len(vector) == 1 and last[start] - start < 2 * order:
            continue  # known before it is walked through: most of its tokens may begin such a run themselves
        if not order:  # (0, .., 0), (0, .., 1) and so on to (0, .., m)
            order = last[start] - start
        end = start
        for member in members(len(vector), order, vector[0] < 0):
            if end == len(vectors) or vectors[end] != member:
                break
            end += 1
        else:
            found |= set(range(start, end)) if order else set()
    for start, vector in enumerate(vectors):
        if start in found or len(vector) < 2 or any(vector[:-1]) or vector[-1] <= 0:
            continue
        end = start
        for member in shell(len(vector), vector[-1] ** 2, vector[-1], False):
            if end == len(vectors) or vectors[end] != member:
                break
            end += 1
        else:
            found |= set(range(start, end))
    return found


def shell(k: int, most: int, width: int, signed: bool) -> Iterator[tuple[int, ...]]:
    """All integer vectors with most - width < |A|_2^2 <= most in lexicographic order; if not signed those alone whose
    first entry that is not 0 is positive."""
    largest = math.isqrt(most)
    if k == 1:
        beyond = math.isqrt(most - width) + 1 if most >= width else 0  # the least size
        yield from ((entry,) for entry in range(-largest, 1 - max(beyond, 1)) if signed)
        yield from ((entry,) for entry in range(max(beyond, 0 if signed else 1), largest + 1))
        return
    for first in range(-largest if signed else 0, largest + 1):
        for rest in shell(k - 1, most - first * first, width, signed or first > 0):
            yield (first, *rest)


def members(k: int, order: int, signed: bool) -> Iterator[tuple[int, ...]]:
    """All integer vectors with |A|_1 <= order in lexicographic order; without negative entries if not signed."""
    if k == 0:
        yield ()
        return
    for first in range(-order if signed else 0, order + 1):
        for rest in members(k - 1, order - abs(first), signed):
            yield (first, *rest)

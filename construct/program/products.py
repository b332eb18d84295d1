"""Products as rules: signed reads, in-place products, squares, and the trees that raise powers and bases.

With a narrow value (it reads the constant row) a head adds `v relu(u_t^T G u_s)`; what has no sign takes two. In place
the target holds one factor already: `a_t <- a_t a_s` adds `a_t (a_s - 1)`. Exact, where a ReLU FFN needs depth
`O(log 1/delta)` for the same product (Havrilla and Liao, after their Lemma 3; Chebyshev trees are ours).

A tree is a schedule: at each level, which token is multiplied by which. All heads of a block read before any writes,
so a level is one block and `ceil(log2 n)` levels make a product of n factors or a power n.
"""

from __future__ import annotations

from math import ceil, log2

import numpy as np

from construct.arrays import Float, Int
from construct.program.heads import A, B, Entries
from construct.program.layout import ONE
from construct.program.rules import EVERY, Rule, act, read
from construct.validation import integer


def narrow(target: Int, source: Int, form: Entries, register: str, weight: Float | float) -> Rule:
    """`register_t += weight relu(u_t^T G u_s)`, one head per pair. Lemma 3 as it stands."""
    target, source = np.broadcast_arrays(target, source)
    return act(target, source, form, {(register, ONE): weight})


def signed(target: Int, source: Int, form: Entries, register: str, weight: Float | float) -> tuple[Rule, Rule]:
    """`register_t += weight u_t^T G u_s` for a form of unknown sign: `relu(G) - relu(-G)`, two heads per pair."""
    negated = {key: -entry for key, entry in form.items()}
    return narrow(target, source, form, register, weight), narrow(target, source, negated, register, -weight)


def multiply(target: Int, source: Int, register: str) -> tuple[Rule, Rule]:
    """In place, `register_t <- register_t a_s`: adds `register_t (a_s - 1)`."""
    return signed(target, source, {(register, A): 1.0, (register, ONE): -1.0}, register, 1.0)


def square(entries: tuple[str, ...] = ("t",)) -> Rule:
    """`b += a^2` in every token at once: one self-gated head, no sign pair since `a^2 >= 0`."""
    return act(EVERY, EVERY, {(A, A): 1.0}, {(B, ONE): 1.0}, same=entries)


def power_levels(degree: int) -> int:
    """Levels of a power tree up to `u^degree`: `max(1, ceil(log2 degree))`, 1 for degree 0."""
    return max(1, ceil(log2(degree))) if integer(degree, "degree") > 0 else 1


def power_steps(degree: int, level: int) -> list[tuple[int, int]]:
    """At level 1..p, the pairs (j, partner) with `U_j <- U_j U_partner`; every U_j, j >= 1, starts at u, U_0 at 1.

    `U_j` goes from `u^e`, `e = ceil(j/2^(p-level+1))`, to `u^e'`, `e' = ceil(j/2^(p-level))`: the partner is U_j itself
    if `e' = 2e`, and `U_(j - 2^(p-level+1))`, which holds `u^(e-1)`, if `e' = 2e - 1 > e`.
    """
    stride = 2 ** (power_levels(degree) - level + 1)
    steps = []
    for j in range(1, degree + 1):
        before, after = -(-j // stride), -(-j // (stride // 2))
        if after > before:
            steps.append((j, j if after == 2 * before else j - stride))
    return steps


def tree_steps(factors: int, level: int) -> list[tuple[int, int]]:
    """At level 1..ceil(log2 n), the pairs (i, j) with `P_i <- P_i P_j`: a binary tree onto i = 0."""
    stride = 2**level
    return [(i, i + stride // 2) for i in range(0, factors, stride) if i + stride // 2 < factors]


def chebyshev_steps(degree: int, level: int) -> list[tuple[int, int, int]]:
    """At level 1..p, triples (j, partner, lower) with `U_j <- 2 U_j U_partner - U_lower`; U_j starts at z, U_0 at 1.

    As `power_steps`, with `T_(m+n) = 2 T_m T_n - T_|m-n|`: for the partner itself `T_2e = 2 T_e^2 - T_0` (lower 0), for
    `T_(2e-1) = 2 T_e T_(e-1) - T_1` lower is a token that still holds z: 1.
    """
    return [(j, partner, 0 if partner == j else 1) for j, partner in power_steps(degree, level)]


def chebyshev_level(tokens: Int, degree: int, level: int) -> tuple[Rule, ...]:
    """Rules of one level: tokens (degree + 1,) hold U_0..U_degree in register a.

    Adds `a_j (2 a_partner - 1)` as a signed pair and `-a_lower` as a linear read.
    """
    steps = chebyshev_steps(degree, level)
    if not steps:
        return ()
    j, partner, lower = (tokens[np.array(column)] for column in zip(*steps, strict=True))
    product = signed(j, partner, {(A, A): 2.0, (A, ONE): -1.0}, A, 1.0)
    return (*product, read(j, lower, {(A, A): -1.0}))

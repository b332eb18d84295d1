"""The lattice approximator as a program, rows `a, b, w, e_1 .. e_m | B_1 .. B_r, K, n_1 .. n_m, lambda, t, t^2, 1`.

    cells      a_t += <B_t, y>/h v - v K_t,  e_t += lambda_t z;   FFN: w += psi(e - n),  a <- clip(a + delta, -1, 1)
    maps       a <- T3(a) or T2(a) on every token                 one self-gated head each; in the first block also
               b <- w b
    read-out   b_t += sum_s relu(a_s + 1) b_s                     every token hears it, `out` is read

A token carries `B = lambda alpha` (on level 0: alpha), `K = <alpha, m>` with its centre m, its cell n and lambda =
2^(L - 1), integers that no gate asks for (`program.cells.CellCode`). Inputs that are read carry unit vectors and hold
`a = x_j - centre_j`; `out` holds a = 1 and carries K = 1, so that the two heads `relu(+-(sum_i B_i(t) B_i(s) - h K(t)
K(s))) a_s` bring `<B, y> - h K`, times v / h. m heads `relu(lambda(t) B_j(s)) a_s`, divided by h, bring `e_j`; where a
projection is read B has both signs, and there are two for each. Before the first block only inputs and `out` (and what
brings the centre of a projection) hold a, so nothing else is heard.

In the FFN `psi = relu(1 - max(0, e - n) - max(0, n - e))`, the maxima as a tree (`ffn.cell_window`). Inputs and `out`
have lambda = 0 and n = 0, so w = 1. `out` hears itself: its a is `clip(1 - v + delta) = 1`, since `v = (1 - delta) / R
<= delta`, and `T_p(1) = 1`: it keeps b, and adds 2 b in the read-out: b = c_0 / 3.

Gates of all self-gated heads are on the tokens' numbers. After the FFN |a| <= 1 and 0 <= w <= 1 in every token, for
every x in R^D, so every form is at most 2 and the gate constant is 2: the network is its formula on all of R^D.

Non-zeros, N coefficients: N + 1 [+ 1 for c_0], 2 (2 r + 3) + 3 m of the first heads, 17, 31, 49 of the FFN for m = 1,
2, 3 (`window_numbers`), 10 of the window head, 10 a T3, 11 a T2, 4 of the read-out, and the centres that are not 0.
Blocks 2 + maps, heads m + 4 + maps, width r + 2 m + 8. With a projection 3 m more.
"""

from __future__ import annotations

import math

import numpy as np

from construct.arrays import Float
from construct.cells.approximator import CellApproximator, CellBasis
from construct.program.cells import CellCode
from construct.program.compile import Program, Stage
from construct.program.ffn import Ffn
from construct.program.gadgets import window_numbers
from construct.program.heads import A, B
from construct.program.layout import ONE, TokenGroup, TokenLayout
from construct.program.rules import EVERY, Rule, act
from construct.ridge.maps import chain
from construct.ridge.program import SELF

NUMBER = ("t",)
W = "w"


def cell_program(approximator: CellApproximator) -> Program:
    """The program of a lattice approximator. Tokens whose coefficient is 0 are left out."""
    basis = approximator.basis.subset(np.flatnonzero(approximator.coefficients.numpy()))
    registers = approximator.coefficients.numpy()
    registers = registers[registers != 0]
    coordinates, ambient, r, m = basis.coordinates, basis.manifold.ambient, basis.coordinates.count, len(basis.windows)
    central = coordinates.projection is not None and bool(np.any(coordinates.centre))
    apart = ambient + 1 + central
    names = [*(f"B{i + 1}" for i in range(r)), "K", *(f"n{j + 1}" for j in range(m)), "lambda"]
    integers = np.zeros((apart + basis.count, r + m + 2), dtype=np.int64)
    integers[coordinates.chosen, range(len(coordinates.chosen))] = 1
    reals = None
    if coordinates.projection is None:
        integers[ambient, r] = 1
    else:
        reals = np.zeros((apart, r + m + 2))
        reals[:ambient, :r] = coordinates.projection.T
        reals[ambient, r] = 1.0
        if central:
            reals[ambient + 1, :r] = -coordinates.centre
    factors = np.where(basis.levels > 0, basis.factors, 1.0).astype(np.int64)
    integers[apart:, :r] = factors[:, None] * basis.directions
    integers[apart:, r] = basis.offsets
    integers[apart:, r + 1 : r + 1 + m] = basis.cells
    integers[apart:, -1] = basis.factors.astype(np.int64)
    groups = (
        TokenGroup("x", (ambient,), ("j",), "input coordinates"),
        TokenGroup("out", (1,), (), "a = 1, output in b"),
        *([TokenGroup("centre", (1,), (), "a = 1, minus the centre in B")] if central else []),
        TokenGroup("R", (basis.count,), ("token",), "delta + v <B, y>/h - v K, then T_p of it; coefficients in b"),
    )
    layout = TokenLayout(groups, CellCode(len(integers), tuple(names), integers, reals), registers_of(m))
    start: dict[tuple[str, str], Float | float] = {("out", A): 1.0, ("R", B): registers}
    if approximator.constant:
        start[("out", B)] = np.array([approximator.constant / 3])
    if central:
        start[("centre", A)] = 1.0
    elif np.any(coordinates.centre):
        shifts = np.zeros(ambient)
        shifts[coordinates.chosen] = -coordinates.centre
        start[("x", A)] = shifts
    window = Ffn("cell_window", numbers={"shift": basis.shift, "windows": m})
    signed = coordinates.projection is not None
    stages = [Stage("cells", (*_forms(basis.scale, basis.spacing, names[:r]), *_reads(basis, signed)), window)]
    for number, k in enumerate(chain(basis.degree), 1):
        form, value = SELF[k]
        rules = [act(EVERY, EVERY, form, value, same=NUMBER, fold=True)]
        if number == 1:
            rules.append(act(EVERY, EVERY, {(ONE, ONE): 1.0, (W, ONE): -1.0}, {(B, B): -1.0}, same=NUMBER, fold=True))
        stages.append(Stage(f"map {number}, T{k}", tuple(rules)))
    stages.append(Stage("read-out", (act(EVERY, EVERY, {(ONE, A): 1.0, (ONE, ONE): 1.0}, {(B, B): 1.0}),)))
    return Program(layout, start, tuple(stages))


def registers_of(windows: int) -> tuple[str, ...]:
    """a, b, w, e_1 .. e_m."""
    return (A, B, W, *(f"e{j + 1}" for j in range(windows)))


def cell_numbers(approximator: CellApproximator) -> int:
    """Non-zeros of `cell_program(approximator)` and the integers that its tokens carry, but for what is 0: its stored
    numbers, or a few more where chance makes a row of integers look like a formula."""
    basis = approximator.basis.subset(np.flatnonzero(approximator.coefficients.numpy()))
    central = basis.coordinates.projection is not None and bool(np.any(basis.coordinates.centre))
    held = [basis.directions, basis.offsets, basis.cells, basis.factors]
    codes = sum(int(np.count_nonzero(part)) for part in held) + 1 + basis.coordinates.numbers
    codes += central * int(np.count_nonzero(basis.coordinates.centre))
    return cell_nonzeros(approximator) + codes


def cell_nonzeros(approximator: CellApproximator) -> int:
    """Non-zeros of `cell_program(approximator)`."""
    basis, coordinates = approximator.basis, approximator.basis.coordinates
    centre = coordinates.projection is None and int(np.count_nonzero(coordinates.centre))
    central = coordinates.projection is not None and bool(np.any(coordinates.centre))
    signed = coordinates.projection is not None
    return (
        approximator.parameters
        + centre
        + central
        + cell_overhead(coordinates.count, len(basis.windows), basis.degree, signed=signed)
    )


def cell_dense(approximator: CellApproximator) -> int:
    """Dense parameters of `cell_program(approximator)`."""
    basis, coordinates = approximator.basis, approximator.basis.coordinates
    m, signed = len(basis.windows), coordinates.projection is not None
    width, heads = coordinates.count + 2 * m + 8, m * (1 + signed) + 4 + len(chain(basis.degree))
    centre = bool(np.any(coordinates.centre)) if signed else np.count_nonzero(coordinates.centre)
    layers = 3 + math.ceil(math.log2(m))
    return 3 * width**2 * heads + layers * (width**2 + width) + approximator.parameters + 1 + int(centre)


def cell_overhead(r: int, windows: int, degree: int, *, signed: bool = False) -> int:
    """Non-zeros of the network besides its coefficients and centres, see the module."""
    maps = chain(degree)
    heads = 2 * (2 * r + 3) + 3 * windows * (1 + signed)
    tripled = maps.count(3)
    return 1 + heads + window_numbers(windows) + 10 + 10 * tripled + 11 * (len(maps) - tripled) + 4


def _forms(scale: float, spacing: float, names: list[str]) -> tuple[Rule, ...]:
    """`a_t += (z / h) v a_s`, `z = sum_i B_i(t) B_i(s) - h K(t) K(s)`: `relu(z)`, and `-relu(-z)`."""
    factor = scale / spacing
    forms = [{**{(b, b): sign for b in names}, ("K", "K"): -sign * spacing} for sign in (1.0, -1.0)]
    return tuple(act(EVERY, EVERY, form, {(A, A): s * factor}) for form, s in zip(forms, (1.0, -1.0), strict=True))


def _reads(basis: CellBasis, signed: bool) -> tuple[Rule, ...]:
    """`e_j += lambda(t) y_j / h` for every window."""
    rules = []
    for j, place in enumerate(basis.windows.tolist(), 1):
        for sign in (1.0, -1.0) if signed else (1.0,):
            form = {("lambda", f"B{place + 1}"): sign}
            rules.append(act(EVERY, EVERY, form, {(f"e{j}", A): sign / basis.spacing}))
    return tuple(rules)

"""Layout R: the ridge approximator as a program, rows `a, b, A_1 .. A_k, q, 1`, width k + 4.

    forms      a_t += sum_s relu(sum_i A_i(t) v_i A_i(s)) a_s;     FFN: a <- clip(a + delta, -1, 1)
    maps       a <- T3(a) or T2(a) on every direction              one self-gated head each
    read-out   b_t += sum_s relu(a_s + 1) b_s                      every token hears it, `out` is read

The code of a direction is the direction itself (`lattice.DirectionCode`). The chosen inputs carry unit vectors and
hold `a = x_j - centre_j`, so that the first head forms every linear form at once; directions with entries of both
signs take a second one for `relu(-z)`. Inputs and `out` are apart: no gate lets them hear themselves. `out` keeps `a
= delta` and hears its own `b`, hence `b = c_0 / (2 + delta)`. All members of the family are tokens, those without a
coefficient with b = 0: then the code is a formula of the token's number, and no direction is stored.

Where a projection is read, the inputs carry its columns, real vectors, and one more token that is apart holds `a = 1`
and carries minus the centre; the forms are signed. In all r D + r + 1 numbers, r = k, say what is read.

Non-zeros: C coefficients (c_0 among them), 7 of the clip (6 without a shift), 2k + 1 of the forms (twice where
signed), 2k + 8 a T3, 2k + 9 a T2, 4 of the read-out (6 where it is gated), and the centres that are not 0. Blocks 2 +
maps. No map leaks anywhere on R^D: after the clip |a| <= 1, so that a gate constant of 2 is enough.
"""

from __future__ import annotations

import numpy as np

from construct.arrays import Float
from construct.boxes import centred
from construct.manifolds import Manifold
from construct.program.compile import Program, Stage
from construct.program.ffn import Ffn
from construct.program.heads import A, B
from construct.program.lattice import DirectionCode
from construct.program.layout import ONE, TokenGroup, TokenLayout
from construct.program.rules import EVERY, Rule, act
from construct.ridge.approximator import RidgeApproximator
from construct.ridge.coordinates import Coordinates
from construct.ridge.directions import Directions, Lattice
from construct.ridge.maps import chain
from construct.validation import invalid

BOX_MARGIN = 2.0  # admissible inputs: twice the half-widths of M, around the centre of its box
CLIP_LAYERS = 2
MOST_PAIRS = 2**21  # of the read-out without a gate: every token hears every coefficient
SELF = {
    3: ({(ONE, ONE): 1.0, (A, A): -1.0}, {(A, A): -4.0}),
    2: ({(ONE, ONE): 1.0, (A, ONE): -1.0}, {(A, A): -2.0, (A, ONE): -1.0}),
}
"""Form and value of the head that turns a into T3(a) = a + relu(1 - a^2)(-4 a), T2(a) = a + relu(1 - a)(-2 a - 1)."""


def free_program(approximator: RidgeApproximator, *, picked: bool = False) -> Program:
    """The program of a ridge approximator in as many rows as it takes: k + 4.

    Args:
        picked: tokens for the directions that are used only, whose entries then are chosen numbers; by default for all
            of the family.

    Raises:
        InputError: directions that are no lattice.
    """
    basis = approximator.basis
    family, numbers = basis.family, basis.numbers
    if not isinstance(family, Lattice):
        raise invalid("approximator", "one of integer directions, a Lattice", family)
    coefficients = approximator.coefficients.numpy()
    used = np.flatnonzero(coefficients)
    ridges = family.integers[numbers[used]] if picked else family.integers
    registers = np.zeros(len(ridges))
    registers[range(len(used)) if picked else numbers[used]] = coefficients[used]
    coordinates, ambient, k = basis.coordinates, basis.manifold.ambient, basis.coordinates.count
    names = tuple(f"A{i + 1}" for i in range(k))
    central = _central(coordinates)
    apart = ambient + 1 + central
    integers = np.zeros((apart + len(ridges), k), dtype=np.int64)
    integers[coordinates.chosen, range(len(coordinates.chosen))] = 1
    integers[apart:] = ridges
    reals = None if coordinates.projection is None else np.zeros((apart, k))
    if reals is not None and coordinates.projection is not None:
        reals[:ambient] = coordinates.projection.T
        reals[ambient + 1 :] = -coordinates.centre
    code = DirectionCode(len(integers), names, integers, np.arange(apart), reals)
    groups = (
        TokenGroup("x", (ambient,), ("j",), "input coordinates"),
        TokenGroup("out", (1,), (), "output in b"),
        *([TokenGroup("centre", (1,), (), "a = 1, minus the centre in A")] if central else []),
        TokenGroup("R", (len(ridges),), ("direction",), "delta + <A, v y>, then T_p of it; coefficients in b"),
    )
    start: dict[tuple[str, str], Float | float] = {
        ("out", B): np.array([approximator.constant / (2 + basis.shift)]),
        ("R", B): registers,
    }
    if central:
        start[("centre", A)] = 1.0
    elif np.any(coordinates.centre):
        shifts = np.zeros(ambient)
        shifts[coordinates.chosen] = -coordinates.centre
        start[("x", A)] = shifts
    clip = Ffn("shifted_clip", numbers={"shift": basis.shift})
    signed = reals is not None or bool((ridges < 0).any())
    stages = [Stage("linear forms", _forms(names, basis.scales * coordinates.scale, signed), clip)]
    for number, m in enumerate(chain(basis.degree), 1):
        form, value = SELF[m]
        stages.append(Stage(f"map {number}, T{m}", (act(EVERY, EVERY, form, value, same=names, fold=True),)))
    stages.append(Stage("read-out", (_readout(len(integers) * approximator.parameters > MOST_PAIRS, code),)))
    return Program(TokenLayout(groups, code), start, tuple(stages))


def ridge_box(manifold: Manifold) -> Float:
    """(2, D) ends of the box of admissible inputs; the network is its formula outside, too."""
    return centred(manifold.box.numpy(), BOX_MARGIN).ends


def free_numbers(approximator: RidgeApproximator) -> int:
    """Stored numbers of `free_program(approximator)`: its non-zeros, and the choices of inputs or the projection."""
    basis, coordinates = approximator.basis, approximator.basis.coordinates
    apart = basis.manifold.ambient + 1 + _central(coordinates)
    gated = (apart + basis.family.count) * approximator.parameters > MOST_PAIRS
    signed = _signed(coordinates, basis.family)
    overhead = free_overhead(coordinates.count, basis.degree, signed=signed, gated=gated, shifted=basis.shifted)
    centre = int(np.count_nonzero(coordinates.centre)) + _central(coordinates)
    return approximator.parameters + overhead + centre + coordinates.numbers


def free_least(coordinates: Coordinates, family: Directions, degree: int, *, shifted: bool = True) -> int:
    """Stored numbers besides coefficients and centres."""
    signed = _signed(coordinates, family)
    return free_overhead(coordinates.count, degree, signed=signed, shifted=shifted) + coordinates.numbers


def free_dense(approximator: RidgeApproximator) -> int:
    """Dense parameters of `free_program(approximator)`."""
    basis, coordinates = approximator.basis, approximator.basis.coordinates
    width, heads = coordinates.count + 4, len(chain(basis.degree)) + 2 + _signed(coordinates, basis.family)
    centre = _central(coordinates) if coordinates.projection is not None else np.count_nonzero(coordinates.centre)
    return 3 * width**2 * heads + CLIP_LAYERS * (width**2 + width) + approximator.parameters + int(centre)


def _central(coordinates: Coordinates) -> bool:
    """Whether a token brings the centre: of a projection, where it is not 0."""
    return coordinates.projection is not None and bool(np.any(coordinates.centre))


def _signed(coordinates: Coordinates, family: Directions) -> bool:
    """Whether a product of the vector of a direction and that of an input can be negative."""
    return family.signed or coordinates.projection is not None


def free_overhead(k: int, degree: int, *, signed: bool = False, gated: bool = False, shifted: bool = True) -> int:
    """Non-zeros of the network besides its coefficients and centres, see the module."""
    maps = chain(degree)
    forms, tripled = (2 if signed else 1) * (2 * k + 1), maps.count(3)
    return 6 + shifted + forms + (2 * k + 8) * tripled + (2 * k + 9) * (len(maps) - tripled) + (6 if gated else 4)


def _forms(names: tuple[str, ...], scales: Float, signed: bool) -> tuple[Rule, ...]:
    """`a_t += z a_s`, `z = sum_i A_i(t) v_i A_i(s)`: `relu(z)`, and `-relu(-z)` where z can be negative."""
    signs = (1.0, -1.0) if signed else (1.0,)
    forms = [{(name, name): sign * v for name, v in zip(names, scales, strict=True)} for sign in signs]
    return tuple(act(EVERY, EVERY, form, {(A, A): sign}) for form, sign in zip(forms, signs, strict=True))


def _readout(gated: bool, code: DirectionCode) -> Rule:
    """`b_t += sum_s relu(a_s + 1) b_s`; gated: of the tokens that are apart alone, by `2 (q_t - q0)`, at most -2."""
    score: dict[tuple[str, str], Float | float] = {(ONE, A): 1.0, (ONE, ONE): 1.0}
    if gated:
        score |= {("q", ONE): 2.0, (ONE, ONE): 1.0 - 2.0 * float(code.values()[code.apart[0], -1])}
    return act(EVERY, EVERY, score, {(B, B): 1.0})

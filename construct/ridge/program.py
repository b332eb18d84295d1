"""Layout R: the ridge approximator as a program, rows `a, b, A_1 .. A_k, q, 1`, width k + 4.

    forms      a_t += sum_s relu(sum_i A_i(t) v_i A_i(s)) a_s;     FFN: a <- clip(a + delta, -1, 1)
    maps       a <- T3(a) or T2(a) on every direction              one self-gated head each
    read-out   b_t += sum_s relu(a_s + 1) b_s                      every token hears it, `out` is read

The code of a direction is the direction itself (`lattice.DirectionCode`). The chosen inputs carry unit vectors and
hold `a = x_j - centre_j`, so that the first head forms every linear form at once; directions with entries of both
signs take a second one for `relu(-z)`. Inputs and `out` are apart: no gate lets them hear themselves. `out` keeps `a
= delta` and hears its own `b`, hence `b = c_0 / (2 + delta)`. All members of the family are tokens, those without a
coefficient with b = 0: then the code is a formula of the token's number, and no direction is stored.

Non-zeros: C coefficients (c_0 among them), 7 of the clip, 2k + 1 of the forms (twice where signed), 2k + 8 a T3, 2k +
9 a T2, 4 of the read-out (6 where it is gated), and the centres that are not 0. Blocks 2 + maps. No map leaks
anywhere on R^D: after the clip |a| <= 1, so that a gate constant of 2 is enough.
"""

from __future__ import annotations

import numpy as np

from construct.arrays import Float, Int
from construct.boxes import centred
from construct.manifolds import Manifold
from construct.program.compile import Program, Stage
from construct.program.ffn import Ffn
from construct.program.heads import A, B
from construct.program.lattice import DirectionCode
from construct.program.layout import ONE, TokenGroup, TokenLayout
from construct.program.rules import EVERY, Rule, act
from construct.ridge.approximator import RidgeApproximator
from construct.ridge.directions import Lattice
from construct.ridge.maps import chain
from construct.validation import invalid

BOX_MARGIN = 2.0  # admissible inputs: twice the half-widths of M, around the centre of its box
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
    integers = np.zeros((ambient + 1 + len(ridges), k), dtype=np.int64)
    integers[coordinates.chosen, range(k)] = 1
    integers[ambient + 1 :] = ridges
    code = DirectionCode(len(integers), names, integers, np.arange(ambient + 1))
    groups = (
        TokenGroup("x", (ambient,), ("j",), "input coordinates"),
        TokenGroup("out", (1,), (), "output in b"),
        TokenGroup("R", (len(ridges),), ("direction",), "delta + <A, v y>, then T_p of it; coefficients in b"),
    )
    start: dict[tuple[str, str], Float | float] = {
        ("out", B): np.array([approximator.constant / (2 + basis.shift)]),
        ("R", B): registers,
    }
    centre = np.zeros(ambient)
    centre[coordinates.chosen] = -coordinates.centre
    if np.any(centre):
        start[("x", A)] = centre
    clip = Ffn("shifted_clip", numbers={"shift": basis.shift})
    stages = [Stage("linear forms", _forms(names, basis.scales * coordinates.scale, ridges), clip)]
    for number, m in enumerate(chain(basis.degree), 1):
        form, value = SELF[m]
        stages.append(Stage(f"map {number}, T{m}", (act(EVERY, EVERY, form, value, same=names, fold=True),)))
    stages.append(Stage("read-out", (_readout(len(integers) * approximator.parameters > MOST_PAIRS, code),)))
    return Program(TokenLayout(groups, code), start, tuple(stages))


def ridge_box(manifold: Manifold) -> Float:
    """(2, D) ends of the box of admissible inputs; the network is its formula outside, too."""
    return centred(manifold.box.numpy(), BOX_MARGIN).ends


def free_numbers(approximator: RidgeApproximator) -> int:
    """Stored numbers of `free_program(approximator)`: its non-zeros and the k choices of inputs."""
    basis = approximator.basis
    k = basis.coordinates.count
    coefficients = approximator.parameters
    gated = (basis.manifold.ambient + 1 + basis.family.count) * coefficients > MOST_PAIRS
    centred = int(np.count_nonzero(basis.coordinates.centre))
    return coefficients + free_overhead(k, basis.degree, signed=basis.family.signed, gated=gated, centred=centred) + k


def free_overhead(k: int, degree: int, *, signed: bool = False, gated: bool = False, centred: int = 0) -> int:
    """Non-zeros of the network besides its coefficients, see the module."""
    maps = chain(degree)
    forms, tripled = (2 if signed else 1) * (2 * k + 1), maps.count(3)
    return 7 + forms + (2 * k + 8) * tripled + (2 * k + 9) * (len(maps) - tripled) + (6 if gated else 4) + centred


def _forms(names: tuple[str, ...], scales: Float, ridges: Int) -> tuple[Rule, ...]:
    """`a_t += z`, `z = sum_i A_i(t) v_i x_i`: `relu(z)`, and `-relu(-z)` where z can be negative for a unit vector."""
    signs = (1.0, -1.0) if (ridges < 0).any() else (1.0,)
    forms = [{(name, name): sign * v for name, v in zip(names, scales, strict=True)} for sign in signs]
    return tuple(act(EVERY, EVERY, form, {(A, A): sign}) for form, sign in zip(forms, signs, strict=True))


def _readout(gated: bool, code: DirectionCode) -> Rule:
    """`b_t += sum_s relu(a_s + 1) b_s`; gated: of the tokens that are apart alone, by `2 (q_t - q0)`, at most -2."""
    score: dict[tuple[str, str], Float | float] = {(ONE, A): 1.0, (ONE, ONE): 1.0}
    if gated:
        score |= {("q", ONE): 2.0, (ONE, ONE): 1.0 - 2.0 * float(code.values()[code.apart[0], -1])}
    return act(EVERY, EVERY, score, {(B, B): 1.0})

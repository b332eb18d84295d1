"""Layout R: the ridge approximator as a program, rows `a, b, A_1 .. A_k, q, 1`.

    forms      a_t += sum_s relu(sum_i A_i(t) v_i A_i(s)) a_s;     FFN: a <- clip(a + delta, -1, 1)
    maps       a <- T3(a) or T2(a) on every direction              one self-gated head each
    read-out   b_t += sum_s relu(a_s + 1) b_s                      every token hears it, `out` is read

The code of a direction is the direction itself (`lattice.DirectionCode`). The chosen inputs carry unit vectors and hold
`a = x_j - centre_j`, so the first head forms every linear form at once; inputs and `out` are apart: no gate lets them hear
themselves. `out` keeps `a = delta` and hears its own `b`, hence `b = c_0 / (2 + delta)`.

Non-zeros: C coefficients, 7 of the clip, 2k + 1 of the forms, 2k + 8 a T3, 2k + 9 a T2, 4 of the read-out, and the centres
that are not 0. Blocks 2 + maps. No map leaks anywhere on R^D: after the clip |a| <= 1, so a gate constant of 2 is enough.
"""

from __future__ import annotations

import numpy as np

from construct.arrays import Float
from construct.program.compile import Program, Stage
from construct.program.ffn import Ffn
from construct.program.heads import A, B
from construct.program.lattice import DirectionCode
from construct.program.layout import ONE, TokenGroup, TokenLayout
from construct.program.rules import EVERY, act
from construct.ridge.approximator import RidgeApproximator
from construct.ridge.maps import chain

SELF = {3: ({(ONE, ONE): 1.0, (A, A): -1.0}, {(A, A): -4.0}), 2: ({(ONE, ONE): 1.0, (A, ONE): -1.0}, {(A, A): -2.0, (A, ONE): -1.0})}
"""Form and value of the head that turns a into T3(a) = a + relu(1 - a^2)(-4 a), T2(a) = a + relu(1 - a)(-2 a - 1)."""


def free_program(approximator: RidgeApproximator) -> Program:
    """The program of a ridge approximator in as many rows as it takes: k + 4."""
    basis = approximator.basis
    coordinates, ambient, k = basis.coordinates, basis.manifold.ambient, basis.coordinates.count
    names = tuple(f"A{i + 1}" for i in range(k))
    integers = np.zeros((ambient + 1 + basis.count, k), dtype=np.int64)
    integers[coordinates.chosen, range(k)] = 1
    integers[ambient + 1 :] = basis.directions
    code = DirectionCode(len(integers), names, integers, np.arange(ambient + 1))
    groups = (
        TokenGroup("x", (ambient,), ("j",), "input coordinates"),
        TokenGroup("out", (1,), (), "output in b"),
        TokenGroup("R", (basis.count,), ("direction",), "delta + <A, v y>, then T_p of it; coefficients in b"),
    )
    layout = TokenLayout(groups, code)
    registers: dict[tuple[str, str], Float | float] = {
        ("out", B): np.array([approximator.constant / (2 + basis.shift)]),
        ("R", B): approximator.coefficients.numpy(),
    }
    centre = np.zeros(ambient)
    centre[coordinates.chosen] = -coordinates.centre
    if np.any(centre):
        registers[("x", A)] = centre
    scales = basis.scales * coordinates.scale
    forms = act(EVERY, EVERY, {(name, name): v for name, v in zip(names, scales, strict=True)}, {(A, A): 1.0})
    stages = [Stage("linear forms", (forms,), Ffn("shifted_clip", numbers={"shift": basis.shift}))]
    for number, m in enumerate(chain(basis.degree), 1):
        form, value = SELF[m]
        stages.append(Stage(f"map {number}, T{m}", (act(EVERY, EVERY, form, value, same=names, fold=True),)))
    stages.append(Stage("read-out", (act(EVERY, EVERY, {(ONE, A): 1.0, (ONE, ONE): 1.0}, {(B, B): 1.0}),)))
    return Program(layout, registers, tuple(stages))

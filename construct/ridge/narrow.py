"""Layout Z: the ridge approximator as a program of width 5, the width of the theorem: rows `a, b, t, t^2, 1`.

    reads      b_t += w_i(t) v_i x_i        one input coordinate a block;  FFN: the next wave of the position t, in a
    move       K_t.a = b of W_t             by the gate 1 - (t + s)^2;     FFN: a <- clip(a + delta, -1, 1)
    maps       a <- T3(a) or T2(a)          in every token, a self-gated head each;  last FFN: a <= -1 outside K
    read-out   b_t += sum_s relu(a_s + 1) b_s

The code is the integer t: tokens W at 1..T, K at the opposite positions -T..-1 with the coefficients in b, `out` at 0,
inputs at T + 1.. where no wave is (a wave of one fold is not 0 there: then below -T). So the codes of W_t and its K add
up to 0, and no shift is stored. All positions are tokens, used or not: no entry of the code is chosen for M or f, and
what is stored of it is where the inputs begin.

Read 1: only inputs hold an a, the first of those that are read has b = 1, and `relu(t_t b_s) a_s v_0 / T` needs no
gate. Read i: `relu(a_t g(s)) v_i a_s`, `g(s) = 1 - (s - s_i)^2`, which is 1 at that input and at most 0 at all other
tokens; `a_t` is the wave, >= 0, on W, and 0 on K and `out`: exact for every x. What inputs collect in b meanwhile does
not matter: they are silent at the read-out. Signed waves `2 w - 1`: the reads bring 2 v_i, and `-sum_i v_i x_i` joins
every a in the move, one head for each i (one for two neighbours with equal v_i).

Non-zeros: C coefficients (c_0 among them); 4 + 5 (k - 1) of the reads, and the waves' (`Waves.numbers`); 8 of the move
and 5 for each head of the common part; 7 of the clip; 10 a T3, 11 a T2; 3 of the silencing (6 with inputs below);
4 of the read-out; the centres that are not 0. Blocks k + 2 + maps. No map leaks anywhere on R^D, as in layout R.
"""

from __future__ import annotations

import numpy as np

from construct.arrays import Float, Int
from construct.program.codes import EntryRange
from construct.program.compile import Program, Stage
from construct.program.ffn import Ffn
from construct.program.heads import A, B, Entries
from construct.program.lattice import LatticeCode
from construct.program.layout import ONE, TokenGroup, TokenLayout
from construct.program.rules import EVERY, Rule, act
from construct.ridge.approximator import RidgeApproximator
from construct.ridge.maps import chain
from construct.ridge.program import MOST_PAIRS, SELF
from construct.ridge.waves import Waves
from construct.validation import invalid

T_ROW, SQUARE = "t", "t^2"
WIDTH = 5
COLLECTED = 2**18  # pairs of inputs with any token, beyond which a gate closes the reads: two numbers each
MIRROR: Entries = {(T_ROW, T_ROW): -2.0, (SQUARE, ONE): -1.0, (ONE, SQUARE): -1.0, (ONE, ONE): 1.0}
"""`1 - (t + s)^2`: 1 for opposite positions, at most 0 for all others."""


def narrow_program(approximator: RidgeApproximator) -> Program:
    """The program of a ridge approximator in five rows.

    Raises:
        InputError: directions that are no `Waves`, or a projection.
    """
    basis, waves = approximator.basis, _waves_of(approximator)
    coordinates, ambient = basis.coordinates, basis.manifold.ambient
    if coordinates.projection is not None:
        raise invalid("approximator", "one of chosen input coordinates for width 5", got="one of a projection")
    layout = _layout(waves, ambient)
    places = layout.code.entry_values(T_ROW)[coordinates.chosen]
    scales = basis.scales * coordinates.scale
    coefficients = np.zeros(waves.length)
    coefficients[basis.numbers] = approximator.coefficients.numpy()
    first = np.zeros(ambient)
    first[coordinates.chosen[0]] = 1.0
    start: dict[tuple[str, str], Float | float] = {
        ("x", B): first,
        ("out", B): approximator.constant,
        ("K", B): coefficients[::-1].copy(),
    }
    centre = np.zeros(ambient)
    centre[coordinates.chosen] = -coordinates.centre
    if np.any(centre):
        start[("x", A)] = centre
    many = ambient * layout.count > COLLECTED
    stages = read_stages(waves, places, scales, coordinates.chosen if many else None)
    move = [act(EVERY, EVERY, MIRROR, {(A, B): 1.0})]
    if waves.signed:
        move += common_rules(places, scales)
    stages.append(Stage("move", tuple(move), Ffn("shifted_clip", numbers={"shift": basis.shift})))
    maps = chain(basis.degree)
    silence = Ffn("silence", numbers={"most": -1.0}, where=EntryRange(T_ROW, -waves.length, -1))
    for number, m in enumerate(maps, 1):
        form, value = SELF[m]
        rule = act(EVERY, EVERY, form, value, same=(T_ROW,), fold=True)
        stages.append(Stage(f"map {number}, T{m}", (rule,), silence if number == len(maps) else None))
    if not maps:
        stages.append(Stage("silence", (), silence))
    used = int(np.count_nonzero(coefficients))
    target = layout.tokens("out").ravel() if layout.count * used > MOST_PAIRS else EVERY
    readout = act(target, EVERY, {(ONE, A): 1.0, (ONE, ONE): 1.0}, {(B, B): 1.0})
    stages.append(Stage("read-out", (readout,)))
    return Program(layout, start, tuple(stages))


def narrow_numbers(approximator: RidgeApproximator) -> int:
    """Stored numbers of `narrow_program(approximator)`: its non-zeros, and where the positions of inputs begin."""
    waves, ambient = _waves_of(approximator), approximator.manifold.ambient
    tokens = ambient + 2 * waves.length + 1
    coefficients = int(approximator.coefficients.count_nonzero())
    gates = 2 * (tokens * coefficients > MOST_PAIRS) + 2 * (waves.dim - 1) * (ambient * tokens > COLLECTED)
    basis, joint = approximator.basis, _joint(approximator)
    return _registers(approximator) + narrow_overhead(waves, basis.degree, joint, shifted=basis.shifted) + gates + 1


def narrow_dense(approximator: RidgeApproximator) -> int:
    """Dense parameters of `narrow_program(approximator)`."""
    waves = _waves_of(approximator)
    maps = len(chain(approximator.degree))
    heads = waves.dim + 1 + _joint(approximator) + maps + 1
    layers = sum(waves.folds) + len(waves.folds) + 4  # waves, clip, silence
    return 3 * WIDTH**2 * heads + (WIDTH**2 + WIDTH) * layers + 1 + _registers(approximator)


def narrow_overhead(waves: Waves, degree: int, joint: int = 0, *, shifted: bool = True) -> int:
    """Non-zeros besides the initial registers; `joint` heads bring the common part of signed waves."""
    maps = chain(degree)
    tripled = maps.count(3)
    reads = 4 + 5 * (waves.dim - 1) + waves.numbers
    ends = 8 + 6 + shifted + (6 if _below(waves) else 3) + 4
    return reads + 5 * joint + ends + 10 * tripled + 11 * (len(maps) - tripled)


def _waves_of(approximator: RidgeApproximator) -> Waves:
    family = approximator.basis.family
    if not isinstance(family, Waves):
        raise invalid("approximator", "one whose directions are Waves", family)
    return family


def _registers(approximator: RidgeApproximator) -> int:
    """Coefficients and centres that are not 0."""
    return approximator.parameters + int(np.count_nonzero(approximator.basis.coordinates.centre))


def _joint(approximator: RidgeApproximator) -> int:
    """Heads of the common part."""
    basis, coordinates = approximator.basis, approximator.basis.coordinates
    return (
        len(common_rules(coordinates.chosen, basis.scales * coordinates.scale)) if _waves_of(approximator).signed else 0
    )


def _below(waves: Waves) -> bool:
    """Whether inputs have positions below all others, since the wave of one fold is not 0 above."""
    return waves.folds[:1] == (1,)


def _layout(waves: Waves, ambient: int) -> TokenLayout:
    """Inputs, then K, `out` and W in the order of their positions -T..T."""
    length = waves.length
    inputs = np.arange(ambient) + (-length - ambient if _below(waves) else length + 1)
    integers = np.concatenate([inputs, np.arange(-length, length + 1)])[:, None]
    groups = (
        TokenGroup("x", (ambient,), ("j",), "input coordinates"),
        TokenGroup("K", (length,), ("t",), "delta + <alpha_-t, v y>, then T_p of it; coefficients in b"),
        TokenGroup("out", (1,), (), "output in b"),
        TokenGroup("W", (length,), ("t",), "waves in a, <alpha_t, v y> in b"),
    )
    return TokenLayout(groups, LatticeCode(len(integers), (T_ROW,), integers))


def read_stages(waves: Waves, places: Int, scales: Float, gated: Int | None) -> list[Stage]:
    """A block for each coordinate. `gated`: the tokens of the chosen inputs, where inputs are so many that what they
    collect is a burden: then by a gate on the source, two numbers more each."""
    held = (0, *waves.folds)
    stages = []
    for i, (place, scale) in enumerate(zip(places.tolist(), scales.tolist(), strict=True)):
        whole = 2 * scale if waves.signed else scale
        if i == 0:
            rule = act(EVERY, EVERY, {(T_ROW, B): 1.0}, {(B, A): whole / waves.length})
        else:
            value = {(B, A): whole}
            at = {(A, T_ROW): 2.0 * place, (A, SQUARE): -1.0, (A, ONE): 1.0 - float(place) ** 2}
            rule = act(EVERY, EVERY, at, value)
            if gated is not None:
                rule = act(EVERY, gated[i : i + 1], {(A, ONE): 1.0}, value)
        ffn = None
        if i < len(waves.folds):
            numbers = {"doublings": waves.doublings, "folds": waves.folds[i], "held": held[i]}
            ffn = Ffn("zigzag", numbers=numbers)
        stages.append(Stage(f"read {i + 1}", (rule,), ffn))
    return stages


def common_rules(places: Int, scales: Float, only: Entries | None = None) -> list[Rule]:
    """`a_t -= sum_i v_i x_i` in every token: one head for an input, or for two neighbours with equal v.

    only: what is added to the forms, at most -1 on targets that are not meant.
    """
    rules, i = [], 0
    while i < len(places):
        s, v = float(places[i]), float(scales[i])
        two = i + 1 < len(places) and places[i + 1] == places[i] + 1 and scales[i + 1] == scales[i]
        # 1 - (u - s)^2, or 1 - (u - s)(u - s - 1), over the position u of the source
        linear, constant = (2 * s + 1, 1 - s * (s + 1)) if two else (2 * s, 1 - s * s)
        form = {(ONE, T_ROW): linear, (ONE, SQUARE): -1.0, (ONE, ONE): constant}
        rules.append(act(EVERY, EVERY, {**form, **(only or {})}, {(A, A): -v}))
        i += 2 if two else 1
    return rules

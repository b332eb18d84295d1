"""Layout W: several charts with one basis as a program of width 7, rows `a, b, t, t^2, n, n^2, 1`.

    reads      as in layout Z, of waves in W;  also P_nj.a = (x_j - c_nj) / r, by 1 - (t + s)^2 - n_s^2
    move       V_t.a = delta + b of W_-t;                      FFN: a <- clip(a, -1, 1)
    maps       in every token;  first: R_n.a -= sum_j P_nj^2;  FFN on R: b <- w_n;   second: FFN on R: a <- 0
    share      R_n.a += 1 + sum_(m < n) w_m;                   FFN on R: a <- rho_n
    weigh      K_nt.a += rho_n - T_p(0)                        since the maps made T_p(0) of its 0
    product    K_nt.a += relu(a_t) V_t.a                       so that it is rho_n (1 + T_p);  FFN: a <= -1 outside V, K
    read-out   b_t += sum_s relu(a_s) b_s

Codes (t, n): inputs, W, V and `out` have n = 0. Chart n has R at t = 0, P opposite to the inputs, K with the t of V and
one K at -T - 1, for the constant, which no V meets. U at (0, -1) is a chart before all others with w = 1 and brings the
1. Scores into and out of R are integers, and after the clip every a is at most 1 in size: no data can open a gate, on
all of R^D. A ball is k numbers, its centre; radius and core are the same for all.

Charts do not pay, so no planner makes them. Error against non-zeros, the best of N balls and one chart: circle,
1/(1 + (x/.2)^2): 2.3e-3 with 375 (N = 16) and 2.8e-3 with 107; sphere, the same: 6.6e-3 with 631 (N = 4) and 2.7e-3
with 231; rough targets, circle: 7e-2 with 727 (N = 64) and 7e-2 with 107. Besides, t and n of every K are chosen.
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
from construct.program.rules import EVERY, Every, Rule, act
from construct.ridge.charts import SharedRidgeApproximator
from construct.ridge.maps import chain
from construct.ridge.narrow import MIRROR, SQUARE, T_ROW, common_rules, read_stages
from construct.ridge.program import MOST_PAIRS, SELF
from construct.ridge.waves import Waves
from construct.validation import invalid

N_ROW, N_SQUARE = "n", "n^2"
APART = 2.0  # C of gates between tokens whose a is at most 1 in size
ORIGIN = EntryRange(T_ROW, 0, 0)  # R and U


def shared_program(approximator: SharedRidgeApproximator) -> Program:
    """The program of an approximator on balls.

    Raises:
        InputError: directions that are no `Waves`, or waves of one fold, which are not 0 at the inputs.
    """
    basis, waves = approximator.basis, approximator.basis.family
    if not isinstance(waves, Waves) or waves.folds[:1] == (1,):
        raise invalid("approximator", "one whose directions are Waves of two folds and more", waves)
    coordinates, ambient, degree = basis.coordinates, basis.manifold.ambient, basis.degree
    layout = _layout(waves, ambient, approximator.charts, coordinates.chosen)
    places = layout.code.entry_values(T_ROW)[coordinates.chosen]
    scales = basis.scales * coordinates.scale
    stages = read_stages(waves, places, scales, None)
    nearby = act(EVERY, EVERY, {**MIRROR, (ONE, N_SQUARE): -1.0}, {(A, A): 1 / approximator.radius})
    stages[0] = Stage(stages[0].name, (*stages[0].rules, nearby), stages[0].ffn)
    move = [act(EVERY, EVERY, {**MIRROR, (N_SQUARE, ONE): -1.0}, {(A, B): 1.0, (A, ONE): basis.shift})]
    if waves.signed:
        move += common_rules(places, scales, {(N_SQUARE, ONE): -1.0})
    stages.append(Stage("move", tuple(move), Ffn("clip")))
    maps = chain(degree)
    stages += _maps(maps, approximator.slope)
    many = layout.count * approximator.parameters > MOST_PAIRS
    heard = layout.tokens("out").ravel() if many else EVERY
    stages += _ends(waves.length, approximator.charts, at_zero(maps), heard)
    return Program(layout, _start(approximator, layout), tuple(stages))


def at_zero(maps: tuple[int, ...]) -> float:
    """What maps make of 0."""
    a = 0.0
    for m in maps:
        a = 4 * a**3 - 3 * a if m == 3 else 2 * a * a - 1
    return a


def _layout(waves: Waves, ambient: int, charts: int, chosen: Int) -> TokenLayout:
    length, k = waves.length, waves.dim
    inputs = length + 2 + np.arange(ambient)
    positions, numbers = np.arange(1, length + 1), np.arange(1, charts + 1)
    kept, zero = np.arange(-length - 1, 0), np.zeros(1, dtype=np.int64)
    codes: list[tuple[Int, Int]] = [
        (inputs, zero),
        (positions, zero),
        (-positions[::-1], zero),
        (np.array([-length - ambient - 2]), zero),
        (zero, zero - 1),
        (zero, numbers),
        (np.tile(-inputs[chosen], charts), np.repeat(numbers, k)),
        (np.tile(kept, charts), np.repeat(numbers, length + 1)),
    ]
    integers = np.concatenate([np.stack(np.broadcast_arrays(t, n), axis=1) for t, n in codes]).astype(np.int64)
    groups = (
        TokenGroup("x", (ambient,), ("j",), "input coordinates"),
        TokenGroup("W", (length,), ("t",), "waves in a, <alpha_t, v y> in b"),
        TokenGroup("V", (length,), ("t",), "delta + <alpha_-t, v y>, then T_p of it"),
        TokenGroup("out", (1,), (), "output in b"),
        TokenGroup("U", (1,), (), "a chart before all others, of weight 1"),
        TokenGroup("R", (charts,), ("chart",), "w in b, rho in a"),
        TokenGroup("P", (charts, k), ("chart", "j"), "(x_j - c_j) / r"),
        TokenGroup("K", (charts, length + 1), ("chart", "t"), "rho (1 + T_p), rho first; coefficients in b"),
    )
    return TokenLayout(groups, LatticeCode(len(integers), (T_ROW, N_ROW), integers))


def _start(approximator: SharedRidgeApproximator, layout: TokenLayout) -> dict[tuple[str, str], Float | float]:
    basis = approximator.basis
    coordinates, ambient, charts = basis.coordinates, basis.manifold.ambient, approximator.charts
    first, centre = np.zeros(ambient), np.zeros(ambient)
    first[coordinates.chosen[0]] = 1.0
    centre[coordinates.chosen] = -coordinates.centre
    coefficients = np.zeros((charts, layout.group("V").size))
    coefficients[:, basis.numbers] = approximator.coefficients.numpy()
    start: dict[tuple[str, str], Float | float] = {
        ("x", B): first,
        ("P", A): (coordinates.centre - approximator.centres) / approximator.radius,
        ("K", B): np.concatenate([approximator.constants.numpy()[:, None], coefficients[:, ::-1]], axis=1),
    }
    left = at_zero(chain(basis.degree)[2:])
    return start | ({("x", A): centre} if np.any(centre) else {}) | ({("U", B): -left} if left else {})


def _maps(maps: tuple[int, ...], slope: float) -> list[Stage]:
    """Two blocks at least: the first also gathers the squares of P, the second clears R."""
    entries = (T_ROW, N_ROW)
    gate: Entries = {
        (SQUARE, ONE): -APART,
        (N_SQUARE, ONE): -APART,
        (N_ROW, N_ROW): 2 * APART,
        (ONE, N_SQUARE): -APART,
    }
    # relu(a) (-a) + relu(-a) a = -a^2 from the tokens with the same n into the one at t = 0
    squares = [act(EVERY, EVERY, {(ONE, A): sign, **gate}, {(A, A): -sign}) for sign in (1.0, -1.0)]
    offset = slope * (1 - at_zero(maps[:1]))
    weight = Ffn("clamp", numbers={"argument": {A: slope, ONE: offset}, "target": B}, where=ORIGIN)
    stages = []
    for number in range(max(2, len(maps))):
        rules = list[Rule]()
        if number < len(maps):
            form, value = SELF[maps[number]]
            rules.append(act(EVERY, EVERY, form, value, same=entries, fold=True))
        name = f"map {number + 1}, T{maps[number]}" if number < len(maps) else f"pause {number + 1}"
        rules += squares if number == 0 else []
        ffn = (weight, Ffn("clear", where=ORIGIN), None)[min(number, 2)]
        stages.append(Stage(name, tuple(rules), ffn))
    return stages


def _ends(length: int, charts: int, idle: float, heard: Int | Every) -> list[Stage]:
    """From the weights of the charts to the output, heard by these tokens; `idle`: what K.a is before."""
    far = 2.0 ** np.ceil(np.log2(charts + 2))
    order: Entries = {(N_ROW, ONE): 1.0, (SQUARE, ONE): -far, (ONE, N_ROW): -1.0, (ONE, SQUARE): -far}
    # relu(n_t - n_s) - relu(n_t - n_s - 1) is 1 for the charts before and 0 for the others
    sums = (
        act(EVERY, EVERY, order, {(A, B): 1.0}),
        act(EVERY, EVERY, {**order, (ONE, ONE): -1.0}, {(A, B): -1.0}),
    )
    share: Entries = {
        (N_SQUARE, ONE): -1.0,
        (N_ROW, N_ROW): 2.0,
        (ONE, N_SQUARE): -1.0,
        (ONE, SQUARE): -1.0,
        (ONE, ONE): 1.0,
    }
    value: Entries = {(A, A): 1.0} | ({(A, ONE): -idle} if idle else {})
    apart = 2 * APART  # a of R and P is at most 3 by now
    same: Entries = {
        (A, ONE): 1.0,
        (SQUARE, ONE): -apart,
        (T_ROW, T_ROW): 2 * apart,
        (ONE, SQUARE): -apart,
        (ONE, N_SQUARE): -apart,
    }
    silence = Ffn("silence", numbers={"most": -1.0}, where=EntryRange(T_ROW, -length - 1, -1))
    return [
        Stage("share", sums, Ffn("telescoping_weight", numbers={"slope": 1.0}, where=ORIGIN)),
        Stage("weigh", (act(EVERY, EVERY, share, value),)),
        Stage("product", (act(EVERY, EVERY, same, {(A, A): 1.0}),), silence),
        Stage("read-out", (act(heard, EVERY, {(ONE, A): 1.0}, {(B, B): 1.0}),)),
    ]

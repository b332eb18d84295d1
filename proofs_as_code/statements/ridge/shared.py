"""Layout W: several charts with one basis, joined by telescoping weights, as a network of width 7.

    T(x) = sum_n rho_n(x) P_n(x),    P_n = c_n0 + sum_t c_nt (1 + T_p(clip(delta + <alpha_t, v y>, -1, 1)))
    rho_n = min(1, s_n + w_n) - min(1, s_n),    s_n = sum_(m < n) w_m
    w_n = clamp(slope (1 - |x' - c_n|^2/r^2), 0, 1)

with `slope = r^2/(r^2 - core^2)`: w_n = 1 in the core and 0 outside of the ball. The basis is made once, for all
charts.

Telescoping. s_n grows with n, so that rho_n >= 0, and the sum over n is `min(1, sum_n w_n)`: 1 wherever `sum w >= 1`,
on M if cores cover it; rho_n = 0 where w_n = 0. Hence `|T - f| <= max over the n with w_n > 0 of |P_n - f|` there: an
average.

Network. P_nj takes `(x_j - c_nj)/r`, clipped to [-1, 1] with all other registers, which changes no w_n: a coordinate
beyond 1 makes it 0. So for every x all registers a are at most 1 in size when the gates of the maps and of the
squares are passed, scores between a chart's tokens are integers, and each K holds `rho_n (1 + T_p)`, as `relu(rho_n)
T_p` is added to rho_n. In float64 only the slope is rounded: with the number that is stored, network and formula are
equal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from flint import fmpq, fmpz_poly
from hypothesis import strategies as st

from construct.manifolds import Sphere
from construct.program.compile import Program
from construct.program.heads import A
from construct.program.layout import ONE
from construct.ridge.approximator import RidgeBasis
from construct.ridge.charts import SharedRidgeApproximator
from construct.ridge.coordinates import Coordinates
from construct.ridge.shared import shared_program
from construct.ridge.waves import Waves
from construct.transformer.weights import Weights
from proofs_as_code import rational
from proofs_as_code.framework import Hypothesis, Statement, Twin, Verdict, verdict
from proofs_as_code.rational import ZERO
from proofs_as_code.statements.ridge.bounds import states
from proofs_as_code.statements.ridge.maps import clipped
from proofs_as_code.statements.ridge.networks import Change, evaluated
from proofs_as_code.statements.ridge.waves import Narrow, with_stage

q = rational.rational


@dataclass(frozen=True)
class Charts:
    """A network of N charts: sizes and signs as of a network of width 5; all charts alike if `alike`."""

    net: Narrow
    charts: int
    alike: bool = field(default=False)

    def approximator(self) -> SharedRidgeApproximator:
        """Dyadic numbers of few bits; some coefficients 0, unless charts are alike."""
        net, rng = self.net, np.random.default_rng(self.net.seed)
        k, family = len(net.chosen), Waves(net.folds, net.length, net.signed)
        coordinates = Coordinates(
            np.array(net.chosen), rng.integers(-4, 5, k) / 8, np.exp2(rng.integers(-1, 2, k)), 1.0
        )
        numbers = np.sort(rng.permutation(family.count)[: int(rng.integers(1, family.count + 1))])
        basis = RidgeBasis(
            Sphere(2, ambient=net.ambient), coordinates, net.degree, family, numbers, rng.integers(1, 9, k) / 8
        )
        shape = (self.charts, len(numbers))
        coefficients, centres = rng.integers(-4, 5, shape) / 4, rng.integers(-4, 5, (self.charts, k)) / 4
        if self.alike:
            coefficients, centres = np.ones(shape), np.zeros((self.charts, k))
        return SharedRidgeApproximator(
            basis,
            centres,
            radius=1.0 if self.alike else float(np.exp2(rng.integers(-1, 2))),
            core=0.25,
            coefficients=torch.from_numpy(coefficients),
            constants=torch.from_numpy(np.ones(self.charts) if self.alike else rng.integers(-4, 5, self.charts) / 2),
        )

    def weights(self, change: Change | None = None) -> tuple[Program, Weights]:
        """The program and its weights; change: of the program."""
        found = self.approximator()
        program = shared_program(found)
        program = change(program) if change else program
        return program, program.compile(found.manifold.box.numpy())


def balls(found: SharedRidgeApproximator, x: list[fmpq]) -> list[fmpq]:
    """w_n, exactly."""
    chosen = found.basis.coordinates.chosen.tolist()
    values = []
    for centre in found.centres.tolist():
        squared = sum(((x[j] - q(c)) ** 2 for j, c in zip(chosen, centre, strict=True)), ZERO)
        values.append(max(ZERO, min(fmpq(1), q(found.slope) * (1 - squared / q(found.radius) ** 2))))
    return values


def telescoped(w: list[fmpq]) -> list[fmpq]:
    """rho_n."""
    sums = [sum(w[:n], ZERO) for n in range(len(w) + 1)]
    return [min(fmpq(1), sums[n + 1]) - min(fmpq(1), sums[n]) for n in range(len(w))]


def shared_formula(charts: Charts, found: SharedRidgeApproximator, x: list[fmpq]) -> fmpq:
    """T(x) by its formula, with waves in closed form."""
    basis, c = found.basis, found.basis.coordinates
    scales = zip(c.chosen.tolist(), c.centre.tolist(), (c.scale * basis.scales).tolist(), strict=True)
    y = [q(scale) * (x[j] - q(centre)) for j, centre, scale in scales]
    polynomial, atoms = fmpz_poly.chebyshev_t(basis.degree), []
    for alpha in charts.net.directions()[basis.numbers].tolist():
        form = sum((q(entry) * value for entry, value in zip(alpha, y, strict=True)), ZERO)
        atoms.append(1 + polynomial(clipped(q(basis.shift) + form)))
    parts = zip(telescoped(balls(found, x)), found.constants.tolist(), found.coefficients.tolist(), strict=True)
    return sum(
        (rho * (q(c0) + sum((q(v) * a for v, a in zip(row, atoms, strict=True)), ZERO)) for rho, c0, row in parts), ZERO
    )


def check_shared(charts: Charts, point: list[fmpq], change: Change | None = None) -> Verdict:
    """The compiled network against the formula at one point; change: of the program."""
    found, x = charts.approximator(), point[: charts.net.ambient]
    off = abs(evaluated(charts.weights(change)[1], x) - shared_formula(charts, found, x))
    where = vars(charts.net) | {"charts": charts.charts, "x": [str(v) for v in x]}
    return verdict(ZERO, off, kind="exact", points=1, dtype="rational", worst_point=where)


def check_telescoping(charts: Charts, point: list[fmpq], change: Change | None = None) -> Verdict:
    """Registers of R after the stage of shares: rho_n >= 0, of sum min(1, sum w), 0 where w_n = 0."""
    found, x = charts.approximator(), point[: charts.net.ambient]
    program, weights = charts.weights(change)
    after = [stage.name for stage in program.stages].index("share")
    state, row = states(weights, x)[after], program.layout.row(A)
    rho = [state[int(token), row] for token in program.layout.tokens("R").ravel()]
    w = balls(found, x)
    misses = [max(ZERO, -value) for value in rho] + [
        abs(value) for value, ball in zip(rho, w, strict=True) if ball == 0
    ]
    misses.append(abs(sum(rho, ZERO) - min(fmpq(1), sum(w, ZERO))))
    where = vars(charts.net) | {"charts": charts.charts, "x": [str(v) for v in x]}
    return verdict(ZERO, max(misses), kind="exact", points=len(misses), dtype="rational", worst_point=where)


# -- twins ------------------------------------------------------------------------------------------------------------


def numbered(program: Program, name: str) -> int:
    return [stage.name for stage in program.stages].index(name)


def unsummed(program: Program) -> Program:
    """Shares that do not know of the charts before."""
    return with_stage(program, numbered(program, "share"), rules=())


def idle(program: Program) -> Program:
    """T_p(0) left in the tokens that hold coefficients."""
    number = numbered(program, "weigh")
    (rule,) = program.stages[number].rules
    value = {key: v for key, v in rule.value.items() if key != (A, ONE)}
    return with_stage(program, number, rules=(replace(rule, value=value),))


def loud_charts(program: Program) -> Program:
    """Tokens other than K heard at the read-out."""
    return with_stage(program, numbered(program, "product"), ffn=None)


# -- statements -------------------------------------------------------------------------------------------------------


@st.composite
def _charts(draw: st.DrawFn, degrees: tuple[int, ...], least: int = 1, alike: bool = False) -> Charts:
    ambient = draw(st.integers(3, 4))
    chosen = sorted(draw(st.lists(st.integers(0, ambient - 1), min_size=1, max_size=3, unique=True)))
    folds = ((), (2,), (2, 3))[len(chosen) - 1]
    net = Narrow(
        ambient,
        tuple(chosen),
        draw(st.sampled_from(degrees)),
        folds,
        16 if len(chosen) == 3 else 8,
        draw(st.booleans()),
        draw(st.integers(0, 2**31)),
    )
    return Charts(net, draw(st.integers(least, 2 if len(chosen) == 3 else 3)), alike)


CHARTS = Hypothesis(
    "1 to 3 charts, k <= 3 of D <= 4 inputs, p in {2, 3, 4, 6, 9}, signed or not", _charts((2, 3, 4, 6, 9))
)
ALIKE = Hypothesis("2 or 3 charts, all with one ball about 0", _charts((3,), 2, True))
EVEN = Hypothesis("p = 2 or 6, T_p(0) = -1", _charts((2, 6), 1, True))
near = rational.dyadics(1, 4)
POINT = Hypothesis(
    "any rational point, near or far", st.lists(near | near | rational.dyadics(2**12, 1), min_size=4, max_size=4)
)
CENTRE = Hypothesis("the centre of the balls", st.just([ZERO] * 4))

Check = Callable[..., Verdict]


def changed_by(check: Check, change: Change) -> Check:
    """The check on a changed program."""
    return lambda charts, point: check(charts, point, change)


STATEMENTS: tuple[Statement, ...] = (
    Statement(
        name="ridge.shared.telescoping",
        source="ours",
        claim="network of width 7: the registers rho_n of the charts are >= 0, 0 outside of their balls, and add up "
        "to min(1, sum w_n), exactly, for every x in R^D",
        latex=r"Width $7$: $\rho_n\ge 0$, $\rho_n=0$ where $w_n=0$, and $\sum_n\rho_n=\min(1,\sum_n w_n)$, exactly, "
        r"for every $x\in\mathbb{R}^D$.",
        hypotheses={"charts": CHARTS, "point": POINT},
        check=check_telescoping,
        twins=(
            Twin(
                "without the sums",
                "rho_n takes off what the charts before have: it does not",
                changed_by(check_telescoping, unsummed),
                {"charts": ALIKE, "point": CENTRE},
            ),
        ),
        examples=8,
    ),
    Statement(
        name="ridge.shared.formula",
        source="ours",
        claim="network of width 7, one basis for all charts: T = sum_n rho_n (c_n0 + sum_t c_nt (1 + T_p(clip(delta "
        "+ <alpha_t, v y>)))), exactly, for every x in R^D",
        latex=r"Width $7$, one basis for all charts: $T=\sum_n\rho_n\,(c_{n0}+\sum_t c_{nt}(1+T_p))$, exactly, for "
        r"every $x\in\mathbb{R}^D$.",
        hypotheses={"charts": CHARTS, "point": POINT},
        check=check_shared,
        twins=(
            Twin(
                "without the sums",
                "rho_n takes off what the charts before have: it does not",
                changed_by(check_shared, unsummed),
                {"charts": ALIKE, "point": CENTRE},
            ),
            Twin(
                "an idle T_p(0)",
                "T_p(0), which the maps make of 0, is taken off again: it is left",
                changed_by(check_shared, idle),
                {"charts": EVEN, "point": CENTRE},
            ),
            Twin(
                "nobody is silenced",
                "a <= -1 outside K at the read-out: as it is",
                changed_by(check_shared, loud_charts),
                {"charts": ALIKE, "point": CENTRE},
            ),
        ),
        examples=8,
    ),
)

"""Theorem A: the lattice network is its formula on all of R^D, with gates of constant 2, and its sizes are formulas.

Let `p = 2^i 3^j >= 2`, any number of tokens, any cells, centres, directions, levels and coefficients. The network of
`construct.cells.program` has

    width    r + 2m + 8                       blocks  2 + i + j
    tokens   D + 1 + N  (+ 1)                 heads   m + 4 + i + j  (+ m), at most m + 2 (+ m) in a block
    depth    3 + ceil(log2 m) of its FFN
    non-zeros  N + 1 + [c_0] + Z + 2(2r + 3) + 3m + F_m + 14 + 10 j + 11 i  (+ 3m)

with Z the centres that are not 0 and `F_m = 17, 31, 49` for m = 1, 2, 3; in brackets what a projection adds (a token
and Z = 1 where its centre is not 0). Nothing but the number of tokens and of non-zeros depends on N, hence on epsilon
at a fixed degree, and nothing but the tokens on D; d enters nowhere.

Exactness. Before the first block a != 0 in inputs, `out` and `centre` alone, and the forms of its heads are linear in
what the other side carries, so that block 1 is linear in x: `a = w (<B, y> - h K)`, `e_j = g lambda y_j`, w and g the
stored v/h and 1/h. Its FFN makes `|a| <= 1` and `w = psi(e - n)` in [0, 1], whatever x is. Forms of the self-gated
heads are `1 - a_t a_s`, `1 - a_t`, `1 - w_s`, at most 2; two tokens have a gate of at most -C, so that C = 2 closes all
pairs but a token with itself, where the heads do T3, T2 and b <- w b; T3 and T2 map [-1, 1] into itself. `out` has `a =
clip(1 - v + delta) = 1` if `v <= delta`, stays 1, and keeps b, since its window is 1 (n = 0, lambda = 0): the read-out
adds `(1 + 1) b` to it, so b = c_0/3, and `(1 + T_p) w c` of every token. QED

Needed: the clip; p >= 2, since for p = 1 there is no block for the windows; v <= delta; C = 2: at `a_t = -1`, `a_s = 1`
of tokens side by side the form is 2; two heads for a window where B has both signs.

h, v: the network knows v/h and 1/h as they are rounded, and the formula is compared with these very numbers, which are
those of the spacing where h is a power of two. 1 + delta is rounded for p > 4, which moves T by at most `2^-52 (|c_0| +
p^2 sum |c_t|)`; for p <= 4, delta = 1/4, network and formula are equal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from flint import fmpq, fmpz_poly
from hypothesis import strategies as st

from construct.cells.approximator import CellApproximator, CellBasis
from construct.cells.program import cell_dense, cell_nonzeros, cell_program
from construct.manifolds import Sphere
from construct.program.compile import Program, Stage
from construct.program.heads import B
from construct.ridge.coordinates import Coordinates
from construct.ridge.maps import chain
from construct.transformer.weights import FeedForward, Heads, Weights
from proofs_as_code import rational
from proofs_as_code.framework import Hypothesis, Statement, Twin, Verdict, verdict
from proofs_as_code.rational import ZERO
from proofs_as_code.statements.cells.hat import minus, psi
from proofs_as_code.statements.program.compiled import sizes_of, with_blocks
from proofs_as_code.statements.ridge.maps import clipped
from proofs_as_code.statements.ridge.networks import evaluated

Change = Callable[[Program], Program]
SPACINGS = (0.5, 1.0, 0.3, 0.7)


@dataclass(frozen=True)
class CellNet:
    """A lattice network: D inputs, r coordinates, m windows, p, spacing, whether it reads a projection, a seed."""

    ambient: int
    coordinates: int
    windows: int
    degree: int
    spacing: float
    projected: bool
    seed: int
    tokens: int = 5

    def approximator(self, kind: type[CellBasis] = CellBasis) -> CellApproximator:
        """Dyadic numbers of few bits, c_0 a multiple of 3/4; the first token is of level 0, with alpha > 0."""
        rng = np.random.default_rng(self.seed)
        r, m, count = self.coordinates, self.windows, self.tokens
        centre = rng.integers(-4, 5, r) / 8
        if self.projected:
            forms = rng.integers(-3, 4, (r, self.ambient)) / 4
            coordinates = Coordinates(np.zeros(0, dtype=np.int64), centre, np.ones(r), 1.0, forms)
        else:
            chosen = np.sort(rng.permutation(self.ambient)[:r])
            coordinates = Coordinates(chosen, centre, np.ones(r), 1.0)
        levels = rng.integers(0, 4, count)
        levels[0] = 0
        centres = rng.integers(-2, 3, (count, r)) * (levels > 0)[:, None]
        directions = rng.integers(-3, 4, (count, r))
        directions[0] = rng.integers(1, 4, r)
        windows = np.sort(rng.permutation(r)[:m])
        manifold = Sphere(2, ambient=self.ambient)
        basis = kind(manifold, coordinates, windows, self.degree, self.spacing, levels, centres, directions)
        coefficients = torch.from_numpy(rng.integers(1, 9, count) / 4)
        return CellApproximator(basis, coefficients, 0.75 * float(rng.integers(1, 5)))


def formula(approximator: CellApproximator, x: list[fmpq], degree: int | None = None) -> fmpq:
    """T(x) by its formula, with v/h and 1/h as they are stored; degree: of the Chebyshev polynomial, if another."""
    basis, q = approximator.basis, rational.rational
    c = basis.coordinates
    if c.projection is None:
        y = [x[int(j)] - q(float(centre)) for j, centre in zip(c.chosen, c.centre, strict=True)]
    else:
        rows = [sum((q(float(p)) * v for p, v in zip(row, x, strict=True)), ZERO) for row in c.projection]
        y = [value - q(float(centre)) for value, centre in zip(rows, c.centre, strict=True)]
    v, g, h = q(basis.scale / basis.spacing), q(1 / basis.spacing), q(basis.spacing)
    polynomial = fmpz_poly.chebyshev_t(degree or basis.degree)
    total = q(approximator.constant)
    tokens = zip(basis.levels, basis.centres, basis.directions, approximator.coefficients.tolist(), strict=True)
    for level, centre, alpha, weight in tokens:
        factor = 2 ** max(0, int(level) - 1)
        form = sum((int(a) * (factor * s - h * int(n)) for a, s, n in zip(alpha, y, centre, strict=True)), ZERO)
        seen = [g * factor * y[i] for i in basis.windows]
        hat = psi(minus(seen, tuple(int(n) for n in centre[basis.windows]))) if level else fmpq(1)
        total += q(weight) * hat * (1 + polynomial(clipped(q(basis.shift) + v * form)))
    return total


def rounding_of(approximator: CellApproximator) -> fmpq:
    """What the rounding of 1 + delta may move T by; 0 where it has few bits."""
    if approximator.degree <= 4:
        return ZERO
    size = rational.rational(float(approximator.coefficients.abs().sum())) * approximator.degree**2
    return (abs(rational.rational(approximator.constant)) + size) / 2**52


def compared(
    net: CellNet, approximator: CellApproximator, weights: Weights, point: list[fmpq], degree: int | None = None
) -> Verdict:
    """A network against the formula at one point."""
    x = point[: net.ambient]
    off = abs(evaluated(weights, x) - formula(approximator, x, degree))
    where = vars(net) | {"x": x}
    return verdict(rounding_of(approximator), off, kind="exact", points=1, dtype="rational", worst_point=where)


def check_formula(
    net: CellNet,
    point: list[fmpq],
    change: Change | None = None,
    after: Callable[[Weights], Weights] | None = None,
    kind: type[CellBasis] = CellBasis,
    degree: int | None = None,
) -> Verdict:
    """The compiled network against the formula at one point; change: of the program; after: of the weights."""
    approximator = net.approximator(kind)
    program = cell_program(approximator)
    weights = (change(program) if change else program).compile(approximator.manifold.box.numpy())
    return compared(net, approximator, after(weights) if after else weights, point, degree)


def gated(program: Program, weights: Weights, constant: float) -> Weights:
    """The weights with one gate constant for all self-gated heads."""
    blocks = []
    for stage, (heads, ffn) in zip(program.stages, weights.blocks, strict=True):
        rules = list(program.rules(stage))
        if any(rule.same for rule in rules):
            parts = [rule.heads(program.layout, np.full(rule.count, constant)) for rule in rules]
            heads = Heads.stack(parts, program.layout.embedding_dim)
        blocks.append((heads, ffn))
    return with_blocks(weights, blocks)


def check_gate(net: CellNet, point: list[fmpq], constant: float) -> Verdict:
    """The network with a gate constant of its own against the formula."""
    approximator = net.approximator()
    program = cell_program(approximator)
    weights = program.compile(approximator.manifold.box.numpy())
    return compared(net, approximator, gated(program, weights, constant), point)


# -- twins ------------------------------------------------------------------------------------------------------------


class Wide(CellBasis):
    """R = 1: v = 1 - delta."""

    @property
    def scale(self) -> float:
        return 1 - self.shift


def without_clip(weights: Weights) -> Weights:
    """The two channels of the clip not taken off a."""
    heads, ffn = weights.blocks[0]
    weight, bias = (part.copy() for part in ffn.layers[-1])
    weight[0] = 0.0
    return with_blocks(weights, [(heads, FeedForward((*ffn.layers[:-1], (weight, bias)))), *weights.blocks[1:]])


def without_maps(program: Program) -> Program:
    """The first block and the read-out alone, as for p = 1."""
    return replace(program, stages=(program.stages[0], program.stages[-1]))


def one_sign(program: Program) -> Program:
    """One head for each window, as if B were positive."""
    stage: Stage = program.stages[0]
    rules = (*stage.rules[:2], *stage.rules[2::2])
    return replace(program, stages=(replace(stage, rules=rules), *program.stages[1:]))


def halved(program: Program) -> Program:
    """c_0/2 in `out`, as if it did not keep b."""
    registers = dict(program.registers)
    registers["out", B] = np.asarray(registers["out", B]) * 1.5
    return replace(program, registers=registers)


# -- counts -----------------------------------------------------------------------------------------------------------

FFN_NUMBERS = {1: 17, 2: 31, 3: 49}


def sizes_by_formula(net: CellNet, approximator: CellApproximator) -> dict[str, int]:
    """The module's formulas."""
    r, m, s = net.coordinates, net.windows, int(net.projected)
    maps, centres = chain(net.degree), int(np.count_nonzero(approximator.basis.coordinates.centre))
    extra = min(1, centres) if net.projected else centres
    tripled, doubled = maps.count(3), maps.count(2)
    sizes = {
        "embedding_dim": r + 2 * m + 8,
        "blocks": 2 + len(maps),
        "total_heads": m + 4 + len(maps) + s * m,
        "heads": m + 2 + s * m,
        "tokens": net.ambient + 1 + net.tokens + (net.projected and centres > 0),
        "ffn_depth": 3 + (m - 1).bit_length(),
    }
    if m in FFN_NUMBERS:
        ffn = FFN_NUMBERS[m]
        numbers = net.tokens + 2 + extra + 2 * (2 * r + 3) + 3 * m + ffn + 14 + 10 * tripled + 11 * doubled + 3 * m * s
        sizes["nonzero_parameters"] = numbers
    return sizes


def check_counts(net: CellNet, change: Callable[[CellNet, dict[str, int]], dict[str, int]] | None = None) -> Verdict:
    """The formulas against the program's counts, those of the weights, and what plans count."""
    approximator = net.approximator()
    program, stated = cell_program(approximator), sizes_by_formula(net, approximator)
    if change is not None:
        stated = change(net, stated)
    weights, counts = sizes_of(program.compile(approximator.manifold.box.numpy())), vars(program.counts)
    off = {name: max(abs(value - counts[name]), abs(value - weights[name])) for name, value in stated.items()}
    off["planned"] = abs(cell_nonzeros(approximator) - counts["nonzero_parameters"])
    off["planned, dense"] = abs(cell_dense(approximator) - counts["parameters"])
    worst = max(off, key=lambda name: off[name])
    where: dict[str, Any] = vars(net) | {"quantity": worst}
    return verdict(0, off[worst], kind="exact", points=2 * len(off), dtype="integers", worst_point=where)


def chained(net: CellNet, stated: dict[str, int]) -> dict[str, int]:
    """Running maxima: m + 2 layers."""
    return stated | {"ffn_depth": net.windows + 2}


def shortest(net: CellNet, stated: dict[str, int]) -> dict[str, int]:
    """L = 2 + ceil(log_3 p)."""
    return stated | {"blocks": 2 + next(k for k in range(6) if 3**k >= net.degree)}


def by_tokens(net: CellNet, stated: dict[str, int]) -> dict[str, int]:
    """A head for every token of a cell."""
    return stated | {"total_heads": stated["total_heads"] + net.tokens - 1}


# -- statements -------------------------------------------------------------------------------------------------------

DEGREES = (2, 3, 4, 6, 8, 9, 12, 16, 18, 24, 27, 36, 54, 72, 108)


@st.composite
def nets(
    draw: st.DrawFn, degrees: tuple[int, ...], most: int = 3, tokens: int = 5, projected: bool | None = None
) -> CellNet:
    ambient = draw(st.integers(3, max(5, most)))
    r = draw(st.integers(1, min(most, ambient)))
    return CellNet(
        ambient,
        r,
        draw(st.integers(1, r)),
        draw(st.sampled_from(degrees)),
        draw(st.sampled_from(SPACINGS)),
        draw(st.booleans()) if projected is None else projected,
        draw(st.integers(0, 2**31)),
        draw(st.integers(1, tokens)),
    )


NET = Hypothesis(
    "r <= 3 coordinates of D <= 5 inputs or linear forms of them, m <= r, p in {2, 3, 4, 6, 9}, any spacing and tokens",
    nets((2, 3, 4, 6, 9)),
)
CUBIC = Hypothesis("p = 3, coordinates", nets((3,), projected=False))
coordinate = rational.dyadics(1, 6) | rational.dyadics(2, 3) | rational.dyadics(2**20, 1)
POINT = Hypothesis("any rational point, on M or off it, near or far", st.lists(coordinate, min_size=5, max_size=5))
FAR = Hypothesis("x far away", st.just([fmpq(1000)] * 5))
BELOW = Hypothesis("x far away, all x_j < 0", st.just([fmpq(-1000)] * 5))
NEAR = Hypothesis("x near 0", st.lists(rational.dyadics(1, 4), min_size=5, max_size=5))
TWO = Hypothesis("C = 2", st.just(2.0))

STATEMENTS: tuple[Statement, ...] = (
    Statement(
        name="cells.network.formula",
        source="ours",
        claim="the compiled network equals c_0 + sum c_t psi(lambda z - n) (1 + T_p(clip(delta + v <alpha, lambda u - "
        "centre>))) for every x in R^D, exactly for p <= 4, v/h and 1/h as they are stored",
        latex=r"$T(x)=c_0+\sum_t c_t\,\psi(\lambda_tz-n_t)\,(1+T_p(\mathrm{clip}(\delta+v\langle\alpha_t,\lambda_tu-m_t"
        r"\rangle)))$ for every $x\in\mathbb{R}^D$.",
        hypotheses={"net": NET, "point": POINT},
        check=check_formula,
        twins=(
            Twin(
                "without the clip",
                "the clip is there: a as it is, far away",
                lambda net, point: check_formula(net, point, after=without_clip),
                {"net": CUBIC, "point": FAR},
            ),
            Twin(
                "p = 1",
                "p >= 2: no block for the windows, against the formula with T_1",
                lambda net, point: check_formula(net, point, without_maps, degree=1),
                {"net": Hypothesis("p = 2", nets((2,), tokens=5)), "point": NEAR},
                every=False,
                examples=10,
            ),
            Twin(
                "v > delta",
                "v <= delta: R = 1, v = 3/4",
                lambda net, point: check_formula(net, point, kind=Wide),
                {"net": CUBIC},
            ),
            Twin(
                "one head for a window of both signs",
                "two heads for each window where a projection is read: one",
                lambda net, point: check_formula(net, point, one_sign),
                {"net": Hypothesis("a projection", nets((2, 3), projected=True)), "point": NEAR},
                every=False,
                examples=20,
            ),
            Twin(
                "out does not keep b",
                "b = c_0/3: c_0/2",
                lambda net, point: check_formula(net, point, halved),
            ),
        ),
        examples=40,
    ),
    Statement(
        name="cells.network.gate",
        source="ours",
        claim="a gate constant of 2 in all self-gated heads is enough, for every x in R^D",
        latex=r"Gates of constant $C=2$ are enough for every $x\in\mathbb{R}^D$.",
        hypotheses={"net": NET, "point": POINT, "constant": TWO},
        check=check_gate,
        twins=(
            Twin(
                "C below 2",
                "C >= 2: 31/16, where an input at -1 stands beside out",
                check_gate,
                {"net": CUBIC, "point": BELOW, "constant": Hypothesis("C = 31/16", st.just(31 / 16))},
            ),
        ),
        examples=30,
    ),
    Statement(
        name="cells.network.counts",
        source="ours",
        claim="width r + 2m + 8, 2 + maps blocks, m + 4 + maps heads, depth 3 + ceil(log2 m), D + 1 + N tokens, N + "
        "2(2r + 3) + 3m + F_m + 15 + 10 m3 + 11 m2 non-zeros [+ c_0, centres]: N is in the last two alone, d nowhere",
        latex=r"Width $r+2m+8$, $2+m_2+m_3$ blocks, $m+4+m_2+m_3$ heads, depth $3+\lceil\log_2m\rceil$, $D+1+N$ "
        r"tokens, $N+2(2r+3)+3m+F_m+15+10m_3+11m_2$ non-zeros besides $c_0$ and centres.",
        hypotheses={
            "net": Hypothesis("m <= r <= 6, p up to 108, any tokens", nets(DEGREES, most=6, tokens=40)),
        },
        check=check_counts,
        twins=(
            Twin(
                "a chain of maxima",
                "the maxima are a tree: m + 2 layers",
                lambda net: check_counts(net, chained),
                {
                    "net": Hypothesis(
                        "m = 4",
                        st.integers(0, 99).map(lambda seed: CellNet(5, 4, 4, 3, 1.0, False, seed)),
                    )
                },
            ),
            Twin(
                "L = 2 + ceil(log_3 p)",
                "blocks are 2 + m3 + m2: 2 + ceil(log_3 p), p with two factors 2 or more",
                lambda net: check_counts(net, shortest),
                {"net": Hypothesis("p in {8, 16, 24}", nets((8, 16, 24)))},
            ),
            Twin(
                "heads grow with N",
                "heads do not depend on N: one for each token",
                lambda net: check_counts(net, by_tokens),
                {"net": Hypothesis("two tokens or more", nets((3,), tokens=9).filter(lambda net: net.tokens > 1))},
            ),
        ),
        examples=25,
    ),
)

"""Theorem 2 as formulas: error and sizes of the paper construction from (d, D, beta, geometry, F), before any network.

*Assumption.* On every chart `g_n = (f rho_n) o phi_n^-1` (coordinates z in [-1, 1]^d, extended by zero; theory, section
6) has derivatives up to order s bounded by F, and those of order s are alpha-Hölder with constant F in the
largest-entry norm, `beta = s + alpha`, `alpha in (0, 1]`.

*Error.* For `v = z - z_m`, Taylor's formula with integral remainder (s >= 1; for s = 0 directly)

    g(z) - sum_(|a|<=s) d^a g(z_m) v^a / a!
        = s int_0^1 (1-t)^(s-1) sum_(|a|=s) (d^a g(z_m + t v) - d^a g(z_m)) v^a / a! dt

is at most `F |v|^alpha (sum_(|a|=s) |v^a| / a!) s B(s, alpha + 1)`. The sum is `(|v|_1)^s / s! <= d^s |v|^s / s!`, and
`s B(s, alpha + 1) / s! = Gamma(alpha + 1) / Gamma(beta + 1)`:

    |remainder| <= F d^s Gamma(alpha + 1) / Gamma(beta + 1) |v|^beta

It is attained by `(z_1 + ... + z_d)_+^beta` at `z_m = 0`. (Replacing the Beta integral by 1 gives the usual, larger
`F d^s / s!`.) Trapezoids sum to one and live on `|v| <= 2/(3N)`: the glued polynomial P_n is off by
`E = F d^s Gamma(alpha + 1)/Gamma(beta + 1) (2/(3N))^beta` on [-1, 1]^d. The chart indicator is in [0, 1], and 1 on
supp rho_n, outside of which `g_n = 0`: `|1_n P_n - f rho_n| <= E` on the ball and 0 off it. At most `overlap` balls
hold a point: `|T - f| <= overlap E`.

*Sizes.* Nodes per chart at most `(2N + 1)^d`; layout and heads as in `paper.layout`, integer code. Weights and
states are bounded by following the registers through the blocks; they are polynomial in N, so that their logarithms,
which is what a covering number needs, are O(log 1/eps).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from construct.validation import integer, invalid, positive_integer, positive_real

WIDTH = 5
BOX_MARGIN = 1.25
"""Admissible inputs of the paper construction: `|x_j| <= 1.25 max_M |x|`."""
GATE = 2.03
"""A gate constant is the power of two above 1.01 times the smallest: at most 2.03 times it."""
OUTWARD = 1 + 1e-6
"""Outward rounding of interval bounds."""
LOOSE = 255.0
"""Intervals of the powers of u before their clips: two levels run unclipped, x -> x + x (x + 1): 1, 3, 15, 255."""


@dataclass(frozen=True)
class Geometry:
    """What the formulas need of a manifold and its atlas; lengths in the units of R^D.

    dim, ambient: d <= D; charts: number C; overlap: the most balls that share a point, <= C; radius r of the balls,
    inner_radius r' < r of supp rho_n, scale: divisor of the chart coordinates; box: largest half-width of M's box.
    """

    dim: int
    ambient: int
    charts: int
    overlap: int
    radius: float
    inner_radius: float
    scale: float
    box: float

    def __post_init__(self) -> None:
        positive_integer(self.dim, "dim")
        integer(self.ambient, "ambient", minimum=self.dim)
        positive_integer(self.charts, "charts")
        positive_integer(self.overlap, "overlap", maximum=self.charts)
        for name in ("radius", "inner_radius", "scale", "box"):
            positive_real(getattr(self, name), name)
        if not self.inner_radius < self.radius:
            raise invalid("inner_radius", f"a number < radius = {self.radius:g}", self.inner_radius)


@dataclass(frozen=True)
class PaperSizes:
    """Upper bounds on a paper network with N cells and degree s; the paper's symbols in brackets.

    blocks [L_T] (exact); heads [m] of the widest block, total_heads; tokens [l]; ffn_depth [L_FFN], ffn_layers of all
    blocks; ffn_width [w_FFN], embedding_dim [d_embd]; weight_bound [kappa], codes and registers included; state_bound
    [M]: every entry of H and Z, as intervals prove it; output_bound [R]; parameters: 75 a head, 30 an FFN layer and the
    registers; entries: the same with all `5 l` entries of the initial state, codes too: the P of a covering number.
    """

    cells: int
    degree: int
    blocks: int
    heads: int
    total_heads: int
    tokens: int
    ffn_depth: int
    ffn_layers: int
    weight_bound: float
    state_bound: float
    output_bound: float
    parameters: int
    entries: int
    ffn_width: int = WIDTH
    embedding_dim: int = WIDTH

    @staticmethod
    def names() -> tuple[str, ...]:
        """Names of the quantities, in order."""
        return tuple(field.name for field in fields(PaperSizes))


def holder_split(smoothness: float) -> tuple[int, float]:
    """`(s, alpha)` of `beta = s + alpha`, `alpha in (0, 1]`."""
    beta = positive_real(smoothness, "smoothness")
    degree = math.ceil(beta) - 1
    return degree, beta - degree


def taylor_constant(dim: int, smoothness: float) -> float:
    """`d^s Gamma(alpha + 1) / Gamma(beta + 1)`: |remainder| <= F times this times |v|^beta; sharp, see the module."""
    degree, alpha = holder_split(smoothness)
    return float(dim) ** degree * math.exp(math.lgamma(alpha + 1) - math.lgamma(smoothness + 1))


def paper_error(geometry: Geometry, smoothness: float, holder: float, cells: int) -> float:
    """`overlap F d^s Gamma(alpha + 1)/Gamma(beta + 1) (2/(3N))^beta`: bounds |T - f| on M."""
    step = 2.0 / (3.0 * positive_integer(cells, "cells"))
    constant = taylor_constant(geometry.dim, smoothness) * positive_real(holder, "holder")
    return geometry.overlap * constant * step**smoothness


def paper_cells(geometry: Geometry, smoothness: float, holder: float, epsilon: float) -> int:
    """The smallest N with `paper_error <= epsilon` (up to rounding of the root)."""
    epsilon = positive_real(epsilon, "epsilon")
    root = (paper_error(geometry, smoothness, holder, 1) / epsilon) ** (1 / smoothness)
    cells = max(1, math.ceil(root * (1 - 1e-12)))
    return cells if paper_error(geometry, smoothness, holder, cells) <= epsilon else cells + 1


def power_blocks(degree: int) -> int:
    """p = max(1, ceil(log2 s)), 1 for s = 0."""
    return max(1, (degree - 1).bit_length()) if degree else 1


def paper_blocks(dim: int, degree: int) -> int:
    """L_T: `6 + p` for d = 1, `7 + p + ceil(log2 d)` for d >= 2; no N and no eps in it."""
    return 6 + power_blocks(degree) + (0 if dim == 1 else 1 + (dim - 1).bit_length())


def ramp_depth(geometry: Geometry, epsilon: float) -> int:
    """Layers of the indicator's FFN, `k + 4` with `r^2 2^-k <= min(eps r^2, r^2 - r'^2)`: O(log 1/eps)."""
    collar = 1.0 - (geometry.inner_radius / geometry.radius) ** 2
    return max(0, math.ceil(-math.log2(collar)), math.ceil(-math.log2(epsilon))) + 4


def paper_block_heads(geometry: Geometry, degree: int, cells: int) -> list[int]:
    """Bounds on the heads of every block, in order; `4 d` a term for d = 2^k, at most `2 d + 2 (d - 1)` for the
    tree.
    """
    g, s = geometry, degree
    nodes, terms = _nodes(g, cells), _terms(g, degree, cells)
    heads = [g.ambient * (1 + g.charts * g.dim), nodes * (1 + s) + g.charts * g.ambient]
    p = power_blocks(s)
    for level in range(1, p + 1):
        coarse, fine = 2 ** (p - level + 1), 2 ** (p - level)
        heads.append(2 * nodes * sum(-(-j // fine) > -(-j // coarse) for j in range(1, s + 1)))
    heads.append(nodes * (s + 1 + (s + 1) // 2))  # one head for even powers, two for odd ones
    if g.dim >= 2:
        heads.append(2 * g.dim * terms)
        factors = g.dim
        while factors > 1:
            heads.append(2 * terms * (factors // 2))
            factors -= factors // 2
    return [*heads, 2 * terms, 2 * g.charts, 2 * g.charts]


def paper_sizes(
    geometry: Geometry, smoothness: float, holder: float, *, epsilon: float | None = None, cells: int | None = None
) -> PaperSizes:
    """Sizes for an epsilon (N from `paper_cells`), or for given cells (epsilon then only sets the ramps, default the
    error).

    Raises:
        InputError: neither epsilon nor cells, or an argument out of range.
    """
    if cells is None:
        if epsilon is None:
            raise invalid("epsilon", "a number > 0 unless cells is given", None)
        cells = paper_cells(geometry, smoothness, holder, epsilon)
    if epsilon is None:
        epsilon = paper_error(geometry, smoothness, holder, cells)
    g, degree = geometry, holder_split(smoothness)[0]
    nodes, terms = _nodes(g, cells), _terms(g, degree, cells)
    heads = paper_block_heads(g, degree, cells)
    factors = g.dim * terms if g.dim >= 2 else 0
    tokens = g.ambient + 1 + 2 * g.charts + g.charts * g.dim + nodes * (degree + 2) + factors
    p = power_blocks(degree)
    # three-layer FFNs: charts, nodes, bump, sum; a clip for each level from the third on, one after the bumps if p >= 2
    # (else the ramp is there), one for the terms and one a product level
    clips = 4 + max(0, p - 2) + (p >= 2) + (1 + (g.dim - 1).bit_length() if g.dim >= 2 else 0)
    depth = ramp_depth(g, epsilon)
    layers = 3 * clips + depth
    registers = g.charts * g.dim + nodes * (degree + 2)
    fixed = 3 * WIDTH**2 * sum(heads) + layers * (WIDTH**2 + WIDTH)
    kappa, states, output = _magnitudes(g, holder, cells, tokens)
    return PaperSizes(
        cells=cells,
        degree=degree,
        blocks=paper_blocks(g.dim, degree),
        heads=max(heads),
        total_heads=sum(heads),
        tokens=tokens,
        ffn_depth=depth,
        ffn_layers=layers,
        weight_bound=kappa,
        state_bound=states,
        output_bound=output,
        parameters=fixed + registers,
        entries=fixed + WIDTH * tokens,
    )


def _nodes(geometry: Geometry, cells: int) -> int:
    """Univariate nodes (chart, coordinate, k)."""
    return geometry.charts * geometry.dim * (2 * cells + 1)


def _terms(geometry: Geometry, degree: int, cells: int) -> int:
    """Terms (chart, node, alpha)."""
    return geometry.charts * (2 * cells + 1) ** geometry.dim * math.comb(degree + geometry.dim, geometry.dim)


def _magnitudes(geometry: Geometry, holder: float, cells: int, tokens: int) -> tuple[float, float, float]:
    """Bounds on every weight, every entry of a state and the output, by the registers' way through the blocks.

    Inputs `b = 1.25 box`; `Z` starts at most at `zeta = sqrt(D) (box + b)/scale` (a unit column has 1-norm <= sqrt D)
    and is at most `3 zeta` before its clip; `H, U` at most 2N; `x_j^2 <= b^2`; `R.b <= D (b + box)^2`; powers of u at
    most `LOOSE`; `sum_alpha |c| <= F sum_j d^j / (j! N^j) <= F e^(d/N) =: S` is the clip of a chart's sum, which before
    it is at most `3 (2N + 1)^d S`, after the cut `3 S`; the output sums C charts with both signs.

    Weights: a gate with constant C has entries `sqrt(2 C size)`, size = l^2/4 the largest entry of an integer gate, and
    `C <= 2.03 max(1, U^T |G| U)` with `U` the registers that the block reads: the forms are a a, a, b a + b, and that
    of the distance. A gated FFN has `2.03` times the largest register outside its range.
    """
    g, n = geometry, float(cells)
    box = BOX_MARGIN * g.box
    zeta = math.sqrt(g.ambient) * (g.box + box) / g.scale
    clipped = holder * math.exp(g.dim / n)
    chart_sum = 3.0 * (2 * n + 1) ** g.dim * clipped
    output = 3.0 * g.charts * clipped * OUTWARD
    distance = g.ambient * (box + g.box) ** 2
    a = max(1.0, box, zeta, 2 * n, 15.0)
    b = max(box**2, distance, clipped, 15.0)
    forms = (1.0, a * a + a, a + box, b * a + b, b + 2 * g.box * a + g.box**2)
    gate = tokens * math.sqrt(GATE * max(forms) / 2)
    code = max(tokens, 4) ** 2 / 4
    direct = (2 * n, zeta, 2 * box, 2 * g.box, g.box**2, 1 / g.scale, 1 / g.radius**2, holder, clipped, 3.0)
    states = max(code, 3 * zeta, 2 * n, box, distance, LOOSE, chart_sum, output) * OUTWARD
    outside = GATE * max(3 * zeta, 2 * n, box, distance, LOOSE, output)
    return max(code, gate, outside, *direct), states, output

"""Theorem 1 as a formula: the squared error of least squares over the class of Theorem 2, with explicit constants.

*Setting.* `Y_i = f(X_i) + xi_i`, i = 1..n, X_i independent with one law on M, `|f| <= R`; given the X's, the xi are
independent, of mean zero and sub-Gaussian, `E exp(t xi) <= exp(t^2 sigma^2 / 2)`. `T_hat` minimises
`sum (Y_i - T(X_i))^2` over a class of functions with `|T| <= R` (networks whose output is truncated to [-R, R];
truncation moves no function away from f and is 1-Lipschitz, so it keeps approximation errors and covers). N: its sup
covering number at radius delta, with centres `g_1..g_N`, `|g_k| <= R`. `|.|_n^2` is the mean square over the sample,
`|.|^2` that over the law. k* = a centre within delta of T_hat.

*Claim* (an oracle inequality, as in Schmidt-Hieber 2020 and Chen, Jiang, Liao, Zhao 2022; proof and constants ours)

    E |T_hat - f|^2 <= 4 inf_T |T - f|^2 + (24 sigma^2 + 16/3 R^2) log N / n + 24 sigma^2 (1 + log 2)/n
                       + (12 R + 8 sigma) delta + 4 delta^2

*Proof.* (i) For a fixed T in the class, minimality and `E xi_i T(X_i) = E xi_i f(X_i) = 0` give

    E |T_hat - f|_n^2 <= |T - f|^2 + 2 E (1/n) sum xi_i (T_hat - f)(X_i).

(ii) Replacing T_hat by g_k* costs `2 delta E|xi| <= 2 delta sigma`. With
`eta_k = sum xi_i (g_k - f)(X_i) / (sqrt n |g_k - f|_n)`, which is sub-Gaussian with sigma^2 given the X's,
`E max eta_k^2 <= int_0^inf min(1, 2N e^(-u/(2 sigma^2))) du = 2 sigma^2 (log 2N + 1)`. Then
`(2/sqrt n) (|T_hat - f|_n + delta) |eta| <= |T_hat - f|_n^2 / 2 + delta^2 + 3 eta^2 / n`, so

    E |T_hat - f|_n^2 <= 2 |T - f|^2 + 4 delta sigma + 2 delta^2 + 12 sigma^2 (log N + log 2 + 1)/n.

(iii) `h_k = (g_k - f)^2` lies in [0, b], b = 4 R^2. By convexity `e^(-c h/b) <= 1 - (1 - e^-c) h/b`, hence with
c = 3/2, where `1 - e^-c >= c/2`: `E exp((c n/b) (E h / 2 - P_n h)) <= 1`, P_n the sample mean. By Jensen and a sum over
k `E max_k (E h_k - 2 P_n h_k) <= (2b/(c n)) log N = (16/3) R^2 log N / n`.
(iv) `|(T_hat - f)^2 - h_k*| <= 4 R delta` at every point, on the sample and under the law:
`E |T_hat - f|^2 <= 2 E |T_hat - f|_n^2 + 12 R delta + (16/3) R^2 log N / n`. Insert (iii) into (ii). []

*Balance.* With N cells, `inf <= eps(N)^2`, `eps ~ N^-beta`, and `log N(delta) = P Q`, `P ~ N^d` parameters with a
factor Q that is polylogarithmic. The least of `4 eps^2 + c P Q / n` over N is at `N ~ (n/Q)^(1/(2 beta + d))` and is of
the order `(Q/n)^(2 beta/(2 beta + d))`: the minimax rate up to logarithms. In the number of parameters
`eps^2 ~ P^(-2 beta/d)`. The constants are explicit, not small: below `n ~ P Q` the bound exceeds the trivial `4 R^2`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from construct.theory.covering import class_log_lipschitz, log_covering_number
from construct.theory.theorem import Geometry, PaperSizes, paper_error, paper_sizes
from construct.validation import invalid, positive_integer, positive_real, real

CANDIDATES = 48


@dataclass(frozen=True)
class GeneralizationBound:
    """An a-priori bound on `E |T_hat - f|^2`, and what it is made of.

    bound = approximation + variance + discretization: `4 eps^2`; the terms with log N / n (and 1/n); those with delta.
    epsilon: sup error of the class; sizes: of its networks; delta: radius of the cover; log_covering: log N;
    log_factor: Q, log N per parameter, polylogarithmic in n; trivial: `4 R^2`, which bounds the error in any case;
    data_exponent `2 beta/(2 beta + d)`, model_exponent `2 beta/d` of the squared error; kind: always "a-priori": from
    constants of f and M that are assumed, not measured.
    """

    bound: float
    approximation: float
    variance: float
    discretization: float
    epsilon: float
    sizes: PaperSizes
    delta: float
    log_lipschitz: float
    log_covering: float
    log_factor: float
    trivial: float
    data_exponent: float
    model_exponent: float
    kind: str = "a-priori"


def oracle_bound(
    approximation: float, log_covering: float, samples: int, *, bound: float, noise: float, delta: float
) -> tuple[float, float, float]:
    """The three parts of the claim above: `4 inf`, the terms in 1/n, the terms in delta.

    Args:
        approximation: `inf_T |T - f|^2` or a bound on it; log_covering: log N >= 0; bound: R; noise: sigma; delta >= 0.
    """
    n = positive_integer(samples, "samples")
    values = {"approximation": approximation, "log_covering": log_covering, "noise": noise, "delta": delta}
    for name, value in values.items():
        if not real(value, name) >= 0:
            raise invalid(name, "a finite real number >= 0", value)
    R = positive_real(bound, "bound")
    per_sample = (24 * noise**2 + 16 / 3 * R**2) * log_covering + 24 * noise**2 * (1 + math.log(2))
    return 4 * approximation, per_sample / n, (12 * R + 8 * noise) * delta + 4 * delta**2


def data_exponent(smoothness: float, dim: int) -> float:
    """`2 beta / (2 beta + d)`: the squared error falls like n to minus this."""
    return 2 * positive_real(smoothness, "smoothness") / (2 * smoothness + positive_integer(dim, "dim"))


def model_exponent(smoothness: float, dim: int) -> float:
    """`2 beta / d`: the squared approximation error falls like the number of parameters to minus this."""
    return 2 * positive_real(smoothness, "smoothness") / positive_integer(dim, "dim")


def generalization_bound(
    samples: int,
    dim: int,
    ambient: int,
    smoothness: float,
    *,
    charts: int = 1,
    overlap: int | None = None,
    radius: float = 1.0,
    inner_radius: float | None = None,
    scale: float | None = None,
    box: float = 1.0,
    holder: float = 1.0,
    noise: float = 1.0,
    cells: int | None = None,
) -> GeneralizationBound:
    """Theorem 1: the bound for n samples and the class of Theorem 2 at the balanced size, `delta = 1/n`.

    Args:
        samples, dim, ambient, smoothness: n, d, D, beta.
        charts, overlap, radius, inner_radius, scale, box: `Geometry`; defaults: overlap = charts, r' = r/1.05,
            scale = r.
        holder: F > 0, bounds f and its local targets as in `theorem`; R = F.
        noise: sigma >= 0.
        cells: N; by default the balanced one: the least bound of some hundred N up to `n^(1/(2 beta + d))`.

    Raises:
        InputError: an argument out of range, not finite or of the wrong type.
    """
    n, beta = positive_integer(samples, "samples"), positive_real(smoothness, "smoothness")
    geometry = Geometry(
        dim=dim,
        ambient=ambient,
        charts=charts,
        overlap=charts if overlap is None else overlap,
        radius=radius,
        inner_radius=positive_real(radius, "radius") / 1.05 if inner_radius is None else inner_radius,
        scale=radius if scale is None else scale,
        box=box,
    )
    if cells is not None:
        return _bound_at(n, geometry, beta, holder, noise, cells)
    found: dict[int, GeneralizationBound] = {}
    low, high = 0.0, math.log(n) / (2 * beta + dim)
    for _ in range(2):  # a coarse geometric grid, then a finer one around its best
        step = (high - low) / CANDIDATES
        for k in range(CANDIDATES + 1):
            count = max(1, round(math.exp(low + k * step)))
            if count not in found:
                found[count] = _bound_at(n, geometry, beta, holder, noise, count)
        best = min(found.values(), key=lambda candidate: candidate.bound)
        low, high = math.log(best.sizes.cells) - step, math.log(best.sizes.cells) + step
    return best


def _bound_at(n: int, geometry: Geometry, beta: float, holder: float, noise: float, cells: int) -> GeneralizationBound:
    """The bound at a given number of cells."""
    epsilon = paper_error(geometry, beta, holder, cells)
    sizes = paper_sizes(geometry, beta, holder, cells=cells)
    kappa, states = max(1.0, sizes.weight_bound), max(1.0, sizes.state_bound)
    log_lipschitz = class_log_lipschitz(
        sizes.blocks, sizes.heads, sizes.tokens, sizes.embedding_dim, sizes.ffn_depth, kappa, states
    )
    delta = 1.0 / n
    log_covering = log_covering_number(delta, sizes.entries, kappa, log_lipschitz)
    parts = oracle_bound(epsilon**2, log_covering, n, bound=holder, noise=noise, delta=delta)
    return GeneralizationBound(
        bound=sum(parts),
        approximation=parts[0],
        variance=parts[1],
        discretization=parts[2],
        epsilon=epsilon,
        sizes=sizes,
        delta=delta,
        log_lipschitz=log_lipschitz,
        log_covering=log_covering,
        log_factor=log_covering / sizes.entries,
        trivial=4 * holder**2,
        data_exponent=data_exponent(beta, geometry.dim),
        model_exponent=model_exponent(beta, geometry.dim),
    )

"""Theorem 1 of HL24: the oracle inequality behind it, and the exponents of the bound as a function of n and of P.

The oracle inequality (`construct.theory.regression`) is tried on finite classes, where the covering number at
radius 0 is the number of functions and the minimiser is found by trying all. The expectations in it are computed
by repetition: sampled. Step (iii) of the proof, the one that is not textbook, is summed exactly for coins.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import partial

import numpy as np
from hypothesis import strategies as st

from construct.theory import data_exponent, generalization_bound, model_exponent, oracle_bound
from proofs_as_code.framework import Hypothesis, Statement, Twin, Verdict, verdict

REPETITIONS = 400
DESIGN = 64  # atoms of the design's law


@dataclass(frozen=True)
class Regression:
    """A finite class of step functions on [0, 1] with values in [-R, R], noise sigma, n samples, f in it or not."""

    functions: int
    samples: int
    bound: float
    noise: float
    well_specified: bool
    seed: int


def mean_risk(case: Regression) -> tuple[float, float, float]:
    """Monte Carlo mean of |f_hat - f|^2, its standard error, and inf_T |T - f|^2 (exact: the law has 64 atoms)."""
    rng = np.random.default_rng(case.seed)
    table = rng.uniform(-case.bound, case.bound, size=(case.functions, DESIGN))
    f = table[0] if case.well_specified else rng.uniform(-case.bound, case.bound, size=DESIGN)
    distances = ((table - f) ** 2).mean(axis=1)
    risks = []
    for _ in range(REPETITIONS):
        x = rng.integers(0, DESIGN, size=case.samples)
        y = f[x] + case.noise * rng.normal(size=case.samples)
        best = int(((table[:, x] - y) ** 2).sum(axis=1).argmin())
        risks.append(distances[best])
    return float(np.mean(risks)), float(np.std(risks) / math.sqrt(REPETITIONS)), float(distances.min())


def check_oracle(case: Regression, approximation: bool = True, variance: bool = True) -> Verdict:
    """E |f_hat - f|^2 minus four standard errors against the bound; the flags drop a term of it."""
    mean, error, least = mean_risk(case)
    parts = oracle_bound(least, math.log(case.functions), case.samples, bound=case.bound, noise=case.noise, delta=0.0)
    claimed = parts[0] * approximation + parts[1] * variance + parts[2]
    witness = {"functions": case.functions, "samples": case.samples, "noise": case.noise, "seed": case.seed}
    measured = mean - 4 * error
    return verdict(claimed, measured, kind="sampled", points=REPETITIONS, dtype="float64", worst_point=witness)


@dataclass(frozen=True)
class Coins:
    """N functions h_k in {0, b}, P(h_k = b) = p_k, independent; n samples."""

    probabilities: tuple[Fraction, ...]
    samples: int


def check_deviation(case: Coins, slope: Fraction = Fraction(3, 2)) -> Verdict:
    """(iii): `E exp((c/b) (n E h / 2 - sum h)) = (e^(c p/2) (1 - p (1 - e^-c)))^n <= 1`, c = 3/2, for every p.

    In rational arithmetic with upper bounds: `e^x <= 1/(1 - x + x^2/2 - x^3/6 ...)` is replaced by the truncated series
    plus twice its next term, valid for |x| <= 1.
    """
    worst = max((_moment(p, slope), p) for p in case.probabilities)
    value = worst[0] ** case.samples
    return verdict(
        Fraction(1),
        value,
        kind="exact",
        points=len(case.probabilities),
        dtype="rational",
        worst_point={"p": str(worst[1])},
    )


def _moment(p: Fraction, slope: Fraction) -> Fraction:
    """Upper bound of `e^(c p / 2) (1 - p (1 - e^-c))`."""
    half = _exp_above(-slope / 2)
    return _exp_above(slope * p / 2) * (1 - p * (1 - half * half))


def _exp_above(x: Fraction, terms: int = 20) -> Fraction:
    """e^x <= sum_(k < terms) x^k / k! + 2 |x|^terms / terms!, for |x| <= 1."""
    if abs(x) > 1:
        return _exp_above(x / 2, terms) ** 2
    term, total = Fraction(1), Fraction(0)
    for k in range(terms):
        total += term
        term = term * x / (k + 1)
    return total + 2 * abs(term)


# -- exponents ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Problem:
    """d, D, beta of Theorem 1."""

    dim: int
    codimension: int
    smoothness: float


def data_slope(problem: Problem) -> float:
    """Minus the slope of log(bound / Q^exponent) in log n, n = 2^120 .. 2^160, Q the polylogarithmic factor; the bound
    is of the order (Q/n)^exponent."""
    power = data_exponent(problem.smoothness, problem.dim)
    exponents = range(120, 161, 8)
    bounds = [
        generalization_bound(2**k, problem.dim, problem.dim + problem.codimension, problem.smoothness)
        for k in exponents
    ]
    values = [math.log(b.bound) - power * math.log(b.log_factor) for b in bounds]
    return -float(np.polyfit([k * math.log(2.0) for k in exponents], values, 1)[0])


def model_slope(problem: Problem) -> float:
    """Minus the slope of log eps^2 in log P, over N = 2^16 .. 2^24 cells."""
    dims = problem.dim, problem.dim + problem.codimension
    bounds = [generalization_bound(10**6, *dims, problem.smoothness, cells=2**k) for k in range(16, 25, 2)]
    logs = [2 * math.log(b.epsilon) for b in bounds]
    return -float(np.polyfit([math.log(b.sizes.entries) for b in bounds], logs, 1)[0])


def check_slope(problem: Problem, model: bool, swapped: bool = False, ambient: bool = False) -> Verdict:
    """|slope - exponent| <= 1 % of the exponent; swapped: the other exponent; ambient: D in place of d."""
    dim = problem.dim + problem.codimension if ambient else problem.dim
    exponent = (model_exponent if model != swapped else data_exponent)(problem.smoothness, dim)
    slope = model_slope(problem) if model else data_slope(problem)
    witness = vars(problem) | {"slope": slope, "exponent": exponent}
    return verdict(
        0.01 * exponent, abs(slope - exponent), kind="sampled", points=6, dtype="float64", worst_point=witness
    )


REGRESSIONS = {
    "case": Hypothesis(
        "a finite class within [-R, R], Gaussian noise, i.i.d. design",
        st.builds(
            Regression,
            functions=st.integers(2, 40),
            samples=st.integers(4, 200),
            bound=st.sampled_from([0.5, 1.0, 2.0]),
            noise=st.sampled_from([0.1, 1.0, 3.0]),
            well_specified=st.booleans(),
            seed=st.integers(0, 2**32 - 1),
        ),
    )
}


def _regression(well_specified: bool, samples: int, noise: float) -> dict[str, Hypothesis]:
    strategy = st.builds(
        Regression,
        functions=st.just(20),
        samples=st.just(samples),
        bound=st.just(1.0),
        noise=st.just(noise),
        well_specified=st.just(well_specified),
        seed=st.integers(0, 2**32 - 1),
    )
    return {"case": Hypothesis(f"{samples} samples, noise {noise:g}, f in the class: {well_specified}", strategy)}


PROBLEMS = {
    "problem": Hypothesis(
        "1 <= d < D, beta > 0",
        st.builds(
            Problem,
            dim=st.integers(1, 4),
            codimension=st.integers(1, 20),
            smoothness=st.sampled_from([0.5, 1.0, 1.5, 2.0, 3.0]),
        ),
    )
}

RATES: tuple[Statement, ...] = (
    Statement(
        name="covering.deviation",
        source="ours, step (iii) of the oracle inequality",
        claim="E exp((3/(2b)) sum_i (E h / 2 - h(X_i))) <= 1 for h in [0, b]; the worst h are coins",
        latex=r"\mathbb E\exp\Bigl(\tfrac{3}{2b}\sum_i(\tfrac12\mathbb Eh-h(X_i))\Bigr)\le 1,\quad 0\le h\le b",
        hypotheses={
            "case": Hypothesis(
                "coins with values 0 and b",
                st.builds(
                    Coins,
                    probabilities=st.lists(
                        st.integers(0, 64).map(lambda k: Fraction(k, 64)), min_size=1, max_size=8
                    ).map(tuple),
                    samples=st.integers(1, 20),
                ),
            )
        },
        check=check_deviation,
        twins=(
            Twin(
                "slope_two",
                "c <= 1.59: here c = 2",
                partial(check_deviation, slope=Fraction(2)),
                {"case": Hypothesis("p = 1/10", st.just(Coins((Fraction(1, 10),), 5)))},
                examples=1,
            ),
        ),
    ),
    Statement(
        name="covering.oracle",
        source="HL24 Theorem 1, after Schmidt-Hieber 2020 and Chen et al. 2022; constants ours",
        claim="E |T_hat - f|^2 <= 4 inf |T - f|^2 + (24 sigma^2 + 16/3 R^2) log N / n + 24 sigma^2 (1 + log 2)/n",
        latex=r"\mathbb E\|\hat T-f\|^2\le 4\inf_T\|T-f\|^2+\frac{(24\sigma^2+\frac{16}{3}R^2)\log\mathcal N(\delta)"
        r"+24\sigma^2(1+\log 2)}{n}+(12R+8\sigma)\delta+4\delta^2",
        hypotheses=REGRESSIONS,
        check=check_oracle,
        twins=(
            Twin(
                "no_approximation",
                "4 inf |T - f|^2 left out, f not in the class",
                partial(check_oracle, approximation=False),
                _regression(False, 20_000, 0.1),
                examples=2,
            ),
            Twin(
                "no_variance",
                "log N / n left out, f in the class",
                partial(check_oracle, variance=False),
                _regression(True, 10, 3.0),
                examples=2,
            ),
        ),
    ),
    Statement(
        name="covering.data_exponent",
        source="HL24 Theorem 1",
        claim="the bound falls like (Q/n)^(2 beta/(2 beta + d)), Q polylogarithmic, whatever D",
        latex=r"\mathbb E\|\hat T-f\|^2=\tilde O\bigl(n^{-2\beta/(2\beta+d)}\bigr)",
        hypotheses=PROBLEMS,
        check=partial(check_slope, model=False),
        twins=(
            Twin("model_exponent", "exponents swapped: 2 beta/d", partial(check_slope, model=False, swapped=True)),
            Twin("ambient", "d replaced by D", partial(check_slope, model=False, ambient=True)),
        ),
    ),
    Statement(
        name="covering.model_exponent",
        source="HL24 Theorem 2 and Theorem 1",
        claim="eps^2 falls like P^(-2 beta/d) in the number of parameters, whatever D",
        latex=r"\varepsilon^2=O\bigl(P^{-2\beta/d}\bigr)",
        hypotheses=PROBLEMS,
        check=partial(check_slope, model=True),
        twins=(
            Twin(
                "data_exponent",
                "exponents swapped: 2 beta/(2 beta + d)",
                partial(check_slope, model=True, swapped=True),
            ),
            Twin("ambient", "d replaced by D", partial(check_slope, model=True, ambient=True)),
        ),
    ),
)

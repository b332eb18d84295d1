"""The steps behind the covering number (HL24, Lemma 2; `construct.theory.covering`), in rational arithmetic.

Every object is rational: weights and states are drawn in `[-kappa, kappa]` and `[-M, M]`, or *aligned*: all at their
largest value and moved together, the case in which the constants are sharp and in which the twins must fail.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from construct.theory import StepConstants, step_constants
from proofs_as_code.framework import Hypothesis, Statement, Twin, Verdict, verdict

Rational = NDArray[np.object_]  # arrays of Fractions

DENOMINATOR = 64


@dataclass(frozen=True)
class Case:
    """Sizes, bounds, and how the two networks differ: states by at most delta, parameters by at most eta."""

    tokens: int
    width: int
    heads: int
    depth: int
    kappa: Fraction
    bound: Fraction
    delta: Fraction
    eta: Fraction
    aligned: bool
    seed: int

    def constants(self) -> StepConstants[Fraction]:
        """The constants of the derivation for this case."""
        return step_constants(self.heads, self.tokens, self.width, self.depth, self.kappa, self.bound)

    def pair(
        self, rng: np.random.Generator, shape: tuple[int, ...], largest: Fraction, step: Fraction
    ) -> list[Rational]:
        """Two arrays in [-largest, largest] that differ by at most `step`."""
        if self.aligned:
            return [constant(shape, largest), constant(shape, largest - step)]
        first = rational(rng, shape, largest)
        moved = first + rational(rng, shape, step)
        return [first, clip(moved, largest)]

    def states(self, rng: np.random.Generator) -> list[Rational]:
        """H and H', (l, w)."""
        return self.pair(rng, (self.tokens, self.width), self.bound, self.delta)

    def head_pair(self, rng: np.random.Generator) -> list[tuple[Rational, ...]]:
        """(Q, K, V) and (Q', K', V')."""
        parts = [self.pair(rng, (self.width, self.width), self.kappa, self.eta) for _ in range(3)]
        return list(zip(*parts, strict=True))

    def ffn_pair(self, rng: np.random.Generator) -> list[list[tuple[Rational, Rational]]]:
        """Layers (W, b) of the two FFNs."""
        weights = [self.pair(rng, (self.width, self.width), self.kappa, self.eta) for _ in range(self.depth)]
        biases = [self.pair(rng, (self.width,), self.kappa, self.eta) for _ in range(self.depth)]
        return [[(w[i], b[i]) for w, b in zip(weights, biases, strict=True)] for i in range(2)]


# -- exact networks -------------------------------------------------------------------------------


def constant(shape: tuple[int, ...], value: Fraction) -> Rational:
    """An array that holds one Fraction everywhere."""
    out = np.empty(shape, dtype=object)
    out.fill(value)
    return out


def rational(rng: np.random.Generator, shape: tuple[int, ...], largest: Fraction) -> Rational:
    """Fractions in [-largest, largest], multiples of largest/64."""
    numbers = rng.integers(-DENOMINATOR, DENOMINATOR + 1, size=shape)
    return np.vectorize(lambda k: largest * Fraction(int(k), DENOMINATOR), otypes=[object])(numbers)


def clip(x: Rational, largest: Fraction) -> Rational:
    """Entries moved into [-largest, largest]."""
    return np.minimum(np.maximum(x, constant(x.shape, -largest)), constant(x.shape, largest))


def relu(x: Rational) -> Rational:
    return np.maximum(x, constant(x.shape, Fraction(0)))


def head(weights: tuple[Rational, ...], hidden: Rational) -> Rational:
    """`sum_s relu(<Q h_t, K h_s>) V h_s` for all t: (l, w) -> (l, w)."""
    query, key, value = weights
    scores = relu((hidden @ query.T) @ (hidden @ key.T).T)
    return np.asarray(scores @ (hidden @ value.T))


def feed_forward(layers: list[tuple[Rational, Rational]], hidden: Rational) -> Rational:
    """`W_F relu(... relu(W_1 h + b_1) ...) + b_F` of every token."""
    for index, (weight, bias) in enumerate(layers):
        hidden = (hidden if index == 0 else relu(hidden)) @ weight.T + bias
    return hidden


def largest(x: Rational) -> Fraction:
    """Largest absolute entry."""
    return max((abs(entry) for entry in x.ravel()), default=Fraction(0))


# -- checks ---------------------------------------------------------------------------------------


def compare(case: Case, claimed: Fraction, difference: Rational) -> Verdict:
    witness = {"tokens": case.tokens, "width": case.width, "kappa": str(case.kappa), "M": str(case.bound)}
    witness |= {"delta": str(case.delta), "eta": str(case.eta), "seed": case.seed, "aligned": case.aligned}
    return verdict(
        claimed, largest(difference), kind="exact", points=difference.size, dtype="rational", worst_point=witness
    )


def check_head_state(case: Case, share: Fraction = Fraction(1), believed: Fraction | None = None) -> Verdict:
    """(i): one head, two states. share: of the claimed constant; believed: M as the claim has it."""
    rng = np.random.default_rng(case.seed)
    (first, second), (weights, _) = case.states(rng), case.head_pair(rng)
    claimed = replace(case, bound=believed or case.bound).constants().head_state * share * case.delta
    return compare(case, claimed, head(weights, first) - head(weights, second))


def check_head_weight(case: Case, share: Fraction = Fraction(1)) -> Verdict:
    """(ii): one state, two heads."""
    rng = np.random.default_rng(case.seed)
    (state, _), (weights, moved) = case.states(rng), case.head_pair(rng)
    return compare(case, case.constants().head_weight * share * case.eta, head(weights, state) - head(moved, state))


def check_attention(case: Case, residual: int = 1, heads: int | None = None) -> Verdict:
    """(iii): `Z = H + sum of heads`, states and weights moved. residual, heads: as the claim has them."""
    rng = np.random.default_rng(case.seed)
    first, second = case.states(rng)
    difference = first - second
    for _ in range(case.heads):
        weights, moved = case.head_pair(rng)
        difference = difference + head(weights, first) - head(moved, second)
    c, m = case.constants(), case.heads if heads is None else heads
    claimed = (residual + m * c.head_state) * case.delta + m * c.head_weight * case.eta
    return compare(case, claimed, difference)


def check_feed_forward(case: Case, bias: bool = True) -> Verdict:
    """(iv): the FFN. bias False: a claim without biases."""
    rng = np.random.default_rng(case.seed)
    first, second = case.states(rng)
    net, moved = case.ffn_pair(rng)
    c, w, depth = case.constants(), case.width, case.depth
    in_weights = c.ffn_weight if bias else depth * w**depth * case.kappa ** (depth - 1) * case.bound
    claimed = c.ffn_state * case.delta + in_weights * case.eta
    return compare(case, claimed, feed_forward(net, first) - feed_forward(moved, second))


# -- hypotheses -----------------------------------------------------------------------------------


def cases(*, aligned: bool | None = None, small: bool = False, large: bool = False) -> st.SearchStrategy[Case]:
    """Cases; `small`: tiny steps, so that second-order terms do not count; `large`: kappa, M >= 2."""
    unit = st.integers(1, 8).map(lambda k: Fraction(k, 80))
    tiny = st.integers(1, 8).map(lambda k: Fraction(k, 10**12))
    size = st.integers(16 if large else 8, 32).map(lambda k: Fraction(k, 8))
    step = tiny if small else unit
    return st.builds(
        Case,
        tokens=st.integers(1, 4),
        width=st.integers(1, 4),
        heads=st.integers(1, 3),
        depth=st.integers(1, 4),
        kappa=size,
        bound=size,
        delta=step,
        eta=step,
        aligned=st.booleans() if aligned is None else st.just(aligned),
        seed=st.integers(0, 2**32 - 1),
    )


ANY = {"case": Hypothesis("|theta| <= kappa, |H| <= M, |H - H'| <= delta, |theta - theta'| <= eta; rational", cases())}
ALIGNED = {
    "case": Hypothesis(
        "all weights kappa, all states M, moved together by a tiny step", cases(aligned=True, small=True)
    )
}
LARGE = {"case": Hypothesis("the same with kappa, M >= 2", cases(aligned=True, small=True, large=True))}


def _twin(name: str, violates: str, check: Any, hypotheses: dict[str, Hypothesis] = ALIGNED, **options: Any) -> Twin:
    return Twin(name, violates, partial(check, **options), hypotheses)


def _smaller_state(case: Case, by_kappa: int = 0, by_bound: int = 0) -> Verdict:
    """(i) with the claim divided by powers of kappa and M."""
    return check_head_state(case, share=1 / (case.kappa**by_kappa * case.bound**by_bound))


def _smaller_weight(case: Case, by_kappa: int = 0, by_bound: int = 0) -> Verdict:
    """(ii) with the claim divided by powers of kappa and M."""
    return check_head_weight(case, share=1 / (case.kappa**by_kappa * case.bound**by_bound))


def _half_bound(case: Case) -> Verdict:
    return check_head_state(case, believed=case.bound / 2)


STEPS: tuple[Statement, ...] = (
    Statement(
        name="covering.head_in_state",
        source="HL24 Lemma 2, step (i); constants ours",
        claim="|head_theta(H) - head_theta(H')| <= 3 l w^4 kappa^3 M^2 |H - H'|",
        latex=r"|\mathrm{head}_\theta(H)-\mathrm{head}_\theta(H')|_\infty \le 3 \ell w^4 \kappa^3 M^2 |H-H'|_\infty",
        hypotheses=ANY,
        check=check_head_state,
        twins=(
            _twin("factor_two", "the factor 3 replaced by 2", check_head_state, share=Fraction(2, 3)),
            _twin("kappa_squared", "kappa^2 for kappa^3", _smaller_state, LARGE, by_kappa=1),
            _twin("bound_once", "M for M^2", _smaller_state, LARGE, by_bound=1),
            Twin("bound_too_small", "|H| <= M: the states reach 2 M", _half_bound, ALIGNED),
        ),
    ),
    Statement(
        name="covering.head_in_weights",
        source="HL24 Lemma 2, step (ii); constants ours",
        claim="|head_theta(H) - head_theta'(H)| <= 3 l w^4 kappa^2 M^3 |theta - theta'|",
        latex=r"|\mathrm{head}_\theta(H)-\mathrm{head}_{\theta'}(H)|_\infty"
        r"\le 3 \ell w^4 \kappa^2 M^3 |\theta-\theta'|_\infty",
        hypotheses=ANY,
        check=check_head_weight,
        twins=(
            _twin("factor_two", "the factor 3 replaced by 2", check_head_weight, share=Fraction(2, 3)),
            _twin("kappa_once", "kappa for kappa^2", _smaller_weight, LARGE, by_kappa=1),
            _twin("bound_squared", "M^2 for M^3", _smaller_weight, LARGE, by_bound=1),
        ),
    ),
    Statement(
        name="covering.attention",
        source="HL24 Lemma 2, step (iii); constants ours",
        claim="|Z - Z'| <= (1 + a kappa) |H - H'| + a M |theta - theta'|,  a = 3 m l w^4 kappa^2 M^2",
        latex=r"|Z-Z'|_\infty \le (1+a\kappa)|H-H'|_\infty + aM|\theta-\theta'|_\infty,\quad a = 3m\ell w^4\kappa^2M^2",
        hypotheses=ANY,
        check=check_attention,
        twins=(
            _twin("no_residual", "the residual connection left out", check_attention, residual=0),
            _twin("no_heads", "the heads left out", check_attention, heads=0),
        ),
    ),
    Statement(
        name="covering.feed_forward",
        source="HL24 Lemma 2, step (iv); constants ours",
        claim="|FFN_theta(Z) - FFN_theta'(Z')| <= (w kappa)^F |Z - Z'|"
        " + kappa^(F-1) M (w+1) ((w+1)^F - w^F) |theta - theta'|",
        latex=r"|\mathrm{FFN}_\theta(Z)-\mathrm{FFN}_{\theta'}(Z')|_\infty \le (w\kappa)^F|Z-Z'|_\infty"
        r" + \kappa^{F-1}M(w+1)\bigl((w+1)^F-w^F\bigr)|\theta-\theta'|_\infty",
        hypotheses=ANY,
        check=check_feed_forward,
        twins=(_twin("no_bias", "the biases left out: F w^F kappa^(F-1) M", check_feed_forward, bias=False),),
    ),
)

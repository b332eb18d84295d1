"""Floating-point error of one dense head: independent of the number of tokens, or growing like l^2.

Standard model, unit round-off u, gamma_n = n u/(1 - n u); F = U^T |G| U; no underflow. The head's rows are summed
gates first. K's data rows are dot products of three numbers (gamma_3), the products with Q and their sum add 1 and 2,
so the data form is off by gamma_6 F; the value row A u_s by gamma_3 |A| U, and their product by one more:

    integer code:        |error| <= gamma_10 F |A| U                     for every l with l^2 <= 2^p

because gates are exact (`codes.integer.exact`) and stay so times powers of two: exactly 0 at the match, before data
enters. At every other pair the partial sums stay below -C + (1 + gamma_6) F < 0, so that nothing leaks; the sum over
sources adds zeros.

Trigonometric code: the stored gate is off by 4u (`codes.trigonometric.gates`), its dot product of three by gamma_3 of
cos^2 + sin^2 + 1 = 2, so two gates are off by 20 C u to first order. Adding data to them costs four roundings:

    trigonometric code:  |error| <= (21 C u + gamma_16 F) |A| U,          C <= 2.03 F l^2

with no leak while 21 C u <= 0.01 F, which holds for l <= 10^6 in float64 and l <= 64 in float32. What is checked is the
library's dense execution, at states drawn at random.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from hypothesis import strategies as st

from construct.arrays import Float
from construct.program.layout import TokenLayout
from construct.transformer.module import MultiHeadAttention
from construct.transformer.weights import Heads
from proofs_as_code import instances, rational
from proofs_as_code.framework import Hypothesis, Statement, Twin, Verdict, verdict
from proofs_as_code.instances import Site
from proofs_as_code.rational import ZERO
from proofs_as_code.statements.program.head_checks import form_bound
from proofs_as_code.statements.program.heads import constant_of, point_head

DTYPES = {"float64": torch.float64, "float32": torch.float32}
DRAWS = 3  # heads of one instance


def gamma(n: int, unit: float) -> float:
    """`n u / (1 - n u)`."""
    return n * unit / (1 - n * unit)


def generic_constant(head: Heads, factor: float) -> Heads:
    """All of C beside the gate, times a factor: no power of two any more, so that gate coefficients are rounded."""
    query, key, one = head.query.copy(), head.key.copy(), head.query.shape[2] - 1
    query[0, 0] *= factor * key[0, 0, one]
    key[0, 0, one] = 1.0
    key[0, 1] *= factor * query[0, 1, one]
    query[0, 1, one] = 1.0
    return Heads(query, key, head.value)


def check_rounding(
    place: tuple[str, int],
    seed: int,
    *,
    code: str,
    bound_of: str | None = None,
    factor: float = 1.0,
    draws: int = DRAWS,
) -> Verdict:
    """Largest |error| / bound of dense heads over `draws` random forms, states and pairs; infinite if anything leaks.

    bound_of: the code whose bound is claimed, by default the head's; factor: of a constant that is no power of two.
    """
    dtype, tokens = place
    layout = instances.layout(tokens, code)
    rng = np.random.default_rng([seed, tokens])
    worst, where = 0.0, {}
    for _ in range(draws):
        form, value = (rng.integers(-64, 65, shape) / 16 for shape in ((1, 3, 3), (1, 2, 3)))
        bound = np.array([rng.integers(1, 40) / 8, rng.integers(1, 40) / 8, 1.0])
        # pairs away from the centre, where the codes are largest
        target, source = (int(t) for t in rng.integers(3 * tokens // 4, tokens, 2))
        state = torch.as_tensor(layout.initial_state()).to(DTYPES[dtype])
        registers = torch.as_tensor(rng.uniform(-1, 1, (tokens, 2)) * bound[:2])
        state[:, list(layout.register_rows)] = registers.to(state.dtype)
        form = form * _sign(layout, state, form, target, source)  # an open head
        constant = constant_of(layout, form, bound)
        head = point_head(layout, Site(tokens, target, source), form, value, bound)
        if factor != 1.0:
            head = generic_constant(head, factor)
        error, leak = _errors(layout, head, form, value, state, (target, source))
        unit = torch.finfo(state.dtype).eps / 2
        size = float(rational.fraction(form_bound(form[0], bound.tolist())))
        allowed = gamma(10, unit) * size
        if (bound_of or code) == "trigonometric":
            allowed = 21 * constant * unit + gamma(16, unit) * size
        allowed *= float((np.abs(value[0]) @ bound).max())
        ratio = error / allowed if leak == 0 else np.inf
        if not ratio <= worst:
            worst = ratio
            where = {"tokens": tokens, "pair": [target, source], "error": error, "bound": allowed, "leak": leak}
    return verdict(1.0, worst, kind="sampled", points=draws * tokens**2, dtype=dtype, worst_point=where)


def _sign(layout: TokenLayout, state: torch.Tensor, form: Float, target: int, source: int) -> float:
    u = state[:, list(layout.data_rows)].double().numpy()
    return 1.0 if u[target] @ form[0] @ u[source] > 0 else -1.0


def _errors(
    layout: TokenLayout, head: Heads, form: Float, value: Float, state: torch.Tensor, pair: tuple[int, int]
) -> tuple[float, float]:
    """Error of the registers at the target against rational arithmetic, and the largest entry added elsewhere."""
    target = pair[0]
    added = MultiHeadAttention(head, dtype=state.dtype, device="cpu").in_parts(state[None])[0]
    u = [rational.matrix(state[t, list(layout.data_rows)][None]) for t in pair]
    share = (u[0] * rational.matrix(form[0]) * u[1].transpose())[0, 0]
    writes = u[1] * rational.matrix(value[0]).transpose()
    error = ZERO
    for i, row in enumerate(layout.register_rows):
        error = max(error, abs(rational.rational(float(added[target, row])) - max(share, ZERO) * writes[0, i]))
    added[target, list(layout.register_rows)] = 0.0
    return float(rational.fraction(error)), float(added.abs().max())


def _places(*places: tuple[str, int]) -> Hypothesis:
    text = "dtype and tokens: " + ", ".join(f"{dtype} {tokens}" for dtype, tokens in places)
    return Hypothesis(text, st.sampled_from(places))


INTEGER = _places(*((dtype, tokens) for tokens in (16, 256, 2048) for dtype in DTYPES))
TRIGONOMETRIC = _places(("float64", 16), ("float64", 256), ("float64", 2048), ("float32", 16), ("float32", 64))
LONG = _places(("float64", 256), ("float64", 512), ("float32", 256), ("float32", 512))
SEEDS = Hypothesis("seed of forms, values, bounds, registers and pairs", st.integers(0, 2**32 - 1))


def _statement(code: str, places: Hypothesis, claim: str, latex: str, twin: Twin) -> Statement:
    return Statement(
        name=f"heads.rounding.{code}",
        source="ours",
        claim=claim,
        latex=latex,
        hypotheses={"place": places, "seed": SEEDS},
        check=partial(check_rounding, code=code),
        twins=(twin,),
        examples=12,
    )


STATEMENTS: tuple[Statement, ...] = (
    _statement(
        "integer",
        INTEGER,
        "dense head in floating point: |error| <= gamma_10 F |A| U for every number of tokens, nothing leaks "
        "(shown: error / bound)",
        r"Dense head in floating point: error at most $\gamma_{10}F\,|A|U$ for every $l$ with $l^2\le2^p$, no leak.",
        Twin(
            "C not a power of two",
            "C = 2^k: C = 1.37 * 2^k beside the gate, l >= 256; 24 heads each, since the errors of a gate often cancel",
            partial(check_rounding, code="integer", factor=1.37, draws=24),
            {"place": LONG},
            examples=3,
        ),
    ),
    _statement(
        "trigonometric",
        TRIGONOMETRIC,
        "dense head in floating point: |error| <= (21 C u + gamma_16 F) |A| U, C <= 2.03 F l^2, nothing leaks "
        "(shown: error / bound)",
        r"Dense head in floating point: error at most $(21Cu+\gamma_{16}F)|A|U$ with $C\le2.03\,F\,l^2$, no leak.",
        Twin(
            "bound without l",
            "the bound has a term 21 C u ~ l^2: that of the integer code instead, l >= 128; "
            "24 heads each, since cos^2 + sin^2 rounds to 1 for many tokens",
            partial(check_rounding, code="trigonometric", bound_of="integer", draws=24),
            {"place": _places(("float64", 128), ("float64", 256))},
            examples=3,
        ),
    ),
)

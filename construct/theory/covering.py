"""Covering numbers of a class of transformers: how far the output moves when every weight moves by eta.

*The class.* `L` blocks of `m` heads, `l` tokens of width `w`, feed-forward networks of `F` affine layers `w x w`
(theory, section 2). Every parameter, initial hidden state included, is at most `kappa >= 1` in absolute value, and for
every x of the domain every entry of every hidden state, before each block (`H`) and after its heads (`Z`), is at most
`M >= 1`. The last condition is part of the class: from the weights alone M grows like `3^L` in the exponent. Norms of
states and of parameters are largest entries; distance of two networks: the sup over the domain.

*Derivation* (HL24, Lemma 2; constants ours). Let `|theta - theta'| <= eta`, `delta = |H - H'|`, both in the class.

1. `|K h| <= w kappa M`, so `|<Q h_t, K h_s>| <= w (w kappa M)^2 = w^3 kappa^2 M^2` and `|V h_s| <= w kappa M`. A head
   is a sum over l sources of `relu(<Q h_t, K h_s>) V h_s`: three factors, each linear in H and in one weight matrix,
   and relu is 1-Lipschitz. Exchanging one factor h for h' changes a summand by at most `w^4 kappa^3 M^2 delta`,
   exchanging one matrix by at most `w^4 kappa^2 M^3 eta`:

       |head_theta(H) - head_theta(H')|   <= 3 l w^4 kappa^3 M^2 delta
       |head_theta(H') - head_theta'(H')| <= 3 l w^4 kappa^2 M^3 eta

   The factor 3 is sharp: positive weights and states, delta -> 0.
2. With `a = 3 m l w^4 kappa^2 M^2`:   `|Z - Z'| <= (1 + a kappa) delta + a M eta`.
3. FFN, activations `u_0 = Z`, `|u_i| <= w kappa |u_(i-1)| + kappa <= ((w + 1) kappa)^i M`. In its input it is
   `(w kappa)^F`-Lipschitz. Exchanging layer i moves `u_i` by at most
   `(w |u_(i-1)| + 1) eta <= (w + 1)^i kappa^(i-1) M eta`, the layers after it by `(w kappa)^(F-i)`; the sum over i is
   geometric:

       |FFN_theta(Z') - FFN_theta'(Z')| <= kappa^(F-1) M (w + 1) ((w + 1)^F - w^F) eta

   (at most `F (w + 1)^F kappa^(F-1) M eta`).

4. With `A = (1 + (w kappa)^F) (1 + a kappa)` and `B = (1 + (w kappa)^F) a M + kappa^(F-1) M (w + 1) ((w + 1)^F - w^F)`,
   for F = 0 (`FFN = 0`) with `A = 1 + a kappa`, `B = a M`:

       delta_0 <= eta,   delta_i <= A delta_(i-1) + B eta,   Lambda = delta_L / eta <= A^L + B (A^L - 1)/(A - 1)

5. Cut `[-kappa, kappa]^P` into `K^P` cubes of side `2 kappa / K`, `K = ceil(2 kappa Lambda / delta)`. Where a cube
   meets the class choose a member of the class in it: any other member in the cube is at most
   `2 kappa / K <= delta / Lambda` away in every parameter (a whole side, since the centre of the cube need not be in
   the class), and in the sup norm at most delta. Hence `log N(delta) <= P log K`, P the number of parameters that vary,
   centres inside the class.

`Lambda` overflows every float (its logarithm is some hundreds), so all results are logarithms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from construct.validation import integer, invalid, positive_integer, positive_real, real

Number = TypeVar("Number")

EXACT_BELOW = 30.0
"""Below this logarithm a ceiling is taken in floating point; above it, `ceil(x) <= x + 1`."""


@dataclass(frozen=True)
class StepConstants(Generic[Number]):
    """The constants of steps 1 to 4 above, in the number type of kappa and M (int, Fraction or float).

    head_state, head_weight: of one head in H and in its weights; ffn_state, ffn_weight: of the FFN;
    growth, drive: A and B of the recursion.
    """

    head_state: Number
    head_weight: Number
    ffn_state: Number
    ffn_weight: Number
    growth: Number
    drive: Number


def step_constants(
    heads: int, tokens: int, width: int, ffn_depth: int, weight_bound: Number, state_bound: Number
) -> StepConstants[Number]:
    """The constants as they stand; exact for rational bounds. Floats may overflow: see `class_log_lipschitz`."""
    m, l, w, depth = heads, tokens, width, ffn_depth  # noqa: E741
    kappa: Any = weight_bound
    bound: Any = state_bound
    head_state = 3 * l * w**4 * kappa**3 * bound**2
    head_weight = 3 * l * w**4 * kappa**2 * bound**3
    if depth:
        ffn_state = (w * kappa) ** depth
        ffn_weight = kappa ** (depth - 1) * bound * ((w + 1) * ((w + 1) ** depth - w**depth))
    else:
        ffn_state = ffn_weight = 0 * kappa
    growth = (1 + ffn_state) * (1 + m * head_state)
    drive = (1 + ffn_state) * (m * head_weight) + ffn_weight
    return StepConstants(head_state, head_weight, ffn_state, ffn_weight, growth, drive)


def class_log_lipschitz(
    blocks: int, heads: int, tokens: int, width: int, ffn_depth: int, weight_bound: float, state_bound: float
) -> float:
    """`log Lambda`: `sup_x |T_theta(x) - T_theta'(x)| <= Lambda max |theta - theta'|` for any two members of the class.

    Args:
        blocks, heads, tokens, width, ffn_depth: L >= 0, the most heads m >= 0 of a block, l, w, the most FFN layers F
            >= 0.
        weight_bound, state_bound: kappa >= 1 and M >= 1, see the module.

    Raises:
        InputError: an argument out of range, not finite or of the wrong type.
    """
    blocks, heads = integer(blocks, "blocks"), integer(heads, "heads")
    tokens, width = positive_integer(tokens, "tokens"), positive_integer(width, "width")
    depth = integer(ffn_depth, "ffn_depth")
    kappa, bound = (
        math.log(at_least_one(weight_bound, "weight_bound")),
        math.log(at_least_one(state_bound, "state_bound")),
    )
    log_w = math.log(width)
    log_a = math.log(3 * heads * tokens) + 4 * log_w + 2 * kappa + 2 * bound if heads else -math.inf
    attention = log1p_exp(log_a + kappa)
    if depth:
        feed = log1p_exp(depth * (log_w + kappa))
        up = math.log1p(width)
        # (w + 1) ((w + 1)^F - w^F) = (w + 1)^(F + 1) (1 - (w/(w + 1))^F)
        weights = (depth - 1) * kappa + bound + (depth + 1) * up + math.log(-math.expm1(depth * (log_w - up)))
    else:
        feed, weights = 0.0, -math.inf
    growth = feed + attention
    drive = log_add(feed + log_a + bound, weights)
    return geometric_log(blocks, growth, drive)


def geometric_log(steps: int, growth: float, drive: float) -> float:
    """`log(A^L + B (A^L - 1)/(A - 1))` from `log A >= 0` and `log B`: the recursion of step 4 in closed form."""
    if steps == 0:
        return 0.0
    total = steps * growth
    if growth == 0.0:
        return log_add(0.0, drive + math.log(steps))
    return log_add(total, drive + log_expm1(total) - log_expm1(growth))


def log_covering_number(delta: float, parameters: int, weight_bound: float, log_lipschitz: float) -> float:
    """`P log ceil(2 kappa Lambda / delta)`: bounds the log of the sup-norm covering number of the class (step 5).

    Args:
        delta: > 0, radius of the balls, whose centres are members of the class.
        parameters: P, all entries that vary (`3 w^2` a head, `w^2 + w` an FFN layer, `l w` for the initial state; those
            that are the same for the whole class, as a fixed position code, need not be counted).
        weight_bound: kappa;  log_lipschitz: `log Lambda`.

    Raises:
        InputError: an argument out of range, not finite or of the wrong type.
    """
    delta = positive_real(delta, "delta")
    parameters = integer(parameters, "parameters")
    kappa = positive_real(weight_bound, "weight_bound")
    cells = math.log(2.0) + math.log(kappa) + real(log_lipschitz, "log_lipschitz") - math.log(delta)
    return parameters * log_ceil(cells)


# -- logarithms -----------------------------------------------------------------------------------


def log1p_exp(x: float) -> float:
    """`log(1 + e^x)` without overflow."""
    return log_add(0.0, x)


def log_add(x: float, y: float) -> float:
    """`log(e^x + e^y)`."""
    low, high = min(x, y), max(x, y)
    return high if low == -math.inf else high + math.log1p(math.exp(low - high))


def log_expm1(x: float) -> float:
    """`log(e^x - 1)` for x > 0."""
    return x + math.log(-math.expm1(-x))


def log_ceil(x: float) -> float:
    """A bound on `log ceil(e^x)`: exact up to e^30, `log(1 + e^x)` above."""
    return math.log(max(1, math.ceil(math.exp(x)))) if x < EXACT_BELOW else log1p_exp(x)


def at_least_one(value: object, name: str) -> float:
    """A finite real number >= 1."""
    number = real(value, name)
    if not number >= 1.0:
        raise invalid(name, "a finite real number >= 1", value)
    return number

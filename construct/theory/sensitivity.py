"""How far the output of one given network can move when its weights move: the derivation of `covering`, term by term.

Instead of `w kappa` the rows' own absolute sums, instead of M the proved bound of every register, instead of `l`
sources of size M the sums over the tokens that are there. Notation: `|Q|` entrywise; `S_s` (w,) the proved bounds of
token s; `S = max_s S_s`; primes denote the moved network, `S'_s = S_s + d` where `d` (w,) bounds `|h' - h|` in every
token. For one head and `|theta' - theta| <= eta`, with `1` the vector of ones:

    score   |<Q h_t, K h_s> - <Q' h'_t, K' h'_s>| <= dA . B'_s + A . dB_s
            A = |Q| S,  dA = |Q| d + eta (1.S') 1,  B'_s = (|K| + eta) S'_s,  dB_s = |K| d + eta (1.S'_s) 1
    value   |V' h'_s| <= C'_s = (|V| + eta) S'_s,   |V h_s - V' h'_s| <= dC_s = |V| d + eta (1.S'_s) 1
    head    |head - head'|_t <= sum_s (dA . B'_s + A . dB_s) C'_s + (A . B_s) dC_s

and the sums over s need only the moments `sum_s S_s`, `sum_s S'_s`, `sum_s S_s S'_s^T`, `sum_s S'_s S'_s^T`, so that
the cost does not depend on the number of pairs. Nothing is assumed of the moved network: its states are bounded by
`S + d`.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from torch import Tensor

from construct.arrays import Float
from construct.execution.bounds import attention_bounds, feed_forward_bounds, input_intervals
from construct.execution.plans import block_weights
from construct.transformer import Transformer
from construct.transformer.module import evaluated_formula
from construct.validation import invalid, real

ROUNDING = 1e-9
"""Absolute margin on the logarithm: some 10^5 float operations on logarithms of size 10^3."""


class Boxed(Protocol):
    """A transformer (`evaluated_formula`) and the box (2, D) of its inputs."""

    @property
    def transformer(self) -> Transformer: ...

    @property
    def box(self) -> Tensor: ...


def network_log_lipschitz(net: Boxed, radius: float = 0.0) -> float:
    """`log Lambda` of one network, for inputs in its box: `|T(x) - T'(x)| <= Lambda eta`.

    Args:
        radius: eta. If positive, the bound holds for every network T' of the same shape whose parameters (position
            codes and initial hidden state included) differ from those of `net` by at most `radius`. The default 0 is
            the limit eta -> 0: then Lambda bounds the sum of |dT/dtheta| over all parameters, and the bound holds for
            every eta and any two members of the class of networks whose weights are entry by entry at most those of
            `net` in absolute value, and whose states on the box keep the bounds proved for `net`.

    States are bounded by float64 intervals with outward widening (`execution.bounds`); logarithms are rounded up.

    Raises:
        InputError: radius is negative or not finite, or the weights are so large that bounds of the states overflow.
    """
    if not real(radius, "radius") >= 0.0:
        raise invalid("radius", "a finite real number >= 0", radius)
    log_eta = _log(np.float64(radius))
    formula = evaluated_formula(net)
    state = input_intervals(_numpy(formula.hidden0), _numpy(net.box))
    change = np.zeros(state.lower.shape[1])  # log of d / eta: every entry of the initial state may move by eta
    for block in formula.stack:
        heads, ffn = block_weights(block)
        query, key, value, layers = heads.query, heads.key, heads.value, list(ffn.layers)
        with np.errstate(over="ignore", invalid="ignore"):
            _, middle = attention_bounds(query, key, value, state)
            after, _ = feed_forward_bounds(layers, middle)
        if not all(np.isfinite(side).all() for side in (middle.lower, middle.upper, after.lower, after.upper)):
            raise invalid("net", "weights whose states are bounded by numbers", got="bounds that overflow float64")
        change = _heads(query, key, value, _log(state.magnitude()), change, log_eta)
        change = _feed_forward(layers, _log(middle.magnitude()), change, log_eta)
        state = after
    return float(change[formula.output[1]]) + ROUNDING


def _numpy(tensor: Tensor) -> Float:
    return np.asarray(tensor.detach().cpu().double().numpy())


def _heads(query: Float, key: Float, value: Float, bounds: Float, change: Float, log_eta: Float) -> Float:
    """Log of `|Z - Z'| / eta` (w,) from that of `|H - H'| / eta`; bounds (l, w) are logs of S_s."""
    if query.shape[0] == 0:
        return change
    q, k, v = _log(np.abs(query)), _log(np.abs(key)), _log(np.abs(value))
    moved = np.logaddexp(bounds, change + log_eta)  # S'_s
    k_moved, v_moved = np.logaddexp(k, log_eta), np.logaddexp(v, log_eta)
    sums, moved_sums = _sum(bounds, 0), _sum(moved, 0)
    mixed = _sum(bounds[:, :, None] + moved[:, None, :], 0)  # sum_s S_s S'_s^T
    squares = _sum(moved[:, :, None] + moved[:, None, :], 0)
    a = _apply(q, bounds.max(axis=0))  # (m, w)
    da = np.logaddexp(_apply(q, change), _sum(moved.max(axis=0), 0))
    v_transposed = np.swapaxes(v_moved, 1, 2)
    # sum_s B'_s C'_s^T, then sum_s dB_s C'_s^T, each (m, w, w)
    keys_values = _matmul(_matmul(k_moved, squares), v_transposed)
    key_change = np.logaddexp(
        _apply(k, change)[:, :, None] + moved_sums[None, None, :],
        np.broadcast_to(_sum(squares, 0), (k.shape[0], k.shape[1], k.shape[1])),
    )
    first = np.logaddexp(
        _sum(da[:, :, None] + keys_values, 1), _sum(a[:, :, None] + _matmul(key_change, v_transposed), 1)
    )
    # sum_s (A . B_s) dC_s = (A^T |K| sum_s S_s) |V| d + eta A^T |K| (sum_s S_s S'_s^T) 1
    form = _sum(a[:, :, None] + k, 1)  # A^T |K|, (m, w)
    second = np.logaddexp(_sum(form + sums, 1)[:, None] + _apply(v, change), _sum(form + _sum(mixed, 1), 1)[:, None])
    return np.logaddexp(change, _sum(np.logaddexp(first, second), 0))


def _feed_forward(layers: list[tuple[Float, Float]], bounds: Float, change: Float, log_eta: Float) -> Float:
    """Log of `|(Z + FFN Z) - (Z' + FFN' Z')| / eta`; bounds (l, w) are logs of the states after the heads.

    Layer by layer `|u - u'|_i <= |W| |u - u'|_(i-1) + eta (1.|u'|_(i-1) + 1)`; relu is 1-Lipschitz and fixes 0.
    """
    size, moving = bounds.max(axis=0), change
    for weight, bias in layers:
        w, b = _log(np.abs(weight)), _log(np.abs(bias))
        fresh = np.logaddexp(_sum(np.logaddexp(size, moving + log_eta), 0), 0.0)
        moving = np.logaddexp(_sum(w + moving, 1), fresh)
        size = np.logaddexp(_sum(w + size, 1), b)
    return np.logaddexp(change, moving) if layers else change


# -- non-negative arrays by their logarithms ------------------------------------------------------


def _log(x: Float | np.float64) -> Float:
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(x))


def _sum(x: Float, axis: int) -> Float:
    return np.asarray(np.logaddexp.reduce(x, axis=axis))


def _apply(matrices: Float, vector: Float) -> Float:
    """(m, w, w), (w,) -> (m, w)."""
    return _sum(matrices + vector, 2)


def _matmul(left: Float, right: Float) -> Float:
    """(m, w, w) times (w, w) or (m, w, w)."""
    return _sum(left[:, :, :, None] + right[..., None, :, :], 2)

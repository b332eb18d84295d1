"""The attention of one block on symbols: `sum_s relu(<Q h_t, K h_s>) V h_s`, pair by pair where it is not silent."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
from flint import arb

from construct.arrays import Float
from construct.certificates.extraction.arithmetic import ZERO, Register
from construct.certificates.extraction.maps import chebyshev_degree, chebyshev_map, is_affine, map_rows, named_in_unit
from construct.certificates.extraction.relus import doubt, relu_quantity
from construct.certificates.extraction.screening import candidates
from construct.certificates.extraction.state import State
from construct.certificates.polynomials import Polynomial, Quantity
from construct.certificates.weights import BlockWeights

SAME = 1e-6  # a score this near, relatively, to a register of its source is that register, at the price of an error

SMALL = 0.25  # errors of a register up to which its map is looked at as one

Contributions = dict[tuple[int, int], list[Register]]


def attend(state: State, block: BlockWeights, only: int | None = None) -> None:
    """Add what all heads of a block contribute; only: to this one token."""
    parts: Contributions = defaultdict(list)
    acting = candidates(block, state.low, state.high, state.arithmetic.unit, only)
    _name_forms(state, block, acting)
    written = [np.flatnonzero(value.any(axis=1)).tolist() for value in block.value]
    heard = Counter((target, row) for head, target, _ in acting for row in written[head])
    updates: dict[tuple[int, int], Register] = {}
    for head, target, source in acting:
        alone = target == source and len(written[head]) == 1 and heard[target, written[head][0]] == 1
        if alone and (found := _mapped(state, block, head, target, written[head][0])):
            updates[target, written[head][0]] = found
        else:
            _act(state, block.query[head], block.key[head], block.value[head], target, source, parts)
    for (token, row), contributions in parts.items():
        updates[token, row] = state.arithmetic.accumulated(state.registers[token][row], contributions)
    for (token, row), register in updates.items():
        state.write(token, row, register)
    state.tidy(updates)


def _mapped(state: State, block: BlockWeights, head: int, token: int, row: int) -> Register | None:
    """The register of a row that hears this head of its own token alone, where that is T3 or T2 of a named quantity.

    The register a is within e of the quantity. `a + relu(1 - a^2)(-4 a)` and `a + relu(1 - a)(-2 a - 1)` are T3 and T2
    up to 1 and a beyond, and have the Lipschitz constants 9 and 4 (1 + e) there; what the block itself rounds is that
    of a number in [-1, 1], times (1 + e)^3 for one beyond.
    """
    register = state.registers[token][row]
    quantity = named_in_unit(state.names, register.polynomial)
    if quantity is None or not register.error <= SMALL:
        return None
    between = state.names.shared(Quantity("free", arb(-1), arb(1)))
    unit = Polynomial.of(between)
    state.registers[token][row] = Register(unit, ZERO)
    parts: Contributions = defaultdict(list)
    _act(state, block.query[head], block.key[head], block.value[head], token, token, parts)
    local = state.arithmetic.accumulated(Register(unit, ZERO), parts[token, row])
    state.registers[token][row] = register
    degree = chebyshev_degree(local.polynomial, between)
    if degree is None:
        return None
    beyond = 1 + register.error
    slope = arb(9) if degree == 3 else 4 * beyond
    error = local.error * beyond**3 + slope * register.error
    return Register(Polynomial.of(chebyshev_map(state.names, quantity, degree)), error)


def _name_forms(state: State, block: BlockWeights, acting: Sequence[tuple[int, int, int]]) -> None:
    """Linear forms of the input that are about to be mapped get names."""
    rows = map_rows(block)
    for head, target, source in acting if rows else ():
        if target == source and head in rows:
            register = state.registers[target][rows[head]]
            if is_affine(state.names, register.polynomial):
                low, high = state.names.range(register.polynomial)
                name = state.names.shared(Quantity("linear", low, high, (register.polynomial,)))
                state.write(target, rows[head], Register(Polynomial.of(name), register.error))


def _act(state: State, query: Float, key: Float, value: Float, target: int, source: int, parts: Contributions) -> None:
    """Contribution of one head at one pair, row by row of its value."""
    arithmetic = state.arithmetic
    score, size = _score(state, query, key, target, source)
    low, high = state.names.range(score.polynomial)
    above = (high + score.error).upper()
    if above <= 0 or (high <= 0 and score.error == 0):
        return
    for row in np.flatnonzero(value.any(axis=1)).tolist():
        v = arithmetic.affine(value[row], state.registers[source])
        if v.is_zero:
            continue
        v_size = arithmetic.size(v.polynomial) + v.error
        if high <= 0:  # silent in exact arithmetic, perhaps not in floating point
            leak = score.error * v_size
            parts[target, row].append(Register(Polynomial(), leak + arithmetic.rounding(1, leak)))
            continue
        fired = _fired(state, score, low, high, source, v.polynomial)
        if fired is None:
            bound = above * v_size
            bound = (bound + arithmetic.rounding(1, bound)).upper()
            name = state.names.new(Quantity("free", -bound, bound))
            parts[target, row].append(Register(Polynomial.of(name), ZERO))
            continue
        error = fired.error * v_size + size * v.error
        error += arithmetic.product_rounding(fired, v, (size + fired.error) * v_size)
        parts[target, row].append(Register(fired.polynomial * v.polynomial, error))


def _score(state: State, query: Float, key: Float, target: int, source: int) -> tuple[Register, arb]:
    """`sum_r <Q_r, h_t> <K_r, h_s>`, its rows added from the first to the last, and a bound of its size."""
    arithmetic = state.arithmetic
    products: list[Polynomial] = []
    partial, error = Polynomial(), ZERO
    for q_row, k_row in zip(query, key, strict=True):
        if not (q_row.any() and k_row.any()):
            continue
        q = arithmetic.affine(q_row, state.registers[target])
        k = arithmetic.affine(k_row, state.registers[source])
        if q.is_zero or k.is_zero:
            continue
        q_size, k_size = arithmetic.size(q.polynomial), arithmetic.size(k.polynomial)
        error += q.error * k_size + q_size * k.error + q.error * k.error
        error += arithmetic.product_rounding(q, k, (q_size + q.error) * (k_size + k.error))
        product = q.polynomial * k.polynomial
        products.append(product)
        partial = partial + product
        if len(products) > 1 and not arithmetic.exact_sum(products, error):
            error += arithmetic.rounding(1, arithmetic.size(partial) + error)
    kept = arithmetic.pruned(Register(partial, error))
    return kept, arithmetic.size(kept.polynomial)


def _fired(state: State, score: Register, low: arb, high: arb, source: int, v: Polynomial) -> Register | None:
    """relu of a score with the range [low, high], to be multiplied by v; None for a product of two unknowns."""
    off = doubt(low, high)
    if off is not None:
        return Register(score.polynomial, score.error + off)
    if not v.is_constant and not state.names.common_factors(score.polynomial):
        return None
    size = abs(low).max(high)
    for row in state.written_rows:  # a gate that is not exactly zero: the register itself, off by little
        candidate = state.registers[source][row].polynomial
        difference = score.polynomial - candidate
        if difference and len(difference.terms) <= 2:
            off = state.arithmetic.size(difference)
            if off <= size * SAME:
                return Register(relu_quantity(state.names, candidate), score.error + off)
    return Register(relu_quantity(state.names, score.polynomial), score.error)

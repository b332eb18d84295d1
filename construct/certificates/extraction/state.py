"""The hidden state on symbols: a register for every entry, with bounds in floating point for the screening of pairs."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from flint import arb

from construct.arrays import Float
from construct.certificates.extraction.arithmetic import LARGEST, UNDERFLOW, ZERO, Arithmetic, Register
from construct.certificates.polynomials import Polynomial, Quantity, rational
from construct.certificates.weights import INPUT_ROW, NetworkWeights
from construct.validation import invalid

MOST_TERMS = 40  # a register with more linear terms gets a name


class State:
    """Registers of all tokens, before the first block for inputs in a box (2, D) and then as blocks write them.

    registers: token by token, row by row; low, high: (l, w) bounds of what is computed, rounded outwards; written_rows:
    those that are not the same in all states.
    """

    def __init__(self, weights: NetworkWeights, box: Float, arithmetic: Arithmetic) -> None:
        self.arithmetic, self.names = arithmetic, arithmetic.names
        self.tokens, self.width = weights.hidden0.shape
        self.written_rows = weights.written_rows
        self.registers = [[Register.fixed(value) for value in row] for row in weights.hidden0]
        self.low, self.high = weights.hidden0.copy(), weights.hidden0.copy()
        for j, (lower, upper) in enumerate(box.T.tolist()):
            self.write(j, INPUT_ROW, self._input(j, arb(lower), arb(upper), float(weights.hidden0[j, INPUT_ROW])))

    def _input(self, j: int, lower: arb, upper: arb, start: float) -> Register:
        """x_j plus the number that it is added to: one quantity, whose range is that of the sum."""
        size = abs(lower).max(abs(upper))
        error = (size + UNDERFLOW) * self.arithmetic.unit if size > 0 else ZERO
        if not start:
            return Register(Polynomial.of(self.names.new(Quantity("input", lower, upper, label=j))), error)
        definition = (Polynomial.constant(rational(start)),)
        low, high = (lower + start).lower(), (upper + start).upper()
        name = self.names.new(Quantity("input", low, high, definition, label=j))
        return Register(Polynomial.of(name), error + self.arithmetic.rounding(1, abs(low).max(abs(high)) + error))

    def write(self, token: int, row: int, register: Register) -> None:
        """Replace a register and its bounds."""
        self.registers[token][row] = register
        low, high = self.names.range(register.polynomial)
        self.low[token, row] = np.nextafter(float((low - register.error).lower()), -np.inf)
        self.high[token, row] = np.nextafter(float((high + register.error).upper()), np.inf)
        if register.polynomial.is_constant and register.error == 0:
            self.low[token, row] = self.high[token, row] = float(arb(register.polynomial.value()).mid())
        if not (self.low[token, row] >= -LARGEST and self.high[token, row] <= LARGEST):
            raise invalid("net", f"registers below {LARGEST:.0e}", got=f"row {row} of token {token} that may be larger")

    def forgotten(self, register: Register) -> Register:
        """A register of which only the range is known."""
        low, high = self.names.range(register.polynomial)
        name = self.names.new(Quantity("free", (low - register.error).lower(), (high + register.error).upper()))
        return Register(Polynomial.of(name), ZERO)

    def tidy(self, changed: Iterable[tuple[int, int]]) -> None:
        """Registers that hold unknowns become one unknown; long linear ones get a name."""
        for token, row in changed:
            register = self.registers[token][row]
            kinds = self.names.kinds(register.polynomial)
            if "free" in kinds:
                self.write(token, row, self.forgotten(register))
            elif len(register.polynomial.terms) > MOST_TERMS and kinds == {"input"}:
                if any(len(m) > 1 for m in register.polynomial.terms):
                    continue
                low, high = self.names.range(register.polynomial)
                name = self.names.shared(Quantity("linear", low, high, (register.polynomial,)))
                self.write(token, row, Register(Polynomial.of(name), register.error))

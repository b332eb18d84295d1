"""A network, block by block, on symbols."""

from __future__ import annotations

import numpy as np
from flint import ctx

from construct.arrays import Float
from construct.boxes import ends
from construct.certificates.extraction.arithmetic import LARGEST, Arithmetic
from construct.certificates.extraction.codes import has_trigonometric_code
from construct.certificates.extraction.feed_forward import feed_forward
from construct.certificates.extraction.formula import NetworkFormula, formula_of
from construct.certificates.extraction.heads import attend
from construct.certificates.extraction.maps import has_maps
from construct.certificates.extraction.recognition import Recognition
from construct.certificates.extraction.state import State
from construct.certificates.polynomials import PRECISION, Quantities
from construct.certificates.weights import NetworkWeights
from construct.validation import invalid

NEGLIGIBLE = 2.0**-28  # with inexact gates, terms below this share of a register or score become part of its error
LARGEST_UNIT = 2.0**-8


def extract(weights: NetworkWeights, box: Float, unit: float = 0.0) -> NetworkFormula:
    """The formula of a network for the inputs of a box.

    Args:
        box: (2, D) lower and upper ends, or half-widths (D,); what is proved holds for inputs inside.
        unit: unit round-off of the arithmetic whose errors are to be included; 0 for exact arithmetic.

    Raises:
        InputError: the weights are not those of a telescoping partition of polynomials (a network of another kind, or
            weights that were changed); a box that does not fit.
    """
    with ctx.workprec(max(ctx.prec, PRECISION)):
        token, row = weights.readout
        state = executed(weights, box, unit, output_only=True)
        return formula_of(state.names, state.registers[token][row])


def executed(weights: NetworkWeights, box: Float, unit: float = 0.0, *, output_only: bool = False) -> State:
    """The registers after the last block; arguments as for `extract`.

    output_only: of the token that is read out; what the others hear in the last block changes nothing.
    """
    box = ends(box, "box", weights.ambient)
    if not (np.abs(box) <= LARGEST).all():
        raise invalid("box", f"ends up to {LARGEST:.0e}", box.tolist())
    if not 0 <= unit <= LARGEST_UNIT:
        raise invalid("unit", "a unit round-off between 0 and 2^-8", unit)
    negligible = NEGLIGIBLE if has_trigonometric_code(weights) else 0.0
    arithmetic = Arithmetic(Quantities(), unit, negligible, sharp=has_maps(weights))
    recognition = Recognition(arithmetic)
    state = State(weights, box, arithmetic)
    for number, block in enumerate(weights.blocks, 1):
        only = weights.readout[0] if output_only and number == len(weights.blocks) else None
        attend(state, block, only)
        feed_forward(state, block, recognition, only)
    return state

"""What one head adds, compared with what a lemma says, in rational arithmetic on the stored weights.

A head with form `G` (3, 3), value `A` (2, 3) and wanted pairs `W` is said to add

    sum over s with (t, s) in W of relu(u_t^T G u_s) A u_s,      u = (a, b, 1),

to the registers of token t, and nothing to any other row. Two comparisons of the weights with that:

- at the corners of the data box, over *all* ordered pairs: the score is u_t^T G u_s on W and <= 0 off W. A score is
  affine in the registers of either token (`rational.corner_state`), so corners decide it for every state in the box;
- the complete output, all tokens and rows, at one state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from flint import fmpq, fmpq_mat

from construct.arrays import Float
from construct.program.layout import TokenLayout
from construct.transformer.weights import Heads
from proofs_as_code import rational
from proofs_as_code.rational import ZERO, Number

Wanted = Callable[[int, int], bool]


@dataclass(frozen=True)
class Defect:
    """How far a head is from its lemma.

    leak: largest positive score on an unwanted pair, or entry added where nothing may be; match: largest
    |score - u_t^T G u_s| on a wanted pair; output: largest |added - lemma| over all tokens and rows.
    """

    leak: fmpq
    match: fmpq
    output: fmpq
    points: int
    where: dict[str, Any]

    @property
    def largest(self) -> fmpq:
        return max(self.leak, self.match, self.output)


def compare(
    layout: TokenLayout,
    head: Heads,
    form: Float,
    value: Float,
    bound: Sequence[Number],
    wanted: Wanted,
    registers: Sequence[tuple[Number, Number]],
) -> Defect:
    """Compare a single head (m = 1) with its lemma; form (1, 3, 3), value (1, 2, 3), bound (|a|, |b|, 1)."""
    corner = _corners(layout, head, form[0], bound, wanted)
    leak, output, token = _output(layout, head, form[0], value[0], wanted, registers)
    where = {**corner.where, "tokens": layout.count, "output_token": token}
    return Defect(max(corner.leak, leak), corner.match, output, corner.points + layout.count, where)


def _corners(layout: TokenLayout, head: Heads, form: Float, bound: Sequence[Number], wanted: Wanted) -> Defect:
    state, token = rational.corner_state(layout, bound)
    scores = rational.scores(head.query[0], head.key[0], state)
    u = _columns(layout, state)
    lemma = u * rational.matrix(form) * u.transpose()
    leak, match, where = ZERO, ZERO, {}
    for i, t in enumerate(token):
        for j, s in enumerate(token):
            if wanted(t, s):
                off = abs(scores[i, j] - lemma[i, j])
                if off > match:
                    match, where = off, {"target": t, "source": s}
            elif scores[i, j] > leak:
                leak, where = scores[i, j], {"target": t, "source": s}
    return Defect(leak, match, ZERO, len(token) ** 2, where)


def _output(
    layout: TokenLayout,
    head: Heads,
    form: Float,
    value: Float,
    wanted: Wanted,
    registers: Sequence[tuple[Number, Number]],
) -> tuple[fmpq, fmpq, int]:
    """Largest entry added to a token or row that the lemma leaves alone, largest difference, and its token."""
    state = rational.state(layout, registers)
    u = _columns(layout, state)
    share = rational.relu(u * rational.matrix(form) * u.transpose())
    heard = [any(wanted(t, s) for s in range(layout.count)) for t in range(layout.count)]
    for t in range(layout.count):
        for s in range(layout.count):
            if not wanted(t, s):
                share[t, s] = ZERO
    lemma = share * (u * rational.matrix(value).transpose())
    added = rational.head(head.query[0], head.key[0], head.value[0], state)
    leak, output, token = ZERO, ZERO, 0
    for t in range(layout.count):
        for row in range(layout.embedding_dim):
            if row not in layout.register_rows or not heard[t]:
                leak = max(leak, abs(added[t, row]))
                continue
            off = abs(added[t, row] - lemma[t, layout.register_rows.index(row)])
            if off > output:
                output, token = off, t
    return leak, output, token


def _columns(layout: TokenLayout, state: fmpq_mat) -> fmpq_mat:
    """`u = (a, b, 1)` of every token, (l, 3)."""
    return rational.matrix([[state[t, row] for row in layout.data_rows] for t in range(state.nrows())])


def with_constant(head: Heads, gate_rows: int, ratio: float) -> Heads:
    """The same head with its gate constant times `ratio`: only the first `gate_rows` rows carry the constant."""
    query = head.query.copy()
    query[:, :gate_rows] *= ratio
    return Heads(query, head.key, head.value)


def form_bound(form: Float, bound: Sequence[Number]) -> fmpq:
    """`U^T |G| U`, exactly; form (3, 3)."""
    row = rational.matrix([list(bound)])
    absolute = rational.matrix([[abs(x) for x in line] for line in rational.matrix(form).tolist()])
    return (row * absolute * row.transpose())[0, 0]

"""The one rule by which networks are counted, whoever built them.

- `parameters` (dense): 3 w^2 per head, w^2 + w per FFN layer, and the initial registers that are not zero;
- `nonzero_parameters`: those of them that are not zero;
- `code_entries`: entries of the hidden state at x = 0 in rows that no block writes (position codes, the row of ones),
  counted in neither;
- `chosen_entries`: those of them that are not zero and that no fixed formula of the token's number gives; `chosen` has
  the formulas: constants, cosines, (v, v^2) with v in steps of one, squares of directions, lattices listed whole;
- `stored_numbers`: `nonzero_parameters + chosen_entries`, what a file of the network cannot do without.

Registers are the rows that a block writes, and row 0, where the inputs arrive.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from construct.arrays import Float, Int
from construct.transformer.chosen import chosen_entries
from construct.transformer.weights import FeedForward, Heads


@dataclass(frozen=True)
class Counts:
    """Sizes of one network; the paper's symbol in brackets.

    Attributes:
        blocks: transformer blocks [L_T].
        heads: most heads in a block [m].
        total_heads: heads in all blocks.
        ffn_depth: most layers of a block's FFN [L_FFN].
        ffn_width: width of the FFN [w_FFN].
        embedding_dim: rows of the hidden state [d_embd].
        tokens: columns of the hidden state [l].
        parameters, nonzero_parameters, code_entries, chosen_entries, stored_numbers: see the module.
    """

    blocks: int
    heads: int
    total_heads: int
    ffn_depth: int
    ffn_width: int
    embedding_dim: int
    tokens: int
    parameters: int
    nonzero_parameters: int
    code_entries: int
    chosen_entries: int
    stored_numbers: int


def written_rows(blocks: Iterable[tuple[Heads, FeedForward]], width: int) -> Int:
    """Rows that some block (or the embedding, row 0) can change; the others keep their initial value for every x."""
    written = np.zeros(width, dtype=bool)
    written[0] = True
    for heads, ffn in blocks:
        written |= (heads.value != 0).any(axis=(0, 2))
        if ffn.layers:
            weight, bias = ffn.layers[-1]
            written |= (weight != 0).any(axis=1) | (bias != 0)
    return np.flatnonzero(written)


def counted(hidden0: Float, blocks: Iterable[tuple[Iterable[Heads], FeedForward]]) -> Counts:
    """Count a network whose heads come in batches, block by block; one batch is held at a time."""
    tokens, width = hidden0.shape
    most = total = depth = layers = nonzero = count = 0
    written = {0}
    for batches, ffn in blocks:
        heads = 0
        for batch in batches:
            heads += len(batch)
            nonzero += sum(int(np.count_nonzero(w)) for w in (batch.query, batch.key, batch.value))
            written |= set(written_rows([(batch, FeedForward())], width).tolist())
        written |= set(written_rows([(Heads.none(width), ffn)], width).tolist())
        nonzero += sum(int(np.count_nonzero(w)) for layer in ffn.layers for w in layer)
        count, total, most = count + 1, total + heads, max(most, heads)
        depth, layers = max(depth, ffn.depth), layers + ffn.depth
    registers, code = hidden0[:, sorted(written)], np.delete(hidden0, sorted(written), axis=1)
    used, chosen = int(np.count_nonzero(registers)), chosen_entries(code)
    return Counts(
        blocks=count,
        heads=most,
        total_heads=total,
        ffn_depth=depth,
        ffn_width=width,
        embedding_dim=width,
        tokens=tokens,
        parameters=3 * width**2 * total + (width**2 + width) * layers + used,
        nonzero_parameters=nonzero + used,
        code_entries=code.size,
        chosen_entries=chosen,
        stored_numbers=nonzero + used + chosen,
    )

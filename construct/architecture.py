"""Architecture: what a network is in the paper's terms, and what it stores.

The counting rule is written down in `transformer.counts`: `parameters` as the paper counts, dense;
`nonzero_parameters`; `code_entries`, in neither; `stored_numbers`, the non-zero parameters and those code entries that
were *chosen*. A code is not chosen where it is a fixed formula of the token's number, `transformer.chosen`; directions
or cells picked for a manifold or a function are, one by one. Rivals are counted by the same rule, `baselines.base`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import ClassVar

import torch

from construct.execution.plans import block_weights
from construct.transformer.counts import Counts, counted
from construct.transformer.module import Transformer


@dataclass(frozen=True)
class Architecture(Counts):
    """Counts of one network, from its weights, and the largest of them; the paper's symbol in brackets.

    Attributes:
        weight_bound: largest absolute weight, position codes and initial registers included [kappa].
    """

    weight_bound: float

    SYMBOLS: ClassVar[dict[str, str]] = {
        "blocks": "L_T",
        "heads": "m",
        "ffn_depth": "L_FFN",
        "ffn_width": "w_FFN",
        "embedding_dim": "d_embd",
        "tokens": "l",
        "weight_bound": "kappa",
    }


def architecture_of(net: Transformer) -> Architecture:
    """Count a network."""
    blocks = [block_weights(block) for block in net.stack]
    counts = counted(net.hidden0.detach().to("cpu", torch.float64).numpy(), [([h], f) for h, f in blocks])
    largest = [float(t.detach().abs().max()) for t in net.parameters() if t.numel()]
    return Architecture(**asdict(counts), weight_bound=max(largest))

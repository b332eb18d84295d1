"""Architecture: what a network is in the paper's terms."""

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

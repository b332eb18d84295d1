"""Architecture and claim: what a network is in the paper's terms, and what is said of its error."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import ClassVar, Literal

import torch

from construct.execution.sparse import block_weights
from construct.transformer.counts import Counts, counted
from construct.transformer.module import Transformer

ClaimKind = Literal["measured", "rigorous"]


@dataclass(frozen=True)
class Claim:
    """What is said about `sup_M |T - f|`: `epsilon` asked for, `bound` found, and how (`kind`).

    kind "measured": the largest error over `samples` points, refined around the worst ones; not a proof. "rigorous": a
    proved bound, over `samples` cells that cover M.
    """

    epsilon: float | None
    bound: float
    kind: ClaimKind
    samples: int

    def __str__(self) -> str:
        asked = "" if self.epsilon is None else f"epsilon {self.epsilon:g} asked, "
        how = f"proved, {self.samples:,} cells" if self.kind == "rigorous" else f"{self.kind}, {self.samples:,} points"
        return f"{asked}sup error {self.bound:.3e} ({how})"


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

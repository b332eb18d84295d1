"""Architecture report: the class parameters of Havrilla and Liao, counted from the weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from construct.execution.sparse import written_rows

if TYPE_CHECKING:
    from construct.transformer.module import Transformer


@dataclass(frozen=True)
class Claim:
    """What is said about `sup_M |T - f|`: `epsilon` asked for, `bound` found, and how (`kind`).

    kind "measured": the largest error over `samples` points, refined around the worst ones; not a proof. "rigorous": a
    proved bound, over `samples` cells that cover M.
    """

    epsilon: float | None
    bound: float
    kind: str
    samples: int


@dataclass(frozen=True)
class Architecture:
    """Counts and norms of one network; the paper's symbol in brackets.

    Attributes:
        blocks: transformer blocks [L_T].
        heads: most heads in a block [m].
        total_heads: heads in all blocks.
        ffn_depth: most layers of a block's FFN [L_FFN].
        ffn_width: width of the FFN [w_FFN].
        embedding_dim: rows of the hidden state [d_embd].
        tokens: columns of the hidden state [l].
        weight_bound: largest absolute weight, position codes and initial registers included [kappa].
        output_bound: bound on the absolute output over the admissible box [R]: float64 intervals, widened, loose.
        parameters: dense count: 3 w^2 per head, w^2 + w per FFN layer, initial registers that are not zero.
        nonzero_parameters: those of them that are not zero.
        code_entries: entries of position codes and of the row of ones, counted in neither.
        charts, cells, degree: resolution of the approximator (None if the network does not say).
    """

    blocks: int
    heads: int
    total_heads: int
    ffn_depth: int
    ffn_width: int
    embedding_dim: int
    tokens: int
    weight_bound: float
    output_bound: float
    parameters: int
    nonzero_parameters: int
    code_entries: int
    charts: int | None
    cells: int | None
    degree: int | None

    SYMBOLS: ClassVar[dict[str, str]] = {
        "blocks": "L_T",
        "heads": "m",
        "ffn_depth": "L_FFN",
        "ffn_width": "w_FFN",
        "embedding_dim": "d_embd",
        "tokens": "l",
        "weight_bound": "kappa",
        "output_bound": "R",
    }

    def describe(self, labels: dict[str, Any], claim: Claim | None, dtype: torch.dtype, ambient: int) -> str:
        """Text for `repr`."""
        kind = labels.get("construction", "assembled")
        code = labels.get("position_code")
        head = f"Transformer: R^{ambient} -> R, {kind} construction" + (f", {code} code" if code else "") + f", {dtype}"
        lines = [head]
        if labels.get("manifold_text"):
            lines.append(f"  on        {labels['manifold_text']}")
        if self.charts is not None:
            lines.append(f"  local     {self.charts} charts, {self.cells} cells per coordinate, degree {self.degree}")
        lines.append(
            f"  class     {self.blocks} blocks, {self.heads} heads in the widest ({self.total_heads} in all), "
            f"{self.tokens} tokens of dimension {self.embedding_dim}, FFN depth {self.ffn_depth}"
        )
        lines.append(
            f"  weights   {self.parameters:,} parameters, {self.nonzero_parameters:,} non-zero, "
            f"largest {self.weight_bound:.4g}; none trained"
        )
        if claim is not None:
            asked = "" if claim.epsilon is None else f"epsilon {claim.epsilon:g} asked, "
            seen = (
                f"proved, {claim.samples:,} cells"
                if claim.kind == "rigorous"
                else f"{claim.kind}, {claim.samples:,} points"
            )
            lines.append(f"  error     {asked}sup error {claim.bound:.3e} ({seen})")
        return "\n".join(lines)


def architecture(net: Transformer) -> Architecture:
    """Count a network."""
    heads = [int(block.query.shape[0]) for block in net.stack]
    depths = [len(block.ffn) for block in net.stack]
    width = int(net.hidden0.shape[1])
    matrices = [t for block in net.stack for t in block.parameters()]
    registers = net.hidden0[:, written_rows(net)]
    used = _nonzeros(registers)
    dense = sum(t.numel() for t in matrices) + used
    sparse = sum(_nonzeros(t) for t in matrices) + used
    token, row = (int(i) for i in net.readout)
    bounds = net.sparse_plan().bounds
    output = float(bounds[-1].after.magnitude()[token, row]) if bounds else float(net.hidden0[token, row].abs())
    kappa = max([float(net.hidden0.abs().max()), *(float(t.abs().max()) for t in matrices if t.numel())])
    return Architecture(
        blocks=len(heads),
        heads=max(heads, default=0),
        total_heads=sum(heads),
        ffn_depth=max(depths, default=0),
        ffn_width=width,
        embedding_dim=width,
        tokens=int(net.hidden0.shape[0]),
        weight_bound=kappa,
        output_bound=output,
        parameters=dense,
        nonzero_parameters=sparse,
        code_entries=int(net.hidden0.numel() - registers.numel()),
        charts=net.labels.get("charts"),
        cells=net.labels.get("cells"),
        degree=net.labels.get("degree"),
    )


def _nonzeros(tensor: Tensor) -> int:
    return int(torch.count_nonzero(tensor))

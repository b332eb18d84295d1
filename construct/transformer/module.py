"""The transformer class of Havrilla and Liao as a `torch.nn.Module`, and nothing else.

    hidden state  H = hidden0 + (x_j in row 0 of token j, j < D)            (l tokens of w rows)
    head(H)_t     = sum_s relu(<Q h_t, K h_s>) V h_s
    block(H)      = Z + FFN(Z),  Z = H + sum of the block's heads
    T(x)          = one entry of the last hidden state

The function is determined by the parameters alone (and by D and the read-out, which are indices).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from construct.architecture import Architecture, Claim, architecture
from construct.arrays import Float
from construct.errors import InputError, OffManifoldError, PrecisionError
from construct.execution.bounds import BlockBounds
from construct.execution.dense import dense_forward
from construct.execution.sparse import SparsePlan, plan_signature
from construct.transformer.weights import FeedForward, Heads

EXECUTIONS = ("sparse", "dense")


class Block(nn.Module):
    """`Z + FFN(Z)`, `Z = H + MHA(H)`; query, key, value (m, w, w), FFN a list of square `nn.Linear`."""

    query: nn.Parameter
    key: nn.Parameter
    value: nn.Parameter

    def __init__(self, heads: Heads, ffn: FeedForward, *, dtype: torch.dtype, device: torch.device | str) -> None:
        super().__init__()
        for name in ("query", "key", "value"):
            tensor = torch.as_tensor(getattr(heads, name), dtype=dtype, device=device)
            setattr(self, name, nn.Parameter(tensor.contiguous(), requires_grad=False))
        layers = []
        for weight, bias in ffn.layers:
            linear = nn.Linear(weight.shape[0], weight.shape[0], dtype=dtype, device="meta")
            linear.weight = nn.Parameter(torch.as_tensor(weight, dtype=dtype, device=device), requires_grad=False)
            linear.bias = nn.Parameter(torch.as_tensor(bias, dtype=dtype, device=device), requires_grad=False)
            layers.append(linear)
        self.ffn = nn.ModuleList(layers)

    @property
    def ffn_layers(self) -> list[nn.Linear]:
        """Affine layers of the FFN, in order."""
        return cast("list[nn.Linear]", list(self.ffn))

    def feed_forward(self, hidden: Tensor) -> Tensor:
        """FFN on tokens (..., w), without the residual."""
        for index, layer in enumerate(self.ffn_layers):
            hidden = layer(hidden if index == 0 else torch.relu(hidden))
        return hidden


class Transformer(nn.Module):
    """A transformer with assigned weights; call it on points (..., D), get (...).

    Parameters are frozen by default (nothing is trained); `net.requires_grad_()` opens them. Gradients in
    x need only `x.requires_grad`. `execution` chooses between two evaluations of the same weights:

    - "dense": the formula as it stands, all token pairs of all heads, in chunks.
    - "sparse" (default): only pairs on which a head can be non-zero, found from the weights for `|x_j| <= box_j`.
      Points outside that box are evaluated densely, so both executions are the same function everywhere.

    Args:
        hidden0: (l, w) hidden state at x = 0.
        blocks: one (Heads, FeedForward) per block.
        ambient: D, the number of input coordinates, at most l.
        readout: (token, row) of the output.
        box: (D,) half-widths of the admissible box; bounds the data for the sparse execution, nothing else.
        labels: what the builder says of itself (construction, charts, cells, degree, layout, claim ...).
    """

    hidden0: nn.Parameter
    readout: Tensor
    box: Tensor

    def __init__(
        self,
        hidden0: Float,
        blocks: Sequence[tuple[Heads, FeedForward]],
        *,
        ambient: int,
        readout: tuple[int, int],
        box: Float,
        labels: dict[str, Any] | None = None,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__()
        tokens, width = hidden0.shape
        if not 1 <= ambient <= tokens:
            raise InputError(f"ambient: expected 1 <= D <= {tokens} tokens, got {ambient}")
        if not (0 <= readout[0] < tokens and 0 <= readout[1] < width):
            raise InputError(f"readout: expected (token, row) within ({tokens}, {width}), got {readout}")
        if box.shape != (ambient,) or not (box >= 0).all() or not np.isfinite(box).all():
            raise InputError(f"box: expected {ambient} finite half-widths >= 0, got shape {box.shape}")
        hidden = torch.as_tensor(hidden0, dtype=dtype, device=device)
        self.hidden0 = nn.Parameter(hidden.contiguous(), requires_grad=False)
        self.register_buffer("readout", torch.tensor(readout, dtype=torch.int64, device=device))
        self.register_buffer("box", torch.as_tensor(box, dtype=dtype, device=device), persistent=False)
        self.blocks = nn.ModuleList(Block(h, f, dtype=dtype, device=device) for h, f in blocks)
        self.ambient = ambient
        self.labels: dict[str, Any] = dict(labels or {})
        self.manifold: Any = None
        self.approximator: Any = None
        self.certificate: Any = None
        self._execution = "sparse"
        self._plan: SparsePlan | None = None
        self._plan_signature: tuple[Any, ...] | None = None

    # -- properties -------------------------------------------------------------------------------

    @property
    def stack(self) -> list[Block]:
        """The blocks, in order."""
        return cast("list[Block]", list(self.blocks))

    @property
    def execution(self) -> str:
        return self._execution

    @execution.setter
    def execution(self, name: str) -> None:
        if name not in EXECUTIONS:
            raise InputError(f"execution: expected one of {EXECUTIONS}, got {name!r}")
        self._execution = name

    @property
    def dtype(self) -> torch.dtype:
        return self.hidden0.dtype

    @property
    def device(self) -> torch.device:
        return self.hidden0.device

    @property
    def architecture(self) -> Architecture:
        """The class parameters in the paper's terms, counted from the weights."""
        return architecture(self)

    @property
    def claim(self) -> Claim | None:
        """The error that was asked for and the one that was found, with its kind; None if none was made."""
        claim = self.labels.get("claim")
        return Claim(**claim) if claim else None

    # -- evaluation -------------------------------------------------------------------------------

    def embed(self, x: Tensor) -> Tensor:
        """Hidden state (P, l, w) before the first block, for points (P, D)."""
        hidden = self.hidden0.expand(x.shape[0], -1, -1)
        shift = torch.zeros_like(hidden)
        shift[:, : self.ambient, 0] = x
        return hidden + shift

    def forward(self, x: Tensor, *, check: bool = False) -> Tensor:
        """Evaluate at points x (..., D); result (...).

        Raises:
            InputError: x is not a floating tensor of the network's dtype and device, has another last dimension,
                or a non-finite entry.
            PrecisionError: float32 on CUDA with TF32 matrix products switched on.
            OffManifoldError: `check=True` and a point is not on the manifold.
        """
        self._validate(x, check)
        flat = x.reshape(-1, self.ambient)
        if flat.shape[0] == 0:
            return flat.new_zeros(x.shape[:-1])
        if self._execution == "dense":
            return dense_forward(self, flat).reshape(x.shape[:-1])
        inside = (flat.detach().abs() <= self.box).all(dim=1)
        plan = self.sparse_plan()
        if bool(inside.all()):
            return plan.forward(self, flat).reshape(x.shape[:-1])
        out = flat.new_zeros(flat.shape[0])
        index_in, index_out = inside.nonzero()[:, 0], (~inside).nonzero()[:, 0]
        out = out.index_put((index_out,), dense_forward(self, flat[index_out]))
        if index_in.numel():
            out = out.index_put((index_in,), plan.forward(self, flat[index_in]))
        return out.reshape(x.shape[:-1])

    def _validate(self, x: Tensor, check: bool) -> None:
        if not isinstance(x, Tensor):
            raise InputError(f"x: expected a torch.Tensor, got {type(x).__name__}")
        if x.ndim < 1 or x.shape[-1] != self.ambient:
            raise InputError(f"x: expected shape (..., {self.ambient}), got {tuple(x.shape)}")
        if x.dtype != self.dtype:
            raise InputError(f"x: expected dtype {self.dtype}, got {x.dtype}")
        if x.device != self.device:
            raise InputError(f"x: expected device {self.device}, got {x.device}")
        if x.is_cuda and x.dtype == torch.float32 and torch.backends.cuda.matmul.allow_tf32:
            raise PrecisionError(
                "x: float32 on CUDA with TF32 matrix products keeps 11 bits, the position code needs 24; set "
                "torch.backends.cuda.matmul.allow_tf32 = False or use float64"
            )
        finite = torch.isfinite(x)
        if not bool(finite.all()):
            count = int((~finite.all(dim=-1)).sum())
            raise InputError(f"x: expected finite coordinates, got {count} points with NaN or infinity")
        if check:
            if self.manifold is None:
                raise InputError("check: this network knows no manifold (it was built or loaded without one)")
            tolerance = 1e-8 if x.dtype == torch.float64 else 1e-4
            on = self.manifold.contains(x.detach().to("cpu", torch.float64), tolerance)
            if not bool(on.all()):
                raise OffManifoldError(
                    f"x: expected points on {self.manifold!r} within {tolerance:g}, got {int((~on).sum())} off it"
                )

    def sparse_plan(self) -> SparsePlan:
        """The token pairs of every block, found from the weights; derived again whenever a weight changes."""
        signature = plan_signature(self)
        if self._plan is None or self._plan_signature != signature:
            self._plan = SparsePlan.from_weights(self)
            self._plan_signature = signature
        return self._plan

    def adopt_bounds(self, bounds: list[BlockBounds]) -> None:
        """Take over bounds that were propagated through exactly these weights, instead of doing it again."""
        self._plan = SparsePlan.from_weights(self, bounds)
        self._plan_signature = plan_signature(self)

    # -- files and text ---------------------------------------------------------------------------

    def save(self, path: Any) -> None:
        """Write weights and labels to a safetensors file that `construct.load` reads."""
        from construct.files import save

        save(self, path)

    def export_dense(self, path: Any) -> None:
        """Write `hidden0`, `blocks.{i}.query|key|value`, `blocks.{i}.ffn.{j}.weight|bias` and `readout`, no more."""
        from construct.files import export_dense

        export_dense(self, path)

    def __repr__(self) -> str:
        return self.architecture.describe(self.labels, self.claim, self.dtype, self.ambient)

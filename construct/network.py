"""The network: what `approximate` returns. The transformer, where it came from, and what is said of its error."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from os import PathLike
from typing import Literal, cast

import torch
from torch import Tensor, nn

from construct.architecture import Architecture, architecture_of
from construct.boxes import check_resolved
from construct.certificates.certificate import Certificate
from construct.certificates.weights import weights_digest
from construct.claim import Claim
from construct.errors import InputError, OffManifoldError, PrecisionError
from construct.execution import EXECUTORS, Executor, executor
from construct.execution.sparse import bounds_are_finite, propagate
from construct.export import write_onnx
from construct.files import write_dense, write_saved
from construct.local import PiecewiseApproximator
from construct.manifolds import Manifold
from construct.origin import Origin, unknown_manifold
from construct.paper.grid import TaylorApproximator
from construct.program.compile import Program
from construct.program.identity import recompiled
from construct.program.trace import Trace
from construct.transformer.module import Transformer, weights_held
from construct.transformer.weights import Weights
from construct.validation import finite_points, invalid, message, one_of

PositionCodeName = Literal["integer", "trigonometric"]
Execution = Literal["sparse", "dense"]
Approximator = PiecewiseApproximator | TaylorApproximator
"""What a network computes, as a formula: callable on points (P, D) of float64."""

DEFAULT_EXECUTION: Execution = "sparse"
ON_MANIFOLD = {torch.float64: 1e-8, torch.float32: 1e-4}


class Network(nn.Module):
    """A transformer whose weights were assigned; call it on points (..., D), get (...).

    Parameters are frozen by default (nothing is trained); `net.requires_grad_()` opens them. Gradients in
    x need only `x.requires_grad`. `execution` chooses between evaluations of the same weights:

    - "dense": the formula as it stands, all token pairs of all heads, in chunks.
    - "sparse" (default): only pairs on which a head can be non-zero, found from the weights for the inputs of `box`.
      Points outside that box are evaluated densely, so both executions are the same function everywhere, up to
      rounding. Changed weights are noticed, unless they are written through `.data` or shared memory, which torch does
      not tell: then ask for the dense execution.

    Args:
        weights: the network as data; the bounds that it carries are taken over where they hold for `dtype`.
        origin: where it came from; None: unknown (then it has no program, trace or manifold).
        approximator: the formula that it computes, if that is at hand.
        claim, certificate: what is said of its error.
        dtype, device: of the parameters.

    Attributes:
        transformer: the formula itself, a plain module without checks: for export, `torch.func`, hooks.
        box: (2, D), lower and upper ends of the admissible inputs.
    """

    box: Tensor

    def __init__(
        self,
        weights: Weights,
        origin: Origin | None = None,
        *,
        approximator: Approximator | None = None,
        claim: Claim | None = None,
        certificate: Certificate | None = None,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__()
        self.transformer = Transformer(weights, dtype=dtype, device=device)
        self.register_buffer("box", torch.tensor(weights.box, dtype=dtype, device=device), persistent=False)
        self.origin, self.approximator = origin, approximator
        self.claim, self.certificate = claim, certificate
        self._execution: Execution = DEFAULT_EXECUTION
        self._executors: dict[str, Executor] = {}
        self.eval()
        if weights.bounds is not None and dtype == torch.float64:
            for name in EXECUTORS:
                self._executor(name).adopt(self.transformer, self.box, weights.bounds)

    # -- properties -------------------------------------------------------------------------------

    @property
    def execution(self) -> Execution:
        return self._execution

    @execution.setter
    def execution(self, name: Execution) -> None:
        self._execution = cast("Execution", one_of(name, "execution", EXECUTORS))

    @property
    def ambient(self) -> int:
        """D, the number of input coordinates."""
        return self.transformer.ambient

    @property
    def dtype(self) -> torch.dtype:
        return self.transformer.dtype

    @property
    def device(self) -> torch.device:
        return self.transformer.device

    @property
    def program(self) -> Program:
        """What the network does, stage by stage; `print(net.program)`.

        Raises:
            InputError: the network is of unknown origin.
        """
        return self._known().program

    @property
    def manifold(self) -> Manifold | None:
        return None if self.origin is None else self.origin.manifold

    @property
    def architecture(self) -> Architecture:
        """The class parameters in the paper's terms, counted from the weights."""
        return architecture_of(self.transformer)

    @property
    def output_bound(self) -> float:
        """Bound on the absolute output over the admissible box [R]: float64 intervals, widened, loose."""
        token, row = self.transformer.output
        bounds = propagate(self.transformer, self.box)
        if not bounds_are_finite(bounds):
            return math.inf
        start = self.transformer.hidden0.detach()[token, row].abs()
        return float(bounds[-1].after.magnitude()[token, row]) if bounds else float(start)

    def claimed(self, claim: Claim, certificate: Certificate | None = None) -> Network:
        """The same network, with something said of its error; weights are shared. A claim that is not bound to weights
        yet is about those that they are now."""
        other = copy.copy(self)
        bound = claim if claim.weights else replace(claim, weights=weights_digest(self))
        other.claim, other.certificate = bound, certificate
        return other

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Network:
        """`.to`, `.float`, `.cuda` ...: a dtype that cannot hold the network is refused, and what was said of its error
        in one dtype is not said in another."""
        before, dtype = self.dtype, fn(self.box[:0]).dtype
        if dtype != before:
            self._check_dtype(dtype)
        super()._apply(fn, recurse)
        if dtype != before:
            self.claim = self.certificate = None
        return self

    def _check_dtype(self, dtype: torch.dtype) -> None:
        if dtype not in ON_MANIFOLD:
            raise invalid("dtype", "torch.float64 or torch.float32", dtype)
        check_resolved(self.box.detach().double().cpu().numpy(), dtype, "dtype", "one for inputs")
        if self.origin is not None and self.origin.source is not None:
            self.origin.layout.code.check(dtype)
            if not self.origin.layout.code.exact:
                self.program.compile(self.box.detach().to("cpu", torch.float64).numpy(), dtype)

    def _known(self) -> Origin:
        if self.origin is None:
            raise invalid("net", "a network of known origin", got="weights alone")
        return self.origin

    # -- evaluation -------------------------------------------------------------------------------

    def __call__(self, x: Tensor, *, check: bool = False) -> Tensor:
        """Evaluate at points x (..., D); result (...). See `forward`."""
        return cast("Tensor", super().__call__(x, check=check))

    def forward(self, x: Tensor, *, check: bool = False) -> Tensor:
        """Evaluate at points x (..., D); result (...).

        Raises:
            InputError: x is not a floating tensor of the network's dtype and device, has another last dimension,
                or a non-finite entry.
            PrecisionError: float32 on CUDA with TF32 matrix products switched on, or points so far off that the
                network's numbers overflow.
            OffManifoldError: `check=True` and a point is not on the manifold.
        """
        self._validate(x, check)
        flat = x.reshape(-1, self.ambient)
        if flat.shape[0] == 0:
            return flat.new_zeros(x.shape[:-1])
        with torch.autocast(x.device.type, enabled=False):  # position codes need every bit of the dtype
            values = self._executor(self._execution).forward(self.transformer, self.box, flat)
        finite_values = torch.isfinite(values)
        if not bool(finite_values.all()):
            expected = f"points at which the numbers of the network stay finite in {self.dtype}"
            raise PrecisionError(message("x", expected, got=f"{int((~finite_values).sum())} at which they do not"))
        return values.reshape(x.shape[:-1])

    def trace(self, x: Tensor) -> Trace:
        """Named registers after each stage, at points x (P, D), in the present execution.

        `net.trace(x)["partition of unity"]["R.a"]` has shape (P, charts).

        Raises:
            InputError: as `forward`, a network of unknown origin, or, in the sparse execution, points outside the box.
        """
        origin = self._known()
        self._validate(x, False)
        states = self._executor(self._execution).states(self.transformer, self.box, x.reshape(-1, self.ambient))
        return Trace(origin.layout, origin.stages, states)

    def multiply_adds(self, execution: Execution | None = None) -> int:
        """Multiplications (with the addition that may follow) that one point takes; default: as executed now.

        Raises:
            InputError: an unknown execution, or open parameters in the sparse one (it then has no folded steps).
        """
        name = self._execution if execution is None else one_of(execution, "execution", EXECUTORS)
        return self._executor(name).multiply_adds(self.transformer, self.box)

    def _executor(self, name: str) -> Executor:
        if name not in self._executors:
            self._executors[name] = executor(name)
        return self._executors[name]

    def _validate(self, x: Tensor, check: bool) -> None:
        if not isinstance(x, Tensor) or x.ndim < 1 or x.shape[-1] != self.ambient:
            raise invalid("x", f"a torch tensor of shape (..., {self.ambient})", x)
        if x.dtype != self.dtype:
            raise invalid("x", f"dtype {self.dtype}", got=f"{x.dtype}")
        if x.device != self.device:
            raise invalid("x", f"device {self.device}", got=f"{x.device}")
        if x.is_cuda and x.dtype == torch.float32 and torch.backends.cuda.matmul.allow_tf32:
            expected = "float64, or float32 with torch.backends.cuda.matmul.allow_tf32 = False"
            got = "float32 with TF32 matrix products, which keep 11 bits where the position code needs 24"
            raise PrecisionError(message("x", expected, got=got))
        finite_points(x, "x", self.ambient)
        if check:
            if self.manifold is None:
                o = self.origin
                got = "one built or loaded without it" if o is None else f"one on {unknown_manifold(o.elsewhere)}"
                raise invalid("check", "a network that knows its manifold", got=got)
            tolerance = ON_MANIFOLD[x.dtype]
            on = self.manifold.contains(x.detach().to("cpu", torch.float64), tolerance)
            if not bool(on.all()):
                expected = f"points on {self.manifold!r} within {tolerance:g}"
                raise OffManifoldError(message("x", expected, got=f"{int((~on).sum())} off it"))

    # -- files and text ---------------------------------------------------------------------------

    def save(self, path: str | PathLike[str]) -> None:
        """Write weights, program, origin, claim and certificate to a safetensors file that `construct.load` reads.

        The file is written whole or not at all. Of a manifold its name and arguments are written; a user's own is named
        by `construct.manifolds.register`, without which the network loads without it. Weights that were changed after
        they were compiled are written without the program, which is not theirs; a claim that is not about the weights
        is not written.

        Raises:
            InputError: a path that cannot be written to, weights that are not finite, or a rigorous claim without its
                certificate.
        """
        digest = weights_digest(self)
        claim = self.claim if self.claim is not None and self.claim.weights in ("", digest) else None
        certified = self.certificate if self.certificate is not None and self.certificate.matches(self) else None
        write_saved(
            self.transformer,
            self.box,
            path,
            program=self._program_text(digest),
            origin=None if self.origin is None else self.origin.to_json(),
            claim=claim,
            certificate=None if certified is None else certified.document,
        )

    def _program_text(self, digest: str) -> str | None:
        """The program as JSON, if the weights are what it compiles to."""
        if self.origin is None or self.origin.source is None:
            return None
        if self.origin.weights != digest:
            try:
                recompiled(self.origin.program, weights_held(self.transformer, self.box), self.dtype)
            except InputError:
                return None
        return self.origin.program.to_json()

    def export_dense(self, path: str | PathLike[str]) -> None:
        """Write the weights under the names of `construct.files`, no more."""
        write_dense(self.transformer, path)

    def export_onnx(self, path: str | PathLike[str]) -> None:
        """Write the formula as an ONNX graph with a free number of points: input `x (points, D)`, output `y (points,)`.

        Raises:
            InputError: the `onnx` extra is not installed.
        """
        write_onnx(self.transformer, path)

    def __repr__(self) -> str:
        a, o = self.architecture, self.origin
        known = "" if o is None else f", {o.construction} construction" + (f", {o.code} code" if o.code else "")
        lines = [f"Network: R^{self.ambient} -> R{known}, {self.dtype}"]
        if o is not None and o.manifold is not None:
            lines.append(f"  on        {o.manifold!r}")
        elif o is not None:
            lines.append(f"  on        {unknown_manifold(o.elsewhere)}")
        if o is not None:
            s = o.sizes
            lines.append(f"  local     {s.charts} charts, {s.cells} cells per coordinate, degree {s.degree}")
        lines.append(
            f"  class     {a.blocks} blocks, {a.heads} heads in the widest ({a.total_heads} in all), "
            f"{a.tokens} tokens of dimension {a.embedding_dim}, FFN depth {a.ffn_depth}"
        )
        lines.append(
            f"  weights   {a.parameters:,} parameters, {a.nonzero_parameters:,} non-zero, "
            f"largest {a.weight_bound:.4g}; none trained"
        )
        if self.claim is not None:
            lines.append(f"  error     {self.claim}")
        return "\n".join(lines)


def known_device(device: torch.device | str) -> torch.device:
    """A device on which tensors can be made here.

    Raises:
        InputError: it is none.
    """
    try:
        place = torch.device(device)
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError, TypeError, ValueError) as error:
        raise invalid("device", "a torch device of this machine", device) from error
    if place.type == "meta":
        raise invalid("device", "a torch device of this machine", device)
    return place

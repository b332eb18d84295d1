"""The network: what `approximate` returns. The transformer, where it came from, and what is said of its error."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor

from construct.architecture import Architecture
from construct.boxes import check_resolved
from construct.cells.approximator import CellApproximator
from construct.certificates.certificate import Certificate
from construct.claim import Claim
from construct.devices import on_cpu
from construct.errors import InputError
from construct.execution import EXECUTORS
from construct.execution.precision import full_precision
from construct.export import write_onnx
from construct.files import write_dense, write_saved
from construct.held import Held
from construct.inputs import ON_MANIFOLD, Outside, bad_dtype, check_input, check_on_manifold, look_outside
from construct.local import PiecewiseApproximator
from construct.manifolds import Manifold
from construct.origin import Origin, unknown_manifold
from construct.ownership import Owner
from construct.paper.grid import TaylorApproximator
from construct.program.compile import Program
from construct.program.identity import recompiled
from construct.program.trace import Trace
from construct.ridge.approximator import RidgeApproximator
from construct.ridge.charts import SharedRidgeApproximator
from construct.transformer.weights import Weights
from construct.validation import invalid, one_of

PositionCodeName = Literal["integer", "trigonometric"]
Execution = Literal["sparse", "dense"]
Approximator = (
    PiecewiseApproximator | RidgeApproximator | SharedRidgeApproximator | CellApproximator | TaylorApproximator
)
"""What a network computes, as a formula: callable on points (P, D) of float64."""

DEFAULT_EXECUTION: Execution = "sparse"


@dataclass(frozen=True)
class Said:
    """What is said of the error of the weights of a digest, in a dtype."""

    claim: Claim | None
    certificate: Certificate | None
    weights: str
    dtype: torch.dtype


class Network(Owner):
    """A transformer whose weights were assigned; call it on points (..., D), get (...).

    `execution` chooses between evaluations of the same weights, equal to rounding at all points:

    - "dense": the formula as it stands, all token pairs of all heads, in chunks.
    - "sparse" (default): only pairs on which a head can be non-zero, found from the weights for the inputs of `box`.

    A network owns its weights (nothing is trained): it evaluates a copy that nobody else can reach. They change through
    `requires_grad_()` (open for training, until `requires_grad_(False)`), `edit()`, `load_state_dict` and `.to`; what
    was said of the error of other weights is then said no more (`claim`), and so is what they computed (`program`,
    `approximator`). Gradients in x need only `x.requires_grad`.

    What a network is worth off the manifold: nothing is claimed there. Measured, for exp_sin at epsilon 1e-4: a radial
    error of 1 % in x moves the value of a compact network by 5e-2 away from f(x) (circle 4.9e-2, sphere 4.7e-2; from f
    at the moved point it is 8.1e-2 and 5.8e-2 away), one of 0.1 % by 5e-3; that of a ridge network, a polynomial that
    only M determines, by 4e-1 and 4e-2 (sphere 7.5e-1 and 7.4e-2). The `box` is where both executions agree by proof,
    not where T is close to f. Outside of it the value is still that of the formula, at a higher cost, and worth nothing
    as an approximation: `outside` says what happens then.

    Args:
        weights: the network as data; the bounds that it carries are taken over where they hold for `dtype`.
        origin: where it came from; None: unknown (then it has no program, trace or manifold).
        approximator: the formula that it computes, if that is at hand.
        claim, certificate: what is said of its error.
        dtype, device: of the parameters.

    Attributes:
        transformer: the formula itself, a plain module without checks: for export, `torch.func`, hooks.
        origin: where the network came from, as it was then.
        outside: what becomes of points outside `box`: "raise" an `InputError`, "warn" (`OutsideWarning`, once a call)
            and evaluate, or "evaluate" in silence.
    """

    outside: Outside

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
        if not isinstance(dtype, torch.dtype) or dtype not in ON_MANIFOLD:
            raise bad_dtype(dtype)
        super().__init__(Held(weights, dtype, device))
        self.origin, self._approximator = origin, approximator
        self._said: Said | None = None
        self._execution: Execution = DEFAULT_EXECUTION
        self.outside = "warn"
        self.eval()
        if claim is not None or certificate is not None:
            self._say(claim, certificate)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "outside":
            one_of(value, name, get_args(Outside))
        super().__setattr__(name, value)

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
        return self._held.transformer.ambient

    @property
    def box(self) -> Tensor:
        """(2, D), lower and upper ends of the admissible inputs: a copy."""
        return self._held.box.clone()

    @property
    def dtype(self) -> torch.dtype:
        return self._held.dtype

    @property
    def device(self) -> torch.device:
        return self._held.device

    @property
    def program(self) -> Program:
        """What the network does, stage by stage; `print(net.program)`.

        Raises:
            InputError: the network is of unknown origin, or its weights have changed since.
        """
        origin = self._known()
        if not self._as_assigned():
            raise invalid("net", "the weights that its program compiles to", got="weights that were changed since")
        return origin.program

    @property
    def approximator(self) -> Approximator | None:
        """The formula that the network computes, if it is at hand and the weights are those that were assigned."""
        return self._approximator if self._approximator is not None and self._as_assigned() else None

    @property
    def manifold(self) -> Manifold | None:
        return None if self.origin is None else self.origin.manifold

    @property
    def architecture(self) -> Architecture:
        """The class parameters in the paper's terms, counted from the weights."""
        return self._now().architecture

    @property
    def output_bound(self) -> float:
        """Bound on the absolute output over the admissible box [R]: float64 intervals, widened, loose."""
        return self._now().output_bound

    @property
    def claim(self) -> Claim | None:
        """What is said of the error of exactly these weights, in this dtype; None while the network is open."""
        return self._said.claim if self._speaks() and self._said is not None else None

    @property
    def certificate(self) -> Certificate | None:
        """The proof that belongs to exactly these weights; None while the network is open."""
        return self._said.certificate if self._speaks() and self._said is not None else None

    def claimed(self, claim: Claim | None, certificate: Certificate | None = None) -> Network:
        """The same network, with something said of its error (None: nothing): the claim is bound to the weights.

        Raises:
            InputError: a claim or a certificate of other weights.
        """
        other = copy.copy(self)
        other._say(claim, certificate)
        return other

    def _say(self, claim: Claim | None, certificate: Certificate | None) -> None:
        held = self._now()
        if claim is not None and not isinstance(claim, Claim):
            raise invalid("claim", "a construct.Claim", claim)
        if claim is not None and claim.weights not in ("", held.digest):
            raise invalid("claim", f"one of the weights {held.digest}", got=f"one of {claim.weights}")
        if certificate is not None and not certificate.matches(held):
            raise invalid("certificate", f"one of the weights {held.digest}", got="one of others")
        bound = None if claim is None else replace(claim, weights=held.digest)
        self._said = Said(bound, certificate, held.digest, held.dtype)

    def _speaks(self) -> bool:
        said = self._said
        return said is not None and not self.is_open and said.weights == self._now().digest

    def _check_dtype(self, dtype: torch.dtype) -> None:
        if dtype == self.dtype:
            return
        if dtype not in ON_MANIFOLD:
            raise bad_dtype(dtype)
        check_resolved(self.box.double().cpu().numpy(), dtype, "dtype", "one for inputs")
        if self.origin is not None and self.origin.source is not None:
            self.origin.layout.code.check(dtype)
            if not self.origin.layout.code.exact:
                self.origin.program.compile(self.box.to("cpu", torch.float64).numpy(), dtype)

    def _known(self) -> Origin:
        if self.origin is None:
            raise invalid("net", "a network of known origin", got="weights alone")
        return self.origin

    # -- evaluation -------------------------------------------------------------------------------

    def __call__(self, x: Tensor, *, check: bool = False, outside: Outside | None = None) -> Tensor:
        """Evaluate at points x (..., D); result (...). See `forward`."""
        return cast("Tensor", super().__call__(x, check=check, outside=outside))

    def forward(self, x: Tensor, *, check: bool = False, outside: Outside | None = None) -> Tensor:
        """Evaluate at points x (..., D); result (...).

        outside: what becomes of points outside `box`; None: what `net.outside` says. Their values are those of the
        formula (equal in both executions, to rounding), worth nothing as an approximation. Measured: one such point
        among 1,000 inside makes a call 2 to 7 times as long. Many of them wait once for a plan, then cost a few times
        what points inside cost; far outside (from about 50 times the box on) there is no plan, and each costs about a
        tenth of the dense formula.

        Raises:
            InputError: x is not a floating tensor of the network's dtype and device, has another last dimension,
                a non-finite entry, points so far off that the network's numbers overflow, or, with outside="raise",
                any point outside the box. An open network: its weights are not finite.
            PrecisionError: float32 where matrix products are switched to fewer bits (TF32, bfloat16).
            OffManifoldError: `check=True` and a point is not on the manifold.
        """
        held = self._now()
        self._validate(x, check)
        flat = x.reshape(-1, held.transformer.ambient)
        wanted = self.outside if outside is None else one_of(outside, "outside", get_args(Outside))
        if flat.shape[0] == 0:
            return flat.new_zeros(x.shape[:-1])
        look_outside(flat, held.box, wanted)
        with full_precision(x.device):
            values = held.executor(self._execution).forward(flat, self._live())
        finite_values = torch.isfinite(values)
        if not bool(finite_values.all()):
            expected = f"points at which the numbers of the network stay finite in {self.dtype}"
            raise invalid("x", expected, got=f"{int((~finite_values).sum())} at which they do not")
        return values.reshape(x.shape[:-1])

    def trace(self, x: Tensor) -> Trace:
        """Named registers after each stage, at points x (P, D), in the present execution.

        `net.trace(x)["partition of unity"]["R.a"]` has shape (P, charts). Names are those of the program that the
        network was made of, also where the weights have changed since.

        Raises:
            InputError: as `forward`, a network of unknown origin or of other tokens or blocks than its program, or, in
                the sparse execution, points outside the box.
        """
        origin, held = self._known(), self._now()
        self._validate(x, False)
        expected = origin.layout.count, len(origin.stages)
        found = held.transformer.tokens, len(held.transformer.blocks)
        if found != expected:
            raise invalid("net", f"(tokens, blocks) = {expected}, which the program has names for", got=f"{found}")
        with full_precision(x.device):
            states = held.executor(self._execution).states(x.reshape(-1, self.ambient), self._live())
        return Trace(origin.layout, origin.stages, states)

    def multiply_adds(self, execution: Execution | None = None) -> int:
        """Multiplications (with the addition that may follow) that one point inside the box takes, without gradients
        in the weights; default: as executed now.

        Raises:
            InputError: an unknown execution.
        """
        name = self._execution if execution is None else one_of(execution, "execution", EXECUTORS)
        held = self._now()
        with full_precision(held.device):
            return held.executor(name).multiply_adds()

    def _validate(self, x: Tensor, check: bool) -> None:
        if not isinstance(check, bool):
            raise invalid("check", "True or False", check)
        check_input(x, self.ambient, self.dtype, self.device)
        if check:
            check_on_manifold(x, self.origin)

    # -- files and text ---------------------------------------------------------------------------

    @on_cpu
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
        held, certificate = self._now(), self.certificate
        write_saved(
            held.transformer,
            held.box,
            path,
            program=self._program_text(held),
            origin=None if self.origin is None else self.origin.to_json(),
            claim=self.claim,
            certificate=None if certificate is None else certificate.document,
        )

    def _program_text(self, held: Held) -> str | None:
        """The program as JSON, if the weights are what it compiles to."""
        if self.origin is None or self.origin.source is None or not self._as_assigned():
            return None
        if self.origin.weights != held.digest:
            try:
                recompiled(self.origin.program, held.weights(), held.dtype)
            except InputError:
                return None
        return self.origin.program.to_json()

    @on_cpu
    def export_dense(self, path: str | PathLike[str]) -> None:
        """Write the weights under the names of `construct.files`, no more."""
        write_dense(self._now().transformer, path)

    @on_cpu
    def export_onnx(self, path: str | PathLike[str]) -> None:
        """Write the formula as an ONNX graph with a free number of points: input `x (points, D)`, output `y (points,)`.

        Raises:
            InputError: the `onnx` extra is not installed.
        """
        write_onnx(self.formula(), path)

    def __repr__(self) -> str:
        o = self.origin
        known = "" if o is None else f", {o.construction} construction" + (f", {o.code} code" if o.code else "")
        lines = [f"Network: R^{self.ambient} -> R{known}, {self.dtype}"]
        if o is not None and o.manifold is not None:
            lines.append(f"  on        {o.manifold!r}")
        elif o is not None:
            lines.append(f"  on        {unknown_manifold(o.elsewhere)}")
        if o is not None:
            lines.append(f"  local     {self._local(o)}")
        try:
            lines += self._weights_lines()
        except InputError as error:
            lines.append(f"  weights   none that can be evaluated: {error}")
        return "\n".join(lines)

    def _local(self, origin: Origin) -> str:
        """Charts, cells and degree in words."""
        s = origin.sizes
        if origin.construction == "lattice":
            return f"{s.cells} cells of several sizes, degree {s.degree}"
        return f"{s.charts} charts, {s.cells} cells per coordinate, degree {s.degree}"

    def _weights_lines(self) -> list[str]:
        a = self.architecture
        trained = "none trained" if self._as_assigned() else "changed since they were assigned"
        lines = [
            f"  class     {a.blocks} blocks, {a.heads} heads in the widest ({a.total_heads} in all), "
            f"{a.tokens} tokens of dimension {a.embedding_dim}, FFN depth {a.ffn_depth}",
            f"  weights   {a.parameters:,} parameters, {a.nonzero_parameters:,} non-zero, "
            f"{a.stored_numbers:,} stored numbers, largest {a.weight_bound:.4g}; {trained}",
        ]
        if self.claim is not None:
            lines.append(f"  error     {self.claim}")
        elif self._said is not None and self._said.claim is not None:
            lines.append(f"  error     nothing is claimed: weights changed since the claim{self._change()}")
        elif self.is_open:
            lines.append("  error     nothing is claimed: open for changes")
        return lines

    def _change(self) -> str:
        """How the weights differ from those of the claim."""
        assert self._said is not None
        if self.is_open:
            return " (open for changes)"
        if self._said.dtype != self.dtype:
            return f" (in {self.dtype} now, claimed in {self._said.dtype})"
        return ""

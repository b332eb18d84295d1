"""Weights that nobody else can reach, and what was derived from them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from construct.architecture import Architecture, architecture_of
from construct.certificates.weights import weights_digest
from construct.errors import InputError
from construct.execution import Executor, executor
from construct.execution.plans import bounds_are_finite, plain_tensors, propagate
from construct.transformer.module import Transformer, weights_held
from construct.transformer.weights import BlockBounds, Weights
from construct.validation import invalid


class Held:
    """A network's weights at one time. Never written to: other weights are another `Held`.

    Args:
        weights: copied.
        dtype, device: in which they are held.

    Attributes:
        transformer: the formula, of memory of its own; not to be handed out.
        box: of the admissible inputs; not to be handed out.
    """

    def __init__(self, weights: Weights, dtype: torch.dtype, device: torch.device | str) -> None:
        with plain_tensors():
            self.transformer = Transformer(weights, dtype=dtype, device=device)
            self.box = torch.tensor(weights.box, dtype=dtype, device=device)
        # bounds that were found while compiling are those of float64 weights
        self._bounds = weights.bounds if dtype == torch.float64 else None
        self._executors: dict[str, Executor] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> Held:
        return self  # nobody can change it

    def __getstate__(self) -> dict[str, Any]:
        return {"transformer": self.transformer, "box": self.box, "_bounds": None, "_executors": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self.transformer.hidden0.is_inference():  # read under torch.inference_mode
            with plain_tensors():
                self.transformer, self.box = self.copy(), self.box.clone()

    @property
    def dtype(self) -> torch.dtype:
        return self.transformer.dtype

    @property
    def device(self) -> torch.device:
        return self.transformer.device

    @cached_property
    def digest(self) -> str:
        """SHA-256 of names, shapes, dtype and numbers."""
        return weights_digest(self)

    @cached_property
    def architecture(self) -> Architecture:
        return architecture_of(self.transformer)

    @cached_property
    def output_bound(self) -> float:
        """Bound on the absolute output over the box, infinite where bounds overflow."""
        token, row = self.transformer.output
        bounds = self.bounds
        if not bounds_are_finite(bounds):
            return math.inf
        start = float(self.transformer.hidden0[token, row].abs())
        return float(bounds[-1].after.magnitude()[token, row]) if bounds else start

    @property
    def bounds(self) -> Sequence[BlockBounds]:
        """Of the hidden state, over the box."""
        if self._bounds is None:
            self._bounds = tuple(propagate(self.transformer, self.box))
        return self._bounds

    def __call__(self, x: Tensor) -> Tensor:
        return self.transformer(x)

    def executor(self, name: str) -> Executor:
        """The execution called `name` of these weights, with what it has derived."""
        if name not in self._executors:
            self._executors[name] = executor(
                name, self.transformer, self.box, self.bounds if name == "sparse" else None
            )
        return self._executors[name]

    def weights(self) -> Weights:
        """A copy as data, read-only."""
        return weights_held(self.copy(), self.box.clone()).frozen()

    def copy(self) -> Transformer:
        """A module of the same weights and of memory of its own."""
        with plain_tensors():
            return Transformer(weights_held(self.transformer, self.box), dtype=self.dtype, device=self.device)

    def moved(self, fn: Callable[[Tensor], Tensor]) -> Held:
        """What `.to`, `.float`, `.cuda` ... make of these weights; itself where they change nothing.

        Raises:
            InputError: they make numbers that are not finite of them, or none at all.
        """
        with plain_tensors():
            found = fn(self.transformer.hidden0.data)
            if found.device.type == "meta":
                raise invalid("device", "one that holds numbers", found.device.type)
            if found is self.transformer.hidden0.data or found.data_ptr() == self.transformer.hidden0.data_ptr():
                return self
            module = self.copy()._apply(fn)
            return Held(weights_held(module, fn(self.box.clone())), found.dtype, found.device)

    def same_numbers(self, other: Held) -> bool:
        """Whether these are the other's weights, rounded to this dtype."""
        mine, theirs = self.transformer.state_dict(), other.transformer.state_dict()
        return all(torch.equal(t, theirs[name].to(t)) for name, t in mine.items())

    def holds(self, net: Transformer) -> bool:
        """Whether a module has exactly these weights: every number is looked at."""
        mine, other = self.transformer, dict(net.named_parameters(remove_duplicate=False))
        parameters = dict(mine.named_parameters())
        if other.keys() != parameters.keys() or (*mine.output, *mine.output) != (*net.output, *net.readout.tolist()):
            return False
        pairs = [(parameters[name], other[name].detach()) for name in parameters]
        return all(p.dtype == q.dtype and p.device == q.device and torch.equal(p, q) for p, q in pairs)

    def taken_from(self, net: Transformer) -> Held:
        """The weights that a module has now, after those here: itself if they are the same.

        Raises:
            InputError: they are no network's of this dtype on this device: not finite, of shapes that do not fit
                together, with a read-out that is out of range or said in two ways.
        """
        if self.holds(net):
            return self
        for name, parameter in net.named_parameters():
            if parameter.dtype != self.dtype or parameter.device != self.device:
                expected = f"{self.dtype} on {self.device}; `.to` of the network changes both"
                raise invalid(name, expected, got=f"{parameter.dtype} on {parameter.device}")
        before = self.transformer.output
        said, written = net.output, tuple(int(i) for i in net.readout)
        if said != before and written not in (before, said):
            raise invalid("readout", f"`output` {said} or `readout` {written} to be changed", got="both, differently")
        net.output = (written[0], written[1]) if said == before else said
        with plain_tensors():
            try:
                weights = weights_held(net, self.box)
                net.readout.copy_(torch.tensor(net.output))
            except (AttributeError, TypeError, ValueError, IndexError) as error:
                if isinstance(error, InputError):
                    raise
                raise invalid("transformer", "blocks of attention and FFN", got=f"others ({error})") from error
        return Held(weights, self.dtype, self.device)

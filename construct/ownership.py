"""Ownership: what a network evaluates is its own, and changes through doors only.

A network is *sealed* or *open*. Sealed, it evaluates weights that nobody else can reach (`Held`), and its public
module `transformer` is another one, of memory of its own: whatever is done to that one does not reach the network.
Open, it evaluates the public module, whose numbers are compared, all of them, with those that its plans were made from.

Doors: `requires_grad_()` opens and `requires_grad_(False)` seals; `edit()` is open while it lasts; `load_state_dict`
and `.to` change the weights and leave the network as it was, sealed or open.

What a call pays for this, before it evaluates anything (measured, one core, 10^3 to 10^6 parameters):

- sealed: 0.3 microseconds, whatever the size;
- sealed, the first call after somebody asked for `net.transformer`: about 0.08 microseconds for each parameter *tensor*
  (which object stands in its place, not its numbers): 4 in 5 blocks, 27 in 50. `torch.func.functional_call` puts others
  there in silence, so that they have to be looked at; a network of which nobody asks for the module never pays it, and
  later calls take 0.3;
- open: every number is compared, 0.15 ms for 10^3 parameters in 5 blocks, 0.3 for 10^5, 3 for 10^6. Nothing less is
  right: torch counts the changes of a tensor (`_version`), but not those through `.data`, `.numpy()` or memory that is
  shared with another tensor, and a plan of other weights would be wrong in silence.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self, cast

import torch
from torch import Tensor, nn

from construct.execution.plans import plain_tensors
from construct.held import Held
from construct.transformer.module import Transformer
from construct.transformer.weights import Weights
from construct.validation import invalid

PUBLIC = "transformer"


class Owner(nn.Module):
    """A module that owns its weights; see the file."""

    def __init__(self, held: Held) -> None:
        super().__init__()
        self._held = held
        self._birth: str | None = None  # digest of the weights that it was made of; None: they are still the same
        self._open = False
        self._editing = False
        self._show(held.copy())
        self.register_load_state_dict_post_hook(_loaded)

    # -- the public module ------------------------------------------------------------------------

    @property
    def transformer(self) -> Transformer:
        """The formula as a plain module, for export, `torch.func`, hooks. What is done to it reaches the network only
        while that is open."""
        self.__dict__["_seen"] = True
        return self._public

    @property
    def _public(self) -> Transformer:
        return cast("Transformer", self._modules[PUBLIC])

    def _show(self, module: Transformer) -> None:
        """Take a module for the public one, and remember which parameters it has."""
        self._modules[PUBLIC] = module
        self._remember()

    def _remember(self) -> None:
        self._places = [
            (owner, name, parameter, f"{path}.{name}" if path else name)
            for path, owner in self._public.named_modules()
            for name, parameter in owner._parameters.items()
            if parameter is not None
        ]
        self.__dict__["_first"] = self._places[0][2]  # hidden0; not by setattr, which would register it
        self.__dict__["_seen"] = False

    def _check_replaced(self) -> None:
        """Refuse parameters that stand in the place of the public ones: they were meant to be evaluated."""
        if all(owner._parameters.get(name) is parameter for owner, name, parameter, _ in self._places):
            self.__dict__["_seen"] = False
            return
        expected = "an open network (net.requires_grad_(), net.edit()) for other parameters"
        raise invalid("net", expected, got="a sealed one, with parameters replaced by torch.func or by hand")

    def _restore(self) -> None:
        """Bring the public module in step with the weights; the Parameter objects stay, since optimizers hold them (not
        those read under `torch.inference_mode`, which nothing can train)."""
        source = self._held.transformer
        names = dict(source.named_parameters())
        kept = {
            full: parameter for _, _, parameter, full in self._places if full in names and not parameter.is_inference()
        }
        with plain_tensors():
            if type(self._public) is not Transformer or dict(self._public.named_parameters()).keys() != names.keys():
                self._modules[PUBLIC] = self._held.copy()
            public = self._public
            for full, parameter in names.items():
                path, _, name = full.rpartition(".")
                public.get_submodule(path)._parameters[name] = shown = kept.get(
                    full, nn.Parameter(parameter.clone(), False)
                )
                shown.data = parameter.detach().clone()
            for name, buffer in source.named_buffers():
                public._buffers[name] = buffer.clone()
            public.output, public.ambient, public.tokens = source.output, source.ambient, source.tokens
            for mine, its in zip(public.stack, source.stack, strict=True):
                mine.attention.count, mine.attention.width = its.attention.count, its.attention.width
        self._remember()

    # -- sealed and open --------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether the public module is what is evaluated."""
        return self._open or self._editing

    def _now(self) -> Held:
        """The weights that are evaluated now. Sealed: no tensor is looked at but one, for whether an outer module has
        asked for gradients; open: all of them."""
        if not (self._open or self._editing or self._seen or self._first.requires_grad):
            return self._held
        if not (self._open or self._editing):
            if self._seen:
                self._check_replaced()
            if not self._first.requires_grad:
                return self._held
            self._restore()  # opened by an outer module's requires_grad_
            self._open = True
        self._take(self._held.taken_from(self._public))
        return self._held

    def _live(self) -> Transformer | None:
        """The public module, where gradients in its parameters are wanted."""
        if not (self._open or self._editing) or not torch.is_grad_enabled():
            return None
        return self._public if any(p.requires_grad for p in self._public.parameters()) else None

    def _take(self, held: Held) -> None:
        if held is not self._held:
            self._birth = self._birth or self._held.digest
            self._held = held

    def _seal(self) -> None:
        """Make the public weights those that are evaluated; InputError, and nothing is changed, if they are none."""
        self._take(self._held.taken_from(self._public))
        self._open = self._editing = False
        self._remember()

    def _as_assigned(self) -> bool:
        """Whether the weights are those that the network was made of."""
        held = self._now()
        return self._birth is None or self._birth == held.digest

    @property
    def weights(self) -> Weights:
        """The weights that are evaluated, as data: a copy, read-only."""
        return self._now().weights()

    @property
    def digest(self) -> str:
        """SHA-256 of the weights that are evaluated: names, shapes, dtype and numbers."""
        return self._now().digest

    def formula(self) -> Transformer:
        """The weights that are evaluated as a plain module of memory of its own: a copy."""
        return self._now().copy()

    # -- doors ------------------------------------------------------------------------------------

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """True: open the network for training; the public parameters are first set to the weights. False: seal it.

        Raises:
            InputError: sealing weights that are not finite or are no network's; it stays open.
        """
        if requires_grad and not self.is_open:
            self._restore()
            self._open = True
        super().requires_grad_(requires_grad)
        if not requires_grad and self._open:
            self._seal()
        return self

    @contextmanager
    def edit(self) -> Iterator[Transformer]:
        """Open for changes by hand: `with net.edit() as transformer: transformer.hidden0[0, 1] = 2`.

        The public module comes in step with the weights, and is sealed again at the end; after an exception, and where
        the weights are none of a network, the network is as it was. In a network that is open already, it stays so.

        Raises:
            InputError: the weights are not finite, or not those of a network.
        """
        if self.is_open:
            yield self._public
            self._now()
            return
        self._restore()
        self._editing = True
        try:
            yield self._public
            self._seal()
        except BaseException:
            self._editing = False
            self._restore()
            raise

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """As of any module. A sealed network seals the new weights, and is as it was when they are refused.

        Raises:
            InputError: the weights are not finite, or not those of a network.
        """
        before = self._held, self._birth
        try:
            return super().load_state_dict(state_dict, strict=strict, assign=assign)
        except BaseException:
            if not self.is_open:
                self._held, self._birth = before
                self._restore()
            raise

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        if not self.is_open:
            self._restore()  # so that nothing comes in that is not loaded
        super()._load_from_state_dict(*args, **kwargs)

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """As of any module. Of a sealed network copies, of the weights that are evaluated."""
        found = cast("dict[str, Any]", super().state_dict(*args, **kwargs))
        if self.is_open:
            return found
        prefix = f"{args[1] if len(args) > 1 else kwargs.get('prefix', '')}{PUBLIC}."
        for name in [name for name in found if name.startswith(prefix)]:
            del found[name]
        for name, tensor in self._held.transformer.state_dict().items():
            found[prefix + name] = tensor.detach().clone()
        return found

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """`.to`, `.float`, `.cuda` ...: weights that are only rounded are still those of the program."""
        old = self._now()
        self._check_dtype(fn(old.box[:0].clone()).dtype)
        new, assigned = old.moved(fn), self._as_assigned()
        super()._apply(fn, recurse)
        if new is not old:
            self._take(new)
            if assigned and new.same_numbers(old):
                self._birth = None
        self._remember()
        return self

    def _check_dtype(self, dtype: torch.dtype) -> None:
        raise NotImplementedError

    def __copy__(self) -> Self:
        """Another network of the same weights: they are shared, as nobody can change them; the public module is not."""
        held = self._now()
        other = self.__class__.__new__(self.__class__)
        other.__dict__.update(self.__dict__)
        for name, value in self.__dict__.items():
            if isinstance(value, dict):
                other.__dict__[name] = copy.copy(value)
        other._open = other._editing = False
        other._show(held.copy())
        return other


def _loaded(net: nn.Module, incompatible: object) -> None:
    """What was loaded into a sealed network becomes what it evaluates."""
    assert isinstance(net, Owner)
    if net.is_open:
        return
    try:
        net._seal()
    except BaseException:
        net._restore()
        raise

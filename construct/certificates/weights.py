"""The one place that reads a network: from the module to plain numbers, on which everything else here works."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from construct.arrays import Float
from construct.transformer import Transformer
from construct.transformer.module import evaluated_formula
from construct.validation import invalid

INPUT_ROW = 0  # x_j is added to this row of token j

_NAMES = {np.dtype(np.float64): "float64", np.dtype(np.float32): "float32", np.dtype(np.int64): "int64"}


class Evaluated(Protocol):
    """What is read of a network: the formula's module (`evaluated_formula`: where the network has a method `formula`,
    what that returns) and the box of its inputs; it can be called on points."""

    @property
    def transformer(self) -> Transformer: ...

    @property
    def box(self) -> Tensor: ...

    def __call__(self, x: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class BlockWeights:
    """Heads (m, w, w) and the affine layers (weight (w, w), bias (w,)) of the feed-forward network, in order."""

    query: Float
    key: Float
    value: Float
    layers: tuple[tuple[Float, Float], ...]

    @property
    def arrays(self) -> tuple[Float, ...]:
        return (self.query, self.key, self.value, *(array for layer in self.layers for array in layer))


@dataclass(frozen=True)
class NetworkWeights:
    """What determines the function of a network, as float64 (of which float32 is a part): nothing is rounded.

    hidden0: (l, w) hidden state at x = 0; readout: (token, row) of the output; ambient: D; box: (2, D) ends of
    the box of inputs; dtype: of the arithmetic in which the network is evaluated.
    """

    hidden0: Float
    blocks: tuple[BlockWeights, ...]
    readout: tuple[int, int]
    ambient: int
    box: Float
    dtype: torch.dtype

    def __post_init__(self) -> None:
        for array in (self.hidden0, *(array for block in self.blocks for array in block.arrays)):
            if not np.isfinite(array).all():
                raise invalid("net", "finite weights", got=f"{int((~np.isfinite(array)).sum())} NaN or infinite ones")

    @cached_property
    def written_rows(self) -> tuple[int, ...]:
        """Rows of the hidden state that the input or a block may change; the others are those of `hidden0` for ever."""
        written = np.zeros(self.hidden0.shape[1], dtype=bool)
        written[INPUT_ROW] = True
        for block in self.blocks:
            written |= block.value.any(axis=(0, 2))
            for weight, bias in block.layers[-1:]:
                written |= weight.any(axis=1) | (bias != 0)
        return tuple(np.flatnonzero(written).tolist())


def weights_of(net: Evaluated) -> NetworkWeights:
    """The numbers of a network.

    Raises:
        InputError: no network, or weights that are not finite.
    """
    formula = evaluated_formula(net)
    if not isinstance(formula, Transformer):
        raise invalid("net", "a construct.Network", net)
    blocks = tuple(
        BlockWeights(
            query=_array(block.attention.query),
            key=_array(block.attention.key),
            value=_array(block.attention.value),
            layers=tuple((_array(layer.weight), _array(layer.bias)) for layer in block.ffn.affine),
        )
        for block in formula.stack
    )
    box = _array(net.box)
    return NetworkWeights(_array(formula.hidden0), blocks, formula.output, formula.ambient, box, formula.dtype)


def weights_digest(net: Evaluated) -> str:
    """`tensors_digest` of the formula's module."""
    tensors = evaluated_formula(net).state_dict().items()
    return tensors_digest({name: tensor.detach().cpu().contiguous().numpy() for name, tensor in tensors})


def tensors_digest(arrays: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 over the tensors sorted by name: name, shape, dtype (each with a zero byte behind), little-endian
    bytes. Names are those of the formula's module, which are also those of the tensors in a file."""
    total = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        for part in (name, str(list(array.shape)), _NAMES[array.dtype.newbyteorder("=")]):
            total.update(part.encode() + b"\0")
        total.update(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).data)
    return total.hexdigest()


def _array(tensor: Tensor) -> Float:
    return tensor.detach().double().cpu().numpy()

"""ReLU networks put together from smaller ones that run side by side: the bookkeeping of layers and identities.

A ReLU network is a list of affine layers with a relu between one and the next. Its state after some layers is a set of
named *channels*, affine forms of the neurons of the last hidden layer: `channel = read @ neurons + offset`. A
`Subnetwork`'s first layer reads channels and its outputs become channels. Subnetworks of different depth run
side by side; what is finished, or only kept, is carried along by `v = relu(v) - relu(-v)`, one neuron a layer where
v >= 0.

The last layer of one subnetwork and the first of the next merge into one matrix, since both are affine (Petersen and
Voigtlaender 2018 compose by a further pair of layers instead, which costs depth and keeps the matrices sparse).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from construct.arrays import Float
from construct.validation import invalid, one_of

Layer = tuple[sparse.csr_array, Float]
"""Weight (out, in) and bias (out,)."""


def layer(weight: Any, bias: Any = None) -> Layer:
    """An affine layer from a dense or sparse weight; bias 0 by default."""
    matrix = sparse.csr_array(weight, dtype=np.float64)
    offset = np.zeros(matrix.shape[0]) if bias is None else np.asarray(bias, dtype=np.float64)
    if offset.shape != (matrix.shape[0],):
        raise invalid("bias", f"an array of shape ({matrix.shape[0]},) for weight {matrix.shape}", offset)
    return matrix, offset


def copies(layers: Iterable[Layer], count: int) -> list[Layer]:
    """`count` copies of a network side by side; inputs and outputs grouped by copy."""
    eye = sparse.eye_array(count, format="csr")
    return [(sparse.csr_array(sparse.kron(eye, weight)), np.tile(bias, count)) for weight, bias in layers]


def before(first: Layer, layers: Sequence[Layer]) -> list[Layer]:
    """The network that applies an affine map first: merged into its first layer."""
    (weight, bias), *rest = layers
    return [(weight @ first[0], weight @ first[1] + bias), *rest]


def after(layers: Sequence[Layer], last: Layer) -> list[Layer]:
    """The network that applies an affine map last: merged into its last layer."""
    *rest, (weight, bias) = layers
    return [*rest, (last[0] @ weight, last[0] @ bias + last[1])]


def beside(networks: Sequence[Sequence[Layer]]) -> list[Layer]:
    """Networks of equal depth side by side, each with inputs of its own."""
    if len({len(layers) for layers in networks}) != 1:
        raise invalid("networks", "equal depths", [len(layers) for layers in networks])
    return [
        (sparse.block_diag([w for w, _ in rows], format="csr"), np.concatenate([b for _, b in rows]))
        for rows in zip(*networks, strict=True)
    ]


@dataclass(frozen=True)
class Subnetwork:
    """A network that reads the channels of a circuit: the first weight has a column for every channel.

    nonnegative: its outputs are known to be >= 0, so that one neuron carries each.
    """

    name: str
    layers: Sequence[Layer]
    nonnegative: bool = False


class _Strand:
    """A subnetwork on its way through the layers: still running, or finished and carried."""

    def __init__(self, subnetwork: Subnetwork) -> None:
        self.name, self.nonnegative = subnetwork.name, subnetwork.nonnegative
        self.layers, self.done = list(subnetwork.layers), 0

    @property
    def outputs(self) -> int:
        return int(self.layers[-1][0].shape[0])

    def step(self) -> Layer:
        """Preactivations of the next hidden layer, from what the strand reads."""
        self.done += 1
        if self.done < len(self.layers):
            return self.layers[self.done - 1]
        if self.done > len(self.layers):
            carried = self.outputs * (1 if self.nonnegative else 2)
            return layer(sparse.eye_array(carried))
        weight, bias = self.layers[-1]
        if self.nonnegative:
            return weight, bias
        return sparse.csr_array(sparse.vstack([weight, -weight])), np.concatenate([bias, -bias])

    def read(self) -> Layer:
        """The outputs, from what the strand reads."""
        if self.done < len(self.layers):
            return self.layers[self.done]
        eye = sparse.eye_array(self.outputs)
        return layer(eye if self.nonnegative else sparse.hstack([eye, -eye]))


class Circuit:
    """A ReLU network in the making; `x` is its first group of channels.

    Attributes:
        layers: hidden layers so far.
        groups: the channels (start, stop) of each name.
    """

    def __init__(self, inputs: int) -> None:
        self.layers: list[Layer] = []
        self.groups: dict[str, tuple[int, int]] = {"x": (0, inputs)}
        self._nonnegative = {"x": False}
        self._read: Layer = layer(sparse.eye_array(inputs))

    @property
    def channels(self) -> int:
        """Number of channels."""
        return int(self._read[0].shape[0])

    def select(self, name: str, weight: Any = None) -> sparse.csr_array:
        """`weight @ group`, (rows, channels): a matrix that reads one group; weight is the identity by default."""
        start, stop = self.groups[one_of(name, "name", self.groups)]
        matrix = sparse.coo_array(sparse.eye_array(stop - start) if weight is None else weight)
        if matrix.shape[1] != stop - start:
            raise invalid("weight", f"{stop - start} columns for {name!r}", got=f"shape {matrix.shape}")
        columns = matrix.coords[1] + start
        return sparse.csr_array((matrix.data, (matrix.coords[0], columns)), shape=(matrix.shape[0], self.channels))

    def run(self, subnetworks: Sequence[Subnetwork], keep: Sequence[str] = ()) -> None:
        """Let subnetworks run side by side; afterwards the channels are their outputs and the groups in `keep`.

        Raises:
            InputError: a name twice, or a first weight that does not have a column for every channel.
        """
        kept = [Subnetwork(name, [layer(self.select(name))], self._nonnegative[name]) for name in keep]
        strands = [_Strand(subnetwork) for subnetwork in (*subnetworks, *kept)]
        names = [strand.name for strand in strands]
        if len(set(names)) < len(names):
            raise invalid("subnetworks", "different names", names)
        for strand in strands:
            if strand.layers[0][0].shape[1] != self.channels:
                shape = f"shape {strand.layers[0][0].shape}"
                raise invalid(strand.name, f"a first weight with {self.channels} columns", got=shape)
        depth = max(len(strand.layers) for strand in strands) - 1
        for number in range(depth):
            self.layers.append(self._joined([strand.step() for strand in strands], first=number == 0))
        self._read = self._joined([strand.read() for strand in strands], first=depth == 0)
        stops = np.cumsum([strand.outputs for strand in strands]).tolist()
        self.groups = dict(zip(names, zip([0, *stops[:-1]], stops, strict=True), strict=True))
        self._nonnegative = {strand.name: strand.nonnegative for strand in strands}

    def _joined(self, parts: list[Layer], *, first: bool) -> Layer:
        """One layer from those of the strands; the first reads the channels, a later one each strand's own neurons."""
        if first:
            parts = [before(self._read, [part])[0] for part in parts]
        stack = sparse.vstack if first else sparse.block_diag
        weight = sparse.csr_array(stack([w for w, _ in parts], format="csr"))
        return weight, np.concatenate([b for _, b in parts])

    def finish(self, readout: Any, bias: Any = None) -> list[Layer]:
        """The whole network, which ends in `readout @ channels + bias`."""
        return [*self.layers, before(self._read, [layer(readout, bias)])[0]]

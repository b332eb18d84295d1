"""ReLU networks neuron by neuron: every neuron has a layer, and what a later layer reads is carried there.

All hidden values are >= 0, so carrying one is `v = relu(v)`: one neuron and one weight a layer, half of what a signed
channel takes (`circuit.Circuit`). A quantity u >= -c is held as the neuron `relu(u + c)`, exact on the admissible
inputs. What nobody reads is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from construct.arrays import Float, Int
from construct.baselines.base import BaselineCounts
from construct.baselines.relu.circuit import Layer
from construct.validation import invalid

INPUT = -1
"""Number of the group that holds the inputs, in layer 0."""


@dataclass(frozen=True, eq=False)
class Form:
    """Affine forms of neurons, (rows,): `sum over (group, weight) of weight @ group + offset`.

    terms: group number -> weight (rows, size of the group);  latest: the latest layer that a group read is born in.
    """

    terms: dict[int, sparse.csr_array]
    offset: Float
    latest: int

    @property
    def rows(self) -> int:
        return len(self.offset)

    @property
    def reads(self) -> int:
        """Number of weights that one relu layer on these forms takes, biases excluded."""
        return sum(int(weight.count_nonzero()) for weight in self.terms.values())

    def __add__(self, other: Form) -> Form:
        if self.rows != other.rows:
            raise invalid("form", f"{self.rows} rows", other.rows)
        terms = dict(self.terms)
        for group, weight in other.terms.items():
            terms[group] = terms[group] + weight if group in terms else weight
        return Form(terms, self.offset + other.offset, max(self.latest, other.latest))

    def apply(self, matrix: Any, offset: Any = 0.0) -> Form:
        """`matrix @ form + offset`, matrix (rows', rows)."""
        weight = sparse.csr_array(matrix, dtype=np.float64)
        if weight.shape[1] != self.rows:
            raise invalid("matrix", f"{self.rows} columns", got=f"shape {weight.shape}")
        terms = {group: weight @ w for group, w in self.terms.items()}
        return Form(terms, weight @ self.offset + offset, self.latest)

    def scaled(self, factor: float, offset: Any = 0.0) -> Form:
        """`factor * form + offset`."""
        terms = self.terms if factor == 1.0 else {group: factor * w for group, w in self.terms.items()}
        return Form(terms, factor * self.offset + offset, self.latest)

    def rows_of(self, index: Any) -> Form:
        """The forms of these numbers."""
        return self.apply(sparse.eye_array(self.rows, format="csr")[np.asarray(index)])


def stacked(forms: Sequence[Form]) -> Form:
    """All rows of several forms, in order."""
    total = sum(form.rows for form in forms)
    out, start = None, 0
    for form in forms:
        place = sparse.eye_array(total, form.rows, k=-start, format="csr")
        part = form.apply(place)
        out = part if out is None else out + part
        start += form.rows
    if out is None:
        raise invalid("forms", "at least one", got="none")
    return out


class Schedule:
    """A network in the making: groups of neurons, each with the layer it is born in and what it reads."""

    def __init__(self, inputs: int) -> None:
        self.inputs = inputs
        self._groups: list[tuple[int, Form]] = []

    def input(self) -> Form:
        """The inputs x, readable by layer 1 only."""
        return Form({INPUT: sparse.csr_array(sparse.eye_array(self.inputs))}, np.zeros(self.inputs), 0)

    def relu(self, form: Form, layer: int | None = None) -> Form:
        """Neurons `relu(form)` in hidden layer `layer` >= 1, by default as early as can be.

        Raises:
            InputError: a layer that comes too early, or that reads the inputs later than layer 1.
        """
        at = form.latest + 1 if layer is None else layer
        if at <= form.latest or (INPUT in form.terms and at != 1):
            raise invalid("layer", "1" if INPUT in form.terms else f"an integer > {form.latest}", at)
        self._groups.append((at, form))
        eye = sparse.csr_array(sparse.eye_array(form.rows))
        return Form({len(self._groups) - 1: eye}, np.zeros(form.rows), at)

    def counts(self, output: Form) -> BaselineCounts:
        """Sizes of the network that ends in `output`, without its layers."""
        depth = output.latest
        last = self._last_uses(output, depth)
        widths = np.zeros(depth + 2, dtype=np.int64)
        widths[0], widths[-1] = self.inputs, output.rows
        everything = [(depth + 1, output, np.arange(output.rows))]
        carried = 0
        for (born, form), end in zip(self._groups, last, strict=True):
            alive = np.flatnonzero(end)
            everything.append((born, form, alive))
            widths[born : depth + 1] += (end[alive, None] >= np.arange(born, depth + 1)).sum(axis=0)
            carried += int((end[alive] - born).sum())
        read = [w.data[_entries(w, rows)] for _, form, rows in everything for w in form.terms.values()]
        weights = carried + sum(int(np.count_nonzero(data)) for data in read)
        biases = sum(int(np.count_nonzero(form.offset[rows])) for _, form, rows in everything)
        widths = np.maximum(widths, 1)
        dense = int((widths[1:] * (widths[:-1] + 1)).sum())
        return BaselineCounts(weights + biases, dense, depth + 1, weights)

    def finish(self, output: Form) -> list[Layer]:
        """The layers of the network that ends in `output`."""
        depth = output.latest
        last = self._last_uses(output, depth)
        position: dict[int, Any] = {INPUT: np.arange(self.inputs)}
        width, layers = self.inputs, []
        for number in range(1, depth + 1):
            rows: list[Layer] = []
            found: dict[int, Any] = {}
            size = 0
            for group, (born, form) in enumerate(self._groups):
                alive = last[group] >= number if born <= number else np.zeros(0, dtype=bool)
                if not alive.any():
                    continue
                index = np.flatnonzero(alive)
                if born == number:
                    rows.append(_joined(form, position, width, index))
                else:
                    before = position[group][index]
                    eye = sparse.csr_array(
                        (np.ones(len(index)), (np.arange(len(index)), before)), shape=(len(index), width)
                    )
                    rows.append((eye, np.zeros(len(index))))
                found[group] = np.full(len(alive), -1)
                found[group][index] = size + np.arange(len(index))
                size += len(index)
            if not rows:  # what follows is constant: one neuron that is 0 keeps the sizes
                rows, size = [(sparse.csr_array((1, width)), np.zeros(1))], 1
            stack = sparse.vstack([weight for weight, _ in rows], format="csr")
            layers.append((sparse.csr_array(stack), np.concatenate([bias for _, bias in rows])))
            position, width = found, size
        return [*layers, _joined(output, position, width, np.arange(output.rows))]

    def _last_uses(self, output: Form, depth: int) -> list[Any]:
        """For every neuron the last layer in which it has to be present, 0 for one that nobody reads."""
        last = [np.zeros(form.rows, dtype=np.int64) for _, form in self._groups]

        def use(form: Form, at: int, needed: Any) -> None:
            for group, weight in form.terms.items():
                if group != INPUT:
                    place = _entries(weight, needed)
                    read = weight.indices[place[weight.data[place] != 0]]
                    last[group][read] = np.maximum(last[group][read], at - 1)

        use(output, depth + 1, np.arange(output.rows))
        for group in sorted(range(len(self._groups)), key=lambda g: -self._groups[g][0]):
            born, form = self._groups[group]
            use(form, born, np.flatnonzero(last[group]))
        return last


def _entries(weight: sparse.csr_array, rows: Int) -> Int:
    """Places of the stored entries of some rows."""
    if len(rows) == weight.shape[0]:
        return np.arange(weight.nnz)
    counts = np.diff(weight.indptr)[rows]
    starts = np.repeat(weight.indptr[rows] - np.cumsum(counts) + counts, counts)
    return np.asarray(starts + np.arange(counts.sum()), dtype=np.int64)


def _joined(form: Form, position: dict[int, Any], width: int, index: Any) -> Layer:
    """The rows `index` of a form over the neurons of the layer before, which sit at `position`."""
    entries = [(weight[index].tocoo(), position[group]) for group, weight in form.terms.items() if weight.nnz]
    coo = [(w.data, w.coords[0], at[w.coords[1]]) for w, at in entries]
    data, row, column = (np.concatenate(part) for part in zip(*coo, strict=True)) if coo else (np.zeros(0),) * 3
    keep = data != 0
    shape = (len(index), width)
    weight = sparse.csr_array((data[keep], (row[keep].astype(int), column[keep].astype(int))), shape=shape)
    return weight, form.offset[index]

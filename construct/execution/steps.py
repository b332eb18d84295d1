"""What the sparse execution does in a block, on a state of (entries, points): the last entry is the constant 1.

Every step first reads the state, then adds to it in place; what autograd keeps of it are gathered copies, so the
gradient in x works. Gathered copies are overwritten in turn, since fresh memory costs more than the arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

Update = tuple[Tensor, Tensor]  # entries (n,), what is added to them (n, points)


@dataclass(frozen=True)
class Linear:
    """`state[rows] += matrix @ state[columns]`, or entry by entry when the matrix would be mostly zeros."""

    rows: Tensor
    columns: Tensor
    coefficients: Tensor
    dense: bool

    def updates(self, state: Tensor) -> Iterator[Update]:
        if self.coefficients.numel() == 0:
            return
        read = state.index_select(0, self.columns)
        yield self.rows, self.coefficients @ read if self.dense else self.coefficients[:, None] * read

    def entries(self) -> Tensor:
        return torch.cat([self.rows, self.columns])

    def renumbered(self, number: Tensor) -> Linear:
        return replace(self, rows=number[self.rows], columns=number[self.columns])

    @property
    def size(self) -> int:
        return max(self.rows.numel(), self.columns.numel())


@dataclass(frozen=True)
class Term:
    """`c S[left] S[right]` for the pairs of a group; None stands for 1."""

    coefficient: Tensor | None
    left: Tensor | None
    right: Tensor | None

    def of(self, state: Tensor) -> Tensor:
        """(pairs, points) in memory of its own, or the coefficients (pairs, 1) where there are no factors."""
        term: Tensor | None = None
        for side in (self.left, self.right):
            if side is not None:
                read = state.index_select(0, side)
                term = read if term is None else term.mul_(read)
        if self.coefficient is None:
            return torch.ones_like(state[:1]) if term is None else term
        column = self.coefficient[:, None]
        return column if term is None else term.mul_(column)

    def entries(self) -> list[Tensor]:
        return [side for side in (self.left, self.right) if side is not None]

    def renumbered(self, number: Tensor) -> Term:
        left, right = (None if side is None else number[side] for side in (self.left, self.right))
        return Term(self.coefficient, left, right)


@dataclass(frozen=True)
class Output:
    """Where a group's scores go, times the term's factor: one row per pair, or summed by a small matrix."""

    factor: Term
    rows: Tensor
    sums: Tensor | None

    def renumbered(self, number: Tensor) -> Output:
        return Output(self.factor.renumbered(number), number[self.rows], self.sums)


@dataclass(frozen=True)
class Products:
    """Pairs of one pattern: `score = sum of terms`, ReLU unless its sign is known, then added to the outputs."""

    terms: list[Term]
    outputs: list[Output]
    relu: bool
    count: int

    def updates(self, state: Tensor) -> Iterator[Update]:
        score = self.terms[0].of(state)
        for term in self.terms[1:]:
            score = score.add_(term.of(state)) if self.terms[0].entries() else score + term.of(state)
        score = score.relu_() if self.relu else score
        for output in self.outputs:
            factor = output.factor
            value = score
            if factor.entries():
                value = factor.of(state).mul_(score)
            elif factor.coefficient is not None:
                value = score * factor.coefficient[:, None]
            value = value.expand(self.count, state.shape[1])
            yield output.rows, value if output.sums is None else output.sums @ value

    def entries(self) -> Tensor:
        inner = [entry for term in (*self.terms, *(o.factor for o in self.outputs)) for entry in term.entries()]
        return torch.cat([*inner, *(output.rows for output in self.outputs)])

    def renumbered(self, number: Tensor) -> Products:
        terms = [term.renumbered(number) for term in self.terms]
        return replace(self, terms=terms, outputs=[output.renumbered(number) for output in self.outputs])


@dataclass(frozen=True)
class FeedForwardStep:
    """FFN on the tokens that it can change; reads some rows of them, the others are folded into the first bias."""

    tokens: int
    reads: Tensor  # entries, (rows read * tokens,)
    writes: Tensor  # entries, (rows written * tokens,)
    first: Tensor  # (channels, rows read)
    fixed: Tensor  # (channels, tokens, 1)
    layers: list[tuple[Tensor, Tensor]]

    def add(self, state: Tensor) -> None:
        points = state.shape[1]
        read = state.index_select(0, self.reads).reshape(self.first.shape[1], self.tokens * points)
        hidden = (self.first @ read).reshape(len(self.first), self.tokens, points).add_(self.fixed)
        for weight, bias in self.layers:
            channels = hidden.relu_().reshape(weight.shape[1], self.tokens * points)
            hidden = (weight @ channels).add_(bias[:, None]).reshape(len(weight), self.tokens, points)
        state.index_add_(0, self.writes, hidden.reshape(self.writes.numel(), points))

    def entries(self) -> Tensor:
        return torch.cat([self.reads, self.writes])

    def renumbered(self, number: Tensor) -> FeedForwardStep:
        return replace(self, reads=number[self.reads], writes=number[self.writes])

    @property
    def size(self) -> int:
        return self.tokens * max([self.first.shape[0], self.first.shape[1], *(w.shape[0] for w, _ in self.layers)])


@dataclass(frozen=True)
class Step:
    """One block: linear reads and products of the same state, then the FFN."""

    linear: Linear
    products: list[Products]
    ffn: FeedForwardStep | None

    def run(self, state: Tensor) -> None:
        """Add what the block adds to `state`, in place."""
        updates = list(self.linear.updates(state))
        for group in self.products:
            updates.extend(group.updates(state))
        for rows, values in updates:
            state.index_add_(0, rows, values)
        if self.ffn is not None:
            self.ffn.add(state)

    def entries(self) -> Tensor:
        """Every entry that the step reads or writes."""
        parts = [self.linear.entries(), *(group.entries() for group in self.products)]
        return torch.cat(parts if self.ffn is None else [*parts, self.ffn.entries()])

    def renumbered(self, number: Tensor) -> Step:
        """The step on a state whose entry i has become `number[i]`."""
        products = [group.renumbered(number) for group in self.products]
        ffn = None if self.ffn is None else self.ffn.renumbered(number)
        return Step(self.linear.renumbered(number), products, ffn)

    @property
    def size(self) -> int:
        """Entries held at once besides the state."""
        pairs = sum(group.count * max(2, len(group.outputs)) for group in self.products)
        return max(self.linear.size + pairs, 0 if self.ffn is None else self.ffn.size)

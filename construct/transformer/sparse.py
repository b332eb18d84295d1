"""Sparse execution: the same weights, only the token pairs on which a head can be non-zero.

The pairs come from `bounds.propagate_block` (branch and bound on the weights, with proved data bounds). Rows that no
block writes (position code, row of ones) are known numbers, so every pair's score is a bilinear form over the written
rows and 1, the paper's `u_t^T G u_s`; a pair whose form is a positive constant is a linear read, and all linear
reads of a block collapse into one matrix product. State is kept as (entries, points), points last.

When gradients in the weights are wanted, every row counts as written, no pair is dropped for a zero value and the
FFN runs on all tokens: gradients then agree with the dense execution's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from construct.tokens.codes import Float
from construct.transformer.bounds import BlockBounds, input_intervals, propagate_block
from construct.transformer.pairs import HeadPairs, active_pairs

if TYPE_CHECKING:
    from construct.transformer.module import Block, Transformer

ENTRIES_PER_CHUNK = 1 << 22


def plan_signature(net: Transformer) -> tuple[Any, ...]:
    """Changes whenever a weight is written, moved or replaced."""
    tensors = [net.box, *net.parameters()]
    return (_trainable(net), *((t.data_ptr(), t._version, t.dtype, t.device) for t in tensors))


def _trainable(net: Transformer) -> bool:
    return torch.is_grad_enabled() and any(p.requires_grad for p in net.parameters())


def _numpy(tensor: Tensor) -> Float:
    return tensor.detach().to("cpu", torch.float64).numpy()


def block_weights(block: Block) -> tuple[Float, Float, Float, list[tuple[Float, Float]]]:
    """Weights of a block as float64 arrays: query, key, value, list of FFN layers."""
    ffn = [(_numpy(layer.weight), _numpy(layer.bias)) for layer in block.ffn_layers]
    return _numpy(block.query), _numpy(block.key), _numpy(block.value), ffn


def propagate(net: Transformer) -> list[BlockBounds]:
    """Bounds of the hidden state through all blocks, for every x in the network's box."""
    state = input_intervals(_numpy(net.hidden0), _numpy(net.box))
    result = []
    for block in net.stack:
        result.append(propagate_block(*block_weights(block), state))
        state = result[-1].after
    return result


@dataclass(frozen=True)
class _Linear:
    """`delta[rows] += matrix @ state[columns]`, or entry by entry when the matrix would be mostly zeros."""

    rows: Tensor
    columns: Tensor
    coefficients: Tensor
    dense: bool

    def add(self, delta: Tensor, state: Tensor) -> None:
        if self.coefficients.numel() == 0:
            return
        if self.dense:
            delta.index_add_(0, self.rows, self.coefficients @ state[self.columns])
        else:
            delta.index_add_(0, self.rows, self.coefficients[:, None] * state[self.columns])


@dataclass(frozen=True)
class _Products:
    """Pairs with data in the ReLU: score = sum of `c S[left] S[right]`; then `delta[out] += c relu(score) S[src]`."""

    slots: list[tuple[Tensor, Tensor | None, Tensor | None]]  # (coefficient, left, right); None stands for 1
    value_pair: Tensor
    value_out: Tensor
    value_source: Tensor | None
    value_coefficient: Tensor
    plain: Tensor  # (pairs, out, coefficient) of values that read the constant
    plain_out: Tensor
    plain_coefficient: Tensor
    count: int

    def add(self, delta: Tensor, state: Tensor) -> None:
        if self.count == 0:
            return
        score: Tensor | None = None
        for coefficient, left, right in self.slots:
            term = coefficient[:, None]
            if left is not None:
                term = term * state[left]
            if right is not None:
                term = term * state[right]
            score = term if score is None else score + term
        assert score is not None
        active = torch.relu(score)
        if self.plain.numel():
            rows = self.plain_coefficient[:, None] * active[self.plain]
            delta.index_add_(0, self.plain_out, rows.expand(-1, state.shape[1]))
        if self.value_pair.numel() and self.value_source is not None:
            rows = self.value_coefficient[:, None] * active[self.value_pair]
            delta.index_add_(0, self.value_out, rows * state[self.value_source])


@dataclass(frozen=True)
class _FeedForward:
    """FFN on the tokens that it can change; written rows vary, the others are folded into the first bias."""

    tokens: Tensor
    first: Tensor  # (w, moving rows)
    fixed: Tensor  # (w, tokens, 1)
    layers: list[tuple[Tensor, Tensor]]
    rows: Tensor  # rows of the state entries it writes: (moving rows, tokens)

    def add(self, state: Tensor) -> Tensor:
        hidden = torch.einsum("ck,ktp->ctp", self.first, state[self.rows]) + self.fixed
        for weight, bias in self.layers:
            hidden = torch.einsum("dc,ctp->dtp", weight, torch.relu(hidden)) + bias[:, None, None]
        return state.index_add(0, self.rows.reshape(-1), hidden.reshape(-1, state.shape[1]))


@dataclass(frozen=True)
class _Step:
    linear: _Linear
    products: _Products
    ffn: _FeedForward | None
    entries: int


class SparsePlan:
    """Index tensors and folded coefficients of every block."""

    def __init__(
        self, bounds: list[BlockBounds], steps: list[_Step] | None, pairs: list[HeadPairs], rows: list[int]
    ) -> None:
        self.bounds = bounds
        self.steps = steps
        self.pairs = pairs
        self.rows = rows

    @staticmethod
    def from_weights(net: Transformer, bounds: list[BlockBounds] | None = None) -> SparsePlan:
        bounds = propagate(net) if bounds is None else bounds
        if _trainable(net):
            pairs = []
            for block, bound in zip(net.stack, bounds, strict=True):
                query, key, value, _ = block_weights(block)
                pairs.append(active_pairs(query, key, np.ones_like(value), bound.before))
            return SparsePlan(bounds, None, pairs, list(range(net.hidden0.shape[1])))
        rows = written_rows(net)
        with torch.no_grad():
            steps = [_fold(block, bound, net, rows) for block, bound in zip(net.stack, bounds, strict=True)]
        return SparsePlan(bounds, steps, [bound.pairs for bound in bounds], rows)

    def forward(self, net: Transformer, x: Tensor) -> Tensor:
        """Evaluate points (P, D) inside the box -> (P,)."""
        largest = max([1, *(len(p) for p in self.pairs)]) if self.steps is None else max(s.entries for s in self.steps)
        step = max(1, min(4096, ENTRIES_PER_CHUNK // max(largest, 1)))
        run = self._trainable_points if self.steps is None else self._points
        return torch.cat([run(net, x[start : start + step]) for start in range(0, x.shape[0], step)])

    def _points(self, net: Transformer, x: Tensor) -> Tensor:
        tokens = net.hidden0.shape[0]
        count = x.shape[0]
        assert self.steps is not None
        state = net.hidden0[:, self.rows].T.reshape(-1, 1).expand(-1, count)
        state = torch.cat([state[: net.ambient] + x.T, state[net.ambient :]])
        for step in self.steps:
            delta = torch.zeros_like(state)
            step.linear.add(delta, torch.cat([state, state.new_ones(1, count)]))
            step.products.add(delta, state)
            state = state + delta
            if step.ffn is not None:
                state = step.ffn.add(state)
        token, row = (int(i) for i in net.readout)
        if row not in self.rows:
            return net.hidden0[token, row].expand(count)
        return state[self.rows.index(row) * tokens + token]

    def _trainable_points(self, net: Transformer, x: Tensor) -> Tensor:
        hidden = net.embed(x).permute(1, 2, 0)
        for block, pairs in zip(net.stack, self.pairs, strict=True):
            head, target, source = (
                torch.as_tensor(i, device=x.device) for i in (pairs.head, pairs.target, pairs.source)
            )
            query = torch.matmul(block.query[head], hidden[target])
            key = torch.matmul(block.key[head], hidden[source])
            score = query[:, 0] * key[:, 0]
            for row in range(1, query.shape[1]):
                score = score + query[:, row] * key[:, row]
            value = torch.matmul(block.value[head], hidden[source])
            hidden = hidden.index_add(0, target, torch.relu(score)[:, None, :] * value)
            if len(block.ffn):
                hidden = hidden + block.feed_forward(hidden.transpose(1, 2)).transpose(1, 2)
        token, row = (int(i) for i in net.readout)
        return hidden[token, row]


def written_rows(net: Transformer) -> list[int]:
    """Rows that some block (or the embedding) can change; the others keep their initial value for every x."""
    written = np.zeros(net.hidden0.shape[1], dtype=bool)
    written[0] = True
    for block in net.stack:
        if block.value.shape[0]:
            written |= (block.value != 0).any(dim=2).any(dim=0).cpu().numpy()
        if len(block.ffn):
            last = block.ffn_layers[-1]
            written |= ((last.weight != 0).any(dim=1) | (last.bias != 0)).cpu().numpy()
    return [int(row) for row in np.flatnonzero(written)]


def _fold(block: Block, bound: BlockBounds, net: Transformer, rows: list[int]) -> _Step:
    device, tokens = net.device, net.hidden0.shape[0]
    pairs, count = bound.pairs, len(rows)
    head, target, source = (torch.as_tensor(i, device=device) for i in (pairs.head, pairs.target, pairs.source))
    forms, values = _folded_forms(block, net, head, target, source, rows)
    constant = (
        forms.reshape(len(pairs), -1)[:, :-1].eq(0).all(dim=1)
        if len(pairs)
        else torch.zeros(0, dtype=torch.bool, device=device)
    )
    linear = _fold_linear(
        forms[constant].to(net.dtype), values[constant].to(net.dtype), target[constant], source[constant], tokens, count
    )
    moving = ~constant
    forms, values = forms.to(net.dtype), values.to(net.dtype)
    products = _fold_products(forms[moving], values[moving], target[moving], source[moving], tokens, count)
    ffn = _fold_ffn(block, bound, net, rows)
    size = max(
        linear.rows.numel() if linear.dense else linear.coefficients.numel(),
        products.count,
        products.value_pair.numel(),
        0 if ffn is None else ffn.tokens.numel() * net.hidden0.shape[1],
        tokens * count,
    )
    return _Step(linear, products, ffn, size)


def _folded_forms(
    block: Block, net: Transformer, head: Tensor, target: Tensor, source: Tensor, rows: list[int]
) -> tuple[Tensor, Tensor]:
    """`G` (p, k+1, k+1) and `A` (p, k, k+1) over the k written rows and 1, in float64 (gates cancel exactly)."""
    count, width = len(rows), net.hidden0.shape[1]
    fixed = [row for row in range(width) if row not in rows]
    still = net.hidden0[:, fixed].double()
    forms = torch.zeros(head.numel(), count + 1, count + 1, dtype=torch.float64, device=head.device)
    values = torch.zeros(head.numel(), count, count + 1, dtype=torch.float64, device=head.device)
    step = 1 << 17
    for start in range(0, head.numel(), step):
        window = slice(start, start + step)
        h, t, s = head[window], target[window], source[window]
        query, key, value = (w[h].double() for w in (block.query, block.key, block.value))
        q = torch.cat([query[:, :, rows], torch.einsum("prf,pf->pr", query[:, :, fixed], still[t])[:, :, None]], dim=2)
        k = torch.cat([key[:, :, rows], torch.einsum("prf,pf->pr", key[:, :, fixed], still[s])[:, :, None]], dim=2)
        chunk = forms[window]
        for row in range(width):  # gates first: their sum is exactly 0 before data enters
            chunk += q[:, row, :, None] * k[:, row, None, :]
        written = value[:, rows, :]
        values[window, :, :count] = written[:, :, rows]
        values[window, :, count] = torch.einsum("pif,pf->pi", written[:, :, fixed], still[s])
    return forms, values


def _fold_linear(forms: Tensor, values: Tensor, target: Tensor, source: Tensor, tokens: int, count: int) -> _Linear:
    weight = torch.relu(forms[:, -1, -1])[:, None, None] * values
    pair, out, src = weight.nonzero(as_tuple=True)
    coefficients = weight[pair, out, src]
    rows = out * tokens + target[pair]
    columns = torch.where(src == count, torch.full_like(src, count * tokens), src * tokens + source[pair])
    unique_rows, row_index = rows.unique(return_inverse=True)
    unique_columns, column_index = columns.unique(return_inverse=True)
    cells = unique_rows.numel() * unique_columns.numel()
    if cells <= max(32 * coefficients.numel(), 1 << 14):
        matrix = coefficients.new_zeros(unique_rows.numel(), unique_columns.numel())
        matrix.index_put_((row_index, column_index), coefficients, accumulate=True)
        return _Linear(unique_rows, unique_columns, matrix, True)
    return _Linear(rows, columns, coefficients, False)


def _fold_products(forms: Tensor, values: Tensor, target: Tensor, source: Tensor, tokens: int, count: int) -> _Products:
    pairs = forms.shape[0]
    pair, left, right = forms.nonzero(as_tuple=True)
    coefficient = forms[pair, left, right]
    position = torch.arange(pair.numel(), device=pair.device)
    first = torch.searchsorted(pair, torch.arange(pairs, device=pair.device))
    slot = position - first[pair]
    slots: list[tuple[Tensor, Tensor | None, Tensor | None]] = []
    # slots hold the constant entry last; padding is 0 times an arbitrary entry
    for number in range(int(slot.max()) + 1 if slot.numel() else 0):
        chosen = slot == number
        index = pair[chosen]
        c = coefficient.new_zeros(pairs)
        c[index] = coefficient[chosen]
        sides: list[Tensor | None] = []
        for entry, token in ((left, target), (right, source)):
            if bool((entry[chosen] == count).all()):
                sides.append(None)
                continue
            side = torch.full((pairs,), -1, dtype=torch.int64, device=pair.device)
            side[index] = entry[chosen] * tokens + token[index]
            side[index[entry[chosen] == count]] = -2
            sides.append(side)
        slots.extend(_split_slot(c, sides[0], sides[1]))
    v_pair, v_out, v_src = values.nonzero(as_tuple=True)
    v_coefficient = values[v_pair, v_out, v_src]
    out = v_out * tokens + target[v_pair]
    plain = v_src == count
    data = ~plain
    return _Products(
        slots,
        v_pair[data],
        out[data],
        v_src[data] * tokens + source[v_pair[data]] if bool(data.any()) else None,
        v_coefficient[data],
        v_pair[plain],
        out[plain],
        v_coefficient[plain],
        pairs,
    )


def _split_slot(
    coefficient: Tensor, left: Tensor | None, right: Tensor | None
) -> list[tuple[Tensor, Tensor | None, Tensor | None]]:
    """One slot as up to three: both factors data, only one of them data, or none, so that 1 is never gathered."""
    kinds = torch.zeros_like(coefficient, dtype=torch.int64)
    if left is not None:
        kinds += (left >= 0).long()
    if right is not None:
        kinds += 2 * (right >= 0).long()
    result: list[tuple[Tensor, Tensor | None, Tensor | None]] = []
    for kind in range(4):
        here = (kinds == kind) & (coefficient != 0)
        if not bool(here.any()):
            continue
        c = torch.where(here, coefficient, torch.zeros_like(coefficient))
        result.append(
            (
                c,
                left.clamp_min(0) if left is not None and kind & 1 else None,
                right.clamp_min(0) if right is not None and kind & 2 else None,
            )
        )
    return result


def _fold_ffn(block: Block, bound: BlockBounds, net: Transformer, rows: list[int]) -> _FeedForward | None:
    if not len(block.ffn) or bound.ffn_tokens.size == 0:
        return None
    device, tokens, width = net.device, net.hidden0.shape[0], net.hidden0.shape[1]
    index = torch.as_tensor(bound.ffn_tokens, device=device)
    fixed = [row for row in range(width) if row not in rows]
    layers = [(layer.weight.detach(), layer.bias.detach()) for layer in block.ffn_layers]
    weight, bias = layers[0]
    if len(layers) == 1:
        weight, bias = weight[rows], bias[rows]
    offset = torch.einsum("cf,tf->ct", weight[:, fixed], net.hidden0[index][:, fixed]) + bias[:, None]
    rest = list(layers[1:])
    if rest:
        rest[-1] = (rest[-1][0][rows], rest[-1][1][rows])
    position = torch.arange(len(rows), device=device)[:, None] * tokens + index[None, :]
    return _FeedForward(index, weight[:, rows], offset[:, :, None], rest, position)

"""From the weights and the proved bounds of a block to the steps of the sparse execution.

Rows that no block writes are known numbers, so the score of a pair is a bilinear form `u_t^T G u_s` over the written
rows and 1, its value `A u_s`. What is used beyond that, all of it read off `G`, `A` and the bounds:

- an entry that is the same for every x so far is a number, too;
- a score that cannot be negative needs no ReLU; two pairs `G, A` and `-G, -A` of the same tokens are `G A` without one;
- without a ReLU a form that is affine in one token times a constant value, or constant, is a linear read; all linear
  reads of a block are one matrix product;
- what cannot reach the read-out is not computed (backwards, entry by entry);
- pairs are grouped by the pattern of their non-zeros, so that a group is a handful of tensor operations.

Entry `row * tokens + token` of the state is a written row of a token, entry `rows * tokens` the constant 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from construct.execution.steps import FeedForwardStep, Linear, Output, Products, Step, Term
from construct.transformer.module import Block, Transformer
from construct.transformer.weights import BlockBounds

MOST_PATTERNS = 16  # groups of pairs in a block; rarer patterns are padded with zeros
SMALL_MATRIX = 1 << 14
NONNEGATIVE = 1e-11  # bounds are widened by 1e-12 a block


def fold(
    net: Transformer, bounds: Sequence[BlockBounds], rows: list[int], *, everything: bool = False
) -> tuple[list[Step], Tensor]:
    """Steps of all blocks on the entries that matter, and those entries (the constant 1 last).

    everything: keep every written entry, whether it reaches the read-out or not (for traces).
    """
    tokens, count = net.hidden0.shape[0], len(rows)
    token, row = net.output
    wanted = torch.full((count * tokens + 1,), everything, dtype=torch.bool, device=net.device)
    wanted[-1] = True
    if row in rows:
        wanted[rows.index(row) * tokens + token] = True
    used, steps = wanted.clone(), []
    for block, bound in zip(reversed(net.stack), reversed(bounds), strict=True):
        ffn = _fold_ffn(block, bound, net, rows, wanted)
        if ffn is not None:
            wanted[ffn.reads] = True
        step = _fold_heads(block, bound, net, rows, wanted, ffn)
        used[step.entries()] = True
        wanted[step.entries()] = True
        steps.append(step)
    used |= wanted
    number = used.cumsum(0) - 1
    return [step.renumbered(number) for step in reversed(steps)], used.nonzero()[:, 0]


def _fold_heads(
    block: Block, bound: BlockBounds, net: Transformer, rows: list[int], wanted: Tensor, ffn: FeedForwardStep | None
) -> Step:
    device, tokens, count = net.device, net.hidden0.shape[0], len(rows)
    head, target, source = (
        torch.as_tensor(i, device=device) for i in (bound.pairs.head, bound.pairs.target, bound.pairs.source)
    )
    forms, values = folded_forms(block, net, head, target, source, rows)
    _fold_constants(forms, values, target, source, bound, rows)
    output = torch.arange(count, device=device) * tokens + target[:, None]
    values = torch.where(wanted[output][:, :, None], values, torch.zeros_like(values))
    keep = values.flatten(1).ne(0).any(dim=1)
    forms, values, target, source = (t[keep] for t in (forms, values, target, source))
    free = _nonnegative(forms, target, source, bound, rows)
    dropped, matched = _signed_pairs(forms, values, target, source)
    free |= matched
    forms, values, target, source, free = (t[~dropped] for t in (forms, values, target, source, free))
    linear, rest = _linear_entries(forms, values, target, source, free, tokens, count)
    products = _fold_products(
        forms[rest].to(net.dtype), values[rest].to(net.dtype), target[rest], source[rest], free[rest], tokens, count
    )
    return Step(_fold_linear(*linear, dtype=net.dtype), products, ffn)


def folded_forms(
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
        query, key, value = (w[h].double() for w in (block.attention.query, block.attention.key, block.attention.value))
        q = torch.cat([query[:, :, rows], torch.einsum("prf,pf->pr", query[:, :, fixed], still[t])[:, :, None]], dim=2)
        k = torch.cat([key[:, :, rows], torch.einsum("prf,pf->pr", key[:, :, fixed], still[s])[:, :, None]], dim=2)
        chunk = forms[window]
        for row in range(width):  # gates first: their sum is exactly 0 before data enters
            chunk += q[:, row, :, None] * k[:, row, None, :]
        written = value[:, rows, :]
        values[window, :, :count] = written[:, :, rows]
        values[window, :, count] = torch.einsum("pif,pf->pi", written[:, :, fixed], still[s])
    return forms, values


def _fold_constants(
    forms: Tensor, values: Tensor, target: Tensor, source: Tensor, bound: BlockBounds, rows: list[int]
) -> None:
    """Written entries that are still the same for every x (the bounds coincide) become constants, in place."""
    lower, upper = bound.before.lower[:, rows], bound.before.upper[:, rows]
    still = torch.as_tensor(lower == upper, device=forms.device)
    entry = torch.as_tensor(lower, device=forms.device)
    for i in range(len(rows)):
        here, factor = still[target, i], entry[target, i]
        forms[:, -1] += torch.where(here, factor, 0.0)[:, None] * forms[:, i]
        forms[:, i] *= (~here)[:, None]
        here, factor = still[source, i], entry[source, i]
        for matrix in (forms, values):
            matrix[:, :, -1] += torch.where(here, factor, 0.0)[:, None] * matrix[:, :, i]
            matrix[:, :, i] *= (~here)[:, None]


def _nonnegative(forms: Tensor, target: Tensor, source: Tensor, bound: BlockBounds, rows: list[int]) -> Tensor:
    """Pairs whose score the bounds prove to be >= 0 (up to the outward rounding of the bounds)."""
    low, high = (torch.as_tensor(b[:, rows], device=forms.device) for b in (bound.before.lower, bound.before.upper))
    low, high = (torch.cat([b, torch.ones_like(b[:, :1])], dim=1) for b in (low, high))
    total, size = torch.zeros_like(forms[:, 0, 0]), torch.zeros_like(forms[:, 0, 0])
    for i in range(forms.shape[1]):
        for j in range(forms.shape[2]):
            corners = torch.stack([a[target, i] * b[source, j] for a in (low, high) for b in (low, high)])
            terms = forms[:, i, j] * corners
            total += terms.amin(dim=0)
            size += terms.abs().amax(dim=0)
    return total >= -NONNEGATIVE * size


def _signed_pairs(forms: Tensor, values: Tensor, target: Tensor, source: Tensor) -> tuple[Tensor, Tensor]:
    """`relu(G) A - relu(-G) A = G A`: masks of the pairs that disappear and of their partners, which lose the ReLU."""
    flat = forms.flatten(1)
    dropped = torch.zeros(len(flat), dtype=torch.bool, device=flat.device)
    matched = dropped.clone()
    if len(flat) < 2:
        return dropped, matched
    mix = torch.zeros_like(flat[:, 0])
    for column in range(flat.shape[1]):  # the same order of summation for every pair
        mix += flat[:, column] * (1.0 + 0.6180339887498949 * column)
    order = mix.abs().argsort(stable=True)
    place = target * (int(source.max()) + 1) + source
    order = order[place[order].argsort(stable=True)]
    one, other = order[:-1], order[1:]
    twins = (place[one] == place[other]) & (flat[one] == -flat[other]).all(dim=1)
    twins &= (values[one] == -values[other]).flatten(1).all(dim=1)
    twins[1:] &= ~twins[:-1]  # in a run of several, only the first two for certain
    dropped[other[twins]] = True
    matched[one[twins]] = True
    return dropped, matched


def _linear_entries(
    forms: Tensor, values: Tensor, target: Tensor, source: Tensor, free: Tensor, tokens: int, count: int
) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
    """(rows, columns, coefficients) of all pairs that are affine in the state, and the mask of the other pairs."""
    one = count * tokens
    by_target, by_source = forms[:, :count, count], forms[:, count, :count]
    affine = forms[:, :count, :count].eq(0).flatten(1).all(dim=1)
    constant = affine & by_target.eq(0).all(dim=1) & by_source.eq(0).all(dim=1)
    affine &= free & ~constant & values[:, :, :count].eq(0).flatten(1).all(dim=1)
    parts: list[tuple[Tensor, Tensor, Tensor]] = []

    def collect(weight: Tensor, pairs: Tensor, tokens_read: Tensor) -> None:
        """weight (n, k, columns): what row i of the target gets from row j (or 1) of the token read."""
        pair, out, column = weight.nonzero(as_tuple=True)
        read = torch.where(column == count, torch.full_like(column, one), column * tokens + tokens_read[pairs[pair]])
        parts.append((out * tokens + target[pairs[pair]], read, weight[pair, out, column]))

    pairs = constant.nonzero()[:, 0]
    collect(torch.relu(forms[pairs, count, count])[:, None, None] * values[pairs], pairs, source)
    pairs = affine.nonzero()[:, 0]
    value = values[pairs][:, :, count, None]
    collect(value * forms[pairs][:, count, None, :], pairs, source)
    collect(value * by_target[pairs][:, None, :], pairs, target)
    rows, columns, coefficients = (torch.cat([part[i] for part in parts]) for i in range(3))
    return (rows, columns, coefficients), ~(constant | affine)


def _fold_linear(rows: Tensor, columns: Tensor, coefficients: Tensor, *, dtype: torch.dtype) -> Linear:
    unique_rows, row_index = rows.unique(return_inverse=True)
    unique_columns, column_index = columns.unique(return_inverse=True)
    if unique_rows.numel() * unique_columns.numel() <= max(32 * coefficients.numel(), SMALL_MATRIX):
        matrix = coefficients.new_zeros(unique_rows.numel(), unique_columns.numel())
        matrix.index_put_((row_index, column_index), coefficients, accumulate=True)
        return Linear(unique_rows, unique_columns, matrix.to(dtype), True)
    return Linear(rows, columns, coefficients.to(dtype), False)


def _fold_products(
    forms: Tensor, values: Tensor, target: Tensor, source: Tensor, free: Tensor, tokens: int, count: int
) -> list[Products]:
    """Groups of pairs with the same non-zeros in G and A and the same need of a ReLU."""
    if not len(forms):
        return []
    present = torch.cat([forms.flatten(1) != 0, values.flatten(1) != 0, free[:, None]], dim=1)
    patterns, group = _patterns(present)
    largest = torch.bincount(group, minlength=len(patterns)).argsort(descending=True, stable=True)
    groups = [(patterns[i], (group == i).nonzero()[:, 0]) for i in largest[:MOST_PATTERNS].tolist()]
    others = largest[MOST_PATTERNS:]
    for flag in (False, True):
        chosen = others[patterns[others, -1] == flag]
        if len(chosen):
            index = torch.isin(group, chosen).nonzero()[:, 0]
            groups.append((patterns[chosen].any(dim=0), index))
    cells = forms[0].numel()
    result = []
    for pattern, index in groups:
        form_cells = pattern[:cells].reshape(count + 1, count + 1).nonzero().tolist()
        value_cells = pattern[cells:-1].reshape(count, count + 1).nonzero().tolist()
        t, s = target[index], source[index]
        terms = []
        for i, j in form_cells:
            left = None if i == count else i * tokens + t
            right = None if j == count else j * tokens + s
            terms.append(_term(forms[index, i, j], left, right))
        outputs = []
        for i, j in value_cells:
            factor = _term(values[index, i, j], None if j == count else j * tokens + s, None)
            outputs.append(_output(factor, i * tokens + t, values.dtype))
        result.append(Products(terms, outputs, not bool(pattern[-1]), len(index)))
    return result


def _patterns(present: Tensor) -> tuple[Tensor, Tensor]:
    """Distinct rows of a mask (p, c) and the number of each row's pattern; c < 62 * n bits are packed into n words."""
    words = []
    for start in range(0, present.shape[1], 62):
        part = present[:, start : start + 62].long()
        words.append((part << torch.arange(part.shape[1], device=part.device)).sum(dim=1))
    group = torch.zeros_like(words[0])
    for word in words:
        group = torch.stack([group, word.unique(return_inverse=True)[1]])
        group = (group[0] * (int(group[1].max()) + 1) + group[1]).unique(return_inverse=True)[1]
    patterns = present.new_zeros(int(group.max()) + 1, present.shape[1])
    patterns[group] = present
    return patterns, group


def _term(coefficient: Tensor, left: Tensor | None, right: Tensor | None) -> Term:
    trivial = bool((coefficient == 1).all())
    return Term(None if trivial else coefficient, left, right)


def _output(factor: Term, rows: Tensor, dtype: torch.dtype) -> Output:
    """Many pairs into few rows are summed by a matrix, which also carries the coefficients."""
    unique, index = rows.unique(return_inverse=True)
    count = rows.numel()
    if 2 * unique.numel() > count or unique.numel() * count > SMALL_MATRIX:
        return Output(factor, rows, None)
    matrix = torch.zeros(unique.numel(), count, dtype=dtype, device=rows.device)
    one = torch.ones((), dtype=dtype, device=rows.device)
    matrix[index, torch.arange(count, device=rows.device)] = one if factor.coefficient is None else factor.coefficient
    return Output(Term(None, factor.left, factor.right), unique, matrix)


def _fold_ffn(
    block: Block, bound: BlockBounds, net: Transformer, rows: list[int], wanted: Tensor
) -> FeedForwardStep | None:
    """The FFN without the tokens, rows and channels that change nothing that is wanted."""
    layers = [(layer.weight.detach(), layer.bias.detach()) for layer in block.ffn.affine]
    if not layers or bound.ffn_tokens.size == 0:
        return None
    device, tokens, width = net.device, net.hidden0.shape[0], net.hidden0.shape[1]
    changed = torch.as_tensor(bound.ffn_tokens, device=device)
    weight, bias = layers[-1]
    written = [i for i, row in enumerate(rows) if bool((weight[row] != 0).any() or bias[row] != 0)]
    place = torch.tensor(written, device=device, dtype=torch.int64)[:, None] * tokens
    wanted_here = wanted[place + changed]
    written = [i for i, here in zip(written, wanted_here.any(dim=1).tolist(), strict=True) if here]
    index = changed[wanted_here.any(dim=0)]
    if not written or not index.numel():
        return None
    layers[-1] = (weight[[rows[i] for i in written]], bias[[rows[i] for i in written]])
    fixed = [row for row in range(width) if row not in rows]
    weight, bias = layers[0]
    first, offset = weight[:, rows], torch.einsum("cf,tf->ct", weight[:, fixed], net.hidden0[index][:, fixed])
    offset = offset + bias[:, None]
    silent = first.eq(0).all(dim=1) & (offset <= 0).all(dim=1)
    for i in range(1, len(layers)):  # forwards: channels that are 0 after the ReLU
        weight, bias = layers[i]
        layers[i] = (torch.where(silent, torch.zeros_like(weight), weight), bias)
        silent = layers[i][0].eq(0).all(dim=1) & (bias <= 0)
    for i in range(len(layers) - 1, 0, -1):  # backwards: channels that nobody reads
        alive = (layers[i][0] != 0).any(dim=0)
        layers[i] = (layers[i][0][:, alive], layers[i][1])
        if i > 1:
            layers[i - 1] = (layers[i - 1][0][alive], layers[i - 1][1][alive])
        else:
            first, offset = first[alive], offset[alive]
    read = [i for i in range(len(rows)) if bool((first[:, i] != 0).any())]
    reads, writes = (
        (torch.tensor(which, device=device, dtype=torch.int64)[:, None] * tokens + index).reshape(-1)
        for which in (read, written)
    )
    return FeedForwardStep(index.numel(), reads, writes, first[:, read], offset[:, :, None], layers[1:])

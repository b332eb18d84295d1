"""Direct execution: the formula at a few points anywhere, without a plan; the scores that cannot be positive left out.

A head adds `sum_s relu(<q_t, k_s>) v_s` to token t. Of the queries and keys of one point, at hand as numbers, the score
of a target t is at most `sum_r max(q_tr low_r, q_tr high_r)`, with the smallest and largest k_sr over the sources. A
target with a bound of at most 0 hears nothing at this point, and is dropped; then sources that no target left can hear,
by the same bound the other way. This takes work in proportion to heads times tokens. Far outside the box, where gates
that compare tokens give way, about a tenth of all scores is left; near the box, a thousandth.

Products and sums are rounded monotonically and added in the same order, from the first row of Q and K to the last, in
the bound and in the score: what is dropped has a score that is not positive as it would be computed here, or, where
torch fuses a multiply-add in one of the two and not in the other, is positive by the rounding of the score alone. Where
a score may overflow, the block is evaluated densely.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from construct.execution.cost import dense_multiply_adds
from construct.execution.dense import dense_values
from construct.transformer.module import Block, Transformer

ENTRIES_AT_ONCE = {"cpu": 1 << 18, "other": 1 << 21}  # heads times points times tokens
DENSE = 1 << 22  # multiply-adds of the formula up to which it is the faster one as it stands, a few milliseconds
DENSE_SHARE = 150  # and for each head and token of a point: picking scores takes as long
SCORES_AT_ONCE = 1 << 18
FEWEST_TOGETHER = 512  # scores of a head at a point from which on they are computed as one matrix


@dataclass(frozen=True)
class DirectBlock:
    """The rows of a block's heads that are not zero.

    Attributes:
        query, key: (r m, w) for each head the rows r that are non-zero in both, in order, zeros after the last.
        value: (k m, w) the rows `rows` (k,) that are non-zero in some head.
    """

    block: Block
    query: Tensor
    key: Tensor
    value: Tensor
    rows: Tensor

    def run(self, hidden: Tensor) -> Tensor:
        """Hidden states (P, l, w) after the block."""
        added = self._heads(hidden)
        if added is None:
            return self.block.in_parts(hidden)
        middle = hidden.index_add(2, self.rows, added)
        return middle + self.block.ffn(middle) if len(self.block.ffn) else middle

    def _heads(self, hidden: Tensor) -> Tensor | None:
        """What the heads add to the rows `rows` of hidden states (P, l, w), (P, l, k); None where it may overflow."""
        points, tokens, width = hidden.shape
        if self.rows.numel() == 0:
            return hidden.new_zeros(points, tokens, 0)
        flat, heads = hidden.reshape(-1, width).T, self.block.attention.count
        query, key, value = (
            (weight @ flat).reshape(-1, heads * points, tokens) for weight in (self.query, self.key, self.value)
        )
        target, source = _heard(query.detach(), key.detach())
        if target is None or source is None:
            return None
        if not value.requires_grad:  # a value of 0 may have a slope
            source = source & (value != 0).any(dim=0)
        return _added(query, key, value, target, source, points)


def _heard(query: Tensor, key: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """Targets and sources (n, l) of which some score can be positive, for queries and keys (r, n, l) of n heads at
    points; None where a score may overflow."""
    low, high = key.amin(dim=2, keepdim=True), key.amax(dim=2, keepdim=True)
    largest = query.abs().amax(dim=2, keepdim=True) * torch.maximum(high, -low)
    if not bool(torch.isfinite(largest.sum(dim=0)).all()):
        return None, None
    target = _bound(query, low, high) > 0
    low = torch.where(target, query, torch.inf).amin(dim=2, keepdim=True)
    high = torch.where(target, query, -torch.inf).amax(dim=2, keepdim=True)
    some = target.any(dim=1)[None, :, None]
    source = _bound(key, torch.where(some, low, 0.0), torch.where(some, high, 0.0)) > 0
    return target, source


def _bound(factor: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The largest `sum_r factor_r other_r` (n, l) for low <= other <= high, factor (r, n, l), bounds (r, n, 1)."""
    total = torch.maximum(factor[0] * low[0], factor[0] * high[0])
    for f, a, b in zip(factor[1:], low[1:], high[1:], strict=True):
        total = torch.maximum(torch.addcmul(total, f, a), torch.addcmul(total, f, b))
    return total


def _added(query: Tensor, key: Tensor, value: Tensor, target: Tensor, source: Tensor, points: int) -> Tensor:
    """Sums (P, l, k) over heads and sources of relu(score) times value, of `points` points."""
    tokens = target.shape[1]
    heard, speaking = _Some.of(target), _Some.of(source)
    place = torch.arange(len(target), device=target.device) % points * tokens  # of a head and a point, in the sums
    out = value.new_zeros(points * tokens + 1, len(value))  # and one row for what fills up a batch
    sizes = heard.count * speaking.count
    few = ((sizes > 0) & (sizes < FEWEST_TOGETHER)).nonzero()[:, 0]
    if few.numel():
        item = few.repeat_interleave(sizes[few])
        number = torch.arange(len(item), device=item.device) - _before(sizes[few]).repeat_interleave(sizes[few])
        across = speaking.count[item]
        t = heard.token[heard.first[item] + number.div(across, rounding_mode="floor")]
        s = speaking.token[speaking.first[item] + number % across]
        mine, its = item * tokens + t, item * tokens + s
        q, k = query.flatten(1)[:, mine], key.flatten(1)[:, its]
        score = q[0] * k[0]
        for row in range(1, len(q)):
            score.addcmul_(q[row], k[row])
        out = out.index_add(0, place[item] + t, (torch.relu_(score) * value.flatten(1)[:, its]).T)
    many = (sizes >= FEWEST_TOGETHER).nonzero()[:, 0]
    many = many[sizes[many].argsort(descending=True)]  # of like sizes together
    for item in many.split(max(1, SCORES_AT_ONCE // tokens**2)) if many.numel() else ():
        (t, real_t), (s, real_s) = heard.padded(item), speaking.padded(item)
        mine, its = item[:, None] * tokens + t, item[:, None] * tokens + s
        q, k = query.flatten(1)[:, mine], key.flatten(1)[:, its]
        score = q[0, :, :, None] * k[0, :, None]
        for row in range(1, len(q)):
            score.addcmul_(q[row, :, :, None], k[row, :, None])
        values = torch.where(real_s, value.flatten(1)[:, its], 0.0).permute(1, 2, 0)
        where = torch.where(real_t, place[item][:, None] + t, points * tokens)
        out = out.index_add(0, where.flatten(), (torch.relu_(score) @ values).flatten(0, 1))
    return out[:-1].reshape(points, tokens, -1)


def _before(counts: Tensor) -> Tensor:
    """Sums (n,) of the counts before each."""
    return counts.cumsum(0) - counts


@dataclass(frozen=True)
class _Some:
    """Some of the tokens of each of n items: `token[first[i] : first[i] + count[i]]`."""

    token: Tensor
    first: Tensor
    count: Tensor

    @classmethod
    def of(cls, chosen: Tensor) -> _Some:
        count = chosen.sum(dim=1)
        return cls(chosen.nonzero()[:, 1], _before(count), count)

    def padded(self, item: Tensor) -> tuple[Tensor, Tensor]:
        """The tokens of some items (g,), filled up with any to the longest, (g, most), and which are real."""
        number = torch.arange(int(self.count[item].max()), device=item.device)
        place = self.first[item][:, None] + number
        return self.token[place.clamp_max(len(self.token) - 1)], number < self.count[item][:, None]


def direct_block(block: Block) -> DirectBlock:
    attention = block.attention
    query, key, value = (w.detach() for w in (attention.query, attention.key, attention.value))
    both = (query != 0).any(dim=2) & (key != 0).any(dim=2)
    order = (~both).to(torch.uint8).sort(dim=1, stable=True).indices  # (m, w) the rows that count first
    order = order[:, : max(1, int(both.sum(dim=1).max()))] if attention.count else order[:, :1]
    rows = (value != 0).any(dim=2).any(dim=0).nonzero()[:, 0]

    def picked(weight: Tensor) -> Tensor:
        found = torch.where(both[..., None], weight, 0.0).take_along_dim(order[..., None], dim=1)
        return found.transpose(0, 1).reshape(-1, weight.shape[2])

    return DirectBlock(block, picked(query), picked(key), value[:, rows].transpose(0, 1).flatten(0, 1), rows)


class Direct:
    """Evaluates points anywhere, of a network whose weights do not change.

    Attributes:
        entries: heads times tokens, which the cost of a point grows with.
    """

    def __init__(self, net: Transformer) -> None:
        self.net, self.dense = net, dense_multiply_adds(net)
        with torch.inference_mode(False), torch.no_grad():
            self.blocks = [direct_block(block) for block in net.stack]
        heads = [block.attention.count for block in net.stack]
        self.entries = max(1, sum(heads)) * net.tokens
        at_once = ENTRIES_AT_ONCE.get(net.device.type, ENTRIES_AT_ONCE["other"])
        self.points_at_once = max(1, at_once // (max([1, *heads]) * net.tokens))

    def forward(self, x: Tensor) -> Tensor:
        """Values (P,) at x (P, D)."""
        if len(x) * self.dense <= DENSE or self.dense <= DENSE_SHARE * self.entries:
            return dense_values(self.net, x)
        token, row = self.net.output
        parts = []
        for part in x.split(self.points_at_once):
            hidden = self.net.embed(part)
            for block in self.blocks:
                hidden = block.run(hidden)
            parts.append(hidden[:, token, row])
        return torch.cat(parts)

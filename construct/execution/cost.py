"""Arithmetic of one evaluation, in multiply-adds a point."""

from __future__ import annotations

from collections.abc import Sequence

from construct.execution.steps import FeedForwardStep, Products, Step, Term
from construct.transformer.module import Transformer


def dense_multiply_adds(net: Transformer) -> int:
    """The formula as it stands. With m heads, l tokens, w rows and F affine layers a block costs
    `m (3 w^2 l + 2 w l^2) + F w^2 l`: queries, keys and values, then scores and weighted sums over all pairs."""
    tokens, width = (int(n) for n in net.hidden0.shape)
    heads = sum(int(block.attention.query.shape[0]) for block in net.stack)
    layers = sum(len(block.ffn) for block in net.stack)
    return heads * (3 * width**2 * tokens + 2 * width * tokens**2) + layers * width**2 * tokens


def sparse_multiply_adds(steps: Sequence[Step]) -> int:
    """What the folded steps of the sparse execution multiply: matrix entries of linear reads, the factors of
    products, and the FFN on the tokens that it can change; zeros skipped."""
    return sum(_step(step) for step in steps)


def _step(step: Step) -> int:
    linear = int(step.linear.coefficients.count_nonzero())
    return linear + sum(_products(group) for group in step.products) + _ffn(step.ffn)


def _products(group: Products) -> int:
    """Every pair: k factors of a term take k - 1, those of an output k; and the matrices that sum pairs."""
    factors = sum(max(0, _factors(term) - 1) for term in group.terms)
    factors += sum(_factors(output.factor) for output in group.outputs)
    sums = sum(int(output.sums.count_nonzero()) for output in group.outputs if output.sums is not None)
    return group.count * factors + sums


def _factors(term: Term) -> int:
    return len(term.entries()) + (term.coefficient is not None)


def _ffn(ffn: FeedForwardStep | None) -> int:
    if ffn is None:
        return 0
    return ffn.tokens * sum(int(weight.count_nonzero()) for weight in (ffn.first, *(w for w, _ in ffn.layers)))

"""The paper's construction, lemma by lemma: narrow heads, one product tree per term, deep ramps.

A head's value reads only the constant row, so it adds `v relu(u_t^T G u_s)` to one register of one token.
What has no sign takes two heads: a *signed read* is `relu(a_s) - relu(-a_s)`, an *in-place product*
`a_t <- a_t a_s` adds `+-relu(+-a_t (a_s - 1))`. Token kinds and blocks: `paper_layout`.

Clips are identities on the true values. They keep the bounds that interval arithmetic can prove, from which
the gate constants are computed, of order one (theory, section 4).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from construct.arrays import Float, Int
from construct.execution.pairs import Intervals
from construct.paper.grid import TaylorApproximator
from construct.paper.layout import PaperDesign, paper_design, ramp_doublings
from construct.program import ffn, products
from construct.program.compile import NetworkBuilder, largest_outside
from construct.program.heads import ONE, A, B, Entries
from construct.progress import Progress
from construct.transformer import Transformer
from construct.transformer.weights import FeedForward, Heads


class PaperAssembler:
    """Assigns the weights of a design, block by block. coefficients: (q, A)."""

    def __init__(self, design: PaperDesign, coefficients: Float, progress: Progress | None = None) -> None:
        self.design, self.layout, self.coefficients = design, design.layout, coefficients
        self.builder = NetworkBuilder(self.layout, design.box, progress)

    def assemble(self) -> NetworkBuilder:
        """All blocks, in the order of the proof."""
        self._registers()
        self._charts()
        self._nodes()
        for level in range(1, self.design.power_blocks + 1):
            self._powers(level)
        self._bumps()
        if self.design.dim >= 2:
            self._terms()
            for level in range(1, self.design.product_blocks + 1):
                self._products(level)
        self._sum()
        self._cut()
        self._read_out()
        assert len(self.builder.blocks) == self.design.blocks
        assert [len(block[0]) for block in self.builder.blocks] == self.design.heads_per_block()
        return self.builder

    # -- blocks -----------------------------------------------------------------------------------

    def _registers(self) -> None:
        g, layout = self.design, self.layout
        self.builder.set(layout.tokens("Z"), "a", g.chart_registers())
        shift = -(g.univariate[:, 2] + g.cells).astype(np.float64)
        self.builder.set(layout.tokens("H"), "a", shift)
        self.builder.set(layout.tokens("U"), "a", np.broadcast_to(shift[:, None], layout.group("U").shape))
        self.builder.set(layout.tokens("U")[:, 0], "a", 1.0)

    def _charts(self) -> None:
        """Z.a = V^T (x - c)/scale from `v relu(x_j + B_j)`; x_j.b = relu(x_j^2). Then clip z to [-1, 1]."""
        g, layout = self.design, self.layout
        x = layout.tokens("x")
        chart, j, i = np.nonzero(g.frames)
        z, weights = layout.tokens("Z")[chart, i], g.frames[chart, j, i] / g.scale
        reads = self._heads(z, x[j], {(ONE, A): 1.0, (ONE, ONE): g.box[j]}, A, weights)
        squares = self._heads(x, x, {(A, A): 1.0}, B, 1.0)
        self.builder.block([reads, squares], self._clip("Z"), stage="charts")

    def _nodes(self) -> None:
        """H.a = U_j.a = N z - k from `N relu(z + 1)`; R.b = sum_j relu(x_j^2 - 2 c_j x_j + c_j^2). Clip u."""
        g, layout = self.design, self.layout
        z = layout.tokens("Z")[g.univariate[:, 0], g.univariate[:, 1]]
        targets = np.concatenate([layout.tokens("H")[:, None], layout.tokens("U")[:, 1:]], axis=1)
        sources = np.broadcast_to(z[:, None], targets.shape)
        shift = self._heads(targets, sources, {(ONE, A): 1.0, (ONE, ONE): 1.0}, A, float(g.cells))
        shape = g.centres.shape
        c = g.centres.ravel()
        distance = self._heads(
            np.broadcast_to(layout.tokens("R")[:, None], shape),
            np.broadcast_to(layout.tokens("x")[None, :], shape),
            {(ONE, B): 1.0, (ONE, A): -2.0 * c, (ONE, ONE): c * c},
            B,
            1.0,
        )
        self.builder.block([shift, distance], self._clip("H", "U"), stage="nodes")

    def _powers(self, level: int) -> None:
        """U_j.a = u^j by doubling exponents; FFN of block 3: H.b = bump(u), of block 4: R.a = indicator."""
        u = self.layout.tokens("U")
        steps = self.design.power_steps(level)
        parts = [self._multiply(u[:, j], u[:, partner], A) for j, partner in steps]
        if level == 1:
            span, kind = self.layout.span("H"), self.design.bump
            bump = ffn.bump(self.layout, span, kind, scale=3.0 if kind == "trapezoid" else 1.0)
            self.builder.block(parts, lambda state: bump, stage="powers 1")
        elif level == 2:
            self.builder.block(parts, lambda state: self._ramp(), stage="powers 2")
        else:
            self.builder.block(parts, self._clip("U"), stage=f"powers {level}")

    def _ramp(self) -> FeedForward:
        g = self.design
        return ffn.indicator_ramp(self.layout, self.layout.span("R"), radius_squared=g.radius**2, doublings=g.doublings)

    def _bumps(self) -> None:
        """U_j.b = bump(u) u^j: one head where the sign of u^j is known, else two."""
        u, h = self.layout.tokens("U"), self.layout.tokens("H")
        even, odd = u[:, 0::2], u[:, 1::2]
        parts = [self._heads(even, np.broadcast_to(h[:, None], even.shape), {(A, B): 1.0}, B, 1.0)]
        parts.append(self._signed(odd, np.broadcast_to(h[:, None], odd.shape), {(A, B): 1.0}, B, 1.0))
        if self.design.power_blocks == 1:
            self.builder.block(parts, lambda state: self._ramp(), stage="bumps")
        else:
            self.builder.block(parts, self._clip("U", row="b"), stage="bumps")

    def _terms(self) -> None:
        """P_(tau,i).a = U_(n, i, m_i, alpha_i).b."""
        g = self.design
        p = self.layout.tokens("P")
        source = self.layout.tokens("U")[g.factors[:, None, :], g.exponents[None, :, :]]
        self.builder.block([self._signed(p, source, {(ONE, B): 1.0}, A, 1.0)], self._clip("P"), stage="terms")

    def _products(self, level: int) -> None:
        """One level of every term's product tree."""
        p = self.layout.tokens("P")
        parts = [self._multiply(p[..., i], p[..., j], A) for i, j in self.design.product_steps(level)]
        self.builder.block(parts, self._clip("P"), stage=f"products {level}")

    def _sum(self) -> None:
        """S_n.b = sum c * term. The bumps sum to at most one, so |S_n.b| <= max_m sum_alpha |c|: clip."""
        g = self.design
        if g.dim == 1:
            source, register = self.layout.tokens("U")[g.factors, g.exponents[:, 0]], B
        else:
            source, register = self.layout.tokens("P")[:, :, 0], A
        target = np.broadcast_to(self.layout.tokens("S")[g.charts][:, None], source.shape)
        part = self._signed(target, source, {(ONE, register): 1.0}, B, self.coefficients)
        largest = float(np.abs(self.coefficients).sum(axis=1).max(initial=0.0))
        self.builder.block([part], self._clip("S", row="b", limit=largest * (1 + 1e-9)), stage="sum")

    def _cut(self) -> None:
        """S_n.b <- S_n.b R_n.a, the chart's indicator."""
        s, r = self.layout.tokens("S"), self.layout.tokens("R")
        self.builder.block([self._multiply(s, r, B)], stage="cut")

    def _read_out(self) -> None:
        """out.b = sum_n S_n.b."""
        s = self.layout.tokens("S")
        target = np.broadcast_to(self.layout.tokens("out"), s.shape)
        self.builder.block([self._signed(target, s, {(ONE, B): 1.0}, B, 1.0)], stage="read-out")

    # -- gadgets ----------------------------------------------------------------------------------

    def _heads(self, target: Int, source: Int, entries: Entries, register: int, weight: Float | float) -> Heads:
        """`register_t += weight relu(u_t^T G u_s)`, one narrow head per pair of tokens."""
        return products.narrow(self.layout, target, source, entries, register, weight, self.builder.bound)

    def _signed(self, target: Int, source: Int, entries: Entries, register: int, weight: Float | float) -> Heads:
        """`register_t += weight u_t^T G u_s` for a form of unknown sign."""
        return products.signed(self.layout, target, source, entries, register, weight, self.builder.bound)

    def _multiply(self, target: Int, source: Int, register: int) -> Heads:
        """In place, `register_t <- register_t a_s`."""
        return products.multiply(self.layout, target, source, register, self.builder.bound)

    def _clip(self, *groups: str, row: str = "a", limit: float = 1.0) -> Callable[[Intervals], FeedForward]:
        """An FFN that clips a register of some groups, an identity on its true values."""
        span = self.layout.span(*groups)

        def feed_forward(state: Intervals) -> FeedForward:
            outside = largest_outside(self.layout, state, span, row)
            return ffn.gated_clip(self.layout, span, outside, row, limit)

        return feed_forward


def paper_network(
    approximator: TaylorApproximator,
    *,
    position_code: str = "integer",
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
    ramp: str = "epsilon",
    epsilon: float | None = None,
) -> Transformer:
    """The paper's transformer of glued Taylor polynomials, exact up to rounding.

    Args:
        position_code: "integer", or the paper's "trigonometric", whose rounding grows with the tokens.
        ramp, epsilon: width of the chart indicators, see `ramp_doublings`; `net.approximator` has the same.

    Raises:
        InputError: an unknown code or ramp.
        PrecisionError: the dtype cannot hold the position code of that many tokens.
    """
    approximator = replace(approximator, doublings=ramp_doublings(approximator, ramp, epsilon))
    design = paper_design(approximator, position_code=position_code)
    design.layout.code.check(dtype)
    builder = PaperAssembler(design, approximator.coefficients.numpy(), progress).assemble()
    labels = {
        "construction": "paper",
        "cells": approximator.cells,
        "degree": approximator.degree,
        "coefficients": approximator.parameters,
        "bump": approximator.bump,
        "ramp": ramp,
    }
    return builder.build(approximator, labels=labels, dtype=dtype, device=device)

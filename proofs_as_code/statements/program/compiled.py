"""What follows from a program without its weights, and what compiling it into weights promises.

Counts. Gate constants are never zero and nothing else in the weights depends on the bounds, so the sizes of a network
follow from its program: they are compared with those of the compiled weights, counted here entry by entry. What of the
position code was chosen the verifier counts, which shares nothing with the library.

Constants. `compile` propagates bounds on every register, stage by stage, and takes for a rule's form G the power of two
at least 1.01 U^T |G| U / gap, U the largest bounds on (registers, 1). A score is affine in the registers of either
token, so it is at most 0 on the whole box of the proved bounds if it is at the corners of both tokens: checked in
rational arithmetic on the compiled weights for every head and every pair of tokens that its rule does not mean. With
integer gates the score of a wanted pair is u_t^T G u_s exactly. Where U^T |G| U is attained, at a pair whose gates add
up to -gap, every C < U^T |G| U / gap opens it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
from flint import fmpq, fmpq_mat
from hypothesis import strategies as st
from torch import Tensor

from construct.atlas import atlas_for
from construct.compact.program import compact_program
from construct.local import PolynomialSpace, fit_charts
from construct.manifolds import Circle
from construct.paper.program import paper_program
from construct.paper.taylor import paper_atlas, taylor_approximator
from construct.program.codes import TrigonometricCode
from construct.program.compile import Program, register_bound
from construct.program.constants import smallest_gate_constant
from construct.program.layout import TokenLayout
from construct.program.rules import Rule
from construct.transformer.weights import FeedForward, Heads, Intervals, Weights
from proofs_as_code import rational
from proofs_as_code.framework import Hypothesis, Statement, Twin, Verdict, verdict
from proofs_as_code.rational import ZERO
from proofs_as_code.statements.program.programs import BOX, CODES, Code, drawn_program, full_program, wanted
from proofs_as_code.verifier.counting import COSINES, chosen

BELOW = 1 - 2.0**-20  # just below a minimum
CONSTRUCTIONS = ("compact", "compact, trigonometric", "paper")

# -- counts ---------------------------------------------------------------------------------------------------------


def saddle(x: Tensor) -> Tensor:
    """A target."""
    return x[..., 0] * x[..., 1]


@lru_cache
def constructed(name: str) -> tuple[Program, Weights]:
    """A small network of either construction: its program and its weights."""
    if name == "paper":
        taylor = taylor_approximator(
            lambda x: x[..., 0] * x[..., 1], paper_atlas(Circle(), charts=4), cells=2, degree=2
        )
        program = paper_program(taylor)
        return program, program.compile(1.25 * np.ones(2))
    local = fit_charts(saddle, atlas_for(Circle(), charts=4), PolynomialSpace(1, 6))
    program = compact_program(local, "trigonometric" if "trigonometric" in name else "integer")
    return program, program.compile(2.0 * np.ones(2))


def sizes_of(weights: Weights) -> dict[str, int]:
    """Sizes counted from the weights, entry by entry, in plain loops."""
    tokens, width = weights.hidden0.shape
    matrices = [m for heads, _ in weights.blocks for m in (heads.query, heads.key, heads.value)]
    layers = [layer for _, ffn in weights.blocks for layer in ffn.layers]
    written = {0}
    for heads, ffn in weights.blocks:
        written |= {int(row) for row in np.nonzero(heads.value)[1]}
        for weight, bias in ffn.layers[-1:]:
            written |= {row for row in range(width) if weight[row].any() or bias[row] != 0}
    used = sum(int(weights.hidden0[t, row] != 0) for t in range(tokens) for row in written)
    total = sum(len(heads) for heads, _ in weights.blocks)
    entries = [*matrices, *(array for layer in layers for array in layer)]
    nonzero = sum(int((array != 0).sum()) for array in entries) + used
    code = [weights.hidden0[:, row].tolist() for row in range(width) if row not in written]
    picked = chosen(code, COSINES["float64"])
    return {
        "blocks": len(weights.blocks),
        "heads": max(len(heads) for heads, _ in weights.blocks),
        "total_heads": total,
        "ffn_depth": max(ffn.depth for _, ffn in weights.blocks),
        "ffn_width": width,
        "embedding_dim": width,
        "tokens": tokens,
        "parameters": sum(array.size for array in entries) + used,
        "nonzero_parameters": nonzero,
        "code_entries": tokens * (width - len(written)),
        "chosen_entries": picked,
        "stored_numbers": nonzero + picked,
    }


def compared(program: Program, weights: Weights, where: dict[str, Any]) -> Verdict:
    """The program's counts, and its quick count of parameters, against those of the weights."""
    counted = sizes_of(weights)
    stated = {**vars(program.counts), "quick": program.parameters}
    differences = {name: abs(stated[name] - counted[name]) for name in counted}
    differences["quick"] = abs(stated["quick"] - counted["parameters"])
    worst = max(differences, key=lambda name: differences[name])
    facts: dict[str, Any] = {"kind": "exact", "points": len(differences), "dtype": "integers"}
    return verdict(0, differences[worst], worst_point=where | {"quantity": worst}, **facts)


def with_blocks(weights: Weights, blocks: list[tuple[Heads, FeedForward]]) -> Weights:
    """The weights with other blocks, nothing proved of them."""
    return Weights(weights.hidden0, tuple(blocks), weights.readout, weights.box)


def without_a_head(weights: Weights) -> Weights:
    """The first head of the first block left out."""
    heads, ffn = weights.blocks[0]
    fewer = Heads(heads.query[1:], heads.key[1:], heads.value[1:])
    return with_blocks(weights, [(fewer, ffn), *weights.blocks[1:]])


def with_a_zero(weights: Weights) -> Weights:
    """The first gate coefficient that is not zero made zero."""
    heads, ffn = weights.blocks[0]
    query = heads.query.copy()
    query[tuple(np.argwhere(query != 0)[0])] = 0.0
    return with_blocks(weights, [(Heads(query, heads.key, heads.value), ffn), *weights.blocks[1:]])


def with_tokens_exchanged(weights: Weights) -> Weights:
    """The codes of two tokens exchanged: then they are no formula of the tokens' numbers."""
    hidden0 = weights.hidden0.copy()
    hidden0[[2, 4], 2:] = hidden0[[4, 2], 2:]
    return Weights(hidden0, weights.blocks, weights.readout, weights.box)


def one_by_one(program: Program, weights: Weights, where: dict[str, Any]) -> Verdict:
    """Every head made alone against the same head of its batch: counts are taken batch by batch."""
    differ = heads = 0
    for rule, batch, bounds in compiled_rules(program, weights):
        bound = register_bound(program.layout, bounds)
        for k in range(rule.count):
            part = rule.part(slice(k, k + 1)) if rule.count > 1 else rule
            alone = part.heads(program.layout, part.constant(program.layout, bound))
            pairs = ((alone.query, batch.query), (alone.key, batch.key), (alone.value, batch.value))
            differ += any(not np.array_equal(one[0], all_of[k]) for one, all_of in pairs)
            heads += 1
    return verdict(0, differ, kind="exact", points=max(heads, 1), dtype="integers", worst_point=where)


def check_counts(seed: int, code: Code, construction: str) -> Verdict:
    """A drawn program and one of a construction; heads do not depend on their batch."""
    program, where = drawn_program(seed, code), {"seed": seed, "code": code}
    weights = program.compile(BOX)
    other = compared(*constructed(construction), {"construction": construction})
    found = [compared(program, weights, where), one_by_one(program, weights, where), other]
    return next((one for one in found if not one.holds), found[0])


def counted_otherwise(change: Any) -> Any:
    """Check of a twin: the same with changed weights."""

    def check(seed: int, code: Code, construction: str) -> Verdict:
        program, weights = constructed(construction)
        return compared(program, change(weights), {"construction": construction})

    return check


# -- constants ------------------------------------------------------------------------------------------------------


def compiled_rules(program: Program, weights: Weights) -> Iterator[tuple[Rule, Heads, Intervals]]:
    """Every rule with its heads in the compiled weights and the bounds that were proved before its stage."""
    assert weights.bounds is not None
    for stage, (batch, _), bounds in zip(program.stages, weights.blocks, weights.bounds, strict=True):
        start = 0
        for rule in program.rules(stage):
            window = slice(start, start + rule.count)
            yield rule, Heads(batch.query[window], batch.key[window], batch.value[window]), bounds.before
            start += rule.count
        assert start == len(batch)


def corners(layout: TokenLayout, bounds: Intervals) -> fmpq_mat:
    """Every token at every corner of its registers' box, (4 l, w)."""
    lower, upper = rational.matrix(bounds.lower).tolist(), rational.matrix(bounds.upper).tolist()
    rows = []
    for low, high in zip(lower, upper, strict=True):
        for ends in product((low, high), repeat=len(layout.register_rows)):
            row = list(low)
            for register, end in zip(layout.register_rows, ends, strict=True):
                row[register] = end[register]
            rows.append(row)
    return rational.matrix(rows)


def opened(rule: Rule, heads: Heads, layout: TokenLayout, bounds: Intervals, head: int) -> tuple[fmpq, dict[str, int]]:
    """Largest score of a head on a pair that its rule does not mean, or, with integer gates, |score - form| on one
    that it means."""
    state = corners(layout, bounds)
    scores = rational.scores(heads.query[head], heads.key[head], state)
    columns = rational.matrix([[state[i, row] for row in layout.data_rows] for i in range(state.nrows())])
    form = columns * rational.matrix(rule.forms(layout)[head]) * columns.transpose()
    exact, each = not isinstance(layout.code, TrigonometricCode), 2 ** len(layout.register_rows)
    worst, where = ZERO, {}
    for target, source in product(range(layout.count), repeat=2):
        meant = wanted(rule, layout, head, target, source)
        if meant and not exact:
            continue
        for i, j in product(range(each * target, each * (target + 1)), range(each * source, each * (source + 1))):
            off = abs(scores[i, j] - form[i, j]) if meant else scores[i, j]
            if off > worst:
                worst, where = off, {"target": target, "source": source, "meant": int(meant)}
    return worst, where


def with_least_constant(rule: Rule, layout: TokenLayout, bounds: Intervals, factor: float) -> Heads:
    """The rule's heads with `factor` times the smallest gate constants."""
    forms = rule.forms(layout)
    bound = register_bound(layout, bounds)[: forms.shape[1]]
    return rule.heads(layout, factor * smallest_gate_constant(forms, bound, layout.code.gap))


def closed(program: Program, weights: Weights, where: dict[str, Any], factor: float | None = None) -> Verdict:
    """Every head of a compiled program on every pair; factor: of the smallest constants, instead of those compiled."""
    worst, found, points = ZERO, where, 0
    layout = program.layout
    for rule, compiled, bounds in compiled_rules(program, weights):
        heads = compiled if factor is None else with_least_constant(rule, layout, bounds, factor)
        for head in range(rule.count):
            off, at = opened(rule, heads, layout, bounds, head)
            points += (4 * layout.count) ** 2
            if off > worst:
                worst, found = off, where | at | {"rule": rule.text(layout), "head": head}
    return verdict(ZERO, worst, kind="exact", points=points, dtype="rational", worst_point=found)


def check_constants(seed: int, code: Code) -> Verdict:
    """Drawn programs with the constants that `compile` finds."""
    program = drawn_program(seed, code)
    return closed(program, program.compile(BOX), {"seed": seed, "code": code})


def just_below(seed: int, code: Code) -> Verdict:
    """A program whose bounds are attained, with constants just below the smallest."""
    program = full_program(seed, code)
    return closed(program, program.compile(BOX), {"seed": seed, "code": code}, BELOW)


def larger_box(seed: int, code: Code, by: float = 80.0) -> Verdict:
    """Compiled for inputs in the box, claimed for a larger one."""
    program = full_program(seed, code)
    small, large = program.compile(BOX), program.compile(by * BOX)
    claimed = Weights(small.hidden0, small.blocks, small.readout, large.box, large.bounds)
    return closed(program, claimed, {"seed": seed, "code": code})


SEED = Hypothesis("a program of 1 to 3 stages on 8 to 10 tokens", st.integers(0, 2**31))
CODE = Hypothesis("any position code", st.sampled_from(CODES))
CONSTRUCTION = Hypothesis("a network of either construction", st.sampled_from(CONSTRUCTIONS))
FULL = Hypothesis("forms > 0, every register at its bound", st.integers(0, 2**31))

STATEMENTS: tuple[Statement, ...] = (
    Statement(
        name="program.counts",
        source="ours",
        claim="blocks, heads, tokens, FFN, dense and non-zero parameters, code entries that were chosen and stored "
        "numbers follow from the program: they are those of the compiled weights, for drawn programs and both "
        "constructions; no head depends on its batch",
        latex=r"The counts of a program are those of the weights into which it is compiled.",
        hypotheses={"seed": SEED, "code": CODE, "construction": CONSTRUCTION},
        check=check_counts,
        twins=(
            Twin("a head left out", "the weights have all heads: one less", counted_otherwise(without_a_head)),
            Twin(
                "a coefficient set to zero",
                "gate coefficients are not zero: one is in the weights",
                counted_otherwise(with_a_zero),
            ),
            Twin(
                "codes exchanged",
                "a code is a formula of the token's number: those of two tokens exchanged",
                counted_otherwise(with_tokens_exchanged),
            ),
        ),
        examples=40,
    ),
    Statement(
        name="program.constants",
        source="ours",
        claim="with the gate constants that compile finds, every score on a pair that the rule does not mean is <= 0 "
        "for all registers in the proved bounds; integer gates: u_t^T G u_s exactly on the others",
        latex=r"With the compiled gate constants every score is $\le 0$ on pairs that a rule does not mean, for all "
        r"registers in the proved bounds.",
        hypotheses={"seed": SEED, "code": CODE},
        check=check_constants,
        twins=(
            Twin(
                "just below the smallest constant",
                "C gap >= U^T |G| U: C = (1 - 2^-20) U^T |G| U / gap, bounds attained",
                just_below,
                {"seed": FULL},
            ),
            Twin(
                "larger box",
                "inputs in the box that was compiled for: in one eighty times as large, bounds attained",
                larger_box,
                {"seed": FULL},
            ),
        ),
        examples=25,
    ),
)

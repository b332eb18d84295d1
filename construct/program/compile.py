"""A program, and its compilation: bounds on the data -> gate constants -> guard -> weights.

A program is a token layout, the initial values of named registers, stages of rules, and the place of the output. It
knows no gate, no constant and no bound. `Program.compile` walks through the stages with interval bounds on the hidden
state, computes from them every gate constant that the next stage needs, refuses what the dtype cannot hold, and writes
the weights of the block. Nothing else in the library turns a bound into a constant.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from construct.arrays import Float
from construct.boxes import check_resolved, ends
from construct.documents import a_list, floats, label, pairs, parsed, record, written
from construct.errors import InputError, PrecisionError
from construct.execution.bounds import attention_bounds, feed_forward_bounds, input_intervals
from construct.program.codes import Span
from construct.program.constants import (
    GATE_TOLERANCE,
    check_folded_gates,
    check_gate_constant,
    check_range_constant,
    check_small_scores,
)
from construct.program.ffn import Ffn, ffn_from_json
from construct.program.lattice import check_exact_gates
from construct.program.layout import TokenLayout, layout_from_json
from construct.program.rules import Rule, Tokens, Where, rule_from_json, shared
from construct.progress import Progress, silent, tick
from construct.transformer.counts import Counts, counted, written_rows
from construct.transformer.weights import BlockBounds, FeedForward, Heads, Intervals, Weights
from construct.validation import invalid, message

HEADS_AT_ONCE = 1 << 13  # of one rule, while counting
MOST_STAGES = 1000  # of a document
SCALED = "a scaled target (target / c with epsilon / c, values near 1) needs smaller numbers"


@dataclass(frozen=True)
class Stage:
    """One block: rules that all read the same state, then an FFN."""

    name: str
    rules: tuple[Rule, ...]
    ffn: Ffn | None = None

    def to_json(self) -> dict[str, Any]:
        rules = [rule.to_json() for rule in self.rules]
        return {"name": self.name, "rules": rules, "ffn": None if self.ffn is None else self.ffn.to_json()}


@dataclass(frozen=True, eq=False)
class Program:
    """What a network does, stage by stage.

    Attributes:
        layout: named rows and groups of tokens; inputs x_j arrive in the first register of the first D tokens.
        registers: `(group, register): values`, the initial values that are not 0, scalar or in the group's shape.
        stages: one for each block.
        readout: (group of one token, register) of the output.

    Raises:
        InputError: a rule, FFN or register names what the layout does not have.
    """

    layout: TokenLayout
    registers: Mapping[tuple[str, str], Float | float]
    stages: tuple[Stage, ...]
    readout: tuple[str, str] = ("out", "b")

    def __post_init__(self) -> None:
        names = [stage.name for stage in self.stages]
        if len(set(names)) != len(names):
            raise invalid("stages", "names that differ", names)
        if self.layout.group(self.readout[0]).size != 1 or self.readout[1] not in self.layout.registers:
            raise invalid("readout", "a group of one token and a register", self.readout)
        for (group, register), values in self.registers.items():
            shape = self.layout.group(group).shape
            if register not in self.layout.registers or np.shape(values) not in ((), shape):
                raise invalid("registers", f"a scalar or shape {shape} in a register of {group}", values)
            if not np.isfinite(values).all():
                raise invalid(f"registers of {group}.{register}", "finite numbers", got="NaN or infinity")
        for stage in self.stages:
            for rule in stage.rules:
                _check_rule(rule, self.layout, stage.name)
            self._unbounded_ffn(stage)

    # -- what follows without a constant ----------------------------------------------------------

    @cached_property
    def hidden0(self) -> Float:
        """(l, w), the hidden state at x = 0."""
        hidden = self.layout.initial_state()
        for (group, register), values in self.registers.items():
            hidden[self.layout.tokens(group), self.layout.row(register)] = values
        hidden.setflags(write=False)
        return hidden

    def rules(self, stage: Stage) -> Iterator[Rule]:
        """The rules of a stage as heads are made for them: sharing done, empty ones dropped."""
        for rule in stage.rules:
            yield from (part for part in shared(rule, self.layout.code) if part.count)

    @cached_property
    def counts(self) -> Counts:
        """Sizes of the network, exact: gate constants are not zero, and nothing else depends on the bounds. In float32
        numbers below 1e-45 become zeros that are counted here."""
        return counted(self.hidden0, ((self._batches(s), self._unbounded_ffn(s)) for s in self.stages))

    @cached_property
    def parameters(self) -> int:
        """The dense count alone, from the number of heads: cheap for any size."""
        width = self.layout.embedding_dim
        heads = sum(rule.count for stage in self.stages for rule in self.rules(stage))
        ffns = [self._unbounded_ffn(stage) for stage in self.stages]
        rules = [rule for stage in self.stages for rule in stage.rules if rule.count]
        rows = {self.layout.row(i) for rule in rules for (i, _), v in rule.value.items() if np.any(v)} | {0}
        rows |= set(written_rows([(Heads.none(width), ffn) for ffn in ffns], width).tolist())
        used = int(np.count_nonzero(self.hidden0[:, sorted(rows)]))
        return 3 * width**2 * heads + (width**2 + width) * sum(ffn.depth for ffn in ffns) + used

    def _batches(self, stage: Stage) -> Iterator[Heads]:
        unit = np.ones(len(self.layout.factors))
        for rule in self.rules(stage):
            starts = range(0, rule.count, HEADS_AT_ONCE)
            parts = (rule.part(slice(k, k + HEADS_AT_ONCE)) for k in starts) if len(starts) > 1 else iter([rule])
            for part in parts:
                tick()
                yield part.heads(self.layout, part.constant(self.layout, unit))

    def _unbounded_ffn(self, stage: Stage) -> FeedForward:
        if stage.ffn is None:
            return FeedForward()
        return stage.ffn.weights(self.layout, stage.ffn.constant(self.layout, lambda row: 1.0))

    # -- compilation ------------------------------------------------------------------------------

    def compile(
        self,
        box: Float,
        dtype: torch.dtype = torch.float64,
        *,
        tolerance: float = GATE_TOLERANCE,
        progress: Progress = silent,
    ) -> Weights:
        """The weights, in float64, for inputs in a box and a network of `dtype`.

        Args:
            box: (2, D) lower and upper ends, or (D,) half-widths of a box around the origin.
            tolerance: how far rounding in `dtype` may open or close a gate that is meant to be open.

        Raises:
            PrecisionError: `dtype` cannot hold the position code, or a gate constant (the text names stage, rule, the
                constant needed and the largest that it can hold), or points of so small a box so far from the origin.
        """
        box = ends(box)
        check_resolved(box, dtype, "dtype", "one for a box")
        self.layout.code.check(dtype)
        state = input_intervals(self.hidden0, box)
        blocks: list[tuple[Heads, FeedForward]] = []
        bounds: list[BlockBounds] = []
        for number, stage in enumerate(self.stages, 1):
            progress(f"block {number}: {stage.name}", None)
            heads = self._heads(stage, state, dtype, tolerance)
            with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused just below
                pairs, middle = attention_bounds(heads.query, heads.key, heads.value, state)
            _check_bounds(middle, number, dtype)
            ffn = self._ffn(stage, middle, dtype)
            with np.errstate(over="ignore", invalid="ignore"):
                after, changed = feed_forward_bounds(list(ffn.layers), middle)
            _check_bounds(after, number, dtype)
            blocks.append((heads, ffn))
            bounds.append(BlockBounds(pairs, changed, state, after))
            state = after
        readout = int(self.layout.tokens(self.readout[0]).ravel()[0]), self.layout.row(self.readout[1])
        weights = Weights(self.hidden0, tuple(blocks), readout, box, tuple(bounds))
        _check_overflow(weights, dtype)
        return weights

    def _heads(self, stage: Stage, state: Intervals, dtype: torch.dtype, tolerance: float) -> Heads:
        bound = register_bound(self.layout, state)
        batches = []
        for rule in self.rules(stage):
            tick()
            self.layout.code.check(dtype, rule.shift)
            constant = rule.constant(self.layout, bound)
            where = self._where(stage, rule)
            check_gate_constant(constant, self.layout.code, dtype, tolerance, where=where)
            if rule.fold and rule.count:
                largest = self.layout.code.gate_size * float(constant.max())
                check_exact_gates(largest + float(np.abs(rule.constant_term).max()), dtype)
            check_small_scores(constant, self._largest_scores(rule, state), self.layout.code, dtype, where=where)
            if rule.fold:
                check_folded_gates(constant, self.layout.code, dtype, where=where)
            batches.append(rule.heads(self.layout, constant))
        return Heads.stack(batches, self.layout.embedding_dim)

    def _largest_scores(self, rule: Rule, state: Intervals) -> Float:
        """Bounds (m,) of the scores on the pairs that a rule names one by one; infinite where it names more."""
        if rule.linear or not (isinstance(rule.target, Tokens) and isinstance(rule.source, Tokens)):
            return np.full(rule.count, np.inf)
        forms = np.abs(rule.forms(self.layout))
        size = state.magnitude()[:, list(self.layout.factor_rows[: forms.shape[1]])]
        target, source = (size[np.broadcast_to(side.numbers, rule.count)] for side in (rule.target, rule.source))
        return np.einsum("mi,mij,mj->m", target, forms, source)

    def _ffn(self, stage: Stage, state: Intervals, dtype: torch.dtype) -> FeedForward:
        if stage.ffn is None:
            return FeedForward()
        span = stage.ffn.span(self.layout)
        constant = stage.ffn.constant(self.layout, lambda row: largest_outside(self.layout, state, span, row))
        where = f"stage {stage.name!r}, FFN {stage.ffn.text()}"
        check_range_constant(constant, self.layout.code, dtype, where=where)
        return stage.ffn.weights(self.layout, constant)

    def _where(self, stage: Stage, rule: Rule) -> str:
        return f"stage {stage.name!r}, rule {rule.text(self.layout)}"

    # -- text and files ---------------------------------------------------------------------------

    def __str__(self) -> str:
        lines = [str(self.layout), f"  output in {self.readout[0]}.{self.readout[1]}", ""]
        for (group, register), values in self.registers.items():
            different = np.unique(values)
            shown = f"{different[0]:.6g}" if different.size == 1 else f"{np.count_nonzero(values):,} numbers"
            lines.append(f"  {group}.{register} = {shown} at the start")
        for number, stage in enumerate(self.stages, 1):
            lines += ["", f"{number} {stage.name}"]
            for rule in stage.rules:
                heads = sum(part.count for part in shared(rule, self.layout.code))
                if heads:
                    lines.append(f"  {heads:7,} heads  {rule.text(self.layout)}")
            if stage.ffn is not None:
                lines.append(f"          FFN  {stage.ffn.text()}")
        return "\n".join(lines)

    def to_json(self) -> str:
        """The program as a JSON document that `from_json` reads; numbers are exact."""
        registers = [[g, r, np.asarray(v, dtype=np.float64).tolist()] for (g, r), v in self.registers.items()]
        data = {
            "layout": self.layout.to_json(),
            "registers": registers,
            "stages": [stage.to_json() for stage in self.stages],
            "readout": list(self.readout),
        }
        return written(data, "program")

    @staticmethod
    def from_json(text: str) -> Program:
        """The program that `to_json` wrote.

        Raises:
            InputError: the text is no program; the error names the field.
        """
        if not isinstance(text, str):
            raise invalid("text", "a program as `to_json` writes it", text)
        try:
            return _program_from_json(parsed(text, "text"))
        except InputError as error:
            raise invalid("text", "a program as `to_json` writes it", got=str(error)) from None


def _program_from_json(data: object) -> Program:
    found = record(data, "program", ("layout", "registers", "stages", "readout"))
    layout = layout_from_json(found["layout"])
    registers = pairs(found["registers"], "registers", floats)
    entries = a_list(found["stages"], "stages", most=MOST_STAGES)
    stages = tuple(_stage_from_json(entry, f"stages[{i}]") for i, entry in enumerate(entries))
    group, register = (
        label(word, f"readout[{i}]") for i, word in enumerate(a_list(found["readout"], "readout", least=2, most=2))
    )
    return Program(layout, registers, stages, (group, register))


def _stage_from_json(data: object, name: str) -> Stage:
    found = record(data, name, ("name", "rules", "ffn"))
    rules = tuple(rule_from_json(rule, f"{name}.rules[{i}]") for i, rule in enumerate(a_list(found["rules"], name)))
    ffn = None if found["ffn"] is None else ffn_from_json(found["ffn"], f"{name}.ffn")
    return Stage(label(found["name"], f"{name}.name"), rules, ffn)


def register_bound(layout: TokenLayout, state: Intervals) -> Float:
    """Largest absolute values of any token, of the `layout.factors`: registers, 1, and the rows of the code."""
    magnitude = state.magnitude()
    return np.array([magnitude[:, row].max() for row in layout.factor_rows])


def largest_outside(layout: TokenLayout, state: Intervals, span: Span | None, register: str = "a") -> float:
    """Largest absolute value of a register over the tokens outside a range."""
    if span is None:
        return 0.0
    magnitude = state.magnitude()[:, layout.row(register)]
    return float(np.where(layout.code.inside(span), 0.0, magnitude).max())


def _check_rule(rule: Rule, layout: TokenLayout, stage: str) -> None:
    factors = layout.factors
    named: Sequence[tuple[str, str]] = (*rule.value, *(rule.form or {}))
    if any(i not in factors or j not in factors for i, j in named) or any(
        i not in layout.registers for i, _ in rule.value
    ):
        raise invalid(f"rule of stage {stage!r}", f"registers in {layout.registers}", named)
    asked = [*rule.same, *(e for side in (rule.target, rule.source) if isinstance(side, Where) for e in side.entries)]
    if not set(asked) <= set(layout.code.entries):
        raise invalid(f"rule of stage {stage!r}", f"code entries in {layout.code.entries}", asked)
    if abs(rule.shift) >= layout.count:
        raise invalid(f"rule of stage {stage!r}", f"a shift of less than {layout.count} tokens", rule.shift)
    if rule.same:
        layout.code.same_gate(rule.same, rule.shift)  # refuses what the code cannot compare
    if rule.fold and not layout.code.exact:
        raise invalid(f"rule of stage {stage!r}", "a code of integers where a constant is folded", layout.code.name)
    for side in (rule.target, rule.source):
        if isinstance(side, Tokens) and side.numbers.size:
            low, high = int(side.numbers.min()), int(side.numbers.max()) + side.pair
            if low < 0 or high >= layout.count:
                raise invalid(f"rule of stage {stage!r}", f"tokens in 0..{layout.count - 1}", got=f"{low}..{high}")


def _check_bounds(state: Intervals, block: int, dtype: torch.dtype) -> None:
    """Bounds of the hidden state that are no numbers prove nothing of any pair of tokens."""
    if not (np.isfinite(state.lower).all() and np.isfinite(state.upper).all()):
        expected = f"a dtype that holds the numbers of block {block}"
        raise PrecisionError(message("dtype", expected, got=f"{dtype}; their bounds overflow float64; {SCALED}"))


def _check_overflow(weights: Weights, dtype: torch.dtype) -> None:
    """Every number on the way through a block, whatever pair of tokens it is of, must be finite in the dtype."""
    largest = torch.finfo(dtype).max
    for number, ((heads, ffn), bounds) in enumerate(zip(weights.blocks, weights.bounds or (), strict=True), 1):
        with np.errstate(over="ignore", invalid="ignore"):
            state = bounds.before.magnitude().max(axis=0)
            query, key, value = (np.abs(w) @ state for w in (heads.query, heads.key, heads.value))
            added = len(weights.hidden0) * (query * key).sum(axis=-1, keepdims=True) * value
            sizes = [("entries", state), ("queries", query), ("keys", key), ("values", value)]
            sizes.append(("sums of its attention", added.sum(axis=0)))
            channels = state + added.sum(axis=0)
            for weight, bias in ffn.layers:
                channels = np.abs(weight) @ channels + np.abs(bias)
                sizes.append(("sums of its feed-forward layers", channels))
            size, which = _largest(sizes)
        if not size <= largest:
            held = f"up to {size:.2e}" if math.isfinite(size) else f"more than {np.finfo(np.float64).max:.1e}"
            expected = f"a dtype that holds the numbers of block {number} ({which}), {held}"
            raise PrecisionError(message("dtype", expected, got=f"{dtype}, whose largest is {largest:.2e}; {SCALED}"))


def _largest(sizes: Sequence[tuple[str, Float]]) -> tuple[float, str]:
    """The largest number of these arrays and which it is of, the first of equal ones; inf where one is no number."""
    found = [(float(np.nan_to_num(s, nan=np.inf, posinf=np.inf).max()), which) for which, s in sizes if s.size]
    found = [(math.inf if size >= np.finfo(np.float64).max else size, which) for size, which in found]
    return max(found, key=lambda entry: entry[0], default=(0.0, ""))

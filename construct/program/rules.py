"""Rules: what a network does to named registers of named tokens, before any gate, constant or bound.

A rule adds `relu(u_t^T G u_s) A u_s` to the registers of token t, for every pair (t, s) of tokens that it names;
`u = (registers, 1)`. Without a form G it adds `A u_s`. Forms and values are written over named registers (and rows of
the position code, where these are read as numbers), the choice of tokens over token numbers or entries of the code:

    target, source   `Tokens` (a target and a source for each head), `Where` (code entries have given values), `EVERY`
    same             entries of the code that target and source have in common; with all of them a token hears itself

What a rule costs and how it is written as heads follows from it; the gate constants are found in `compile`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from construct.arrays import Float, Int
from construct.documents import a_list, at_place, flag, floats, integers, label, pairs, record, whole
from construct.program import heads
from construct.program.codes import PositionCode
from construct.program.constants import gate_constant, linear_read_constant
from construct.program.heads import Entries
from construct.program.layout import ONE, TokenLayout
from construct.transformer.weights import Heads
from construct.validation import invalid

MOST_ENTRIES = 64  # of a position code, in a document
LARGEST_SHIFT = 2**31


@dataclass(frozen=True, eq=False)
class Tokens:
    """One token for each head, (m,); with `pair` also the token after it."""

    numbers: Int
    pair: bool = False

    def gate(self, layout: TokenLayout) -> Float:
        gate = heads.pair if self.pair else heads.point
        return gate(layout, self.numbers)

    def text(self, layout: TokenLayout) -> str:
        return layout.named(np.concatenate([self.numbers, self.numbers + 1]) if self.pair else self.numbers)

    def to_json(self) -> Any:
        return {"tokens": self.numbers.tolist()} | ({"pair": True} if self.pair else {})


@dataclass(frozen=True, eq=False)
class Where:
    """The tokens whose named code entries have these values, (m,) each."""

    entries: Mapping[str, Int]

    def gate(self, layout: TokenLayout) -> Float:
        return layout.code.entry_gate({name: np.atleast_1d(v) for name, v in self.entries.items()})

    def text(self, layout: TokenLayout) -> str:
        words = [f"{name}={_number(np.asarray(v, dtype=np.float64))}" for name, v in self.entries.items()]
        return f"tokens with {', '.join(words)}"

    def to_json(self) -> Any:
        return {"where": {name: np.asarray(v).tolist() for name, v in self.entries.items()}}


@dataclass(frozen=True)
class Every:
    """Every token."""

    def gate(self, layout: TokenLayout) -> None:
        return None

    def text(self, layout: TokenLayout) -> str:
        return "every token"

    def to_json(self) -> Any:
        return "every"


EVERY = Every()
Selection = Tokens | Where | Every


@dataclass(frozen=True, eq=False)
class Rule:
    """`registers_t += relu(u_t^T G u_s) A u_s` for every named pair of tokens, one head each.

    Attributes:
        target, source: the tokens that are written and read.
        value: A, `(register written, source factor): coefficient`, a factor being a register or "1".
        form: G, `(target factor, source factor): coefficient`; None: the constant 1.
        same, shift: code entries in which target and source agree (with one entry: the source's is larger by `shift`).
        share: adjacent targets that hear the same of one source may be served by one head.
        fold: the constant of the form, an integer, shares a row with the gate on pairs, see `heads.interaction`.

    Coefficients are scalars or (m,). On pairs that an open side admits but the rule does not mean, the form has to be
    <= 0 or the value harmless: that is for the construction to see to.
    """

    target: Selection
    source: Selection
    value: Entries
    form: Entries | None = None
    same: tuple[str, ...] = ()
    shift: int = 0
    share: bool = False
    fold: bool = False
    count: int = field(init=False)

    def __post_init__(self) -> None:
        arrays = [np.asarray(v) for side in (self.target, self.source) for v in _arrays(side)]
        if any(a.size and not np.issubdtype(a.dtype, np.integer) for a in arrays):
            raise invalid("rule", "integer token numbers and code entries", got=f"{[str(a.dtype) for a in arrays]}")
        if isinstance(self.shift, bool) or not isinstance(self.shift, int):
            raise invalid("shift", "an integer", self.shift)
        arrays += [np.asarray(v) for entries in (self.value, self.form or {}) for v in entries.values()]
        sizes = {a.size for a in arrays if a.ndim}
        if len(sizes) > 1 or any(a.ndim > 1 for a in arrays):
            raise invalid("rule", "tokens and coefficients of one length (m,)", got=f"lengths {sorted(sizes)}")
        if self.shift and len(self.same) != 1:
            raise invalid("shift", "0 unless one code entry is compared", self.shift)
        if not self.value:
            raise invalid("value", "at least one entry", self.value)
        if self.fold and (not self.same or self.form is None or self.shift):
            raise invalid("fold", "False for a rule without a form and code entries that agree, unshifted", self.fold)
        if not all(np.isfinite(np.asarray(v, dtype=np.float64)).all() for v in arrays):
            raise invalid("rule", "finite coefficients", got="NaN or infinity")
        if self.fold and not (np.mod(self.constant_term, 1.0) == 0).all():
            raise invalid("fold", "False for a form whose constant is no integer", self.fold)
        object.__setattr__(self, "count", sizes.pop() if sizes else 1)

    @property
    def linear(self) -> bool:
        """Whether no data enters its ReLU and both sides are gated alone."""
        return self.form is None and not self.same and EVERY not in (self.target, self.source)

    @property
    def constant_term(self) -> Float:
        """The constant of the form, (m,) or scalar."""
        entries = {(ONE, ONE): 1.0} if self.form is None else self.form
        return np.asarray(entries.get((ONE, ONE), 0.0), dtype=np.float64)

    def _factors(self, layout: TokenLayout, *entries: Entries) -> tuple[str, ...]:
        """What these entries are written over: `u`, and the rows of the code only where one of them is read."""
        plain = (*layout.registers, ONE)
        return plain if all(name in plain for given in entries for key in given for name in key) else layout.factors

    def forms(self, layout: TokenLayout) -> Float:
        """G, shape (m, k, k)."""
        entries = {(ONE, ONE): 1.0} if self.form is None else self.form
        return heads.form(self.count, entries, self._factors(layout, entries))

    def values(self, layout: TokenLayout) -> Float:
        """A, shape (m, registers, k)."""
        return heads.value(self.count, self.value, layout.registers, self._factors(layout, self.value))

    def constant(self, layout: TokenLayout, bound: Float) -> Float:
        """Gate constants (m,) for factors within `bound` on all tokens, in the order of `layout.factors`."""
        if self.linear:
            return linear_read_constant(layout.code, self.count)
        forms = self.forms(layout)
        return gate_constant(forms, bound[: forms.shape[1]], layout.code.gap)

    def heads(self, layout: TokenLayout, constant: Float) -> Heads:
        """The weights, with these gate constants."""
        values = self.values(layout)
        target, source = self._gate(self.target, layout), self._gate(self.source, layout)
        if self.linear and target is not None and source is not None:
            return heads.linear_read(layout, values, constant, target=target, source=source)
        same = layout.code.same_gate(self.same, self.shift) if self.same else None
        forms, sides = self.forms(layout), {"target": target, "source": source}
        return heads.interaction(layout, forms, values, constant, **sides, same=same, fold=self.fold)

    def _gate(self, side: Selection, layout: TokenLayout) -> Float | None:
        gate = side.gate(layout)
        return None if gate is None else np.broadcast_to(gate, (self.count, gate.shape[-1]))

    def part(self, window: Any) -> Rule:
        """The rule for some of its heads."""

        def cut(v: Any) -> Any:
            return v if np.ndim(v) == 0 else np.asarray(v)[window]

        return replace(
            self,
            target=_cut(self.target, cut),
            source=_cut(self.source, cut),
            value={key: cut(v) for key, v in self.value.items()},
            form=None if self.form is None else {key: cut(v) for key, v in self.form.items()},
        )

    def text(self, layout: TokenLayout) -> str:
        """One line."""
        written = [name for name in layout.registers if any(key[0] == name for key in self.value)]
        sums = [_polynomial({k: v for k, v in self.value.items() if k[0] == name}, "") for name in written]
        score = "" if self.form is None else f"relu({_polynomial(self.form, '_t')}) "
        into = f".{written[0]}" if len(written) == 1 else f".({', '.join(written)})"
        values = sums[0] if len(sums) == 1 else f"({', '.join(sums)})"
        if score and len(sums) == 1 and (" " in values or values.startswith("-")):
            values = f"({values})"
        if score and values == "1":
            score, values = score[:-1], ""
        return f"{self.target.text(layout)}{into} += {score}{values} from {self._source_text(layout)}"

    def _source_text(self, layout: TokenLayout) -> str:
        if not self.same:
            return self.source.text(layout)
        if EVERY == self.target == self.source and set(self.same) == set(layout.code.entries):
            return f"the token {self.shift} on" if self.shift else "itself"
        return f"{self.source.text(layout)} with the same {', '.join(self.same)}"

    def to_json(self) -> dict[str, Any]:
        """A plain description that `rule_from_json` reads."""
        data: dict[str, Any] = {"target": self.target.to_json(), "source": self.source.to_json()}
        data["value"] = _entries_to_json(self.value)
        if self.form is not None:
            data["form"] = _entries_to_json(self.form)
        if self.same:
            data |= {"same": list(self.same), "shift": self.shift}
        return data | ({"share": True} if self.share else {}) | ({"fold": True} if self.fold else {})


def read(target: Int, source: Int, value: Entries, *, share: bool = False) -> Rule:
    """`registers_t += A u_s` for pairs of tokens; arrays are broadcast and flattened."""
    t, s = (x.ravel() for x in np.broadcast_arrays(target, source))
    return Rule(Tokens(t), Tokens(s), _flat(value), share=share)


def act(
    target: Int | Every,
    source: Int | Every,
    form: Entries,
    value: Entries,
    *,
    same: Sequence[str] = (),
    fold: bool = False,
) -> Rule:
    """`registers_t += relu(u_t^T G u_s) A u_s`; arrays are broadcast and flattened."""
    if not isinstance(target, Every) and not isinstance(source, Every):
        target, source = np.broadcast_arrays(target, source)
    sides = [side if isinstance(side, Every) else Tokens(np.asarray(side).ravel()) for side in (target, source)]
    return Rule(sides[0], sides[1], _flat(value), _flat(form), tuple(same), fold=fold)


def shared(rule: Rule, code: PositionCode) -> tuple[Rule, ...]:
    """The rule with one head for two adjacent targets that hear the same, where the code has a gate for that.

    Pairs come first, in the order of their first targets, then what is left.
    """
    target, source = rule.target, rule.source
    if not (rule.share and code.pairs and isinstance(target, Tokens) and isinstance(source, Tokens) and rule.count):
        return (rule,)
    if target.pair:
        return (rule,)
    coefficients = [*rule.value.values(), *(rule.form or {}).values()]
    columns = [np.broadcast_to(np.asarray(v, dtype=np.float64), rule.count) for v in coefficients]
    heard = np.unique(np.stack([source.numbers, *columns], axis=1), axis=0, return_inverse=True)[1].ravel()
    order = np.lexsort((target.numbers, heard))
    t, h = target.numbers[order], heard[order]
    follows = np.r_[False, (t[1:] == t[:-1] + 1) & (h[1:] == h[:-1])]
    index = np.arange(rule.count)
    position = index - np.maximum.accumulate(np.where(follows, 0, index))
    second = follows & (position % 2 == 1)
    first = np.sort(order[np.r_[second[1:], False]])
    single = np.sort(order[~second & ~np.r_[second[1:], False]])
    parts = []
    if first.size:
        pairs = rule.part(first)
        parts.append(replace(pairs, target=Tokens(target.numbers[first], pair=True), share=False))
    if single.size:
        parts.append(replace(rule.part(single), share=False))
    return tuple(parts)


def rule_from_json(data: object, name: str = "rule") -> Rule:
    """The rule that `Rule.to_json` described.

    Raises:
        InputError: a field that is not as `to_json` writes it, named below `name`.
    """
    found = record(data, name, ("target", "source", "value"), ("form", "same", "shift", "share", "fold"))
    if ("same" in found) != ("shift" in found):
        raise invalid(f"{name}.same", "together with shift", got="one of the two")
    same = a_list(found.get("same", []), f"{name}.same", most=MOST_ENTRIES)
    target = _selection_from_json(found["target"], f"{name}.target")
    source = _selection_from_json(found["source"], f"{name}.source")
    value = pairs(found["value"], f"{name}.value", floats)
    form = pairs(found["form"], f"{name}.form", floats) if "form" in found else None
    entries = tuple(label(entry, f"{name}.same[{i}]") for i, entry in enumerate(same))
    shift = whole(found.get("shift", 0), f"{name}.shift", minimum=-LARGEST_SHIFT, maximum=LARGEST_SHIFT)
    share, fold = (flag(found.get(key, False), f"{name}.{key}") for key in ("share", "fold"))
    return at_place(name, lambda: Rule(target, source, value, form, entries, shift, share, fold))


def _selection_from_json(data: object, name: str) -> Selection:
    if data == "every":
        return EVERY
    if isinstance(data, dict) and "where" in data:
        named = record(record(data, name, ("where",))["where"], f"{name}.where", (), data["where"])
        if not 1 <= len(named) <= MOST_ENTRIES:
            raise invalid(f"{name}.where", f"1 to {MOST_ENTRIES} entries of the code", len(named))
        return Where({label(key, f"{name}.where"): integers(v, f"{name}.where.{key}") for key, v in named.items()})
    found = record(data, name, ("tokens",), ("pair",))
    numbers = integers(found["tokens"], f"{name}.tokens")
    if numbers.ndim != 1:
        raise invalid(f"{name}.tokens", "a list of integers", found["tokens"])
    return Tokens(numbers, flag(found.get("pair", False), f"{name}.pair"))


def _entries_to_json(entries: Entries) -> list[Any]:
    return [[i, j, np.asarray(v, dtype=np.float64).tolist()] for (i, j), v in entries.items()]


def _arrays(side: Selection) -> list[Any]:
    if isinstance(side, Tokens):
        return [side.numbers]
    return list(side.entries.values()) if isinstance(side, Where) else []


def _cut(side: Selection, cut: Any) -> Selection:
    if isinstance(side, Tokens):
        return Tokens(cut(side.numbers), side.pair)
    return Where({name: cut(v) for name, v in side.entries.items()}) if isinstance(side, Where) else side


def _flat(entries: Entries) -> Entries:
    return {key: v if np.ndim(v) == 0 else np.asarray(v, dtype=np.float64).ravel() for key, v in entries.items()}


def _number(values: Float) -> str:
    """A number, or `c` where the heads have different ones."""
    different = np.unique(values)
    return f"{different[0]:.6g}" if different.size == 1 else "c"


def _polynomial(entries: Entries, side: str) -> str:
    """Terms in words; `side` marks the first name of each key as a factor (in forms)."""
    text = ""
    for (i, j), v in entries.items():
        factors = ([f"{i}{side}"] if side and i != ONE else []) + ([f"{j}_s"] if j != ONE else [])
        number = _number(np.asarray(v, dtype=np.float64))
        minus, number = number.startswith("-"), number.removeprefix("-")
        words = " ".join(([] if number == "1" and factors else [number]) + factors)
        if number != "0":
            sign = ("-" if minus else "") if not text else (" - " if minus else " + ")
            text += sign + words
    return text or "0"

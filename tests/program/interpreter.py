"""What a program means, token by token: an oracle that shares nothing with heads, gates or constants.

`run` keeps a table of registers and follows the rules literally. A range of tokens outside which a register is
*silenced* is only promised to be <= 0 there; the oracle puts `SILENT` and the caller compares what is read.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from construct.program.codes import IntegerCode
from construct.program.compile import Program
from construct.program.ffn import Ffn
from construct.program.lattice import DirectionCode, LatticeCode
from construct.program.rules import Every, Rule, Tokens, Where

SILENT = -1e6


def run(program: Program, x: np.ndarray) -> Iterator[np.ndarray]:
    """Registers (l, r) before the first stage and after each, at one point x (D,)."""
    layout = program.layout
    state = np.zeros((layout.count, len(layout.registers)))
    for (group, register), values in program.registers.items():
        state[layout.tokens(group), layout.registers.index(register)] = values
    state[: len(x), 0] += x
    yield state
    for stage in program.stages:
        after = state.copy()
        for rule in stage.rules:
            for number in range(rule.count):
                apply(program, rule, number, state, after)
        if stage.ffn is not None:
            after = fed_forward(program, stage.ffn, after)
        state = after
        yield state


def output(program: Program, x: np.ndarray) -> float:
    """The value that the program reads out."""
    group, register = program.readout
    last = list(run(program, x))[-1]
    return float(last[program.layout.tokens(group).ravel()[0], program.layout.registers.index(register)])


def apply(program: Program, rule: Rule, number: int, before: np.ndarray, after: np.ndarray) -> None:
    """Add what one head of a rule adds."""
    names = program.layout.registers
    pick = lambda v: float(np.asarray(v) if np.ndim(v) == 0 else np.asarray(v)[number])  # noqa: E731
    for t in chosen(program, rule.target, number):
        for s in chosen(program, rule.source, number):
            if not agree(program, rule, t, s):
                continue
            u = {**dict(zip(names, before[t], strict=True)), "1": 1.0, **written(program, t)}
            v = {**dict(zip(names, before[s], strict=True)), "1": 1.0, **written(program, s)}
            form = {("1", "1"): 1.0} if rule.form is None else rule.form
            score = max(sum(pick(g) * u[i] * v[j] for (i, j), g in form.items()), 0.0)
            for (i, j), a in rule.value.items():
                after[t, names.index(i)] += score * pick(a) * v[j]


def chosen(program: Program, side: object, number: int) -> list[int]:
    """The tokens that one side of a head means."""
    if isinstance(side, Tokens):
        first = int(side.numbers[number])
        return [first, first + 1] if side.pair else [first]
    if isinstance(side, Where):
        wanted = {n: int(np.broadcast_to(v, (number + 1,) if np.ndim(v) == 0 else np.shape(v))[number])
                  for n, v in side.entries.items()}  # fmt: skip
        return [t for t in range(program.layout.count) if all(entry(program, n, t) == v for n, v in wanted.items())]
    assert isinstance(side, Every)
    return list(range(program.layout.count))


def entry(program: Program, name: str, token: int) -> int:
    """A named code entry of a token."""
    code = program.layout.code
    return int(code.integers[token, code.entries.index(name)]) if hasattr(code, "integers") else token


def written(program: Program, token: int) -> Mapping[str, float]:
    """What a token's code says, row by row."""
    code = program.layout.code
    if isinstance(code, IntegerCode):
        v = token - code.tokens // 2
        return {"t": v, "t^2": v * v}
    if not isinstance(code, LatticeCode | DirectionCode):
        return {}
    values = [int(v) for v in code.integers[token]]
    named = dict(zip(code.entries, values, strict=True))
    if isinstance(code, LatticeCode):
        return named | {f"{name}^2": v * v for name, v in named.items()}
    squares = [sum(int(v) ** 2 for v in row) for row in code.integers]
    q = squares[token]
    if token in code.apart:
        q = 1
        while q <= max(squares):
            q *= 2
    return named | {"q": q}


def agree(program: Program, rule: Rule, t: int, s: int) -> bool:
    if rule.same and {t, s} & set(getattr(program.layout.code, "apart", ())):
        return False
    return all(entry(program, name, t) + rule.shift == entry(program, name, s) for name in rule.same)


def fed_forward(program: Program, ffn: Ffn, state: np.ndarray) -> np.ndarray:
    """The registers after an FFN, from what its gadget is for."""
    layout, after = program.layout, state.copy()
    meant = (
        np.arange(layout.count) if not ffn.groups else np.concatenate([layout.tokens(g).ravel() for g in ffn.groups])
    )
    if ffn.where is not None:
        inside = lambda t: ffn.where.first <= entry(program, ffn.where.entry, t) <= ffn.where.last  # noqa: E731
        meant = np.array([t for t in range(layout.count) if inside(t)])
    numbers = dict(ffn.numbers)
    row = lambda key, default: layout.registers.index(numbers.get(key, default))  # noqa: E731
    hat = lambda u: np.maximum(1 - np.abs(u), 0)  # noqa: E731
    if ffn.gadget == "clip":
        limit, i = numbers.get("limit", 1.0), row("row", "a")
        after[meant, i] = np.clip(state[meant, i], -limit, limit)
    elif ffn.gadget == "shifted_clip":
        limit, i = numbers.get("limit", 1.0), row("row", "a")
        after[:, i] = np.clip(state[:, i] + numbers["shift"], -limit, limit)
    elif ffn.gadget == "clear":
        after[meant, row("row", "a")] = 0.0
    elif ffn.gadget == "bump":
        u = numbers.get("scale", 1.0) * state[meant, row("source", "a")]
        after[meant, row("target", "b")] += hat(u) if numbers["kind"] == "hat" else np.clip(2 - np.abs(u), 0, 1)
    elif ffn.gadget == "clamp":
        u = sum(c * (1.0 if name == "1" else state[meant, layout.registers.index(name)])
                for name, c in numbers["argument"].items())  # fmt: skip
        after[meant, row("target", "b")] += np.clip(u, 0, 1)
    elif ffn.gadget == "indicator_ramp":
        u = 2.0 ** numbers["doublings"] * (1 - state[meant, row("source", "b")] / numbers["radius_squared"])
        after[meant, row("target", "a")] += np.clip(u, 0, 1)
    elif ffn.gadget == "telescoping_weight":
        s, w = state[meant, 0] - 1, np.maximum(numbers["slope"] * state[meant, 1], 0)
        after[meant, 0] = np.minimum(1, s + w) - np.minimum(1, s)
    elif ffn.gadget == "zigzag":
        length = 2 ** numbers["doublings"]
        for t in range(layout.count):
            place = entry(program, numbers.get("source", "t"), t)
            for folds, sign in ((numbers["folds"], 1.0), (numbers.get("held", 0), -1.0)):
                if folds and 0 < place < length:
                    around = place * 2**folds / length % 2
                    after[t, row("row", "a")] += sign * min(around, 2 - around)
    elif ffn.gadget == "silence":
        outside = np.setdiff1d(np.arange(layout.count), meant)
        after[outside, row("row", "a")] = SILENT
    else:
        raise AssertionError(f"the oracle does not know {ffn.gadget}")
    return after

"""Error of one interaction head by dtype, position code and number of tokens, evaluated densely.

The head is the lemma's: gates in the first two rows, data in the last three, `v relu(u_t1^T G u_t2)` into one register
of token t1. All l x l scores are computed in the dtype, row by row of Q and K. Registers are uniform in [-1, 1], so are
the entries of G; `largest` and `median` are absolute errors of the value at t1 (values are of size 1), `relative` is
divided by the exact value where that is at least a twentieth of `sum |G|`. The exact value is a sum of nine products in
extended precision, of the registers as the dtype holds them. `leak` is the largest absolute
entry anywhere else: it must be exactly 0.

Our integer code is centred (`t - floor(l/2)`), so that it stays exact to twice the length of an uncentred one, and its
gate constant is split between Q and K in powers of two.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from benchmarks.tables import Row, Study, arguments
from construct.arrays import Float
from construct.program.constants import smallest_gate_constant
from construct.program.layout import ONE, TokenGroup, TokenLayout
from construct.transformer.weights import Heads

LENGTHS = (16, 256, 2048)
DTYPES = {"float64": torch.float64, "float32": torch.float32}
KINDS = ("trigonometric", "integer, C = 2^k", "integer, C not a power of two")
REFERENCE = {  # theory notes, section 4
    ("float64", "trigonometric"): (9e-13, 5e-10, 3e-8),
    ("float64", "integer, C = 2^k"): (2e-15, 4e-16, 4e-16),
    ("float64", "integer, C not a power of two"): (4e-16, 9e-10, 1.5e-8),
    ("float32", "trigonometric"): (1e-3, 1e-1, 5.0),
    ("float32", "integer, C = 2^k"): (4e-7, 2e-7, 9e-7),
}
SIZE = 1.0  # registers are uniform in [-1, 1]


def head(layout: TokenLayout, form: Float, target: int, source: int, power_of_two: bool) -> Heads:
    """The lemma's head with one gate row each for target and source, then the data rows."""
    width, bound = layout.embedding_dim, np.array([SIZE, SIZE, 1.0])
    constant = 1.01 * float(smallest_gate_constant(form[None], bound, layout.code.gap)[0])
    constant = 2.0 ** math.ceil(math.log2(constant)) if power_of_two else constant
    query, key, value = (np.zeros((1, width, width)) for _ in range(3))
    codes, data, one = list(layout.code_rows), list(layout.data_rows), layout.row(ONE)
    query[0, 0, codes], key[0, 0, one] = constant * layout.code.point_gate(np.array([target]))[0], 1.0
    query[0, 1, one], key[0, 1, codes] = 1.0, constant * layout.code.point_gate(np.array([source]))[0]
    for row in range(3):
        query[0, 2 + row, data[row]] = 1.0
        key[0, 2 + row, data] = form[row]
    value[0, layout.row("a"), one] = 1.0
    return Heads(query, key, value)


def scores(query: Tensor, key: Tensor, hidden: Tensor) -> Tensor:
    """relu of all scores (l, l), rows of Q and K summed from the first to the last; hidden (l, w)."""
    q, k = hidden @ query.T, hidden @ key.T
    total = q[:, 0, None] * k[None, :, 0]
    for row in range(1, query.shape[0]):
        total.addcmul_(q[:, row, None], k[None, :, row])
    return total.relu_()


def exact_value(form: Float, u: Float, v: Float) -> float:
    """relu(u^T G v) in extended precision."""
    return max(float(u.astype(np.longdouble) @ form.astype(np.longdouble) @ v.astype(np.longdouble)), 0.0)


def evaluate(dtype: str, kind: str, length: int, seed: int, heads: int, states: int) -> Row:
    """Largest error and leakage over random forms, pairs of tokens and states."""
    rng = np.random.default_rng([seed, length])
    code = "trigonometric" if kind == "trigonometric" else "integer"
    layout = TokenLayout((TokenGroup("t", (length,)),), code)
    data = list(layout.data_rows)
    absolute, relative, leaks = [0.0], [0.0], [0.0]
    for _ in range(heads):
        form = rng.uniform(-1, 1, (3, 3)).astype(np.float32).astype(np.float64)  # both dtypes hold it exactly
        target, source = rng.integers(length, size=2)
        weights = head(layout, form, int(target), int(source), kind != KINDS[2])
        query, key, value = (
            torch.as_tensor(w[0]).to(DTYPES[dtype]) for w in (weights.query, weights.key, weights.value)
        )
        scale = float(np.abs(form).sum())
        for _ in range(states):
            state = layout.initial_state()
            state[:, data[:2]] = rng.uniform(-SIZE, SIZE, (length, 2))
            hidden = torch.as_tensor(state).to(DTYPES[dtype])
            held = hidden.double().numpy()
            sign = 1.0 if held[target, data] @ form @ held[source, data] > 0 else -1.0  # an open head
            flipped = key.clone()
            flipped[2:] *= sign
            out = scores(query, flipped, hidden) @ (hidden @ value.T)
            exact = exact_value(sign * form, held[target, data], held[source, data])
            error = abs(float(out[target, layout.row("a")]) - exact)
            absolute.append(error)
            if exact >= 0.05 * scale:
                relative.append(error / exact)
            out[target, layout.row("a")] = 0.0
            leaks.append(float(out.abs().max()))
    column = LENGTHS.index(length) if length in LENGTHS else None
    reference = REFERENCE.get((dtype, kind))
    return {
        "largest": f"{max(absolute):.1e}",
        "relative": f"{max(relative):.1e}",
        "median": f"{float(np.median(absolute[1:])):.1e}",
        "notes": f"{reference[column]:.1e}" if reference and column is not None else "",
        "leak": f"{max(leaks):.1e}",
        "heads": heads,
        "states": heads * states,
    }


def plot(rows: list[Row]) -> Figure:
    """Largest error against the number of tokens."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axis = figure.subplots()
    for name, style in (("float64", "o-"), ("float32", "s--")):
        for number, kind in enumerate(KINDS):
            here = [row for row in rows if row["dtype"] == name and row["code"] == kind]
            lengths, errors = [int(r["l"]) for r in here], [max(float(r["largest"]), 1e-18) for r in here]
            axis.loglog(lengths, errors, style, color=f"C{number}", label=f"{kind}, {name}")
    axis.set(xlabel="tokens l", ylabel="largest error of a head")
    axis.grid(alpha=0.3)
    axis.legend(fontsize=7)
    return figure


def main() -> None:
    """Run the study."""
    options = arguments(__doc__)
    torch.set_num_threads(1)
    study = Study("codes", ("dtype", "code", "l"), options)
    for dtype in DTYPES:
        for kind in KINDS:
            for length in LENGTHS:
                heads, states = (40, 3) if length > 1000 else (100, 5)
                if options.quick:
                    heads, states = min(heads, 20), min(states, 2)
                key = {"dtype": dtype, "code": kind, "l": length}
                run = (dtype, kind, length, options.seed, heads, states)
                study.run(key, partial(evaluate, *run))
    leaking = [row for row in study.rows if float(row["leak"]) != 0.0]
    line = f"{len(study.rows)} rows, {len(leaking)} with leakage into another token."
    print(line)
    study.markdown(
        [line, "Column `notes`: the figure of the theory notes, section 4, measured with an uncentred code."]
    )
    plot(study.rows).savefig(options.out / "codes.png", dpi=150)


if __name__ == "__main__":
    main()

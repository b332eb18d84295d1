"""Whether weights are those of a program: the program is compiled again and every number compared."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from construct.arrays import Float
from construct.errors import ConstructError
from construct.program.compile import Program
from construct.transformer.weights import Weights
from construct.validation import invalid

SLACK = 64  # units of rounding, of the largest number in a row: cosines differ that much between mathematical libraries


def recompiled(program: Program, weights: Weights, dtype: torch.dtype) -> Weights:
    """What the program compiles to for the box of these weights, if it is these weights as a network of `dtype` holds
    them: number by number where the position code is exact, else up to rounding.

    Weights that were rounded to float32 once are those of the program, too, in whatever dtype they are held now.

    Raises:
        InputError: they are others, or the program cannot be compiled; the error names the first tensor that differs.
    """
    check_sizes(program, weights)
    try:
        compiled = program.compile(weights.box)
    except ConstructError as error:
        raise invalid("program", "one that compiles to these weights", got=f"one that does not ({error})") from error
    different = _first_different(program, compiled, weights, dtype)
    if different is not None and dtype != torch.float32 and _fits(weights, torch.float32):
        different = _first_different(program, compiled, weights, torch.float32)
    if different is not None:
        raise invalid("program", "one that compiles to these weights", got=f"one with another {different}")
    return compiled


def check_sizes(program: Program, weights: Weights) -> None:
    """Refuse a program that differs from weights in what is seen without compiling it: sizes and initial state.

    Raises:
        InputError: it does.
    """
    expected = len(program.stages), program.layout.count, program.layout.embedding_dim
    found = len(weights.blocks), *weights.hidden0.shape
    if found != expected:
        raise invalid("program", f"one of (blocks, tokens, rows) = {found}, as the weights", got=f"{expected}")
    if not _alike(program.hidden0, weights.hidden0, program.layout.code.exact, _dtype_of(weights)):
        raise invalid("program", "one with the initial state of the weights", got="one with another")
    for number, (stage, (heads, ffn)) in enumerate(zip(program.stages, weights.blocks, strict=True)):
        count = sum(rule.count for rule in program.rules(stage))
        if count != len(heads):
            raise invalid("program", f"one of {len(heads)} heads in block {number}, as the weights", got=f"{count}")
        if (stage.ffn is None) != (ffn.depth == 0):
            raise invalid("program", f"one with the FFN of block {number}, as the weights", got="another")


def tensors(weights: Weights) -> Iterator[tuple[str, Float]]:
    """Every number of a network, under the names of the formula's module."""
    yield "hidden0", weights.hidden0
    for number, (heads, ffn) in enumerate(weights.blocks):
        for name in ("query", "key", "value"):
            yield f"blocks.{number}.attention.{name}", getattr(heads, name)
        for depth, (weight, bias) in enumerate(ffn.layers):
            yield f"blocks.{number}.ffn.layers.{depth}.weight", weight
            yield f"blocks.{number}.ffn.layers.{depth}.bias", bias
    yield "readout", np.array(weights.readout, dtype=np.float64)


def _first_different(program: Program, compiled: Weights, weights: Weights, dtype: torch.dtype) -> str | None:
    wanted, found = dict(tensors(compiled)), dict(tensors(weights))
    if set(wanted) != set(found):
        return min(set(wanted) ^ set(found))
    exact = program.layout.code.exact
    return next((name for name in wanted if not _alike(wanted[name], found[name], exact, dtype)), None)


def _alike(wanted: Float, found: Float, exact: bool, dtype: torch.dtype) -> bool:
    if wanted.shape != found.shape:
        return False
    held = _rounded(wanted, dtype)
    if np.array_equal(held, found):
        return True
    size = np.abs(held).max(axis=-1, keepdims=True, initial=0.0)
    return not exact and bool((np.abs(held - found) <= SLACK * torch.finfo(dtype).eps * size).all())


def _rounded(values: Float, dtype: torch.dtype) -> Float:
    with np.errstate(over="ignore", under="ignore"):
        return values.astype(np.float32).astype(np.float64) if dtype == torch.float32 else values


def _fits(weights: Weights, dtype: torch.dtype) -> bool:
    return all(np.array_equal(_rounded(values, dtype), values) for _, values in tensors(weights))


def _dtype_of(weights: Weights) -> torch.dtype:
    return torch.float32 if _fits(weights, torch.float32) else torch.float64

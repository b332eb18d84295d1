"""Values that nobody expects, and numbers at the ends of their ranges."""

from __future__ import annotations

import decimal
import fractions
import math
import random
from typing import Any

import numpy as np
import torch

from benchmarks.attack.cases import Given

EPSILONS = (
    5e-324, 1e-300, 1e-100, 1e-17, 1e-15, 1e-12, 1e-8, 1e-4, 1e-3, 1e-2, 0.03, 0.1, 0.3, 1.0, 10.0, 1e6, 1e150, 1e300,
    1.7976931348623157e308,
)  # fmt: skip
LIKELY = (0.03, 0.1, 0.2, 0.3, 0.5, 1.0, 3.0, 10.0)


class WithoutRepr:
    """Its text raises."""

    def __repr__(self) -> str:
        raise ValueError("no text")


class WithoutTruth:
    """Its truth value, length and equality raise."""

    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> bool:
        raise ValueError("no truth")

    def __eq__(self, other: object) -> bool:
        raise ValueError("no equality")

    def __len__(self) -> int:
        raise ValueError("no length")


class Whole(int):
    """An integer of another class."""


class Word(str):
    """A string of another class."""


def _odd() -> list[Given]:
    texts = (
        "None", "True", "False", "0", "-1", "1", "2", "3", "10**6", "10**30", "10**400", "2**63", "-2**63", "0.0",
        "-0.0", "0.5", "1.0", "2.5", "1e-300", "1e300", "math.inf", "-math.inf", "math.nan", "'1e-2'", "''",
        "'\\x1b[31mred'", "'circle'", "b'x'", "[]", "[1]", "[0.1, 0.2]", "{}", "(1,)", "object()", "np.float64(0.1)",
        "np.float32(0.1)", "np.float16(0.1)", "np.longdouble(0.1)", "np.int64(3)", "np.uint8(3)", "np.bool_(True)",
        "np.array(0.1)", "np.array([0.1])", "np.array(None)", "np.array('a')", "np.datetime64('2020-01-01')",
        "torch.tensor(0.1)", "torch.tensor([0.1])", "torch.tensor(3)", "torch.tensor(True)", "torch.tensor(math.nan)",
        "torch.tensor(1j)", "torch.empty(0)", "torch.tensor(0.1, device='meta')", "torch.tensor(0.1).to_sparse()",
        "torch.float32", "torch.float64", "fractions.Fraction(1, 3)", "decimal.Decimal('0.1')", "1 + 2j", "(lambda: 1)",
        "int", "range(3)", "'a' * 10**4", "'\\ud800'", "WithoutRepr()", "WithoutTruth()", "Whole(3)", "Word('compact')",
        "iter([1])", "Ellipsis", "NotImplemented", "{1: 2}", "{1, 2}", "bytearray(b'1')", "memoryview(b'1')",
    )  # fmt: skip
    space: dict[str, Any] = globals()
    return [Given(text, eval(text, space)) for text in texts]  # constants of this file


_KNOWN = (decimal, fractions, math)
ODD: list[Given] = []


def odd(rng: random.Random) -> Given:
    """Anything."""
    if not ODD:
        ODD.extend(_odd())
    return rng.choice(ODD)


def epsilon(rng: random.Random, likely: float = 0.8) -> Any:
    """An error to ask for: mostly one that can be met quickly."""
    roll = rng.random()
    if roll < likely:
        return rng.choice(LIKELY)
    if roll < likely + (1 - likely) / 2:
        return rng.choice(EPSILONS)
    return odd(rng)


def size(rng: random.Random, usual: tuple[int, ...], likely: float = 0.85) -> Any:
    """A size: mostly a usual one."""
    return rng.choice(usual) if rng.random() < likely else odd(rng)


def numpy_generator(rng: random.Random) -> np.random.Generator:
    """A numpy generator that follows from `rng`."""
    return np.random.default_rng(rng.getrandbits(64))


def torch_points(values: np.ndarray, dtype: torch.dtype) -> torch.Tensor:
    """An array as a tensor of its own."""
    return torch.from_numpy(np.array(values, order="C")).to(dtype)

"""Building happens on the CPU, in float64, whatever default device a user has set."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")


def on_cpu(function: Callable[P, R]) -> Callable[P, R]:
    """The function, run with the CPU as torch's default device (`torch.set_default_device`, `with torch.device`).

    Networks are built, measured and proved there, and go to the device that a call names. Where the default is the CPU,
    as it is unless a user changes it, nothing is switched: torch's switch slows every call of torch down.
    """

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        if torch.get_default_device().type == "cpu":
            return function(*args, **kwargs)
        with torch.device("cpu"):
            return function(*args, **kwargs)

    return run

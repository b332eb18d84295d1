"""Rows of studies that are computed in processes of their own, which import this module and no test."""

from typing import Any


def failing_row(value: int) -> dict[str, Any]:
    raise RuntimeError(value)


def squared_row(value: int) -> dict[str, Any]:
    return {"square": value**2, "outcome": "built"}

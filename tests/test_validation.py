"""Checks of arguments: what they accept, in which type they give it back, and the text of every refusal."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import construct
from construct import validation
from construct.errors import InputError, OffManifoldError

INTEGERS: list[Any] = [3, np.int64(3), np.uint8(3), np.array(3), torch.tensor(3), torch.tensor(3, dtype=torch.int8)]
REALS: list[Any] = [0.5, np.float32(0.5), np.float64(0.5), np.array(0.5), torch.tensor(0.5), torch.tensor(0.5).double()]


@pytest.mark.parametrize("value", INTEGERS, ids=repr)
def test_integers_of_every_kind(value: Any) -> None:
    for checked in (
        validation.integer(value, "k"),
        validation.integer(value, "k", minimum=3, maximum=3),
        validation.positive_integer(value, "k", maximum=3),
    ):
        assert checked == 3 and type(checked) is int
    for number in (validation.real(value, "t"), validation.positive_real(value, "t")):
        assert number == 3.0 and type(number) is float


@pytest.mark.parametrize("value", REALS, ids=repr)
def test_reals_of_every_kind(value: Any) -> None:
    for checked in (validation.real(value, "t"), validation.positive_real(value, "t")):
        assert checked == 0.5 and type(checked) is float
    with pytest.raises(InputError, match=r"^k: expected an integer >= 0, got "):
        validation.integer(value, "k")


@pytest.mark.parametrize("value", [math.inf, np.float64(math.inf), torch.tensor(math.inf)], ids=repr)
def test_infinity_where_it_is_admitted(value: Any) -> None:
    assert validation.positive_real(value, "r", infinite=True) == math.inf
    with pytest.raises(InputError, match=r"^r: expected a finite real number > 0, got inf$"):
        validation.positive_real(value, "r")


@pytest.mark.parametrize(
    "value", [[1, 2.5], (1.0, 2.5), np.array([1.0, 2.5]), torch.tensor([1.0, 2.5]), [np.int64(1), torch.tensor(2.5)]]
)
def test_sequences_of_reals(value: Any) -> None:
    assert validation.reals(value, "v", 2) == (1.0, 2.5)
    assert all(type(entry) is float for entry in validation.reals(value, "v", 2))


def test_names_dtypes_and_tensors_come_back_as_they_are() -> None:
    assert validation.one_of("b", "name", ("a", "b")) == "b"
    assert validation.one_of("b", "name", {"a": 1, "b": 2}) == "b"
    assert validation.floating_dtype(torch.float32) is torch.float32
    x = torch.zeros(4, 2, 3)
    assert validation.shaped(x, "x", 2, 3) is x and validation.shaped(x, "x") is x
    assert validation.shaped(x / 0, "x", 3).isnan().all()  # entries are not looked at
    assert validation.finite_points(x, "x", 3) is x


def test_scalar() -> None:
    assert validation.scalar("text") == "text" and validation.scalar(None) is None
    vector = torch.zeros(1)
    assert validation.scalar(vector) is vector
    assert validation.scalar(np.bool_(True)) is True


def test_described() -> None:
    assert validation.described(torch.zeros(2, 3)) == "a tensor of shape (2, 3) and dtype torch.float32"
    assert validation.described(np.zeros((2, 3))) == "an array of shape (2, 3) and dtype float64"
    assert validation.described("a") == "'a'"
    assert len(validation.described("x" * 500)) == 83 and validation.described("x" * 500).endswith("...")


def test_one_dialect_for_every_class_of_errors() -> None:
    assert str(validation.invalid("k", "an integer", 0.5)) == "k: expected an integer, got 0.5"
    assert str(validation.invalid("k", "an integer", got="none")) == "k: expected an integer, got none"
    assert isinstance(validation.invalid("k", "an integer", None), InputError)
    assert str(validation.invalid("k", "something", None)).endswith("got None")
    error = OffManifoldError(validation.message("x", "points on M", got="one at distance 2"))
    assert str(error) == "x: expected points on M, got one at distance 2"


REFUSED: list[tuple[Callable[[], object], str]] = [
    (lambda: validation.integer(True, "k"), "k: expected an integer >= 0, got True"),
    (lambda: validation.integer(torch.tensor(True), "k"), "k: expected an integer >= 0, got a tensor of shape ()"),
    (lambda: validation.integer(-1, "k"), "k: expected an integer >= 0, got -1"),
    (lambda: validation.integer(torch.tensor(-1), "k"), "k: expected an integer >= 0, got -1"),
    (lambda: validation.integer(2.0, "k"), "k: expected an integer >= 0, got 2.0"),
    (lambda: validation.integer("2", "k"), "k: expected an integer >= 0, got '2'"),
    (lambda: validation.integer(torch.tensor([2]), "k"), "k: expected an integer >= 0, got a tensor of shape (1,)"),
    (lambda: validation.positive_integer(0, "k"), "k: expected an integer >= 1, got 0"),
    (lambda: validation.positive_integer(9, "k", maximum=8), "k: expected an integer >= 1 and <= 8, got 9"),
    (lambda: validation.real(math.nan, "t"), "t: expected a finite real number, got nan"),
    (lambda: validation.real(torch.tensor(math.nan), "t"), "t: expected a finite real number, got nan"),
    (lambda: validation.real(-math.inf, "t"), "t: expected a finite real number, got -inf"),
    (lambda: validation.real(1j, "t"), "t: expected a finite real number, got 1j"),
    (lambda: validation.real("1", "t"), "t: expected a finite real number, got '1'"),
    (lambda: validation.real(False, "t"), "t: expected a finite real number, got False"),
    (lambda: validation.real(np.zeros(2), "t"), "t: expected a finite real number, got an array of shape (2,)"),
    (lambda: validation.positive_real(0.0, "r"), "r: expected a finite real number > 0, got 0.0"),
    (lambda: validation.positive_real(None, "r"), "r: expected a finite real number > 0, got None"),
    (lambda: validation.positive_real(True, "r"), "r: expected a finite real number > 0, got True"),
    (lambda: validation.positive_real(math.nan, "r", infinite=True), "r: expected a real number > 0, got nan"),
    (lambda: validation.positive_real(-math.inf, "r", infinite=True), "r: expected a real number > 0, got -inf"),
    (lambda: validation.reals("12", "v", 2), "v: expected a sequence of 2 real numbers, got '12'"),
    (lambda: validation.reals([1.0], "v", 2), "v: expected a sequence of 2 real numbers, got [1.0]"),
    (lambda: validation.reals(3.0, "v", 2), "v: expected a sequence of 2 real numbers, got 3.0"),
    (lambda: validation.reals([1.0, None], "v", 2), "v[1]: expected a finite real number, got None"),
    (lambda: validation.reals(np.array([1.0, math.nan]), "v", 2), "v[1]: expected a finite real number, got nan"),
    (lambda: validation.reals(["x" * 500], "v", 2), "v: expected a sequence of 2 real numbers, got ['xxx"),
    (lambda: validation.one_of("c", "name", ("a", "b")), "name: expected one of ('a', 'b'), got 'c'"),
    (lambda: validation.one_of(["a"], "name", {"a": 1}), "name: expected one of ('a',), got ['a']"),
    (lambda: validation.floating_dtype("float64"), "dtype: expected a real floating point torch.dtype, got 'float64'"),
    (lambda: validation.floating_dtype(torch.int64), "dtype: expected a real floating point torch.dtype, got torch."),
    (lambda: validation.floating_dtype(torch.complex64), "dtype: expected a real floating point torch.dtype, got"),
    (lambda: validation.shaped([1.0], "x", 3), "x: expected a torch tensor of shape (..., 3), got [1.0]"),
    (lambda: validation.shaped(np.zeros(3), "x", 3), "x: expected a torch tensor of shape (..., 3), got an array of"),
    (lambda: validation.shaped(torch.zeros(3).long(), "x", 3), "x: expected a tensor with a real floating point dtype"),
    (lambda: validation.shaped(torch.zeros(3), "f", 3, 2), "f: expected a tensor of shape (..., 3, 2), got a tensor"),
    (lambda: validation.shaped(torch.zeros(2, 3), "f", 2), "f: expected a tensor of shape (..., 2), got a tensor"),
    (
        lambda: validation.finite_points(torch.tensor([1.0, math.nan]), "x", 2),
        "x: expected finite points, got a tensor of shape (2,) and dtype torch.float32 with 1 entries that are NaN or",
    ),
]


@pytest.mark.parametrize(("check", "text"), REFUSED, ids=[text for _, text in REFUSED])
def test_refuses(check: Callable[[], object], text: str) -> None:
    with pytest.raises(InputError) as caught:
        check()
    assert str(caught.value).startswith(text)


@pytest.mark.parametrize("text", ["a\x1b[31mb", "bell\x07", "\x9b2J", "\u202edraw", "carriage\rreturn"])
def test_no_message_moves_the_cursor(text: str, tmp_path: Path) -> None:
    """Whatever a name or a value holds: what a terminal would obey is spelled out, the rest stands as it was."""
    said = [str(validation.invalid("x", "a number", got=text)), str(validation.invalid(text, "a number", 1))]
    for read in (construct.load, construct.load_certificate):
        (tmp_path / text).write_bytes(b"no network")
        with pytest.raises(InputError) as caught:
            read(tmp_path / text)
        said.append(str(caught.value))
    assert all(one.isprintable() for one in said)
    assert said[0] == f"x: expected a number, got {ascii(text)[1:-1]}"

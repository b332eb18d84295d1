"""Documents from outside: read field by field, and every record of the library can be read."""

import json
import math
from dataclasses import asdict, fields
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from construct import documents
from construct.claim import Claim
from construct.documents import READERS, record_of
from construct.errors import InputError
from construct.history import Trial
from construct.problem import Sizes
from construct.validation import described, positive_real, real

CLAIM = Claim(1e-3, 4e-4, "measured", 100, resolution=0.1, seeds=(1, 2), weights="0" * 64)
TRIAL = Trial(5, None, 6, 100, 50, 1e-3, "fitted", "chosen", "of 3")


@pytest.mark.parametrize(
    "record", [CLAIM, TRIAL, Trial(None, None, None, None, None, None, "fitted", "over budget"), Sizes(1, 2, 0)]
)
def test_a_record_is_read_as_it_was_written(record):
    """Fields that somebody adds have to have an annotation that can be read."""
    without = [field.name for field in fields(record) if field.name == "read"]
    data = {key: value for key, value in json.loads(json.dumps(asdict(record))).items() if key not in without}
    assert record_of(type(record), data, "record", without=without) == record
    words = {"ClaimKind"}
    assert {str(field.type) for field in fields(record)} <= set(READERS) | words


@pytest.mark.parametrize(
    ("field", "value"),
    [("charts", 1.0), ("charts", True), ("charts", "1"), ("charts", -1), ("charts", 2**63), ("error", "1"),
     ("error", True), ("error", 10**400), ("kind", 1), ("kind", "\n"), ("note", "x" * 3000)],
)  # fmt: skip
def test_a_field_of_another_type_is_refused_by_name(field, value):
    with pytest.raises(InputError, match=rf"^trial\.{field}: expected "):
        record_of(Trial, asdict(TRIAL) | {field: value}, "trial")


@pytest.mark.parametrize("text", ['{"a": 1, "a": 1}', "NaN", "[Infinity]", "-Infinity", "", "{", b"\xff", "[" * 10**5])
def test_what_is_not_strictly_json_is_refused(text):
    with pytest.raises(InputError, match=r"^box: expected a JSON document, got "):
        documents.parsed(text, "box")


@pytest.mark.parametrize("value", [math.nan, math.inf, object(), {1, 2}, np.float64("nan")])
def test_what_json_cannot_hold_is_not_written(value):
    with pytest.raises(InputError, match=r"^box: expected what a JSON document can hold, got "):
        documents.written([value], "box")


def test_arrays():
    assert documents.floats(1, "x").shape == () and documents.floats([], "x").shape == (0,)
    assert documents.floats([[1, 2.5], [3, 4]], "x").tolist() == [[1.0, 2.5], [3.0, 4.0]]
    assert documents.integers([[1], [2]], "x").dtype == np.int64
    nested: Any = 1
    for _ in range(20):
        nested = [nested]
    many: tuple[Any, ...] = ([1, [2]], [[1], 2], [[1], [2, 3]], nested, {}, [{}], [None])
    for bad in many:
        with pytest.raises(InputError, match=r"^x: expected "):
            documents.floats(bad, "x")


@pytest.mark.parametrize("check", [real, positive_real])
def test_a_number_beyond_float64_is_refused(check):
    for value in (10**400, -(10**400), Fraction(10**400), 10**5000):
        with pytest.raises(InputError, match=r"^x: expected a finite real number"):
            check(value, "x")


def test_what_cannot_be_shown_is_still_refused_in_words():
    class Shy:
        def __repr__(self):
            raise RuntimeError

    nested: list[Any] = []
    for _ in range(10**5):
        nested = [nested]
    assert described(Shy()) == "a Shy" and described(nested) == "a list" and described(10**5000) == "a int"

"""A program from a document: strict, field by field, at a price that the length of the document bounds."""

import copy
import json
import time
import tracemalloc

import numpy as np
import pytest

from construct.errors import InputError
from construct.program.codes import EntryRange
from construct.program.compile import Program, Stage
from construct.program.ffn import GADGETS, NUMBERS, Ffn
from construct.program.lattice import LatticeCode
from construct.program.layout import TokenGroup, TokenLayout
from construct.program.rules import EVERY, Rule, Tokens, Where

GROUPS = (TokenGroup("x", (2,), ("j",)), TokenGroup("h", (2, 3), ("k", "n"), "hidden"), TokenGroup("out", (1,)))
CODE = LatticeCode(9, ("k", "n"), np.array([[0, i] for i in range(5)] + [[1, i] for i in range(4)]))
LAYOUT = TokenLayout(GROUPS, CODE, ("a", "b"))


def program():
    """A program that has everything that a document can have."""
    rules = (
        Rule(
            Tokens(np.array([2, 4]), pair=False),
            Tokens(np.array([0, 1])),
            {("a", "a"): np.array([1.0, 2.0])},
            share=True,
        ),
        Rule(Where({"k": np.array([0])}), Where({"k": np.array(1)}), {("a", "1"): 1.5}, {("b", "a"): 1.0}, ("n",), 1),
        Rule(EVERY, EVERY, {("b", "1"): 1.0, ("b", "b"): -1.0}, {("1", "a"): 0.5}, ("k", "n")),
    )
    stages = (
        Stage("one", rules, Ffn("bump", numbers={"kind": "hat", "scale": 2.0}, where=EntryRange("k", 0, 0))),
        Stage("two", (), Ffn("indicator_ramp", numbers={"radius_squared": 0.25, "doublings": 3})),
        Stage("three", (), Ffn("clamp", numbers={"argument": {"a": 1.0, "1": -0.5}})),
    )
    return Program(LAYOUT, {("h", "a"): np.arange(6.0).reshape(2, 3), ("out", "b"): 0.5}, stages)


DOCUMENT = json.loads(program().to_json())


def test_a_document_is_read_as_it_was_written():
    again = Program.from_json(json.dumps(DOCUMENT))
    assert json.loads(again.to_json()) == DOCUMENT and str(again) == str(program())
    assert np.array_equal(again.hidden0, program().hidden0)


def put(*path):
    """Replace what is at a place of the document by the last argument; "+": append it, None as a key: remove."""
    *way, last, value = path

    def change(document):
        for key in way:
            document = document[key]
        if last == "+":
            document.append(value)
        elif value is REMOVED:
            del document[last]
        else:
            document[last] = value

    return change


REMOVED = object()
RULE = ("stages", 0, "rules", 0)
WHERE = ("stages", 0, "rules", 1)
GROUP = ("layout", "groups", 1)
FFN = ("stages", 0, "ffn")
RAMP = ("stages", 1, "ffn", "numbers")

CHANGES = {
    "a coefficient that is true": (put(*RULE, "value", 0, 2, True), r"stages\[0\].rules\[0\].value\[0\]\[2\]: expecte"),
    "a coefficient in words": (put(*RULE, "value", 0, 2, "1.5"), r"rules\[0\].value\[0\]\[2\]: expected finite number"),
    "coefficients, one true": (put(*RULE, "value", 0, 2, [1.0, True]), r"value\[0\]\[2\]: expected finite numbers, go"),
    "a coefficient of null": (put(*RULE, "value", 0, 2, None), r"value\[0\]\[2\]: expected finite numbers"),
    "an infinite coefficient": (put(*RULE, "value", 0, 2, 1e400), "JSON document"),
    "a huge coefficient": (put(*RULE, "value", 0, 2, 10**400), r"value\[0\]\[2\]: expected finite numbers"),
    "ragged coefficients": (put(*RULE, "value", 0, 2, [[1.0], [1.0, 2.0]]), r"value\[0\]\[2\]: expected numbers, or l"),
    "a matrix of coefficients": (put(*RULE, "value", 0, 2, [[1.0, 2.0]]), r"rules\[0\].rule: expected tokens and coef"),
    "coefficients of another length": (put(*RULE, "value", 0, 2, [1.0]), r"rules\[0\].rule: expected tokens and coeff"),
    "an entry twice": (put(*RULE, "value", "+", ["a", "a", 1.0]), r"value\[1\]: expected each pair once"),
    "an entry of four": (put(*RULE, "value", 0, ["a", "a", 1.0, 1.0]), r"value\[0\]: expected a list of 3 entries"),
    "an entry of an unknown register": (put(*RULE, "value", 0, 0, "z"), "rule of stage 'one': expected registers in"),
    "no value": (put(*RULE, "value", []), r"rules\[0\].value: expected at least one entry"),
    "an unknown key": (put(*RULE, "more", 1), r"rules\[0\]: expected no keys but target"),
    "no target": (put(*RULE, "target", REMOVED), r"rules\[0\].target: expected a value, got none"),
    "a target in words": (put(*RULE, "target", "all"), r"rules\[0\].target: expected an object, got 'all'"),
    "a target of both": (put(*RULE, "target", {"tokens": [1], "where": {"k": 1}}), r"rules\[0\].target: expected no k"),
    "tokens of fractions": (put(*RULE, "target", "tokens", [2.0, 4.0]), r"target.tokens: expected integers, got 2.0"),
    "tokens that are true": (put(*RULE, "target", "tokens", [True, 4]), r"target.tokens: expected integers, got True"),
    "one token": (put(*RULE, "target", "tokens", 2), r"target.tokens: expected a list of integers, got 2"),
    "tokens that are not there": (put(*RULE, "target", "tokens", [2, 9]), r"rule of stage 'one': expected tokens in 0"),
    "negative tokens": (put(*RULE, "target", "tokens", [-1, 2]), r"rule of stage 'one': expected tokens in 0..8"),
    "huge tokens": (put(*RULE, "target", "tokens", [10**30, 2]), r"target.tokens: expected integers of 64 bits"),
    "a pair in words": (put(*RULE, "target", "pair", "yes"), r"target.pair: expected true or false"),
    "share in words": (put(*RULE, "share", 1), r"rules\[0\].share: expected true or false, got 1"),
    "same without shift": (put(*WHERE, "shift", REMOVED), r"rules\[1\].same: expected together with shift"),
    "a shift of fractions": (put(*WHERE, "shift", 1.0), r"rules\[1\].shift: expected an integer"),
    "a huge shift": (put(*WHERE, "shift", 10**12), r"rules\[1\].shift: expected an integer"),
    "a shift beyond the tokens": (put(*WHERE, "shift", 100), "rule of stage 'one': expected a shift of less than 9"),
    "an unknown entry": (put(*WHERE, "same", ["z"]), "rule of stage 'one': expected code entries in"),
    "where nothing": (put(*WHERE, "target", "where", {}), r"target.where: expected 1 to"),
    "where of fractions": (put(*WHERE, "target", "where", "k", [0.5]), r"target.where.k: expected integers"),
    "where an escape": (put(*WHERE, "target", "where", "\x1b", [0]), r"target.where: expected a printable text"),
    "a negative group": (put(*GROUP, 1, [-2, -3]), r"layout.groups\[1\]\[1\]\[0\]: expected an integer >= 0"),
    "a huge group": (put(*GROUP, 1, [10**9, 10**9]), r"layout.groups\[1\]\[1\]\[0\]: expected an integer >= 0 and <="),
    "a large group": (put(*GROUP, 1, [2**20, 2**20]), r"layout.groups: expected 1 to .* tokens"),
    "a group of fractions": (put(*GROUP, 1, [2.0, 3]), r"layout.groups\[1\]\[1\]\[0\]: expected an integer"),
    "a group of many axes": (put(*GROUP, 1, [1] * 40), r"layout.groups\[1\]\[1\]: expected a list of 0 to"),
    "more axes than sizes": (put(*GROUP, 2, ["a", "b", "c"]), r"layout.groups\[1\]\[2\]: expected a list of 0 to 2"),
    "a group with an escape": (put(*GROUP, 0, "\x1b[2J"), r"layout.groups\[1\]\[0\]: expected a printable text"),
    "a role with an escape": (put(*GROUP, 3, "\x07"), r"layout.groups\[1\]\[3\]: expected a printable text"),
    "a group without a name": (put(*GROUP, 0, ""), r"layout.groups\[1\]\[0\]: expected a printable text of 1 to"),
    "a group twice": (put("layout", "groups", "+", ["x", [1], [], ""]), "layout"),
    "a register twice": (put("layout", "registers", ["a", "a"]), r"layout.registers: expected at least one, and rows "),
    "a register of the code": (put("layout", "registers", ["a", "k"]), r"layout.registers: expected at least one, and"),
    "many registers": (put("layout", "registers", [f"r{i}" for i in range(500)]), r"layout.registers: expected a list"),
    "an unknown code": (put("layout", "code", {"name": "morse"}), r"layout.code.name: expected one of"),
    "a code with more": (put("layout", "code", "more", 1), r"layout.code: expected no keys but"),
    "code entries of fractions": (put("layout", "code", "integers", 0, 0, 0.5), "layout.code.integers: expected integ"),
    "huge code entries": (put("layout", "code", "integers", 0, 0, 2**60), "layout.code.integers: expected entries of "),
    "code entries that coincide": (put("layout", "code", "integers", 0, [0, 1]), "layout.code.integers: expected diff"),
    "a register value of 1e400": (put("registers", 1, 2, 1e400), "JSON document"),
    "a huge register value": (put("registers", 1, 2, 10**400), r"registers\[1\]\[2\]: expected finite numbers"),
    "a register value that is true": (put("registers", 1, 2, True), r"registers\[1\]\[2\]: expected finite numbers"),
    "register values of another shape": (put("registers", 0, 2, [1.0]), r"registers: expected a scalar or shape"),
    "a register given twice": (put("registers", "+", ["out", "b", 1.0]), r"registers\[2\]: expected each pair once"),
    "a register of nobody": (put("registers", 0, 0, "z"), r"group: expected one of"),
    "a readout of three": (put("readout", ["out", "b", "a"]), "readout: expected a list of 2 entries"),
    "a readout of numbers": (put("readout", [0, 1]), r"readout\[0\]: expected a printable text"),
    "a readout of many tokens": (put("readout", ["h", "b"]), "readout: expected a group of one token"),
    "stages as an object": (put("stages", {}), "stages: expected a list"),
    "a stage twice": (put("stages", 1, "name", "one"), "stages: expected names that differ"),
    "a stage with an escape": (put("stages", 1, "name", "\x1b"), r"stages\[1\].name: expected a printable text"),
    "a stage with more": (put("stages", 1, "more", 1), r"stages\[1\]: expected no keys but"),
    "many stages": (put("stages", [{"name": str(i), "rules": [], "ffn": None} for i in range(2000)]), "stages: expect"),
    "an unknown gadget": (put(*FFN, "gadget", "tanh"), r"stages\[0\].ffn.gadget: expected one of"),
    "groups beside a range": (put(*FFN, "groups", ["h"]), r"stages\[0\].ffn.where: expected None beside groups"),
    "a range of two": (put(*FFN, "where", ["k", 0]), r"ffn.where: expected a list of 3 entries"),
    "a range the wrong way": (put(*FFN, "where", ["k", 1, 0]), r"ffn.where.last: expected an integer >= 1"),
    "a range of fractions": (put(*FFN, "where", ["k", 0.0, 1]), r"ffn.where\[1\]: expected an integer"),
    "a range of an unknown entry": (put(*FFN, "where", ["z", 0, 1]), r"entries: expected some of"),
    "an unknown number": (put(*FFN, "numbers", "size", 1.0), r"ffn.numbers: expected no keys but kind"),
    "no kind": (put(*FFN, "numbers", "kind", REMOVED), r"ffn.numbers.kind: expected a value, got none"),
    "another kind": (put(*FFN, "numbers", "kind", "box"), r"kind: expected one of"),
    "a scale in words": (put(*FFN, "numbers", "scale", "2"), r"ffn.numbers.scale: expected a finite number, got '2'"),
    "a source that is no row": (put(*FFN, "numbers", "source", "z"), r"row: expected one of"),
    "a huge number of doublings": (put(*RAMP, "doublings", 10**9), r"ffn.numbers.doublings: expected an integer >= 0 "),
    "half a doubling": (put(*RAMP, "doublings", 1.5), r"ffn.numbers.doublings: expected an integer"),
    "a radius of nothing": (put(*RAMP, "radius_squared", 0.0), r"radius_squared: expected a finite real number > 0"),
    "an argument of words": (put("stages", 2, "ffn", "numbers", "argument", "a"), r"ffn.numbers.argument: expected an"),
    "an empty argument": (put("stages", 2, "ffn", "numbers", "argument", {}), r"ffn.numbers.argument: expected 1 to"),
    "an argument of truths": (put("stages", 2, "ffn", "numbers", "argument", {"a": True}), r"argument.a: expected a f"),
    "more": (put("more", 1), "program: expected no keys but layout"),
    "no layout": (put("layout", REMOVED), "program.layout: expected a value, got none"),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_not_as_it_is_written_is_refused(name):
    change, text = CHANGES[name]
    document = copy.deepcopy(DOCUMENT)
    change(document)
    with pytest.raises(InputError, match=rf"^text: expected a program as `to_json` writes it, got .*{text}"):
        Program.from_json(json.dumps(document))


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "null", "[" * 10**6, '{"layout": 1, "layout": 2}', "NaN", "9" * 10**5]
)
def test_what_is_no_document_is_refused(text):
    with pytest.raises(InputError, match=r"^text: expected a program as `to_json` writes it, got "):
        Program.from_json(text)


@pytest.mark.parametrize("text", [None, 7, b"{}", DOCUMENT])
def test_what_is_no_text_is_refused(text):
    with pytest.raises(InputError, match=r"^text: expected a program as `to_json` writes it, got "):
        Program.from_json(text)


def test_a_hostile_document_costs_little():
    """The dearest that the limits allow: the most tokens, registers and doublings. Peak of memory, not seconds."""
    document = copy.deepcopy(DOCUMENT)
    document["layout"] = {
        "groups": [["x", [2**24 - 1], [], ""], ["out", [1], [], ""]],
        "registers": [f"r{i}" for i in range(32)],
        "code": {"name": "integer"},
    }
    document["registers"], document["readout"] = [], ["out", "r0"]
    numbers = {"radius_squared": 1.0, "doublings": 1023, "source": "r0", "target": "r1"}
    ramp = {"gadget": "indicator_ramp", "groups": [], "numbers": numbers}
    document["stages"] = [{"name": str(i), "rules": [], "ffn": ramp} for i in range(20)]
    text = json.dumps(document)
    tracemalloc.start()
    start = time.perf_counter()
    Program.from_json(text)
    seconds, (_, peak) = time.perf_counter() - start, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    print(f"{seconds:.2f} s, {peak / 2**20:.0f} MiB")
    assert peak < 2**28


def test_every_number_of_a_gadget_has_a_reader():
    import inspect

    for gadget in GADGETS.values():
        for parameter in inspect.signature(gadget.build).parameters.values():
            assert parameter.kind is not parameter.KEYWORD_ONLY or parameter.annotation in NUMBERS


def test_groups_without_an_axis_have_a_name() -> None:
    """A group of shape () holds one token, as a product of no factors says; a document may have one."""
    layout = TokenLayout((TokenGroup("x", (2,), ("j",)), TokenGroup("c", ())))
    assert (
        layout.count == 3 and layout.named(np.array([2])) == "c" and layout.named(np.array([0, 1, 2])) == "x[j] and c"
    )

"""Rules and programs: what is shared, what is counted, what their text says, and what is refused."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from construct.errors import InputError, PrecisionError
from construct.program.compile import Program, Stage
from construct.program.ffn import Ffn
from construct.program.heads import A, B
from construct.program.lattice import LatticeCode
from construct.program.layout import ONE, TokenGroup, TokenLayout
from construct.program.rules import EVERY, Rule, Tokens, Where, act, read, rule_from_json, shared
from construct.transformer.weights import Heads
from tests.program.oracle import head_output

LAYOUT = TokenLayout((TokenGroup("x", (2,)), TokenGroup("w", (9,)), TokenGroup("out", (1,))))


def lattice(shape):
    """A layout whose tokens know their indices in a grid."""
    indices = np.stack(np.unravel_index(np.arange(np.prod(shape)), shape), axis=1)
    names = tuple("ijk"[: len(shape)])
    return TokenLayout((TokenGroup("t", shape, names),), LatticeCode(len(indices), names, indices))


def added(layout, rules, hidden):
    """What rules add to the hidden state, head by head."""
    bound = np.append(np.abs(hidden[:, list(layout.register_rows)]).max(axis=0), 1.0)
    weights = Heads.stack([r.heads(layout, r.constant(layout, bound)) for r in rules], layout.embedding_dim)
    parts = zip(weights.query, weights.key, weights.value, strict=True)
    return sum((head_output(q, k, v, hidden) for q, k, v in parts), np.zeros_like(hidden))


def random_state(layout, seed):
    hidden = layout.initial_state()
    registers = list(layout.register_rows)
    hidden[:, registers] = np.random.default_rng(seed).uniform(-2, 2, (layout.count, len(registers)))
    return hidden


# -- lattice codes ----------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(st.sampled_from([(5,), (2, 4), (3, 2, 3)]), st.data())
def test_gates_of_a_lattice_code(shape, data):
    code = lattice(shape).code
    u = np.hstack([code.values(), np.ones((code.tokens, 1))])
    token = data.draw(st.integers(0, code.tokens - 1))
    values = u @ code.point_gate(np.array([token]))[0]
    assert values[token] == 0 and np.delete(values, token).max() <= -1
    named = data.draw(st.lists(st.sampled_from(code.entries), min_size=1, unique=True))
    at = [code.entries.index(name) for name in named]
    wanted = dict(zip(named, code.integers[token, at], strict=True))
    values = u @ code.entry_gate({name: np.array([v]) for name, v in wanted.items()})[0]
    same = (code.integers[:, at] == code.integers[token, at]).all(axis=1)
    assert (values[same] == 0).all() and (values[~same] <= -1).all()
    shift = data.draw(st.integers(-2, 2)) if len(named) == 1 else 0
    query, key = code.same_gate(named, shift)
    score = np.einsum("rc,tc,rd,sd->ts", query, u, key, u)
    equal = (code.integers[None, :, at] == code.integers[:, None, at] + shift).all(axis=2)
    assert (score[equal] == 0).all() and (score[~equal] <= -1).all()


def test_range_gate_of_a_lattice_code():
    code = lattice((3, 4)).code
    rows, floor = code.range_gate(4, 7)  # i = 1
    total = np.maximum(np.hstack([code.values(), np.ones((12, 1))]) @ rows.T, 0).sum(axis=1)
    assert (total[4:8] == 0).all() and floor == 1.0 and (np.delete(total, range(4, 8)) >= 1).all()
    with pytest.raises(InputError, match=r"^range: expected tokens that one entry .*, got 3\.\.5$"):
        code.range_gate(3, 5)


def test_tokens_by_their_entries():
    layout = lattice((2, 3))
    hidden = random_state(layout, 0)
    rule = Rule(Where({"i": np.array([1])}), Where({"i": np.array([0])}), {(B, A): 1.0}, same=("j",))
    want = np.zeros((2, 3))
    want[1] = hidden[:3, 0]
    assert np.allclose(added(layout, [rule], hidden)[:, 1].reshape(2, 3), want, atol=1e-14)
    assert "tokens with i=1.b += a_s from tokens with i=0 with the same j" in rule.text(layout)


def test_guards_of_a_lattice_code():
    with pytest.raises(InputError, match=r"^integers: expected different entries for every token, got"):
        LatticeCode(2, ("i",), np.array([[1], [1]]))
    with pytest.raises(InputError, match=r"^integers: expected an integer array of shape \(2, 1\), got"):
        LatticeCode(2, ("i",), np.array([[1.0], [2.0]]))
    with pytest.raises(InputError, match=r"^named: expected at least one entry, all names different, got"):
        LatticeCode(2, ("i", "i"), np.array([[1, 2], [2, 3]]))
    with pytest.raises(InputError, match=r"^entries: expected some of"):
        LatticeCode(2, ("i",), np.array([[1], [2]])).same_gate(["k"])
    with pytest.raises(InputError, match=r"^shift: expected 0 unless one entry is compared, got 1$"):
        lattice((2, 2)).code.same_gate(["i", "j"], 1)
    with pytest.raises(InputError, match=r"^code: expected a code with entries"):
        LAYOUT.code.entry_gate({"t": np.array([1])})
    far = LatticeCode(2, ("i",), np.array([[0], [2**12]]))
    far.check(torch.float64)
    with pytest.raises(
        PrecisionError, match=r"^dtype: expected a dtype that holds gates of size .*, got torch.float32"
    ):
        far.check(torch.float32)


# -- rules ------------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(st.integers(1, 9), st.integers(0, 2**31))
def test_sharing_changes_heads_and_nothing_else(targets, seed):
    """Adjacent targets that hear the same of one source are served in pairs, by fewer heads."""
    draw = np.random.default_rng(seed)
    target = np.sort(draw.choice(LAYOUT.tokens("w"), targets, replace=False))
    source = LAYOUT.tokens("x")[draw.integers(0, 2, targets)]
    weight = draw.choice([1.0, 2.0], targets)
    rule = read(target, source, {(B, A): weight}, share=True)
    parts, hidden = shared(rule, LAYOUT.code), random_state(LAYOUT, seed)
    want = np.zeros_like(hidden)
    want[target, 1] = weight * hidden[source, 0]
    assert np.allclose(added(LAYOUT, parts, hidden), want, atol=1e-13)
    assert sum(part.count for part in parts) <= targets
    served: list[int] = []
    for part in parts:
        assert isinstance(part.target, Tokens)
        served += [*part.target.numbers, *(part.target.numbers + 1 if part.target.pair else [])]
    assert sorted(served) == target.tolist()


def test_a_run_of_targets_is_served_in_pairs():
    rule = read(LAYOUT.tokens("w"), LAYOUT.tokens("x")[0], {(A, A): 1.0}, share=True)
    assert [part.count for part in shared(rule, LAYOUT.code)] == [4, 1]
    trigonometric = TokenLayout(LAYOUT.groups, "trigonometric")
    assert [part.count for part in shared(rule, trigonometric.code)] == [9]


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (read(np.array([2, 3]), np.array([0, 1]), {(A, A): 1.0}), "w.a += a_s from x"),
        (act(EVERY, EVERY, {(A, A): 1.0}, {(B, ONE): 1.0}, same=("t",)), "every token.b += relu(a_t a_s) from itself"),
        (act(np.array([11]), EVERY, {(ONE, A): 1.0}, {(B, B): 1.0}), "out.b += relu(a_s) b_s from every token"),
        (Rule(EVERY, EVERY, {(A, A): -2.0}, same=("t",), shift=1), "every token.a += -2 a_s from the token 1 on"),
    ],
)
def test_text_of_a_rule(rule, text):
    assert rule.text(LAYOUT) == text
    again = rule_from_json(rule.to_json())
    assert again.to_json() == rule.to_json() and again.text(LAYOUT) == text and again.count == rule.count


def test_bad_rules_are_refused():
    with pytest.raises(InputError, match=r"^rule: expected tokens and coefficients of one length \(m,\), got lengths"):
        Rule(Tokens(np.arange(3)), Tokens(np.arange(2)), {(A, A): 1.0})
    with pytest.raises(InputError, match=r"^rule: expected finite coefficients, got NaN or infinity$"):
        read(np.arange(2), np.arange(2), {(A, A): np.array([1.0, np.nan])})
    with pytest.raises(InputError, match=r"^value: expected at least one entry, got"):
        Rule(EVERY, EVERY, {})


# -- programs ---------------------------------------------------------------------------------------------


def program(*rules, ffn=None, registers=None, readout=("out", "b"), layout=LAYOUT):
    return Program(layout, registers or {}, (Stage("one", rules, ffn),), readout)


OUTPUT = read(LAYOUT.tokens("out"), LAYOUT.tokens("x")[:1], {(B, A): 1.0})


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: program(OUTPUT, readout=("w", "b")), "^readout: expected a group of one token and a register, got"),
        (lambda: program(OUTPUT, readout=("out", "t")), "^readout: expected"),
        (lambda: program(OUTPUT, registers={("w", "c"): 1.0}), "^registers: expected"),
        (lambda: program(OUTPUT, registers={("w", "a"): np.ones(3)}), r"^registers: expected a scalar or shape \(9,\)"),
        (lambda: program(Rule(EVERY, EVERY, {("c", A): 1.0})), "^rule of stage 'one': expected registers in"),
        (lambda: program(Rule(EVERY, EVERY, {(ONE, A): 1.0})), "^rule of stage 'one': expected registers in"),
        (
            lambda: program(read(np.array([12]), np.array([0]), {(A, A): 1.0})),
            r"^rule of .*: expected tokens in 0\.\.11",
        ),
        (lambda: program(Rule(EVERY, EVERY, {(A, A): 1.0}, same=("i",))), "^rule of .*: expected code entries in"),
        (
            lambda: program(Rule(Where({"i": np.array([0])}), EVERY, {(A, A): 1.0})),
            "^rule of .*: expected code entries",
        ),
        (lambda: program(OUTPUT, ffn=Ffn("clip", ("nowhere",))), "^group: expected one of"),
        (lambda: Ffn("tanh"), "^gadget: expected one of"),
        (lambda: Program(LAYOUT, {}, (Stage("s", ()), Stage("s", ()))), "^stages: expected names that differ, got"),
        (
            lambda: Program.from_json("{}"),
            "^text: expected a program as `to_json` writes it, got program.layout: expected a value, got none$",
        ),
    ],
)
def test_bad_programs_are_refused(build, text):
    with pytest.raises(InputError, match=text):
        build()


def test_what_a_dtype_cannot_hold_names_stage_and_rule():
    big = act(LAYOUT.tokens("out"), LAYOUT.tokens("x")[:1], {(A, A): 1e6}, {(B, ONE): 1.0})
    trigonometric = program(big, layout=TokenLayout(LAYOUT.groups, "trigonometric"))
    with pytest.raises(
        PrecisionError, match=r"^dtype: expected .* \(stage 'one', rule out\.b \+= .*\), got torch.float32"
    ):
        trigonometric.compile(np.ones(2), torch.float32)
    program(big).compile(np.ones(2), torch.float32)
    huge = program(read(LAYOUT.tokens("out"), LAYOUT.tokens("x")[:1], {(B, A): 1e39}))
    huge.compile(np.ones(2))
    with pytest.raises(PrecisionError, match=r"^dtype: expected a dtype that holds the numbers of block 1"):
        huge.compile(np.ones(2), torch.float32)


def test_a_program_reads_like_one():
    text = str(program(OUTPUT, ffn=Ffn("clip", ("w",)), registers={("w", A): 0.5}))
    assert "output in out.b" in text and "w.a = 0.5 at the start" in text
    assert "1 heads  out.b += a_s from x" in text and "FFN  a <- clip(a, -1, 1) on w" in text

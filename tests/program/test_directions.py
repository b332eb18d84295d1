"""Direction codes: who hears whom, exactly; tokens that are apart; constants folded into gates; what is refused."""

import copy
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from construct.errors import InputError, PrecisionError
from construct.network import Network
from construct.program.cells import code_from_spec
from construct.program.codes import EntryRange
from construct.program.compile import Program, Stage
from construct.program.ffn import Ffn
from construct.program.gadgets import shifted_clip
from construct.program.heads import A, B
from construct.program.lattice import DirectionCode
from construct.program.layout import ONE, TokenGroup, TokenLayout
from construct.program.rules import EVERY, Rule, act, read
from tests.program.oracle import feed_forward

ENTRY = st.integers(-3, 3) | st.integers(-40_000, 40_000) | st.sampled_from([2**12, 2**20, -(2**24)])


@st.composite
def codes(draw):
    """A code of 1 to 8 tokens in 1 to 4 entries, some of them apart; those may be alike."""
    k = draw(st.integers(1, 4))
    drawn = st.tuples(*[ENTRY] * k)
    met = draw(st.lists(drawn, max_size=5, unique=True))
    away = draw(st.lists(drawn, min_size=0 if met else 1, max_size=3))
    order = draw(st.permutations(range(len(met) + len(away))))
    vectors = [*met, *away]
    apart = np.array(sorted(place for place, i in enumerate(order) if i >= len(met)), dtype=np.int64)
    integers = np.array([vectors[i] for i in order], dtype=np.int64)
    return DirectionCode(len(order), tuple(f"A{i}" for i in range(k)), integers, apart)


def rows(code):
    """(rows, 1) of every token in Python's integers."""
    values = np.hstack([code.values(), np.ones((code.tokens, 1))])
    return [[int(v) for v in row] for row in values]


def product(forms, u, v):
    query, key = ([[int(c) for c in row] for row in part] for part in forms)
    dot = lambda a, b: sum(i * j for i, j in zip(a, b, strict=True))  # noqa: E731
    return sum(dot(q, u) * dot(k, v) for q, k in zip(query, key, strict=True))


@settings(max_examples=60)
@given(codes())
def test_every_token_hears_itself_and_those_apart_nobody(code):
    forms, u, apart = code.same_gate(code.entries), rows(code), set(code.apart.tolist())
    assert len(forms[0]) == len(code.named) + 2
    for t in range(code.tokens):
        for s in range(code.tokens):
            gate = product(forms, u[t], u[s])
            assert gate == 0 if t == s and t not in apart else gate <= -1
            assert abs(gate) <= code.gate_size


@settings(max_examples=60)
@given(codes())
def test_squares_tell_the_tokens_that_are_apart(code):
    squares = [sum(v * v for v in map(int, row)) for row in code.integers]
    apart = set(code.apart.tolist())
    for t, row in enumerate(rows(code)):
        q = row[-2]
        assert q == squares[t] if t not in apart else max(squares) < q <= max(1, 2 * max(squares)) and q & (q - 1) == 0


@settings(max_examples=60)
@given(codes(), st.data())
def test_point_and_range_gates(code, data):
    u = np.hstack([code.values(), np.ones((code.tokens, 1))])
    met = np.setdiff1d(np.arange(code.tokens), code.apart)
    if met.size:
        token = data.draw(st.sampled_from(met.tolist()))
        values = u @ code.point_gate(np.array([token]))[0]
        assert values[token] == 0 and np.delete(values, token).max(initial=-1) <= -1
    entry = data.draw(st.sampled_from(code.entries))
    v = code.entry_values(entry)
    low, high = sorted(data.draw(st.sampled_from(v.tolist())) for _ in range(2))
    gates, floor = code.entry_range_gate(EntryRange(entry, low, high))
    total = np.maximum(u @ gates.T, 0).sum(axis=1)
    inside = (low <= v) & (v <= high)
    assert floor == 1 and (total[inside] == 0).all() and (total[~inside] >= 1).all()
    whole, _ = code.range_gate(0, code.tokens - 1)
    assert whole.shape == (0, len(code.named) + 2)


@settings(max_examples=40)
@given(codes())
def test_a_code_is_read_as_it_was_written(code):
    again = code_from_spec(json.loads(json.dumps(code.spec())), code.tokens)
    assert isinstance(again, DirectionCode) and np.array_equal(again.values(), code.values())
    assert again.spec() == code.spec() and np.array_equal(again.apart, code.apart)


@pytest.mark.parametrize("bits", [2, 24, 25])
def test_the_power_of_two_is_above_where_logarithms_round(bits):
    """log2(2^50 + 1) is 50 in float64: a square of 2^50 needs 2^51."""
    code = DirectionCode(2, ("A",), np.array([[2**bits], [0]]), np.array([0]))
    assert code.values()[0, -1] == 2.0 ** (2 * bits + 1)
    assert product(code.same_gate(("A",)), rows(code)[0], rows(code)[0]) < 0


GOOD: dict[str, object] = {"name": "direction", "named": ["A", "B"], "integers": [[1, 0], [1, 0], [2, 1]], "apart": [0]}
FORGED: dict[str, tuple[dict[str, object], str]] = {
    "vectors alike": ({"apart": []}, "code.integers: expected different vectors for all tokens that are not apart"),
    "all of them alike": ({"integers": [[1, 0]] * 3}, "code.integers: expected different vectors"),
    "fractions": ({"integers": [[1, 0.5], [0, 0], [2, 1]]}, "code.integers: expected integers, got 0.5"),
    "truths": ({"integers": [[1, True], [0, 0], [2, 1]]}, "code.integers: expected integers, got True"),
    "ragged": ({"integers": [[1], [0, 0], [2, 1]]}, "code.integers: expected numbers, or lists"),
    "too few tokens": ({"integers": [[1, 0], [2, 1]]}, r"code.integers: expected an integer array of shape \(3, 2\)"),
    "too few entries": ({"integers": [[1], [2], [3]]}, r"code.integers: expected an integer array of shape \(3, 2\)"),
    "flat": ({"integers": [1, 2, 3]}, r"code.integers: expected an integer array of shape \(3, 2\)"),
    "huge": ({"integers": [[2**40, 0], [0, 0], [2, 1]]}, "code.integers: expected entries of at most"),
    "huge below": ({"integers": [[-(2**40), 0], [0, 0], [2, 1]]}, "code.integers: expected entries of at most"),
    "beyond 64 bits": ({"integers": [[2**70, 0], [0, 0], [2, 1]]}, "code.integers: expected integers of 64 bits"),
    "the least of 64 bits": ({"integers": [[-(2**63), 0], [0, 0], [2, 1]]}, "code.integers: expected entries of at"),
    "apart in fractions": ({"apart": [0.0]}, "code.apart: expected integers, got 0.0"),
    "apart, one alone": ({"apart": 0}, r"code.apart: expected token numbers \(n,\)"),
    "apart, a matrix": ({"apart": [[0]]}, r"code.apart: expected token numbers \(n,\)"),
    "apart twice": ({"apart": [0, 0]}, "code.apart: expected increasing numbers of tokens below 3"),
    "apart backwards": ({"apart": [1, 0]}, "code.apart: expected increasing numbers of tokens below 3"),
    "apart below": ({"apart": [-1]}, "code.apart: expected increasing numbers of tokens below 3"),
    "apart above": ({"apart": [3]}, "code.apart: expected increasing numbers of tokens below 3"),
    "no names": ({"named": []}, "code.named: expected a list of 1 to 16 entries"),
    "a name twice": ({"named": ["A", "A"]}, "code.named: expected at least one entry, all names different"),
    "the name of the squares": ({"named": ["A", "q"]}, "code.named: expected names other than 'q'"),
    "a name with an escape": ({"named": ["A", "\x1b"]}, r"code.named\[1\]: expected a printable text"),
    "many names": ({"named": [f"A{i}" for i in range(17)]}, "code.named: expected a list of 1 to 16 entries"),
    "a key too many": ({"more": 1}, "code: expected no keys but name, named, integers, apart"),
    "apart of a lattice": ({"name": "lattice"}, "code: expected no keys but name, named, integers"),
    "another name": ({"name": "directions"}, "code.name: expected one of|code: expected no keys but name"),
}  # fmt: skip


def test_the_document_before_it_is_forged_is_read():
    assert code_from_spec(copy.deepcopy(GOOD), 3).values().tolist() == [[1, 0, 8], [1, 0, 1], [2, 1, 5]]


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_code_is_refused(name):
    change, text = FORGED[name]
    with pytest.raises(InputError, match=f"^{text}"):
        code_from_spec(copy.deepcopy(GOOD) | change, 3)


def code_of(integers, apart=()):
    integers = np.asarray(integers)
    return DirectionCode(len(integers), tuple("AB"[: integers.shape[1]]), integers, np.array(apart, dtype=np.int64))


def test_what_a_direction_code_cannot_do_is_refused():
    code = code_of([[1, 0], [1, 0], [2, 1]], [0])
    with pytest.raises(InputError, match=r"^token: expected one that is not apart, got"):
        code.point_gate(np.array([1, 0]))
    for entries, shift in ((("A",), 0), (("A", "B"), 1)):
        with pytest.raises(InputError, match=r"^entries: expected all of \('A', 'B'\) of a direction code"):
            code.same_gate(entries, shift)
    with pytest.raises(InputError, match=r"^entries: expected some of"):
        code.same_gate(("A", "z"))
    with pytest.raises(InputError, match=r"^range: expected all tokens of a direction code, got 0\.\.1$"):
        code.range_gate(0, 1)
    with pytest.raises(InputError, match=r"^range: expected a range of A that some token is in, got 5\.\.9$"):
        code.entry_range_gate(EntryRange("A", 5, 9))
    with pytest.raises(InputError, match=r"^apart: expected increasing numbers"):
        DirectionCode(2, ("A",), np.array([[1], [2]]), np.array([1, 0], dtype=np.uint64))
    far = code_of([[2**11], [0]])
    far.check(torch.float32)
    with pytest.raises(PrecisionError, match=r"^dtype: expected a dtype that holds gates of size .*, got torch.float3"):
        code_of([[2**11 + 1], [0]]).check(torch.float32)
    with pytest.raises(PrecisionError, match=r"^dtype: expected a dtype that holds gates of size .*, got torch.float6"):
        code_of([[2**26], [0]], [0]).check(torch.float64)


# -- programs that read their code ------------------------------------------------------------------------------------

VECTORS = np.array([[1, 0], [0, 1], [0, 0], [1, 0], [1, 2], [-2, 1], [0, 0]])
LAYOUT = TokenLayout(
    (TokenGroup("x", (2,)), TokenGroup("out", (1,)), TokenGroup("R", (4,))), code_of(VECTORS, [0, 1, 2])
)
FORMS = act(EVERY, EVERY, {("A", "A"): 1.0, ("B", "B"): 1.0}, {(A, A): 1.0})
SELF = {
    3: ({(ONE, ONE): 1.0, (A, A): -1.0}, {(A, A): -4.0}),
    2: ({(ONE, ONE): 1.0, (A, ONE): -1.0}, {(A, A): -2.0, (A, ONE): -1.0}),
}


def network(*stages, box=1.0, readout=B):
    numbered = tuple(Stage(str(i), *stage) for i, stage in enumerate(stages))
    return Program(LAYOUT, {("R", B): np.array([1.0, -2.0, 0.5, 3.0])}, numbered, ("out", readout))


@settings(max_examples=30, deadline=None)
@given(st.floats(-1, 1), st.floats(-1, 1), st.sampled_from([2, 3]), st.booleans(), st.floats(-0.5, 0.5))
def test_one_head_forms_every_linear_form_and_one_maps_them(x, y, degree, fold, shift):
    """Against `b_out = sum_t b_t (1 + T_p(clip(delta + l_t)))`, T_p by the cosine, out's own b being 0."""
    form, value = SELF[degree]
    turn = act(EVERY, EVERY, form, value, same=("A", "B"), fold=fold)
    total = act(EVERY, EVERY, {(ONE, A): 1.0, (ONE, ONE): 1.0}, {(B, B): 1.0})
    program = network(((FORMS,), Ffn("shifted_clip", numbers={"shift": shift})), ((turn,),), ((total,),))
    heard = np.maximum(VECTORS[3:] @ VECTORS[:2].T, 0)  # relu(<A_t, A_s>), pair by pair
    forms = heard @ np.array([x, y])
    mapped = np.cos(degree * np.arccos(np.clip(shift + forms, -1, 1)))
    want = (1 + mapped) @ np.array([1.0, -2.0, 0.5, 3.0])
    net = Network(program.compile(np.ones(2)))
    for execution in ("dense", "sparse"):
        net.execution = execution
        assert abs(float(net(torch.tensor([[x, y]], dtype=torch.float64))[0]) - want) <= 1e-12


@pytest.mark.parametrize(("degree", "saved"), [(2, 0), (3, 1)])
def test_a_folded_constant_takes_no_row_of_its_own(degree, saved):
    form, value = SELF[degree]
    turns = [act(EVERY, EVERY, form, value, same=("A", "B"), fold=fold) for fold in (False, True)]
    apart, folded = (network(((FORMS,), Ffn("clip")), ((turn,),)) for turn in turns)
    assert apart.counts.nonzero_parameters - folded.counts.nonzero_parameters == saved
    again = Program.from_json(folded.to_json())
    assert again.to_json() == folded.to_json() and again.counts == folded.counts
    assert '"fold"' not in apart.to_json()


def test_what_cannot_be_folded_is_refused():
    entries = ("A", "B")
    with pytest.raises(InputError, match=r"^fold: expected False for a rule without a form and code entries"):
        Rule(EVERY, EVERY, {(A, A): 1.0}, same=entries, fold=True)
    with pytest.raises(InputError, match=r"^fold: expected False for a rule without a form and code entries"):
        act(EVERY, EVERY, {(ONE, ONE): 1.0}, {(A, A): 1.0}, fold=True)
    with pytest.raises(InputError, match=r"^fold: expected False for a rule without a form and code entries"):
        Rule(EVERY, EVERY, {(A, A): 1.0}, {(ONE, ONE): 1.0}, ("t",), 1, fold=True)
    with pytest.raises(InputError, match=r"^fold: expected False for a form whose constant is no integer"):
        act(EVERY, EVERY, {(ONE, ONE): 0.3}, {(A, A): 1.0}, same=entries, fold=True)
    groups = (TokenGroup("x", (1,)), TokenGroup("out", (1,)))
    rule = act(EVERY, EVERY, {(ONE, ONE): 1.0}, {(A, A): 1.0}, same=("t",), fold=True)
    with pytest.raises(InputError, match=r"^rule of stage 's': expected a code of integers where a constant is folded"):
        Program(TokenLayout(groups, "trigonometric"), {}, (Stage("s", (rule,)),))
    Program(TokenLayout(groups), {}, (Stage("s", (rule,)),)).compile(np.ones(1))
    with pytest.raises(InputError, match=r"^entries: expected all of \('A', 'B'\) of a direction code"):
        Program(LAYOUT, {}, (Stage("s", (act(EVERY, EVERY, {(A, A): 1.0}, {(A, A): 1.0}, same=("A",)),)),))
    document = json.loads(network(((FORMS,), None)).to_json())
    document["stages"][0]["rules"][0]["fold"] = 1
    with pytest.raises(InputError, match=r"rules\[0\].fold: expected true or false, got 1"):
        Program.from_json(json.dumps(document))
    with pytest.raises(InputError, match=r"^token: expected one that is not apart"):
        network(((read(np.array([0]), np.array([3]), {(A, B): 1.0}),), None)).counts  # noqa: B018


def test_a_folded_constant_has_to_survive_the_gate_beside_it():
    """C q and the constant in one sum: 2^24 holds both or is refused. Without folding the same program compiles."""
    groups = (TokenGroup("x", (1,)), TokenGroup("R", (1,)), TokenGroup("out", (1,)))
    layout = TokenLayout(groups, code_of([[0], [2**8], [1]], [0, 2]))

    def program(fold):
        form, value = SELF[3]
        return Program(layout, {}, (Stage("s", (act(EVERY, EVERY, form, value, same=("A",), fold=fold),)),), ("out", A))

    program(True).compile(np.ones(1), torch.float32)
    program(False).compile(np.full(1, 100.0), torch.float32)
    program(True).compile(np.full(1, 100.0), torch.float64)
    with pytest.raises(
        PrecisionError, match=r"^dtype: expected a dtype that holds gates of size .*, got torch.float32"
    ):
        program(True).compile(np.full(1, 100.0), torch.float32)


def test_the_code_is_read_as_numbers_and_never_written():
    layout = LAYOUT
    rule = act(EVERY, EVERY, {("q", ONE): 1.0}, {(A, "B"): 0.5}, same=("A", "B"))
    program = Program(layout, {}, (Stage("s", (rule,)),), ("out", A))
    bounds = program.compile(np.zeros(2)).bounds
    assert bounds is not None
    state = bounds[0].after
    want = np.append(np.zeros(3), [0.5 * (v @ v) * v[1] for v in VECTORS[3:]])  # R's |A|^2 A_2 / 2, those apart nothing
    assert np.allclose(state.lower[:, 0], want) and np.allclose(state.upper[:, 0], want)
    with pytest.raises(InputError, match=r"^rule of stage 's': expected registers in"):
        Program(layout, {}, (Stage("s", (act(EVERY, EVERY, {(A, A): 1.0}, {("q", A): 1.0}),)),))
    with pytest.raises(InputError, match=r"^rule of stage 's': expected registers in"):
        Program(layout, {}, (Stage("s", (act(EVERY, EVERY, {("z", A): 1.0}, {(A, A): 1.0}),)),))


@settings(max_examples=30, deadline=None)
@given(st.floats(-1, 1), st.floats(-1, 1), st.sampled_from([torch.float64, torch.float32]))
def test_a_gate_by_the_row_of_squares(x, y, dtype):
    """`relu(a_s + 1 + 2 (q_t - q0))` at tokens that are apart alone: q0 = 1024 beside a, in weights of at most 64, and
    nothing of a is lost to it."""
    vectors = np.array([[1, 0], [0, 1], [0, 0], [30, 10], [3, -1]])
    groups = TokenGroup("x", (2,)), TokenGroup("out", (1,)), TokenGroup("R", (2,))
    layout = TokenLayout(groups, code_of(vectors, [0, 1, 2]))
    score = {(ONE, A): 1.0, (ONE, ONE): 1.0 - 2 * 1024.0, ("q", ONE): 2.0}
    rule = act(EVERY, EVERY, score, {(B, B): 1.0})
    registers = {("x", B): np.array([0.5, -0.25])}
    weights = Program(layout, registers, (Stage("s", (rule,)),)).compile(np.ones(2), dtype)
    assert max(float(np.abs(w).max()) for w in (weights.blocks[0][0].query, weights.blocks[0][0].key)) <= 64
    assert sum(np.count_nonzero(w) for w in (weights.blocks[0][0].query, weights.blocks[0][0].key)) == 5
    net = Network(weights, dtype=dtype)
    for execution in ("dense", "sparse"):
        net.execution = execution
        found = float(net(torch.tensor([[x, y]], dtype=dtype))[0])
        assert abs(found - (0.5 * (1 + x) - 0.25 * (1 + y))) <= 4 * torch.finfo(dtype).eps
    assert weights.bounds is not None and len(weights.bounds[0].pairs) == 3 * 2


# -- the clip of a shifted register -----------------------------------------------------------------------------------


@settings(max_examples=60)
@given(st.floats(-50, 50), st.floats(-3, 3), st.floats(0, 10))
def test_a_shifted_clip(a, shift, limit):
    layout = TokenLayout((TokenGroup("t", (1,)),), code_of([[1]]))
    network = shifted_clip(layout, None, 0.0, shift=shift, row=A, limit=limit)
    added = feed_forward(network, np.array([[a, 0.5, 1.0, 1.0, 1.0]]))
    want = min(max(a + shift, -limit), limit) - a
    assert np.allclose(added, [[want, 0, 0, 0, 0]], atol=1e-13)
    assert sum(np.count_nonzero(w) for layer in network.layers for w in layer) <= 7 and network.depth == 2


def test_a_shifted_clip_is_of_all_tokens_and_of_a_size():
    with pytest.raises(InputError, match=r"^limit: expected a number >= 0, got -1"):
        shifted_clip(LAYOUT, None, 0.0, shift=0.0, limit=-1.0)
    with pytest.raises(InputError, match=r"^span: expected None: a shift of every token, got"):
        network(((), Ffn("shifted_clip", (), {"shift": 0.5}, EntryRange("A", 0, 1))))
    for numbers in ({}, {"shift": "1"}, {"shift": 1.0, "scale": 1.0}):
        document = json.loads(network(((), Ffn("shifted_clip", numbers={"shift": 0.5}))).to_json())
        document["stages"][0]["ffn"]["numbers"] = numbers
        with pytest.raises(InputError, match=r"stages\[0\].ffn.numbers"):
            Program.from_json(json.dumps(document))

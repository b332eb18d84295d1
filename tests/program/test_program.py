"""A program compiles to a network that does what its rules say; counts, text and files follow from the rules."""

from dataclasses import asdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import construct
from construct.atlas import atlas_for
from construct.compact.program import compact_program
from construct.errors import InputError, PrecisionError
from construct.execution import executor
from construct.local import PolynomialSpace, SplineSpace, fit_charts
from construct.manifolds import Circle, Cube, Sphere
from construct.network import Network
from construct.paper.program import paper_program
from construct.paper.taylor import paper_atlas, taylor_approximator
from construct.program.codes import EntryRange, PositionCode
from construct.program.compile import Program, Stage
from construct.program.constants import largest_gate_constant
from construct.program.ffn import Ffn
from construct.program.lattice import DirectionCode, LatticeCode
from construct.program.layout import TokenGroup, TokenLayout
from construct.program.rules import EVERY, Rule, Tokens, Where, act, read, shared
from construct.transformer.counts import counted
from tests.program import interpreter
from tests.transformer.networks import exp_sin

SEEDS = st.integers(0, 2**31)
FLOATS = st.floats(-2, 2, width=16).filter(lambda v: abs(v) > 0.01)


def evaluate(program, box, x, execution="dense", dtype=torch.float64):
    net = Network(program.compile(np.asarray(box, dtype=np.float64), dtype), dtype=dtype)
    net.execution = execution
    return net(torch.as_tensor(x, dtype=dtype))


# -- drawn programs ---------------------------------------------------------------------------------------


@st.composite
def programs(draw, codes=("integer", "trigonometric", "lattice", "direction")):
    """Small programs over two or three registers, one or two index codes, every kind of rule and most FFNs; forms and
    values read the rows of codes, too, where these are integers. Of directions, inputs and output are apart."""
    code = draw(st.sampled_from(codes))
    registers = ("a", "b", "w")[: draw(st.integers(2, 3))]
    sizes = [draw(st.integers(1, 3)) for _ in range(3)]
    groups = [TokenGroup("x", (2,), ("j",)), *(TokenGroup(f"g{i}", (n,), ("i",)) for i, n in enumerate(sizes))]
    groups.append(TokenGroup("out", (1,)))
    count = sum(g.size for g in groups)
    position: str | PositionCode = code
    if code == "lattice":
        role = np.repeat(np.arange(len(groups)), [g.size for g in groups])
        within = np.concatenate([np.arange(g.size) for g in groups])
        position = LatticeCode(count, ("k", "n"), np.stack([role, within - 1], axis=1))
    met = list(range(count))
    if code == "direction":
        vectors = st.tuples(st.integers(-2, 2), st.integers(-2, 2))
        different = draw(st.lists(vectors, min_size=sum(sizes), max_size=sum(sizes), unique=True))
        every = np.array([[1, 0], [0, 1], *different, [0, 0]])
        position, met = DirectionCode(count, ("A", "B"), every, np.array([0, 1, count - 1])), met[2:-1]
    layout = TokenLayout(tuple(groups), position, registers)
    factors = (*registers, "1", *(() if code == "trigonometric" else layout.code.rows))
    some = lambda rows: st.dictionaries(  # noqa: E731
        st.tuples(st.sampled_from(rows), st.sampled_from(factors)), FLOATS, min_size=1, max_size=2
    )

    def rule():
        kind = draw(st.sampled_from(["read", "share", "act", "broadcast", "self", "where"]))
        m = draw(st.integers(1, 4))
        tokens = st.lists(st.sampled_from(met), min_size=m, max_size=m)
        target, source = np.array(draw(tokens)), np.array(draw(tokens))
        if kind == "share":
            first = draw(st.sampled_from(met if code == "direction" else met[:-1]))
            both = np.array([first] if code == "direction" else [first, first + 1])
            return read(both, source[:1], draw(some(registers)), share=True)
        if kind == "read":
            return read(target, source, draw(some(registers)))
        form, value = draw(some(factors)), draw(some(registers))
        if kind == "act":
            return act(target, source, form, value)
        if kind == "broadcast":
            return act(EVERY, source, form, value)
        if kind == "where" and code == "lattice":
            k = draw(st.integers(0, 2))
            return Rule(Where({"k": np.array([k])}), EVERY, value, dict(list(form.items())[:1]), same=("n",))
        fold = code != "trigonometric" and draw(st.booleans())
        form = dict(list(form.items())[:1]) | ({("1", "1"): draw(st.sampled_from([-1.0, 2.0]))} if fold else {})
        return act(EVERY, EVERY, form, value, same=layout.code.entries, fold=fold)

    def ffn():
        if code == "direction":
            some_of = EntryRange("A", draw(st.integers(-1, 0)), 1)
            shifted = Ffn("shifted_clip", (), {"shift": draw(FLOATS), "row": draw(st.sampled_from(registers))})
            return draw(st.sampled_from([None, Ffn("clip"), shifted, Ffn("clip", (), {"row": "b"}, some_of)]))
        group = draw(st.sampled_from(["g0", "g1", "g2"]))
        entry, last = ("k", 3) if code == "lattice" else ("t", count - 1)
        first = draw(st.integers(0, last))
        entries = EntryRange(entry, first, draw(st.integers(first, last)))
        return draw(
            st.sampled_from(
                [
                    None,
                    Ffn("clip"),
                    Ffn("shifted_clip", (), {"shift": 0.25, "limit": 1.5}),
                    Ffn("clip", (group,), {"row": "b", "limit": 0.5}),
                    Ffn("clear", (group,)),
                    Ffn("clip", (), {"row": "a", "limit": 0.75}, entries),
                    Ffn("bump", (group,), {"kind": "hat", "scale": 2.0}),
                    Ffn("bump", (group,), {"kind": "trapezoid"}),
                    Ffn("clamp", (group,), {"argument": {"a": 1.5, "b": -1.0, "1": 0.25}}),
                    Ffn("indicator_ramp", (group,), {"radius_squared": 1.5, "doublings": 2}),
                ]
            )
        )

    stages = tuple(Stage(f"s{i}", tuple(rule() for _ in range(draw(st.integers(0, 3)))), ffn()) for i in range(2))
    start = {(g.name, r): draw(FLOATS) for g in groups[1:] for r in registers if draw(st.booleans())}
    return Program(layout, start, stages, ("out", draw(st.sampled_from(registers))))


def limit(program, size):
    return (1e-7 if program.layout.code.name == "trigonometric" else 1e-11) * (1 + size)


@settings(max_examples=60, deadline=None)
@given(programs(), SEEDS)
def test_a_compiled_program_does_what_its_rules_say(program, seed):
    x = np.random.default_rng(seed).uniform(-1, 1, (3, 2))
    want = [list(interpreter.run(program, row)) for row in x]
    size = max(float(np.abs(state).max()) for states in want for state in states)
    net = Network(program.compile(np.ones(2)))
    for execution in ("dense", "sparse"):
        net.execution = execution
        states = executor(execution, net.transformer, net.box).states(torch.as_tensor(x))
        for number, state in enumerate(states):
            found = state[:, :, list(program.layout.register_rows)].numpy()
            assert np.abs(found - np.stack([w[number] for w in want])).max() <= limit(program, size**2)


@settings(max_examples=40, deadline=None)
@given(programs())
def test_counts_and_files_follow_from_the_rules(program):
    weights = program.compile(np.ones(2))
    assert program.counts == counted(weights.hidden0, [([h], f) for h, f in weights.blocks])
    assert program.parameters == program.counts.parameters
    again = Program.from_json(program.to_json())
    assert again.to_json() == program.to_json() and str(again) == str(program)
    other = again.compile(np.ones(2))
    assert np.array_equal(weights.hidden0, other.hidden0)
    for (heads, ffn), (heads2, ffn2) in zip(weights.blocks, other.blocks, strict=True):
        assert all(np.array_equal(getattr(heads, n), getattr(heads2, n)) for n in ("query", "key", "value"))
        assert all(
            np.array_equal(a, b)
            for p, q in zip(ffn.layers, ffn2.layers, strict=True)
            for a, b in zip(p, q, strict=True)
        )


# -- both constructions -----------------------------------------------------------------------------------

SPACES = [
    (Circle(), 4, PolynomialSpace(1, 11)),
    (Circle(ambient=6), 4, SplineSpace(1, 3)),
    (Sphere(2), 4, PolynomialSpace(2, 3)),
    (Cube(3), 1, PolynomialSpace(3, 2)),
]


@pytest.mark.parametrize(("manifold", "charts", "space"), SPACES, ids=lambda v: repr(v).split(",")[0])
def test_the_compact_program_means_the_approximator(manifold, charts, space):
    approximator = fit_charts(exp_sin, atlas_for(manifold, charts=charts), space)
    program = compact_program(approximator)
    x = manifold.sample(4, seed=2)
    found = [interpreter.output(program, row.numpy()) for row in x]
    assert np.allclose(found, approximator(x).numpy(), atol=1e-11)


@pytest.mark.parametrize(("manifold", "cells", "degree"), [(Circle(), 2, 3), (Cube(2), 1, 1)], ids=str)
def test_the_paper_program_means_the_approximator(manifold, cells, degree):
    approximator = taylor_approximator(exp_sin, paper_atlas(manifold), cells=cells, degree=degree)
    program = paper_program(approximator)
    x = manifold.sample(2, seed=2)
    found = [interpreter.output(program, row.numpy()) for row in x]
    assert np.allclose(found, approximator(x).numpy(), atol=1e-10)


# -- named entries ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("charts", [2, 5, 9])
def test_one_head_does_the_same_step_in_every_chart(charts):
    """Two indices, role k and chart n: `-(n_t - n_s)^2` with a role on each side serves all charts (theory, section
    7, shared heads); the number of heads does not depend on the charts."""
    groups = (
        TokenGroup("x", (2,), ("j",)),
        TokenGroup("L", (charts,), ("chart",)),
        TokenGroup("M", (charts,), ("chart",)),
        TokenGroup("out", (1,)),
    )
    n = np.arange(charts)
    roles = np.concatenate([[7, 8], np.full(charts, 1), np.full(charts, 2), [9]])
    index = np.concatenate([[-1, -1], n, n, [-1]])
    layout = TokenLayout(groups, LatticeCode(2 * charts + 3, ("k", "n"), np.stack([roles, index], axis=1)))
    rng = np.random.default_rng(charts)
    left, right = rng.uniform(0.5, 1, charts), rng.uniform(-1, 1, charts)
    one = np.array([1]), np.array([2])
    product = Rule(Where({"k": one[0]}), Where({"k": one[1]}), {("b", "b"): 1.0}, {("a", "1"): 1.0}, same=("n",))
    total = Rule(Tokens(layout.tokens("out")), Where({"k": one[0]}), {("a", "b"): 1.0}, {("1", "1"): 1.0})
    program = Program(
        layout,
        {("L", "a"): left, ("M", "b"): right},
        (Stage("products", (product,)), Stage("sum", (total,))),
        ("out", "a"),
    )
    assert program.counts.total_heads == 2 and layout.embedding_dim == 7
    value = float(evaluate(program, [1.0, 1.0], np.zeros((1, 2)))[0])
    assert abs(value - float(left @ right)) <= 1e-13
    assert abs(interpreter.output(program, np.zeros(2)) - float(left @ right)) <= 1e-13
    assert "tokens with k=1.b += relu(a_t) b_s from tokens with k=2 with the same n" in str(program)


def test_sharing_merges_neighbours_that_hear_the_same_and_no_others():
    layout = TokenLayout((TokenGroup("t", (8,)),))
    rule = read(
        np.array([0, 1, 2, 4, 6, 7]),
        np.array([3, 3, 3, 3, 5, 5]),
        {("a", "a"): np.array([1, 1, 1, 1, 2, 3])},
        share=True,
    )
    pairs, singles = shared(rule, layout.code)
    assert isinstance(pairs.target, Tokens) and isinstance(singles.target, Tokens)
    assert pairs.target.pair and pairs.target.numbers.tolist() == [0]
    assert singles.target.numbers.tolist() == [2, 4, 6, 7]
    assert shared(rule, TokenLayout((TokenGroup("t", (8,)),), "trigonometric").code) == (rule,)


# -- what is refused --------------------------------------------------------------------------------------


def small(code="integer", value=1.0, tokens=4):
    layout = TokenLayout((TokenGroup("x", (1,)), TokenGroup("t", (tokens,)), TokenGroup("out", (1,))), code)
    rule = act(layout.tokens("out"), layout.tokens("x"), {("1", "a"): value}, {("b", "1"): 1.0})
    return Program(layout, {}, (Stage("only", (rule,)),))


def test_a_constant_beyond_the_dtype_is_refused_by_name():
    program = small("trigonometric", 2.0**14)
    with pytest.raises(PrecisionError) as caught:
        program.compile(np.ones(1), torch.float32)
    text = str(caught.value)
    largest = largest_gate_constant(program.layout.code, torch.float32, 1e-3)
    for part in ("dtype: expected", "stage 'only'", "out.b += relu(16384 a_s)", f"{largest:.2e}", "torch.float32"):
        assert part in text, text
    program.compile(np.ones(1), torch.float64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_guard_is_where_the_largest_constant_is(dtype):
    """Just below the largest constant a program compiles, just above it is refused."""
    code = small("trigonometric").layout.code
    largest = largest_gate_constant(code, dtype, 1e-3)
    below = 2.0 ** np.floor(np.log2(largest))  # constants are powers of two
    form = below * code.gap / 1.02
    small("trigonometric", form).compile(np.ones(1), dtype)
    with pytest.raises(PrecisionError):
        small("trigonometric", 2 * form).compile(np.ones(1), dtype)


def test_numbers_that_overflow_the_dtype_are_refused():
    with pytest.raises(PrecisionError, match="dtype: expected a dtype that holds"):
        small("integer", 1e37).compile(np.full(1, 1e3), torch.float32)


@pytest.mark.parametrize("value", [1e300, 1.7e308])
def test_numbers_whose_bounds_overflow_are_refused_without_a_warning(value):
    """10^300 times 10^10 is no number of float64: neither infinite bounds nor a raw RuntimeWarning."""
    layout = small().layout
    rule = act(layout.tokens("out"), layout.tokens("x"), {("1", "a"): 1.0}, {("b", "1"): value})
    with pytest.raises(PrecisionError, match="dtype: expected a dtype that holds the numbers of block 1"):
        Program(layout, {}, (Stage("only", (rule,)),)).compile(np.full(1, 1e10), torch.float64)


@pytest.mark.parametrize("size", [1e-9, 1e-12])
def test_gates_that_round_to_more_than_their_data_are_refused(size):
    """Squares of coordinates of 1e-9 are 1e-18: below the rounding of a gate of cosines, not of one of integers."""
    target = 2 * construct.expressions.variables(1)[0] / size
    segment = construct.manifolds.Cube(1).placed(scale=size)
    with pytest.raises(PrecisionError, match=r"^position_code: expected 'integer', .*got 'trigonometric', whose gates"):
        construct.approximate(target, segment, charts=9, degree=2, position_code="trigonometric")
    net = construct.approximate(target, segment, charts=9, degree=2)
    x = segment.sample(50, seed=1)
    sparse = net(x)
    net.execution = "dense"
    assert float((net(x) - sparse).abs().max()) < 1e-12


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda p: act(p.tokens("out"), p.tokens("x"), {("1", "c"): 1.0}, {("b", "1"): 1.0}), "registers in"),
        (lambda p: read(np.array([9]), p.tokens("x"), {("b", "a"): 1.0}), "tokens in 0..5"),
        (lambda p: read(p.tokens("out"), p.tokens("x"), {("1", "a"): 1.0}), "registers in"),
    ],
)
def test_rules_that_name_what_is_not_there_are_refused(build, text):
    layout = small().layout
    with pytest.raises(InputError, match=text):
        Program(layout, {}, (Stage("bad", (build(layout),)),))


def test_other_programs_that_make_no_sense_are_refused():
    layout = small().layout
    stage = Stage("s", ())
    for program, name in (
        (lambda: Program(layout, {}, (stage, stage)), "stages"),
        (lambda: Program(layout, {}, (stage,), ("t", "b")), "readout"),
        (lambda: Program(layout, {("t", "c"): 1.0}, (stage,)), "registers"),
        (lambda: Program(layout, {("t", "a"): np.ones(3)}, (stage,)), "registers"),
        (lambda: Program(layout, {("nobody", "a"): 1.0}, (stage,)), "group"),
        (lambda: Rule(EVERY, EVERY, {}), "value"),
        (lambda: Rule(EVERY, EVERY, {("a", "1"): np.nan}), "rule"),
        (lambda: read(np.arange(3), np.arange(3), {("a", "1"): np.ones(2)}), "rule"),
        (lambda: Ffn("squash"), "gadget"),
        (lambda: Program.from_json("{}"), "text"),
        (lambda: Program.from_json("no json"), "text"),
    ):
        with pytest.raises(InputError, match=f"{name}: expected .*, got"):
            program()


def test_a_form_of_too_high_a_rank_is_refused():
    layout = TokenLayout((TokenGroup("x", (1,)), TokenGroup("out", (1,))))
    form = {("a", "a"): 1.0, ("b", "b"): 1.0, ("1", "1"): 1.0}
    rule = act(EVERY, EVERY, form, {("b", "1"): 1.0}, same=("t",))
    with pytest.raises(InputError, match="forms: expected rank <= 2 below 3 gate rows"):
        Program(layout, {}, (Stage("s", (rule,)),)).compile(np.ones(1))


def test_text():
    program = small("integer", 2.5)
    assert str(program).splitlines()[-2:] == ["1 only", "        1 heads  out.b += relu(2.5 a_s) from x"]


def test_counts_are_all_the_numbers():
    assert asdict(small().counts) == {
        "blocks": 1, "heads": 1, "total_heads": 1, "ffn_depth": 0, "ffn_width": 5, "embedding_dim": 5, "tokens": 6,
        "parameters": 75, "nonzero_parameters": 11, "code_entries": 18,
        "chosen_entries": 0, "stored_numbers": 11,
    }  # fmt: skip

"""Which code entries were chosen: the written rule against a second program for it, and cases counted by hand."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from construct.program.codes import IntegerCode, TrigonometricCode
from construct.program.lattice import DirectionCode
from construct.transformer.chosen import chosen_entries
from construct.transformer.counts import counted
from construct.transformer.weights import FeedForward, Heads
from proofs_as_code.verifier import counting

ONES = object()


def lattice(k, m, signed):
    """Brute force: all vectors of a cube, those in the lattice, sorted."""
    box = product(range(-m if signed else 0, m + 1), repeat=k)
    return sorted(v for v in box if sum(map(abs, v)) <= m)


def rows(*columns):
    """Code rows from columns, `ONES` among them."""
    length = next(len(c) for c in columns if c is not ONES)
    return np.array([np.ones(length) if c is ONES else np.asarray(c, dtype=float) for c in columns]).T


def directions(vectors, apart=()):
    vectors = np.array(vectors, dtype=np.int64)
    names = tuple(f"A{i}" for i in range(vectors.shape[1]))
    code = DirectionCode(len(vectors), names, vectors, np.array(apart, dtype=np.int64))
    return np.hstack([code.values(), np.ones((len(vectors), 1))])


def whole(k, m, signed, inputs=3):
    """Layout R: `inputs` tokens, k of which carry unit vectors, the output, all directions of a lattice."""
    units = np.zeros((inputs + 1, k), dtype=np.int64)
    units[range(k), range(k)] = 1
    return directions([*map(tuple, units.tolist()), *lattice(k, m, signed)], range(inputs + 1))


def ladder(*pieces):
    return [v for first, length in pieces for v in range(first, first + length)]


def squared(v):
    return rows(v, np.square(v), ONES)


CASES = {
    "ones": (rows(ONES, [5.0, 5.0]), 0),
    "nothing": (np.zeros((4, 0)), 0),
    "one number of each token": (rows([0.5, 0.25, 0.0]), 2),
    "the integer code": (np.hstack([IntegerCode(9).values(), np.ones((9, 1))]), 0),
    "the integer code from 0": (squared(range(9)), 0),
    "from 3 on": (squared(range(3, 9)), 1),
    "without its squares": (rows(range(9), ONES), 8),
    "with one square wrong": (rows(range(9), [0, 1, 4, 9, 16, 25, 36, 49, 65], ONES), 16),
    "three pieces": (squared(ladder((-9, 4), (-3, 5), (20, 7))), 3),
    "every other number": (squared(range(0, 18, 2)), 8),
    "in halves": (rows([0.5, 1.5, 2.5], [0.25, 2.25, 6.25]), 6),
    "two codes": (rows(range(4), np.arange(4.0) ** 2, [0, 0, 2, 2], [0, 0, 4, 4]), 2),
    "a piece that is a lattice": (squared(ladder((-12, 4), (-3, 7), (20, 7))), 2),
    "equal rows of 0 and 1": (rows([1, 1, 0, 0], [1, 1, 0, 0]), 2),
    "cosines": (np.hstack([TrigonometricCode(7).values(), np.ones((7, 1))]), 0),
    "cosines in float32": (TrigonometricCode(7).values().astype(np.float32).astype(float), 0),
    "cosines of another number": (TrigonometricCode(14).values()[:7], 13),
    "a cosine changed": (TrigonometricCode(7).values() + 1e-12 * np.outer(np.eye(7)[0], [1, 0]), 7),
    "a whole lattice": (whole(2, 3, False), 2),
    "a whole lattice with signs": (whole(3, 2, True), 3),
    "chosen directions": (directions([(1, 0), (0, 1), (0, 0), (2, 1), (1, 2), (0, 3)], [0, 1, 2]), 2 + 5),
    "a lattice with the first left out": (directions(lattice(2, 2, False)[1:]), 6),
    "a lattice with the last left out": (directions(lattice(2, 2, False)[:-1]), 5),
    "another order": (directions(lattice(2, 2, False)[::-1]), 6),
    "two whole lattices": (directions([*lattice(2, 1, False), (5, 5), *lattice(2, 2, True)], [0, 1, 2]), 2),
    "numbers as directions": (directions([(v,) for v in range(6)]), 0),
    "numbers from 2 on as directions": (directions([(v,) for v in range(2, 8)]), 1),
    "numbers with a token apart": (directions([(0,), *((v,) for v in range(2, 8))], [0]), 6),
    "all numbers with a token apart": (directions([(1,), *((v,) for v in range(-3, 4))], [0]), 1),
    "huge entries": (rows([1e300, -1e300], [2.0**40, 2.0**41]), 4),
}


@pytest.mark.parametrize("name", CASES)
def test_counted_by_hand(name):
    code, want = CASES[name]
    assert chosen_entries(code) == want


@pytest.mark.parametrize(
    ("tokens", "q"),
    [(6, 3.0), (0, 64.0), (slice(0, 4), 12.0), (slice(0, 4), 0.5), (slice(0, 8), 4.0), (slice(3, 10), 4.0)],
    ids=["another square", "two powers", "no power", "no integer", "below a sum", "at a sum"],
)
def test_a_wrong_q_makes_the_directions_chosen(tokens, q):
    """Then it is a row as any other."""
    code = whole(2, 3, False)
    assert chosen_entries(code) == 2
    code[tokens, 2] = q
    assert chosen_entries(code) == np.count_nonzero(code[:, :3])


def test_shuffled_directions_are_chosen():
    code = whole(2, 4, False)
    run = slice(4, len(code))
    shuffled = code.copy()
    shuffled[run] = code[run][np.random.default_rng(0).permutation(len(code) - 4)]
    assert chosen_entries(shuffled) == np.count_nonzero(code[:, :2])
    swapped = code.copy()
    swapped[[7, 9]] = code[[9, 7]]
    assert chosen_entries(swapped) == np.count_nonzero(code[:, :2])


NUMBERS = st.integers(-3, 3) | st.integers(-40, 40)


@st.composite
def codes(draw):
    """Rows of codes side by side, each of one of the kinds above, perhaps with an entry changed."""
    length = draw(st.integers(1, 30))
    columns = []
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(["ones", "pieces", "squares", "directions", "cosines", "any"]))
        if kind == "ones":
            columns.append(np.full(length, draw(st.sampled_from([0.0, 1.0, 2.5]))))
        elif kind == "any":
            columns.append(np.array(draw(st.lists(NUMBERS, min_size=length, max_size=length)), dtype=float))
        elif kind == "cosines":
            columns += list(TrigonometricCode(length).values().T)
        elif kind == "directions":
            k, m, signed = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.booleans())
            some = st.lists(st.tuples(*[st.integers(-1, 2)] * k), min_size=length, max_size=length)
            listed = [*draw(some)[: draw(st.integers(0, 4))], *lattice(k, m, signed), *draw(some)][:length]
            vectors = np.array(listed, dtype=float)
            q = (vectors**2).sum(axis=1)
            apart = np.array(draw(st.lists(st.booleans(), min_size=length, max_size=length)))
            q[apart] = draw(st.sampled_from([1.0, 2.0, 32.0, 128.0, 48.0]))
            columns += [*vectors.T, q]
        else:
            first = draw(st.lists(NUMBERS, min_size=length, max_size=length))
            steps = draw(st.lists(st.booleans(), min_size=length, max_size=length))
            v = np.array(first, dtype=float)
            for t in range(1, length):
                v[t] = v[t - 1] + 1 if steps[t] else v[t]
            columns += [v, v**2] if kind == "squares" else [v]
    code = np.stack(columns, axis=1)
    if draw(st.booleans()):
        code = code[:, draw(st.permutations(range(code.shape[1])))]
    if draw(st.booleans()):
        code[draw(st.integers(0, length - 1)), draw(st.integers(0, code.shape[1] - 1))] += draw(
            st.sampled_from([1, -2])
        )
    return code


@settings(max_examples=300)
@given(codes())
def test_two_programs_for_one_rule_agree(code):
    assert chosen_entries(code) == counting.chosen(code.T.tolist(), counting.COSINES["float64"])


def test_stored_numbers_are_non_zeros_and_chosen_entries():
    """Rows 0 and 1 are written, by x and by a head; 4 entries of the code are chosen, 3 registers are not zero."""
    hidden = np.hstack([np.array([[1.0, 0], [0, 2], [0, 3]]), directions([(2, 1), (1, 2), (0, 0)])])
    heads = Heads.none(6).stack([], 6)
    value = np.zeros((1, 6, 6))
    value[0, 1, 0] = 5.0
    heads = Heads(np.zeros((1, 6, 6)), np.zeros((1, 6, 6)), value)
    found = counted(hidden, [([heads], FeedForward())])
    assert (found.nonzero_parameters, found.code_entries) == (1 + 3, 12)
    assert (found.chosen_entries, found.stored_numbers) == (4, 8)


def shell_code(order, dim=3, before=2):
    """Tokens apart, then the vectors of half a shell, found by trying all; the row of their squares."""
    near = product(range(-order, order + 1), repeat=dim)
    found = [v for v in near if order**2 - order < sum(n * n for n in v) <= order**2 and next(n for n in v if n) > 0]
    code = np.zeros((before + len(found), dim + 1))
    code[before:, :dim] = sorted(found)
    code[:, dim] = (code[:, :dim] ** 2).sum(axis=1)
    code[:before, dim] = 2.0 ** math.ceil(2 * math.log2(order) + 1)
    return code


@pytest.mark.parametrize(("order", "dim"), [(1, 2), (2, 2), (7, 2), (1, 3), (2, 3), (5, 3), (2, 4), (1, 6)])
def test_directions_of_a_shell_are_given(order, dim):
    code = shell_code(order, dim)
    assert counts_of(code) == 0


@pytest.mark.parametrize(
    "change", ["one less", "one moved", "one twice", "reversed", "the other of a pair", "last left out"]
)
def test_directions_of_no_whole_shell_are_chosen(change):
    code = shell_code(4)
    run = code[2:]
    if change == "one less":
        code = np.delete(code, 20, axis=0)
    elif change == "one moved":
        code = np.concatenate([code[:20], code[21:40], code[20:21], code[40:]])
    elif change == "one twice":
        code = np.insert(code, 20, code[20], axis=0)
    elif change == "reversed":
        code = np.concatenate([code[:2], run[::-1]])
    elif change == "the other of a pair":
        code[30, :3] *= -1
    else:
        code = code[:-1]
    assert counts_of(code) == np.count_nonzero(code[:, :3])


@pytest.mark.parametrize(("dim", "order"), [(2, 2**25), (3, 2**26), (60, 2**20), (400, 3)])
def test_ends_of_huge_shells_are_counted_at_once(dim, order):
    code = np.zeros((2, dim + 1))
    code[0, dim - 1] = code[1, 0] = order
    code[:, dim] = float(order) ** 2
    assert counts_of(code) == 2


def test_numbers_of_one_row_are_no_shells():
    """In one dimension a shell has one member: any number would be given."""
    v = np.array([5.0, 3.0, 8.0, 2.0])
    assert counts_of(np.stack([v, v**2], axis=1)) == 4


def counts_of(code):
    """What both counters say."""
    found = chosen_entries(code)
    assert found == counting.chosen(code.T.tolist(), counting.COSINES["float64"])
    return found


def test_thirty_thousand_tokens_of_directions_and_of_numbers():
    """Sizes that are counted at once; the orders are such that the lattice fits."""
    assert chosen_entries(whole(2, 200, False)) == 2
    v = np.arange(30_000.0) - 15_000
    assert chosen_entries(squared(v)) == 0
    v[20_000:] += 7
    assert chosen_entries(squared(v)) == 1

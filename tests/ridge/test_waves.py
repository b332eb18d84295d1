"""Waves of positions: against triangle waves in fractions; the feed-forward network that makes them; bad arguments."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from construct.errors import InputError
from construct.program import gadgets
from construct.program.ffn import Ffn, ffn_from_json
from construct.program.gadgets import zigzag_numbers
from construct.program.lattice import LatticeCode
from construct.program.layout import TokenGroup, TokenLayout
from construct.ridge.directions import Directions
from construct.ridge.waves import Waves
from tests.program.oracle import feed_forward


def triangle(position: int, folds: int, length: int) -> Fraction:
    """The triangle wave with `2^folds` pieces over 0..length, by the remainder: it shares nothing with folds."""
    x = Fraction(position * 2**folds, length) % 2
    return min(x, 2 - x)


@st.composite
def families(draw):
    doublings = draw(st.integers(1, 10))
    folds = draw(st.sets(st.integers(1, doublings - 1), max_size=5)) if doublings > 1 else set()
    return Waves(tuple(sorted(folds)), 2**doublings, draw(st.booleans()))


@settings(max_examples=60)
@given(families())
def test_waves_are_triangle_waves(waves):
    directions: Directions = waves
    assert directions.signed == waves.signed
    assert waves.vectors.shape == (waves.count, waves.dim) == (waves.length, len(waves.folds) + 1)
    for number in range(0, waves.count, max(1, waves.count // 40)):
        position = number + 1
        want = [Fraction(position, waves.length), *(triangle(position, f, waves.length) for f in waves.folds)]
        want = [2 * w - 1 for w in want] if waves.signed else want
        assert [Fraction(v) for v in waves.vectors[number]] == want  # exact, in float32 too
        assert np.array_equal(waves.vectors.astype(np.float32), waves.vectors)


@settings(max_examples=60)
@given(st.integers(1, 10), st.data())
def test_the_gadget_adds_the_next_wave_in_place_of_the_last(doublings, data):
    length = 2**doublings
    folds = data.draw(st.integers(1, doublings))
    held = data.draw(st.integers(0, folds - 1))
    positions = np.arange(-length - 3, (length if folds == 1 or held == 1 else 3 * length) + 1)
    layout = TokenLayout((TokenGroup("t", positions.shape),), LatticeCode(len(positions), ("t",), positions[:, None]))
    network = gadgets.zigzag(layout, None, 0.0, doublings=doublings, folds=folds, held=held)
    added = feed_forward(network, layout.initial_state())
    want = [
        triangle(t, folds, length) - (triangle(t, held, length) if held else 0) if 0 < t < length else Fraction(0)
        for t in positions.tolist()
    ]
    if folds > 1 and held == 0:
        assert network.depth == folds + 1
    at_end = positions == length  # w_held(T) = 0 for every wave with folds
    assert [Fraction(v) for v in added[~at_end, 0]] == [w for w, end in zip(want, at_end, strict=True) if not end]
    assert np.all(added[at_end] == 0)
    assert np.all(added[:, 1:] == 0)
    numbers = sum(np.count_nonzero(w) for layer in network.layers for w in layer)
    assert numbers == zigzag_numbers(folds, held)
    assert max(np.count_nonzero(weight.any(axis=1)) for weight, _ in network.layers) <= 5


def test_counts_of_the_waves():
    assert Waves((3, 6)).numbers == 48  # 15 + 30 + 3 to carry the first wave
    assert Waves((2, 4)).numbers == 32
    assert Waves((4,)).numbers == 20
    assert Waves(tuple(range(1, 9)), 1024).numbers == 180
    assert Waves((), 8).numbers == 0


def test_the_gadget_is_data():
    gadget = Ffn("zigzag", numbers={"doublings": 9, "folds": 5, "held": 2})
    assert ffn_from_json(gadget.to_json()) == gadget
    assert gadget.text() == "a += wave_5 - wave_2 of t / 2^9 on every token"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"folds": (3, 3)}, "folds: expected increasing"),
        ({"folds": (4, 2)}, "folds: expected increasing"),
        ({"folds": (0,)}, "folds: expected"),
        ({"folds": (9,)}, r"folds: expected numbers with 2\^\(f \+ 1\) at most the length 512"),
        ({"folds": (2,), "length": 500}, "length: expected a power of two"),
        ({"folds": (2,), "length": 2**13}, "length: expected a power of two"),
        ({"folds": (2,), "length": 512.5}, "length: expected"),
        ({"folds": (2,), "signed": 1}, "signed: expected a bool"),
    ],
)
def test_other_families_are_refused(arguments, named):
    with pytest.raises(InputError, match=named):
        Waves(**arguments)


def test_other_gadgets_are_refused():
    layout = TokenLayout((TokenGroup("t", (8,)),))
    with pytest.raises(InputError, match="span: expected None"):
        gadgets.zigzag(layout, (0, 3), 1.0, doublings=3, folds=1)
    for numbers, named in [
        ({"doublings": 3, "folds": 4}, "folds"),
        ({"doublings": 3, "folds": 2, "held": 2}, "held"),
        ({"doublings": 27, "folds": 2}, "doublings"),
    ]:
        with pytest.raises(InputError, match=f"^{named}: expected"):
            Ffn("zigzag", numbers=numbers).weights(layout, 0.0)
    with pytest.raises(InputError, match="most: expected a number <= 0"):
        gadgets.silence(layout, (0, 3), 1.0, most=1.0)

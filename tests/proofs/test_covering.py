"""What a box of parameters covers: the verifier's words against points that are drawn far outside the box."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from construct import manifolds
from construct.expressions import Expression, abs, cos, exp, sin, sqrt, variables
from construct.manifolds.formula import PI_ABOVE, Formula
from proofs_as_code.verifier.covering import coverings
from proofs_as_code.verifier.expressions import formula, steps_of

u, v, w = variables(3)
PI = PI_ABOVE
ROUND = (cos(u) * (2 + cos(v)), sin(u) * (2 + cos(v)), sin(v))
BALL = (sin(u) * cos(v), sin(u) * sin(v), cos(u))
BAND = ((1 + v * cos(u / 2)) * cos(u), (1 + v * cos(u / 2)) * sin(u), v * sin(u / 2))
HYPER = (cos(u), sin(u) * cos(v), sin(u) * sin(v) * cos(w), sin(u) * sin(v) * sin(w))

Ends = tuple[float, ...]


def found(components: tuple[Expression, ...], lower: Ends, upper: Ends) -> list[tuple[bool, str]]:
    trees = [steps_of(component.to_json(), "component", len(lower)) for component in components]
    return coverings(trees, list(lower), list(upper))


COVERED: dict[str, tuple[tuple[Expression, ...], Ends, Ends]] = {
    "circle": ((cos(u), sin(u)), (-PI,), (PI,)),
    "twice around": ((cos(2 * u), sin(2 * u)), (0.0,), (PI,)),
    "torus": (ROUND, (-PI, -PI), (PI, PI)),
    "sphere": (BALL, (0.0, -PI), (PI, PI)),
    "sphere by latitude": ((cos(u) * cos(v), cos(u) * sin(v), sin(u)), (-PI / 2, 0.0), (PI / 2, 2 * PI)),
    "three-sphere": (HYPER, (0.0, 0.0, -PI), (PI, PI, PI)),
    "exponentials": ((exp(cos(u)), sqrt(2 + sin(3 * u))), (0.0,), (2 * PI,)),
    "a cosine back and forth": ((cos(u), cos(u) ** 2), (0.0,), (PI,)),
    "a modulus of a sine": ((abs(sin(u)), cos(2 * u)), (0.0,), (PI,)),
    "shifted": ((cos(u + 0.3), sin(u + 0.3)), (1.0,), (1.0 + 2 * PI,)),
}
OPEN: dict[str, tuple[tuple[Expression, ...], Ends, Ends, tuple[bool, ...]]] = {
    "an arc": ((cos(u), sin(u)), (0.0,), (3.0,), (False,)),
    "the float below": ((cos(u), sin(u)), (-math.pi,), (math.pi,), (False,)),
    "half a circle": ((cos(u), sin(u)), (0.0,), (PI,), (False,)),
    "a cap": (BALL, (0.0, -PI), (3.0, PI), (False, True)),
    "half of a half": (BALL, (0.1, -PI), (0.1 + PI, PI), (False, True)),
    "a quarter of a sphere": (BALL, (0.0, 0.0), (PI, PI), (False, False)),
    "a helix": ((cos(u), sin(u), u), (0.0,), (20.0,), (False,)),
    "a band": (BAND, (-PI, -0.3), (PI, 0.3), (True, False)),
    "a band that is not even": (BAND, (-PI, -0.3), (PI, 0.2), (False, False)),
    "a square": ((u, v), (-1.0, -1.0), (1.0, 1.0), (False, False)),
    "frequencies without a common period": ((cos(u), sin(1.4142135623730951 * u)), (0.0,), (7.0,), (False,)),
    "no sphere": ((sin(u) * cos(v), sin(u) * cos(2 * v), cos(u)), (0.0, -PI), (PI, PI), (False, True)),
}


@pytest.mark.parametrize("name", COVERED)
def test_boxes_that_have_all_points(name: str) -> None:
    """Oracle: images of parameters far outside are near images of the box."""
    components, lower, upper = COVERED[name]
    words = found(components, lower, upper)
    assert all(closed for closed, _ in words), words
    rng, points = np.random.default_rng(0), Formula(components, lower, upper)
    inside = torch.as_tensor(rng.uniform(lower, upper, (60_000, len(lower))))
    far = torch.as_tensor(rng.uniform(-40, 40, (300, len(lower))))
    distance, _ = cKDTree(points(inside).numpy()).query(points(far).numpy())
    assert distance.max() < (0.005, 0.15, 0.6)[len(lower) - 1]


@pytest.mark.parametrize("name", OPEN)
def test_boxes_of_which_that_is_not_said(name: str) -> None:
    components, lower, upper, expected = OPEN[name]
    assert tuple(closed for closed, _ in found(components, lower, upper)) == expected


@pytest.mark.parametrize("name", ["circle", "flat_torus", "klein_bottle", "so3", "sphere", "torus", "trefoil"])
def test_named_manifolds_without_an_edge_are_covered(name: str) -> None:
    whole = manifolds.manifold(name).formula()
    assert all(closed for closed, _ in found(whole.components, whole.lower, whole.upper)), name


@pytest.mark.parametrize("name", ["cube", "helix", "swiss_roll"])
def test_named_manifolds_with_an_edge_end_there(name: str) -> None:
    whole = manifolds.manifold(name).formula()
    assert not any(closed for closed, _ in found(whole.components, whole.lower, whole.upper))


def test_words() -> None:
    assert [text for _, text in found(BALL, (0.0, -PI), (PI, PI))] == [
        "half of the period 2 pi, of which the other half has the same points",
        "a full period, 2 pi",
    ]
    assert found((cos(u), sin(u)), (0.0,), (3.0,))[0][1] == "0.4775 of the period 2 pi"
    assert found((u,), (0.0,), (3.0,))[0][1] == "an interval"


@pytest.mark.parametrize(
    "expression",
    [
        *(exp(u) * sin(3 * v), u - (v - u) - 2, -(u**2), (-u) ** 2, u / v / (u + 2) * 3, -1 * u + -2.5, abs(u) ** 0.5),
        *(u * (v * w), (u * v) * w, (u**2) ** 3, cos(-u) ** -2, 1e-300 * u + 10**30),
    ],
    ids=repr,
)
def test_formulas_are_those_that_python_reads(expression: Expression) -> None:
    """Evaluated as Python text, a formula gives what the expression gives."""
    point = np.array([[0.7, 1.3, -0.4], [2.0, 0.1, 0.9]])
    names: dict[str, Any] = {f"u{j}": point[:, j] for j in range(3)}
    names |= {"exp": np.exp, "sin": np.sin, "cos": np.cos, "sqrt": np.sqrt, "tanh": np.tanh, "abs": np.abs}
    text = formula(steps_of(expression.to_json(), "expression", 3), "u")
    with np.errstate(invalid="ignore"):
        assert np.allclose(eval(text, names), expression(point), rtol=1e-14, equal_nan=True), text

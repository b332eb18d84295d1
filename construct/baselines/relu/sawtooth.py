"""Squares and products by sawtooth compositions (Yarotsky 2017, arXiv 1610.01145, Propositions 2 and 3).

Tooth g(x) = 2 relu(x) - 4 relu(x - 1/2) maps [0, 1] onto itself, up and down; g_k is its k-th iterate. Then

    f_m(x) = x - sum_(k <= m) g_k(x)/4^k   interpolates x^2 linearly at the nodes j 2^-m                   (width 3)
    0 <= f_m - x^2 <= 2^(-2m-2),  attained at every midpoint                              (h^2/4 for h = 2^-m)

Two products on |x|, |y| <= M, both exactly 0 where a factor is 0:

    Yarotsky  p = 2 M^2 (f_m(|x+y|/2M) - f_m(|x|/2M) - f_m(|y|/2M))      -M^2 4^-m <= p - xy <= 0      (three squares)
    polar     p = M^2 (f_m(|x+y|/2M) - f_m(|x-y|/2M))                    |p - xy| <= M^2 4^-m / 4        (two squares)

The polar one has a third fewer weights and four times the accuracy: each f_m is off by at most 2^(-2m-2), and the two
errors have opposite signs. At a zero factor the two arguments agree.

The networks are `..._layers`; `..._value` is the same function elementwise (it differs by rounding only), which is how
networks too large to be written down are evaluated.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse
from torch import Tensor

from construct.arrays import Float
from construct.baselines.relu.circuit import Layer, after, before, copies, layer
from construct.validation import invalid, positive_integer, positive_real

TOOTH = np.array([2.0, -4.0])
MOST_COMPOSITIONS = 26
"""h^2 = 4^-m reaches the spacing of float64 at 1."""
SUMS = {"yarotsky": np.array([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0]]), "polar": np.array([[1.0, 1.0], [1.0, -1.0]])}
SIGNS = {"yarotsky": np.array([[2.0, -2.0, -2.0]]), "polar": np.array([[1.0, -1.0]])}


def listed(compositions: object) -> list[object] | None:
    """Compositions of several stages as a list, None where one number stands for all of them."""
    if isinstance(compositions, Tensor | np.ndarray):
        compositions = compositions.tolist()
    return list(compositions) if isinstance(compositions, Sequence) else None


def per_stage(compositions: int | Sequence[int], stages: int) -> tuple[int, ...]:
    """m of every stage of squares, from one number for all stages or one for each.

    Raises:
        InputError: another number of compositions than stages, or one that is no integer in 1..26.
    """
    given = listed(compositions)
    if given is None:
        return (positive_integer(compositions, "compositions", maximum=MOST_COMPOSITIONS),) * stages
    if len(given) != stages:
        raise invalid("compositions", f"{stages} integers, one per stage of squares", compositions)
    return tuple(positive_integer(m, "compositions", maximum=MOST_COMPOSITIONS) for m in given)


def square_layers(compositions: int) -> list[Layer]:
    """f_m as a ReLU network on [0, 1]: m hidden layers of width 3, all weights dyadic.

    Hidden layer k: `relu(g_(k-1)), relu(g_(k-1) - 1/2)` and what is left, `x - sum_(i < k) g_i/4^i = f_(k-1) >= 0`.

    Raises:
        InputError: compositions outside 1..26.
    """
    m = positive_integer(compositions, "compositions", maximum=MOST_COMPOSITIONS)
    bias = np.array([0.0, -0.5, 0.0])
    layers = [layer(np.ones((3, 1)), bias)]
    for k in range(1, m):
        left = np.concatenate([-TOOTH / 4.0**k, [1.0]])
        tooth = np.concatenate([TOOTH, [0.0]])
        layers.append(layer(np.stack([tooth, tooth, left]), bias))
    return [*layers, layer(np.concatenate([-TOOTH / 4.0**m, [1.0]])[None])]


def signed_squares(compositions: int, bounds: Float) -> list[Layer]:
    """`u_i^2` for `|u_i| <= bounds_i`, side by side: m + 1 hidden layers, error in [0, bounds_i^2 4^-m / 4].

    The first layer takes `relu(+-u)`; |u|/bound enters the square.
    """
    bounds = np.asarray(bounds, dtype=np.float64)
    count = len(bounds)
    eye = sparse.eye_array(count, format="csr")
    absolute = layer(sparse.kron(sparse.diags_array(1.0 / bounds), np.ones((1, 2))))
    squares = before(absolute, copies(square_layers(compositions), count))
    first = layer(sparse.kron(eye, np.array([[1.0], [-1.0]])))
    return [first, *after(squares, layer(sparse.diags_array(bounds**2)))]


def product_layers(compositions: int, bound: float, kind: str = "yarotsky") -> list[Layer]:
    """p as a ReLU network R^2 -> R for |x|, |y| <= bound: m + 1 hidden layers, squares side by side."""
    positive_real(bound, "bound")
    sums, signs = SUMS[kind], SIGNS[kind]
    squares = signed_squares(compositions, np.full(len(sums), 2 * bound))
    # signed_squares gives (u)^2 = 4 M^2 f(|u|/2M); the product needs M^2 times the signs
    return after(before(layer(sums), squares), layer(signs / 4.0))


def square_value(x: Tensor, compositions: int) -> Tensor:
    """f_m(x) on [0, 1], elementwise: on the cell [j h, (j+1) h] the chord of x^2, `(2j + 1) h x - j (j + 1) h^2`."""
    cells = 2.0**compositions
    j = (x * cells).floor().clamp(0.0, cells - 1.0)
    return ((2.0 * j + 1.0) / cells) * x - j * (j + 1.0) / cells**2


def signed_square_value(u: Tensor, compositions: int, bound: float | Tensor) -> Tensor:
    """What `signed_squares` computes, elementwise, for |u| <= bound."""
    return bound**2 * square_value(u.abs() / bound, compositions)


def product_value(x: Tensor, y: Tensor, compositions: int, bound: float, kind: str = "yarotsky") -> Tensor:
    """What `product_layers` computes, elementwise, for |x|, |y| <= bound."""
    if kind == "polar":
        return bound**2 * (
            square_value((x + y).abs() / (2 * bound), compositions)
            - square_value((x - y).abs() / (2 * bound), compositions)
        )
    return (
        2
        * bound**2
        * (
            square_value((x + y).abs() / (2 * bound), compositions)
            - square_value(x.abs() / (2 * bound), compositions)
            - square_value(y.abs() / (2 * bound), compositions)
        )
    )


def product_error(compositions: int, bound: float, kind: str = "yarotsky") -> float:
    """Bound of |p - xy| on the box, attained for "yarotsky"."""
    return float(bound**2 * 4.0**-compositions * (1.0 if kind == "yarotsky" else 0.25))

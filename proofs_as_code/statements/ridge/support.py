"""How large linear forms become on M, proved: the bound that keeps `|delta + <alpha, v y>| <= 1` on all of M.

Let `y_i = scale_i (x_(chosen_i) - centre_i)`, w the vector with `<alpha, y> = <w, x> - <w, c>`, and let the points z
of a net be within h of all of M. Let `<w, x>` be largest on M at x*, and z a point of the net with `|x* - z| <= h`.
Then

    <w, x*> - <w, z> = <w, x* - z> <= |w| h.

Where M is a C^1 submanifold without boundary, w is normal to M at x*, so that only the normal part of `x* - z`
counts, and

    <w, x* - z> <= |w| dist(z - x*, T_x* M) <= |w| |z - x*|^2 / (2 tau) <= |w| h^2 / (2 tau)

by Federer's theorem (1959, 4.8(7) and 4.18), tau the reach; on a circle with x* half way between points of the net
this is an equality. The same for -w, so `|<alpha, y>|` is at most its largest value on the net plus either bound;
from the box it is at most `sum_i |w_i| max |x_i - c_i|`. The least of the three holds.

With s the largest of these bounds over the directions of a network and `v <= (1 - delta)/s`, `|<alpha, v y>| <= 1 -
delta` on M for every direction: there the clip of the first block does nothing, and the atoms are polynomials.

Compared with closed forms for sets with M = -M: `|<alpha, y>|` is at most `H(w) + |<w, c>|`, attained, with the
support function H: R|w| on spheres, `sum_i a_i |w_i|` (w_i the parts in the planes of its circles) on a flat torus,
`R |(w_1, w_2)| + r |w|` on a ring torus, |w| on a segment [-1, 1].
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, Literal

import numpy as np
import torch
from flint import arb
from hypothesis import strategies as st

from construct import manifolds
from construct.arrays import Float, Int
from construct.manifolds import Manifold, Net
from construct.manifolds.canonical import canonical_form
from construct.ridge.coordinates import Coordinates
from construct.ridge.support import support
from proofs_as_code.framework import Hypothesis, Statement, Twin, Verdict, proved

SPACINGS = {"circle": 0.3, "sphere": 0.4, "torus": 0.5, "flat_torus": 0.5}
AMBIENT = {"circle": 3, "sphere": 5, "torus": 4, "flat_torus": 6}
SAMPLES = 200


@dataclass(frozen=True, eq=False)
class Looked:
    """A manifold, and points of it in canonical coordinates, with a radius within which they are of all of it."""

    manifold: Manifold
    net: Net


@dataclass(frozen=True)
class Forms:
    """Directions in coordinates: which of the inputs (modulo D), centres, scales, vectors (n, k)."""

    chosen: tuple[int, ...]
    centre: tuple[float, ...]
    scale: tuple[float, ...]
    vectors: tuple[tuple[int, ...], ...] = field(repr=False)

    def coordinates(self, ambient: int) -> tuple[Coordinates, Int]:
        """The coordinates that D inputs have, and the directions in them."""
        chosen = sorted({j % ambient for j in self.chosen})
        k = len(chosen)
        vectors = np.array([[*v[: k - 1], v[k - 1] or 1] for v in self.vectors], dtype=np.int64)
        return Coordinates(np.array(chosen), np.array(self.centre[:k]), np.array(self.scale[:k]), 1.0), vectors


@lru_cache
def manifold_of(name: str, embedded: bool) -> Manifold:
    """One of those with a closed form, in its own space or in a larger one."""
    return manifolds.manifold(name, ambient=AMBIENT[name] if embedded else None)


def net_of(name: str, embedded: bool) -> Looked:
    """The library's net."""
    manifold = manifold_of(name, embedded)
    return Looked(manifold, canonical_form(manifold).net(SPACINGS[name]))


def sharp(vector: Float, count: int) -> Looked:
    """An even number of equally spaced points of the unit circle, the ends of the form half way between two of them."""
    angles = math.atan2(vector[1], vector[0]) + 2 * math.pi * (np.arange(count) + 0.5) / count
    points = torch.from_numpy(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    return Looked(manifold_of("circle", False), Net(points, 2 * math.sin(math.pi / (2 * count)) * (1 + 1e-14)))


def segment(count: int) -> Looked:
    """Middles of equal parts of a segment in R^2: its ends are within h of the first and the last."""
    tilted = manifolds.manifold("cube", dim=1, ambient=2)
    middles = torch.from_numpy((2 * np.arange(count) + 1.0) / count - 1)[:, None]
    return Looked(tilted, Net(middles, 1 / count * (1 + 1e-12)))


def norm(values: list[arb]) -> arb:
    return sum((v * v for v in values), arb(0)).sqrt()


def support_of(manifold: Any, w: list[arb]) -> arb:
    """H(w), the largest value of <w, x> on M; w in R^D."""
    frame = manifold.frame.tolist()
    own = [sum((arb(frame[j][i]) * w[j] for j in range(len(w))), arb(0)) for i in range(manifold.canonical)]
    if manifold.name == "torus":
        return arb(manifold.major) * norm(own[:2]) + arb(manifold.minor) * norm(own)
    if manifold.name == "flat_torus":
        return sum((arb(a) * norm(own[2 * i : 2 * i + 2]) for i, a in enumerate(manifold.radii)), arb(0))
    return arb(getattr(manifold, "radius", 1.0)) * norm(own)


def largest_share(looked: Looked, coordinates: Coordinates, directions: Int) -> Verdict:
    """Largest share of the library's bounds that the exact maxima reach, proved to be at most 1."""
    manifold = looked.manifold
    bounds = support(manifold, coordinates, directions.astype(np.float64), looked.net)
    worst, where = arb(0), {"manifold": repr(manifold), "alpha": [0]}
    for alpha, bound in zip(directions.tolist(), bounds.tolist(), strict=True):
        w = [arb(0)] * manifold.ambient
        middle = arb(0)
        for i, j in enumerate(coordinates.chosen.tolist()):
            w[j] = arb(alpha[i]) * arb(float(coordinates.scale[i]))
            middle += w[j] * arb(float(coordinates.centre[i]))
        share = (support_of(manifold, w) + abs(middle)) / arb(bound)
        if share.upper() > worst.upper():
            worst, where = share, where | {"alpha": alpha}
    return proved(1, worst, points=len(directions), worst_point=where)


def check_bound(forms: Forms, name: str, embedded: bool, how: Literal["net", "sample", "seed"] = "net") -> Verdict:
    """The bounds from the library's net; how: "sample": from the largest value on random points alone."""
    looked = net_of(name, embedded)
    if how == "sample":
        points = canonical_form(looked.manifold).sample(SAMPLES, seed=len(forms.vectors))
        looked = Looked(looked.manifold, Net(points, 0.0))
    return largest_share(looked, *forms.coordinates(looked.manifold.ambient))


PLAIN = Coordinates(np.arange(2), np.zeros(2), np.ones(2), 1.0)


def check_sharp(vector: tuple[int, int], count: int, factor: float = 1.0) -> Verdict:
    """A circle on which Federer's bound is attained; factor: of the covering radius."""
    looked = sharp(np.array(vector, dtype=np.float64), count)
    net = Net(looked.net.points, factor * looked.net.radius)
    return largest_share(Looked(looked.manifold, net), PLAIN, np.array([vector]))


class Closed:
    """A manifold, said to have no boundary."""

    has_boundary = False

    def __init__(self, manifold: Manifold) -> None:
        self.manifold = manifold

    def __getattr__(self, name: str) -> Any:
        return getattr(self.manifold, name)


def check_end(vector: tuple[int, int], count: int, closed: bool = False) -> Verdict:
    """A segment across the quadrants, where its box is no bound that is attained; closed: said to have no ends."""
    looked = segment(count)
    frame = looked.manifold.frame[:, 0].tolist()
    across = abs(vector[0]), -abs(vector[1]) * int(math.copysign(1, frame[0] * frame[1]))
    manifold: Any = Closed(looked.manifold) if closed else looked.manifold
    return largest_share(Looked(manifold, looked.net), PLAIN, np.array([across]))


@st.composite
def _forms(draw: st.DrawFn) -> Forms:
    chosen = draw(st.lists(st.integers(0, 5), min_size=2, max_size=3, unique=True))
    k = len(chosen)
    centre = draw(st.lists(st.integers(-4, 4).map(lambda j: j / 4), min_size=k, max_size=k))
    scale = draw(st.lists(st.integers(1, 8).map(lambda j: j / 4), min_size=k, max_size=k))
    vectors = draw(st.lists(st.tuples(*[st.integers(-5, 5)] * k), min_size=1, max_size=12))
    return Forms(tuple(chosen), tuple(centre), tuple(scale), tuple(vectors))


FORMS = Hypothesis("1 to 12 integer directions in 1 to 3 inputs, any centres and scales", _forms())
NAME = Hypothesis("circle, sphere, ring torus or flat torus", st.sampled_from(sorted(SPACINGS)))
EMBEDDED = Hypothesis("in its own space or in a larger one", st.booleans())
entry = st.integers(-4, 4).filter(bool)
VECTOR = Hypothesis(
    "an integer direction in the plane, along no axis, where the box is the bound", st.tuples(entry, entry)
)
COUNT = Hypothesis("4 to 60 points, an even number", st.integers(2, 30).map(lambda n: 2 * n))

STATEMENTS: tuple[Statement, ...] = (
    Statement(
        name="ridge.support.net",
        source="Federer 1959, Theorem 4.8(7)",
        claim="max |<alpha, y>| on M, in closed form, is at most the library's bound s from a net, the reach and the "
        "box; so v = (1 - delta)/s makes |<alpha, v y>| <= 1 - delta on M",
        latex=r"$\max_M|\langle\alpha,y\rangle|\le s$ for the bound $s$ from a net, the reach and the box of $M$, so "
        r"that $|\delta+\langle\alpha,vy\rangle|\le 1$ on $M$ for $v=(1-\delta)/s$.",
        hypotheses={"forms": FORMS, "name": NAME, "embedded": EMBEDDED},
        check=check_bound,
        twins=(
            Twin(
                "a sample alone",
                "h^2/(2 tau) is added to the largest value: that on 200 random points, nothing added",
                partial(check_bound, how="sample"),
                {"name": Hypothesis("sphere or torus", st.sampled_from(["sphere", "torus"]))},
                examples=10,
            ),
        ),
        examples=30,
    ),
    Statement(
        name="ridge.support.reach",
        source="Federer 1959, Theorem 4.8(7)",
        claim="without boundary h^2/(2 tau) is enough beyond a net of covering radius h, and attained on circles",
        latex=r"$\max_M\langle w,x\rangle\le\max_{\mathrm{net}}\langle w,x\rangle+|w|\,h^2/(2\tau)$ if "
        r"$\partial M=\emptyset$, attained on circles.",
        hypotheses={"vector": VECTOR, "count": COUNT},
        check=check_sharp,
        twins=(
            Twin("radius understated", "h covers M: 0.9 h", partial(check_sharp, factor=0.9), examples=10),
            Twin(
                "an end taken for none",
                "M has no boundary: a segment, said to have none",
                partial(check_end, closed=True),
                examples=10,
            ),
        ),
        examples=20,
    ),
    Statement(
        name="ridge.support.boundary",
        source="ours",
        claim="with boundary |w| h is enough beyond a net of covering radius h: at the end of a segment",
        latex=r"$\max_M\langle w,x\rangle\le\max_{\mathrm{net}}\langle w,x\rangle+|w|\,h$",
        hypotheses={"vector": VECTOR, "count": COUNT},
        check=check_end,
        twins=(
            Twin("an end taken for none", "|w| h: h^2/(2 tau), as without boundary", partial(check_end, closed=True)),
        ),
        examples=20,
    ),
)

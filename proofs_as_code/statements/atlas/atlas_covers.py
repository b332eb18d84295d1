"""Atlases cover, and tangent images are as small as claimed: proved over all of M in ball arithmetic.

    covering:  max_M min_n |x - c_n| <= core_radius           from which the partition sums to one on M
    extent:    |V_n^T (x - c_n)|_inf <= scale for x in M with |x - c_n| <= r         from which |z| <= 1 in the chart

Nothing of the library's own proofs is used (hulls, nets, Lipschitz constants): the parameter box is bisected, the point
of a cell is a ball of R^D by `arb`'s own sine and cosine, centres and frames are the atlas's float64 numbers. Spheres
are covered by the six faces of the cube, x = R v/|v|, so that there are no poles. The core radius of a structured cover
is attained, hence the relative margin 2^-30, which also covers that a centre is a rounded number.

Known radii (theory, section 6): k charts on the circle 2 sin(pi/2k); cross-polytope sqrt(2 - 2/sqrt 3); icosahedron
0.640852; grid on the flat torus 2 sqrt d sin(pi/2k).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from flint import arb
from hypothesis import strategies as st

from construct.arrays import Float
from construct.atlas import Atlas, atlas_for
from construct.manifolds import Circle, FlatTorus, KleinBottle, Manifold, Sphere, Torus, TrefoilKnot
from construct.validation import invalid
from proofs_as_code.framework import Hypothesis, Statement, Twin, Verdict
from proofs_as_code.subdivision import TOLERANCE, Box, Enclosure, bounded

Ball = list[arb]
Chart = Callable[[Ball], Ball]
TURN = (-3.2, 3.2)  # more than one turn
THIRD = (-1.0, 1.0)


def circles(radii: tuple[float, ...]) -> Chart:
    """Product of circles."""
    return lambda u: [a * f for a, angle in zip(radii, u, strict=True) for f in (angle.cos(), angle.sin())]


def face(axis: int, sign: int, radius: float) -> Chart:
    """`R v/|v|` for v on one face of the cube [-1, 1]^3."""

    def at(u: Ball) -> Ball:
        v = [*u[:axis], arb(sign), *u[axis:]]
        scale = radius / (1 + u[0] * u[0] + u[1] * u[1]).sqrt()
        return [scale * entry for entry in v]

    return at


def torus(major: float, minor: float) -> Chart:
    """The ring torus."""

    def at(u: Ball) -> Ball:
        ring = major + minor * u[1].cos()
        return [ring * u[0].cos(), ring * u[0].sin(), minor * u[1].sin()]

    return at


def klein(major: float, minor: float) -> Chart:
    """The Klein bottle in R^4; one turn of each angle covers it, as (u + 2 pi, v) is (u, -v)."""

    def at(u: Ball) -> Ball:
        ring, fin, half = major + minor * u[1].cos(), minor * u[1].sin(), u[0] / 2
        return [ring * u[0].cos(), ring * u[0].sin(), fin * half.cos(), fin * half.sin()]

    return at


def trefoil(u: Ball) -> Ball:
    """The trefoil ((2 + cos 3t) cos 2t, (2 + cos 3t) sin 2t, sin 3t)."""
    ring = 2 + (3 * u[0]).cos()
    return [ring * (2 * u[0]).cos(), ring * (2 * u[0]).sin(), (3 * u[0]).sin()]


def pieces(manifold: Manifold) -> list[tuple[Chart, Box]]:
    """Maps of boxes whose images together are M, in ball arithmetic."""
    if isinstance(manifold, Sphere) and manifold.dim == 2:
        return [(face(axis, sign, manifold.radius), [THIRD] * 2) for axis in range(3) for sign in (1, -1)]
    if isinstance(manifold, Circle):
        return [(circles((manifold.radius,)), [TURN])]
    if isinstance(manifold, FlatTorus):
        return [(circles(manifold.radii), [TURN] * manifold.dim)]
    if isinstance(manifold, Torus):
        return [(torus(manifold.major, manifold.minor), [TURN] * 2)]
    if isinstance(manifold, KleinBottle):
        return [(klein(manifold.major, manifold.minor), [TURN] * 2)]
    if isinstance(manifold, TrefoilKnot):
        return [(trefoil, [TURN])]
    raise invalid("manifold", "one with a formula in ball arithmetic", manifold)


def squared_distance(x: Ball, centre: list[float]) -> arb:
    """`|x - c|^2`."""
    return sum(((a - c) * (a - c) for a, c in zip(x, centre, strict=True)), arb(0))


def largest(manifold: Manifold, value: Callable[[Ball], arb], claimed: float) -> Enclosure:
    """The bisection of all pieces of M for one inequality `value(x) <= claimed`."""
    found = [bounded(lambda u, at=at: value(at(u)), box, claimed) for at, box in pieces(manifold)]  # type: ignore[misc]
    worst = max(found, key=lambda one: (not one.proved, one.bound))
    return Enclosure(worst.proved, worst.bound, sum(one.cells for one in found), worst.witness)


def covering_enclosure(manifold: Manifold, centres: Float, radius: float) -> Enclosure:
    """Whether every point of M is within `radius` of a centre: a cell needs one centre for all of its points."""
    rows = centres.tolist()

    def nearest(x: Ball) -> arb:
        middle = np.array([float(a.mid()) for a in x])
        return squared_distance(x, rows[int(((centres - middle) ** 2).sum(axis=1).argmin())])

    found = largest(manifold, nearest, radius**2)
    bound = max(found.bound, 0.0) ** 0.5
    return Enclosure(found.proved, min(bound, radius) if found.proved else bound, found.cells, found.witness)


CASES: dict[str, tuple[Callable[[], Manifold], tuple[int, ...]]] = {
    "circle": (lambda: Circle(1.5), (3, 5, 8, 12)),
    "sphere": (Sphere, (4, 6, 12)),
    "flat torus": (lambda: FlatTorus(2, (1.0, 1.2)), (16, 20)),
    "ring torus": (Torus, (40,)),
    "klein bottle": (KleinBottle, (50,)),
    "trefoil": (TrefoilKnot, (24,)),
}


@lru_cache
def atlas_of(case: str, charts: int) -> Atlas:
    """The library's atlas with that many charts."""
    return atlas_for(CASES[case][0](), charts=charts)


def covering(case: tuple[str, int], kept: slice = slice(None), core: float | None = None) -> Verdict:
    """The core balls of an atlas cover M. kept: the centres that are used; core: another radius (twins)."""
    atlas = atlas_of(*case)
    claimed = (atlas.core_radius if core is None else core) * (1 + TOLERANCE)
    found = covering_enclosure(atlas.manifold, atlas.centres.numpy()[kept], claimed)
    return found.verdict(claimed, {"case": case[0], "charts": case[1]})


def extent(case: tuple[str, int], chart: int, factor: float = 1.0) -> Verdict:
    """`|V^T (x - c)|_inf <= scale` in one ball; cells that miss the ball are empty and have the value 0."""
    atlas = atlas_of(*case)
    n = chart % atlas.count
    centre, frame = atlas.centres[n].tolist(), atlas.frames[n].T.tolist()
    inside = arb(atlas.radius) ** 2

    def image(x: Ball) -> arb:
        if squared_distance(x, centre) > inside:
            return arb(0)
        parts = [abs(sum((v * (a - c) for v, a, c in zip(column, x, centre, strict=True)), arb(0))) for column in frame]
        return parts[0] if len(parts) == 1 else parts[0].max(parts[1])

    claimed = factor * atlas.scale
    return largest(atlas.manifold, image, claimed).verdict(claimed, {"case": case[0], "chart": n})


def cases(*names: str) -> Hypothesis:
    """Atlases of some of the cases."""
    table = [(name, charts) for name in names or sorted(CASES) for charts in CASES[name][1]]
    return Hypothesis("an atlas with proved core radius", st.sampled_from(table))


ICOSAHEDRON = Hypothesis("the twelve vertices of the icosahedron", st.just(("sphere", 12)))

STATEMENTS: tuple[Statement, ...] = (
    Statement(
        name="geometry.covering",
        source="ours",
        claim="every point of M is within core_radius (1 + 2^-30) of a centre of its atlas",
        latex=r"\max_{x \in M}\min_n |x - c_n| \le r_{\mathrm{core}}",
        hypotheses={"case": cases()},
        check=covering,
        twins=(
            Twin(
                "icosahedron_too_small",
                "core radius 0.6373 instead of 0.640852 for the icosahedron",
                lambda case: covering(case, core=0.6373),
                {"case": ICOSAHEDRON},
            ),
            Twin(
                "one_chart_removed",
                "the first chart is missing",
                lambda case: covering(case, slice(1, None)),
                {"case": cases("circle", "sphere", "flat torus")},
            ),
        ),
        examples=8,
    ),
    Statement(
        name="geometry.tangent_extent",
        source="ours",
        claim="|V_n^T (x - c_n)|_inf <= scale for all x of M in the ball B(c_n, r)",
        latex=r"|V_n^T(x - c_n)|_\infty \le \mathrm{scale},\ x \in M \cap B(c_n, r)",
        hypotheses={
            "case": cases("circle", "trefoil", "ring torus", "klein bottle"),
            "chart": Hypothesis("a chart", st.integers(0, 99)),
        },
        check=extent,
        twins=(
            Twin(
                "scale_too_small",
                "0.99 of the scale, on the circle, where the bound is attained",
                lambda case, chart: extent(case, chart, 0.99),
                {"case": cases("circle")},
            ),
        ),
        examples=6,
    ),
)

"""What the reach tau gives, exactly: Federer's inequality, the turning of tangent planes, injective projections.

    (F)  dist(q - p, T_p) <= |q - p|^2/(2 tau)                 Federer 1959, Theorem 4.18; tau is the largest number
    (T)  cos angle(T_p, T_q) >= 1 - |p - q|^2/(2 tau^2)        Boissonnat, Lieutier, Wintraecken 2019

Exact where the manifold has rational points: spheres by stereographic projection, ring tori by the rational angles
((1 - t^2)/(1 + t^2), 2t/(1 + t^2)). On the sphere of radius R, dist(q - p, T_p) = |<q - p, p>|/R = |q - p|^2/(2R).
On the torus with normal n and e = (cos u, sin u, 0), p = R e + r n. Hence, with k = 1 - cos(u - u'),

    |p - q|^2 - tau^2 |n - n'|^2 = (r^2 - tau^2) |n - n'|^2 + 2 R k (R + r (cos v + cos v')),

which is >= 0 for tau = min(r, R - r), and 0 on meridians if tau = r, on the inner equator if tau = R - r: (T) is sharp,
as the angle of the tangent planes is that of the normals, 1 - cos = |n - n'|^2/2.
"""

from __future__ import annotations

from flint import fmpq
from hypothesis import strategies as st

from proofs_as_code import rational
from proofs_as_code.framework import Hypothesis, Statement, Twin, Verdict, verdict

Point = list[fmpq]


def dot(p: Point, q: Point) -> fmpq:
    return sum((a * b for a, b in zip(p, q, strict=True)), fmpq(0))


def minus(p: Point, q: Point) -> Point:
    return [a - b for a, b in zip(p, q, strict=True)]


def compared(claimed: fmpq, measured: fmpq, tau: fmpq) -> Verdict:
    """Exact verdict for one pair."""
    return verdict(claimed, measured, kind="exact", points=1, dtype="rational", worst_point={"tau": float(tau)})


# -- rational points --------------------------------------------------------------------------------------------


def sphere_point(y: Point, radius: fmpq) -> Point:
    """Inverse stereographic projection of y (d,): a rational point of the sphere of that radius in R^(d+1)."""
    squared = dot(y, y)
    return [radius * 2 * a / (1 + squared) for a in y] + [radius * (squared - 1) / (1 + squared)]


def angle(t: fmpq) -> tuple[fmpq, fmpq]:
    """(cos, sin) of 2 arctan t."""
    return (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)


def torus_point(major: fmpq, minor: fmpq, parameters: Point) -> tuple[Point, Point]:
    """Point and unit normal of the ring torus at two rational angles."""
    (cu, su), (cv, sv) = (angle(t) for t in parameters)
    normal = [cv * cu, cv * su, sv]
    return [major * a + minor * b for a, b in zip([cu, su, fmpq(0)], normal, strict=True)], normal


def torus_pair(ring: tuple[fmpq, fmpq], pairs: list[Point]) -> tuple[list[tuple[Point, Point]], fmpq]:
    """Two points with their normals, and the reach min(r, R - r)."""
    major, minor = ring
    return [torus_point(major, minor, parameters) for parameters in pairs], min(minor, major - minor)


def federer_sphere(radius: fmpq, pair: list[Point], factor: fmpq) -> Verdict:
    """(F) on a sphere with tau = factor R; an equality for factor 1."""
    p, q = (sphere_point(y, radius) for y in pair)
    chord, tau = minus(q, p), factor * radius
    return compared(dot(chord, chord) / (2 * tau), abs(dot(chord, p)) / radius, tau)


def federer_torus(ring: tuple[fmpq, fmpq], pair: list[Point], factor: fmpq) -> Verdict:
    """(F) on a ring torus with tau = factor min(r, R - r)."""
    ((p, normal), (q, _)), tau = torus_pair(ring, pair)
    chord, tau = minus(q, p), factor * tau
    return compared(dot(chord, chord) / (2 * tau), abs(dot(chord, normal)), tau)


def turning_torus(ring: tuple[fmpq, fmpq], pair: list[Point], factor: fmpq) -> Verdict:
    """(T) on a ring torus: the angle of the tangent planes is that of the normals."""
    ((p, first), (q, second)), tau = torus_pair(ring, pair)
    chord, tau = minus(q, p), factor * tau
    return compared(dot(first, second), 1 - dot(chord, chord) / (2 * tau * tau), tau)


def injective_sphere(radius: fmpq, y: Point, factor: fmpq) -> Verdict:
    """p and its mirror image q in T_c have one projection, c the pole: no ball of radius < factor R holds both.

    |p - c|^2 + |q - c|^2 = 4 R^2, so that the larger is at least 2 R^2: factor^2 = 2 is the largest.
    """
    p = sphere_point(y, radius)
    q, pole = [*p[:-1], -p[-1]], [fmpq(0)] * len(y) + [radius]
    farther = max(dot(minus(point, pole), minus(point, pole)) for point in (p, q))
    return compared(farther, factor * radius * radius, radius)


# -- statements -------------------------------------------------------------------------------------------------

RADIUS = Hypothesis("a rational radius", st.integers(1, 64).map(lambda k: fmpq(k, 16)))
coordinate = rational.dyadics(3, 4)
PARAMETERS = st.integers(1, 3).flatmap(lambda d: st.lists(coordinate, min_size=d, max_size=d))
SPHERE_PAIR = Hypothesis(
    "two rational points of S^d, d <= 3",
    st.integers(1, 3).flatmap(
        lambda d: st.lists(
            st.lists(coordinate, min_size=d, max_size=d), min_size=2, max_size=2, unique_by=lambda y: tuple(map(str, y))
        )
    ),
)
rings = st.tuples(st.integers(1, 15), st.just(16)).map(lambda pair: (fmpq(2), fmpq(2 * pair[0], pair[1])))
thin = st.integers(1, 8).map(lambda k: (fmpq(2), fmpq(k, 8)))
thick = st.integers(9, 15).map(lambda k: (fmpq(2), fmpq(k, 8)))
RING = Hypothesis("R = 2 and 0 < r < 2", rings)
TORUS_PAIR = Hypothesis(
    "two rational points of the torus",
    st.lists(st.lists(coordinate, min_size=2, max_size=2), min_size=2, max_size=2),
)
steps = st.tuples(coordinate, coordinate, coordinate).filter(lambda three: three[1] != three[2])
MERIDIAN = Hypothesis("on one meridian", steps.map(lambda three: [[three[0], three[1]], [three[0], three[2]]]))
INNER = 2**40  # tan(v/2) so large that v is within 2e-12 of pi
EQUATOR = Hypothesis(
    "on the inner equator", steps.map(lambda three: [[three[1], fmpq(INNER)], [three[2], fmpq(INNER)]])
)
OVER = Hypothesis("tau overstated by 20 %", st.just(fmpq(6, 5)))
TRUE = Hypothesis("tau the reach", st.just(fmpq(1)))
THIN = Hypothesis("R = 2, r <= 1: tau = r", thin)
THICK = Hypothesis("R = 2, r > 1: tau = R - r", thick)


def torus_twins(name: str) -> tuple[Twin, ...]:
    """tau overstated, on the pairs for which the inequality is an equality."""
    check = federer_torus if name == "federer" else turning_torus
    return (
        Twin(f"{name}_meridian", "tau = 1.2 r", check, {"ring": THIN, "pair": MERIDIAN, "factor": OVER}),
        Twin(f"{name}_equator", "tau = 1.2 (R - r)", check, {"ring": THICK, "pair": EQUATOR, "factor": OVER}),
    )


STATEMENTS: tuple[Statement, ...] = (
    Statement(
        name="geometry.federer_sphere",
        source="Federer 1959, Theorem 4.18",
        claim="sphere of radius R: dist(q - p, T_p) = |q - p|^2/(2R) at rational points, so the reach is R",
        latex=r"\mathrm{dist}(q-p, T_p) \le |q-p|^2/(2\tau),\ \tau = R",
        hypotheses={"radius": RADIUS, "pair": SPHERE_PAIR, "factor": TRUE},
        check=federer_sphere,
        twins=(Twin("reach_overstated", "tau = 1.2 R", federer_sphere, {"factor": OVER}),),
    ),
    Statement(
        name="geometry.federer_torus",
        source="Federer 1959, Theorem 4.18",
        claim="ring torus: dist(q - p, T_p) <= |q - p|^2/(2 tau) at rational points, tau = min(r, R - r)",
        latex=r"|\langle q-p, n_p\rangle| \le |q-p|^2/(2\tau),\ \tau = \min(r, R-r)",
        hypotheses={"ring": RING, "pair": TORUS_PAIR, "factor": TRUE},
        check=federer_torus,
        twins=torus_twins("federer"),
        examples=40,
    ),
    Statement(
        name="geometry.turning_torus",
        source="Boissonnat, Lieutier, Wintraecken 2019",
        claim="ring torus: cos angle(T_p, T_q) >= 1 - |p - q|^2/(2 tau^2) at rational points",
        latex=r"\cos\angle(T_p, T_q) \ge 1 - |p-q|^2/(2\tau^2)",
        hypotheses={"ring": RING, "pair": TORUS_PAIR, "factor": TRUE},
        check=turning_torus,
        twins=torus_twins("turning"),
        examples=40,
    ),
    Statement(
        name="geometry.injective_sphere",
        source="ours",
        claim="sphere: two points with one tangent projection are not both within r < sqrt(2) R of the centre",
        latex=r"V^T(p-q) = 0,\ p \ne q \Rightarrow \max(|p-c|, |q-c|) \ge \sqrt 2 R",
        hypotheses={
            "radius": RADIUS,
            "y": Hypothesis("a rational point off the equator", PARAMETERS.filter(lambda y: dot(y, y) != 1)),
            "factor": Hypothesis("r^2 = 2 R^2", st.just(fmpq(2))),
        },
        check=injective_sphere,
        twins=(
            Twin(
                "beyond_sqrt_2",
                "r^2 = 9/4 R^2, p near the equator of c",
                injective_sphere,
                {
                    "y": Hypothesis("|y| = 17/16", st.just([fmpq(17, 16)])),
                    "factor": Hypothesis("r^2 = 9/4 R^2", st.just(fmpq(9, 4))),
                },
            ),
        ),
    ),
)

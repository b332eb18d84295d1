"""No derivative of T_p vanishes in (0, sin(pi/2p)), and the shift of the atoms lies there.

Theorem. `T_p^(l)(x) != 0` for `0 < |x| < sin(pi/2p)`, 0 <= l <= p. The bound is sharp for p >= 2: T_p vanishes at
sin(pi/2p) for even p, T_p' does for odd p.

Proof. Differentiating Chebyshev's equation `(1 - x^2) T'' - x T' + p^2 T = 0` l times gives for `y = T_p^(l)`

    (1 - x^2) y'' - (2l + 1) x y' + (p^2 - l^2) y = 0.

With `x = sin(phi)`, |phi| < pi/2, this reads `y'' - 2l tan(phi) y' + (p^2 - l^2) y = 0` (derivatives in phi), and for
`u = cos(phi)^l y`

    u'' + q u = 0,    q = p^2 - l (l - 1)/cos(phi)^2 <= p^2.

T_p^(l) is even or odd, and so is u, which is not 0 for l <= p. If u is even, u(0) != 0 = u'(0); compare with `v =
cos(p phi)`, positive for |phi| < pi/2p. If u is odd, u(0) = 0 != u'(0); compare with `v = sin(p phi)`, positive for 0
< phi < pi/p. Let phi_0 > 0 be the first zero of u in that interval, u > 0 before it. Then `(u'v - u v')' = (p^2 - q)
u v >= 0`, and `u'v - u v'` is 0 at phi = 0, hence >= 0 at phi_0; but there it is `u'(phi_0) v(phi_0) < 0`, since
zeros of u are simple. So an even u has no zero for |phi| < pi/2p, an odd one none for 0 < |phi| < pi/p. QED

Sharp: `T_p(sin phi) = +-cos(p phi)` for even p and `+-sin(p phi)` for odd p, which has the derivative `+-p cos(p
phi)`.

How it is checked, independently of the proof. At a rational b the signs of all `T_p^(l)(b)`, l = 0..p, are those of
the coefficients of T_p(b + x). If they are the signs just right of 0, no T_p^(l) has a zero in (0, b]: T_p^(p) is a
constant, and if T_p^(l+1) has one sign on (0, b], T_p^(l) is monotone there, so that equal signs at both ends leave
no zero between. The other way round, a change of sign is a zero. The two differential equations are checked as
identities, the second in Q[sin, cos]: `u = c^j r(s)`, `u' = -j s c^(j-1) r + c^(j+1) r'`.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from flint import arb, fmpq, fmpq_poly, fmpz_poly
from hypothesis import strategies as st

from construct.ridge.maps import DEGREES, shift_of
from proofs_as_code.framework import Hypothesis, Statement, Twin, Verdict, proved, verdict
from proofs_as_code.statements.ridge.lemma import derivative_of

Trigonometric = dict[int, fmpz_poly]  # sum over j of cos^j times a polynomial in sin


def edge(degree: int) -> arb:
    """sin(pi/2p)."""
    return (arb.pi() / (2 * degree)).sin()


def sign(value: fmpq) -> int:
    return (value > 0) - (value < 0)


def check_signs(degree: int, b: fmpq) -> Verdict:
    """Number of derivatives of T_p that have another sign at b than just right of 0."""
    found = fmpz_poly.chebyshev_t(degree)
    at_b = found(fmpq_poly([b, 1]))
    at_zero = [found[order] or (found[order + 1] if order < degree else 0) for order in range(degree + 1)]
    changed = [order for order in range(degree + 1) if sign(at_b[order]) * sign(fmpq(at_zero[order])) != 1]
    where = {"p": degree, "b": float(b.p) / float(b.q), "l": changed}
    return verdict(0, len(changed), kind="exact", points=degree + 1, dtype="rational", worst_point=where)


def check_inside(degrees: tuple[int, ...], unit: fmpq) -> Verdict:
    """b = u sin(pi/2p), rounded down, for each degree; u > 1: rounded up."""
    ends = [(p, edge(p).lower() if unit <= 1 else edge(p).upper()) for p in degrees]
    found = [check_signs(p, unit * end.fmpq()) for p, end in ends]
    return replace(max(found, key=lambda one: one.measured), points=sum(one.points for one in found))


def derived(u: Trigonometric) -> Trigonometric:
    """Derivative in phi."""
    s = fmpz_poly([0, 1])
    out: Trigonometric = {}
    for j, r in u.items():
        out[j - 1] = out.get(j - 1, fmpz_poly([])) - j * s * r
        out[j + 1] = out.get(j + 1, fmpz_poly([])) + r.derivative()
    return out


def reduced(u: Trigonometric) -> fmpz_poly:
    """A sum of powers of cos of one parity, over the lowest of them, with cos^2 = 1 - sin^2."""
    square, lowest = fmpz_poly([1, 0, -1]), min(u)
    return sum((r * square ** ((j - lowest) // 2) for j, r in u.items()), fmpz_poly([]))


def check_equations(degree: int, unit: fmpq, turn: int = -1) -> Verdict:
    """Coefficients that are left of both equations; the second times cos^2, `turn` the sign in l (l - 1)."""
    order = int(unit * (degree + 1))
    y, x = derivative_of(degree, order), fmpz_poly([0, 1])
    slope = y.derivative()
    first = (1 - x * x) * slope.derivative() - (2 * order + 1) * x * slope + (degree**2 - order**2) * y
    u = {order: y}
    total: Trigonometric = {j + 2: r for j, r in derived(derived(u)).items()}
    total[order + 2] = total.get(order + 2, fmpz_poly([])) + degree**2 * y
    total[order] = total.get(order, fmpz_poly([])) - order * (order + turn) * y
    second = reduced({j: r for j, r in total.items() if not r.is_zero()} or {0: fmpz_poly([])})
    left = sum(c != 0 for c in (*first.coeffs(), *second.coeffs()))
    where = {"p": degree, "l": order}
    return verdict(0, left, kind="exact", points=1, dtype="integers", worst_point=where)


def check_shift(degree: int, shift: arb | None = None) -> Verdict:
    """`|delta| < sin(pi/2p)` by balls, for the library's delta or another."""
    delta = arb(shift_of(degree)) if shift is None else shift
    assert delta > 0
    return proved(edge(degree), delta, points=1, worst_point={"p": degree})


DEGREE = Hypothesis("p = 2^i 3^j, p <= 108", st.sampled_from(DEGREES))
AT_LEAST_TWO = Hypothesis("one degree, p >= 2", st.sampled_from([(p,) for p in DEGREES if p >= 2]))
LARGER = Hypothesis("p >= 8", st.sampled_from([p for p in DEGREES if p >= 8]))
INSIDE = st.one_of(st.integers(1, 63).map(lambda j: fmpq(j, 64)), st.integers(20, 40).map(lambda j: 1 - fmpq(1, 2**j)))
BEYOND = st.integers(1, 40).map(lambda j: 1 + fmpq(1, 2**j))

STATEMENTS: tuple[Statement, ...] = (
    Statement(
        name="ridge.derivatives.equations",
        source="ours",
        claim="y = T_p^(l) solves (1-x^2) y'' - (2l+1) x y' + (p^2-l^2) y = 0, and u = cos^l y(sin) solves "
        "u'' + (p^2 - l(l-1)/cos^2) u = 0",
        latex=r"$y=T_p^{(l)}$ solves $(1-x^2)y''-(2l+1)xy'+(p^2-l^2)y=0$, and $u=\cos^l\varphi\; y(\sin\varphi)$ "
        r"solves $u''+(p^2-l(l-1)/\cos^2\varphi)\,u=0$.",
        hypotheses={
            "degree": DEGREE,
            "unit": Hypothesis("0 <= l <= p, l = floor(u (p + 1))", st.integers(0, 127).map(lambda j: fmpq(j, 128))),
        },
        check=check_equations,
        twins=(
            Twin(
                "another potential",
                "q = p^2 - l (l - 1)/cos^2: l (l + 1), l >= 1",
                partial(check_equations, turn=1),
                {
                    "degree": Hypothesis("p >= 2", AT_LEAST_TWO.strategy.map(lambda degrees: degrees[0])),
                    "unit": Hypothesis("l >= p/2", st.integers(64, 127).map(lambda j: fmpq(j, 128))),
                },
            ),
        ),
        examples=20,
    ),
    Statement(
        name="ridge.derivatives.none_vanishes",
        source="ours",
        claim="no derivative T_p^(l), 0 <= l <= p, vanishes in (0, sin(pi/2p)), for every degree of the construction",
        latex=r"T_p^{(l)}(x) \ne 0 \text{ for } 0 < |x| < \sin\frac{\pi}{2p},\ 0 \le l \le p",
        hypotheses={
            "degrees": Hypothesis("every p = 2^i 3^j <= 108", st.just(DEGREES)),
            "unit": Hypothesis("b = u sin(pi/2p), 0 < u < 1: no zero in (0, b]", INSIDE),
        },
        check=check_inside,
        twins=(
            Twin(
                "beyond the edge",
                "b < sin(pi/2p), which is sharp: b = (1 + 2^-j) sin(pi/2p)",
                check_inside,
                {"degrees": AT_LEAST_TWO, "unit": Hypothesis("u = 1 + 2^-j, 1 <= j <= 40", BEYOND)},
                examples=40,
            ),
            Twin(
                "0.2 for every degree",
                "b < sin(pi/2p): b = 1/5, p >= 8; T_9^(5) vanishes at 0.199939",
                lambda degrees, unit: check_signs(degrees[0], fmpq(1, 5)),
                {"degrees": Hypothesis("p >= 8", LARGER.strategy.map(lambda p: (p,)))},
                examples=10,
            ),
        ),
        examples=10,
    ),
    Statement(
        name="ridge.derivatives.shift",
        source="ours",
        claim="delta_p = min(0.25, 1.1/p) as the library has it is in (0, sin(pi/2p))",
        latex=r"0 < \delta_p = \min(\tfrac14, \tfrac{1.1}{p}) < \sin\frac{\pi}{2p}",
        hypotheses={"degree": DEGREE},
        check=check_shift,
        twins=(
            Twin("1.6/p", "delta < sin(pi/2p) < pi/2p: 1.6/p", lambda degree: check_shift(degree, arb("1.6") / degree)),
            Twin(
                "0.25 for every degree",
                "delta <= 1.1/p: 0.25, p >= 8",
                partial(check_shift, shift=arb(0.25)),
                {"degree": LARGER},
            ),
        ),
        examples=40,
    ),
)

"""What the output of a network is: a partition of unity with local functions, or a sum of ridge functions.

    T = c + sum_n rho_n (P_n(z_n) - c),    rho_n = relu(1 - s_n) - relu(1 - s_n - w_n),    z_n clipped to [-1, 1],

with s_n and w_n sums of slope relu(quadratic in y); or T = constant + sum_t weight_t G(l_t), l_t an affine form of y
that may be clipped, G a chain of polynomials; or that with windows, T = sum_n w_n (constant_n + sum_t weight_t G(l_t)),
w_n in [0, 1] made of affine forms of y and ReLUs, or y_k, or 1. Whatever does not fit raises.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from flint import fmpq

from proofs_as_code.verifier.arithmetic import Arithmetic
from proofs_as_code.verifier.documents import require
from proofs_as_code.verifier.polynomials import Poly, number
from proofs_as_code.verifier.ranges import MOST_DEGREE

NONE = -1  # no window
Polynomial = tuple[fmpq, ...]  # coefficients, the constant first


class Chart(NamedTuple):
    weight: tuple[int, fmpq]  # w = slope relu(cut-off): the number of that unknown, and the slope
    before: dict[int, fmpq]  # the same for s
    z: list[int]
    knots: dict[int, Poly]  # relu(a z_i + b) in P
    groups: dict[tuple[int, ...], dict[tuple[int, ...], fmpq]]  # P: knots of a term, exponents of z, coefficient


class Ridge(NamedTuple):
    """One term: weight, the polynomials of G in the order they are applied, the affine form, where it is clipped, and
    the window that it is multiplied by."""

    weight: fmpq
    chain: tuple[Polynomial, ...]
    form: Poly
    ends: tuple[fmpq, fmpq] | None
    window: int = NONE


def partition(network: Arithmetic, out: Poly) -> tuple[fmpq, list[Chart]]:
    """c and the P of T = c + sum rho (P - c), term by term of the output."""
    base = out.get((), fmpq(0))
    charts, seen = [], int(base != 0)
    for i, (kind, _, _, of) in enumerate(network.unknowns):
        if kind == "rho":
            s, w = number(1) - of[0], of[0] - of[1]
            cuts = all(network.is_relu(m) and c > 0 for m, c in (*s.items(), *w.items())) and len(w) == 1
            require(cuts, "network", "partition weights that are differences of sums of cut-offs")
            terms = {tuple(j for j in m if j != i): c for m, c in out.items() if m.count(i) == 1}
            seen += len(terms)
            if base != 0:
                terms[()] = terms.get((), fmpq(0)) + base
            knots = {j: network.unknowns[j].of[0] for m in terms for j in m if network.unknowns[j].kind == "relu"}
            z = sorted({j for m in (*terms, *(m for p in knots.values() for m in p)) for j in m if j not in knots})
            own = all(network.unknowns[j].kind == "clip" for j in z)
            require(own, "network", "local functions of the chart's z only", "one of more")
            simple = all({len(m) for m in p} <= {0, 1} and len(p) <= 2 for p in knots.values())
            require(simple, "network", "knots in one z", "one in several")
            groups: dict[tuple[int, ...], dict[tuple[int, ...], fmpq]] = {}
            for m, c in terms.items():  # by the knots in them; exponents of z, the last first
                exponents = tuple(m.count(j) for j in reversed(z))
                groups.setdefault(tuple(j for j in m if j in knots), {})[exponents] = c
            before, (weight,) = {m[0]: c for m, c in s.items()}, [(m[0], c) for m, c in w.items()]
            charts.append(Chart(weight, before, z, knots, groups))
    owned = {chart.weight[0] for chart in charts}
    require(seen == len(out) > 0, "network", "an output that is a sum of partition weights times local functions")
    chained = all(set(chart.before) <= owned for chart in charts)
    require(chained, "network", "prefix sums of the cut-offs of charts", "another cut-off in one")
    return base, charts


def ridges(network: Arithmetic, out: Poly) -> tuple[dict[int, fmpq], list[Ridge]]:
    """The constants of T by windows, and its ridge functions; what no clip and no map has touched is one form."""
    powers: dict[tuple[int, int], dict[int, fmpq]] = {}
    constants, forms = {NONE: fmpq(0)}, dict[int, dict[tuple[int, ...], fmpq]]()
    for term, c in out.items():
        kinds = [network.unknowns[i].kind for i in term]
        factors = [i for i, kind in zip(term, kinds, strict=True) if kind == "window"]
        if not factors and set(kinds) != {"y"}:  # where a window is affine in the whole box, it is y that multiplies
            factors = [i for i, kind in zip(term, kinds, strict=True) if kind == "y"]
        require(len(factors) <= 1, "network", "an output with one window in a term", "products of windows")
        window, m = max(factors, default=NONE), tuple(i for i in term if i not in factors)
        require(len(set(m)) <= 1, "network", "an output that is a sum of functions of one linear form each", "products")
        if len(m) == 1 and network.unknowns[m[0]].kind == "y":
            forms.setdefault(window, {})[m] = c
        elif m:
            powers.setdefault((window, m[0]), {})[len(m)] = c
        else:
            constants[window] = c
    identity = ((fmpq(0), fmpq(1)),)
    found = [Ridge(fmpq(1), identity, Poly(form), None, window) for window, form in forms.items()]
    return constants, found + [ridge(network, i, terms, window) for (window, i), terms in sorted(powers.items())]


def ridge(network: Arithmetic, i: int, terms: dict[int, fmpq], window: int) -> Ridge:
    """A polynomial in one unknown."""
    chain, weight = [tuple(terms.get(k, fmpq(0)) for k in range(max(terms) + 1))], fmpq(1)
    while network.unknowns[i].kind == "map":
        (inner,) = network.unknowns[i].of
        ((i,),) = {m[:1] for m in inner if m}
        chain.insert(0, tuple(inner.get((i,) * k, fmpq(0)) for k in range(max(map(len, inner)) + 1)))
    kind, low, high, of = network.unknowns[i]
    require(kind in ("clip", "form"), "network", "ridge functions of clipped or linear forms", f"one of {kind}")
    affine = all(len(m) < 2 and network.unknowns[j].kind == "y" for m in of[0] for j in m[:1])
    require(affine and all(len(m) < 2 for m in of[0]), "network", "forms that are affine in y", "others")
    degree = math.prod(len(p) - 1 for p in chain)
    require(degree <= MOST_DEGREE, "network", f"ridge functions of degree at most {MOST_DEGREE}", str(degree))
    if len(chain) > 1 and len(chain[-1]) == 2:  # c G, the commonest, is the same G for all tokens
        weight = chain.pop()[1]
    return Ridge(weight, tuple(chain), of[0], (low, high) if kind == "clip" else None, window)

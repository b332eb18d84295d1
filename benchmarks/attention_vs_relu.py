"""What attention's exact product buys: transformers against ReLU networks with sawtooth products, epsilon 1e-1 to 1e-8.

`product`: x y on [-1, 1]^2. Two heads of one block compute it exactly; ReLU networks take Yarotsky's three squares or
two, with the fewest compositions that do. `circle`, `sphere:8`: the full approximator. `compact` is our transformer for
epsilon. `same formula` is the ReLU network of the very formula that this transformer computes, product by product, at
the same epsilon: the part of epsilon that the polynomials leave over is for the products. `same polynomials` has the
same charts and polynomials, joined and multiplied out as cheaply as we know. `ridge` is our transformer of Chebyshev
polynomials of linear forms, one cubic head for each map T3 or T2; `ridge formula` is the ReLU network of such a
formula, map by map from sawtooth squares, the fewest that a measurement confirms, `ridge formula, proved` with those
that the bound of the errors asks for. Its degree is chosen for few squares, and such that something of epsilon is left
to them. `chen_improved` is the smallest ReLU network that we know how to build, with a formula of its own. `paper` and
`chen` are the constructions of the two papers, with degree, grid and compositions searched for the same target and
epsilon. Rows of networks that are in error_vs_parameters are taken over from there.

`..., degree p`: the formula is fixed, and epsilon is what the network may differ from it. Here the factor
log(1/epsilon) stands alone: the transformer is the same for every epsilon, and exact up to rounding.
"""

from __future__ import annotations

import json
import math
import time
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

import construct
from benchmarks.problems import COLUMNS, kappa, limited, measured_row, problem
from benchmarks.tables import Row, Study, Task, arguments, read
from construct import baselines
from construct.baselines.base import Baseline
from construct.baselines.ours import constructed, counts_of
from construct.baselines.relu.chart_search import same_fit
from construct.baselines.relu.charts import ChartsNetwork
from construct.baselines.relu.network import ReluNetwork
from construct.baselines.relu.ridge_network import same_ridge
from construct.baselines.relu.sawtooth import product_error, product_layers
from construct.baselines.relu.telescoping import TelescopingNetwork, same_formula
from construct.errors import ConstructError
from construct.local import PiecewiseApproximator
from construct.manifolds import Cube
from construct.network import Network
from construct.program.compile import Program, Stage
from construct.program.heads import A
from construct.program.layout import TokenGroup, TokenLayout
from construct.program.products import multiply
from construct.ridge.approximator import RidgeApproximator

EPSILONS = tuple(10.0**-k for k in range(1, 9))
LITERAL = {"circle": (1e-1, 1e-2, 1e-3), "sphere:8": (1e-1, 1e-2)}
METHODS = (
    "compact",
    "same formula",
    "same polynomials",
    "ridge",
    "ridge formula",
    "ridge formula, proved",
    "chen_improved",
)
RIDGE = ("ridge", "ridge formula", "ridge formula, proved")
FIXED = {"circle": 9, "sphere:8": 6, "torus": 6}
"""Degree of the formula that is fixed."""
SAME = ("same formula", "same polynomials")  # seconds are those after the transformer was planned
SAMPLES = 10_000
LIMIT, LIMIT_QUICK = 90.0, 12.0


def product_network() -> Network:
    """x.a <- x.a y.a in one block of two heads, on [-1, 1]^2."""
    layout = TokenLayout((TokenGroup("x", (1,), (), "input, then the product"), TokenGroup("y", (1,), (), "input")))
    product = Stage("product", multiply(layout.tokens("x"), layout.tokens("y"), A))
    return Network(Program(layout, {}, (product,), readout=("x", A)).compile(np.ones(2)))


def product_of(x: Tensor) -> Tensor:
    """x y."""
    return x[..., 0] * x[..., 1]


def product_row(method: str, epsilon: float, seed: int) -> Row:
    """The product by one method, with the fewest compositions."""
    square = Cube(2)
    start = time.perf_counter()
    if method == "transformer":
        net = product_network()
        seconds = time.perf_counter() - start
        found = Baseline(method, "constructive", {}, counts_of(net), seconds, net, square, model=net)
    else:
        kind = method.removeprefix("relu ")
        m = next(m for m in range(1, 27) if product_error(m, 1.0, kind) <= epsilon)
        network = ReluNetwork(product_layers(m, 1.0, kind))
        seconds = time.perf_counter() - start
        sizes = {"compositions": m}
        found = Baseline(method, "constructive", sizes, network.counts, seconds, network, square, model=network)
    return measured_row(found, product_of, square, seed, SAMPLES)


def approximator_row(manifold: str, method: str, epsilon: float, seed: int, limit: float) -> Row:
    """One full approximator for the smooth target."""
    M, f = problem(manifold, "smooth")
    try:
        if method in SAME:
            local = construct.approximate(f, M, epsilon, construction="compact", seed=seed).approximator
            assert isinstance(local, PiecewiseApproximator)
            start = time.perf_counter()
            network: TelescopingNetwork | ChartsNetwork
            if method == "same formula":
                network = same_formula(local, f, epsilon, seed=seed, progress=limited(limit))[0]
            else:
                network = same_fit(local, f, epsilon, seed=seed, progress=limited(limit)).network
            seconds = time.perf_counter() - start
            sizes = {"compositions": network.compositions, "distance_compositions": network.distance_compositions}
            found = Baseline(method, "constructive", sizes, network.counts, seconds, network, M, model=network)
        elif method in RIDGE[1:]:
            rival = baselines.method("ridge_relu", proved=method == RIDGE[2])
            found = rival.build(f, M, epsilon, seed=seed, progress=limited(limit))
        else:
            found = baselines.method(method).build(f, M, epsilon, seed=seed, progress=limited(limit))
    except ConstructError as error:
        return {**dict.fromkeys(COLUMNS, ""), "outcome": f"{type(error).__name__}: {error}"[:160]}
    return {**measured_row(found, f, M, seed, SAMPLES), "kappa": kappa(found)}


def ridge_row(manifold: str, method: str, epsilon: float, seed: int, limit: float, degree: int) -> Row:
    """The ridge formula of a degree by attention or by squares; the formula itself is the target."""
    M, f = problem(manifold, "smooth")
    try:
        net = construct.approximate(
            f, M, construction="ridge", embedding_dim="free", degree=degree, seed=seed, progress=limited(limit)
        )
        formula = net.approximator
        assert isinstance(formula, RidgeApproximator)
        if method == RIDGE[0]:
            found = constructed(method, net, {}, 0.0)
        else:
            start = time.perf_counter()
            proved = method == RIDGE[2]
            twin = same_ridge(formula, formula, epsilon, proved=proved, seed=seed, progress=limited(limit))[0]
            sizes = {"directions": formula.basis.count, "maps": twin.chain, "compositions": twin.stages}
            seconds = time.perf_counter() - start
            found = Baseline(method, "constructive", sizes, twin.counts, seconds, twin, M, model=twin)
    except ConstructError as error:
        return {**dict.fromkeys(COLUMNS, ""), "outcome": f"{type(error).__name__}: {error}"[:160]}
    return measured_row(found, formula, M, seed, SAMPLES)


def tasks(options: Any) -> list[Task]:
    """Rows of the study."""
    result = []

    def add(what: str, method: str, epsilon: float, function: Any, *rest: Any) -> None:
        key = {"what": what, "method": method, "epsilon": f"{epsilon:.0e}"}
        result.append(Task(key, function, rest))

    for epsilon in EPSILONS:
        for method in ("transformer", "relu yarotsky", "relu polar"):
            add("product", method, epsilon, product_row, method, epsilon, options.seed)
    limit = LIMIT_QUICK if options.quick else LIMIT
    for manifold in ("circle",) if options.quick else ("sphere:8", "circle"):
        for epsilon in EPSILONS[: 4 if options.quick else None]:
            for method in METHODS:
                add(manifold, method, epsilon, approximator_row, manifold, method, epsilon, options.seed, limit)
        for epsilon in LITERAL[manifold][: 1 if options.quick else None]:
            for method in ("paper", "chen"):
                add(manifold, method, epsilon, approximator_row, manifold, method, epsilon, options.seed, limit)
    for manifold in ("circle",) if options.quick else FIXED:
        for epsilon in EPSILONS[: 4 if options.quick else None]:
            for method in RIDGE:
                degree = FIXED[manifold]
                what = f"{manifold}, degree {degree}"
                add(what, method, epsilon, ridge_row, manifold, method, epsilon, options.seed, limit, degree)
    return result


def shared(study: Study, wanted: list[Task]) -> None:
    """Take over the rows of the same networks from error_vs_parameters, where that study has been run."""
    have = {}
    for row in read(study.path.with_name("error_vs_parameters.csv")):
        size = json.loads(row["size"])
        if row["kind"] == "smooth" and row["outcome"] == "built" and set(size) == {"epsilon"}:
            have[row["manifold"], row["method"], f"{size['epsilon']:.0e}"] = row
    for task in wanted:
        found = have.get((task.key["what"], task.key["method"], task.key["epsilon"]))
        if found is not None:
            study.run(task.key, partial(columns_of, found))


def columns_of(row: Row) -> Row:
    """The columns of this study."""
    return {name: row[name] for name in COLUMNS}


def ratios(rows: list[Row]) -> list[Row]:
    """ReLU over transformer for every epsilon that has both, in every count."""
    table: list[Row] = []
    pairs = {
        "transformer": ("relu yarotsky", "relu polar"),
        "compact": ("same formula", "same polynomials", "chen_improved"),
        "ridge": ("ridge formula", "ridge formula, proved", "chen_improved"),
        "paper": ("chen",),
    }
    for what in dict.fromkeys(row["what"] for row in rows):
        for one, others in pairs.items():
            for rival in others:
                for epsilon in sorted({row["epsilon"] for row in rows}, key=float, reverse=True):
                    here = {r["method"]: r for r in rows if (r["what"], r["epsilon"]) == (what, epsilon)}
                    if one in here and rival in here and here[one]["nonzero"] and here[rival]["nonzero"]:
                        table.append(ratio(what, one, rival, epsilon, here[one], here[rival]))
    return table


def ratio(what: str, one: str, rival: str, epsilon: str, ours: Row, other: Row) -> Row:
    """One line of `ratios`."""
    counts = {n: float(other[n]) / float(ours[n]) for n in ("nonzero", "dense", "multiply_adds", "depth")}
    first = {"what": what, "transformer": one, "relu": rival, "epsilon": epsilon}
    return {**first, **{f"{name} ratio": f"{value:.4g}" for name, value in counts.items()}}


def growth(table: list[Row]) -> list[Row]:
    """Ratio of non-zeros = a + b log10(1/epsilon): b with its 95 % interval, and the exponent of a power of the log."""
    result: list[Row] = []
    for key in dict.fromkeys((r["what"], r["transformer"], r["relu"]) for r in table):
        here = [r for r in table if (r["what"], r["transformer"], r["relu"]) == key]
        if len(here) < 4:
            continue
        x = np.array([-math.log10(float(r["epsilon"])) for r in here])
        line: Row = dict(zip(("what", "transformer", "relu"), key, strict=True))
        for name in ("nonzero ratio", "dense ratio"):
            y = np.array([float(r[name]) for r in here])
            found = stats.linregress(x, y)
            half = float(stats.t.ppf(0.975, len(x) - 2)) * float(found.stderr)
            power = stats.linregress(np.log(x[1:]), np.log(y[1:])).slope if len(x) > 3 else math.nan
            line[f"{name}: per decade"] = f"{found.slope:.3g} +- {half:.2g}"
            line[f"{name}: power of log"] = f"{power:.2f}"
        result.append(line)
    return result


def decades(rows: list[Row]) -> list[Row]:
    """Non-zeros and layers of the networks of a fixed formula: what a decade of epsilon adds, with 95 % intervals."""
    result: list[Row] = []
    for what, method in dict.fromkeys((r["what"], r["method"]) for r in rows if ", degree " in r["what"]):
        here = [r for r in rows if (r["what"], r["method"]) == (what, method) and r["outcome"] == "built"]
        if len(here) < 3:
            continue
        x = np.array([-math.log10(float(r["epsilon"])) for r in here])
        line: Row = {"what": what, "method": method}
        for name in ("nonzero", "depth", "multiply_adds"):
            y = np.array([float(r[name]) for r in here])
            found = stats.linregress(x, y)
            half = float(stats.t.ppf(0.975, len(x) - 2)) * float(found.stderr) if np.ptp(y) else 0.0
            line |= {f"{name}, first": f"{y[0]:g}", f"{name}, last": f"{y[-1]:g}"}
            line[f"{name} per decade"] = f"{found.slope:.4g} +- {half:.2g}"
        result.append(line)
    return result


def run(options: Any) -> None:
    """All rows, their ratios, and how the ratios grow."""
    torch.set_num_threads(1)
    study = Study("attention_vs_relu", ("what", "method", "epsilon"), options)
    wanted = tasks(options)
    shared(study, wanted)
    study.run_all(wanted)
    study.markdown((__doc__ or "").splitlines())
    table = Study("attention_vs_relu_ratios", ("what", "transformer", "relu", "epsilon"), options)
    table.replace(ratios(study.rows))
    table.markdown(["Counts of the ReLU network over those of the transformer, at the same epsilon."])
    lines = Study("attention_vs_relu_growth", ("what", "transformer", "relu"), options)
    lines.replace(growth(table.rows))
    lines.markdown(["How the ratios grow: slope against log10(1/epsilon), and exponent p of log(1/epsilon)^p."])
    fixed = Study("attention_vs_relu_decades", ("what", "method"), options)
    fixed.replace(decades(study.rows))
    fixed.markdown(["Networks of one formula: what a decade of epsilon adds to their numbers and layers."])


if __name__ == "__main__":
    run(arguments(__doc__))

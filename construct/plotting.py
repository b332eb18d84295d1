"""The picture of a network on a manifold of dimension 1 or 2: its values, its atlas, its error.

Matplotlib is imported when a figure is drawn, and drawn on without pyplot: no window, no global state.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from construct.history import History
from construct.manifolds import Manifold
from construct.measurement import Measurement, measure
from construct.targets import evaluate_target
from construct.validation import invalid

__all__ = ["figure", "history_figure", "require"]

INSTALL = "pip install 'construct-transformer[plot]'"
CURVE_POINTS = 4000
SURFACE_CELLS = 120  # cells per intrinsic coordinate
FLOOR = 1e-17  # errors below it are drawn there: the logarithm of an exact 0
DECADES = 4  # of the error map below its largest error
CHUNK = 4096
COLOURS = 20  # charts further apart in the list share a colour


class _Drawn(NamedTuple):
    """What the panels show at P points, the middles of equal cells in intrinsic coordinates."""

    intrinsic: Tensor  # (P, d)
    space: Tensor  # (P, 3) in the axes of the picture
    target: Tensor  # (P,)
    values: Tensor  # (P,)
    log_error: Tensor  # (P,) log10
    chart: Tensor | None  # (P,) the chart with the largest weight
    centres: Tensor | None  # (n, 3)


def require(manifold: Manifold) -> None:
    """Raises `InputError` when no figure can be drawn: matplotlib is missing, or `manifold.dim > 2`."""
    if manifold.dim > 2:
        raise invalid("manifold", "dimension 1 or 2 for a figure", manifold.dim)
    _require_matplotlib()


def _require_matplotlib() -> None:
    if importlib.util.find_spec("matplotlib") is None:
        raise invalid("plot", f"matplotlib to be installed (`{INSTALL}`)", got="no such module")


def figure(
    net: Any,
    target: Callable[..., Any],
    manifold: Manifold,
    *,
    measurement: Measurement | None = None,
    seed: int = 0,
) -> Any:
    """`matplotlib.figure.Figure` of three panels: network, atlas (colours: chart of largest weight), log10 error.

    For `dim = 1` values and error are over the intrinsic coordinate; for `dim = 2` values and atlas are in
    space (three principal coordinates of R^D), the error over the intrinsic coordinates. A network without an
    atlas, as one that was loaded, has the middle panel without charts. `measurement` is what the title
    quotes; without one, the error is measured with `seed`. Raises `InputError` as `require` and `measure` do.
    """
    require(manifold)
    if measurement is None:
        measurement = measure(net, target, manifold, seed=seed)
    fig = importlib.import_module("matplotlib.figure").Figure(figsize=(15, 5), layout="constrained")
    if manifold.dim == 1:
        _draw_curve(fig, net, target, manifold)
    else:
        _draw_surface(fig, net, target, manifold)
    fig.suptitle(_title(net, target, manifold, measurement), fontsize=11)
    return fig


def history_figure(history: History) -> Any:
    """`matplotlib.figure.Figure` of what a planner tried: error against non-zeros where they were counted, else in the
    order of the trials; fits on nodes and measured errors apart, the chosen one marked.

    Raises `InputError` for an empty history (sizes given by hand) or without matplotlib.
    """
    if not history:
        raise invalid("history", "at least one trial", got="none: sizes were given by hand")
    _require_matplotlib()
    fig = importlib.import_module("matplotlib.figure").Figure(figsize=(8, 5), layout="constrained")
    counted, ordered = fig.subplots(1, 2, sharey=True)
    for kind, mark in (("fitted", "o"), ("measured", "x"), ("sampled", "+")):
        seen = [(n, t) for n, t in enumerate(history, 1) if t.kind == kind and t.error is not None and t.error > 0]
        with_cost = [(t.cost, t.error) for _, t in seen if t.cost is not None]
        if with_cost:
            counted.semilogy(*zip(*with_cost, strict=True), mark, label=kind)
        if seen:
            ordered.semilogy([n for n, _ in seen], [t.error for _, t in seen], mark, label=kind)
    for number, trial in enumerate(history, 1):
        if trial.outcome == "chosen" and trial.error:
            ordered.annotate("chosen", (number, trial.error), textcoords="offset points", xytext=(6, 6))
    counted.set(xlabel="non-zero parameters", ylabel="sup error")
    ordered.set(xlabel="trial")
    for axes in (counted, ordered):
        axes.grid(alpha=0.3)
    ordered.legend()
    return fig


def _draw_curve(fig: Any, net: Any, target: Callable[..., Any], manifold: Manifold) -> None:
    drawn = _evaluate(net, target, manifold, CURVE_POINTS)
    u, colours = drawn.intrinsic[:, 0].numpy(), _chart_colours(drawn)
    values = fig.add_subplot(1, 3, 1)
    values.plot(u, drawn.target.numpy(), color="0.75", linewidth=5, label="target")
    values.plot(u, drawn.values.numpy(), color="tab:blue", linewidth=1, label="network")
    values.set(title="target and network", xlabel="intrinsic coordinate")
    values.legend(frameon=False)
    flat = float(drawn.space[:, 2].abs().max()) < 1e-9
    axes: Any = fig.add_subplot(1, 3, 2, **({} if flat else {"projection": "3d"}))
    columns = 2 if flat else 3
    axes.scatter(*drawn.space.T[:columns].numpy(), s=4, c=colours, rasterized=True)
    if drawn.centres is not None:
        axes.scatter(*drawn.centres.T[:columns].numpy(), color="black", marker="x", s=40)
    axes.set(title=_atlas_title(drawn), aspect="equal")
    axes.locator_params(nbins=4)
    error = fig.add_subplot(1, 3, 3)
    error.scatter(u, drawn.log_error.numpy(), s=2, c=colours, rasterized=True)
    epsilon = _epsilon(net)
    if epsilon is not None:
        error.axhline(math.log10(epsilon), color="black", linestyle="--", label=f"epsilon = {epsilon:g}")
        error.legend(frameon=False, loc="lower right")
    error.set(title="log10 error, coloured by chart", xlabel="intrinsic coordinate")


def _draw_surface(fig: Any, net: Any, target: Callable[..., Any], manifold: Manifold) -> None:
    mappables, colours = (importlib.import_module(f"matplotlib.{name}") for name in ("cm", "colors"))
    drawn = _evaluate(net, target, manifold, SURFACE_CELLS)
    origin, frame = _picture_axes(manifold.point(drawn.intrinsic), manifold)
    corners = (manifold.point(_grid(manifold, SURFACE_CELLS, corners=True)) - origin) @ frame
    surface = [t.reshape(SURFACE_CELLS + 1, SURFACE_CELLS + 1).numpy() for t in corners.T]

    def draw(place: int, title: str, colours: Any) -> Any:
        axes: Any = fig.add_subplot(1, 3, place, projection="3d")
        faces = colours.reshape(SURFACE_CELLS, SURFACE_CELLS, 4)
        axes.plot_surface(*surface, facecolors=faces, rstride=1, cstride=1, shade=False, rasterized=True)
        axes.set(title=title, aspect="equal")
        axes.locator_params(nbins=3)
        return axes

    range_of_values = colours.Normalize(float(drawn.values.min()), float(drawn.values.max()))
    values = mappables.ScalarMappable(range_of_values, "viridis")
    axes = draw(1, "network", values.to_rgba(drawn.values.numpy()))
    fig.colorbar(values, ax=axes, shrink=0.6)
    axes = draw(2, _atlas_title(drawn), _chart_colours(drawn))
    if drawn.centres is not None:
        axes.scatter(*drawn.centres.T.numpy(), color="black", marker="x", s=40)
    u, v, level = (t.reshape(SURFACE_CELLS, SURFACE_CELLS).numpy() for t in (*drawn.intrinsic.T, drawn.log_error))
    top = float(level.max())
    error = fig.add_subplot(1, 3, 3)
    mesh = error.pcolormesh(u, v, level, vmin=top - DECADES, vmax=top, shading="nearest", cmap="magma", rasterized=True)
    error.set(title="log10 error", xlabel="intrinsic coordinate 1", ylabel="intrinsic coordinate 2")
    fig.colorbar(mesh, ax=error, extend="min")


def _chart_colours(drawn: _Drawn) -> Any:
    """Colours `(P, 4)`, one for each chart."""
    chart = torch.zeros(len(drawn.values), dtype=torch.long) if drawn.chart is None else drawn.chart
    return importlib.import_module("matplotlib").colormaps["tab20"]((chart % COLOURS).numpy())


def _atlas_title(drawn: _Drawn) -> str:
    return "manifold, no atlas" if drawn.centres is None else f"atlas: {len(drawn.centres)} charts"


def _grid(manifold: Manifold, cells: int, *, corners: bool = False) -> Tensor:
    """Intrinsic coordinates of the middles `(cells^d, d)` or corners `((cells + 1)^d, d)` of equal cells."""
    steps = torch.arange(cells + 1, dtype=torch.float64) if corners else torch.arange(cells, dtype=torch.float64) + 0.5
    axes = [lower + (upper - lower) * steps / cells for lower, upper in manifold.coordinate_bounds]
    return torch.stack([axis.reshape(-1) for axis in torch.meshgrid(axes, indexing="ij")], dim=-1)


def _evaluate(net: Any, target: Callable[..., Any], manifold: Manifold, cells: int) -> _Drawn:
    intrinsic = _grid(manifold, cells)
    x = manifold.point(intrinsic)
    parameter = next(iter(net.parameters()), x) if isinstance(net, torch.nn.Module) else x
    with torch.no_grad():
        values = torch.cat([net(part.to(parameter)).to(x) for part in x.split(CHUNK)])
    wanted = evaluate_target(target, x)
    origin, frame = _picture_axes(x, manifold)
    atlas = getattr(getattr(net, "approximator", None), "atlas", None)
    chart = centres = None
    if atlas is not None:
        chart = torch.cat([atlas.partition(part).argmax(dim=1) for part in x.split(CHUNK)])
        centres = (atlas.centres.to(x) - origin) @ frame
    log_error = (values - wanted).abs().clamp(min=FLOOR).log10()
    return _Drawn(intrinsic, (x - origin) @ frame, wanted, values, log_error, chart, centres)


def _picture_axes(x: Tensor, manifold: Manifold) -> tuple[Tensor, Tensor]:
    """Origin `(D,)` and axes `(D, 3)`: canonical where R^3 holds the manifold, else principal."""
    frame = manifold.frame.to(x)
    if frame.shape[1] <= 3:
        return manifold.offset.to(x), torch.nn.functional.pad(frame, (0, 3 - frame.shape[1]))
    origin = x.mean(dim=0)
    canonical = (x - origin) @ frame
    principal = torch.linalg.eigh(canonical.T @ canonical).eigenvectors.flip(1)[:, :3]
    return origin, frame @ principal


def _epsilon(net: Any) -> float | None:
    return getattr(getattr(net, "claim", None), "epsilon", None)


def _title(net: Any, target: Callable[..., Any], manifold: Manifold, measurement: Measurement) -> str:
    epsilon = _epsilon(net)
    asked = "" if epsilon is None else f"epsilon {epsilon:g}, "
    title = f"{getattr(target, 'name', 'target')} on {manifold!r}: {asked}{measurement}"
    a, origin = getattr(net, "architecture", None), getattr(net, "origin", None)
    if a is None:
        return title
    sizes = "" if origin is None else f"{origin.sizes}, "
    return (
        f"{title}\n{sizes}{a.blocks} blocks, {a.total_heads} heads, {a.tokens} tokens,"
        f" {a.nonzero_parameters:,} non-zero parameters, {a.stored_numbers:,} stored numbers,"
        f" largest weight {a.weight_bound:.4g}"
    )

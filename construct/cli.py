"""The command line: `python -m construct approximate | certify | evaluate | info | manifolds | targets`.

Exit codes: 0 done; 1 built and saved, but the measured error is above epsilon; 2 refused, with one line on
stderr.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, ParamSpec

import numpy as np
import rich.progress
import torch
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

import construct
from construct import manifolds, plotting, targets
from construct.architecture import Architecture
from construct.errors import ConstructError, InputError
from construct.manifolds import Manifold
from construct.measurement import Measurement
from construct.progress import Progress
from construct.transformer import Transformer

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Transformers that approximate a function on a manifold, every weight assigned.",
)

DTYPES = {"float64": torch.float64, "float32": torch.float32}

MEANINGS = {
    "blocks": "transformer blocks",
    "heads": "attention heads, most in a block",
    "total_heads": "attention heads in all blocks",
    "ffn_depth": "layers of the deepest feed-forward network",
    "ffn_width": "its width",
    "embedding_dim": "rows of a token",
    "tokens": "tokens",
    "weight_bound": "largest |weight|",
    "output_bound": "interval bound of |output|",
    "parameters": "dense parameters, as the paper counts",
    "nonzero_parameters": "those that are not zero",
    "code_entries": "position codes and ones, counted in neither",
    "charts": "charts of the atlas",
    "cells": "cells per chart and coordinate",
    "degree": "polynomial degree",
}

P = ParamSpec("P")


def one_line_errors(command: Callable[P, None]) -> Callable[P, None]:
    """`command`, with every error of the library or of a file as one line on stderr and exit code 2."""

    @functools.wraps(command)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except (ConstructError, OSError) as error:
            typer.echo(f"error: {' '.join(str(error).split())}", err=True)
            raise typer.Exit(2) from None

    return guarded


@app.command()
@one_line_errors
def approximate(
    manifold: Annotated[str, typer.Option(help="A name listed by `manifolds`.")],
    target: Annotated[str, typer.Option(help="A name listed by `targets`, or module:function.")] = "exp_sin",
    epsilon: Annotated[float | None, typer.Option(help="Sup error allowed; 1e-3 unless set by hand.")] = None,
    out: Annotated[Path | None, typer.Option(help="File to write the network to (.safetensors).")] = None,
    plot: Annotated[Path | None, typer.Option(help="File to draw atlas and error to (d <= 2).")] = None,
    dim: Annotated[int | None, typer.Option(help="Intrinsic dimension d, where the manifold has a choice.")] = None,
    ambient: Annotated[int | None, typer.Option(help="Ambient dimension D: an isometric copy in R^D.")] = None,
    option: Annotated[list[str] | None, typer.Option(help="Manifold argument key=number; repeatable.")] = None,
    construction: Annotated[str, typer.Option(help="compact or paper.")] = "compact",
    position_code: Annotated[str, typer.Option(help="integer or trigonometric.")] = "integer",
    smoothness: Annotated[float | None, typer.Option(help="beta; by default what the target states.")] = None,
    charts: Annotated[int | None, typer.Option(help="Charts, instead of what epsilon needs.")] = None,
    cells: Annotated[int | None, typer.Option(help="Cells per chart and coordinate, likewise.")] = None,
    degree: Annotated[int | None, typer.Option(help="Polynomial degree, likewise.")] = None,
    bound: Annotated[
        str, typer.Option(help="What epsilon bounds: the measured or the rigorous (proved) error.")
    ] = "measured",
    max_parameters: Annotated[int | None, typer.Option(help="Most parameters allowed.")] = None,
    dtype: Annotated[str, typer.Option(help="float64 or float32.")] = "float64",
    device: Annotated[str, typer.Option(help="Torch device.")] = "cpu",
    seed: Annotated[int, typer.Option(help="Seed of the construction and of the measurement.")] = 0,
    samples: Annotated[int, typer.Option(help="Points of the measurement before its search.")] = 20_000,
) -> None:
    """Build the network for a target on a manifold, measure it, and write it down."""
    if dtype not in DTYPES:
        raise InputError(f"dtype: expected one of {', '.join(DTYPES)}, got {dtype!r}")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device: expected a torch device of this machine, got {device!r}") from error
    space = build_manifold(manifold, dim, ambient, option or [])
    function = targets.load_target(target)
    if smoothness is None and isinstance(function, targets.Target) and not function.smooth:
        smoothness = function.smoothness
    for file in (out, plot):
        if file is not None and not file.resolve().parent.is_dir():
            raise InputError(f"{'out' if file is out else 'plot'}: expected a file in an existing folder, got {file}")
    if plot is not None:
        plotting.require(space)
    console = Console()
    by_hand = any(given is not None for given in (charts, cells, degree))
    if epsilon is None and not by_hand:
        epsilon = 1e-3
    asked = "resolution by hand" if epsilon is None else f"epsilon {epsilon:g}"
    typer.echo(f"{space!r}, target {target}, {asked}")
    with progress_on(Console(stderr=True)) as progress:
        net = construct.approximate(
            function,
            space,
            epsilon=epsilon,
            smoothness=smoothness,
            construction=construction,
            position_code=position_code,
            charts=charts,
            cells=cells,
            degree=degree,
            bound=bound,
            dtype=DTYPES[dtype],
            device=device,
            seed=seed,
            progress=progress,
            max_parameters=max_parameters,
        )
        progress("measuring", None)
        # another seed than the builder's: its own points have already been seen
        measured = construct.measure(net, function, space, samples=samples, seed=seed + 1)
    console.print(architecture_table(net))
    console.print(error_table(net, measured))
    if out is not None:
        net.save(out)
        typer.echo(f"network written to {out}")
        if net.certificate is not None:
            certificate = out.with_suffix(".json")
            net.certificate.save(certificate)
            typer.echo(f"certificate written to {certificate}")
    if plot is not None:
        plotting.figure(net, function, space, measurement=measured).savefig(plot, dpi=150)
        typer.echo(f"figure written to {plot}")
    if epsilon is not None and not measured.sup <= epsilon:
        typer.echo(f"error: measured sup error {measured.sup:.3e} is above epsilon = {epsilon:g}", err=True)
        raise typer.Exit(1)


@app.command()
@one_line_errors
def certify(
    file: Annotated[Path, typer.Argument(help="Network written by `approximate --out`, on a named manifold.")],
    target: Annotated[str, typer.Option(help="A name listed by `targets`, or module:expression.")],
    out: Annotated[Path | None, typer.Option(help="File to write the certificate to (.json).")] = None,
    epsilon: Annotated[float | None, typer.Option(help="Stop when this is proved.")] = None,
    tolerance: Annotated[float, typer.Option(help="Otherwise stop this close to an error that is attained.")] = 0.2,
    max_cells: Annotated[int, typer.Option(help="Most cells.")] = 200_000,
) -> None:
    """Prove a bound of a saved network's error; check it with `python -m proofs_as_code verify`."""
    if out is not None and not out.resolve().parent.is_dir():
        raise InputError(f"out: expected a file in an existing folder, got {out}")
    net = construct.load(file)
    if net.manifold is None:
        raise InputError(f"file: expected a network that knows its manifold, {file} holds none")
    function = targets.load_target(target)
    with progress_on(Console(stderr=True)) as progress:
        certificate = construct.certify(
            net,
            function,
            net.manifold,
            epsilon=epsilon,
            tolerance=tolerance,
            max_cells=max_cells,
            progress=progress,
        )
    typer.echo(repr(certificate))
    if out is not None:
        certificate.save(out)
        typer.echo(f"certificate written to {out}")
    if epsilon is not None and not certificate.bound <= epsilon:
        typer.echo(f"error: proved bound {certificate.bound:.3e} is above epsilon = {epsilon:g}", err=True)
        raise typer.Exit(1)


@app.command()
@one_line_errors
def evaluate(
    file: Annotated[Path, typer.Argument(help="Network written by `approximate --out`.")],
    points: Annotated[Path, typer.Option(help="Points (n, D), a .npy file.")],
    out: Annotated[
        Path | None, typer.Option(help="Write the values (n,) to this .npy file; printed if absent.")
    ] = None,
) -> None:
    """Values of a saved network at points."""
    net = construct.load(file)
    try:
        x = np.load(points, allow_pickle=False)
    except ValueError as error:
        raise InputError(f"points: expected a .npy file of numbers, got {points} ({error})") from error
    if not isinstance(x, np.ndarray) or x.dtype.kind not in "fiu":
        raise InputError(f"points: expected real numbers, got {getattr(x, 'dtype', type(x).__name__)}")
    parameter = next(net.parameters())
    values = net(torch.from_numpy(x.astype(np.float64)).to(parameter)).cpu().numpy()
    if out is None:
        for value in values.reshape(-1):
            typer.echo(repr(float(value)))
    else:
        np.save(out, values)


@app.command()
@one_line_errors
def info(file: Annotated[Path, typer.Argument(help="Network written by `approximate --out`.")]) -> None:
    """What a saved network is."""
    net = construct.load(file)
    typer.echo(repr(net))
    Console().print(architecture_table(net))


@app.command("manifolds")
def list_manifolds() -> None:
    """The named manifolds and their arguments (give them as --dim, --ambient, --option key=number)."""
    table = Table("name", "manifold", "arguments", box=None)
    for name in manifolds.names():
        family = manifolds.family(name)
        described = (inspect.getdoc(family) or "").split("\n", 1)[0]
        table.add_row(name, escape(described), escape(_signature(family)))
    Console().print(table)


@app.command("targets")
def list_targets() -> None:
    """The built-in targets."""
    table = Table("name", "function", "beta", "length scale", box=None)
    for name in targets.names():
        target = targets.get(name)
        scale = "" if target.length_scale is None else f"{target.length_scale:g}"
        beta = "analytic" if target.smooth else f"{target.smoothness:g}"
        table.add_row(name, escape(target.description), beta, scale)
    Console().print(table)


def build_manifold(name: str, dim: int | None, ambient: int | None, options: list[str]) -> Manifold:
    """The named manifold; `options` are `key=number`. Raises `InputError` for what it does not take."""
    arguments: dict[str, Any] = {"dim": dim, "ambient": ambient}
    arguments = {key: value for key, value in arguments.items() if value is not None}
    for entry in options:
        key, equals, value = entry.partition("=")
        if not equals or not key.isidentifier():
            raise InputError(f"option: expected key=number, got {entry!r}")
        arguments[key] = _number(entry, value)
    if name not in manifolds.names():
        raise InputError(f"manifold: expected one of {', '.join(manifolds.names())}, got {name!r}")
    return manifolds.get(name, **arguments)


def architecture_table(net: Transformer) -> Table:
    """`net.architecture`, our names beside the paper's symbols."""
    table = Table("architecture", "paper", "value", "", box=None)
    table.columns[2].justify = "right"
    for field, meaning in MEANINGS.items():
        value = _shown(getattr(net.architecture, field))
        table.add_row(field, Architecture.SYMBOLS.get(field, ""), value, meaning)
    return table


def error_table(net: Transformer, measured: Measurement) -> Table:
    """What is claimed beside what was measured."""
    table = Table("error", "value", "kind", box=None)
    if net.claim is not None:
        if net.claim.epsilon is not None:
            table.add_row("epsilon asked for", f"{net.claim.epsilon:.3e}", "")
        table.add_row("sup error claimed", f"{net.claim.bound:.3e}", net.claim.kind)
    table.add_row("sup error", f"{measured.sup:.3e}", f"{measured.kind}, {measured.samples:,} points")
    table.add_row("rms error", f"{measured.rms:.3e}", measured.kind)
    return table


@contextlib.contextmanager
def progress_on(console: Console) -> Iterator[Progress]:
    """A callable `(stage, fraction)` that shows both and the time since the start; silent off a terminal."""
    columns = (
        SpinnerColumn(),
        TimeElapsedColumn(),
        BarColumn(bar_width=24),
        TextColumn("{task.description}", markup=False),
    )
    hidden = not console.is_terminal
    with rich.progress.Progress(*columns, console=console, transient=True, disable=hidden) as bar:
        task = bar.add_task("building", total=1.0)

        def report(stage: str, fraction: float | None = None) -> None:
            bar.update(task, description=stage, completed=fraction)

        yield report


def _number(entry: str, text: str) -> int | float:
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    raise InputError(f"option: expected key=number, got {entry!r}")


def _shown(value: int | float | None) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.6g}"
    return f"{value:,}"


def _signature(family: Callable[..., Any]) -> str:
    shown = []
    for parameter in inspect.signature(family).parameters.values():
        empty = parameter.default is inspect.Parameter.empty
        shown.append(parameter.name if empty else f"{parameter.name}={parameter.default}")
    return ", ".join(shown)


def main() -> None:
    """Run the command line."""
    app(prog_name="python -m construct")

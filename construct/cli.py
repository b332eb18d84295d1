"""The command line: `construct approximate | certify | evaluate | export | info | manifolds | targets`.

Also as `python -m construct`. Standard output holds the answer and nothing else, with `--json` as one JSON object
(null for what is not finite). Exit codes: 0 done; 1 done and saved, but the error is above epsilon; 2 refused, with
one line on stderr; 130 interrupted, with one line on stderr that names the best so far.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any, NoReturn, ParamSpec

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table

import construct
from construct import plotting, report, targets
from construct.errors import ConstructError
from construct.manifolds import Manifold
from construct.measurement import MOST_POINTS, Measurement
from construct.requests import build_manifold, load_points, output_file, output_files, stated_smoothness, usable_device
from construct.storage import write_atomically
from construct.validation import integer, invalid, one_of, positive_integer

DEFAULT_EPSILON = 1e-3
DTYPES = {"float64": torch.float64, "float32": torch.float32}
PIPE_WIDTH = 200  # columns where there is no terminal to fit: no row is wrapped
INTERRUPTED = 130
LARGEST_SEED = 2**63 - 1

app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)

NetworkFile = Annotated[Path, typer.Argument(help="Network written by `approximate --out`.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]

P = ParamSpec("P")


@dataclass(frozen=True)
class Answer:
    """What a command has to say.

    Attributes:
        shown: text and tables, for people.
        record: the same for programs.
        as_json: which of the two is printed.
        missed: why the result is not what was asked for; exit code 1 if there is anything to say.
    """

    shown: Sequence[str | Table]
    record: dict[str, Any]
    as_json: bool = False
    missed: str | None = None

    def print(self) -> None:
        """Write the answer to stdout."""
        if self.as_json:
            typer.echo(report.json_text(self.record))
            return
        console = Console()
        if not console.is_terminal:
            console = Console(width=PIPE_WIDTH)
        for part in self.shown:
            if isinstance(part, Table):
                console.print(part)
            else:
                typer.echo(part)


def answered(command: Callable[P, Answer]) -> Callable[P, None]:
    """`command`, its answer printed, every error of the library or of a file as one line on stderr and exit code 2.

    What is printed while it runs (a user's target may) goes to stderr.
    """

    @functools.wraps(command)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            with contextlib.redirect_stdout(sys.stderr):
                answer = command(*args, **kwargs)
            answer.print()
        except BrokenPipeError:
            raise  # typer leaves without a word when nobody reads on
        except (ConstructError, OSError) as error:
            _leave(str(error), code=2)
        except KeyboardInterrupt as stopped:  # a shell's status for it; what is there is named, not written
            _leave(f"{str(stopped) or 'interrupted'}; nothing was written", code=INTERRUPTED)
        except (MemoryError, RuntimeError) as error:
            if not isinstance(error, MemoryError) and "memory" not in str(error):
                raise
            _leave("memory: expected a task that fits into it, got one that asks for more than there is", code=2)
        if answer.missed is not None:
            _leave(answer.missed, code=1)

    return guarded


def _leave(text: str, *, code: int) -> NoReturn:
    typer.echo(f"error: {' '.join(text.split())}", err=True)
    raise typer.Exit(code) from None


# -- commands -----------------------------------------------------------------------------------------


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"construct {construct.__version__}")
        raise typer.Exit


@app.callback()
def common_options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Transformers that approximate a function on a manifold, every weight assigned."""


@app.command("approximate")
@answered
def approximate_command(
    manifold: Annotated[str, typer.Option(help="A name listed by `manifolds`.")],
    target: Annotated[str, typer.Option(help="A name listed by `targets`, or module:function.")] = "exp_sin",
    epsilon: Annotated[float | None, typer.Option(help="Sup error allowed; 1e-3 unless sizes are given.")] = None,
    out: Annotated[Path | None, typer.Option(help="File to write the network to (.safetensors).")] = None,
    plot: Annotated[Path | None, typer.Option(help="File to draw atlas and error to (d <= 2).")] = None,
    dim: Annotated[int | None, typer.Option(help="Intrinsic dimension d, where the manifold has a choice.")] = None,
    ambient: Annotated[int | None, typer.Option(help="Ambient dimension D: an isometric copy in R^D.")] = None,
    option: Annotated[
        list[str] | None, typer.Option(help="Manifold argument key=number, or translation=[5,-3].")
    ] = None,
    construction: Annotated[
        str | None, typer.Option(help="ridge, lattice, compact or paper; by default the smaller of ridge and compact.")
    ] = None,
    embedding_dim: Annotated[str | None, typer.Option(help="Of ridge: 5 or free; by default the smaller.")] = None,
    sparse: Annotated[bool, typer.Option("--sparse", help="Ridge: choose the directions for the target.")] = False,
    position_code: Annotated[str, typer.Option(help="integer or trigonometric.")] = "integer",
    smoothness: Annotated[float | None, typer.Option(help="beta; by default what the target states.")] = None,
    charts: Annotated[int | None, typer.Option(help="Charts, instead of what epsilon needs.")] = None,
    cells: Annotated[int | None, typer.Option(help="Cells per chart and coordinate, likewise.")] = None,
    degree: Annotated[int | None, typer.Option(help="Polynomial degree, likewise.")] = None,
    bound: Annotated[str, typer.Option(help="Error that epsilon bounds: measured, or rigorous (proved).")] = "measured",
    max_parameters: Annotated[int | None, typer.Option(help="Most parameters allowed.")] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds after which the search is given up.")] = None,
    dtype: Annotated[str, typer.Option(help="float64 or float32.")] = "float64",
    device: Annotated[str, typer.Option(help="Torch device.")] = "cpu",
    seed: Annotated[int, typer.Option(help="Seed of the construction and of the measurement.")] = 0,
    samples: Annotated[int, typer.Option(help="Points of the measurement before its search.")] = 20_000,
    resolution: Annotated[
        float | None, typer.Option(help="Covering radius of the points looked at, in the unit of x, at its price.")
    ] = None,
    as_json: AsJson = False,
) -> Answer:
    """Build the network for a target on a manifold, measure it, and write it down."""
    files = output_files(out, plot, bound)
    space, function = build_manifold(manifold, dim, ambient, option or []), targets.load_target(target)
    if plot is not None:
        plotting.require(space)
    positive_integer(samples, "samples", maximum=MOST_POINTS)
    sizes: dict[str, Any] = {"charts": charts, "cells": cells, "degree": degree}
    if epsilon is None and all(size is None for size in sizes.values()):
        epsilon = DEFAULT_EPSILON
    options: dict[str, Any] = {
        "smoothness": stated_smoothness(function) if smoothness is None else smoothness,
        "construction": construction,
        "embedding_dim": 5 if embedding_dim == "5" else embedding_dim,
        "sparse": sparse,
        "position_code": position_code,
        "bound": bound,
        "max_parameters": max_parameters,
        "timeout": timeout,
        "dtype": DTYPES[one_of(dtype, "dtype", tuple(DTYPES))],
        "device": usable_device(device, DTYPES[dtype]),
        "seed": integer(seed, "seed", maximum=LARGEST_SEED),
        "resolution": resolution,
    }
    with report.progress_bar(Console(stderr=True)) as progress:
        net = construct.approximate(function, space, epsilon, **sizes, **options, progress=progress)
        measured = construct.measure(
            net, function, space, samples=samples, seed=seed, resolution=resolution, progress=progress
        )
        progress("writing", None)
        write_files(files, net, function, space, measured)
    return approximate_answer(net, target, epsilon, measured, files, as_json)


@app.command("certify")
@answered
def certify_command(
    file: NetworkFile,
    target: Annotated[str, typer.Option(help="A name listed by `targets`, or module:expression.")],
    out: Annotated[Path | None, typer.Option(help="File to write the certificate to (.json).")] = None,
    epsilon: Annotated[float | None, typer.Option(help="Stop when this is proved.")] = None,
    tolerance: Annotated[float, typer.Option(help="Otherwise stop this close to an error that is attained.")] = 0.2,
    max_cells: Annotated[int, typer.Option(help="Most cells.")] = 200_000,
    as_json: AsJson = False,
) -> Answer:
    """Prove a bound of a saved network's error; check it with `python -m proofs_as_code verify` (integer codes)."""
    files = {} if out is None else {"certificate": output_file(out, "out", besides=(file,))}
    net = construct.load(file)
    if net.manifold is None:
        raise invalid("file", "a network that knows its manifold", got=f"{file}, which holds none")
    function = targets.load_target(target)
    with report.progress_bar(Console(stderr=True)) as progress:
        limits: dict[str, Any] = {"epsilon": epsilon, "tolerance": tolerance, "max_cells": max_cells}
        certificate = construct.certify(net, function, net.manifold, **limits, progress=progress)
    if out is not None:
        certificate.save(out)
    within = None if epsilon is None else certificate.bound <= epsilon
    record = {
        "file": str(file),
        "target": target,
        "epsilon": epsilon,
        "within_epsilon": within,
        "certificate": report.certificate_record(certificate),
        "files": _names(files),
    }
    missed = f"proved bound {certificate.bound:.3e} is above epsilon = {epsilon:g}" if within is False else None
    return Answer([repr(certificate), *_written(files)], record, as_json, missed)


@app.command("evaluate")
@answered
def evaluate_command(
    file: NetworkFile,
    points: Annotated[Path, typer.Option(help="Points (n, D), a .npy file.")],
    out: Annotated[
        Path | None, typer.Option(help="Write the values (n,) to this .npy file, do not print them.")
    ] = None,
    as_json: AsJson = False,
) -> Answer:
    """Values of a saved network at points."""
    files = {} if out is None else {"values": output_file(out, "out", besides=(file, points))}
    net = construct.load(file)
    x = load_points(points, net.ambient)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", construct.OutsideWarning)
        values = net(x.to(device=net.device, dtype=net.dtype)).cpu().numpy()
    for warning in caught:
        typer.echo(f"warning: {' '.join(str(warning.message).split())}", err=True)
    record = {"file": str(file), "shape": list(values.shape), "files": _names(files)}
    if out is None:
        return Answer([repr(float(value)) for value in values.flat], record | {"values": values.tolist()}, as_json)
    data = BytesIO()
    np.save(data, values)
    write_atomically(out, data.getvalue(), "out")
    return Answer(_written(files), record, as_json)


@app.command("export")
@answered
def export_command(
    file: NetworkFile, onnx: Annotated[Path, typer.Option(help="File to write the ONNX graph to (.onnx).")]
) -> Answer:
    """Write a saved network in another format; needs the `onnx` extra."""
    files = {"onnx": output_file(onnx, "onnx", besides=(file,))}
    construct.load(file).export_onnx(onnx)
    return Answer(_written(files), {})


@app.command("info")
@answered
def info_command(
    file: NetworkFile,
    program: Annotated[bool, typer.Option("--program", help="Print the program, whole.")] = False,
    history: Annotated[bool, typer.Option("--history", help="Print what the planner tried.")] = False,
    as_json: AsJson = False,
) -> Answer:
    """What a saved network is, what it does (--program), and how its sizes were found (--history)."""
    net = construct.load(file)
    shown: list[str | Table] = []
    if program:
        shown.append(str(net.program))
    if history:
        if net.origin is None:
            raise invalid("file", "a network that knows its planner", got=f"{file}, which holds weights alone")
        shown.append(str(net.origin.history) if net.origin.history else "nothing was tried: sizes given by hand")
    if as_json:
        record = {"file": str(file), **report.network_record(net)}
        return Answer([], record | ({"program": json.loads(net.program.to_json())} if program else {}), as_json)
    return Answer(shown or [repr(net), report.architecture_table(net)], {})


@app.command("manifolds")
@answered
def manifolds_command() -> Answer:
    """The named manifolds and their arguments; `--dim`, `--ambient`, `--option key=number` set them."""
    return Answer([report.manifolds_table()], {})


@app.command("targets")
@answered
def targets_command() -> Answer:
    """The built-in targets."""
    return Answer([report.targets_table()], {})


# -- what comes out -----------------------------------------------------------------------------------


def write_files(
    files: dict[str, Path], net: construct.Network, target: Callable[..., Any], space: Manifold, measured: Measurement
) -> None:
    """Write what `approximate` made."""
    if "network" in files:
        net.save(files["network"])
    if "certificate" in files and net.certificate is not None:
        net.certificate.save(files["certificate"])
    if "figure" in files:
        picture, kind = BytesIO(), files["figure"].suffix.lower().removeprefix(".")
        plotting.figure(net, target, space, measurement=measured).savefig(picture, dpi=150, format=kind)
        write_atomically(files["figure"], picture.getvalue(), "plot")


def approximate_answer(
    net: construct.Network,
    target: str,
    epsilon: float | None,
    measured: Measurement,
    files: dict[str, Path],
    as_json: bool,
) -> Answer:
    """What `approximate` says of the network that it made."""
    asked = "sizes given by hand" if epsilon is None else f"epsilon {epsilon:g}"
    heading = f"{net.manifold!r}, target {target}, {asked}"
    shown: list[str | Table] = [
        heading,
        report.architecture_table(net),
        report.error_table(net, measured),
        *_written(files),
    ]
    within = None if epsilon is None else measured.sup <= epsilon
    missed = f"measured sup error {measured.sup:.3e} is above epsilon = {epsilon:g}" if within is False else None
    record = {
        "target": target,
        "epsilon": epsilon,
        "within_epsilon": within,
        "network": report.network_record(net),
        "measured": report.measurement_record(measured),
        "files": _names(files),
    }
    return Answer(shown, record, as_json, missed)


def _names(files: dict[str, Path]) -> dict[str, str]:
    return {kind: str(path) for kind, path in files.items()}


def _written(files: dict[str, Path]) -> list[str]:
    return [f"{kind} written to {path}" for kind, path in files.items()]


def main() -> None:
    """Run the command line."""
    if not sys.flags.safe_path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # as `python -m` does, for targets of the form module:function
    app()

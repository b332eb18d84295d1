"""What there is to say: tables and a progress bar for people, and plain records for programs.

Records are JSON-able as they stand but for non-finite numbers, which JSON has not: `json_text` writes null for them.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from construct import manifolds, targets
from construct.architecture import Architecture
from construct.certificates import Certificate
from construct.display import describe, live_line
from construct.measurement import Measurement
from construct.network import Network
from construct.progress import Progress

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
    "chosen_entries": "those of them that no formula of the token's number gives",
    "stored_numbers": "non-zero parameters and chosen code entries",
    "charts": "charts of the atlas",
    "cells": "cells: per chart and coordinate, of a lattice network in all",
    "degree": "polynomial degree",
}
SYMBOLS = {**Architecture.SYMBOLS, "output_bound": "R"}


def architecture_table(net: Network) -> Table:
    """Sizes of the network and of its approximator, where that is known; our names beside the paper's symbols."""
    sizes = {} if net.origin is None else asdict(net.origin.sizes)
    values = {**asdict(net.architecture), "output_bound": net.output_bound, **sizes}
    table = Table("architecture", "paper", "value", "", box=None)
    table.columns[2].justify = "right"
    for name, meaning in MEANINGS.items():
        if name in values:
            table.add_row(name, SYMBOLS.get(name, ""), _shown(values[name]), meaning)
    return table


def error_table(net: Network, measured: Measurement) -> Table:
    """What is claimed beside what was measured."""
    table = Table("error", "value", "kind", box=None)
    if net.claim is not None:
        if net.claim.epsilon is not None:
            table.add_row("epsilon asked for", f"{net.claim.epsilon:.3e}", "")
        table.add_row("sup error claimed", f"{net.claim.bound:.3e}", net.claim.kind)
    table.add_row("sup error", f"{measured.sup:.3e}", f"{measured.kind}, {measured.samples:,} points, a lower bound")
    table.add_row("rms error", f"{measured.rms:.3e}", measured.kind)
    if measured.resolution is not None:
        table.add_row("resolution", f"{measured.resolution:.3g}", "features of the target below it are not seen")
    return table


def manifolds_table() -> Table:
    """The named manifolds and their arguments."""
    table = Table("name", "what", "arguments", box=None)
    for name in manifolds.manifold_names():
        family = manifolds.family(name)
        described = (inspect.getdoc(family) or "").split("\n", 1)[0]
        table.add_row(name, escape(described), escape(_signature(family)))
    return table


def targets_table() -> Table:
    """The built-in targets."""
    table = Table("name", "function", "beta", "length scale", box=None)
    for name in targets.target_names():
        target = targets.target(name)
        scale = "" if target.length_scale is None else f"{target.length_scale:g}"
        beta = "analytic" if target.smooth else f"{target.smoothness:g}"
        table.add_row(name, escape(target.description), beta, scale)
    return table


@contextlib.contextmanager
def progress_bar(console: Console) -> Iterator[Progress]:
    """A callable `(stage, fraction)` that shows both and the time since the start; silent off a terminal."""
    with live_line(console) as bar:
        task = bar.add_task("building", total=1.0)

        def stage_reached(stage: str, fraction: float | None = None) -> None:
            describe(bar, task, stage, fraction)

        yield stage_reached


def network_record(net: Network) -> dict[str, Any]:
    """All that a network knows of itself but its program and weights."""
    origin = None
    if net.origin is not None:
        origin = {**net.origin.to_json(), "position_code": net.origin.code, "stages": list(net.origin.stages)}
    specification = None if origin is None else origin.pop("manifold")
    manifold = None
    if net.manifold is not None:
        manifold = {
            "text": repr(net.manifold),
            "dim": net.manifold.dim,
            "ambient": net.manifold.ambient,
            "reach": float(net.manifold.reach),
            "reach_kind": net.manifold.reach.kind,
            "specification": specification,
        }
    return {
        "ambient": net.ambient,
        "dtype": str(net.dtype).removeprefix("torch."),
        "manifold": manifold,
        "architecture": asdict(net.architecture),
        "output_bound": net.output_bound,
        "claim": None if net.claim is None else asdict(net.claim),
        "certificate": None if net.certificate is None else certificate_record(net.certificate),
        "origin": origin,
    }


def measurement_record(measured: Measurement) -> dict[str, Any]:
    """What was measured, the worst point included."""
    return {
        "kind": measured.kind,
        "sup": measured.sup,
        "rms": measured.rms,
        "samples": measured.samples,
        "resolution": measured.resolution,
        "dtype": str(measured.dtype).removeprefix("torch."),
        "worst_point": measured.worst_point.tolist(),
    }


def certificate_record(certificate: Certificate) -> dict[str, Any]:
    """What was proved, and the digests by which it is known; the proof itself is `Certificate.document`."""
    return {
        "kind": certificate.kind,
        "manifold": certificate.document["manifold"]["text"],
        "bound": certificate.bound,
        "local": certificate.local,
        "error": certificate.error,
        "measured": certificate.measured,
        "ratio": certificate.ratio,
        "cells": certificate.cells,
        "seconds": certificate.seconds,
        "digest": certificate.document["digest"],
        "network_sha256": certificate.document["network"]["sha256"],
        "unverifiable": certificate.unverifiable,
    }


def json_text(record: dict[str, Any]) -> str:
    """A record as one JSON object; numbers that are not finite become null."""
    return json.dumps(_finite(record), indent=2, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _shown(value: int | float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.6g}" if isinstance(value, float) else f"{value:,}"


def _signature(family: Callable[..., Any]) -> str:
    shown = []
    for parameter in inspect.signature(family).parameters.values():
        empty = parameter.default is inspect.Parameter.empty
        shown.append(parameter.name if empty else f"{parameter.name}={parameter.default}")
    return ", ".join(shown)

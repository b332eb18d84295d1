"""What the command line takes: manifolds, devices, points and the names of files, each checked before any work."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from construct import manifolds, targets
from construct.manifolds import Manifold
from construct.storage import opened, writable_place
from construct.validation import finite_points, invalid, one_of

PICTURES = (".pdf", ".png", ".svg")
MOST_POINTS = 2**36  # bytes of a file of points


def build_manifold(name: str, dim: int | None, ambient: int | None, options: Sequence[str]) -> Manifold:
    """The named manifold; `options`: `key=number`, `translation=` or `rotation=` a JSON list. Raises `InputError`."""
    arguments: dict[str, Any] = {}
    if dim is not None:
        arguments["dim"] = dim
    if ambient is not None:
        arguments["ambient"] = ambient
    for entry in options:
        key, _, text = entry.partition("=")
        value = _number(text, lists=key in ("translation", "rotation"))
        if not key.isidentifier() or value is None:
            raise invalid("option", "key=number, translation=[numbers] or rotation=[[numbers], ...]", entry)
        if key in arguments:
            raise invalid("option", "each argument once", got=f"{key!r} again in {entry!r}")
        arguments[key] = value
    return manifolds.manifold(one_of(name, "manifold", manifolds.manifold_names()), **arguments)


def usable_device(device: str, dtype: torch.dtype) -> str:
    """A device that computes in this dtype here. Raises `InputError` for any other."""
    try:
        torch.ones(1, dtype=dtype, device=device).item()
    except (RuntimeError, AssertionError, TypeError) as error:
        raise invalid("device", f"a torch device of this machine with {dtype}", device) from error
    return device


def stated_smoothness(target: Callable[..., Any]) -> float | None:
    """The Hölder exponent that a target states, None where it is smooth or says nothing."""
    return target.smoothness if isinstance(target, targets.Target) and not target.smooth else None


def load_points(path: Path, ambient: int) -> torch.Tensor:
    """Points (..., D) of a .npy file, float64. Raises `InputError` where there are none."""
    with opened(path, most=MOST_POINTS, name="points") as (stream, _):
        try:
            x = np.lib.format.read_array(stream, allow_pickle=False)
        except (OSError, ValueError, TypeError, KeyError, EOFError, SyntaxError, OverflowError) as error:
            raise invalid("points", "a .npy file of numbers", got=f"{path} ({error})") from error
    if x.dtype.kind not in "fiu":
        raise invalid("points", "an array of real numbers", x)
    return finite_points(torch.from_numpy(x.astype(np.float64)), "points", ambient)


def _number(text: str, *, lists: bool = False) -> int | float | list[Any] | None:
    for kind in (json.loads,) if lists else (int, float):
        with contextlib.suppress(ValueError, RecursionError):
            found = kind(text)
            return found if isinstance(found, list) == lists else None
    return None


# -- files --------------------------------------------------------------------------------------------


def output_file(path: Path, name: str, *, endings: Sequence[str] = (), besides: Sequence[Path] = ()) -> Path:
    """A path that can be written. Raises `InputError` for any other, before work is done for it.

    Args:
        endings: allowed ones, none: any.
        besides: files that the same command reads or writes, under whatever spelling.
    """
    whole = writable_place(path, name)
    if endings and path.suffix.lower() not in endings:
        raise invalid(name, f"a name that ends in one of {endings}", got=str(path))
    if any(same_file(whole, other) for other in besides):
        raise invalid(name, "a file that is not used otherwise", got=str(path))
    return path


def output_files(out: Path | None, plot: Path | None, bound: str) -> dict[str, Path]:
    """The files that `approximate` is to write, by what they hold."""
    files = {}
    if out is not None:
        files["network"] = output_file(out, "out")
        if bound == "rigorous":
            files["certificate"] = output_file(out.with_suffix(".json"), "out", besides=(out,))
    if plot is not None:
        files["figure"] = output_file(plot, "plot", endings=PICTURES, besides=tuple(files.values()))
    return files


def same_file(first: str | Path, second: str | Path) -> bool:
    """Whether two names stand for one file: by their spelling, through links of both kinds, or, where a file is
    there, in a folder that ignores upper and lower case."""
    if os.path.realpath(first) == os.path.realpath(second):
        return True
    with contextlib.suppress(OSError, ValueError):  # one that is not there is another file
        return os.path.samefile(first, second)
    return False

"""Judging a case: time limits, errors by their dialect, and what must not change on the way."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import re
import signal
import sys
import warnings
from collections.abc import Collection, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import flint
import numpy as np
import torch

import construct
from benchmarks.attack.cases import (
    DIALECT,
    ESCAPE,
    HANG,
    RAW,
    REFUSED,
    STATE,
    WARNING,
    Case,
    Outcome,
    Surface,
    printable,
)

ROOT = Path(construct.__file__).parents[1]
PARTS = ("construct", "proofs_as_code")
REFUSAL = re.compile(r"(?P<name>[A-Za-z_][\w.\[\], ]*): expected (?P<expected>.+), got (?P<got>.*)", re.DOTALL)
ESCAPES = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
WAITING = 6.0  # wall clock for processor time, at most: other work may run beside
LONGEST_MESSAGE = 4000
MOST_SIMPLER = 12


class OutOfTime(BaseException):
    """A case took longer than it may; no `except Exception` stops it."""


class TargetError(Exception):
    """Raised by the attack's own targets."""


def _stop(number: int, frame: FrameType | None) -> None:
    raise OutOfTime


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[None]:
    """At most so much processor time, and `WAITING` times that on the wall."""
    signal.signal(signal.SIGPROF, _stop)
    signal.signal(signal.SIGALRM, _stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_REAL, WAITING * seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)


@functools.cache
def library_file(name: str) -> str | None:
    """A file's path within the library, None for one that is not of it."""
    path = Path(name)
    if not path.is_relative_to(ROOT) or path.relative_to(ROOT).parts[0] not in PARTS:
        return None
    return str(path.relative_to(ROOT))


def frame_of(error: BaseException) -> str:
    """The innermost frame of the library that an error passed, as file:function."""
    found, trace = "outside the library", error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        name = library_file(code.co_filename)
        found = found if name is None else f"{name}:{code.co_name}"
        trace = trace.tb_next
    return found


def raw(error: BaseException) -> Outcome:
    """The outcome of an exception that is not the library's."""
    detail = printable(f"{type(error).__name__}: {_text(error)}")[:400]
    return Outcome(RAW, f"{type(error).__name__} in {frame_of(error)}", detail)


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as again:
        return f"<no text: {type(again).__name__}>"


def refusal(error: Exception, names: Collection[str]) -> Outcome:
    """The outcome of an exception: refused if it is the library's, in its dialect, about an argument in `names`."""
    if not isinstance(error, construct.ConstructError):
        return raw(error)
    text = _text(error)
    match = REFUSAL.fullmatch(text)
    name = re.split(r"[\[. ]", match["name"], maxsplit=1)[0] if match is not None else ""
    if name in names and len(text) <= LONGEST_MESSAGE and not ESCAPES.search(text):
        return Outcome(REFUSED, name, text[:400])
    kind, frame, detail = type(error).__name__, frame_of(error), printable(text)[:400]
    if ESCAPES.search(text):
        return Outcome(ESCAPE, f"{kind} in {frame}", detail)
    if match is None:
        return Outcome(DIALECT, f"{kind} without name, expected, got in {frame}", detail)
    if name not in names:
        return Outcome(DIALECT, f"{kind} names {name!r}, no argument of the call, in {frame}", detail)
    return Outcome(DIALECT, f"a message of more than {LONGEST_MESSAGE} characters in {frame}", detail)


def _global_state() -> tuple[Any, ...]:
    return (
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.get_num_threads(),
        tuple(np.geterr().items()),
        flint.ctx.prec,
        flint.ctx.cap,
        os.getcwd(),
        sys.getrecursionlimit(),
        signal.getsignal(signal.SIGINT),
        torch.random.get_rng_state().numpy().tobytes()[:64],
    )


def judged(surface: Surface, case: Case) -> Outcome:
    """Run a case within its limits and see that it left nothing behind: no output, warning or changed global state."""
    before = _global_state()
    out, err = io.StringIO(), io.StringIO()
    try:
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), limited(surface.limit):
                outcome = surface.run(case)
    except OutOfTime as error:
        outcome = Outcome(HANG, f"more than {surface.limit:g} s in {frame_of(error)}")
    except MemoryError as error:
        outcome = raw(error)
    except Exception as error:
        outcome = raw(error)
    except SystemExit as error:
        outcome = raw(error)
    if outcome.found:
        _restore(before)
        return outcome
    after = _global_state()
    if after != before:
        which = [name for name, a, b in zip(STATE_NAMES, before, after, strict=True) if a != b]
        _restore(before)
        return Outcome(STATE, ", ".join(which), f"from {before} to {after}")
    for warning in heard:
        of_library = type(warning.message).__module__.startswith("construct")
        if not of_library and issubclass(warning.category, RuntimeWarning | UserWarning | ResourceWarning):
            where = Path(warning.filename)
            if where.is_relative_to(ROOT / "benchmarks") or "Complex modules" in str(warning.message):
                continue
            place = where.relative_to(ROOT) if where.is_relative_to(ROOT) else where.name
            text = printable(str(warning.message))[:120]
            return Outcome(WARNING, f"{warning.category.__name__} in {place}: {text}")
    if out.getvalue() or err.getvalue():
        return Outcome(STATE, "printed without being asked", printable(out.getvalue() + err.getvalue())[:200])
    return outcome


STATE_NAMES = (
    "default dtype", "grad mode", "inference mode", "threads", "numpy errors", "flint precision", "flint cap",
    "working directory", "recursion limit", "handler of SIGINT", "random state",
)  # fmt: skip


def _restore(before: tuple[Any, ...]) -> None:
    torch.set_default_dtype(before[0])
    torch.set_grad_enabled(before[1])
    np.seterr(**dict(before[4]))
    flint.ctx.prec = before[5]
    os.chdir(before[7])


def minimised(surface: Surface, case: Case, outcome: Outcome) -> Case:
    """The case with fewer choices, as long as the outcome is of the same group."""
    tried, smaller = 0, True
    while smaller and tried < MOST_SIMPLER:
        smaller = False
        for simpler in surface.simpler(case):
            tried += 1
            again = judged(surface, simpler)
            if (again.kind, again.what) == (outcome.kind, outcome.what):
                case, smaller = simpler, True
                break
            if tried >= MOST_SIMPLER:
                break
    return case

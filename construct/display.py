"""Where progress is shown: a line on a terminal, a bar in a notebook, nowhere else.

A terminal gets rich's live line; it is drawn by a thread of its own, so that the clock runs while a single long
computation does. A notebook gets an HTML bar by IPython's display protocol, which needs no widgets. Both are erased at
the end, whatever ends it. Standard output is never touched.
"""

from __future__ import annotations

import html
import sys
import threading
from typing import Any, Protocol

import rich.progress
from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn

BAR_WIDTH = 24
_one_at_a_time = threading.Lock()  # two live lines on one terminal would overwrite each other


class Display(Protocol):
    """What is shown while work goes on."""

    def show(self, stage: str, fraction: float | None) -> None:
        """Show a stage and the share that is done, None where that is not known."""

    def close(self) -> None:
        """Erase it."""


def live_line(console: Console) -> rich.progress.Progress:
    """Spinner, time, bar, stage: on a terminal, erased at the end; silent elsewhere.

    Prints of the user are left where they go: to redirect stdout, as rich does by itself, would move them to stderr.
    """
    columns = (
        SpinnerColumn(),
        TimeElapsedColumn(),
        BarColumn(bar_width=BAR_WIDTH),
        TextColumn("{task.description}", markup=False),
    )
    hidden = not console.is_terminal
    return rich.progress.Progress(
        *columns, console=console, transient=True, disable=hidden, redirect_stdout=False, redirect_stderr=False
    )


def describe(bar: rich.progress.Progress, task: rich.progress.TaskID, stage: str, fraction: float | None) -> None:
    """Show a stage on a live line; an unknown share is drawn as a pulse."""
    bar.update(task, description=stage, completed=fraction or 0.0, total=1.0)
    if fraction is None:
        bar.update(task, total=None)


class TerminalDisplay:
    """rich's live line on stderr, which appears `delay` seconds after the start of the work."""

    def __init__(self, console: Console, delay: float) -> None:
        self._bar = live_line(console)
        self._task = self._bar.add_task("planning", total=1.0)
        self._lock, self._shown, self._closed = threading.Lock(), False, False
        self._timer = threading.Timer(delay, self._appear)
        self._timer.daemon = True
        self._timer.start()

    def _appear(self) -> None:
        with self._lock:
            if not self._closed and _one_at_a_time.acquire(blocking=False):
                self._shown = True
                self._bar.start()

    def show(self, stage: str, fraction: float | None) -> None:
        self._bar.update(
            self._task, description=stage, completed=fraction or 0.0, total=None if fraction is None else 1.0
        )

    def close(self) -> None:
        self._timer.cancel()
        with self._lock:
            self._closed = True
            if self._shown:
                self._shown = False
                try:
                    self._bar.stop()
                finally:
                    _one_at_a_time.release()


class _Bar:
    """What a notebook draws: HTML, or the text beside it."""

    def __init__(self, stage: str = "", fraction: float | None = None) -> None:
        self.stage, self.fraction = stage, fraction

    def __repr__(self) -> str:
        return self.stage if self.fraction is None else f"{self.fraction:4.0%} {self.stage}"

    def _repr_html_(self) -> str:
        if not self.stage:
            return ""
        share = "" if self.fraction is None else f' value="{self.fraction:.3f}"'
        return f"<progress max=1{share}></progress> {html.escape(self.stage)}"


class NotebookDisplay:
    """A bar below the cell, which appears at the first stage that is shown."""

    def __init__(self, ipython: Any) -> None:
        self._display, self._handle = ipython.display.display, None

    def show(self, stage: str, fraction: float | None) -> None:
        bar = _Bar(stage, fraction)
        if self._handle is None:
            self._handle = self._display(bar, display_id=True)
        else:
            self._handle.update(bar)

    def close(self) -> None:
        """Leave an empty line: other output of the cell is not ours to clear."""
        if self._handle is not None:
            self._handle.update(_Bar())


def notebook() -> Any:
    """IPython, if this runs in a notebook's kernel, else None. There it is loaded already, so nothing is imported."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return ipython if type(shell).__name__ == "ZMQInteractiveShell" else None


def default_display(delay: float) -> Display | None:
    """What shows progress when nobody has asked for anything; None in a pipe."""
    ipython = notebook()
    if ipython is not None:
        return NotebookDisplay(ipython)
    if sys.stderr is None or not hasattr(sys.stderr, "isatty") or not sys.stderr.isatty():
        return None
    console = Console(stderr=True)
    return TerminalDisplay(console, delay) if console.is_terminal else None

"""Progress of long work, and its end: who is told, and when the time is up.

Long work is done in the scope of a `Watch` (`with watching(...)`). Whatever takes time calls `tick` in its loops, with
the share that is done where it knows it: the watch passes that on and raises `DeadlinePassed` when the time is up. A
loop without a watch ticks for nothing. Watches nest: a tick reaches all of them, the innermost first. A watch belongs
to the thread that opened it.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

from construct.display import Display, default_display
from construct.errors import DeadlinePassed
from construct.validation import invalid, positive_real

Progress = Callable[[str, float | None], None]
Clock = Callable[[], float]

DELAY = 2.0  # seconds before anything is shown
INTERVAL = 0.1  # seconds between two ticks that are passed on


def now() -> float:
    """Seconds of a clock that only goes forwards."""
    return time.monotonic()


def silent(stage: str, fraction: float | None = None) -> None:
    """Says nothing."""


def printed(stage: str, fraction: float | None = None) -> None:
    """Writes a stage to stderr, one line each."""
    sys.stderr.write(f"construct: {stage}\n")
    sys.stderr.flush()


class Watch:
    """Long work in progress: its stage, its reporter and its deadline.

    Attributes:
        timeout: seconds that the work may take, None: any.
        offers: the best that the work has so far, the best first, for whoever is told that it was stopped. More than
            one, since the best may be refuted by what is seen later.
        seconds_left: until the deadline, inf without one.
    """

    def __init__(
        self,
        report: Progress = silent,
        timeout: float | None = None,
        *,
        clock: Clock | None = None,
        outer: Watch | None = None,
        repeats: bool = True,
    ) -> None:
        """repeats: whether the reporter is told the share done of a stage that it knows already."""
        self.timeout, self.outer = timeout, outer
        self.offers: list[Any] = []
        self._report, self._repeats = report, repeats
        self._clock = now if clock is None else clock
        self._start = self._told = self._clock()
        self._stage = ""

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._start

    @property
    def seconds_left(self) -> float:
        own = float("inf") if self.timeout is None else self.timeout - self.elapsed
        return own if self.outer is None else min(own, self.outer.seconds_left)

    @property
    def tightest(self) -> Watch:
        """The watch whose deadline is next, this one or one around it."""
        if self.outer is None or self.outer.seconds_left > self.seconds_left:
            return self
        return self.outer.tightest

    def stage(self, stage: str, fraction: float | None = None) -> None:
        """A new stage begins. Raises `DeadlinePassed` when the time is up."""
        if stage != self._stage or self._repeats:
            self._report(stage, fraction)
        self._stage, self._told = stage, self._clock()
        self.check()
        if self.outer is not None:
            self.outer.stage(stage, fraction)

    def tick(self, fraction: float | None = None) -> None:
        """The stage goes on. Raises `DeadlinePassed` when the time is up."""
        self.check()
        if self._repeats and self._stage and self._clock() - self._told >= INTERVAL:
            self._told = self._clock()
            self._report(self._stage, fraction)
        if self.outer is not None:
            self.outer.tick(fraction)

    def check(self) -> None:
        """Raises `DeadlinePassed` when the time is up."""
        if self.timeout is not None and self.elapsed >= self.timeout:
            raise DeadlinePassed("more time", self)


_current: ContextVar[Watch | None] = ContextVar("construct_watch", default=None)


def current() -> Watch:
    """The innermost watch of this thread; one that does nothing where there is none."""
    return _current.get() or Watch()


def tick(fraction: float | None = None) -> None:
    """The work that is going on has done this share of its present stage (None: not known).

    Raises:
        DeadlinePassed: its time is up.
    """
    watch = _current.get()
    if watch is not None:
        watch.tick(fraction)


@contextlib.contextmanager
def watching(
    progress: bool | Progress | None = None, timeout: float | None = None, *, clock: Clock | None = None
) -> Iterator[Watch]:
    """A watch for the work of the `with` block.

    Args:
        progress: None: a display where there is a terminal or a notebook, after two seconds, unless an outer watch has
            one already; False: nothing; True: stages printed to stderr; or a callable (stage, fraction or None).
        timeout: seconds until `DeadlinePassed`, None: never.
        clock: seconds, for tests.

    Raises:
        InputError: an argument of the wrong kind or range.
    """
    if not (progress is None or isinstance(progress, bool) or callable(progress)) or isinstance(progress, type):
        raise invalid("progress", "True, False, None or a function (stage, fraction)", progress)
    timeout = None if timeout is None else positive_real(timeout, "timeout")
    outer, display = _current.get(), None
    if progress is None and outer is None:
        display = default_display(DELAY)
    report = silent if display is None else _after(DELAY, display)
    if progress is not None and not isinstance(progress, bool):
        # what an outer watch hands on is told by that watch
        report = progress if outer is None or getattr(progress, "__self__", None) is not outer else silent
    elif progress is True:
        report = printed
    watch = Watch(report, timeout, clock=clock, outer=outer, repeats=progress is not True)
    token = _current.set(watch)
    try:
        yield watch
    finally:
        _current.reset(token)
        if display is not None:
            display.close()


def _after(delay: float, display: Display) -> Progress:
    """What passes stages on to a display once the delay is over."""
    start = now()

    def report(stage: str, fraction: float | None = None) -> None:
        if now() - start >= delay:
            display.show(stage, fraction)

    return report

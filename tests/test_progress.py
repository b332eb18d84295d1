"""Long work: who is told of it, and when it ends. No test here waits, or asserts how long something took."""

import io
import sys
import threading
import types
from typing import Any

import pytest
import torch
from rich.console import Console

import construct
from construct import progress as module
from construct.display import NotebookDisplay, TerminalDisplay, default_display, notebook
from construct.errors import DeadlinePassed, InputError
from construct.manifolds import Circle
from construct.progress import DELAY, INTERVAL, current, silent, tick, watching


class Clock:
    """Seconds that pass only when they are told to, or by so many with each look."""

    def __init__(self, step: float = 0.0) -> None:
        self.time, self.step = 0.0, step

    def __call__(self) -> float:
        self.time += self.step
        return self.time


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(module, "now", found)
    return found


def test_a_tick_passes_the_share_on_and_not_too_often() -> None:
    told: list[tuple[str, float | None]] = []
    clock = Clock()
    with watching(lambda stage, share: told.append((stage, share)), clock=clock) as watch:
        watch.stage("first")
        tick(0.25)
        clock.time += 2 * INTERVAL
        tick(0.5)
        tick(0.75)
        watch.stage("second", 0.1)
    assert told == [("first", None), ("first", 0.5), ("second", 0.1)]


def test_the_deadline_is_seen_by_ticks_and_stages_and_by_no_one_else() -> None:
    clock = Clock()
    with watching(False, 10.0, clock=clock) as watch:
        clock.time = 9.9
        tick()
        assert watch.seconds_left == pytest.approx(0.1)
        clock.time = 10.0
        with pytest.raises(DeadlinePassed, match=r"^timeout: expected more time, got 10 s$") as caught:
            tick()
        assert caught.value.watch is watch
        with pytest.raises(DeadlinePassed):
            watch.stage("next")
    tick()  # nobody is watching


def test_watches_nest() -> None:
    clock, told = Clock(), list[str]()
    with watching(lambda stage, _: told.append(stage), 5.0, clock=clock) as outer:
        with watching(None, 100.0, clock=clock) as inner:
            inner.stage("inside")
            assert inner.tightest is outer and inner.seconds_left == 5.0
            clock.time = 6.0
            with pytest.raises(DeadlinePassed) as caught:
                tick()
            assert caught.value.watch is outer
        assert current() is outer
    assert told == ["inside"]
    with watching(lambda stage, _: told.append(stage)) as outer, watching(outer.stage) as inner:
        inner.stage("once")
    assert told == ["inside", "once"]


def test_a_thread_has_its_own_watch() -> None:
    seen = list[float]()
    with watching(False, 1.0, clock=Clock(step=0.5)):

        def other() -> None:
            tick()
            tick()
            tick()
            seen.append(current().seconds_left)

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert seen == [float("inf")]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"progress": 5}, "progress: expected True, False, None or a function"),
        ({"timeout": 0}, "timeout: expected a finite real number > 0"),
        ({"timeout": -1.0}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
        ({"timeout": float("inf")}, "timeout"),
        ({"timeout": "soon"}, "timeout"),
        ({"timeout": True}, "timeout"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=text), watching(**arguments):
        pass
    with pytest.raises(InputError, match=text):
        construct.approximate(lambda x: x[..., 0], Circle(), 0.1, **arguments)


def test_printed_stages_are_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    with watching(True, clock=Clock(step=1.0)) as watch:
        watch.stage("fitting")
        tick(0.5)
        watch.stage("fitting", 0.7)
        watch.stage("measuring")
    out, err = capsys.readouterr()
    assert out == "" and err == "construct: fitting\nconstruct: measuring\n"


# -- what is shown ----------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    """A stream that calls itself a terminal."""

    def isatty(self) -> bool:
        return True


def as_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """stderr as a terminal; to be called in the test itself, since pytest puts its own stream there before that."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return stream


def work(stage: str) -> None:
    with watching() as watch:
        watch.stage(stage)
        tick(0.5)


def test_nothing_is_shown_before_the_delay(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = as_terminal(monkeypatch)
    assert isinstance(default_display(1000.0), TerminalDisplay)
    work("quick")
    assert terminal.getvalue() == ""


def test_a_line_is_shown_after_the_delay_and_erased(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = as_terminal(monkeypatch)
    monkeypatch.setattr(module, "DELAY", 0.0)
    appeared = threading.Event()
    monkeypatch.setattr(threading, "Timer", timer_that_is_due(appeared))
    with pytest.raises(ZeroDivisionError), watching() as watch:
        watch.stage("fitting [charts]", 0.5)
        assert appeared.is_set()
        print("of the user")
        raise ZeroDivisionError
    shown = terminal.getvalue()
    assert "fitting [charts]" in shown and "of the user" not in shown
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") == 1  # the cursor is back
    assert shown.rstrip("\r\n").endswith("\x1b[2K")  # and the line is gone
    assert capsys.readouterr().out == "of the user\n"


def timer_that_is_due(appeared: threading.Event) -> Any:
    class Due:
        daemon = False

        def __init__(self, delay: float, function: Any) -> None:
            self.function = function

        def start(self) -> None:
            self.function()
            appeared.set()

        def cancel(self) -> None:
            pass

    return Due


def test_two_lines_are_never_shown_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "Timer", timer_that_is_due(threading.Event()))
    streams = Terminal(), Terminal()
    one, two = (TerminalDisplay(Console(file=stream, force_terminal=True), 0.0) for stream in streams)
    two.show("second", None)
    two.close()
    one.show("first", None)
    one.close()
    one.close()
    assert "\x1b[?25l" in streams[0].getvalue() and streams[1].getvalue() == ""
    three = TerminalDisplay(Console(file=streams[1], force_terminal=True), 0.0)
    three.close()
    assert "\x1b[?25l" in streams[1].getvalue()  # the terminal is free again


def test_nothing_is_shown_in_a_pipe_or_when_it_is_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = as_terminal(monkeypatch)
    monkeypatch.setattr(module, "DELAY", 0.0)
    monkeypatch.setattr(threading, "Timer", timer_that_is_due(threading.Event()))
    with watching(False) as watch:
        watch.stage("fitting")
    assert terminal.getvalue() == ""
    for stream in (io.StringIO(), None, object()):
        monkeypatch.setattr(sys, "stderr", stream)
        assert default_display(DELAY) is None
        work("quiet")


class Shell:
    """The class name by which IPython's kernels are known."""


def test_a_notebook_shows_a_bar_and_leaves_an_empty_line(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = list[str]()

    class Handle:
        def update(self, bar: Any) -> None:
            drawn.append(bar._repr_html_())

    def display(bar: Any, *, display_id: bool) -> Handle:
        assert display_id
        drawn.append(bar._repr_html_())
        return Handle()

    shell = type("ZMQInteractiveShell", (), {})()
    ipython: Any = types.ModuleType("IPython")
    ipython.get_ipython, ipython.display = lambda: shell, types.SimpleNamespace(display=display)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    assert notebook() is ipython and isinstance(default_display(0.0), NotebookDisplay)
    monkeypatch.setattr(module, "DELAY", 0.0)
    with watching(clock=Clock(step=1.0)) as watch:
        watch.stage("<fit>")
        tick(0.5)
    assert drawn == ["<progress max=1></progress> &lt;fit&gt;",
                     '<progress max=1 value="0.500"></progress> &lt;fit&gt;', ""]  # fmt: skip
    ipython.get_ipython = lambda: Shell()
    assert notebook() is None  # a terminal's IPython


# -- in the library ---------------------------------------------------------------------------------------------------


def test_long_work_ticks_in_every_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that may take minutes reports shares that are done, for `approximate`, `certify` and `measure`."""
    monkeypatch.setattr(module, "INTERVAL", 0.0)
    expression = construct.targets.target("exp_sin")
    told: list[tuple[str, float | None]] = []
    tell = lambda stage, share: told.append((stage, share))  # noqa: E731
    construct.approximate(expression, Circle(), 1e-2, progress=tell)
    assert any(stage.startswith("ridge, degree") for stage, _ in told)
    net = construct.approximate(expression, Circle(), 1e-2, construction="compact", progress=tell)
    shares = {stage.split()[0] for stage, share in told if share is not None}
    assert "charts" in shares and "measuring" in shares
    assert all(share is None or 0 <= share <= 1 for _, share in told)
    long: tuple[Any, ...] = (construct.measure, construct.certify)
    for function in long:
        told.clear()
        function(net, expression, Circle(), progress=lambda stage, share: told.append((stage, share)))
        assert len(told) > 10 and any(share is not None for _, share in told)
        with pytest.raises(InputError, match="progress"):
            function(net, expression, Circle(), progress=3)


def test_a_silent_reporter_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    silent("fitting", 0.5)
    assert capsys.readouterr() == ("", "")
    assert torch.is_tensor(Circle().sample(1, 0))

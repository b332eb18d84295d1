"""Workers that run chunks of cases, and the parent that watches them: a worker that dies or hangs is a finding, too."""

from __future__ import annotations

import multiprocessing
import os
import resource
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from benchmarks.attack.cases import CRASH, HANG, Outcome, Surface, printable
from benchmarks.attack.judge import WAITING, judged, minimised
from benchmarks.attack.report import KEPT, Log
from benchmarks.tables import one_thread

MEMORY = 6 << 30  # bytes that a worker may map beyond what it has at its start
LATE = 60.0  # seconds past a case's limit after which its worker is ended
PREPARING = 1200.0  # seconds that a surface may take before its first case
Surfaces = Callable[[], Sequence[type[Surface]]]


@dataclass(frozen=True)
class Chunk:
    """Cases `start` to `stop` of a surface."""

    surface: str
    start: int
    stop: int


def run_chunk(surface: Surface, chunk: Chunk, at: Callable[[int], None], seen: set[tuple[str, str]]) -> dict[str, Any]:
    """Run the cases of a chunk; the first of every group of findings is minimised, unless its group is in `seen`."""
    begin, kinds, refused = (time.perf_counter(), time.process_time()), Counter[str](), Counter[str]()
    groups: dict[tuple[str, str], dict[str, Any]] = {}
    for number in range(chunk.start, chunk.stop):
        at(number)
        case = surface.case(number)
        outcome = judged(surface, case)
        kinds[outcome.kind] += 1
        if not outcome.found:
            refused.update([outcome.what] if outcome.what else [])
            continue
        key = outcome.kind, outcome.what
        group = groups.setdefault(key, {"kind": key[0], "what": key[1], "count": 0, "examples": []})
        group["count"] += 1
        if len(group["examples"]) < KEPT:
            if key not in seen and outcome.kind != HANG:
                case = minimised(surface, case, outcome)
            seen.add(key)
            group["examples"].append({"number": number, "case": case.text, "detail": printable(outcome.detail)})
    return {
        "surface": chunk.surface, "start": chunk.start, "stop": chunk.stop,
        "seconds": round(time.perf_counter() - begin[0], 3), "processor": round(time.process_time() - begin[1], 3),
        "kinds": kinds, "refused": refused, "findings": list(groups.values()),
    }  # fmt: skip


def work(pipe: Connection, place: Any, surfaces: Surfaces, seed: int, folder: Path) -> None:
    """A worker: chunks come through the pipe, records go back; `place` holds the number of the present case."""
    one_thread()
    ready: dict[str, Surface] = {}
    types = {surface.name: surface for surface in surfaces()}
    seen: set[tuple[str, str]] = set()
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY, resource.RLIM_INFINITY))

    def at(number: int) -> None:
        place[0], place[1] = float(number), time.monotonic()

    while (chunk := pipe.recv()) is not None:
        at(-1)
        if chunk.surface not in ready:
            own = folder / chunk.surface.replace(" ", "_")
            own.mkdir(parents=True, exist_ok=True)
            ready[chunk.surface] = types[chunk.surface](seed, own)
        pipe.send(run_chunk(ready[chunk.surface], chunk, at, seen))


class Worker:
    """A process and what it is at."""

    def __init__(self, surfaces: Surfaces, seed: int) -> None:
        spawn = multiprocessing.get_context("spawn")
        self.pipe, other = spawn.Pipe()
        self.place = spawn.Array("d", 2)
        self.folder = Path(
            tempfile.mkdtemp(prefix="attack-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
        )
        arguments = (other, self.place, surfaces, seed, self.folder)
        self.process = spawn.Process(target=work, args=arguments, daemon=True)
        self.process.start()
        other.close()
        self.chunk: Chunk | None = None

    def send(self, chunk: Chunk) -> None:
        self.chunk = chunk
        self.place[0], self.place[1] = -1.0, time.monotonic()
        self.pipe.send(chunk)

    @property
    def busy_with(self) -> str | None:
        return None if self.chunk is None else self.chunk.surface

    def late(self, limit: float) -> bool:
        """Whether it is at one case for longer than its own clock should have allowed."""
        if self.chunk is None:
            return False
        return time.monotonic() - self.place[1] > (PREPARING if self.place[0] < 0 else WAITING * limit + LATE)

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def chunks_left(surface: type[Surface], cases: int, log: Log) -> list[Chunk]:
    """The chunks of a surface that are not done, the first last."""
    left = []
    number = 0
    while number < cases:
        if (surface.name, number) in log.done:
            number += 1
            continue
        stop = number
        while stop < min(cases, number + surface.chunk) and (surface.name, stop) not in log.done:
            stop += 1
        left.append(Chunk(surface.name, number, stop))
        number = stop
    return left[::-1]


class Attack:
    """Runs every surface's cases, keeping the shares even, so that an interrupted attack has seen them all.

    With a limit of time every surface gets the same of it instead, whatever its share.

    Args:
        surfaces: a function of a module that gives the surfaces, so that workers can be spawned with it.
        cases: of each surface, by name.
        seconds: after which no more chunks are begun; None: all cases.
    """

    def __init__(
        self, surfaces: Surfaces, cases: dict[str, int], log: Log, seed: int, jobs: int, seconds: float | None
    ):
        self.surfaces, self.cases, self.log, self.seed, self.seconds = surfaces, cases, log, seed, seconds
        self.types = {surface.name: surface for surface in surfaces() if surface.name in cases}
        self.left = {name: chunks_left(surface, cases[name], log) for name, surface in self.types.items()}
        self.jobs = jobs
        self.workers: list[Worker] = []
        self.begin = self.told = time.monotonic()

    def next(self) -> Chunk | None:
        """A chunk of the surface that is behind the others most."""
        if self.seconds is not None and time.monotonic() - self.begin > self.seconds:
            return None
        waiting = {name: chunks for name, chunks in self.left.items() if chunks}
        if not waiting:
            return None
        name = min(waiting, key=self.spent if self.seconds is not None else self.share_done)
        return waiting[name].pop()

    def share_done(self, name: str) -> float:
        return self.left[name][-1].start / self.cases[name]

    def spent(self, name: str) -> float:
        """Seconds that went into a surface; a chunk that is under way counts as one like those before."""
        tally, busy = self.log.tallies.get(name), sum(name == worker.busy_with for worker in self.workers)
        return (tally.seconds if tally else 0.0) * (1 + busy) + busy

    def run(self) -> None:
        """Run until all is done, or time is over."""
        workers = self.workers = [Worker(self.surfaces, self.seed) for _ in range(self.jobs)]
        try:
            for worker in workers:
                self.feed(worker)
            while any(worker.chunk for worker in workers):
                wait(
                    [w.pipe for w in workers if w.chunk] + [w.process.sentinel for w in workers if w.chunk], timeout=1.0
                )
                for i, worker in enumerate(workers):
                    workers[i] = self.look(worker)
                self.tell()
        finally:
            for worker in workers:
                worker.end()

    def look(self, worker: Worker) -> Worker:
        """Take what a worker has; a worker that is dead or late is replaced."""
        if worker.chunk is None:
            return worker
        if worker.pipe.poll():
            try:
                record = worker.pipe.recv()
            except EOFError:
                return self.lost(worker, CRASH)
            self.log.keep(record)
            self.feed(worker)
            return worker
        if not worker.process.is_alive():
            return self.lost(worker, CRASH)
        if worker.late(self.types[worker.chunk.surface].limit):
            return self.lost(worker, HANG)
        return worker

    def feed(self, worker: Worker) -> None:
        worker.chunk = None
        chunk = self.next()
        if chunk is not None:
            worker.send(chunk)

    def lost(self, worker: Worker, kind: str) -> Worker:
        """A finding for the case that a worker was at; the rest of its chunk is done by another."""
        chunk, number = worker.chunk, int(worker.place[0])
        code = worker.process.exitcode
        worker.end()
        assert chunk is not None
        if number < chunk.start:
            raise RuntimeError(f"attack: a worker ended (exit code {code}) before the first case of {chunk}")
        surface = self.types[chunk.surface](self.seed, Path(tempfile.mkdtemp(prefix="attack-")))
        outcome = Outcome(kind, f"exit code {code}" if kind == CRASH else "not to be stopped from inside")
        example = {"number": number, "case": surface.case(number).text, "detail": ""}
        self.log.keep({
            "surface": chunk.surface, "start": number, "stop": number + 1, "seconds": 0.0, "processor": 0.0,
            "kinds": {kind: 1},
            "findings": [{"kind": kind, "what": outcome.what, "count": 1, "examples": [example]}],
        })  # fmt: skip
        for part in (Chunk(chunk.surface, number + 1, chunk.stop), Chunk(chunk.surface, chunk.start, number)):
            if part.start < part.stop:
                self.left[chunk.surface].append(part)
        new = Worker(self.surfaces, self.seed)
        self.feed(new)
        return new

    def tell(self) -> None:
        """A line every quarter of a minute."""
        if time.monotonic() - self.told < 15:
            return
        self.told = time.monotonic()
        done = " ".join(f"{n} {t.cases:,}/{self.cases.get(n, 0):,}" for n, t in self.log.tallies.items())
        minutes = (self.told - self.begin) / 60
        print(
            f"attack: {minutes:.1f} min, {done}; {self.log.found:,} findings, {len(self.log.counts)} groups", flush=True
        )

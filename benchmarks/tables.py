"""Rows on disk: a study appends each row to its CSV as soon as it is done, and skips rows that are there already."""

from __future__ import annotations

import argparse
import csv
import importlib
import importlib.util
import json
import multiprocessing
import traceback
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from construct.validation import message

Row = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """A row to compute: what identifies it, and a function of a module with its arguments, so that it can be sent."""

    key: Row
    function: Callable[..., Row]
    arguments: tuple[Any, ...]

    def __call__(self) -> Row:
        return self.function(*self.arguments)


def parser(description: str | None) -> argparse.ArgumentParser:
    """Options that every study has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder of the CSV, Markdown and PNG files")
    parser.add_argument("--quick", action="store_true", help="a few minutes instead of the whole study")
    parser.add_argument("--fresh", action="store_true", help="forget rows of an earlier run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu", help="of networks that are built, trained and evaluated")
    parser.add_argument("--retry", action="store_true", help="compute rows again that were not built")
    parser.add_argument("--only", default=None, help="rows whose key contains this text")
    parser.add_argument("--jobs", type=int, default=1, help="rows computed at once, a thread each")
    return parser


def arguments(description: str | None) -> argparse.Namespace:
    """The options of a study from the command line."""
    return parser(description).parse_args()


def one_thread() -> None:
    """So that rows are timed alike, however many run at once: torch, and the BLAS of numpy and scipy."""
    torch.set_num_threads(1)
    if importlib.util.find_spec("threadpoolctl") is not None:  # comes with scikit-learn
        importlib.import_module("threadpoolctl").threadpool_limits(1)


class Study:
    """A CSV that grows row by row; `keys` name the columns that identify a row."""

    def __init__(self, name: str, keys: Iterable[str], options: argparse.Namespace) -> None:
        self.name, self.keys, self.options = name, list(keys), options
        options.out.mkdir(parents=True, exist_ok=True)
        self.path: Path = options.out / f"{name}.csv"
        if options.fresh:
            self.path.unlink(missing_ok=True)
        self._same_run()
        self.rows: list[Row] = read(self.path)
        self._same_keys()
        if getattr(options, "retry", False):
            self.rows = [row for row in self.rows if row.get("outcome", "built") == "built"]
        self._rewrite()

    def _same_run(self) -> None:
        """Refuse to mix rows of a quick and a full run, or of two seeds or devices, in one file."""
        path = self.path.with_suffix(".run.json")
        run = {name: getattr(self.options, name, None) for name in ("quick", "seed", "device")}
        if self.path.exists() and path.exists():
            found = json.loads(path.read_text())
            if found != run:
                held = f"{self.path} with rows of {found}"
                raise SystemExit(message("--out", f"a folder of rows of {run}, a new one or --fresh", got=held))
        path.write_text(json.dumps(run) + "\n")

    def _same_keys(self) -> None:
        """Refuse rows of an older study, which do not say all that identifies a row now."""
        unknown = [name for name in self.keys if self.rows and name not in self.rows[0]]
        if unknown:
            held = f"{self.path} without {', '.join(unknown)}"
            raise SystemExit(message("--out", f"a folder of rows with {', '.join(self.keys)} or --fresh", got=held))

    def _rewrite(self) -> None:
        """The rows that were read, without what an interruption left of the last one."""
        if not self.path.exists():
            return
        if not self.rows:
            self.path.unlink()
            return
        partial = self.path.with_suffix(".part")
        with partial.open("w", newline="") as handle:
            writer = csv.DictWriter(handle, fieldnames=self._columns(), restval="")
            writer.writeheader()
            writer.writerows(self.rows)
        partial.replace(self.path)

    def run(self, key: Row, compute: Callable[[], Row]) -> None:
        """Compute and append the row of `key`, unless it is there or not asked for."""
        if not self.wants(key):
            return
        print(f"{self.name}: {text_of(key)} ...", flush=True)
        row = {**key, **compute()}
        print(f"{self.name}: {row}", flush=True)
        self._keep(row)

    def wants(self, key: Row) -> bool:
        """Whether the row of `key` is missing and asked for."""
        wanted = {name: str(key[name]) for name in self.keys}
        if any(all(row[name] == wanted[name] for name in self.keys) for row in self.rows):
            return False
        return not self.options.only or self.options.only in text_of(key)

    def run_all(self, tasks: Sequence[Task]) -> None:
        """Compute the rows that are missing, `--jobs` at once; each is on disk as soon as it is done.

        Interrupt it and what was done stays; rows that were on their way are computed again by the next run. A row that
        fails unexpectedly is reported, left out, and tried again by the next run; the others go on.
        """
        one_thread()
        missing = [task for task in tasks if self.wants(task.key)]
        print(
            f"{self.name}: {len(missing)} rows to compute, {len(tasks) - len(missing)} there or not asked for",
            flush=True,
        )
        if self.options.jobs <= 1:
            for number, task in enumerate(missing, 1):
                try:
                    row = task()
                except Exception:
                    self._failed(task)
                else:
                    self._done(number, len(missing), task, row)
            return
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(self.options.jobs, mp_context=spawn, initializer=one_thread) as pool:
            futures: dict[Future[Row], Task] = {pool.submit(task): task for task in missing}
            try:
                for number, future in enumerate(as_completed(futures), 1):
                    try:
                        row = future.result()
                    except BrokenProcessPool:
                        raise
                    except Exception:
                        self._failed(futures[future])
                    else:
                        self._done(number, len(missing), futures[future], row)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _failed(self, task: Task) -> None:
        print(f"{self.name}: {text_of(task.key)} failed:\n{traceback.format_exc()}", flush=True)

    def _done(self, number: int, count: int, task: Task, row: Row) -> None:
        print(f"{self.name} {number}/{count}: {text_of(task.key)}: {short(row)}", flush=True)
        self._keep({**task.key, **row})

    def _keep(self, row: Row) -> None:
        self.rows.append({name: str(value) for name, value in row.items()})
        self._append(row)

    def replace(self, rows: Sequence[Row]) -> None:
        """Write a table that is derived from others anew."""
        self.path.unlink(missing_ok=True)
        self.rows = []
        for row in rows:
            self._keep(row)

    def _columns(self) -> list[str]:
        """Of all rows: those of an older study may lack some."""
        return list(dict.fromkeys(name for row in self.rows for name in row))

    def _append(self, row: Row) -> None:
        fresh = not self.path.exists()
        names = list(row) if fresh else self._columns()
        if not fresh and names != list(self.rows[0]):
            self._rewrite()  # with a column that the rows before do not have
            return
        with self.path.open("a", newline="") as handle:
            writer = csv.DictWriter(handle, fieldnames=names)
            if fresh:
                writer.writeheader()
            writer.writerow(row)

    def markdown(self, notes: Iterable[str] = ()) -> Path:
        """Write the table beside the CSV."""
        path = self.path.with_suffix(".md")
        lines = [f"# {self.name}", "", *notes, ""]
        if self.rows:
            lines += markdown_table(self.rows, self._columns())
        path.write_text("\n".join(lines) + "\n")
        return path

    def column(self, name: str) -> list[float]:
        """A numeric column."""
        return [float(row[name]) for row in self.rows]


def text_of(key: Row) -> str:
    """A key in one line."""
    return " ".join(str(value) for value in key.values())


def short(row: Row) -> str:
    """The numbers of a row in one line."""
    shown = {name: value for name, value in row.items() if name != "settings" and value != ""}
    return ", ".join(f"{name} {value}" for name, value in shown.items())


def read(path: Path) -> list[Row]:
    """Whole rows of a CSV, none if there is no such file."""
    if not path.exists():
        return []
    with path.open() as handle:
        rows = list(csv.DictReader(handle))
    return [row for row in rows if None not in row and None not in row.values()]  # not what was cut off


def markdown_table(rows: Sequence[Row], names: Sequence[str] | None = None) -> list[str]:
    """Lines of a Markdown table."""
    if not rows:
        return ["(no rows)"]
    shown = list(rows[0]) if names is None else list(names)
    lines = ["| " + " | ".join(shown) + " |", "|" + " --- |" * len(shown)]
    return lines + ["| " + " | ".join(str(row.get(name, "")) for name in shown) + " |" for row in rows]

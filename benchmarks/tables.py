"""Rows on disk: a study appends each row to its CSV as soon as it is done, and skips rows that are there already."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def arguments(description: str | None) -> argparse.Namespace:
    """Options that every study has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder of the CSV, Markdown and PNG files")
    parser.add_argument("--quick", action="store_true", help="a few minutes instead of the whole study")
    parser.add_argument("--fresh", action="store_true", help="forget rows of an earlier run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", default=None, help="rows whose key contains this text")
    return parser.parse_args()


class Study:
    """A CSV that grows row by row; `keys` name the columns that identify a row."""

    def __init__(self, name: str, keys: Iterable[str], options: argparse.Namespace) -> None:
        self.name, self.keys, self.options = name, list(keys), options
        options.out.mkdir(parents=True, exist_ok=True)
        self.path: Path = options.out / f"{name}.csv"
        if options.fresh and self.path.exists():
            self.path.unlink()
        self.rows: list[Row] = []
        if self.path.exists():
            with self.path.open() as handle:
                self.rows = list(csv.DictReader(handle))

    def run(self, key: Row, compute: Callable[[], Row]) -> None:
        """Compute and append the row of `key`, unless it is there or not asked for."""
        text = " ".join(str(value) for value in key.values())
        wanted = {name: str(key[name]) for name in self.keys}
        if any(all(row[name] == wanted[name] for name in self.keys) for row in self.rows):
            return
        if self.options.only and self.options.only not in text:
            return
        print(f"{self.name}: {text} ...", flush=True)
        row = {**key, **compute()}
        print(f"{self.name}: {row}", flush=True)
        self.rows.append({name: str(value) for name, value in row.items()})
        self._append(row)

    def _append(self, row: Row) -> None:
        fresh = not self.path.exists()
        with self.path.open("a", newline="") as handle:
            writer = csv.DictWriter(handle, fieldnames=list(row))
            if fresh:
                writer.writeheader()
            writer.writerow(row)

    def markdown(self, notes: Iterable[str] = ()) -> Path:
        """Write the table beside the CSV."""
        path = self.path.with_suffix(".md")
        lines = [f"# {self.name}", "", *notes, ""]
        if self.rows:
            names = list(self.rows[0])
            lines += ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
            lines += ["| " + " | ".join(row[name] for name in names) + " |" for row in self.rows]
        path.write_text("\n".join(lines) + "\n")
        return path

    def column(self, name: str) -> list[float]:
        """A numeric column."""
        return [float(row[name]) for row in self.rows]

"""What was found: a table of the surfaces, and the findings in groups with a reproduction each."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.attack.cases import FINDINGS, REFUSED, RIGHT
from benchmarks.tables import Row

KEPT = 3  # reproductions of a group


@dataclass
class Tally:
    """What is known of one surface."""

    cases: int = 0
    seconds: float = 0.0
    processor: float = 0.0
    kinds: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)


@dataclass
class Log:
    """The chunks that are done, one JSON object a line; an interrupted run reads them again."""

    path: Path
    done: set[tuple[str, int]] = field(default_factory=set)
    tallies: dict[str, Tally] = field(default_factory=dict)
    findings: dict[tuple[str, str, str], list[dict[str, Any]]] = field(default_factory=dict)
    counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)

    def read(self) -> None:
        """Take up what an earlier run wrote; a line that was cut off is no line."""
        if not self.path.exists():
            return
        for line in self.path.read_text().splitlines():
            try:
                record = json.loads(line)
            except json.JSONDecodeError:
                continue
            self._take(record)

    def keep(self, record: dict[str, Any]) -> None:
        """Note a chunk and write it down."""
        with self.path.open("a") as handle:
            handle.write(json.dumps(record) + "\n")
        self._take(record)

    def _take(self, record: dict[str, Any]) -> None:
        surface = record["surface"]
        tally = self.tallies.setdefault(surface, Tally())
        self.done.update((surface, number) for number in range(record["start"], record["stop"]))
        tally.cases += record["stop"] - record["start"]
        tally.seconds += record["seconds"]
        tally.processor += record["processor"]
        tally.kinds.update(record["kinds"])
        tally.refused.update(record.get("refused", {}))
        for group in record["findings"]:
            key = (surface, group["kind"], group["what"])
            self.counts[key] += group["count"]
            kept = self.findings.setdefault(key, [])
            kept.extend(group["examples"][: KEPT - len(kept)])

    @property
    def found(self) -> int:
        """Cases that are findings."""
        return sum(self.counts.values())

    def rows(self, names: Iterable[str]) -> list[Row]:
        """The table of the surfaces."""
        rows = []
        for name in names:
            tally = self.tallies.get(name, Tally())
            found = {kind: tally.kinds[kind] for kind in FINDINGS}
            rows.append({
                "surface": name, "cases": tally.cases, "right": tally.kinds[RIGHT], "refused": tally.kinds[REFUSED],
                "findings": sum(found.values()), "groups": sum(key[0] == name for key in self.counts),
                **found, "ms of processor a case": _milliseconds(tally.processor, tally.cases),
            })  # fmt: skip
        total: Row = {"surface": "all"}
        for column in list(rows[0])[1:-1]:
            total[column] = sum(row[column] for row in rows)
        processor = sum(tally.processor for tally in self.tallies.values())
        return [*rows, {**total, "ms of processor a case": _milliseconds(processor, total["cases"])}]

    def groups(self) -> list[str]:
        """The groups of findings, the most frequent first, with a reproduction each."""
        lines = []
        for key, count in self.counts.most_common():
            surface, kind, what = key
            first = min(self.findings[key], key=lambda example: len(example["case"]))
            lines.append(f"- **{surface}: {kind}** ({count:,}) {what}")
            lines.append(f"  - {first['case']} (number {first['number']})")
            if first["detail"]:
                lines.append(f"  - {first['detail']}")
        return lines or ["None."]


def _milliseconds(processor: float, cases: int) -> str:
    return f"{1000 * processor / max(cases, 1):.3g}"

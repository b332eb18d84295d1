"""`python -m proofs_as_code.verifier NETWORK.safetensors CERTIFICATE.json [--semantic-only]`, or `--count NETWORK`.

Prints "verified", what was proved (the function, the points, the bound, the arithmetic, digests of both files), and
apart from it what was not checked; or "refused" with the reason. --semantic-only: by mathematics alone, whatever the
digests are. Networks with a trigonometric code are refused, as they are beyond what is checked here. --count: the sizes
of any network, parameters, those that are not zero, entries of the code, those that were chosen, stored numbers. Exit
codes: 0 verified, or counted; 1 refused; 2 bad usage.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from proofs_as_code.verifier.counting import count
from proofs_as_code.verifier.documents import Refused
from proofs_as_code.verifier.verification import verify

OPTION, COUNT = "--semantic-only", "--count"
SHOWN = 300  # characters of a path in a message


def main(arguments: list[str]) -> int:
    """Run the command line; the exit code."""
    if "--help" in arguments:
        print(__doc__.strip())
        return 0
    if COUNT in arguments:
        return counted([argument for argument in arguments if argument != COUNT])
    paths = [argument for argument in arguments if argument != OPTION]
    if unknown := [path for path in paths if path.startswith("--")]:
        return refuse(f"options: expected {OPTION} or --help, got {unknown[0]}")
    if missing := not_files(("NETWORK", "CERTIFICATE"), paths):
        return refuse(missing)
    report = verify(*paths, digests=OPTION not in arguments)
    if not report.holds:
        print(f"refused ({report.reason})")
        return 1
    print(f"verified: |T - f| <= {report.bound:.6g}; {report.leaves} cells, {report.seconds:.1f} s")
    for line in report.statement:
        print(f"  {line}")
    said = ", ".join(f"{name} {value!r}" for name, value in (report.unchecked or {}).items())
    print(f"not checked, said by the certificate: {said}")
    return 0


def counted(paths: list[str]) -> int:
    """Print the sizes of a network; the exit code."""
    if missing := not_files(("NETWORK",), paths):
        return refuse(missing)
    try:
        found = count(paths[0])
    except Refused as failure:
        print(f"refused ({failure})")
        return 1
    for name, size in found._asdict().items():
        print(f"{name}: {size}")
    return 0


def not_files(names: tuple[str, ...], paths: list[str]) -> str:
    """What is wrong with the paths given for these names, if anything is."""
    if len(paths) != len(names):
        return f"arguments: expected {' and '.join(names)}, got {len(paths)} of them"
    wrong = [(name, path) for name, path in zip(names, paths, strict=True) if not is_file(path)]
    return "".join(
        f"{name}: expected a file, got {(path if path.isprintable() else ascii(path))[:SHOWN]}"
        for name, path in wrong[:1]
    )


def run(arguments: list[str]) -> int:
    """`main` for a shell: nobody has to read on, and the exit code is the verdict in any case that is known."""
    code = 1  # of a verdict that nobody heard
    try:
        code = main(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left is flushed at exit
    return code


def is_file(path: str) -> bool:
    """Whether there is a file of this name; there is none of a name that no file can have."""
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        return False


def refuse(message: str) -> int:
    """One line on stderr."""
    print(f"error: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))

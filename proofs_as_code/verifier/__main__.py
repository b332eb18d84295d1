"""`python -m proofs_as_code.verifier NETWORK.safetensors CERTIFICATE.json [--semantic-only]`.

Prints "verified", what was proved (the function, the points, the bound, the arithmetic, digests of both files), and
apart from it what was not checked; or "refused" with the reason. --semantic-only: by mathematics alone, whatever the
digests are. Networks with a trigonometric code are refused, as they are beyond what is checked here. Exit codes: 0
verified; 1 refused; 2 bad usage.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from proofs_as_code.verifier.verification import verify

OPTION = "--semantic-only"
SHOWN = 300  # characters of a path in a message


def main(arguments: list[str]) -> int:
    """Run the command line; the exit code."""
    if "--help" in arguments:
        print(__doc__.strip())
        return 0
    paths = [argument for argument in arguments if argument != OPTION]
    if unknown := [path for path in paths if path.startswith("--")]:
        return refuse(f"options: expected {OPTION} or --help, got {unknown[0]}")
    if len(paths) != 2:
        return refuse(f"arguments: expected NETWORK and CERTIFICATE, got {len(paths)} of them")
    for name, path in zip(("NETWORK", "CERTIFICATE"), paths, strict=True):
        if not is_file(path):
            return refuse(f"{name}: expected a file, got {(path if path.isprintable() else ascii(path))[:SHOWN]}")
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

"""`python -m proofs_as_code.verifier NETWORK.safetensors CERTIFICATE.json [--semantic-only]`.

Prints "verified" or "refused" with the reason, the bound and the number of cells. --semantic-only: by mathematics
alone, whatever the digests are. Exit codes: 0 verified; 1 refused; 2 bad usage.
"""

from __future__ import annotations

import sys
from pathlib import Path

from proofs_as_code.verifier.verification import verify

OPTION = "--semantic-only"


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
        if not Path(path).is_file():
            return refuse(f"{name}: expected a file, got {path}")
    report = verify(*paths, digests=OPTION not in arguments)
    verdict = "verified" if report.holds else f"refused ({report.reason})"
    print(f"{verdict}: |T - f| <= {report.bound:.6g}; {report.leaves} cells, {report.seconds:.1f} s")
    return 0 if report.holds else 1


def refuse(message: str) -> int:
    """One line on stderr."""
    print(f"error: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

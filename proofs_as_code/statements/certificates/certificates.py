"""Certificates: what `construct.certify` calls proved is not below what is measured, and the independent verifier
agrees.

The networks are drawn (charts, degree, target), not planned: their errors are of every size. A certificate consists of
inequalities that the verifier proves again in ball arithmetic from the weights and the certificate alone; the twins
change one of the two, write the digests anew, and must be refused by the mathematics.
"""

from __future__ import annotations

import json
import tempfile
from functools import lru_cache
from pathlib import Path

from hypothesis import strategies as st

import construct
from construct import targets
from construct.certificates.document import digest
from construct.certificates.weights import weights_digest
from construct.manifolds import Circle
from proofs_as_code.framework import Hypothesis, Statement, Twin, Verdict
from proofs_as_code.verifier import verify

TARGETS = ("exp_sin", "sin_product", "runge", "tanh_front", "kink")


@lru_cache
def certified(charts: int, degree: int, target: str) -> tuple[construct.Network, construct.Certificate]:
    """A network on the circle with its certificate."""
    function = targets.target(target)
    net = construct.approximate(function, Circle(), charts=charts, degree=degree)
    return net, construct.certify(net, function, Circle(), tolerance=0.5)


def check_verified(
    charts: int, degree: int, target: str, lowered: float = 1.0, moved: float = 0.0, chart: int = -1
) -> Verdict:
    """The claim `measured <= bound`, which holds if the verifier says so too.

    lowered: factor on the proved bound that is claimed. moved: added to a coefficient of one chart after the proof.
    """
    net, certificate = certified(charts, degree, target)
    document = dict(certificate.document)
    if moved:
        net = construct.approximate(targets.target(target), Circle(), charts=charts, degree=degree)
        with net.edit() as transformer:
            transformer.hidden0[chart, 1] += moved  # the last tokens are the coefficient tokens
        document["network"] = {"sha256": weights_digest(net)}
    if lowered != 1.0:
        document["local"], document["bound"] = lowered * certificate.local, lowered * certificate.bound
        document["measured"] = {**document["measured"], "sup": 0.0}  # so that it is the proof that fails
    document["digest"] = digest(document)
    with tempfile.TemporaryDirectory() as folder:
        network, file = Path(folder) / "net.safetensors", Path(folder) / "certificate.json"
        net.save(network)
        file.write_text(json.dumps(document))
        report = verify(network, file)
    measured = construct.measure(net, targets.target(target), Circle(), samples=4000, seed=11)
    return Verdict(
        claimed=float(document["bound"]),
        measured=measured.sup,
        kind="rigorous",
        points=certificate.cells,
        dtype="arb",
        worst_point={"charts": charts, "degree": degree, "target": target, "verifier": report.reason},
        holds=bool(report.holds and measured.sup <= document["bound"]),
    )


def check_lowered(charts: int, degree: int, target: str) -> Verdict:
    """A bound below the error that is there."""
    _, certificate = certified(charts, degree, target)
    return check_verified(charts, degree, target, lowered=0.9 * certificate.measured / certificate.bound)


def check_moved(charts: int, degree: int, target: str) -> Verdict:
    """A coefficient that changes the function by more than the slack."""
    _, certificate = certified(charts, degree, target)
    return check_verified(charts, degree, target, moved=4 * certificate.bound)


STATEMENTS = (
    Statement(
        name="certificates.circle",
        source="ours",
        claim="sup_M |fl(T) - f| <= bound for networks drawn on the circle: proved by construct.certify from the "
        "weights, proved again by the independent verifier, and not below the error that a search finds",
        latex=r"$\sup_M|\mathrm{fl}(T)-f|\le\mathrm{bound}$ for drawn networks on the circle, proved twice.",
        hypotheses={
            "charts": Hypothesis("3 <= charts <= 8, an admissible cover", st.integers(3, 8)),
            "degree": Hypothesis("1 <= degree <= 12", st.integers(1, 12)),
            "target": Hypothesis(f"one of {', '.join(TARGETS)}", st.sampled_from(TARGETS)),
        },
        check=check_verified,
        twins=(
            Twin("bound below the measured error", "bound >= sup |T - f|", check_lowered, examples=3),
            Twin(
                "one coefficient moved after the proof", "the weights are those of the proof", check_moved, examples=3
            ),
        ),
        examples=6,
    ),
)

"""Networks with their certificates, for the tests of the verifier."""

import copy
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load, save

import construct
from construct.expressions import Expression
from construct.manifolds import Sphere
from proofs_as_code.verifier import Report, verify


@dataclass
class Proved:
    """A network and its certificate, on disk and in memory."""

    network: Path
    certificate: Path
    tensors: dict[str, np.ndarray]
    document: dict[str, Any]
    net: construct.Network
    target: Expression
    folder: Path

    def check(
        self,
        document: dict[str, Any] | None = None,
        tensors: dict[str, np.ndarray] | None = None,
        digests: bool = False,
    ) -> Report:
        """The verdict on changed copies; the digest of the certificate is made anew."""
        network, certificate = self.folder / "changed.safetensors", self.folder / "changed.json"
        document = copy.deepcopy(self.document if document is None else document)
        document["digest"] = digest(document)
        network.write_bytes(save(self.tensors if tensors is None else tensors))
        certificate.write_text(json.dumps(document))
        return verify(network, certificate, digests=digests)

    def weights(self) -> list[str]:
        """Names of the tensors of floating point numbers."""
        return sorted(name for name, array in self.tensors.items() if array.dtype.kind == "f")

    def changed(self, change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        document = copy.deepcopy(self.document)
        change(document)
        return document


def digest(document: dict[str, Any]) -> str:
    rest = {k: v for k, v in document.items() if k != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def proved(folder: Path, target: Expression, dim: int, ambient: int, epsilon: float, **options: Any) -> Proved:
    manifold = Sphere(dim=dim, ambient=ambient)
    options = {"construction": "compact"} | options
    net = construct.approximate(target, manifold, epsilon=epsilon, **options)
    found = construct.certify(net, target, manifold, tolerance=0.5)
    network, certificate = folder / "net.safetensors", folder / "net.json"
    net.save(network)
    found.save(certificate)
    tensors = dict(sorted(load(network.read_bytes()).items()))
    return Proved(network, certificate, tensors, json.loads(certificate.read_text()), net, target, folder)

"""`certify` and the verifier: nothing that is false is proved.

Oracle: the dense formula of the (changed) weights in numpy, at points of the parameter box of the (changed) document,
with its target and manifold read by `oracles.tree_values`: where the bound is exceeded, the certificate is false.
"""

from __future__ import annotations

import copy
import json
import random
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

import construct
from benchmarks.attack import mutations, oracles, pool, values
from benchmarks.attack.cases import (
    FALSE,
    NOT_FINITE,
    REFUSED,
    RIGHT,
    TURNED_AWAY,
    WRONG,
    Case,
    Outcome,
    Surface,
)  # fmt: skip
from benchmarks.attack.judge import raw, refusal
from benchmarks.attack.loading import sort_of
from construct.expressions import Expression, abs, cos, exp, sin, sqrt, tanh, variables
from construct.manifolds import Circle, Cube, Manifold, Sphere
from proofs_as_code.verifier import verify

x, y, z = variables(3)
ARGUMENTS = {"net", "target", "manifold", "kind", "epsilon", "tolerance", "max_cells", "seed", "progress", "formula",
             "weights", "timeout"}  # fmt: skip
NAMES_OF_WEIGHTS = {"hidden0", "query", "key", "value", "layers", "weights", "transformer", "readout"}
EXPRESSIONS: dict[str, Expression] = {
    "exp(x) sin(3 y + z)": exp(x) * sin(3 * y + z), "x^3 - 3 x y^2": x**3 - 3 * x * y**2, "x": 1 * x, "0": 0 * x,
    "tanh(1e6 x)": tanh(1e6 * x), "sqrt|x - 0.3|": sqrt(abs(x - 0.3)), "1/x": 1 / x, "sqrt(x)": sqrt(x),
    "cos(50 x)": cos(50 * x), "1e300 x": 1e300 * x, "1e-300 x": 1e-300 * x, "exp(800 x)": exp(800 * x),
    "|x|^2.5": abs(x) ** 2.5, "tanh(x)/tanh(y)": tanh(x) / tanh(y),
}  # fmt: skip
MANIFOLDS: dict[str, Manifold] = {
    "Cube(1)": Cube(1), "Circle()": Circle(), "Circle(ambient=3)": Circle(ambient=3), "Circle(radius=2)": Circle(2.0),
    "Sphere(2)": Sphere(2), "Cube(2)": Cube(2),
}  # fmt: skip
POINTS = 300


def false_by(
    tensors: oracles.Tensors, document: dict[str, Any], seed: int, count: int = POINTS
) -> tuple[float, float] | None:
    """The error found and the bound, if the error is above it, at points of the box of a document."""
    manifold, rng = document["manifold"], np.random.default_rng(seed)
    u = oracles.box_points(manifold["lower"], manifold["upper"], count, rng)
    on = np.stack([oracles.tree_values(tree, u) for tree in manifold["formula"]], axis=1)
    at = on @ np.asarray(manifold["frame"], dtype=np.float64).T
    single = tensors["hidden0"].dtype == np.float32
    at = at.astype(np.float32).astype(np.float64) if single else at
    precision = np.float32 if single else np.float64
    value = oracles.dense(tensors, at.astype(precision), precision).astype(np.float64)
    goal = oracles.tree_values(document["target"], at)
    with np.errstate(all="ignore"):
        error = np.abs(value - goal)
        slack = 1e-13 * (1 + np.abs(goal)) + (1e-5 if single else 0)
        bad = ~(error <= document["bound"] + slack)
    if not bad.any():
        return None
    return float(np.where(np.isfinite(error), error, np.inf)[bad].max()), float(document["bound"])


class Certifying(Surface):
    """`certify`."""

    name = "certify"
    share = 500
    limit = 25.0
    chunk = 5
    optional = frozenset({"epsilon", "tolerance", "seed", "kind", "progress", "edit"})
    nets: ClassVar[tuple[str, ...]] = ("segment", "segment", "coarse circle", "circle", "float32 circle", "random",
                                       "spline circle", "trigonometric circle", "paper circle", "ellipse")  # fmt: skip

    def generate(self, rng: random.Random) -> Case:
        net = rng.choice(self.nets)
        usual = {"segment": ("x^3 - 3 x y^2", "Cube(1)")}.get(net, ("exp(x) sin(3 y + z)", "Circle()"))
        choices: dict[str, Any] = {"net": net, "target": usual[0], "manifold": usual[1]}
        if rng.random() < 0.35:
            choices["target"] = rng.choice(tuple(EXPRESSIONS)) if rng.random() < 0.8 else values.odd(rng)
        if rng.random() < 0.1:
            choices["manifold"] = rng.choice(tuple(MANIFOLDS)) if rng.random() < 0.8 else values.odd(rng)
        choices["max_cells"] = rng.choice((1, 10, 100, 500)) if rng.random() < 0.95 else values.odd(rng)
        if rng.random() < 0.3:
            choices["epsilon"] = values.epsilon(rng, 0.7)
        if rng.random() < 0.5:
            choices["tolerance"] = rng.choice((0.01, 0.5, 2.0, 1e300)) if rng.random() < 0.8 else values.odd(rng)
        if rng.random() < 0.1:
            choices["seed"] = values.odd(rng)
        if rng.random() < 0.04:
            choices["kind"] = values.odd(rng)
        if rng.random() < 0.04:
            choices["progress"] = values.odd(rng)
        if rng.random() < 0.25:
            choices["edit"] = rng.getrandbits(32)
        return Case(choices)

    def run(self, case: Case) -> Outcome:
        net = copy.deepcopy(pool.pooled(case["net"]).net)
        target = EXPRESSIONS.get(case["target"]) if isinstance(case.choices["target"], str) else case["target"]
        manifold: Any = case["manifold"]
        if isinstance(case.choices["manifold"], str):
            manifold = MANIFOLDS[manifold]
        if "edit" in case.choices:
            try:
                self.edit(net, random.Random(case["edit"]))
            except construct.InputError as error:
                return refusal(error, NAMES_OF_WEIGHTS)
        options = {n: case[n] for n in ("epsilon", "tolerance", "max_cells", "seed", "kind", "progress")
                   if n in case.choices}  # fmt: skip
        try:
            certificate = construct.certify(net, target, manifold, **options)
        except Exception as error:
            return refusal(error, ARGUMENTS)
        numbers = (certificate.bound, certificate.local, certificate.error, certificate.measured)
        if not np.isfinite(numbers).all():
            return Outcome(NOT_FINITE, "certificate", str(numbers))
        if certificate.measured > certificate.bound:
            return Outcome(FALSE, "measured above bound", str(numbers))
        tensors = pool.tensors_of(net.transformer)
        found = false_by(tensors, certificate.document, 1)
        if found is not None:
            return Outcome(FALSE, "a bound that is exceeded", f"{found[0]} > {found[1]}")
        said = self.verified(net, certificate)
        if said.kind == TURNED_AWAY and "edit" in case.choices:
            return Outcome(REFUSED, "verifier")  # it knows the library's networks, and `certify` some more
        return said

    @staticmethod
    def edit(net: construct.Network, rng: random.Random) -> None:
        """A weight changed, through the door: a lot, a little, or by a silent head's worth."""
        with net.edit() as transformer, torch.no_grad():
            p = rng.choice([p for p in transformer.parameters() if p.numel()])
            flat = p.view(-1)
            place = rng.choice(flat.nonzero()[:, 0].tolist() or [0])
            flat[place] *= rng.choice((1 + 1e-12, 1 + 1e-3, 2.0, -1.0, 1e5, 1e-300, float("nan")))

    def verified(self, net: construct.Network, certificate: Any) -> Outcome:
        """What was proved is verified by the independent checker, or says beforehand that it cannot be."""
        network, document = self.folder / "net.safetensors", self.folder / "net.json"
        net.save(network)
        certificate.save(document)
        report = verify(network, document)
        if report.holds:
            return Outcome(RIGHT) if certificate.unverifiable is None else Outcome(WRONG, "unverifiable, and verified")
        if certificate.unverifiable is not None and "cannot check" in report.reason:
            return Outcome(RIGHT)
        return Outcome(TURNED_AWAY, f"a true certificate, {report.reason.split(':')[0]}", report.reason[:300])


@dataclass(frozen=True)
class Pair:
    """A network's tensors with the document of its certificate."""

    tensors: oracles.Tensors
    metadata: dict[str, str]
    document: dict[str, Any]


class Verifying(Surface):
    """The verifier."""

    name = "verifier"
    share = 5_000
    limit = 30.0
    chunk = 20
    optional = frozenset({"second"})
    cases: ClassVar[dict[str, tuple[str, str, str, float]]] = {
        "segment": ("segment", "x^3 - 3 x y^2", "Cube(1)", 0.1),
        "coarse circle": ("coarse circle", "exp(x) sin(3 y + z)", "Circle()", 1.0),
        "circle": ("circle", "exp(x) sin(3 y + z)", "Circle()", 1.0),
        "float32 circle": ("float32 circle", "exp(x) sin(3 y + z)", "Circle()", 1.0),
    }

    def prepare(self) -> None:
        self.pairs = {}
        for name, (net, target, manifold, tolerance) in self.cases.items():
            found = pool.pooled(net).net
            space: Manifold = MANIFOLDS[manifold]
            certificate = construct.certify(found, EXPRESSIONS[target], space, tolerance=tolerance, max_cells=300)
            found.save(self.folder / "base.safetensors")
            tensors, metadata = oracles.read_file((self.folder / "base.safetensors").read_bytes())
            document = json.loads(json.dumps(certificate.document))
            self.pairs[name] = Pair(tensors, metadata, document)

    def generate(self, rng: random.Random) -> Case:
        choices: dict[str, Any] = {"pair": rng.choice(tuple(self.cases)), "seed": rng.getrandbits(32)}
        changes = (
            "document",
            "document",
            "document",
            "tensors",
            "tensors",
            "both",
            "bytes",
            "swap",
            "bound",
            "component",
        )
        choices["change"] = rng.choice(changes)
        choices["digests"] = rng.choice(("anew", "anew", "anew", "off", "off", "old"))
        return Case(choices)

    def forged(self, case: Case, rng: random.Random) -> tuple[oracles.Tensors, Any, str]:
        """A pair that was tampered with, and how."""
        pair = self.pairs[case["pair"]]
        tensors, document, change = dict(pair.tensors), copy.deepcopy(pair.document), case["change"]
        texts = []
        if change in ("tensors", "both"):
            tensors, text = mutations.mutate_tensors(tensors, rng)
            texts.append(text)
        if change in ("document", "both"):
            document, text = mutations.mutate_json(document, rng)
            texts.append(f"document: {text}")
        if change == "swap":
            other = rng.choice(tuple(self.pairs))
            document = copy.deepcopy(self.pairs[other].document)
            texts.append(f"document of {other}")
        if change == "bound":
            factor = rng.choice((0.5, 0.9, 0.999, 1 - 1e-12, 0.0, -1.0))
            for name in rng.choice((("bound",), ("bound", "local"), ("bound", "error"), ("bound", "local", "error"))):
                document[name] = document[name] * factor
            texts.append(f"bound times {factor}")
        if change == "component":
            self.component(tensors, document, rng, texts)
        return tensors, document, ", ".join(texts) or "bytes"

    @staticmethod
    def component(tensors: oracles.Tensors, document: dict[str, Any], rng: random.Random, texts: list[str]) -> None:
        """One more component of the manifold's formula, and a weight changed."""
        manifold = document["manifold"]
        manifold["formula"].append(rng.choice((0, 1, ["x", 0], -5.0, ["mul", ["x", 0], 1e3])))
        if rng.random() < 0.5:
            document["canonical_box"].append(rng.choice((0.0, 1.0, 10.0)))
            texts.append("canonical_box longer")
        if rng.random() < 0.3:
            manifold["frame"] = [[*row, rng.choice((0.0, 1.0))] for row in manifold["frame"]]
            texts.append("frame wider")
        names = [n for n in tensors if tensors[n].dtype.kind == "f" and tensors[n].size]
        for _ in range(rng.choice((0, 1, 2))):
            name = rng.choice(names)
            tensors[name] = tensors[name].copy()
            flat = tensors[name].reshape(-1)
            place = rng.choice(np.flatnonzero(flat).tolist() or [0])
            flat[place] *= rng.choice((1e5, -1.0, 2.0))
            texts.append(f"{name}[{place}] changed")
        texts.insert(0, "a component more")

    def run(self, case: Case) -> Outcome:
        rng = random.Random(case["seed"])
        tensors, document, text = self.forged(case, rng)
        if case["digests"] == "anew" and isinstance(document, dict):
            if isinstance(document.get("network"), dict) and "sha256" in document["network"]:
                document["network"]["sha256"] = oracles.tensors_digest(oracles.weights_of(tensors))
            document["digest"] = oracles.document_digest(document)
        data = oracles.write_file(tensors, self.pairs[case["pair"]].metadata)
        proof = json.dumps(document).encode("utf-8", "surrogatepass")
        if case["change"] == "bytes":
            which = rng.random() < 0.5
            changed, text = mutations.mutate_bytes(data if which else proof, rng)
            data, proof = (changed, proof) if which else (data, changed)
        network, certificate = self.folder / "net.safetensors", self.folder / "net.json"
        network.write_bytes(data)
        certificate.write_bytes(proof)
        try:
            report = verify(network, certificate, digests=case["digests"] != "off")
        except Exception as error:
            return raw(error)
        if not report.holds:
            if not report.reason or not report.reason.isprintable():
                return Outcome("terminal escape printed", "reason of a refusal", repr(report.reason)[:200])
            return Outcome(REFUSED, report.reason.split(":")[0])
        return self.judge(case, data, proof, report, text)

    def judge(self, case: Case, data: bytes, proof: bytes, report: Any, text: str) -> Outcome:
        """Accepted: then it is true."""
        what = f"{case['change']}: {sort_of(text)}"
        try:
            tensors, document = oracles.read_file(data)[0], json.loads(proof)
            found = false_by(tensors, document, case["seed"] % 2**32)
        except Exception as error:
            return Outcome(FALSE, f"a document that cannot be read, {what}", f"{text}: {type(error).__name__}: {error}")
        if found is not None:
            return Outcome(
                FALSE, f"a false certificate, {what}", f"{text}: error {found[0]:.6g} > bound {found[1]:.6g}"
            )
        if report.bound != document["bound"]:
            return Outcome(FALSE, f"another bound than the document's, {what}", text)
        return Outcome(RIGHT)

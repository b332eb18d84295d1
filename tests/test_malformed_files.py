"""What is not a network of this library is refused by name; forgeries with digests made anew, as far as mathematics
can tell, and everything else by the digest."""

import json
import os
import struct
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import construct
from construct import loading
from construct.errors import ConstructError, InputError
from construct.manifolds import Circle, Sphere
from tests.network_files import as_bytes, forged, put_together, taken_apart, with_header
from tests.transformer.networks import circle_network, exp_sin, random_network


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """The file of a circle network."""
    path = tmp_path_factory.mktemp("files") / "net.safetensors"
    circle_network().save(path)
    return path.read_bytes()


@pytest.fixture(scope="module")
def proved(tmp_path_factory):
    """The file of a circle network with a certificate."""
    path = tmp_path_factory.mktemp("files") / "net.safetensors"
    construct.approximate(construct.targets.target("exp_sin"), Circle(), epsilon=0.1, bound="rigorous").save(path)
    return path.read_bytes()


def loaded(content, folder):
    path = folder / "net.safetensors"
    path.write_bytes(content)
    return construct.load(path)


def refusal(content, folder):
    with pytest.raises(InputError) as caught:
        loaded(content, folder)
    text = str(caught.value)
    assert text.startswith("path: expected a ") and "net.safetensors" in text and text.isprintable()
    return text


def test_the_digest_is_as_described(content, tmp_path):
    """A file taken apart and put together by other code is the same network, its digest made anew included."""
    _, metadata = taken_apart(content)
    again = forged(content)
    assert taken_apart(again)[1]["digest"] == metadata["digest"]
    net = loaded(again, tmp_path)
    assert net.claim.read and str(net.program) == str(circle_network().program)


# -- the container ----------------------------------------------------------------------------------------------------

HEADERS = {
    "nothing": (b"", b""),
    "no JSON": (b"{nothing}", b""),
    "no object": (b"[1]", b""),
    "no UTF-8": (b'{"\xff": 1}', b""),
    "a key twice": (b'{"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}, "a": 1}', b"1"),
    "not a number": (b'{"a": {"dtype": "U8", "shape": [NaN], "data_offsets": [0, 1]}}', b"1"),
    "an unknown type": (b'{"a": {"dtype": "F8", "shape": [1], "data_offsets": [0, 1]}}', b"1"),
    "an unknown key": (b'{"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1], "more": 1}}', b"1"),
    "no shape": (b'{"a": {"dtype": "U8", "data_offsets": [0, 1]}}', b"1"),
    "a negative shape": (b'{"a": {"dtype": "U8", "shape": [-1, -1], "data_offsets": [0, 1]}}', b"1"),
    "a huge shape": (b'{"a": {"dtype": "F64", "shape": [1000000000000000000000], "data_offsets": [0, 1]}}', b"1"),
    "a shape of fractions": (b'{"a": {"dtype": "U8", "shape": [1.0], "data_offsets": [0, 1]}}', b"1"),
    "five axes": (b'{"a": {"dtype": "U8", "shape": [1, 1, 1, 1, 1], "data_offsets": [0, 1]}}', b"1"),
    "offsets the wrong way": (b'{"a": {"dtype": "U8", "shape": [1], "data_offsets": [1, 0]}}', b"1"),
    "offsets beyond the file": (b'{"a": {"dtype": "U8", "shape": [9], "data_offsets": [0, 9]}}', b"1"),
    "a gap": (b'{"a": {"dtype": "U8", "shape": [1], "data_offsets": [1, 2]}}', b"12"),
    "an overlap": (
        b'{"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]},'
        b' "b": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}',
        b"1",
    ),
    "data of nobody": (b'{"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}', b"12"),
    "metadata of numbers": (b'{"__metadata__": {"format": 3}}', b""),
    "metadata as a list": (b'{"__metadata__": ["format"]}', b""),
    "deep": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, b""),
    "many brackets": (b"[" * 1_000_000, b""),
}


@pytest.mark.parametrize("name", HEADERS)
def test_what_is_no_safetensors_file_is_refused(name, tmp_path):
    assert "path: expected a safetensors file" in refusal(with_header(*HEADERS[name]), tmp_path)


@pytest.mark.parametrize("length", [0, 1, 3, 7, 8, 9, 100])
def test_a_truncated_file_is_refused(length, content, tmp_path):
    assert "path: expected a safetensors file" in refusal(content[:length], tmp_path)


@pytest.mark.parametrize("length", [2**63, 2**64 - 1, 2**40, 2**26])
def test_a_huge_header_is_refused_before_it_is_read(length, content, tmp_path):
    assert "length of the header" in refusal(struct.pack("<Q", length) + content[8:], tmp_path)


def test_what_is_no_regular_file_is_refused(tmp_path, content):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "sparse").touch()
    os.truncate(tmp_path / "sparse", 2**40)
    (tmp_path / "round").symlink_to("round")
    (tmp_path / "net").write_bytes(content)
    (tmp_path / "link").symlink_to("net")
    for path, text in (
        (tmp_path, "expected a file, got .*, which is a folder$"),
        (tmp_path / "pipe", "expected a file, got .*, which is a pipe$"),
        (tmp_path / "missing", "expected a file, got .*missing, which is not there$"),
        (tmp_path / "round", "expected a file, got .*, which is not to be had"),
        (tmp_path / "sparse", "expected a file of at most .* bytes, got"),
        ("/dev/zero", "expected a file, got /dev/zero, which is a device$"),
        (None, r"expected a path \(str or os.PathLike\), got None$"),
        (5, r"expected a path \(str or os.PathLike\), got 5$"),
        (b"net", r"expected a path \(str or os.PathLike\), got b'net'$"),
    ):
        with pytest.raises(InputError, match=f"^path: {text}"):
            construct.load(path)  # type: ignore[arg-type]
    assert construct.load(tmp_path / "link").origin is not None


@pytest.mark.parametrize("found", ["construct-transformer/1", "2", "1"])
def test_an_old_file_is_refused_as_one(found, content, tmp_path):
    text = refusal(forged(content, metadata={"format": found}), tmp_path)
    assert "path: expected a file of format 3, got format " in text and "build the network again" in text


def test_a_file_of_tensors_alone_is_refused(tmp_path):
    circle_network().export_dense(tmp_path / "open.safetensors")
    with pytest.raises(InputError, match=r"^path: expected a network of format 3, got format None in "):
        construct.load(tmp_path / "open.safetensors")


# -- tensors ----------------------------------------------------------------------------------------------------------


def tensor_damages(tensors):
    """What can happen to the tensors, with what the refusal names."""
    last, query = "blocks.4.attention.", tensors["blocks.1.attention.query"]
    hidden0, bias = tensors["hidden0"], tensors["blocks.0.ffn.layers.1.bias"]
    nan, inf = hidden0.copy(), query.copy()
    nan[3, 1], inf[0, 0, 0] = np.nan, np.inf
    single = {n: a.astype("<f4") if a.dtype.kind == "f" and n != "hidden0" else a for n, a in tensors.items()}
    wide = {n: np.zeros((*a.shape[:-2], 0, 0)) for n, a in tensors.items() if a.ndim > 1}
    return {
        "no hidden state": ({"hidden0": None}, "tensors['hidden0']: expected a tensor, got none"),
        "no read-out": ({"readout": None}, "tensors['readout']: expected a tensor, got none"),
        "a read-out of three": ({"readout": np.array([0, 1, 2])}, "tensors['readout']: expected shape (2)"),
        "a read-out of fractions": ({"readout": np.array([0.5, 1.0])}, "tensors['readout']: expected type I64"),
        "a read-out outside": ({"readout": np.array([10**6, 0])}, "readout: expected (token, row) within"),
        "a negative read-out": ({"readout": np.array([-1, 0])}, "readout: expected (token, row) within"),
        "no key": ({"blocks.1.attention.key": None}, "tensors['blocks.1.attention.key']: expected a tensor, got none"),
        "no query": ({"blocks.1.attention.query": None}, "attention.query']: expected a tensor, got none"),
        "no last query": ({f"{last}query": None}, "tensors['blocks.4.attention.query']: expected a tensor, got none"),
        "no last heads": ({f"{last}{n}": None for n in ("query", "key", "value")}, "program: expected one of (blocks"),
        "no middle block": ({n: None for n in tensors if n.startswith("blocks.2.")}, "tensors: expected those of"),
        "no last block": ({n: None for n in tensors if n.startswith("blocks.4.")}, "program: expected one of (blocks"),
        "no weight": ({"blocks.0.ffn.layers.0.weight": None}, "layers.0.weight']: expected a tensor, got none"),
        "no bias": ({"blocks.0.ffn.layers.1.bias": None}, "layers.1.bias']: expected a tensor, got none"),
        "no last layer": ({n: None for n in tensors if ".layers.2." in n}, "program: expected one that compiles"),
        "a short bias": ({"blocks.0.ffn.layers.1.bias": bias[:4]}, "layers.1.bias']: expected shape (5)"),
        "a flat query": ({"blocks.1.attention.query": query[0]}, "query']: expected shape (any, 5, 5)"),
        "another number of keys": ({"blocks.1.attention.key": query[:1]}, "key']: expected shape ("),
        "NaN": ({"hidden0": nan}, "hidden0: expected a finite array"),
        "infinity": ({"blocks.1.attention.query": inf}, "query: expected finite weights"),
        "an extra tensor": ({"more": bias}, "tensors: expected those of whole blocks and layers, numbered from 0, got"),
        "an extra layer": ({"blocks.0.ffn.layers.9.bias": bias}, "tensors: expected those of whole blocks"),
        "a tensor with an escape": ({"\x1b[31m": bias}, "tensors: expected those of whole blocks"),
        "two dtypes": (single, "expected type F64, got 'F32'"),
        "integers": ({"hidden0": hidden0.astype(np.int64)}, "tensors['hidden0'].dtype: expected one of"),
        "no rows": (wide, "tensors: expected at most"),
        "one weight": ({"blocks.1.attention.query": query * (1 + 1e-15)}, "program: expected one that compiles"),
        "other initial state": ({"hidden0": hidden0 + 1e-9}, "program: expected one with the initial state"),
        "program of bytes": ({"program": np.full(9, 255, np.uint8)}, "program: expected a text in UTF-8"),
        "program of numbers": ({"program": np.zeros(9)}, "tensors['program']: expected type U8"),
        "program of two rows": ({"program": np.zeros((2, 2), np.uint8)}, "tensors['program']: expected shape (any)"),
        "huge program": ({"program": np.full(2**22, 32, np.uint8)}, "tensors['program']: expected at most"),
    }  # fmt: skip


NETWORK = circle_network()


@pytest.mark.parametrize("name", tensor_damages({n: t.numpy() for n, t in NETWORK.transformer.state_dict().items()}))
def test_damaged_tensors_are_refused(name, content, tmp_path):
    tensors, _ = taken_apart(content)
    change, text = tensor_damages(tensors)[name]
    assert text in refusal(forged(content, change), tmp_path)
    if "compiles" not in text and "initial" not in text:
        refusal(forged(content, change | {"program": None}, {"origin": None}), tmp_path)


# -- metadata ---------------------------------------------------------------------------------------------------------

LONG = "x" * 10_000


def metadata_damages(metadata):
    """What can happen to the metadata, with what the refusal names."""
    origin, claim = json.loads(metadata["origin"]), json.loads(metadata["claim"])

    def said(**parts):
        return {"origin": {name: value for name, value in (origin | parts).items() if value != "gone"}}

    def claimed(**parts):
        return {"claim": {name: value for name, value in (claim | parts).items() if value != "gone"}}

    trial = {"charts": 1, "cells": 1, "degree": 1, "parameters": 1, "cost": 1, "error": 0.1, "kind": "fitted",
             "outcome": "chosen", "note": ""}  # fmt: skip
    sizes = origin["sizes"]
    return {
        "no box": ({"box": None}, "metadata.box: expected a value, got none"),
        "an unknown key": ({"more": "1"}, "metadata: expected no keys but format"),
        "no digest": ({"digest": None}, "metadata.digest: expected a value, got none"),
        "another digest": ({"digest": "0" * 64}, "digest: expected that of the contents"),
        "a box of words": ({"box": '["wide"]'}, "box: expected finite numbers, got 'wide'"),
        "a box of NaN": ({"box": "[NaN, 1]"}, "box: expected a JSON document"),
        "an infinite box": ({"box": "[1e400, 1]"}, "box: expected finite numbers"),
        "a box of truths": ({"box": "[true, true]"}, "box: expected finite numbers, got True"),
        "a box of half-widths": ({"box": "[2.0, 2.0]"}, "box: expected a list of lower ends and one of upper ends"),
        "a box in R^1": ({"box": "[[-2.0], [2.0]]"}, "origin.manifold: expected a manifold in R^1"),
        "a box the wrong way": ({"box": "[[2.0, 2.0], [-2.0, -2.0]]"}, "box: expected finite ends of shape (2, D)"),
        "a box of three ends": ({"box": "[[-2, -2], [0, 0], [2, 2]]"}, "box: expected finite ends of shape (2, D)"),
        "a larger box": ({"box": "[[-3.0, -3.0], [3.0, 3.0]]"}, "box: expected that of inputs around Circle"),
        "a smaller box": ({"box": "[[-0.5, -3.0], [3.0, 3.0]]"}, "origin.manifold: expected a manifold in the net"),
        "a box of nothing": ({"box": "[]"}, "box"),
        "a ragged box": ({"box": "[[1, 1], [1]]"}, "box: expected numbers, or lists of numbers"),
        "no origin": ({"origin": None}, "metadata.origin: expected a value, got none"),
        "an empty origin": ({"origin": "null"}, "origin: expected one beside a program"),
        "an origin that is no JSON": ({"origin": "{"}, "origin: expected a JSON document"),
        "an origin that is a list": ({"origin": "[1]"}, "origin: expected an object"),
        "an origin with a key twice": ({"origin": '{"sizes": 1, "sizes": 2}'}, "origin: expected a JSON document"),
        "no sizes": (said(sizes="gone"), "origin.sizes: expected a value, got none"),
        "more": (said(more=1), "origin: expected no keys but"),
        "negative sizes": (said(sizes=sizes | {"charts": -1}), "origin.sizes.charts: expected an integer >= 0"),
        "no charts": (said(sizes=sizes | {"charts": 0}), "origin.sizes.charts: expected an integer >= 1"),
        "sizes of fractions": (said(sizes=sizes | {"degree": 2.0}), "origin.sizes.degree: expected an integer"),
        "true sizes": (said(sizes=sizes | {"degree": True}), "origin.sizes.degree: expected an integer"),
        "huge sizes": (said(sizes=sizes | {"degree": 10**30}), "origin.sizes.degree: expected an integer"),
        "longer sizes": (said(sizes=sizes | {"more": 1}), "origin.sizes: expected no keys but"),
        "another construction": (said(construction="tiny"), "origin.construction: expected one of"),
        "a construction of numbers": (said(construction=[1]), "origin.construction: expected one of"),
        "coefficients": (said(coefficients="7"), "origin.coefficients: expected an integer"),
        "negative coefficients": (said(coefficients=-7), "origin.coefficients: expected an integer"),
        "more non-zero than there are": (said(nonzero_coefficients=10**9), "origin.nonzero_coefficients: expected"),
        "no history": (said(history={}), "origin.history: expected a list"),
        "a short trial": (said(history=[{"charts": 1}]), "origin.history[0].cells: expected a value, got none"),
        "an error of words": (said(history=[trial | {"error": "1"}]), "origin.history[0].error: expected a finite"),
        "a negative error": (said(history=[trial | {"error": -1.0}]), "origin.history[0].error: expected a number >="),
        "a note with an escape": (said(history=[trial | {"note": "\x1b[2J"}]), "origin.history[0].note: expected a"),
        "a long note": (said(history=[trial | {"note": LONG}]), "origin.history[0].note: expected a"),
        "a turned note": (said(history=[trial | {"note": "\u202eabc"}]), "origin.history[0].note: expected a"),
        "a torn note": (said(history=[trial | {"note": "\ud800"}]), "origin.history[0].note: expected a"),
        "a claim of words": (claimed(bound="1e-9"), "claim.bound: expected a finite number"),
        "a negative claim": (claimed(bound=-1.0), "claim.bound: expected a finite real number >= 0"),
        "a claim without epsilon": (claimed(epsilon="gone"), "claim.epsilon: expected a value, got none"),
        "a claim with more": (claimed(more=1), "claim: expected no keys but"),
        "a claim of nothing": (claimed(epsilon=0.0), "claim.epsilon: expected a finite real number > 0"),
        "a claim on no samples": (claimed(samples=0), "claim.samples: expected an integer >= 1"),
        "a claim on half a sample": (claimed(samples=0.5), "claim.samples: expected an integer"),
        "a claim of another kind": (claimed(kind="sure"), "claim.kind: expected one of"),
        "a claim with an escape": (claimed(kind="\x1b[31m"), "claim.kind: expected a printable text"),
        "a claim with seeds of words": (claimed(seeds=["1"]), "claim.seeds[0]: expected an integer"),
        "a claim about other weights": (claimed(weights="0" * 64), "claim.weights: expected the digest of these"),
        "a claim about no weights": (claimed(weights=""), "claim.weights: expected the digest of these weights"),
        "a rigorous claim": (claimed(kind="rigorous", bound=1e-99), "claim.kind: expected 'rigorous' only beside a"),
        "a certificate of another": ({"certificate": {"bound": 1, "kind": "rigorous", "network": {"sha256": ""}}},
                                     "certificate.network.sha256: expected the digest of these weights"),
        "a certificate of nothing": ({"certificate": {}}, "certificate.bound: expected a value, got none"),
        "a manifold of numbers": (said(manifold=7), "origin.manifold: expected an object"),
        "a manifold without a name": (said(manifold={"radius": 1}), "origin.manifold.name: expected a value, got none"),
        "a manifold of no name": (said(manifold={"name": 7}), "origin.manifold.name: expected a printable text"),
        "a manifold with an escape": (said(manifold={"name": "\x1b[2J"}), "origin.manifold.name: expected a printable"),
        "a manifold that takes less": (said(manifold={"name": "circle", "more": 1}), "origin.manifold: expected a man"),
        "a manifold of words": (said(manifold={"name": "circle", "radius": "1"}), "origin.manifold: expected a man"),
        "a manifold of another D": (said(manifold={"name": "sphere", "dim": 2}), "origin.manifold"),
        "a huge manifold": (said(manifold={"name": "sphere", "dim": 10**9}), "origin.manifold.dim: expected at most 2"),
        "a huge D": (said(manifold={"name": "circle", "ambient": 900}), "origin.manifold.ambient: expected at most 2"),
        "a larger manifold": (said(manifold={"name": "circle", "radius": 2.0}), "box: expected that of inputs"),
    }  # fmt: skip


METADATA = {"origin": json.dumps({"sizes": {}}), "claim": "{}"}


@pytest.mark.parametrize("name", metadata_damages(METADATA))
def test_damaged_metadata_are_refused(name, content, tmp_path):
    _, metadata = taken_apart(content)
    change, text = metadata_damages(metadata)[name]
    assert text in refusal(forged(content, metadata=change), tmp_path)


def test_a_rigorous_claim_below_its_certificate_is_refused(proved, tmp_path):
    net = loaded(proved, tmp_path)
    assert net.claim.kind == "rigorous" and "not verified here" in repr(net)
    assert "claim.bound: expected at least that of the certificate" in refusal(
        forged(proved, claim={"bound": net.claim.bound / 2}), tmp_path
    )
    assert "claim.kind: expected 'rigorous'" in refusal(forged(proved, metadata={"certificate": "null"}), tmp_path)
    document = json.loads(taken_apart(proved)[1]["certificate"])
    assert "certificate: expected" in refusal(
        forged(proved, metadata={"certificate": document | {"bound": 1e-99}}), tmp_path
    )


def test_a_claim_that_is_only_measured_says_where_it_was_read(content, tmp_path):
    """A forged one cannot be told; that nobody here has measured it can."""
    net = loaded(forged(content, claim={"bound": 1e-99}), tmp_path)
    assert "sup error 1.000e-99 (measured, " in repr(net) and "as the file says;" in repr(net)


# -- the program ------------------------------------------------------------------------------------------------------


def program_of(content, change):
    """The file with a changed program and digests made anew."""
    program = json.loads(taken_apart(content)[0]["program"].tobytes())
    change(program)
    return forged(content, {"program": as_bytes(json.dumps(program))})


def coefficient(program):
    program["stages"][1]["rules"][0]["value"][0][2] = 0.125


def names(program):
    program["stages"][0]["name"] = "\x1b]0;owned\x07"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (coefficient, "program: expected one that compiles to these weights, got one with another"),
        (names, "stages[0].name: expected a printable text"),
        (lambda p: p["stages"].pop(), "program: expected one of (blocks, tokens, rows)"),
        (lambda p: p["stages"][2]["rules"].pop(), "heads in block 2"),
        (lambda p: p["registers"].clear(), "program: expected one with the initial state"),
        (
            lambda p: p["stages"][0].update(ffn={"gadget": "clip", "groups": [], "numbers": {"limit": 0.5}}),
            "program: expected",
        ),
        (lambda p: p["readout"].reverse(), "expected one of"),
        (lambda p: p.update(layout=None), "layout: expected an object"),
    ],
)
def test_a_program_that_is_not_of_the_weights_is_refused(change, text, content, tmp_path):
    assert text in refusal(program_of(content, change), tmp_path)


def test_a_program_that_is_dear_to_compile_is_checked_before_it_is_shown(content, tmp_path, monkeypatch):
    monkeypatch.setattr(loading, "PAIRS_AT_ONCE", 0)
    honest, forgery = loaded(content, tmp_path), loaded(program_of(content, coefficient), tmp_path)
    assert str(honest.program) == str(NETWORK.program) and repr(forgery) == repr(honest)
    x = Circle().sample(5, seed=0)
    assert torch.equal(forgery(x), NETWORK(x))
    for show in (lambda: forgery.program, lambda: forgery.origin.program, lambda: forgery.to(torch.float32).program):
        with pytest.raises(InputError, match=r"^program: expected one that compiles to these weights, got one with"):
            show()
    assert "program: expected one of (blocks" in refusal(program_of(content, lambda p: p["stages"].pop()), tmp_path)


def test_signs_of_zeros_are_those_of_the_file(content, tmp_path):
    """-0.0 equals 0.0 and has another digest: the network that is loaded is the file's, to the bit."""
    value = taken_apart(content)[0]["blocks.0.attention.value"]
    changed = np.where(value == 0, -0.0, value)
    net = loaded(forged(content, {"blocks.0.attention.value": changed}), tmp_path)
    found = net.transformer.state_dict()["blocks.0.attention.value"].numpy()
    assert (changed.view(np.int64) == found.view(np.int64)).all() and (
        value.view(np.int64) != found.view(np.int64)
    ).any()
    x = Circle().sample(5, seed=0)
    assert torch.equal(net(x), NETWORK(x))


@pytest.mark.parametrize("code", ["integer", "trigonometric"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_last_bits_of_cosines_do_not_matter_and_those_of_integers_do(code, dtype, tmp_path):
    """Another mathematical library rounds a cosine otherwise; the program is still that of the weights."""
    if code == "trigonometric" and dtype == torch.float32:
        pytest.skip("refused: float32 cannot hold it")
    construct.approximate(exp_sin, Circle(), charts=5, degree=6, position_code=code, dtype=dtype).save(tmp_path / "a")
    content = (tmp_path / "a").read_bytes()
    hidden0 = taken_apart(content)[0]["hidden0"]
    row = 2  # of the code
    hidden0[:, row] = np.nextafter(hidden0[:, row], np.inf)
    changed = forged(content, {"hidden0": hidden0})
    if code == "integer":
        assert "program: expected one with the initial state" in refusal(changed, tmp_path)
    else:
        assert str(loaded(changed, tmp_path).program) == str(construct.load(tmp_path / "a").program)


# -- accidents --------------------------------------------------------------------------------------------------------


def test_flipped_bits_and_lost_bytes_are_refused(content, tmp_path):
    """Every one of 300 flipped bits and 40 lost pieces, wherever they are."""
    rng = np.random.default_rng(0)
    path = tmp_path / "net.safetensors"
    for trial in range(340):
        damaged = bytearray(content)
        if trial < 300:
            place = int(rng.integers(8, len(content)))
            damaged[place] ^= 1 << int(rng.integers(8))
        else:
            start = int(rng.integers(len(content)))
            del damaged[start : start + int(rng.integers(1, 1000))]
        path.write_bytes(bytes(damaged))
        with pytest.raises(InputError, match=r"^path: expected a ") as caught:
            construct.load(path)
        assert str(caught.value).isprintable()


LEAVES: list[Any] = [
    None,
    True,
    -1,
    0,
    1.5,
    1e400,
    10**30,
    "",
    "a",
    "\x1b[0m",
    [],
    {},
    [[]],
    [1, "a"],
    {"name": "circle"},
    "NaN",
]


def places(document, path=()):
    yield path
    if isinstance(document, dict | list):
        for key in document if isinstance(document, dict) else range(len(document)):
            yield from places(document[key], (*path, key))


def mutated(document, rng):
    """One piece of a document replaced, removed, doubled or renamed."""
    document = json.loads(json.dumps(document))
    every = [path for path in places(document) if path]
    *way, last = every[int(rng.integers(len(every)))]
    holder = document
    for key in way:
        holder = holder[key]
    kind = int(rng.integers(4))
    if kind == 0 and isinstance(holder, dict):
        holder["more"] = holder.pop(last)
    elif kind == 1:
        del holder[last]
    elif kind == 2 and isinstance(holder, list):
        holder.append(holder[last])
    else:
        holder[last] = LEAVES[int(rng.integers(len(LEAVES)))]
    return document


def test_mutated_documents_are_refused_or_harmless(content, proved, tmp_path):
    """Grammar-based: 400 mutations of program, origin, claim and certificate, digests made anew. What is loaded all the
    same computes what it did, and its program is that of its weights."""
    rng = np.random.default_rng(1)
    x, refused = Circle().sample(3, seed=0), 0
    for _ in range(400):
        original = proved if rng.integers(2) else content
        tensors, metadata = taken_apart(original)
        name = ("program", "origin", "claim", "certificate")[int(rng.integers(4))]
        document = json.loads(tensors["program"].tobytes() if name == "program" else metadata[name])
        if document is None:
            continue
        text = json.dumps(mutated(document, rng))
        change = {"tensors": {name: as_bytes(text)}} if name == "program" else {"metadata": {name: text}}
        try:
            net = loaded(forged(original, **change), tmp_path)
        except ConstructError as error:
            assert isinstance(error, InputError) and str(error).isprintable()
            refused += 1
            continue
        (tmp_path / "original").write_bytes(original)
        honest = construct.load(tmp_path / "original")
        assert torch.equal(net(x), honest(x)) and repr(net).replace("\n", "").isprintable()
        compiled = net.program.compile(net.box.numpy())
        assert np.array_equal(compiled.hidden0, net.transformer.hidden0.numpy())
    assert refused > 200


# -- manifolds given beside a file ------------------------------------------------------------------------------------


def test_a_manifold_that_is_another_one_is_refused(tmp_path):
    path = tmp_path / "net.safetensors"
    net = circle_network()
    net.save(path)
    circle = Circle()
    assert construct.load(path, manifold=circle).manifold is circle
    for other, text in (
        (Sphere(2), r"^manifold: expected a manifold in R\^2, as the inputs, got one in R\^3"),
        (Circle(radius=0.5), "^manifold: expected None or the one that the file names, Circle"),
        (Circle(radius=9.0), "^manifold: expected a manifold in the network's box"),
        ("circle", "^manifold: expected a construct.manifolds.Manifold or None, got 'circle'"),
    ):
        with pytest.raises(InputError, match=text):
            construct.load(path, manifold=other)  # type: ignore[arg-type]
    random_network(0, ambient=2).save(path)
    with pytest.raises(InputError, match=r"^manifold: expected None for a file that holds weights alone"):
        construct.load(path, manifold=circle)


def test_a_file_put_together_by_hand_loads(content, tmp_path):
    """The order of tensors in the data is free, and so are tensors that are not aligned."""
    tensors, metadata = taken_apart(content)
    again = loaded(put_together(dict(sorted(tensors.items(), reverse=True)), metadata), tmp_path)
    assert replace(again.claim, weights="") == replace(NETWORK.claim, weights="")

"""Manifolds of one's own by name: a network that was saved on one loads with it, in another process too."""

import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import construct
from construct import manifolds
from construct.errors import InputError
from construct.manifolds import Circle, Manifold, ParametricManifold, Product, ProjectedManifold, Sphere
from construct.manifolds.base import FACTORIES

ROOT = Path(__file__).resolve().parents[2]


def ellipse(a: float = 2.0, b: float = 1.0, *, label: str = "") -> ParametricManifold:
    return ParametricManifold(
        lambda u: torch.stack([a * torch.cos(u[..., 0]), b * torch.sin(u[..., 0])], -1),
        lower=[-math.pi],
        upper=[math.pi],
        periodic=[True],
        reach=b * b / a,
        lipschitz=[a],
    )


def ring(radius: float = 1.0) -> ProjectedManifold:
    return ProjectedManifold(
        lambda x: radius * x / x.norm(dim=-1, keepdim=True), dim=1, ambient=2, reach=radius, box=[radius, radius]
    )


@pytest.fixture(autouse=True)
def _as_before():
    known = dict(FACTORIES)
    yield
    FACTORIES.clear()
    FACTORIES.update(known)


def product(x):
    return x[..., 0] * x[..., 1]


def test_what_a_factory_builds_knows_its_name_and_arguments():
    named = manifolds.register("ellipse", ellipse)
    for made in (named(1.5), named(a=1.5), manifolds.manifold("ellipse", a=1.5)):
        assert made.spec() == {"name": "ellipse", "a": 1.5, "b": 1.0, "label": ""} == manifolds.spec_of(made)
        again = manifolds.from_spec(made.spec())
        assert (
            isinstance(again, ParametricManifold) and repr(again) == repr(ellipse(1.5)) and again.spec() == made.spec()
        )
    assert "ellipse" in manifolds.manifold_names() and manifolds.is_registered("ellipse")
    assert manifolds.spec_of(ellipse(1.5)) is None and manifolds.spec_of(Sphere(2)) == Sphere(2).spec()
    whole = Product(named(1.5), Circle())
    assert repr(manifolds.from_spec(whole.spec())) == repr(whole)


def test_one_manifold_may_be_behind_several_names_and_keeps_its_own():
    only = ellipse()
    first, second = manifolds.register("first", lambda: only)(), manifolds.register("second", lambda: only)()
    assert (first.spec()["name"], second.spec()["name"]) == ("first", "second") and manifolds.spec_of(only) is None


def test_a_network_loads_with_its_manifold(tmp_path):
    named = manifolds.register("mine", ellipse)
    space = named()
    net = construct.approximate(product, space, epsilon=1e-1)
    net.save(tmp_path / "net.safetensors")
    other = construct.load(tmp_path / "net.safetensors")
    x = space.sample(20, seed=0)
    assert other.manifold is not None and other.manifold.spec() == space.spec()
    assert torch.equal(other(x, check=True), net(x)) and repr(other).splitlines()[1] == repr(net).splitlines()[1]


def test_a_projected_manifold_is_registered_alike(tmp_path):
    named = manifolds.register("ring", ring)
    net = construct.approximate(product, Circle(), charts=5, degree=4)
    assert net.origin is not None
    net.origin = replace(net.origin, manifold=named(1.0))
    net.save(tmp_path / "net.safetensors")
    assert repr(construct.load(tmp_path / "net.safetensors").manifold) == repr(ring(1.0))


def test_without_it_the_network_says_what_is_missing(tmp_path):
    named = manifolds.register("mine", ellipse)
    path, again = tmp_path / "net.safetensors", tmp_path / "again.safetensors"
    space = named(1.5, label="a")
    net = construct.approximate(product, space, charts=8, degree=4)
    net.save(path)
    del FACTORIES["mine"]
    other = construct.load(path)
    x = space.sample(20, seed=0)
    assert other.manifold is None and torch.equal(other(x), net(x))
    missing = r"a manifold that is not registered here: 'mine' \(a=1.5, b=1.0, label='a'\); construct.manifolds.reg"
    with pytest.raises(InputError, match=rf"^check: expected a network that knows its manifold, got one on {missing}"):
        other(x, check=True)
    assert "a manifold that is not registered here: 'mine' (a=1.5," in repr(other)
    other.save(again)  # which knows no more, and forgets nothing
    assert "'mine' (a=1.5," in repr(construct.load(again))
    assert construct.load(path, manifold=ellipse(1.5)).manifold is not None
    manifolds.register("mine", ellipse)
    assert repr(construct.load(again).manifold) == repr(space)
    with pytest.raises(InputError, match=r"^manifold: expected None or the one that the file names"):
        construct.load(path, manifold=manifolds.manifold("mine", a=1.4))


def test_another_process_loads_it(tmp_path):
    manifolds.register("mine", ellipse)
    construct.approximate(product, manifolds.manifold("mine", a=1.5), charts=8, degree=4).save(tmp_path / "net")
    code = (
        "import sys, construct; from construct import manifolds; from tests.manifolds.test_register import ellipse\n"
        "print(construct.load(sys.argv[1]).manifold); manifolds.register('mine', ellipse)\n"
        "print(construct.load(sys.argv[1]).manifold)"
    )
    said = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "net")], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert said.stdout.splitlines() == ["None", repr(ellipse(1.5))]


def moved(by: float = 0.0) -> ParametricManifold:
    raise RuntimeError("of the factory")


def test_a_factory_that_fails_or_returns_something_else_is_refused(tmp_path):
    named = manifolds.register("mine", ellipse)
    construct.approximate(product, named(), charts=12, degree=4).save(tmp_path / "net")
    cases: tuple[tuple[Callable[..., Any], str], ...] = (
        (moved, r"\(origin.manifold: expected a manifold that can be built here, got arguments that it does not take"),
        (
            lambda a, b, label: 3,
            r"\(origin.manifold: expected .*factory: expected one of 'mine' that returns a Manifold",
        ),
        (lambda a, b, label: ellipse(9 * a, b), r"\(origin.manifold: expected a manifold in the network's box"),
        (lambda a, b, label: Sphere(2), r"\(origin.manifold: expected a manifold in R\^2, as the inputs"),
    )
    for factory, text in cases:
        FACTORIES.clear()
        manifolds.register("mine", factory)
        with pytest.raises(InputError, match=rf"^path: expected a network of format 3, got .*{text}"):
            construct.load(tmp_path / "net")


def other(a: float = 2.0) -> Manifold:
    return ellipse(a)


@pytest.mark.parametrize(
    ("name", "factory", "text"),
    [
        ("sphere", ellipse, "name: expected one that no other manifold has, got 'sphere'"),
        ("taken", ellipse, "name: expected one that no other manifold has, got 'taken'"),
        ("", ellipse, "name: expected a letter, then"),
        ("a b", ellipse, "name: expected a letter, then"),
        ("\x1b[31m", ellipse, "name: expected a letter, then"),
        ("x" * 65, ellipse, "name: expected a letter, then"),
        (7, ellipse, "name: expected a letter, then"),
        ("mine", 7, "factory: expected a callable that returns a Manifold, got 7"),
        ("mine", lambda *a: ellipse(), "factory: expected parameters that can be given by name"),
        ("mine", lambda a, /: ellipse(), "factory: expected parameters that can be given by name"),
        ("mine", lambda name: ellipse(), "factory: expected parameters that can be given by name, other than 'name'"),
    ],
)
def test_what_cannot_be_registered(name, factory, text):
    manifolds.register("taken", other)
    with pytest.raises(InputError, match=f"^{text}"):
        manifolds.register(name, factory)


def test_the_same_factory_may_be_registered_again():
    """As a cell of a notebook that is run twice."""
    manifolds.register("mine", ellipse)
    manifolds.register("mine", ellipse)
    manifolds.register("mine", manifolds.register("mine", ellipse))


def test_a_class_does_not_take_the_name_of_a_factory():
    manifolds.register("mine", ellipse)
    with pytest.raises(InputError, match=r"^name: expected another name than a registered factory has, got 'mine'"):

        class Mine(Sphere):
            name = "mine"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"a": math.nan}, "arguments of 'mine': expected what a JSON document can hold"),
        ({"a": torch.ones(1)}, "arguments of 'mine': expected what a JSON document can hold"),
        ({"a": lambda: 1}, "arguments of 'mine': expected what a JSON document can hold"),
        ({"c": 1}, "arguments: expected those of 'mine', got c"),
        ({"label": "x" * 2**21}, "arguments: expected at most"),
    ],
)
def test_arguments_that_no_file_can_hold_are_refused(arguments, text):
    named = manifolds.register("mine", ellipse)
    for make in (lambda: named(**arguments), lambda: manifolds.manifold("mine", **arguments)):
        with pytest.raises(InputError, match=f"^{text}"):
            make()

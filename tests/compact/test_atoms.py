"""The table of atoms is all there is to an atom: a network follows from a changed table, a wrong line is refused."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.polynomial import chebyshev

from construct.atlas import atlas_for
from construct.compact import atoms
from construct.compact.atoms import ATOMS, check_atoms, derived
from construct.local import PolynomialSpace, fit_charts
from construct.manifolds import Circle, Sphere
from construct.theorem import network_of
from tests.transformer.networks import exp_sin

Z = np.linspace(-1, 1, 401)


def value(rule):
    """An atom's values from its rule, in floating point, register by register."""
    t2, t3 = 2 * Z * Z - 1, 4 * Z**3 - 3 * Z
    held = {"A": {"a": t3, "b": t2}, "T": {"a": t3, "b": t2}, "B": {"a": Z, "b": 0 * Z}}.get(
        rule.holder, {"a": 0 * Z, "b": 0 * Z}
    )
    if not rule.form:
        return held[rule.register]
    target, source = {**held, "1": 1.0}, {"a": t3, "b": t2, "1": 1.0}
    score = np.maximum(sum(g * target[i] * source[j] for (i, j), g in rule.form.items()), 0.0)
    return held[rule.register] + sum(v * score * source[j] for (i, j), v in rule.value.items() if i == rule.register)


@pytest.mark.parametrize("rule", ATOMS, ids=lambda rule: f"F{rule.index}")
def test_series_are_what_the_rules_compute(rule):
    assert np.abs(chebyshev.chebval(Z, rule.series) - value(rule)).max() < 1e-14
    assert 0.999 < rule.scale * np.abs(value(rule)).max() <= 1


def patched(monkeypatch, **changes):
    table = tuple(replace(rule, **changes.get(f"F{rule.index}", {})) for rule in ATOMS)
    monkeypatch.setattr(atoms, "ATOMS", table)


def test_a_network_follows_from_a_changed_table(monkeypatch):
    """F4 and F5 by `relu(1 + T2)` instead of `relu(1 - T2)`: nothing else is touched, the function is the same."""
    form = {("1", "1"): 1.0, ("1", "b"): 1.0}
    patched(
        monkeypatch,
        F4={"form": form, "identity": lambda z, t2, t3: (1 + t2) * t2},
        F5={"form": form, "identity": lambda z, t2, t3: (1 + t2) * t3},
    )
    check_atoms()
    for manifold, charts, space in ((Circle(), 4, PolynomialSpace(1, 13)), (Sphere(2), 6, PolynomialSpace(2, 6))):
        approximator = fit_charts(exp_sin, atlas_for(manifold, charts=charts), space)
        net = network_of(approximator)
        x = manifold.sample(100, seed=1)
        assert float((net(x) - approximator(x)).abs().max()) < 1e-10
        assert "relu(1 + b_s)" in str(net.program) and "relu(1 - b_s)" not in str(net.program)


def test_an_atom_may_be_kept_elsewhere(monkeypatch):
    """F4 and F5 in a holder of their own name: the layout, the places and the rules follow."""
    patched(monkeypatch, F4={"holder": "D"}, F5={"holder": "D"})
    approximator = fit_charts(exp_sin, atlas_for(Circle(), charts=4), PolynomialSpace(1, 7))
    net = network_of(approximator)
    x = approximator.atlas.manifold.sample(100, seed=1)
    assert "D" in net.program.layout and "C" not in net.program.layout
    assert float((net(x) - approximator(x)).abs().max()) < 1e-10


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"F6": {"value": {("a", "1"): 3.0}}}, "F6: its rule makes"),
        ({"F5": {"identity": lambda z, t2, t3: t2 * t3}}, "F5: its rule makes"),
        ({"F7": {"form": {("a", "a"): 1.0}}}, "F7: its score is negative"),
        ({"F8": {"value": {("b", "1"): 4.0}}}, "F8: its rule makes"),
        ({"F2": {"index": 9}}, "F9: its rule makes"),
    ],
)
def test_a_wrong_line_of_the_table_is_refused(monkeypatch, changes, text):
    patched(monkeypatch, **changes)
    with pytest.raises(AssertionError, match=text):
        check_atoms()


def test_one_holder_has_one_form(monkeypatch):
    patched(monkeypatch, F5={"form": {("1", "1"): 1.0}})
    with pytest.raises(AssertionError, match="one holder, one form"):
        atoms.basis_rules({4, 5})


def test_derived_is_exact():
    """Dyadic numbers throughout: series equal their identities to the last bit."""
    for rule in ATOMS:
        assert np.all(derived(rule) * 2**10 == np.round(derived(rule) * 2**10))

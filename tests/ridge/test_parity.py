"""Even and odd targets: which are found, atoms without a shift, and what these save."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import construct
from construct import Network, network_of
from construct.errors import InputError
from construct.manifolds import Circle, Cube, FlatTorus, Helix, Sphere, SwissRoll, Torus
from construct.ridge.approximator import RidgeApproximator, RidgeBasis
from construct.ridge.coordinates import Coordinates
from construct.ridge.directions import Lattice
from construct.ridge.layouts import dense_parameters, needed_numbers, ridge_program
from construct.ridge.waves import Waves
from construct.symmetry import parity_of
from proofs_as_code.verifier import verify

SYMMETRIC = [Circle(), Sphere(2), Sphere(2, ambient=7), Torus(), FlatTorus(2), Cube(2)]


def even(x):
    return torch.cos(3 * x[..., 0] - x[..., 1]) + x[..., 0] * x[..., 1]


def odd(x):
    return torch.sin(3 * x[..., 0] - x[..., 1]) * torch.exp(x[..., 0] * x[..., 1]) + 0.7


def neither(x):
    return even(x) + 1e-3 * x[..., 0]


def ridge(target, manifold, epsilon=None, **options):
    return construct.approximate(target, manifold, epsilon, construction="ridge", progress=False, **options)


@pytest.mark.parametrize("manifold", SYMMETRIC, ids=repr)
def test_parities_on_symmetric_manifolds(manifold):
    centre = manifold.box.mean(dim=0)
    for target, wanted in ((even, 0), (odd, 1), (neither, None)):
        assert parity_of(lambda x, f=target: f(x - centre), manifold, 3) == wanted
    assert parity_of(lambda x: torch.full_like(x[..., 0], 0.3), manifold, 3) == 0


@pytest.mark.parametrize("manifold", [SwissRoll(), Helix()], ids=repr)
def test_manifolds_that_are_not_symmetric_have_no_parity(manifold):
    assert parity_of(even, manifold, 0) is None


def test_a_parity_about_another_point_is_none():
    manifold = Sphere(2)
    assert parity_of(lambda x: even(x - 0.2), manifold, 0) is None
    assert parity_of(neither, manifold, 0, tolerance=3e-3) == 0


def test_what_is_watched_is_looked_at():
    """A bump of width 1e-4 on an even target, which no sample meets."""
    circle = Circle()
    place = torch.tensor([[0.6, 0.8]], dtype=torch.float64)

    def bumped(x):
        return even(x) + torch.exp(-((x - place).square().sum(dim=-1)) / 1e-8)

    assert parity_of(bumped, circle, 0) == 0
    assert parity_of(bumped, circle, 0, watched=place) is None


# -- networks ---------------------------------------------------------------------------------------------------------


def formula(found, x):
    """The approximator again, with cosines."""
    basis, c = found.basis, found.basis.coordinates
    y = (x[:, c.chosen] - c.centre) * c.scale * basis.scales
    total = np.full(len(x), found.constant)
    for number, coefficient in zip(basis.numbers, found.coefficients.tolist(), strict=True):
        a = np.clip(y @ basis.family.vectors[number], -1, 1)
        total += coefficient * (1 + np.cos(basis.degree * np.arccos(a)))
    return total


def approximator(family, degree, ambient, seed):
    rng = np.random.default_rng(seed)
    k = family.vectors.shape[1]
    chosen = np.sort(rng.choice(ambient, k, replace=False))
    coordinates = Coordinates(chosen, rng.uniform(-0.5, 0.5, k), rng.uniform(0.5, 2.0, k), 1.0)
    numbers = np.sort(rng.choice(family.count, max(1, family.count // 2), replace=False))
    scales = rng.uniform(0.2, 0.7, k) / np.abs(family.vectors).max()
    basis = RidgeBasis(Cube(ambient), coordinates, degree, family, numbers, scales, shifted=False)
    return RidgeApproximator(basis, torch.from_numpy(rng.normal(size=len(numbers))), 0.4)


FAMILIES = [Lattice(2, 3), Lattice(3, 2, "octahedron"), Lattice(2, 5, "shell"), Lattice(3, 3, "shell"),
            Waves((2,), 16), Waves((1,), 8, signed=True)]  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(FAMILIES), st.sampled_from([1, 2, 3, 4, 6, 9]), st.integers(0, 2), st.integers(0, 2**31))
def test_networks_without_a_shift_are_their_formula_on_all_of_space(family, degree, more, seed):
    k = family.vectors.shape[1]
    found = approximator(family, degree, k + more, seed)
    program = ridge_program(found)
    net = Network(program.compile(found.manifold.box.numpy()))
    net.outside = "evaluate"
    x = np.random.default_rng(seed).uniform(-4, 4, (200, k + more))
    wanted = formula(found, x)
    size = 1 + np.abs(found.coefficients.numpy()).sum()
    assert np.abs(net(torch.from_numpy(x)).numpy() - wanted).max() <= 1e-11 * size
    assert np.abs(found(torch.from_numpy(x)).numpy() - wanted).max() <= 1e-12 * size
    assert program.counts.stored_numbers == needed_numbers(found)
    assert program.counts.parameters == dense_parameters(found)


def test_a_shift_of_another_kind_is_refused():
    found = approximator(Lattice(2, 3), 3, 2, 0).basis
    with pytest.raises(InputError, match=r"^shifted: expected True or False, got 1"):
        RidgeBasis(found.manifold, found.coordinates, 3, found.family, found.numbers, found.scales, 1)  # type: ignore[arg-type]


# -- planning ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("manifold", "degree", "full", "half"), [(Circle(), 8, 16, 8), (Sphere(2), 6, 48, 27)], ids=repr
)
def test_even_targets_take_half_as_many_numbers(manifold, degree, full, half):
    """The same polynomial: its error with all directions is that of twice as many shifted atoms."""

    def shaken(x):
        return even(x) + 1e-6 * x[..., 0]

    found, plain = (ridge(target, manifold, degree=degree) for target in (even, shaken))
    assert (found.approximator.basis.shifted, plain.approximator.basis.shifted) == (False, True)
    assert plain.approximator.basis.count == full
    assert found.approximator.basis.count in (half, half + 1)
    x = manifold.sample(20_000, seed=11)
    errors = [float((net(x) - even(x)).abs().max()) for net in (found, plain)]
    assert errors[0] <= 1.1 * errors[1] + 2e-6


@pytest.mark.parametrize("width", [None, 5])
@pytest.mark.parametrize(("target", "epsilon"), [(even, 1e-3), (odd, 1e-2)])
def test_epsilon_is_met_without_a_shift(target, epsilon, width):
    net = ridge(target, Circle(), epsilon, embedding_dim=width)
    x = Circle().sample(20_000, seed=12)
    assert float((net(x) - target(x)).abs().max()) <= epsilon
    notes = [trial.note for trial in net.origin.history if trial.degree % 2 == (target is odd)]
    assert notes and all("no shift" in note for note in notes)


def test_directions_are_chosen_from_a_fine_shell():
    """A harmonic of degree 8 and order 8: two forms of its plane in 45 dimensions."""
    sphere = Sphere(2)

    def harmonic(x):
        return torch.complex(x[..., 0], x[..., 1]).pow(8).real

    plain, sparse = (ridge(harmonic, sphere, 2e-2, sparse=flag) for flag in (False, True))
    x = sphere.sample(20_000, seed=13)
    assert float((sparse(x) - harmonic(x)).abs().max()) <= 2e-2
    assert sparse.approximator.parameters <= 0.6 * plain.approximator.parameters


def test_saved_networks_without_a_shift_are_the_same(tmp_path):
    net = ridge(even, Sphere(2, ambient=4), degree=6)
    assert not net.approximator.basis.shifted
    net.save(tmp_path / "net.safetensors")
    again = construct.load(tmp_path / "net.safetensors")
    x = Sphere(2, ambient=4).sample(100, seed=0)
    assert torch.equal(again(x), net(x)) and again.digest == net.digest
    assert again.architecture.stored_numbers == net.architecture.stored_numbers == needed_numbers(net.approximator)
    rebuilt = network_of(net.approximator)
    assert rebuilt.digest == net.digest


@pytest.mark.parametrize(("manifold", "degree", "dtype"), [(Circle(), 8, torch.float64), (Circle(), 3, torch.float32),
                                                          (Sphere(2), 4, torch.float64)], ids=repr)  # fmt: skip
def test_certificates_of_networks_without_a_shift(manifold, degree, dtype, tmp_path):
    """Proved by the library and by the verifier, and true."""
    target = construct.targets.target("sin_product" if degree == 3 else "oscillation" if degree == 8 else "runge")
    net = ridge(target, manifold, degree=degree, dtype=dtype)
    assert not net.approximator.basis.shifted
    certificate = construct.certify(net, target, manifold)
    net.save(tmp_path / "net.safetensors")
    certificate.save(tmp_path / "net.json")
    report = verify(tmp_path / "net.safetensors", tmp_path / "net.json")
    assert report.holds, report.reason
    x = manifold.sample(20_000, seed=14)
    error = float((net(x.to(dtype)).double() - target(x)).abs().max())
    assert 0.5 * certificate.bound <= error <= certificate.bound

"""Parts of ridge networks made by hand: what is no basis, no coefficients, no coordinates is refused and named."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from construct.errors import InputError
from construct.manifolds import Cube
from construct.ridge.approximator import RidgeApproximator, RidgeBasis
from construct.ridge.charts import SharedRidgeApproximator
from construct.ridge.coordinates import Coordinates
from construct.ridge.directions import Lattice
from construct.ridge.maps import chain
from construct.ridge.waves import Waves

COORDINATES = Coordinates(np.arange(2), np.zeros(2), np.ones(2), 1.0)
BASIS = RidgeBasis(Cube(2), COORDINATES, 3, Lattice(2, 3), np.arange(4), np.full(2, 0.2))
GOOD = torch.ones(4, dtype=torch.float64)
NAN = np.array([1.0, np.nan])


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"manifold": 3}, "manifold"),
        ({"coordinates": np.ones(2)}, "coordinates"),
        ({"family": np.ones((3, 2))}, "family"),
        ({"family": Lattice(3, 2)}, "family.vectors|family"),
        ({"degree": 5}, "degree"),
        ({"degree": 2**41}, "degree"),
        ({"numbers": [0, 1]}, "numbers"),
        ({"numbers": np.array([0.0, 1.0])}, "numbers"),
        ({"numbers": np.array([1, 0])}, "numbers"),
        ({"numbers": np.array([0, 10])}, "numbers"),
        ({"scales": NAN}, "scales"),
        ({"scales": np.array([1.0, 0.0])}, "scales"),
        ({"scales": np.ones(3)}, "scales"),
        ({"scales": np.array(["a", "b"])}, "scales"),
        ({"coordinates": replace(COORDINATES, chosen=np.array([1, 0]))}, "coordinates.chosen"),
        ({"coordinates": replace(COORDINATES, chosen=np.array([0, 2]))}, "coordinates.chosen"),
        ({"coordinates": replace(COORDINATES, scale=-np.ones(2))}, "coordinates.scale"),
        ({"coordinates": replace(COORDINATES, centre=NAN)}, "coordinates.centre"),
        ({"coordinates": replace(COORDINATES, projection=np.ones((2, 2)))}, "coordinates.chosen"),
    ],
    ids=str,
)
def test_what_is_no_basis_is_refused(change, name):
    with pytest.raises(InputError, match=rf"^({name}): expected .*, got "):
        replace(BASIS, **change)


@pytest.mark.parametrize(
    "coefficients",
    [
        np.ones(4),
        GOOD.float(),
        GOOD[:3],
        GOOD * torch.nan,
        GOOD.to("meta"),
        GOOD.clone().requires_grad_(),
        GOOD.to_sparse(),
    ],
    ids=str,
)
def test_what_are_no_coefficients_is_refused(coefficients):
    with pytest.raises(InputError, match=r"^coefficients: expected finite numbers \(4,\), a float64 tensor .*, got "):
        RidgeApproximator(BASIS, coefficients, 0.0)


def test_a_basis_and_a_constant_of_another_kind_are_refused():
    with pytest.raises(InputError, match=r"^basis: expected a RidgeBasis"):
        RidgeApproximator(COORDINATES, GOOD, 0.0)  # type: ignore[arg-type]
    for constant in (float("nan"), "1", None):
        with pytest.raises(InputError, match=r"^constant: expected "):
            RidgeApproximator(BASIS, GOOD, constant)  # type: ignore[arg-type]


def shared(**change):
    waves = RidgeBasis(Cube(2), COORDINATES, 3, Waves((2,), 16), np.arange(4), np.full(2, 0.2))
    good: dict[str, Any] = {
        "basis": waves,
        "centres": np.zeros((2, 2)),
        "radius": 1.0,
        "core": 0.5,
        "coefficients": torch.ones(2, 4, dtype=torch.float64),
        "constants": torch.ones(2, dtype=torch.float64),
    }
    return SharedRidgeApproximator(**(good | change))


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"basis": 1}, "basis"),
        ({"centres": np.zeros((2, 3))}, "centres"),
        ({"centres": np.zeros((0, 2))}, "centres"),
        ({"centres": [[0.0, 0.0]] * 2}, "centres"),
        ({"core": 1.0}, "core"),
        ({"core": np.nextafter(1.0, 0.0)}, "core"),
        ({"radius": float("inf")}, "radius"),
        ({"coefficients": torch.ones(2, 3, dtype=torch.float64)}, "coefficients"),
        ({"constants": torch.ones(2)}, "constants"),
    ],
    ids=str,
)
def test_what_are_no_charts_is_refused(change, name):
    assert shared().slope == pytest.approx(4 / 3)
    with pytest.raises(InputError, match=rf"^{name}: expected .*, got "):
        shared(**change)


def test_chains_of_huge_degrees_are_refused():
    assert len(chain(2**40)) == 40
    with pytest.raises(InputError, match=r"^degree: expected .*, got "):
        chain(2**41)

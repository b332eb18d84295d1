"""Version, licence and dependencies say the same everywhere."""

import importlib
import re
import tomllib
from itertools import chain
from pathlib import Path

import construct

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
NAME = re.compile(r"[A-Za-z0-9._-]+")


def field(name: str) -> str:
    """A top-level scalar of CITATION.cff."""
    found = re.search(rf"^{name}: *\"?([^\"\n]+)\"?$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert found is not None, f"CITATION.cff has no {name}"
    return found[1]


def normalised(requirement: str) -> str:
    found = NAME.match(requirement)
    assert found is not None
    return re.sub(r"[-_.]+", "-", found[0]).lower()


def test_versions_agree() -> None:
    assert construct.__version__ == PROJECT["version"]
    assert field("version") == PROJECT["version"]


def test_changelog_starts_with_this_version() -> None:
    versions = re.findall(r"^## \[([^\]]+)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert versions[0] == PROJECT["version"]


def test_licence_is_mit_everywhere() -> None:
    assert PROJECT["license"] == field("license") == "MIT"
    assert (ROOT / "LICENSE").read_text().startswith("MIT License")


def test_distribution_does_not_take_the_name_of_another_project() -> None:
    assert PROJECT["name"] != "construct"


def test_constraints_pin_every_dependency_exactly() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", pin) for pin in pins)  # no local builds
    wanted = [*PROJECT["dependencies"], *chain(*PROJECT["optional-dependencies"].values())]
    assert {normalised(r) for r in wanted} <= {normalised(pin) for pin in pins}


def test_every_python_since_the_oldest_is_named() -> None:
    oldest = PROJECT["requires-python"].removeprefix(">=3.")
    named = [
        c.rpartition(" 3.")[2] for c in PROJECT["classifiers"] if c.startswith("Programming Language") and "." in c
    ]
    assert named == [oldest, "12", "13"] and oldest == "11"


def test_the_tests_install_every_extra() -> None:
    extras = PROJECT["optional-dependencies"]
    assert set(chain(*extras.values())) == set(extras["test"])


def test_the_script_is_the_command_line() -> None:
    assert PROJECT["scripts"] == {"construct": "construct.cli:main"}
    module, _, function = PROJECT["scripts"]["construct"].partition(":")
    assert callable(getattr(importlib.import_module(module), function))


def test_packages_are_typed() -> None:
    built = PYPROJECT["tool"]["hatch"]["build"]["targets"]
    assert built["wheel"]["packages"] == ["construct", "proofs_as_code"]
    assert set(built["wheel"]["packages"]) <= set(built["sdist"]["include"])
    assert all((ROOT / package / "py.typed").exists() for package in built["wheel"]["packages"])
    assert all((ROOT / included).exists() for included in built["sdist"]["include"])

"""Figures are drawn for curves and surfaces, with and without an atlas, and touch no global state."""

import io
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import construct
from construct import targets
from construct.atlas import atlas_for
from construct.errors import InputError
from construct.history import History
from construct.manifolds import Circle, FlatTorus, Helix, Manifold, Sphere
from construct.plotting import figure, history_figure

TARGET = targets.target("exp_sin")


class Almost(torch.nn.Module):
    """The target and a small known error."""

    def __init__(self, manifold: Manifold | None) -> None:
        super().__init__()
        self.size = torch.nn.Parameter(torch.tensor(1e-3, dtype=torch.float64))
        atlas = None if manifold is None else atlas_for(manifold)
        self.approximator = SimpleNamespace(atlas=atlas)
        self.claim = SimpleNamespace(epsilon=1e-2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return TARGET(x) + self.size * torch.cos(9 * x[..., 0])


@pytest.mark.parametrize("manifold", [Circle(ambient=5), Helix(), Sphere(dim=2, ambient=6), FlatTorus(dim=2)], ids=repr)
def test_three_panels_and_a_title(manifold: Manifold) -> None:
    drawn = figure(Almost(manifold), TARGET, manifold)
    titles = [axes.get_title() for axes in drawn.axes]
    assert sum(bool(title) for title in titles) == 3
    assert any(title.startswith("atlas: ") for title in titles)
    title = drawn.get_suptitle()
    assert repr(manifold) in title and "epsilon 0.01" in title and "sup 1.000e-03" in title
    image = io.BytesIO()
    drawn.savefig(image, format="png", dpi=40)
    assert image.getvalue().startswith(b"\x89PNG")
    assert "matplotlib.pyplot" not in sys.modules


def test_a_network_without_an_atlas() -> None:
    for manifold in (Circle(), Sphere(dim=2)):
        drawn = figure(Almost(None), TARGET, manifold)
        assert "manifold, no atlas" in [axes.get_title() for axes in drawn.axes]


def test_a_missing_matplotlib_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"plot: expected matplotlib to be installed \(`pip install .*`\), got no"):
        figure(Almost(None), TARGET, Circle())


def test_more_than_two_dimensions_are_refused() -> None:
    with pytest.raises(InputError, match="manifold: expected dimension 1 or 2 for a figure, got 3"):
        figure(Almost(None), TARGET, Sphere(dim=3))


def test_the_history_of_a_plan_is_drawn(tmp_path: Path) -> None:
    origin = construct.approximate(TARGET, Circle(), epsilon=1e-2).origin
    assert origin is not None
    drawn = history_figure(origin.history)
    drawn.savefig(tmp_path / "history.png")
    counted, ordered = drawn.axes
    assert sum(len(line.get_xdata()) for line in ordered.lines) == len([t for t in origin.history if t.error])
    assert {text.get_text() for text in ordered.texts} == {"chosen"} and counted.lines
    with pytest.raises(InputError, match="history: expected at least one trial, got none"):
        history_figure(History())

"""Trained networks behind the interface of every rival. Sizes are settings, so are the limits of the training."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch

from construct.baselines.base import Baseline, BaselineCounts, Method, Settings, known
from construct.baselines.trained.crate import Crate
from construct.baselines.trained.kan import KAN, ORDER, layer_class
from construct.baselines.trained.models import Model, MultilayerPerceptron, SoftmaxTransformer
from construct.baselines.trained.protocol import Protocol
from construct.baselines.trained.training import Make, train
from construct.manifolds import Manifold
from construct.progress import Progress, silent
from construct.validation import positive_integer, positive_real

GOALS = (300, 1_000, 3_000, 10_000, 30_000, 100_000, 300_000)
"""Trainable numbers that the sizes of a ladder come near to."""

LIMITS = ("seconds", "steps", "samples")


class TrainedMethod(Method):
    """A kind of network with the protocol that suits it.

    seconds, steps: limits of one training, the sweep included; one may be None.  samples: training points.
    Settings of the same names go before them.
    """

    family: ClassVar[str] = "trained"
    defaults: ClassVar[Settings]
    """Every setting of the architecture with its default; `width` is what the ladder varies."""
    multiple: ClassVar[int] = 1
    """Widths of the ladder are multiples of this."""
    protocol: ClassVar[Protocol] = Protocol()

    def __init__(self, seconds: float | None = 60.0, steps: int | None = None, samples: int = 20_000) -> None:
        self.seconds = None if seconds is None else positive_real(seconds, "seconds")
        self.steps = None if steps is None else positive_integer(steps, "steps")
        self.samples = positive_integer(samples, "samples")

    @abstractmethod
    def model(self, ambient: int, settings: Settings, generator: torch.Generator) -> Model:
        """A network with initial weights from the generator; every setting of `defaults` is given."""

    @abstractmethod
    def count(self, ambient: int, settings: Settings) -> int:
        """Trainable numbers of `model`, by formula."""

    def ladder(self, manifold: Manifold) -> Sequence[Settings]:
        """For each of `GOALS` the width whose number of parameters is nearest, without repetitions."""
        widths: list[int] = []
        for goal in GOALS:
            width = 2 * self.multiple
            while self._count_at(manifold.ambient, width + self.multiple) <= goal:
                width += self.multiple
            nearest = min((width, width + self.multiple), key=lambda w: abs(self._count_at(manifold.ambient, w) - goal))
            if nearest not in widths:
                widths.append(nearest)
        return [{**self.defaults, "width": width} for width in widths]

    def _count_at(self, ambient: int, width: int) -> int:
        return self.count(ambient, {**self.defaults, "width": width})

    def fit(
        self,
        target: Callable[..., Any],
        manifold: Manifold,
        settings: Settings,
        *,
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
        progress: Progress = silent,
    ) -> Baseline:
        """The network of one size, trained. `Baseline.model` is the `Training`, with its history.

        Raises:
            InputError: an unknown or bad setting; a package that is missing.
            TrainingDiverged: no run gave finite values.
        """
        known(settings, (*self.defaults, *LIMITS), self.name)
        shape = {name: settings.get(name, default) for name, default in self.defaults.items()}
        limits = {name: settings.get(name, getattr(self, name)) for name in LIMITS}
        make: Make = lambda generator: self.model(manifold.ambient, shape, generator)  # noqa: E731
        made = train(
            make,
            target,
            manifold,
            **limits,
            protocol=self.protocol,
            seed=seed,
            dtype=dtype,
            device=device,
            progress=progress,
        )
        model = made.network.model
        numbers = self.count(manifold.ambient, shape)
        chosen = {"learning_rate": made.learning_rate, "seed": made.seed, "phase": made.phase, "taken": made.steps}
        return Baseline(
            method=self.name,
            family=self.family,
            settings={**shape, **limits, **chosen},
            counts=BaselineCounts(numbers, numbers, model.depth, model.multiply_adds),
            seconds=made.seconds,
            function=made,
            manifold=manifold,
            dtype=dtype,
            device=torch.device(device),
            model=made,
        )


class ReluMlp(TrainedMethod):
    """Feed-forward network with `depth` hidden layers of `width` ReLU units."""

    name = "mlp"
    description = "feed-forward ReLU network, trained (Adam, then Gauss-Newton or L-BFGS)"
    defaults: ClassVar[Settings] = {"depth": 3, "width": 64, "activation": "relu"}

    def model(self, ambient: int, settings: Settings, generator: torch.Generator) -> Model:
        depth, width, activation = (settings[name] for name in ("depth", "width", "activation"))
        return MultilayerPerceptron(ambient, depth, width, activation=activation, generator=generator)

    def count(self, ambient: int, settings: Settings) -> int:
        depth, width = settings["depth"], settings["width"]
        return (ambient + 1) * width + (depth - 1) * (width + 1) * width + width + 1


class TanhMlp(ReluMlp):
    """The same with tanh, which suits smooth targets far better."""

    name = "tanh_mlp"
    description = "feed-forward tanh network, trained (Adam, then Gauss-Newton or L-BFGS)"
    defaults: ClassVar[Settings] = {"depth": 2, "width": 64, "activation": "tanh"}


class SoftmaxMethod(TrainedMethod):
    """Pre-norm softmax transformer on the tokens of the constructed network."""

    name = "softmax_transformer"
    description = "pre-norm softmax transformer (Vaswani et al. 2017) on the same tokens, trained"
    defaults: ClassVar[Settings] = {"blocks": 2, "heads": 2, "width": 16, "activation": "gelu"}
    multiple: ClassVar[int] = 2
    protocol: ClassVar[Protocol] = Protocol(seeds=1, batch=128)

    def model(self, ambient: int, settings: Settings, generator: torch.Generator) -> Model:
        width, heads, blocks, activation = (settings[name] for name in ("width", "heads", "blocks", "activation"))
        return SoftmaxTransformer(ambient, width, heads, blocks, activation=activation, generator=generator)

    def count(self, ambient: int, settings: Settings) -> int:
        width, blocks = settings["width"], settings["blocks"]
        return blocks * (12 * width + 13) * width + (ambient + 4) * width + 1


class CrateMethod(TrainedMethod):
    """White-box transformer on the tokens of the constructed network."""

    name = "crate"
    description = "CRATE, white-box transformer (Yu, Buchanan, Pai et al. 2023) on the same tokens, trained"
    defaults: ClassVar[Settings] = {"blocks": 2, "heads": 2, "width": 24, "step": 0.1, "sparsity": 0.1}
    multiple: ClassVar[int] = 2
    protocol: ClassVar[Protocol] = Protocol(seeds=1, batch=128)

    def model(self, ambient: int, settings: Settings, generator: torch.Generator) -> Model:
        width, heads, blocks = (settings[name] for name in ("width", "heads", "blocks"))
        step, sparsity = settings["step"], settings["sparsity"]
        return Crate(ambient, width, heads, blocks, step=step, sparsity=sparsity, generator=generator)

    def count(self, ambient: int, settings: Settings) -> int:
        width, blocks = settings["width"], settings["blocks"]
        return blocks * (3 * width + 5) * width + (ambient + 4) * width + 1


class KanMethod(TrainedMethod):
    """Kolmogorov-Arnold network of cubic splines; needs pykan. Its grids, fitted to the data once, are not counted."""

    name = "kan"
    description = "Kolmogorov-Arnold network (Liu et al. 2024, package pykan), trained"
    defaults: ClassVar[Settings] = {"depth": 1, "width": 5, "grid": 5}
    protocol: ClassVar[Protocol] = Protocol(seeds=1)

    def check(self, manifold: Manifold) -> None:
        """Raise `InputError` where pykan is missing."""
        layer_class()

    def fit(self, target: Callable[..., Any], manifold: Manifold, settings: Settings, **rest: Any) -> Baseline:
        """As in `TrainedMethod`; the import of pykan, which takes seconds, is not on its clock."""
        layer_class()
        return super().fit(target, manifold, settings, **rest)

    def model(self, ambient: int, settings: Settings, generator: torch.Generator) -> Model:
        depth, width, grid = (settings[name] for name in ("depth", "width", "grid"))
        return KAN(ambient, depth, width, grid, generator=generator)

    def count(self, ambient: int, settings: Settings) -> int:
        depth, width, grid = settings["depth"], settings["width"], settings["grid"]
        edges = ambient * width + (depth - 1) * width * width + width
        return edges * (grid + ORDER + 2)

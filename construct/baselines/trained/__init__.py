"""Networks of the same task whose weights are found by gradient descent, and gradient descent on our own."""

from construct.baselines.trained.budget import Record
from construct.baselines.trained.finetune import FineTuned, fine_tune
from construct.baselines.trained.method import (
    CrateMethod,
    KanMethod,
    ReluNetwork,
    SoftmaxMethod,
    TanhNetwork,
    TrainedMethod,
)
from construct.baselines.trained.protocol import Protocol, Training, TrainingDiverged
from construct.baselines.trained.training import train

METHODS: tuple[type[TrainedMethod], ...] = (ReluNetwork, TanhNetwork, SoftmaxMethod, CrateMethod, KanMethod)

__all__ = [
    "METHODS",
    "CrateMethod",
    "FineTuned",
    "KanMethod",
    "Protocol",
    "Record",
    "ReluNetwork",
    "SoftmaxMethod",
    "TanhNetwork",
    "TrainedMethod",
    "Training",
    "TrainingDiverged",
    "fine_tune",
    "train",
]

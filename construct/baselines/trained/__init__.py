"""Networks of the same task whose weights are found by gradient descent, and gradient descent on our own."""

from construct.baselines.trained.budget import Record
from construct.baselines.trained.finetune import FineTuned, fine_tune
from construct.baselines.trained.method import (
    CrateMethod,
    KanMethod,
    ReluMlp,
    SoftmaxMethod,
    TanhMlp,
    TrainedMethod,
)
from construct.baselines.trained.protocol import Protocol, Training, TrainingDiverged
from construct.baselines.trained.training import train

METHODS: tuple[type[TrainedMethod], ...] = (ReluMlp, TanhMlp, SoftmaxMethod, CrateMethod, KanMethod)

__all__ = [
    "METHODS",
    "CrateMethod",
    "FineTuned",
    "KanMethod",
    "Protocol",
    "Record",
    "ReluMlp",
    "SoftmaxMethod",
    "TanhMlp",
    "TrainedMethod",
    "Training",
    "TrainingDiverged",
    "fine_tune",
    "train",
]

"""Training a flow map: one engine for every method, on one process or many."""

from flowops.runs import (
    CheckpointError,
    HardwareConfig,
    Locked,
    LogConfig,
    NetworkConfig,
    OptimizerConfig,
    Run,
    TrainConfig,
    load_config,
    save_config,
)
from flowops.runs.processes import Interrupted
from flowops.training.averages import Averages
from flowops.training.compilation import NotCompiledError
from flowops.training.loggers import Logger, RunStart
from flowops.training.loss_module import LossModule
from flowops.training.optimization import NotFinite
from flowops.training.report import StepReport
from flowops.training.start import train

__all__ = [
    "train",
    "LossModule",
    "StepReport",
    "Logger",
    "RunStart",
    "Averages",
    # how it may end
    "Interrupted",
    "NotFinite",
    "NotCompiledError",
    "CheckpointError",
    "Locked",
    # what it starts from and what it leaves, of `flowops.runs`
    "TrainConfig",
    "NetworkConfig",
    "OptimizerConfig",
    "HardwareConfig",
    "LogConfig",
    "load_config",
    "save_config",
    "Run",
]

"""Training a flow map: settings, one engine for every method, checkpoints, and the run that comes out of it."""

from flowops.training._manifest import CheckpointError
from flowops.training.averages import Averages, Snapshot, posthoc
from flowops.training.config import (
    HardwareConfig,
    LogConfig,
    NetworkConfig,
    OptimizerConfig,
    TrainConfig,
)
from flowops.training.config_file import load_config, save_config
from flowops.training.run import Run
from flowops.training.start import train
from flowops.training.stopping import Interrupted, NotFinite

__all__ = [
    # settings
    "TrainConfig",
    "NetworkConfig",
    "OptimizerConfig",
    "HardwareConfig",
    "LogConfig",
    "load_config",
    "save_config",
    # training
    "train",
    "Run",
    # averages of weights
    "Averages",
    "Snapshot",
    "posthoc",
    # how it may end
    "Interrupted",
    "NotFinite",
    "CheckpointError",
]

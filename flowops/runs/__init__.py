"""Runs: their settings, what these name, a run's folder and checkpoints, and a finished run. Nothing here trains."""

from flowops.runs.checkpoint import CheckpointError
from flowops.runs.folder import RunFolder, load_config, save_config
from flowops.runs.power import Snapshot, posthoc
from flowops.runs.run import Drawn, Run
from flowops.runs.settings import HardwareConfig, LogConfig, NetworkConfig, OptimizerConfig, TrainConfig

__all__ = [
    # settings
    "TrainConfig",
    "NetworkConfig",
    "OptimizerConfig",
    "HardwareConfig",
    "LogConfig",
    "load_config",
    "save_config",
    # a run on disk
    "Run",
    "Drawn",
    "RunFolder",
    "CheckpointError",
    # averages of weights, made anew
    "Snapshot",
    "posthoc",
]

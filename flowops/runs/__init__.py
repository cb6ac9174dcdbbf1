"""Runs: their settings, what these name, a run's folder and checkpoints, and a finished run. Nothing here trains."""

from flowops.runs.calibrating import calibrated
from flowops.runs.checkpoint import CheckpointError
from flowops.runs.exporting import to_diffusers
from flowops.runs.folder import Locked, RunFolder, load_config, save_config
from flowops.runs.noises import load_noise, save_noise
from flowops.runs.power import Snapshot, posthoc
from flowops.runs.run import Run
from flowops.runs.settings import EvaluateConfig, HardwareConfig, LogConfig, NetworkConfig, OptimizerConfig, TrainConfig
from flowops.runs.shared import Shared
from flowops.runs.snapshots import snapshots
from flowops.runs.writing import Written, write_samples
from flowops.sampling import Drawn

__all__ = [
    # settings
    "TrainConfig",
    "NetworkConfig",
    "OptimizerConfig",
    "HardwareConfig",
    "LogConfig",
    "EvaluateConfig",
    "load_config",
    "save_config",
    # a run on disk
    "Run",
    "Drawn",
    "Written",
    "write_samples",
    "calibrated",
    "save_noise",
    "load_noise",
    "RunFolder",
    "CheckpointError",
    "Locked",
    # a run elsewhere
    "Shared",
    "to_diffusers",
    # averages of weights, made anew
    "Snapshot",
    "snapshots",
    "posthoc",
]

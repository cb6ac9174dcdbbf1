"""Where a run tells what it measures: tables, event files, trackers, or an object of your own.

A `Logger` has four methods, each of which may be left as it is. Those of a run are named in `log.to`, and objects are
given to `flowops.train` as `callbacks`. The first process of a run calls them; what one of them raises while the run
goes on costs a line, and never the run.
"""

from flowops._named import Registry
from flowops.training.loggers.logger import CSVLogger, End, Logger, RunStart, TensorBoardLogger
from flowops.training.loggers.trackio import TrackioLogger
from flowops.training.loggers.wandb import WandbLogger

LOGGERS: Registry[Logger] = Registry(
    "log.to",
    Logger,
    {
        "csv": CSVLogger,
        "tensorboard": TensorBoardLogger,
        "wandb": WandbLogger,
        "trackio": TrackioLogger,
    },
)

__all__ = [
    "Logger",
    "RunStart",
    "End",
    # those there are, by name
    "LOGGERS",
    "CSVLogger",
    "TensorBoardLogger",
    "WandbLogger",
    "TrackioLogger",
]

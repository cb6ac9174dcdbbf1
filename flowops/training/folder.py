"""The folder of a run: what lies where, when it may be written, and the settings it was made with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from flowops.training.config import TrainConfig
from flowops.training.config_checks import check_same
from flowops.training.config_file import load_config


@dataclass(frozen=True)
class RunFolder:
    """The paths of a run."""

    path: Path

    @property
    def config(self) -> Path:
        """Every setting."""
        return self.path / "config.yaml"

    @property
    def facts(self) -> Path:
        """What the settings do not say: versions, device, commit, the data and their shape."""
        return self.path / "run.json"

    @property
    def metrics(self) -> Path:
        """The loss by step."""
        return self.path / "metrics.csv"

    @property
    def telemetry(self) -> Path:
        """Loss and tangent by cell of $(s,t)$."""
        return self.path / "telemetry.csv"

    @property
    def checkpoints(self) -> Path:
        """One folder for each step."""
        return self.path / "checkpoints"

    @property
    def samples(self) -> Path:
        """Pictures."""
        return self.path / "samples"

    @property
    def logs(self) -> Path:
        """Event files of TensorBoard."""
        return self.path / "logs"

    def check(self, config: TrainConfig, *, resume: bool) -> None:
        """Refuse to write over another run, and to go on under other settings.

        Raises:
            FileExistsError: if there is something in the folder and the run is not resumed.
            NotADirectoryError: if the path is a file.
            ValueError: if the run that is resumed had other settings.
        """
        if self.path.exists() and not self.path.is_dir():
            raise NotADirectoryError(f"`out` must be a folder, and {self.path} is a file; choose another --out.")
        if not resume and self.path.is_dir() and any(self.path.iterdir()):
            raise FileExistsError(
                f"`out` must be a new folder, and {self.path} holds something already; pass --resume to go on with "
                f"that run, or choose another --out."
            )
        if resume and self.config.is_file():
            check_same(config, load_config(self.config))

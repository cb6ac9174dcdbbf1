"""What is measured: the recipe of CIFAR-10 with other losses, on its data or on pictures made of noise."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from experiments.recipes.cifar10_lsd import CONFIG, NETWORK
from flowops import LearnedMap
from flowops.data import Dataset, Images, Split, open_dataset
from flowops.methods import METHODS, get_method
from flowops.runs.assembly import network_of
from flowops.training import HardwareConfig, LogConfig, NetworkConfig, TrainConfig

LOSSES = ("fm", "meanflow", "lsd", "lmd", "psd-m")
QUIET = LogConfig(every=10**6, telemetry_every=0, tensorboard=False, progress=False, keep=1)
TINY = NetworkConfig("unet", channels=4, multipliers=(1, 2), blocks=1, attention=(4,), magnitude_preserving=True)
TINY_COMPILED = NetworkConfig("mlp", width=16, depth=1)  # a U-Net takes a CPU minutes to compile
TINY_EVENT = (3, 8, 8)


@dataclass(frozen=True)
class Setting:
    """Where and on what everything is measured.

    Attributes:
        device: where.
        tiny: small networks and batches, to try out the stages on a CPU.
        name: of the data set, `cifar10` or `folder:PATH`, say; empty for made pictures.
        data: folder of a data set that lives in one.
        runs: folder of the run that is trained.
    """

    device: torch.device
    tiny: bool = False
    name: str = ""
    data: str = ""
    runs: Path = Path("runs")

    @property
    def event(self) -> torch.Size:
        """Shape of a picture."""
        return self.dataset.event

    @property
    def batch(self) -> int:
        """Samples of a step, where the memory takes them."""
        return 8 if self.tiny else CONFIG.batch or 512

    @cached_property
    def dataset(self) -> Dataset:
        """The pictures."""
        if not (self.name or self.data):
            return made(64, TINY_EVENT) if self.tiny else made(50_000, (3, 32, 32))
        return open_dataset(self.name, path=self.data or None)

    def config(self, loss: str, *, compiled: bool, out: Path, **changed: Any) -> TrainConfig:
        """The recipe with another loss, three quarters of whose batch are on the diagonal, for a step that is timed."""
        offered = {option.name for option in METHODS[loss].row.options}
        options: dict[str, Any] = {"weight": "learned", **({"eta": 0.75} if "eta" in offered else {})}
        hardware = HardwareConfig(self.device.type, precision="bf16", compile="yes" if compiled else "no")
        network = NETWORK if not self.tiny else TINY_COMPILED if compiled else TINY
        plain = replace(CONFIG, method=loss, options=options, network=network, hardware=hardware, log=QUIET)
        settings = {"steps": 10**6, "batch": self.batch, "averages": (0.999,), "checkpoint_every": 0, "out": str(out)}
        return replace(plain, dataset=self.dataset.name, **{**settings, **changed})

    def network(self, compiled: bool = False) -> nn.Module:
        """The network of the recipe, drawn from the seed."""
        config, source = self.config("fm", compiled=compiled, out=Path()), torch.Generator().manual_seed(0)
        return network_of(config, self.event, None, guidance=False, source=source)

    def map(self, compiled: bool = False) -> LearnedMap:
        """Its map, on the device, in the memory format of training."""
        X = LearnedMap(self.network(compiled)).to(self.device)
        return X.to(memory_format=torch.channels_last) if self.device.type == "cuda" else X

    def teacher(self, loss: str, compiled: bool = False) -> Any:
        """The field that the loss distils, if it does."""
        wanted = get_method(loss).row.teacher
        return self.map(compiled).requires_grad_(False).velocity() if wanted else None


def made(n: int, event: tuple[int, int, int]) -> Images:
    """Smooth random pictures of a seed, where there are no others."""
    source, parts = torch.Generator().manual_seed(0), []
    for first in range(0, n, 1000):
        coarse = torch.randn(min(1000, n - first), event[0], 4, 4, generator=source)
        fine = F.interpolate(coarse, size=event[1:], mode="bilinear", align_corners=True)
        parts.append((128 + 60 * fine).clamp(0, 255).to(torch.uint8))
    return Images("made", {"train": Split(torch.cat(parts))}, provenance="smooth noise of seed 0", flips=True)


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for a run that nobody keeps."""
    with tempfile.TemporaryDirectory(prefix="flowops-gpu-") as folder:
        yield Path(folder) / "run"


def halved_until_it_fits(batch: int, work: Callable[[int], dict[str, Any]], least: int = 8) -> dict[str, Any]:
    """What `work` measures at the largest batch, halved from the given one, that the memory takes."""
    while True:
        try:
            return work(batch)
        except torch.OutOfMemoryError:
            if batch // 2 < least:
                raise
        gc.collect()
        torch.cuda.empty_cache()
        batch //= 2

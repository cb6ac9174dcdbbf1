"""One process in a group, as a program of its own: python -m tests.devices.together DEVICE FOLDER.

The group is that of NCCL on CUDA and of gloo on the CPU. What DDP computes there is compared with the loss alone.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel
from torch.testing import assert_close

from flowops import LearnedMap
from flowops.interpolants import linear
from flowops.methods import get_method
from flowops.networks import MLP
from flowops.training import HardwareConfig, LogConfig, LossModule, NetworkConfig, StepReport, TrainConfig, train
from tests.devices.compiled import gradient


def ddp(device: str) -> None:
    """The gradient of a wrapped loss whose draw DDP moves to its device, seed and all."""
    X = LearnedMap(MLP(2, width=16, depth=2, generator=torch.Generator().manual_seed(0))).to(device)
    module = LossModule(X, get_method("lsd"), linear().to(device))
    x0, x1 = torch.randn(2, 16, 2, generator=torch.Generator().manual_seed(1)).to(device)
    draw = module.method.draw(X, module.interpolant, x0, x1, seed=2)
    alone = gradient(module, draw)
    wrapped = DistributedDataParallel(module, device_ids=[0] if device == "cuda" else None)
    module.zero_grad(set_to_none=True)
    result = wrapped(draw)
    result.loss.backward()
    found = torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])
    assert_close((result.loss.detach(), found), alone)
    assert int(result.seed) == 2
    assert result.nonfinite() is None


def collectives(device: str) -> None:
    """What the engine asks of a group."""
    x = torch.arange(3.0, device=device)
    distributed.all_reduce(x)
    assert x.tolist() == [0.0, 1.0, 2.0]
    values: list[Any] = [None]
    distributed.all_gather_object(values, "text")
    assert values == ["text"]
    distributed.barrier()


def engine(device: str, folder: Path) -> None:
    """A run under the strategy ddp has the losses of one that is alone."""
    losses = []
    for name, strategy in (("alone", "auto"), ("group", "ddp")):
        hardware = HardwareConfig(device, strategy=strategy, compile="no")  # type: ignore[arg-type]
        config = TrainConfig(
            "moons", method="lsd", steps=6, batch=16, out=str(folder / name), hardware=hardware,
            network=NetworkConfig("mlp", width=8, depth=2), log=LogConfig(tensorboard=False, progress=False),
        )  # fmt: skip
        found: list[torch.Tensor] = []

        def note(report: StepReport, found: list[torch.Tensor] = found) -> None:
            found.append(report.results[0].loss)

        train(config, report=lambda _: None, callbacks=[note])
        losses.append(torch.stack(found))
    assert_close(*losses)


def main(device: str, folder: str) -> None:
    """All of it."""
    warnings.simplefilter("ignore")
    backend = "nccl" if device == "cuda" else "gloo"
    distributed.init_process_group(
        backend, init_method=f"file://{Path(folder).resolve() / 'rendezvous'}", rank=0, world_size=1
    )
    collectives(device)
    ddp(device)
    distributed.destroy_process_group()
    engine(device, Path(folder))
    sys.stdout.write(f"{backend} agrees\n")


if __name__ == "__main__":
    main(*sys.argv[1:])

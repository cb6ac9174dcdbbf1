"""The teacher of a distillation: the averaged field or map of another run, brought to this run's schedule."""

from __future__ import annotations

import torch

from flowops.fields import VelocityField
from flowops.interpolants import Interpolant
from flowops.maps import FlowMap, reschedule
from flowops.training.assembly import Assembly
from flowops.training.config import TrainConfig
from flowops.training.run import Run


def teacher_of(config: TrainConfig, assembly: Assembly, device: torch.device) -> VelocityField | FlowMap | None:
    """The teacher that the method wants, of the run that the configuration names; None if it wants none.

    Raises:
        ValueError: if the method wants one and there is none, the other way round, or the data have another shape.
        FileNotFoundError: if there is no such run.
    """
    wanted = assembly.method.row.teacher
    if config.teacher is None:
        if wanted and not wanted.startswith("optional"):
            raise ValueError(f"`teacher` must be a run's folder for {config.method}, got none; pass --teacher RUN.")
        return None
    if not wanted:
        raise ValueError(f"`teacher` must not be given for {config.method}, which has none; drop it.")
    run = Run.load(config.teacher, device=device)
    if run.event != assembly.dataset.event:
        raise ValueError(
            f"`teacher` must be trained on samples of shape {list(assembly.dataset.event)}, got {list(run.event)} in "
            f"{config.teacher}; pass another run."
        )
    operator: VelocityField | FlowMap = run.X if wanted.removeprefix("optional ") == "map" else run.X.velocity()
    return _moved(operator, run.interpolant, assembly.interpolant).to(device)


def _moved(operator: VelocityField | FlowMap, old: Interpolant, new: Interpolant) -> VelocityField | FlowMap:
    """The operator on the schedule `new`; as it is where the two are one."""
    times = torch.linspace(0, 1, 101, dtype=torch.float64)
    same = all(torch.equal(getattr(old, name)(times), getattr(new, name)(times)) for name in ("alpha", "beta", "gamma"))
    return operator if same else reschedule(operator, old, new)

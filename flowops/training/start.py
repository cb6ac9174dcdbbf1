"""Starting a run: the folder, the processes, the parts, the first weights, and the state to go on from."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from flowops._files import write_text
from flowops.maps import LearnedMap
from flowops.networks import audit
from flowops.training._manifest import CheckpointError
from flowops.training.assembly import Assembly, assemble
from flowops.training.checkpoint import Checkpoint, latest_checkpoint
from flowops.training.config import TrainConfig
from flowops.training.config_checks import check_config, check_shares
from flowops.training.config_file import save_config
from flowops.training.engine import Engine
from flowops.training.folder import RunFolder
from flowops.training.loss_module import LossModule
from flowops.training.processes import gathered, launched, on_first, together
from flowops.training.provenance import provenance
from flowops.training.run import Run
from flowops.training.stopping import Interrupted
from flowops.training.teacher import teacher_of

if TYPE_CHECKING:
    from lightning.fabric import Fabric


def train(config: TrainConfig, *, resume: bool = False, report: Callable[[str], None] | None = None) -> Run:
    """Train a flow map and return the finished run.

    Args:
        config: every setting.
        resume: go on from the last checkpoint in `config.out`, or start if there is none.
        report: is told a line now and then; by default it goes to the standard error.

    Raises:
        ValueError, TypeError: for settings that do not exist or do not fit together.
        FileExistsError: if the folder holds a run and `resume` is false.
        FileNotFoundError: for data, a teacher or first weights that are not there.
        Interrupted: after Ctrl-C or the signal that ends a job; a checkpoint was written.
        NotFinite: after too many steps in a row without a finite gradient.
        CheckpointError: if a checkpoint cannot be written.

    Cost: `config.steps` steps; see `Method` for that of a step. Resuming gives the same parameters, bit for bit on one
    kind of machine, as a run that was not interrupted.
    """
    check_config(config)
    fabric = launched(config.hardware)
    say = report or (lambda line: print(line, file=sys.stderr, flush=True))  # noqa: T201
    if not fabric.is_global_zero:
        say = _silent
    folder = RunFolder(Path(config.out))
    on_first(fabric, lambda: folder.check(config, resume=resume))
    if config.hardware.threads:
        torch.set_num_threads(config.hardware.threads)
    check_shares(config, fabric.world_size)
    assembly = together(fabric, lambda: assemble(config, fabric.device))
    checkpoint = _checkpoint(fabric, folder, say) if resume else None
    if checkpoint is not None and checkpoint.step >= config.steps:
        say(f"{folder.path} is finished: step {checkpoint.step} of {config.steps}.")
        return Run.load(folder.path)
    module = together(fabric, lambda: module_of(config, assembly, fabric.device))
    if checkpoint is None and config.audit:
        together(fabric, lambda: _audit(assembly, module, fabric.device))
    engine = Engine(config, assembly, module, fabric, folder, say)
    if checkpoint is not None:
        engine.restore(checkpoint)
        say(f"Going on from step {checkpoint.step} of {config.steps}.")
    elif resume:
        say(f"There is no checkpoint in {folder.path}: starting from the first step.")
    on_first(fabric, lambda: _describe(folder, config, assembly, fabric))
    if signal := engine.run():
        raise Interrupted(engine.step, config.steps, folder.path, signal)
    return Run.load(folder.path)


def _checkpoint(fabric: Fabric, folder: RunFolder, report: Callable[[str], None]) -> Checkpoint | None:
    """The newest checkpoint that is whole, the same on every process."""
    found = together(fabric, lambda: latest_checkpoint(folder.checkpoints, report))
    steps = set(gathered(fabric, None if found is None else found.step))
    if len(steps) > 1:
        raise CheckpointError(
            f"The processes must see one newest checkpoint in {folder.checkpoints}, and see those of the steps "
            f"{', '.join(map(str, steps))}; remove the damaged one."
        )
    return found


def module_of(config: TrainConfig, assembly: Assembly, device: torch.device) -> LossModule:
    """The loss module on its device, with the first weights and the teacher."""
    if config.init is not None:
        assembly.network.load_state_dict(Run.load(config.init).X.network.state_dict())
    X = LearnedMap(assembly.network).to(device)
    wanted = config.hardware.channels_last
    if len(assembly.dataset.event) == 3 and (wanted == "yes" or (wanted == "auto" and device.type == "cuda")):
        X = X.to(memory_format=torch.channels_last)
    if assembly.method.options.ema_teacher:
        teacher: Any = copy.deepcopy(X).eval().requires_grad_(False)
    else:
        teacher = teacher_of(config, assembly, device)
    method, interpolant = assembly.method.to(device), assembly.interpolant.to(device)
    return LossModule(X, method, interpolant, teacher, config.hardware)


def _audit(assembly: Assembly, module: LossModule, device: torch.device) -> None:
    """Refuse a network whose derivative in a direction is wrong, by the name of the module."""
    like = torch.randn((2, *assembly.dataset.event), generator=torch.Generator().manual_seed(0)).to(device)
    label = torch.zeros(2, dtype=torch.long, device=device) if assembly.conditional else None
    audit(module.X.network, like, label=label).raise_for_findings()


def _describe(folder: RunFolder, config: TrainConfig, assembly: Assembly, fabric: Fabric) -> None:
    """Write the settings and the facts of a run."""
    save_config(folder.config, config)
    write_text(folder.facts, json.dumps(facts_of(config, assembly, fabric), indent=2) + "\n")


def facts_of(config: TrainConfig, assembly: Assembly, fabric: Fabric) -> dict[str, Any]:
    """What is written beside the settings: what samples look like, and where and with what the run was made."""
    data = assembly.dataset
    classes = list(data.classes) if assembly.conditional else []
    paired = data.batch(0, 1, seed=config.seed).x0 is not None
    samples = {"event": list(data.event), "classes": classes, "paired": paired, "data": data.provenance}
    return {**samples, "seed": config.seed, "processes": fabric.world_size, **provenance(fabric.device)}


def _silent(line: str) -> None:
    """Say nothing: the first process speaks."""

"""Starting a run: the folder, the processes, the parts, the first weights, and the state to go on from."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from flowops._files import write_text
from flowops.data import Dataset
from flowops.fields import VelocityField
from flowops.maps import FlowMap, LearnedMap
from flowops.networks import NETWORKS, audit
from flowops.runs import CheckpointError, Run, RunFolder, TrainConfig, load_config, save_config
from flowops.runs.assembly import Assembly, assemble, dataset_of, map_of
from flowops.runs.checkpoint import Checkpoint, latest_checkpoint
from flowops.runs.provenance import provenance
from flowops.runs.run import GIVEN
from flowops.runs.settings import check_config, check_shares, completed
from flowops.runs.teacher import teacher_of
from flowops.training.engine import Engine
from flowops.training.loss_module import LossModule
from flowops.training.processes import Interrupted, gathered, launched, on_first, together
from flowops.training.record import Record
from flowops.training.report import Callback

if TYPE_CHECKING:
    from lightning.fabric import Fabric


@dataclass(frozen=True)
class Given:
    """What the caller passed as objects in place of names."""

    dataset: Dataset | None
    network: nn.Module | None
    teacher: VelocityField | FlowMap | None


def train(
    config: TrainConfig,
    *,
    resume: bool = False,
    report: Callable[[str], None] | None = None,
    dataset: Dataset | None = None,
    network: nn.Module | None = None,
    teacher: VelocityField | FlowMap | None = None,
    callbacks: Sequence[Callback] = (),
) -> Run:
    """Train a flow map and return the finished run.

    Args:
        config: every setting.
        resume: go on from the last checkpoint in `config.out`, or start if there is none.
        report: is told a line now and then, progress included; by default it goes to the standard error.
        dataset: data of your own, in place of the set that `config.dataset` names.
        network: a network of your own, a module of `(s, t, x)`; if it takes a `label` it sees those of the data.
        teacher: a field or a map of your own to distil, on the schedule of the run.
        callbacks: are handed a `StepReport` of every step.

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
    given = _checked(Given(dataset, network, teacher))
    config = replace(
        config,
        dataset=config.dataset if dataset is None else GIVEN,
        network=config.network if network is None else replace(config.network, kind=GIVEN, options=()),
        teacher=config.teacher if teacher is None else GIVEN,
    )
    check_config(config)
    fabric = launched(config.hardware)
    tell = report or (lambda line: print(line, file=sys.stderr, flush=True))  # noqa: T201
    if not fabric.is_global_zero:
        tell = _nothing
    folder = RunFolder(Path(config.out))
    on_first(fabric, lambda: folder.check(resume=resume))
    if config.hardware.threads:
        torch.set_num_threads(config.hardware.threads)
    data = together(fabric, lambda: dataset_of(config) if dataset is None else dataset)
    config = completed(config, data.defaults, data.event)
    together(fabric, lambda: _check_complete(config, folder, fabric.world_size, resume))
    assembly = together(fabric, lambda: assemble(config, fabric.device, dataset=data, network=network, report=tell))
    checkpoint = _checkpoint(fabric, folder, tell) if resume else None
    if checkpoint is not None and checkpoint.step >= config.most_steps:
        tell(f"{folder.path} is finished: step {checkpoint.step} of {config.steps}.")
        return Run.load(folder.path, dataset=dataset, network=network, teacher=teacher)
    module = together(fabric, lambda: module_of(config, assembly, fabric.device, given.teacher))
    if checkpoint is None and config.audit and config.network.kind not in NETWORKS:
        together(fabric, lambda: _audit(assembly, module, fabric.device))
    record = Record(config, folder, fabric, module, 0 if checkpoint is None else checkpoint.step, report)
    engine = Engine(config, assembly, module, fabric, folder, tell, (record, *callbacks))
    if checkpoint is not None:
        engine.restore(checkpoint)
        tell(f"Going on from step {checkpoint.step}{f' of {config.steps}' if config.steps else ''}.")
        before = load_config(folder.config).steps if folder.config.is_file() else config.steps
        if before != config.steps and config.optimizer.schedule in ("cosine", "linear"):
            tell(f"The rate falls to zero at the new end: this is no longer the run of {before} steps.")
    elif resume:
        tell(f"There is no checkpoint in {folder.path}: starting from the first step.")
    on_first(fabric, lambda: _describe(folder, config, assembly, fabric))
    with record:
        if signal := engine.run():
            raise Interrupted(engine.step, config.steps or 0, folder.path, signal)
        record.finish()
    return engine.current()


def module_of(
    config: TrainConfig,
    assembly: Assembly,
    device: torch.device,
    teacher: VelocityField | FlowMap | None = None,
) -> LossModule:
    """The loss module on its device, with the first weights, the teacher, and the average that the method looks at."""
    network, interpolant, event = assembly.network, assembly.interpolant.to(device), assembly.dataset.event
    if config.init is not None:
        network.load_state_dict(Run.load(config.init).X.network.state_dict())
    wanted, found = assembly.method.row.teacher, None
    if wanted or config.teacher or config.network.parameterization == "second-order":
        found = teacher_of(config, wanted, interpolant, event, device, load=Run.load, given=teacher)
    X = map_of(config, network, interpolant, found).to(device)
    lasting = config.hardware.channels_last
    if len(event) == 3 and (lasting == "yes" or (lasting == "auto" and device.type == "cuda")):
        X = X.to(memory_format=torch.channels_last)
    average: LearnedMap | None = None
    if assembly.method.options.ema_teacher:
        average = copy.deepcopy(X).eval().requires_grad_(False)
    return LossModule(X, assembly.method.to(device), interpolant, found if wanted else None, average, config.hardware)


def _checked(given: Given) -> Given:
    """Refuse objects of a wrong kind."""
    kinds = {"dataset": Dataset, "network": nn.Module, "teacher": (VelocityField, FlowMap)}
    names = {"dataset": "a flowops.data.Dataset", "network": "an nn.Module", "teacher": "a VelocityField or a FlowMap"}
    for name, kind in kinds.items():
        if not isinstance(value := getattr(given, name), (kind, type(None))):  # type: ignore[arg-type]
            raise TypeError(f"`{name}` must be {names[name]}, got {type(value).__name__}; wrap it, or pass its name.")
    return given


def _check_complete(config: TrainConfig, folder: RunFolder, processes: int, resume: bool) -> None:
    """Refuse settings that exclude each other once they are complete, and to go on under other ones."""
    check_config(config)
    check_shares(config, processes)
    if resume:
        folder.check_same(config)


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
    samples = {"event": list(data.event), "classes": classes, "paired": not data.normal_base, "data": data.provenance}
    samples["guided"] = isinstance(assembly.method.options.guidance, tuple)
    return {**samples, "seed": config.seed, "processes": fabric.world_size, **provenance(fabric.device)}


def _nothing(line: str) -> None:
    """Say nothing: the first process speaks."""

"""Starting a run: the folder, the processes, the parts, the first weights, and the state to go on from."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from flowops._files import write_text
from flowops._named import bare_names
from flowops.data import Dataset
from flowops.data.indexed import as_dataset
from flowops.evaluation import Periodic
from flowops.fields import VelocityField
from flowops.maps import FlowMap, LearnedMap
from flowops.networks import NETWORKS, audit
from flowops.runs import Run, RunFolder, TrainConfig, save_config
from flowops.runs.assembly import Assembly, assemble, completed, dataset_of, laid_out, map_of
from flowops.runs.checkpoint import load_tensors, load_weights
from flowops.runs.fitting import fill, fill_partly, misfit, shown
from flowops.runs.folder import average_names, locked
from flowops.runs.processes import Interrupted, first_alone, launched, on_first, rank, together
from flowops.runs.progress import tell
from flowops.runs.provenance import provenance
from flowops.runs.settings import GIVEN, check_config, check_shares
from flowops.runs.teacher import teacher_of
from flowops.training.engine import Engine
from flowops.training.loggers import LOGGERS, Logger
from flowops.training.loss_module import LossModule
from flowops.training.record import Record
from flowops.training.report import Callback
from flowops.training.resumption import Before, resumed

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
    dataset: Dataset | torch.utils.data.Dataset[Any] | None = None,
    network: nn.Module | None = None,
    teacher: VelocityField | FlowMap | None = None,
    callbacks: Callback | Logger | Sequence[Callback | Logger] = (),
) -> Run:
    """Train a flow map and return the finished run.

    Args:
        config: every setting.
        resume: go on from the last checkpoint in `config.out`, or start if there is none. Settings that make it another
            run are refused; others may change, which is told and written down in `run.json`.
        report: is told a line now and then, progress included; by default it goes to the standard error.
        dataset: data of your own, in place of the set that `config.dataset` names; of a map-style data set of torch
            `data.Indexed` is made.
        network: a network of your own, a module of `(s, t, x)`; if it takes a `label` it sees those of the data.
        teacher: a field or a map of your own to distil, on the schedule of the run; its weights are frozen.
        callbacks: one or several that are handed a `StepReport` of every step, or a `Logger` that is told its rows.

    Raises:
        ValueError, TypeError: for settings that do not exist or do not fit together.
        FileExistsError: if the folder holds a run and `resume` is false.
        Locked: if another run lives in the folder.
        FileNotFoundError: for data, a teacher or first weights that are not there.
        Interrupted: after Ctrl-C or a signal that ends a job; a checkpoint of the steps that were done is there.
        NotFinite: after too many steps in a row without a finite gradient.
        CheckpointError: if a checkpoint cannot be written, or none that is there can be read.

    Cost: `config.steps` steps; see `Method` for that of a step. Resuming gives the same parameters, bit for bit on one
    kind of machine, as a run that was not interrupted.
    """
    if not isinstance(config, TrainConfig):
        raise TypeError(
            f"`config` must be a TrainConfig, got {type(config).__name__}; pass TrainConfig('digits'), say."
        )
    data = None if dataset is None else as_dataset(dataset)
    given, (steps, own) = _checked(Given(data, network, teacher)), _listed(callbacks)
    config = replace(
        config,
        dataset=config.dataset if dataset is None else GIVEN,
        network=config.network if network is None else replace(config.network, kind=GIVEN, options=()),
        teacher=config.teacher if teacher is None else GIVEN,
    )
    check_config(config)
    loggers = (*_loggers(config), *own)
    fabric = launched(config.hardware)
    say = _nothing if not fabric.is_global_zero else report or tell
    folder = RunFolder(Path(config.out))
    on_first(lambda: folder.check(resume=resume))
    if config.hardware.threads:
        torch.set_num_threads(config.hardware.threads)
    config, assembly = _assembled(config, given, fabric, say)
    with _locked(folder, say):
        on_first(lambda: folder.check(resume=resume))  # again: nobody else writes there from here on
        before = resumed(folder, config, assembly, say) if resume else None
        if before is not None and before.checkpoint.step >= config.most_steps:
            say(f"{folder.path} is finished: step {before.checkpoint.step} of {config.steps}.")
            return Run.load(folder.path, device=fabric.device, report=say, **vars(given))
        module = together(lambda: _first_module(config, assembly, fabric, given.teacher, say, before))
        done = 0 if before is None else before.checkpoint.step
        record = Record(config, folder, fabric, module, done, report, loggers)
        judged = _judged(config, folder, assembly, given, done, say)
        engine = Engine(config, assembly, module, fabric, folder, say, (record, *judged, *steps))
        if before is not None:
            together(lambda: engine.restore(before.checkpoint))
            for line in before.told(config):
                say(line)
        with _forgotten_unless(folder, lambda: before is not None or engine.step > 0):
            on_first(lambda: _describe(folder, config, assembly, fabric, before))
            with record:
                if signal := engine.run():
                    raise Interrupted(engine.step, config.steps or 0, folder.path, signal)
                record.finish()
    return engine.current()


def _judged(
    config: TrainConfig, folder: RunFolder, assembly: Assembly, given: Given, start: int, report: Callable[[str], None]
) -> tuple[Callback, ...]:
    """What evaluates while it trains, if anything does."""
    if not config.evaluate.every:
        return ()
    network = copy.deepcopy(given.network)  # whose weights are replaced by those that are judged
    objects = {"dataset": assembly.dataset, "network": network, "teacher": given.teacher}
    return (Periodic(folder, config.evaluate, start, report, **objects),)


def _assembled(
    config: TrainConfig, given: Given, fabric: Fabric, report: Callable[[str], None]
) -> tuple[TrainConfig, Assembly]:
    """The configuration, complete and checked, and what it names."""
    data = given.dataset if given.dataset is not None else first_alone(lambda: dataset_of(config))
    config = completed(config, data.defaults, data.event)
    together(lambda: _check_complete(config, fabric.world_size))
    made = together(lambda: assemble(config, fabric.device, dataset=data, network=given.network, report=report))
    return config, made


@contextmanager
def _forgotten_unless(folder: RunFolder, begun: Callable[[], bool]) -> Iterator[None]:
    """What a run wrote that ends before its first step is removed, so that it is mended and started again."""
    try:
        yield
    except Exception:
        if rank() == 0 and not begun():
            folder.forget()
        raise


@contextmanager
def _locked(folder: RunFolder, report: Callable[[str], None]) -> Iterator[None]:
    """The first process holds the lock of the folder; what the system says of a disk in there is told with the run."""
    with ExitStack() as held:

        def hold() -> None:
            held.enter_context(locked(folder.path, report))

        try:
            on_first(hold)
            yield
        except OSError as error:
            if error.errno is None:  # a sentence of our own
                raise
            where = f" at {error.filename}" if error.filename else ""
            raise OSError(
                f"The run in {folder.path} ended with an error of the disk ({error.strerror}{where}); what was saved "
                f"is there: make room or mend the disk, and resume."
            ) from error


def _first_module(
    config: TrainConfig,
    assembly: Assembly,
    fabric: Fabric,
    teacher: VelocityField | FlowMap | None,
    report: Callable[[str], None],
    before: Before | None,
) -> LossModule:
    """The loss module; that of a new run has the weights of `config.init`, and an audited network."""
    if before is None and config.init is not None:
        first_weights(config, assembly.network, report)
    module = module_of(config, assembly, fabric.device, teacher, report)
    differentiated = assembly.method.options.derivatives == "forward"
    if before is None and config.audit and differentiated and config.network.kind not in NETWORKS:
        _audit(assembly, module, fabric.device, report)
    return module


def module_of(
    config: TrainConfig,
    assembly: Assembly,
    device: torch.device,
    teacher: VelocityField | FlowMap | None = None,
    report: Callable[[str], None] = tell,
) -> LossModule:
    """The loss module on its device, with the teacher, and the average that the method looks at."""
    network, interpolant, event = assembly.network, assembly.interpolant.to(device), assembly.dataset.event
    wanted, found = assembly.method.row.teacher, None
    if wanted or config.teacher or config.network.parameterization == "second-order":
        load = partial(Run.load, report=report)
        found = teacher_of(config, wanted, interpolant, event, device, load=load, given=teacher, report=report)
    X = laid_out(map_of(config, network, interpolant, found), config.hardware, event, device)
    average: LearnedMap | None = None
    if assembly.method.options.ema_teacher:
        average = copy.deepcopy(X).eval().requires_grad_(False)
    return LossModule(X, assembly.method.to(device), interpolant, found if wanted else None, average, config.hardware)


def first_weights(config: TrainConfig, network: nn.Module, report: Callable[[str], None]) -> None:
    """Give a network the weights that `config.init` names, or what fits of them where that is enough.

    They are the first average of a run, or those of a file in the format safetensors, under the names that the network
    has for them; prefixes of wrappers are ignored.

    Raises:
        FileNotFoundError: if there is no such run or file.
        CheckpointError: if its weights are damaged.
        ValueError: if the networks differ, unless a part is enough; then if they have nothing in common.
    """
    path = Path(str(config.init))
    if path.suffix == ".safetensors":
        weights, kind = load_tensors(path), "the weights"
        weights = {bare: weights[name] for name, bare in bare_names(weights).items()}
    elif path.is_file():
        raise ValueError(
            f"`init` must be the folder of a run or a file of weights in the format safetensors, got {path}; load it "
            f"with torch.load(..., weights_only=True) and write its state dict by safetensors.torch.save_file."
        )
    else:
        folder, kind = RunFolder(path), "a run"
        _, weights = load_weights(folder.checkpoints, None, average_names(folder.settings(report)), report=report)
    found = misfit(network, weights)
    if not found:
        fill(network, weights)
    elif not config.init_partial:
        raise ValueError(
            f"`init` must be {kind} of the network of this one, and in {config.init} {found}; choose another, or "
            f"pass init_partial=True to take what fits."
        )
    else:
        total, left = len(network.state_dict()), fill_partly(network, weights)
        if len(left) == total:
            raise ValueError(f"`init` must have weights in common with this network, and in {config.init} {found}.")
        kept = f"; {shown(left)} keep their first values" if left else ""
        report(f"{total - len(left)} of {total} weights are those of {config.init}{kept}.")


def _checked(given: Given) -> Given:
    """Refuse objects of a wrong kind."""
    kinds = {"dataset": Dataset, "network": nn.Module, "teacher": (VelocityField, FlowMap)}
    names = {
        "dataset": "a flowops.data.Dataset or a map-style one of torch",
        "network": "an nn.Module",
        "teacher": "a VelocityField or a FlowMap",
    }
    for name, kind in kinds.items():
        if not isinstance(value := getattr(given, name), (kind, type(None))):  # type: ignore[arg-type]
            raise TypeError(f"`{name}` must be {names[name]}, got {type(value).__name__}; wrap it, or pass its name.")
    return given


def _listed(
    given: Callback | Logger | Sequence[Callback | Logger],
) -> tuple[tuple[Callback, ...], tuple[Logger, ...]]:
    """The callbacks and the loggers, one or several."""
    several = (given,) if callable(given) or isinstance(given, Logger) else tuple(given)
    callbacks, loggers = list[Callback](), list[Logger]()
    for one in several:
        if isinstance(one, Logger):
            loggers.append(one)
        elif callable(one):
            callbacks.append(one)
        else:
            raise TypeError(
                f"`callbacks` must be functions of a StepReport, or Loggers, got {type(one).__name__}; wrap it."
            )
    return tuple(callbacks), tuple(loggers)


def _loggers(config: TrainConfig) -> tuple[Logger, ...]:
    """Those that the settings name."""
    names = [name for name in config.log.to if name != "tensorboard" or config.log.tensorboard]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"`log.to` must name each logger once, got {twice[0]} twice; drop one of them.")
    return tuple(LOGGERS.make(name) for name in names)


def _check_complete(config: TrainConfig, processes: int) -> None:
    """Refuse settings that exclude each other once they are complete."""
    check_config(config)
    check_shares(config, processes)


def _audit(assembly: Assembly, module: LossModule, device: torch.device, report: Callable[[str], None]) -> None:
    """Refuse a network that the row cannot train, by the name of the module; one without derivatives asks for less."""
    like = torch.randn((2, *assembly.dataset.event), generator=torch.Generator().manual_seed(0)).to(device)
    shape = assembly.dataset.condition
    label = torch.zeros(2, dtype=torch.long, device=device) if assembly.conditional and shape is None else None
    condition = like.new_zeros(2, *shape) if assembly.conditional and shape is not None else None
    derivatives = not assembly.method.diagonal
    found = audit(module.X.network, like, label=label, condition=condition, derivatives=derivatives)
    if not found.ok:
        needs = "forward derivatives" if derivatives else "finite values and gradients"
        raise ValueError(
            f"`network` must have {needs}, and samples that stay apart, for {assembly.method.name}: "
            f"{' '.join(map(str, found.findings))} To train it all the same, switch the audit off (--no-audit)."
        )
    for note in () if derivatives else found.notes:
        report(note.replace("note:", "Of the network:"))


def _describe(
    folder: RunFolder, config: TrainConfig, assembly: Assembly, fabric: Fabric, before: Before | None
) -> None:
    """Write the facts of a run, with how the settings were changed since it began, and then the settings."""
    facts = facts_of(config, assembly, fabric)
    facts["changes"] = [] if before is None else before.changed(config)
    write_text(folder.facts, json.dumps(facts, indent=2) + "\n")
    save_config(folder.config, config)


def facts_of(config: TrainConfig, assembly: Assembly, fabric: Fabric) -> dict[str, Any]:
    """What is written beside the settings: what samples look like, and where and with what the run was made."""
    data = assembly.dataset
    classes = list(data.classes) if assembly.conditional else []
    samples = {"event": list(data.event), "classes": classes, "paired": not data.normal_base, "data": data.provenance}
    if assembly.conditional and data.condition is not None:
        samples["condition"] = list(data.condition)
    samples |= {} if data.units == Dataset.units else {"units": data.units.written()}
    wanted = assembly.method.wanted
    samples |= {"guided": wanted["guidance"], "interval": wanted["interval"]}
    samples |= {"joint": wanted["log_det"], "auxiliary": wanted["auxiliary"]}
    return {**samples, "seed": config.seed, "processes": fabric.world_size, **provenance(fabric.device)}


def _nothing(line: str) -> None:
    """Say nothing: the first process speaks."""

"""Whether an entry can run at all: its parts put together and its loss evaluated on one batch, before anything runs."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn

from flowops.comparison.entry import Entry
from flowops.data import Dataset
from flowops.fields import VelocityField
from flowops.maps import FlowMap
from flowops.methods import Draw
from flowops.runs import Run
from flowops.runs.assembly import Assembly, assemble, completed, map_of
from flowops.runs.settings import check_config
from flowops.runs.teacher import teacher_of
from flowops.training.joint_batch import JointBatches
from flowops.training.loss_module import LossModule
from flowops.training.start import module_of

FAULTS = (ValueError, TypeError, OSError, ImportError, RuntimeError)
CPU = torch.device("cpu")
OUTPUTS = ("forward", "value_and_log_det_rate", "auxiliary_velocity")
"""The methods of a network by which a map calls it."""


def fault_of(entry: Entry, dataset: Dataset) -> str | None:
    """Why an entry cannot run, as a sentence; None if it can.

    Its teacher is a network with its first weights where it is yet to be trained. Cost: the loss of one batch.
    """
    try:
        config = completed(entry.config, dataset.defaults, dataset.event)
        check_config(config)
        assembly = assemble(config, CPU, dataset=dataset)
        if entry.needs:
            module = _with_stand_in(entry, assembly)
        else:
            module = module_of(config, assembly, CPU, report=_nothing)
        loss = module(first_draw(module, assembly, config.batch or 1, config.seed)).loss
        if not bool(loss.isfinite()):
            return f"its first loss must be finite, and is {float(loss.detach()):g}; choose other options."
    except FAULTS as error:
        return str(error)
    return None


def _with_stand_in(entry: Entry, assembly: Assembly) -> LossModule:
    """The loss of an entry whose teacher is yet to be trained: of the same network, its weights not changed."""
    config = completed(entry.config, assembly.dataset.defaults, assembly.dataset.event)
    method, interpolant = assembly.method, assembly.interpolant
    stand_in = map_of(config, copy.deepcopy(assembly.network), interpolant, None).eval()
    teacher = teacher_of(
        config, method.row.teacher, interpolant, assembly.dataset.event, CPU, load=Run.load,
        given=stand_in if method.row.teacher == "map" else stand_in.velocity(),
    )  # fmt: skip
    X = map_of(config, assembly.network, interpolant, None)
    average = copy.deepcopy(X).eval().requires_grad_(False) if method.options.ema_teacher else None
    return LossModule(X, method, interpolant, teacher, average, config.hardware)


def first_draw(module: LossModule, assembly: Assembly, batch: int, seed: int) -> Draw:
    """What the first step draws."""
    batches = JointBatches(batch, seed, assembly, module, next(module.X.parameters()).device, 0)
    try:
        return next(batches)
    finally:
        batches.close()


@dataclass(frozen=True)
class Kind:
    """Where a method trains its map, which says how it is sampled.

    Attributes:
        name: `field`, if it trains the velocity on the diagonal alone; `endpoint`, if off the diagonal it trains the
            map to the end time alone; `map` for every other one.
        diagonal: whether the velocity on the diagonal is trained, or at times as near to each other as one likes.
    """

    name: str
    diagonal: bool


def kind_of(draw: Draw) -> Kind:
    """The kind of a method by the times that its first step draws."""
    terms = [term for term in draw.terms if term is not None]
    s, t = torch.cat([term.s for term in terms]), torch.cat([term.t for term in terms])
    off = s != t
    if not bool(off.any()):
        return Kind("field", True)
    if bool((t[off] == 1).all()):
        return Kind("endpoint", bool((~off & (t < 1)).any()))
    return Kind("map", True)


@dataclass(frozen=True)
class Calls:
    """Network evaluations per sample and training step: those of the map and its averages, and those of the teacher."""

    own: float
    teacher: float


def calls_of(module: LossModule, draw: Draw) -> Calls:
    """What the loss of a batch costs; a call with its forward derivative counts once. Cost: that loss."""
    own = _networks([module.X, module.average], type(module.X.network))
    taught = [m for m in _networks([module.teacher], type(module.X.network)) if all(m is not other for other in own)]
    counts = {"own": 0, "teacher": 0}
    with ExitStack() as counted:
        for name, networks in (("own", own), ("teacher", taught)):
            for network in networks:
                counted.enter_context(_counting(network, counts, name))
        module(draw)
    return Calls(counts["own"] / draw.size, counts["teacher"] / draw.size)


@contextmanager
def _counting(network: nn.Module, counts: dict[str, int], name: str) -> Iterator[None]:
    """Every sample of a call of the network, by any of its outputs, is counted under the name."""
    outputs = [output for output in OUTPUTS if hasattr(network, output)]

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(call)
        def wrapper(s: Tensor, t: Tensor, x: Tensor, **conditions: Any) -> Any:
            counts[name] += len(x)
            return call(s, t, x, **conditions)

        return wrapper

    for output in outputs:
        setattr(network, output, counted(getattr(network, output)))
    try:
        yield
    finally:
        for output in outputs:
            delattr(network, output)  # that of the class is seen again


def _networks(operators: Sequence[FlowMap | VelocityField | None], kind: type[nn.Module]) -> list[nn.Module]:
    """The networks of that kind inside operators, each once."""
    found = [m for operator in operators if operator is not None for m in operator.modules() if type(m) is kind]
    return list({id(m): m for m in found}.values())


def _nothing(line: str) -> None:
    """Say nothing."""

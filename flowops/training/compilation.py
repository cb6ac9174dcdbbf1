"""The comparison of the compiled loss with the uncompiled one, on the graph that trains, before a run trusts it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from flowops.methods import Draw
from flowops.networks.audit import fill_zeros
from flowops.networks.layers import Dropout
from flowops.training.loss_module import LossModule

TOLERANCE = {"32": 1e-3, "bf16": 5e-2}
"""Of the relative difference of losses and of gradients, by precision."""
TF32 = 1e-2
"""The same on CUDA where float32 is rounded to eleven bits, by kernels that need not be the same ones."""
BROKEN = {"Unsupported", "UserError"}  # what a break in the graph raises; importing it would cost a second
ROWS = 8  # of the uncompiled loss, if samples do not interact
SMALL = 0.05  # the share of the whole gradient below which that of one parameter is not told from rounding


class NotCompiledError(ValueError):
    """The loss does not compile, or not to itself, where `hardware.compile` is yes."""


def check_compiled(
    call: Callable[[Draw], Any],
    backward: Callable[[Tensor], Any],
    module: LossModule,
    draw: Draw,
    report: Callable[[str], None] = lambda _: None,
) -> str:
    """Compile the loss and compare it with the uncompiled one; empty if they agree, else the sentence to log.

    What is compared is the graph that trains: the whole batch in training mode, in its one compilation. The uncompiled
    loss is evaluated on a few rows of the batch, or on all where samples interact, and compared with those rows of the
    compiled one, as are the gradients of both; the loss of the batch is compared with the mean of its rows. A network
    begins with layers that are zero, behind which every derivative vanishes: they are filled with random numbers for
    the comparison, and dropout is at rest. A loss that does not compile, or disagrees, is evaluated without compilation
    from then on; with `hardware.compile` as auto one that is no single graph is compiled in pieces, which is told.

    Args:
        call: the wrapped module.
        backward: how its loss is differentiated.
        module: what is inside; weights and buffers are left as they were.
        draw: a batch of the size that is trained.
        report: is told of pieces.

    Raises:
        torch.OutOfMemoryError: if the compiled loss does not fit, for the uncompiled one would need more.

    Cost: a compilation, three compiled losses with their gradients, and uncompiled ones of a few rows.
    """
    with _awake(module):
        k, n = draw.few(ROWS)
        if n > 1 and not _independent(module, draw.part(k, n)):
            k, n = 0, 1
        plain = _plain(module, draw, k, n)
        for whole in (True, False):
            try:
                module.use_compiled(whole=whole)
                compiled = _loss_and_gradient(call(draw).per_sample[k::n], backward, module)
                rows = _loss_and_gradient(call(draw).per_sample, backward, module)
                batch = _loss_and_gradient(call(draw).loss, backward, module)
                break
            except Exception as error:  # whatever the compiler raises, the loss itself is known to work
                if _out_of_memory(error):
                    raise
                if not whole or module.hardware.compile == "yes" or type(error).__name__ not in BROKEN:
                    module.use_eager()
                    return f"The loss did not compile ({_reason(error)})"
                report(f"The loss is no single graph ({_reason(error)}); it is compiled in pieces.")
    if complaint := _difference(plain, compiled, _tolerance(module)) or _difference(rows, batch, _tolerance(module)):
        module.use_eager()
    return complaint


def _plain(module: LossModule, draw: Draw, k: int, n: int) -> tuple[Tensor, dict[str, Tensor]]:
    """The uncompiled losses of rows `k` modulo `n`, and their gradient."""
    with module.autocast():
        losses = module.evaluate(draw.part(k, n)).per_sample
    return _loss_and_gradient(losses, torch.Tensor.backward, module)


def _loss_and_gradient(
    losses: Tensor, backward: Callable[[Tensor], Any], module: LossModule
) -> tuple[Tensor, dict[str, Tensor]]:
    module.zero_grad(set_to_none=True)
    backward(losses.mean())
    gradients = {name: p.grad.detach().clone() for name, p in module.named_parameters() if p.grad is not None}
    return losses.detach().clone(), gradients


@torch.no_grad()
def _independent(module: LossModule, draw: Draw) -> bool:
    """Whether the loss of a sample is the same with half of the others."""
    with module.autocast():
        losses = module.evaluate(draw).per_sample
        try:
            half = module.evaluate(draw.part(0, 2)).per_sample
        except ValueError:  # as of a batch norm on a single row
            return False
    return float((half - losses[::2]).norm()) <= _tolerance(module) * float(losses.norm())


def _difference(
    plain: tuple[Tensor, dict[str, Tensor]], compiled: tuple[Tensor, dict[str, Tensor]], tolerance: float
) -> str:
    """What is off, in a sentence; empty if nothing is."""
    if plain[0].shape != compiled[0].shape:
        plain = plain[0].mean(), plain[1]
    off = float((compiled[0] - plain[0]).norm() / plain[0].norm().clamp_min(1e-12))
    if not off <= tolerance:
        return f"The compiled loss is off by {off:.2g} of its size"
    if missing := plain[1].keys() ^ compiled[1].keys():
        return f"The compiled gradient does not reach the same parameters, {sorted(missing)[0]} is one"
    if not plain[1]:
        return ""
    size = torch.stack([g.norm() for g in plain[1].values()]).norm()
    floor = SMALL * size / len(plain[1]) ** 0.5
    offs = {name: (compiled[1][name] - g).norm() / g.norm().clamp_min(floor) for name, g in plain[1].items()}
    worst = max(offs, key=lambda name: float(offs[name].nan_to_num(torch.inf)))
    if not float(offs[worst]) <= tolerance:
        return f"The compiled gradient is off by {float(offs[worst]):.2g} of its size, that of {worst}"
    return ""


def _tolerance(module: LossModule) -> float:
    precise = module.hardware.precision != "32" or module.hardware.float32 == "highest"
    cuda = next(module.parameters()).device.type == "cuda"
    return TF32 if cuda and not precise else TOLERANCE[module.hardware.precision]


@contextmanager
def _awake(module: LossModule) -> Iterator[None]:
    """In training mode, without weights that are zero and without dropout; everything comes back."""
    held: list[nn.Module] = [module, *([module.average] if module.average is not None else [])]
    tensors = [tensor for part in held for tensor in (*part.parameters(), *part.buffers())]
    before, training = [tensor.detach().clone() for tensor in tensors], module.training
    dropouts = [m for m in module.modules() if isinstance(m, nn.modules.dropout._DropoutNd)]
    rates = [(m, m.p) for m in dropouts if not isinstance(m, Dropout)]
    try:
        for part in held:
            fill_zeros(part)
        for dropout in dropouts:
            if isinstance(dropout, Dropout):
                dropout.rate.zero_()
            else:  # its probability is written into the graph, which is compiled once more for the training
                dropout.p = 0.0
        module.train()
        yield
    finally:
        for other, p in rates:
            other.p = p
        with torch.no_grad():
            for tensor, value in zip(tensors, before, strict=True):
                tensor.copy_(value)
        module.train(training)
        module.zero_grad(set_to_none=True)


def _out_of_memory(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, torch.OutOfMemoryError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _reason(error: Exception) -> str:
    """The first line of what a compiler says, with the line of the program that it stumbled over."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    places = [line for line in lines if line.startswith("File ") and "flowops" not in line] or [
        line for line in lines if line.startswith("File ")
    ]
    said = (lines or [type(error).__name__])[0][:200].rstrip(".")
    return f"{said}; {places[-1]}" if places else said

"""The one comparison of the compiled loss with the uncompiled one, before a run trusts it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from flowops.methods import Draw
from flowops.training.loss_module import LossModule

TOLERANCE = {"32": 1e-3, "bf16": 5e-2}
"""Of the relative difference of losses and of gradients, by precision."""


def check_compiled(
    call: Callable[[Draw], Any], backward: Callable[[Tensor], Any], module: LossModule, draw: Draw
) -> str:
    """Compile the loss and compare loss and gradient with those before; empty if they agree, else the sentence to log.

    A loss that does not compile, or disagrees, is evaluated without compilation from then on. Activations are not
    dropped in the comparison, since compiled code draws them differently.

    Args:
        call: the wrapped module.
        backward: how its loss is differentiated.
        module: what is inside.
        draw: a batch of the size that is trained.

    Cost: two losses with gradients, and the compilation.
    """
    training = module.training
    module.eval()
    try:
        plain = _loss_and_gradient(call, backward, module, draw)
        try:
            module.use_compiled()
            compiled = _loss_and_gradient(call, backward, module, draw)
        except Exception as error:  # whatever the compiler raises, the loss itself is known to work
            module.use_eager()
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            return f"The loss did not compile ({reason[:200]}); it is evaluated uncompiled."
    finally:
        module.train(training)
        module.zero_grad(set_to_none=True)
    for name, before, after in zip(("loss", "gradient"), plain, compiled, strict=True):
        difference = float((after - before).norm() / before.norm().clamp_min(1e-12))
        if not difference <= TOLERANCE[module.hardware.precision]:
            module.use_eager()
            return f"The compiled {name} is off by {difference:.2g} of its size; the loss is evaluated uncompiled."
    return ""


def _loss_and_gradient(
    call: Callable[[Draw], Any], backward: Callable[[Tensor], Any], module: LossModule, draw: Draw
) -> tuple[Tensor, Tensor]:
    module.zero_grad(set_to_none=True)
    loss = call(draw).loss
    backward(loss)
    gradients = [p.grad.detach().flatten() for p in module.parameters() if p.grad is not None]
    return loss.detach().clone(), torch.cat(gradients).clone()

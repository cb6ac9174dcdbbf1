r"""The unit that is wrapped for precision, compilation and distribution: a module whose forward is the method's loss.

The forward-mode derivative is taken inside it. A wrapper around the network alone would be bypassed by the derivative,
and the gradients of several processes would silently stay their own.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from flowops._compile import compile_loss
from flowops.fields import VelocityField
from flowops.interpolants import Interpolant
from flowops.maps import FlowMap, LearnedMap
from flowops.methods import Draw, Method, MethodResult
from flowops.runs.settings import HardwareConfig


class LossModule(nn.Module):
    """The loss of a drawn batch, as a function of the parameters of the map and of a learned weight.

    Args:
        X: the map that is trained.
        method: its loss.
        interpolant: $I$, which the method is given.
        teacher: a field or a map that is distilled, or None.
        average: the exponential average of the map that the method wants, or None. Neither is a submodule, so that no
            wrapper touches it.
        hardware: its precision, and the number of parts whose activations are computed again in the backward pass.

    In bfloat16 the network computes under autocast. Times, states and the loss stay in float32: what is drawn is not
    converted.
    """

    def __init__(
        self,
        X: LearnedMap,
        method: Method,
        interpolant: Interpolant,
        teacher: VelocityField | FlowMap | None = None,
        average: LearnedMap | None = None,
        hardware: HardwareConfig | None = None,
    ) -> None:
        super().__init__()
        self.X, self.method, self.hardware = X, method, hardware or HardwareConfig()
        self._held = (interpolant, teacher, average)
        self._loss = self.evaluate

    @property
    def interpolant(self) -> Interpolant:
        """The interpolant of the method."""
        return self._held[0]

    @property
    def teacher(self) -> VelocityField | FlowMap | None:
        """What is distilled, if anything is."""
        return self._held[1]

    @property
    def average(self) -> LearnedMap | None:
        """The average of the map that the method looks at, if it does."""
        return self._held[2]

    def forward(self, draw: Draw) -> MethodResult:
        n = self.hardware.recompute
        with self.autocast():
            if not n:
                return self._loss(draw)
            parts = [checkpoint(self._loss, draw.part(k, n), use_reentrant=False) for k in range(n)]
            return _joined(parts)

    def autocast(self) -> torch.autocast:
        """The context that gives the network its precision."""
        device = next(self.X.parameters()).device.type
        return torch.autocast(device, torch.bfloat16, enabled=self.hardware.precision == "bf16")

    def evaluate(self, draw: Draw) -> MethodResult:
        """The loss without compilation."""
        return self.method.evaluate(self.X, self.interpolant, draw, teacher=self.teacher, average=self.average)

    def use_compiled(self, *, whole: bool = True) -> None:
        """Compile the loss from now on; one compilation serves one batch size.

        Args:
            whole: as one graph or not at all, unless the method solves an ODE.
        """
        whole = whole and not self.method.solves
        self._loss = compile_loss(self.evaluate, differentiates=self.method.differentiates, fullgraph=whole)

    def use_eager(self) -> None:
        """Evaluate without compilation from now on."""
        self._loss = self.evaluate


def _joined(parts: list[MethodResult]) -> MethodResult:
    """The result of a batch from those of its parts, which are of one size: part `k` holds the rows `k` modulo `n`."""

    def mean(values: list[Tensor]) -> Tensor:
        return torch.stack(values).mean(0)

    def rows(values: list[Tensor]) -> Tensor:
        return torch.stack(values, 1).flatten(0, 1)

    names = dict.fromkeys(name for part in parts for name in part.terms)
    zero, none = torch.zeros_like(parts[0].loss), torch.zeros_like(parts[0].per_sample)
    return MethodResult(
        loss=mean([part.loss for part in parts]),
        terms={name: mean([part.terms.get(name, zero) for part in parts]) for name in names},
        per_sample=rows([part.per_sample for part in parts]),
        s=rows([part.s for part in parts]),
        t=rows([part.t for part in parts]),
        per_term={name: rows([part.per_term.get(name, none) for part in parts]) for name in names},
        seed=parts[0].seed,
    )

r"""The unit that is wrapped for precision, compilation and distribution: a module whose forward is the method's loss.

The forward-mode derivative is taken inside it. A wrapper around the network alone would be bypassed by the derivative,
and the gradients of several processes would silently stay their own.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from flowops._compile import compile_loss
from flowops.fields import VelocityField
from flowops.interpolants import Interpolant
from flowops.maps import FlowMap, LearnedMap
from flowops.methods import Method, MethodResult
from flowops.methods.point import Draw
from flowops.training.config import HardwareConfig


class Outcome(NamedTuple):
    """The tensors of a `MethodResult`; tuples pass through every wrapper."""

    loss: Tensor
    per_sample: Tensor
    s: Tensor
    t: Tensor
    terms: dict[str, Tensor]
    per_term: dict[str, Tensor]
    seed: Tensor

    def detached(self) -> Outcome:
        """Without graphs."""
        loss, per_sample = self.loss.detach(), self.per_sample.detach()
        terms, per_term = ({k: v.detach() for k, v in d.items()} for d in (self.terms, self.per_term))
        return self._replace(loss=loss, per_sample=per_sample, terms=terms, per_term=per_term)

    def result(self) -> MethodResult:
        """The result of the method again."""
        return MethodResult(self.loss, self.terms, self.per_sample, self.s, self.t, self.per_term, self.seed)


class LossModule(nn.Module):
    """The loss of a drawn batch, as a function of the parameters of the map and of a learned weight.

    Args:
        X: the map that is trained.
        method: its loss.
        interpolant: of the method.
        teacher: a field or a map that is held, or None; it is no submodule, so that no wrapper touches it.
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
        hardware: HardwareConfig | None = None,
    ) -> None:
        super().__init__()
        self.X, self.method, self.hardware = X, method, hardware or HardwareConfig()
        self._held = (interpolant, teacher)
        self._loss = self.evaluate

    @property
    def interpolant(self) -> Interpolant:
        """The interpolant of the method."""
        return self._held[0]

    @property
    def teacher(self) -> VelocityField | FlowMap | None:
        """What is distilled, if anything is."""
        return self._held[1]

    def forward(self, draw: Draw) -> Outcome:
        n, device = self.hardware.recompute, next(self.X.parameters()).device.type
        with torch.autocast(device, torch.bfloat16, enabled=self.hardware.precision == "bf16"):
            if not n:
                return self._loss(draw)
            return _joined([checkpoint(self._loss, draw.part(k, n), use_reentrant=False) for k in range(n)])

    def evaluate(self, draw: Draw) -> Outcome:
        """The loss without compilation."""
        r = self.method.evaluate(self.X, self.interpolant, draw, teacher=self.teacher)
        return Outcome(r.loss, r.per_sample, r.s, r.t, r.terms, r.per_term, r.seed)

    def use_compiled(self) -> None:
        """Compile the whole loss from now on; one compilation serves one batch size."""
        self._loss = compile_loss(self.evaluate)

    def use_eager(self) -> None:
        """Evaluate without compilation from now on."""
        self._loss = self.evaluate


def _joined(parts: list[Outcome]) -> Outcome:
    """The outcome of a batch from those of its parts, which are of one size."""

    def mean(values: list[Tensor]) -> Tensor:
        return torch.stack(values).mean(0)

    names = dict.fromkeys(name for part in parts for name in part.terms)
    zero = torch.zeros_like(parts[0].loss)
    terms = {name: mean([part.terms.get(name, zero) for part in parts]) for name in names}
    none = torch.zeros_like(parts[0].per_sample)
    per_term = {name: torch.cat([part.per_term.get(name, none) for part in parts]) for name in names}
    per_sample, s, t = (torch.cat([getattr(part, name) for part in parts]) for name in ("per_sample", "s", "t"))
    return Outcome(mean([part.loss for part in parts]), per_sample, s, t, terms, per_term, parts[0].seed)

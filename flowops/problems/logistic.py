r"""Logistic growth $\dot x=rx(1-x)$, coordinate by coordinate: the smallest problem that is not linear."""

from __future__ import annotations

import torch
from torch import Tensor

from flowops._arguments import check_like, number, per_event
from flowops._types import PerSample, State, TimeLike, Times
from flowops.fields import VelocityField
from flowops.maps import FlowMap
from flowops.problems._checks import as_event
from flowops.problems.problem import Problem


def logistic(rate: float = 4.0, *, event: tuple[int, ...] = (1,)) -> Problem[LogisticField, LogisticMap]:
    r"""$\dot x=rx(1-x)$ with flow $X_{s,t}(x)=x\,e^{r(t-s)}/(1-x+x\,e^{r(t-s)})$.

    The flow exists for all times on $[0,1]$, where the sampler draws uniform initial states; states outside run to
    infinity in finite time, forward or backward, and beyond that time the formula is no flow.

    Args:
        rate: $r$, of either sign.
        event: shape of the states drawn; `b` and `X` take any shape.
    """
    shape, r = as_event(event), number(rate, "rate")

    def uniform(n: int, generator: torch.Generator | None, dtype: torch.dtype, device: torch.device) -> Tensor:
        return torch.rand((n, *shape), generator=generator, dtype=dtype, device=device)

    return Problem("logistic", LogisticField(r), LogisticMap(r), None, shape, base=uniform)


class LogisticField(VelocityField):
    r"""$b_t(x)=rx(1-x)$."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, t: Times, x: State) -> State:
        return self.rate * x * (1 - x)


class LogisticMap(FlowMap):
    r"""$X_{s,t}(x)$, divided through by $e^{r(t-s)}$ where that is large, so that nothing overflows."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, s: Times, t: Times, x: State) -> State:
        numerator, denominator, _ = self._parts(s, t, x)
        return numerator / denominator

    def jvp(self, s: TimeLike, t: TimeLike, x: Tensor, u: Tensor) -> State:
        r"""$\nabla X_{s,t}(x)\,u=e^{r(t-s)}\,u/(1-x+x\,e^{r(t-s)})^2$."""
        s, t = self._operands(s, t, x)
        check_like(u, x, "u")
        _, denominator, decay = self._parts(s, t, x)
        return (decay / denominator.square() * u).to(x.dtype)

    def log_abs_det(self, s: TimeLike, t: TimeLike, x: Tensor) -> PerSample:
        r"""$\sum_i\big(r(t-s)-2\log|1-x_i+x_i\,e^{r(t-s)}|\big)$."""
        s, t = self._operands(s, t, x)
        _, denominator, _ = self._parts(s, t, x)
        logs = per_event(-(self.rate * (t - s)).abs(), x) - 2 * denominator.abs().log()
        return logs.reshape(x.shape[0], x.shape[1:].numel()).sum(1).to(x.dtype)

    def _parts(self, s: Times, t: Times, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        r"""Numerator, denominator and $e^{-r|t-s|}$; both branches agree to first order at $t=s$, where they meet."""
        growth = per_event(self.rate * (t - s), x)
        grows = growth > 0
        # The floor keeps 0 and 1 where they are when the exponential underflows.
        decay = torch.where(grows, -growth, growth).exp().clamp(min=torch.finfo(growth.dtype).tiny)
        numerator = torch.where(grows, x, x * decay)
        return numerator, numerator + torch.where(grows, (1 - x) * decay, 1 - x), decay

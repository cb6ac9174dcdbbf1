"""A clock and a scale in which a field is regular."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from flowops._derivatives import value_and_jvp
from flowops._types import Times
from flowops.fields.velocity_field import VelocityField
from flowops.interpolants.noise_level import increasing_root


@dataclass(frozen=True, eq=False)
class Clock:
    r"""A clock $\tau(t)$ and a scale $c_t$ with $X_{s,t}(x)=c_t\,Y_{\tau(s),\tau(t)}(x/c_s)$, where $Y$ is easier.

    A field whose slope in $t$ is infinite at an end, while its trajectories are smooth in $\tau$, states it by
    `VelocityField.clock`: a `SolutionOperator` then solves for $Y$.

    Attributes:
        b: the field whose flow is $Y$.
        place: $t\mapsto(\tau(t),c_t)$ for times `[n]`; $\tau$ does not decrease from 0 to 1, and may have an
            infinite slope at either end.
        singular: whether the field itself may be infinite where $\dot\tau$ is.
    """

    b: VelocityField
    place: Callable[[Times], tuple[Times, Times]]
    singular: bool = False

    def steep(self, t: Times) -> Tensor:
        r"""Whether $\dot\tau$ is infinite, elementwise."""
        return ~self._rate(t.detach()).isfinite()

    def reach(self, s: Times, t: Times) -> Times:
        r"""How far both times are, at least, from an end at which $\dot\tau$ is infinite; at most 1."""
        ends = torch.arange(2, dtype=s.dtype, device=s.device)
        near = torch.where(self.steep(ends)[:, None], ends[:, None], torch.inf)
        return torch.minimum((s - near).abs(), (t - near).abs()).amin(0).clamp(max=1)

    def time(self, tau: Tensor) -> Tensor:
        r"""The $t$ with $\tau(t)=$ `tau`, of any shape, without derivatives."""
        root = increasing_root(lambda t: self.place(t)[0], self._rate, tau.detach().reshape(-1))
        return root.reshape(tau.shape)

    def _rate(self, t: Times) -> Times:
        return value_and_jvp(lambda q: self.place(q)[0], (t,), (torch.ones_like(t),))[1]

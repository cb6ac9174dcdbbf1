r"""A flow map given by a two-time network, batched throughout."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from flowops._arguments import check_like, check_result, per_event
from flowops._derivatives import value_and_jvp
from flowops._operator import takes
from flowops._types import State, TimeLike, Times
from flowops.fields import VelocityField
from flowops.maps.flow_map import FlowMap
from flowops.maps.parameterization import AverageVelocity, Parameterization


class LearnedMap(FlowMap):
    r"""$X_{s,t}(x)=x+(t-s)\,v_{s,t}(x)$ with $v$ made of a network, the identity at $s=t$ by construction.

    Args:
        network: a module of `(s, t, x)`, times `[batch]` and states `[batch, *event]`, that returns the shape of `x`;
            its further keyword arguments are conditions (`X.given(label=y)`).
        parameterization: what the network predicts; `AverageVelocity()` ($v$ itself), `SecondOrder(b)` or
            `EDMPreconditioning(interpolant, sigma_data)`.

    The average velocity, and with it the implied field $v_{t,t}$, is exact: no difference is taken. Under autocast the
    network's output is brought back to the state's dtype before it is multiplied by times.

    Raises:
        TypeError: if `network` is no module, or `parameterization` none of this package.

    Cost: one call of the network per value. Source: 2505.18825 eqs. (6), (7).
    """

    def __init__(self, network: nn.Module, parameterization: Parameterization | None = None) -> None:
        super().__init__()
        if not isinstance(network, nn.Module):
            raise TypeError(f"`network` must be an nn.Module of (s, t, x), got {type(network).__name__}; wrap it.")
        parameterization = AverageVelocity() if parameterization is None else parameterization
        if not isinstance(parameterization, Parameterization):
            raise TypeError(
                f"`parameterization` must be a Parameterization, got {type(parameterization).__name__}; pass "
                f"AverageVelocity(), SecondOrder(b) or EDMPreconditioning(interpolant)."
            )
        self.network = network
        self.parameterization = parameterization

    def forward(self, s: Times, t: Times, x: State, **conditions: Any) -> State:
        return x + per_event(t - s, x) * self._average_velocity(s, t, x, **conditions)

    def average_velocity(self, s: TimeLike, t: TimeLike, x: Tensor) -> State:
        r"""$v_{s,t}(x)$ itself, exact for all $s,t$. Cost: one call of the network."""
        s, t = self._operands(s, t, x)
        return check_result(self._average_velocity(s, t, x, **self._conditions), x, s, t, name="The network")

    def average_velocity_and_material_derivative(
        self, s: TimeLike, t: TimeLike, x: Tensor, u: Tensor
    ) -> tuple[State, State]:
        r"""$v_{s,t}(x)$ and $u-v_{s,t}(x)+(t-s)(\partial_sv_{s,t}(x)+\nabla v_{s,t}(x)\,u)$ in one pass."""
        s, t = self._operands(s, t, x)
        check_like(u, x, "u")
        v, derivative = value_and_jvp(lambda q, y: self.average_velocity(q, t, y), (s, x), (torch.ones_like(s), u))
        return v, u - v + (per_event(t - s, x) * derivative).to(x.dtype)

    def velocity(self) -> VelocityField:
        r"""The implied field $b_t(x)=v_{t,t}(x)$, exact. Cost per value: one call of the network."""
        return DiagonalVelocity(self)

    def _average_velocity(self, s: Times, t: Times, x: State, **conditions: Any) -> State:
        def network(s: Tensor, t: Tensor, y: Tensor) -> Tensor:
            return check_result(self.network(s, t, y, **conditions), y, s, t, name="The network")

        return self.parameterization(network, s, t, x)

    def _takes(self, name: str) -> bool:
        return takes(self.network, name)


class DiagonalVelocity(VelocityField):
    r"""$b_t(x)=v_{t,t}(x)$ of a map that knows its average velocity exactly."""

    def __init__(self, X: FlowMap) -> None:
        super().__init__()
        self.X = X

    def forward(self, t: Times, x: State) -> State:
        return self.X.average_velocity(t, t, x)

r"""A flow map given by a two-time network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from flowops._arguments import check_like, check_result, per_event
from flowops._derivatives import value_and_jvp
from flowops._operator import takes
from flowops._types import State, TimeLike, Times
from flowops.fields import VelocityField
from flowops.maps.flow_map import FlowMap
from flowops.maps.parameterization import Parameterization


class LearnedMap(FlowMap):
    r"""$X_{s,t}(x)=x+(t-s)\,v_{s,t}(x)$ with $v$ made of a network, the identity at $s=t$ by construction.

    Args:
        network: a module of `(s, t, x)`, times `[batch]` and states `[batch, *event]`, that returns the shape of `x`;
            its further keyword arguments are conditions (`X.given(label=y)`). A method `auxiliary_velocity(t, x)` of it
            is the second output behind `auxiliary`.
        parameterization: what the network predicts; None or `AverageVelocity()` for $v$ itself, `SecondOrder(b)`,
            `EDMPreconditioning(interpolant, sigma_data)`, `CosineSine()` or `Endpoint(clip)`.

    The average velocity, and with it the implied field $v_{t,t}$, is exact: no difference is taken. Under autocast the
    network's output is brought back to the state's dtype before it is multiplied by times.

    >>> from flowops.networks import MLP
    >>> X = LearnedMap(MLP(2, generator=torch.Generator().manual_seed(0)))
    >>> x = torch.ones(3, 2)
    >>> torch.equal(X(0.3, 0.3, x), x)  # the identity at equal times
    True
    >>> X.velocity()(0.3, x).shape  # the field of its diagonal
    torch.Size([3, 2])

    Raises:
        TypeError: if `network` is no module, or one wrapped for several processes, or `parameterization` is none of
            this package.

    Cost: one call of the network per value. Source: 2505.18825 eqs. (6), (7).
    """

    def __init__(self, network: nn.Module, parameterization: Parameterization | None = None) -> None:
        super().__init__()
        if not isinstance(network, nn.Module):
            raise TypeError(f"`network` must be an nn.Module of (s, t, x), got {type(network).__name__}; wrap it.")
        if isinstance(network, nn.DataParallel | nn.parallel.DistributedDataParallel):
            raise TypeError(
                f"`network` must be the network itself, got {type(network).__name__}, inside of which no derivative is "
                f"taken; pass network.module, and wrap the module whose forward is the loss (LossModule)."
            )
        if not isinstance(parameterization, Parameterization | None):
            raise TypeError(
                f"`parameterization` must be a Parameterization, got {type(parameterization).__name__}; pass "
                f"AverageVelocity(), SecondOrder(b) or EDMPreconditioning(interpolant)."
            )
        self.network = network
        self.parameterization = parameterization

    def forward(self, s: Times, t: Times, x: State, **conditions: Any) -> State:
        return x + per_event(t - s, x) * self._average_velocity(s, t, x, conditions)

    def average_velocity(self, s: TimeLike, t: TimeLike, x: Tensor) -> State:
        r"""$v_{s,t}(x)$ itself, exact for all $s,t$. Cost: one call of the network."""
        s, t = self._operands(s, t, x)
        return self._average_velocity(s, t, x, self._conditions)

    def average_velocity_and_material_derivative(
        self, s: TimeLike, t: TimeLike, x: Tensor, u: Tensor
    ) -> tuple[State, State]:
        r"""$v_{s,t}(x)$ and $u-v_{s,t}(x)+(t-s)(\partial_sv_{s,t}(x)+\nabla v_{s,t}(x)\,u)$ in one pass."""
        s, t = self._operands(s, t, x)
        check_like(u, x, "u")
        v, derivative = value_and_jvp(
            lambda q, y: self._average_velocity(q, t, y, self._conditions), (s, x), (torch.ones_like(s), u)
        )
        return v, u - v + (per_event(t - s, x) * derivative).to(x.dtype)

    def auxiliary(self) -> VelocityField:
        """The velocity of the second output of a network with `auxiliary=True`, parameterized like the diagonal."""
        return AuxiliaryVelocity(self) if has_auxiliary(self.network) else super().auxiliary()

    def _diagonal(self, t: Times, x: State) -> State:
        r"""$v_{t,t}(x)$, exact. Cost: one call of the network."""
        return self._average_velocity(t, t, x, self._conditions)

    def _average_velocity(self, s: Times, t: Times, x: State, conditions: Mapping[str, Any]) -> State:
        r"""$v_{s,t}(x)$ at checked operands."""
        if self.parameterization is None:  # the network itself
            return check_result(self.network(s, t, x, **conditions), x, s, t, name="The network")

        def network(s: Tensor, t: Tensor, y: Tensor) -> Tensor:
            return check_result(self.network(s, t, y, **conditions), y, s, t, name="The network")

        return check_result(self.parameterization(network, s, t, x), x, s, t, name="The parameterization")

    def _auxiliary_velocity(self, t: Times, x: State) -> State:
        """The second output at checked operands."""

        def network(s: Tensor, t: Tensor, y: Tensor) -> Tensor:
            value = self.network.auxiliary_velocity(t, y, **self._conditions)  # type: ignore[operator]
            return check_result(value, y, s, t, name="The second output")

        if self.parameterization is None:
            return network(t, t, x)
        return check_result(self.parameterization(network, t, t, x), x, t, name="The parameterization")

    def _accepts(self, name: str) -> bool:
        return takes(self.network, name)


class AuxiliaryVelocity(VelocityField):
    """The second output of the network of a learned map."""

    def __init__(self, X: LearnedMap) -> None:
        super().__init__()
        self.X = X

    def forward(self, t: Times, x: State) -> State:
        if self.X._conditions:
            self.X.check_conditions(x)
        return self.X._auxiliary_velocity(t, x)


def has_auxiliary(network: nn.Module) -> bool:
    """Whether a network has a second output for a velocity; as `has_log_det`."""
    return callable(getattr(network, "auxiliary_velocity", None)) and getattr(network, "auxiliary", True) is not None


def has_log_det(network: nn.Module) -> bool:
    """Whether a network has a second output: the method, and the layers for it where it may be built without them."""
    return callable(getattr(network, "value_and_log_det_rate", None)) and getattr(network, "log_det", True) is not None

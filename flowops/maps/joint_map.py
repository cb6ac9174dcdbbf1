r"""A flow map that says by itself how it stretches volumes, so that densities cost as many calls as samples."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from flowops._arguments import check_result, check_state, whole
from flowops._types import PerSample, State, TimeLike, Times
from flowops.fields.augmented import joined, separated
from flowops.fields.likelihood import Base, base_log_prob
from flowops.maps.flow_map import FlowMap
from flowops.maps.learned_map import LearnedMap, has_log_det
from flowops.maps.parameterization import Parameterization


class JointMap(FlowMap):
    r"""A map $X_{s,t}$ with a rate $D_{s,t}$ that claims $\log|\det\nabla X_{s,t}(x)|=(t-s)\,D_{s,t}(x)$.

    The pair $(x,\ell)\mapsto(X_{s,t}(x),\ \ell+(t-s)D_{s,t}(x))$ is a map of its own, `augmented`: for the flow of $b$
    it is that of `fields.AugmentedField`, and every identity of flow maps is one of the logarithm. The claim is what is
    learned: `log_abs_det` stays the one of $X$ itself. Source: 2512.02636.
    """

    @abstractmethod
    def augmented(self, event: torch.Size) -> FlowMap:
        r"""$(x,\ell)\mapsto(X_{s,t}(x),\ \ell+(t-s)D_{s,t}(x))$ on flat states `[batch, d+1]` of events of a shape."""

    def log_det_rate(self, s: TimeLike, t: TimeLike, x: Tensor) -> PerSample:
        r"""$D_{s,t}(x)$, `[batch]`; at $s=t$ it claims to be $\nabla\!\cdot b_t(x)$. Cost: one call."""
        s, t = self._operands(s, t, x)
        return self.augmented(x.shape[1:]).average_velocity(s, t, joined(x))[:, -1]

    def learned_log_det(self, s: TimeLike, t: TimeLike, x: Tensor) -> PerSample:
        r"""$(t-s)\,D_{s,t}(x)$, `[batch]`, zero at $s=t$. Cost: one call."""
        s, t = self._operands(s, t, x)
        return self.augmented(x.shape[1:])(s, t, joined(x))[:, -1]

    def compose_with_log_det(self, times: Sequence[TimeLike] | Tensor, x: Tensor) -> tuple[State, PerSample]:
        r"""The end of $k$ steps along a grid of $k+1$ times, as `compose`, and the sum of their logarithms, `[batch]`.

        Cost: $k$ calls.
        """
        check_state(x)
        return separated(self.augmented(x.shape[1:]).compose(times, joined(x)), x.shape[1:])

    def log_prob(self, x: Tensor, t: TimeLike = 1.0, base: Base | None = None, *, steps: int = 1) -> PerSample:
        r"""$\log\hat\rho_t(x)=\log\rho_0(X_{t,0}(x))+\sum_i(t_{i+1}-t_i)\,D_{t_i,t_{i+1}}(x_i)$ over equal steps to 0.

        No density unless the claim is true: its integral need not be one. The map must have learned to go from $t$ to
        0, which wants a law of times such as `times.FullSquare`.

        Args:
            x: states at time `t`.
            t: the time at which the density is wanted.
            base: density at time 0, a `torch.distributions.Distribution` or a callable `x -> [batch]`; standard normal
                if not given.
            steps: number of steps.

        Raises:
            ValueError: unless `steps` is a positive whole number.

        Cost: `steps` calls. Source: 2512.02636. Checked by
        `theory_checks/test_joint_log_density_error_is_its_residual.py`.
        """
        k = whole(steps, "steps")
        start, change = self.compose_with_log_det([t * (1 - i / k) for i in range(k + 1)], x)
        return base_log_prob(base, start) + change


class LearnedJointMap(LearnedMap, JointMap):
    r"""The joint map of a network with a second output, $X_{s,t}(x)=x+(t-s)\,v_{s,t}(x)$ and $D_{s,t}(x)$.

    Args:
        network: as for `LearnedMap`, with a method `value_and_log_det_rate(s, t, x)`, which returns what its forward
            returns and $D_{s,t}(x)$ of shape `[batch]` in one call; `MLP(..., log_det=True)` has one.
        parameterization: what its forward predicts, as for `LearnedMap`.

    >>> from flowops.networks import MLP
    >>> X = LearnedJointMap(MLP(2, log_det=True, generator=torch.Generator().manual_seed(0)))
    >>> x = torch.ones(3, 2)
    >>> X.learned_log_det(0.3, 0.3, x)  # no volume changes in no time
    tensor([0., 0., 0.], grad_fn=<SelectBackward0>)
    >>> X.log_prob(x, steps=4).shape
    torch.Size([3])

    Raises:
        TypeError: if `network` has no second output.

    Cost: one call of the network for a value, with or without $D$. Source: 2512.02636.
    """

    def __init__(self, network: nn.Module, parameterization: Parameterization | None = None) -> None:
        super().__init__(network, parameterization)
        if not has_log_det(network):
            raise TypeError(
                f"`network` must have a method value_and_log_det_rate(s, t, x), and {type(network).__name__} has none; "
                f"build it with log_det=True."
            )

    def augmented(self, event: torch.Size) -> LearnedMap:
        return LearnedMap(JointRates(self, event), None)

    def rates(self, s: Times, t: Times, x: State) -> tuple[State, PerSample]:
        r"""$v_{s,t}(x)$ and $D_{s,t}(x)$ in one call of the network, at checked operands."""
        held: list[Tensor] = []
        conditions: Mapping[str, Any] = self._conditions
        if conditions:
            self.check_conditions(x)

        def network(s: Tensor, t: Tensor, y: Tensor) -> Tensor:
            value, rate = self.network.value_and_log_det_rate(s, t, y, **conditions)  # type: ignore[operator]
            held.append(rate)
            return check_result(value, y, s, t, name="The network")

        if self.parameterization is None:
            v = network(s, t, x)
        else:
            v = check_result(self.parameterization(network, s, t, x), x, s, t, name="The parameterization")
        return v, check_result(held[-1], x.new_empty(len(x)), s, t, name="The rate of the network")


class JointRates(nn.Module):
    r"""$(v_{s,t}(x),D_{s,t}(x))$ of a joint map as the network of its augmented map."""

    def __init__(self, X: LearnedJointMap, event: torch.Size) -> None:
        super().__init__()
        self.X, self.event = X, event

    def forward(self, s: Times, t: Times, y: State) -> State:
        return joined(*self.X.rates(s, t, separated(y, self.event)[0]))

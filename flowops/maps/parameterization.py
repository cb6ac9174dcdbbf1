r"""How a network becomes a flow map: what it predicts of $X_{s,t}(x)=x+(t-s)\,v_{s,t}(x)$.

Every parameterization gives the average velocity $v_{s,t}$ itself, so that the map is the identity at $s=t$ by
construction and its field $v_{t,t}$ is read off without differencing.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from flowops._arguments import number, per_event
from flowops._named import Registry
from flowops._types import State, Times
from flowops.fields import VelocityField
from flowops.interpolants import Interpolant

Network = Callable[[Tensor, Tensor, Tensor], Tensor]


class Parameterization(nn.Module):
    """What the network of a `LearnedMap` predicts; a subclass supplies `forward`."""

    @abstractmethod
    def forward(self, network: Network, s: Times, t: Times, x: State) -> State:
        r"""The average velocity $v_{s,t}(x)$ made of `network(s, t, x)`, with conditions already fixed."""


class AverageVelocity(Parameterization):
    r"""The network is $v_{s,t}(x)$. Source: 2505.18825 eq. (6)."""

    def __init__(self) -> None:
        super().__init__()

    def forward(self, network: Network, s: Times, t: Times, x: State) -> State:
        return network(s, t, x)


class SecondOrder(Parameterization):
    r"""$X_{s,t}(x)=x+(t-s)\,b_s(x)+\tfrac12(t-s)^2\,\psi_{s,t}(x)$ with a given field $b$; the network is $\psi$.

    The implied field is $b$ exactly, whatever the network. Source: 2406.07507, where it serves distillation.
    """

    def __init__(self, b: VelocityField) -> None:
        super().__init__()
        if not isinstance(b, VelocityField):
            raise TypeError(f"`b` must be a VelocityField, got {type(b).__name__}; wrap it with from_function.")
        self.b = b

    def forward(self, network: Network, s: Times, t: Times, x: State) -> State:
        return self.b(s, x) + per_event(0.5 * (t - s), x) * network(s, t, x)


class EDMPreconditioning(Parameterization):
    r"""The network sees inputs and predicts outputs of unit variance, for data of standard deviation `sigma_data`.

    With $V_s=\alpha_s^2+\beta_s^2\sigma_d^2$ the variance of $I_s$, the best linear prediction of $\dot I_s$ is
    subtracted:

    $$v_{s,t}(x)=\frac{\alpha_s\dot\alpha_s+\beta_s\dot\beta_s\sigma_d^2}{V_s}\,x
      +\frac{|\alpha_s\dot\beta_s-\beta_s\dot\alpha_s|\,\sigma_d}{\sqrt{V_s}}\,F_{s,t}\!\Big(\frac{x}{\sqrt{V_s}}\Big)$$

    On the diagonal this is the preconditioning of Karras et al. written for velocities. The interpolant must have two
    terms and a finite $\dot\alpha$ on the times used. Source: EDM 2206.00364 §5 and App. B.6.
    """

    def __init__(self, interpolant: Interpolant, sigma_data: float = 0.5) -> None:
        super().__init__()
        if interpolant.has_latent:
            raise ValueError(
                "`interpolant` must have two terms for EDM preconditioning, got one with a gamma term; use "
                "AverageVelocity() instead."
            )
        self.sigma_data = number(sigma_data, "sigma_data")
        if self.sigma_data <= 0:
            raise ValueError(f"`sigma_data` must be positive, got {sigma_data}; pass the data's standard deviation.")
        self.interpolant = interpolant

    def forward(self, network: Network, s: Times, t: Times, x: State) -> State:
        I, variance = self.interpolant, self.sigma_data**2
        total = I.alpha(s) ** 2 + variance * I.beta(s) ** 2
        c_skip = (I.alpha_alpha_dot(s) + variance * I.beta_beta_dot(s)) / total
        c_in = total.rsqrt()
        c_out = torch.abs(I.alpha(s) * I.beta_dot(s) - I.beta(s) * I.alpha_dot(s)) * self.sigma_data * c_in
        return per_event(c_skip, x) * x + per_event(c_out, x) * network(s, t, (per_event(c_in, x) * x).to(x.dtype))


PARAMETERIZATIONS: Registry[Parameterization] = Registry(
    "parameterization",
    Parameterization,
    {
        "average-velocity": AverageVelocity,
        "second-order": SecondOrder,
        "edm": EDMPreconditioning,
    },
    passed=("interpolant", "b"),
)
"""By name; `second-order` is made of the teacher's field, `edm` of the interpolant of the training."""

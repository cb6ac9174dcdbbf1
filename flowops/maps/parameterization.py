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
from flowops.fields.velocity_field import check_velocity_field
from flowops.interpolants import Interpolant, trigonometric
from flowops.maps.mean_slope import mean_slope

Network = Callable[[Tensor, Tensor, Tensor], Tensor]


def _deviation(sigma_data: float) -> float:
    """The standard deviation of data, checked."""
    value = number(sigma_data, "sigma_data")
    if value <= 0:
        raise ValueError(f"`sigma_data` must be positive, got {sigma_data}; pass the data's standard deviation.")
    return value


class Parameterization(nn.Module):
    """What the network of a `LearnedMap` predicts; a subclass supplies `forward`."""

    @abstractmethod
    def forward(self, network: Network, s: Times, t: Times, x: State) -> State:
        r"""The average velocity $v_{s,t}(x)$ made of `network(s, t, x)`, with conditions already fixed."""


class AverageVelocity(Parameterization):
    r"""The network is $v_{s,t}(x)$, or for data of another deviation $v_{s,t}(x)=\sigma_dF_{s,t}(x/\sigma_d)$.

    With the base scaled alike, $\alpha_0=\sigma_d$, the network $F$ sees states of unit variance at both ends.

    Args:
        sigma_data: $\sigma_d$.

    Raises:
        ValueError: unless it is positive.

    Source: 2505.18825 eq. (6); its code has $\sigma_d=\tfrac12$ for images.
    """

    def __init__(self, sigma_data: float = 1.0) -> None:
        super().__init__()
        self.sigma_data = _deviation(sigma_data)

    def forward(self, network: Network, s: Times, t: Times, x: State) -> State:
        if self.sigma_data == 1:
            return network(s, t, x)
        return self.sigma_data * network(s, t, x / self.sigma_data)


class SecondOrder(Parameterization):
    r"""$X_{s,t}(x)=x+(t-s)\,b_s(x)+\tfrac12(t-s)^2\,\psi_{s,t}(x)$ with a given field $b$; the network is $\psi$.

    The implied field is $b$ exactly, whatever the network. Source: 2406.07507, where it serves distillation.
    """

    def __init__(self, b: VelocityField) -> None:
        super().__init__()
        check_velocity_field(b)
        self.b = b

    def forward(self, network: Network, s: Times, t: Times, x: State) -> State:
        return self.b(s, x) + per_event(0.5 * (t - s), x) * network(s, t, x)


class EDMPreconditioning(Parameterization):
    r"""The network sees inputs and predicts outputs of unit variance, for data of standard deviation `sigma_data`.

    With $V_s=\alpha_s^2+\beta_s^2\sigma_d^2$ the variance of $I_s$, and $\alpha',\beta'$ the mean slopes from $s$ to
    $t$, $(\alpha_t-\alpha_s)/(t-s)$ and likewise, the best linear prediction of $(I_t-I_s)/(t-s)$ from $I_s$ is
    subtracted, and what it leaves is scaled to unit variance:

    $$v_{s,t}(x)=\frac{\alpha_s\alpha'+\beta_s\beta'\sigma_d^2}{V_s}\,x
      +\frac{|\alpha_s\beta'-\beta_s\alpha'|\,\sigma_d}{\sqrt{V_s}}\,F_{s,t}\!\Big(\frac{x}{\sqrt{V_s}}\Big)$$

    On the diagonal this is the preconditioning of Karras et al. written for velocities; off it a conditional mean of
    $I_t$ has no more than unit variance, and the map of Gaussian data is $\tan(\theta/2)\,x/\sqrt{V_s}$, with $\theta$
    the angle between $(\alpha,\sigma_d\beta)$ at $s$ and at $t$. The interpolant must have two terms and a finite
    $\dot\alpha$ on the times used. Source: EDM 2206.00364 §5 and App. B.6; two times are ours.
    """

    def __init__(self, interpolant: Interpolant, sigma_data: float = 0.5) -> None:
        super().__init__()
        if interpolant.has_latent:
            raise ValueError(
                "`interpolant` must have two terms for EDM preconditioning, got one with a gamma term; use "
                "AverageVelocity() instead."
            )
        self.sigma_data = _deviation(sigma_data)
        self.interpolant = interpolant

    def forward(self, network: Network, s: Times, t: Times, x: State) -> State:
        I, variance = self.interpolant, self.sigma_data**2
        alpha, beta = I.alpha(s), I.beta(s)
        alpha_slope = mean_slope(I.alpha, I.alpha_dot, s, t, alpha)
        beta_slope = mean_slope(I.beta, I.beta_dot, s, t, beta)
        total = alpha**2 + variance * beta**2
        c_skip = (alpha * alpha_slope + variance * beta * beta_slope) / total
        c_in = total.rsqrt()
        c_out = torch.abs(alpha * beta_slope - beta * alpha_slope) * self.sigma_data * c_in
        return per_event(c_skip, x) * x + per_event(c_out, x) * network(s, t, (per_event(c_in, x) * x).to(x.dtype))


class CosineSine(EDMPreconditioning):
    r"""$X_{s,t}(x)=\cos\theta\,x+\sin\theta\,N_{s,t}(x)$ with $\theta=\tfrac\pi2(t-s)$; the network is $N$.

    It is `EDMPreconditioning` of the `trigonometric` interpolant for data of unit variance, and the natural choice
    there: $I_t=\cos\theta\,I_s+\sin\theta\,\tfrac2\pi\dot I_s$ for every pair of samples, so that inputs and targets of
    the network have unit variance, its diagonal is $\tfrac2\pi b_t$, and for a single data point it does not depend on
    $t$. With another schedule, or data of another variance, `EDMPreconditioning` fits better.

    Source: TrigFlow of Lu, Song 2410.11081, $f(x,t)=\cos(t)\,x-\sin(t)\,\sigma_dF$ with $t_{TF}=\tfrac\pi2(1-s)$ and
    $\sigma_d=1$; Luo et al. 2512.15657 for two times.
    """

    def __init__(self) -> None:
        super().__init__(trigonometric(), 1.0)


class Endpoint(Parameterization):
    r"""$v_{s,t}(x)=\dfrac{N_{s,t}(x)-x}{\max(1-s,c)}$: the network $N$ predicts where the map ends.

    For $s\le1-c$ the map to the end is the network itself, $X_{s,1}=N_{s,1}$, and on the diagonal of the linear
    interpolant $N_{t,t}=\mathbb E[x_1\mid I_t]$ is the denoiser: what is predicted lies among the data, whatever the
    time. Beyond $1-c$ the factor stays $1/c$, which bounds the velocity at $s\to1$, so that $N_{1,1}$ there is
    $x+c\,b_1(x)$ and not the data point. Off the diagonal, with $t<1$, $N$ is the point at which a straight line from
    $x$ through $X_{s,t}(x)$ would be at time 1, not a state of the flow.

    Args:
        clip: $c$, in (0, 1].

    Raises:
        ValueError: for another `clip`.

    Source: pixel MeanFlow 2601.22158, whose code clips at 0.05, on a clock with the data at 0.
    """

    def __init__(self, clip: float = 0.05) -> None:
        super().__init__()
        self.clip = number(clip, "clip")
        if not 0 < self.clip <= 1:
            raise ValueError(f"`clip` must lie in (0, 1], got {clip}; pass 0.05, say.")

    def forward(self, network: Network, s: Times, t: Times, x: State) -> State:
        return (network(s, t, x) - x) / per_event((1 - s).clamp(min=self.clip), x)


PARAMETERIZATIONS: Registry[Parameterization] = Registry(
    "parameterization",
    Parameterization,
    {
        "average-velocity": AverageVelocity,
        "second-order": SecondOrder,
        "edm": EDMPreconditioning,
        "cosine-sine": CosineSine,
        "endpoint": Endpoint,
    },
    passed=("interpolant", "b"),
)
"""By name; `second-order` is made of the teacher's field, `edm` of the interpolant of the training."""

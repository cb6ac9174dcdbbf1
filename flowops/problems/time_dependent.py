r"""A scalar equation with a rate and a forcing that depend on time, $\dot x=a(t)\,x+f(t)$."""

from __future__ import annotations

import torch
from torch import Tensor

from flowops._arguments import number, per_event
from flowops._types import PerSample, State, TimeLike, Times
from flowops.fields import VelocityField
from flowops.problems._affine import AffineMap
from flowops.problems._checks import as_event
from flowops.problems.problem import Problem, standard_normal


def time_dependent_scalar(
    rate: float = -1.0,
    omega: float = torch.pi,
    amplitude: float = 1.0,
    frequency: float = 2.0,
    *,
    event: tuple[int, ...] = (1,),
) -> Problem[TimeDependentField, TimeDependentMap]:
    r"""$\dot x=a(t)\,x+f(t)$, coordinate by coordinate, with $a(t)=a\cos\omega t$.

    The forcing $f=\dot h-a\,h$ is the one that makes $h(t)=c\sin\nu t$ a solution, so the flow is
    $X_{s,t}(x)=h(t)+e^{A(s,t)}(x-h(s))$ with $A(s,t)=\int_s^ta(\tau)\,d\tau=\tfrac a\omega(\sin\omega t-\sin\omega s)$.

    Args:
        rate: $a$.
        omega: $\omega$; zero gives a constant rate.
        amplitude: $c$; zero gives the equation without forcing.
        frequency: $\nu$.
        event: shape of the states drawn; `b` and `X` take any shape.
    """
    shape = as_event(event)
    constants = (
        number(rate, "rate"),
        number(omega, "omega"),
        number(amplitude, "amplitude"),
        number(frequency, "frequency"),
    )
    b, X = TimeDependentField(*constants), TimeDependentMap(*constants)
    return Problem("time_dependent_scalar", b, X, None, shape, base=standard_normal(shape))


class TimeDependentField(VelocityField):
    r"""$b_t(x)=a(t)(x-h(t))+\dot h(t)$."""

    def __init__(self, rate: float, omega: float, amplitude: float, frequency: float) -> None:
        super().__init__()
        self.rate, self.omega, self.amplitude, self.frequency = rate, omega, amplitude, frequency

    def forward(self, t: Times, x: State) -> State:
        t = per_event(t, x)
        h = self.amplitude * torch.sin(self.frequency * t)
        h_dot = self.amplitude * self.frequency * torch.cos(self.frequency * t)
        return self.rate * torch.cos(self.omega * t) * (x - h) + h_dot


class TimeDependentMap(AffineMap):
    r"""$X_{s,t}(x)=h(t)+e^{A(s,t)}(x-h(s))$."""

    def __init__(self, rate: float, omega: float, amplitude: float, frequency: float) -> None:
        super().__init__()
        self.rate, self.omega, self.amplitude, self.frequency = rate, omega, amplitude, frequency

    def forward(self, s: Times, t: Times, x: State) -> State:
        start, end = (per_event(self.amplitude * torch.sin(self.frequency * tau), x) for tau in (s, t))
        return end + self._linear(s, t, x - start)

    def log_abs_det(self, s: TimeLike, t: TimeLike, x: Tensor) -> PerSample:
        r"""$d\,A(s,t)$ for events of $d$ entries."""
        s, t = self._operands(s, t, x)
        return (x.shape[1:].numel() * self._exponent(s, t)).to(x.dtype)

    def _linear(self, s: Times, t: Times, u: Tensor) -> Tensor:
        return per_event(self._exponent(s, t).exp(), u) * u

    def _exponent(self, s: Times, t: Times) -> Tensor:
        # The difference of sines as a product: no cancellation for close times, no division by omega.
        mean = torch.cos(self.omega * (s + t) / 2)
        return self.rate * (t - s) * mean * torch.sinc(self.omega * (t - s) / (2 * torch.pi))

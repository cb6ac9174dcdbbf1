r"""The pendulum, by Jacobi's elliptic functions: a Hamiltonian flow with two kinds of motion and a separatrix."""

from __future__ import annotations

import torch
from torch import Tensor

from flowops._types import PerSample, State, TimeLike, Times
from flowops.fields import VelocityField
from flowops.maps import FlowMap
from flowops.problems._checks import flatten, positive
from flowops.problems.problem import Problem, standard_normal

_LANDEN = 8  # steps of the arithmetic-geometric mean, which double the digits: enough for 1 - m above 1e-16


def pendulum(omega: float = 1.0) -> Problem[PendulumField, PendulumMap]:
    r"""$\dot q=p,\ \dot p=-\omega^2\sin q$ on states $(q,p)$: Hamilton's equations of $H$, see `hamiltonian`.

    It swings below the separatrix, $H<2\omega^2$ with $H=p^2/2+\omega^2(1-\cos q)$, and turns over above it. Angles
    are not reduced: $q$ counts the turns.

    Args:
        omega: frequency of small swings, positive.

    Cost: eight steps of an arithmetic-geometric mean. Source: Whittaker, Analytical Dynamics, §44; addition theorems in
    DLMF §22.8.
    """
    speed = positive(omega, "omega")
    event = torch.Size([2])
    return Problem("pendulum", PendulumField(speed), PendulumMap(speed), None, event, base=standard_normal(event))


class PendulumField(VelocityField):
    r"""$b_t(q,p)=(p,-\omega^2\sin q)$."""

    def __init__(self, omega: float) -> None:
        super().__init__()
        self.omega = omega

    def forward(self, t: Times, x: State) -> State:
        q, p = flatten(x, 2).unbind(-1)
        return torch.stack([p, -(self.omega**2) * q.sin()], -1).reshape(x.shape)

    def hamiltonian(self, x: State) -> PerSample:
        r"""$H(q,p)=p^2/2+\omega^2(1-\cos q)$, `[batch]`."""
        q, p = flatten(x, 2).unbind(-1)
        return p.square() / 2 + 2 * self.omega**2 * (q / 2).sin().square()


class PendulumMap(FlowMap):
    r"""$X_{s,t}(q,p)$ by addition theorems.

    $\sin\frac q2,\ \frac p{2\omega},\ \cos\frac q2$ are $k\,\mathrm{sn},\ k\,\mathrm{cn},\ \mathrm{dn}$ of $\omega t+u$
    with $m=k^2=\sin^2\frac q2+\frac{p^2}{4\omega^2}$. The theorems move them on without the phase $u$, by $\mathrm{sn},
    \mathrm{cn},\mathrm{dn}$ of $\omega(t-s)$ alone. Values hold to rounding, within $\epsilon^{3/4}$ of the separatrix
    to $10^{-10}$ in float64; derivatives lose digits there, about $\epsilon/|1-m|$, up to $10^{-4}$ on it.
    """

    def __init__(self, omega: float) -> None:
        super().__init__()
        self.omega = omega

    def forward(self, s: Times, t: Times, x: State) -> State:
        q, p = flatten(x, 2).unbind(-1)
        S, C, D = (q / 2).sin(), p / (2 * self.omega), (q / 2).cos()
        m, elapsed = S.square() + C.square(), self.omega * (t - s)
        sn, cn, dn, turned = _elliptic(elapsed, m)
        below = 1 - (S * sn).square()
        sine = (S * cn * dn + sn * C * D) / below
        cosine = (D * dn - S * C * sn * cn) / below
        speed = (C * cn - S * D * sn * dn) / below
        half = torch.atan2(sine * D - cosine * S, cosine * D + sine * S)
        # am(v) stays within a quarter of a turn of its mean growth, so that the number of whole turns is the nearest.
        turns = ((turned * C.sign() - half) / (2 * torch.pi)).round().detach()
        return torch.stack([q + 2 * half + 4 * torch.pi * turns, 2 * self.omega * speed], -1).reshape(x.shape)

    def log_abs_det(self, s: TimeLike, t: TimeLike, x: Tensor) -> PerSample:
        """Zero: a Hamiltonian flow keeps volumes (Liouville)."""
        self._operands(s, t, x)
        flatten(x, 2)
        return x.new_zeros(x.shape[:1])


def _elliptic(v: Tensor, m: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    r"""$\mathrm{sn},\mathrm{cn},\mathrm{dn}(v\mid m)$ for $m\ge0$, and the mean growth of $q/2$, 0 for $m\le1$.

    By descending Landen transformations for $m\le1$; for larger $m$ from the modulus $1/m$ at $kv$, where $k\,
    \mathrm{sn}$, $\mathrm{dn}$ and $\mathrm{cn}$ are $\mathrm{sn},\mathrm{cn},\mathrm{dn}$. Source: DLMF §22.20(ii),
    §22.17.
    """
    eps = torch.finfo(m.dtype).eps
    over = m > 1
    k = torch.where(over, m, 1).sqrt()
    inner = torch.where(over, 1 / torch.where(over, m, 1), m)
    inner = inner - (inner - (1 - eps**0.75)).clamp(min=0).detach()  # off the separatrix, where slopes are infinite
    a, b = torch.ones_like(m), (1 - inner).sqrt()
    ratios = []
    for _ in range(_LANDEN):
        a, b, c = (a + b) / 2, (a * b).sqrt(), (a - b) / 2
        ratios.append(c / a)
    mean = a * k * v  # pi u / 2K(1/m): the amplitude without its periodic part
    phase = 2**_LANDEN * mean
    for ratio in reversed(ratios):
        phase = (phase + torch.asin(ratio * phase.sin())) / 2
    sn, cn = phase.sin(), phase.cos()
    dn = (1 - inner * sn.square()).sqrt()
    turned = torch.where(over, mean, 0)
    return sn / k, torch.where(over, dn, cn), torch.where(over, cn, dn), turned

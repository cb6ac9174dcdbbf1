r"""The speed $c_t=|(\dot\alpha_t,\dot\beta_t,\dot\gamma_t)|$ of the coefficients, and where $\int c_t^2\,dt$ diverges.

For independent $x_0,x_1,z$ with unit second moments $\mathbb E|\dot I_t|^2$ is $c_t^2$ per coordinate, so that a
regression on $\dot I_t$ at uniform times has a finite loss only where $\int_0^1c_t^2\,dt$ is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from flowops.interpolants.formulas.formula import Formula
from flowops.interpolants.interpolant import Interpolant, check_interpolant

_EXPONENTS: Final = (22, 24, 26)  # of the distances 2^-k from an end at which a power is measured
_SLACK: Final = 0.01  # of a measured power
_ZERO: Final = 1e-12


def speed(I: Interpolant, t: Tensor) -> Tensor:
    r"""$c_t=\sqrt{\dot\alpha_t^2+\dot\beta_t^2+\dot\gamma_t^2}$, the shape and dtype of `t`; infinite where a rate is.

    Where $\alpha^2+\beta^2=1$ it is the speed $\dot\theta_t$ of the angle $\theta_t=\mathrm{atan2}(\beta_t,\alpha_t)$.

    Raises:
        TypeError: if `I` is no interpolant, or `t` no floating tensor.
    """
    check_interpolant(I)
    square = I.alpha_dot(t) ** 2 + I.beta_dot(t) ** 2
    return (square + I.gamma_dot(t) ** 2 if I.has_latent else square).sqrt()


@dataclass(frozen=True)
class Divergence:
    r"""How $\int|\dot f_t|^2\,dt$ of one coefficient diverges with the distance $\delta$ kept from an end.

    Attributes:
        coefficient: alpha, beta or gamma.
        end: the end, 0 or 1.
        power: $p$ of $r\,\delta^{-p}$; zero for $r\log(1/\delta)$.
        rate: $r$.
        exact: whether it follows from the formula of the coefficient; otherwise it is estimated from values.
    """

    coefficient: str
    end: int
    power: float
    rate: float
    exact: bool

    def __str__(self) -> str:
        """One line for a terminal."""
        growth = f"d^-{self.power:.3g}" if self.power else "log(1/d)"
        interval = "[0, 1-d]" if self.end else "[d, 1]"
        origin = "by its formula" if self.exact else "an estimate"
        return (
            f"the integral of {self.coefficient}_dot^2 over {interval} grows like {self.rate:.4g} {growth} ({origin}): "
            f"losses that follow the conditional velocity are infinite under uniform times; pass "
            f"weight=InverseSpeed(), or times that stop short of t = {self.end}"
        )


@torch.no_grad()
def divergences(I: Interpolant) -> tuple[Divergence, ...]:
    r"""Every coefficient and end for which $\int c_t^2\,dt$ is infinite, with the rate.

    Where $f$ vanishes at an end and $h=f\dot f$ does not, $f^2\approx2|h|\delta$ and $\dot f^2\approx|h|/(2\delta)$:
    the rate $|h|/2$ of a formula is exact, that of a callable as good as its limit. Any other power is measured at
    distances from $2^{-22}$ to $2^{-26}$; one that does not settle there to 0.01 is left out.

    Args:
        I: an interpolant whose coefficients can be evaluated in float64.

    Raises:
        TypeError: if `I` is none.
    """
    check_interpolant(I)
    found = (_divergence(I, key, end) for key in I.coefficients for end in (0, 1))
    return tuple(each for each in found if each is not None)


def _divergence(I: Interpolant, key: str, end: int) -> Divergence | None:
    time = torch.tensor([float(end)], dtype=torch.float64)
    value, rate, half = (getattr(I, f"{key}{rule}")(time).item() for rule in ("", "_dot", f"_{key}_dot"))
    if abs(value) <= _ZERO and not math.isfinite(rate) and math.isfinite(half) and abs(half) > _ZERO:
        return Divergence(key, end, 0.0, abs(half) / 2, isinstance(I.coefficients[key], Formula))
    distances = torch.tensor([2.0**-k for k in _EXPONENTS], dtype=torch.float64)
    squares = getattr(I, f"{key}_dot")(distances if end == 0 else 1 - distances) ** 2
    before, power = (squares.log2().diff() / torch.tensor(_EXPONENTS).diff()).tolist()
    if not (abs(power - before) <= _SLACK and power >= 1 - _SLACK):  # a NaN is for other checks to find
        return None
    factor = (squares[-1] * distances[-1] ** power).item()
    if power <= 1 + _SLACK:
        return Divergence(key, end, 0.0, factor * (distances[-1] ** (1 - power)).item(), exact=False)
    return Divergence(key, end, power - 1, factor / (power - 1), exact=False)

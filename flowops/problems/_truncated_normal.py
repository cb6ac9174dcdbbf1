r"""Mass and mean of a normal law cut to an interval, stable for every place and width of the interval.

Per coordinate of the checkerboard: given $x=\beta y+\sigma\varepsilon$ with $y$ uniform on an interval $[l,r]$, the
noise $\varepsilon$ is minus a standard normal $u=(\beta y-x)/\sigma$ cut to $[u_l,u_r]$. Three formulas share the work,
each where it loses no digits: quadrature where the density hardly varies over the interval, scaled complementary error
functions where the interval lies in a tail, and plain ones where it holds the origin.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

_VARIATION = 2.0  # of the exponent over the interval, up to which the quadrature serves
_NODES, _WEIGHTS = (tuple(values.tolist()) for values in np.polynomial.legendre.leggauss(12))
_LOG_ROOT_TWO_PI = 0.5 * math.log(2 * math.pi)


class Cut(NamedTuple):
    r"""$\log\int_l^rN(x;\beta y,\sigma^2)\,dy$, $\mathbb E[u]$ and $\mathbb E[y]$."""

    log_mass: Tensor
    mean: Tensor
    position: Tensor


class _Standard(NamedTuple):
    """Logarithm of a mass and a mean in the standardized variable."""

    log_mass: Tensor
    mean: Tensor


def cut_normal(x: Tensor, beta: Tensor, sigma: Tensor, center: Tensor, half_width: float) -> Cut:
    r"""The law of $y$ given $x=\beta y+\sigma\varepsilon$ on intervals `center` ± `half_width`; all shapes broadcast.

    Args:
        x: observation.
        beta: $\beta$, not negative; zero is allowed.
        sigma: $\sigma$, positive.
        center: middles of the intervals.
        half_width: half their common width.
    """
    middle = (beta * center - x) / sigma
    half = (beta * half_width / sigma).expand_as(middle)
    sign = torch.where(middle < 0, -1.0, 1.0).to(middle.dtype)
    middle = sign * middle
    flat = 2 * half * (middle + half) <= _VARIATION
    tail = ~flat & (middle >= half)
    around = ~flat & (middle < half)

    # Every formula is given harmless arguments where another one is taken: no NaN, no gradient from there.
    by_quadrature, shift = _quadrature(torch.where(flat, middle, 0), torch.where(flat, half, 0))
    in_tail = _tail(torch.where(tail, middle, 2), torch.where(tail, half, 1))
    at_origin = _around_origin(torch.where(around, middle, 0), torch.where(around, half, 1))

    mean = sign * torch.where(flat, by_quadrature.mean, torch.where(tail, in_tail.mean, at_origin.mean))
    gain = torch.where(flat, 1, beta)
    log_mass = torch.where(
        flat,
        by_quadrature.log_mass + math.log(half_width) - sigma.log(),
        torch.where(tail, in_tail.log_mass, at_origin.log_mass) - gain.log(),
    )
    position = torch.where(flat, center + half_width * sign * shift, (x + sigma * mean) / gain)
    return Cut(log_mass, mean, position)


def _quadrature(middle: Tensor, half: Tensor) -> tuple[_Standard, Tensor]:
    r"""By Gauss-Legendre nodes $\xi\in[-1,1]$, with the density relative to its value in the middle.

    Also returns $\mathbb E[\xi]$. The mass is the one per unit of $\xi$, so that an interval of width zero in $u$ is no
    exception.
    """
    shape = (-1,) + (1,) * middle.ndim
    rule = (torch.tensor(values, dtype=middle.dtype).reshape(shape) for values in (_NODES, _WEIGHTS))
    nodes, weights = (values.to(middle.device, non_blocking=True) for values in rule)
    steps = half * nodes
    density = weights * torch.exp(-steps * (middle + 0.5 * steps))
    mass = density.sum(0)
    shift = (nodes * density).sum(0) / mass
    log_mass = mass.log() - 0.5 * middle.square() - _LOG_ROOT_TWO_PI
    return _Standard(log_mass, middle + half * shift), shift


def _tail(middle: Tensor, half: Tensor) -> _Standard:
    r"""For $0\le u_l<u_r$, by Mills' ratio $R(u)=(1-\Phi(u))/\varphi(u)$: $\mathbb E[u]=(1-q)/(R(u_l)-q\,R(u_r))$.

    $q=\varphi(u_r)/\varphi(u_l)$, at most $e^{-1}$ here, so nothing cancels.
    """
    left = middle - half
    q = torch.exp(-2 * half * middle)
    ratio = _mills(left) - q * _mills(middle + half)
    return _Standard(ratio.log() - 0.5 * left.square() - _LOG_ROOT_TWO_PI, (1 - q) / ratio)


def _around_origin(middle: Tensor, half: Tensor) -> _Standard:
    r"""For $u_l<0<u_r$: $\Phi(u_r)-\Phi(u_l)$ adds two positive parts."""
    left, right = middle - half, middle + half
    mass = 0.5 * (torch.erf(right / math.sqrt(2)) - torch.erf(left / math.sqrt(2)))
    densities = torch.exp(-0.5 * left.square()) - torch.exp(-0.5 * right.square())
    return _Standard(mass.log(), densities / (math.sqrt(2 * math.pi) * mass))


def _mills(u: Tensor) -> Tensor:
    return math.sqrt(math.pi / 2) * torch.special.erfcx(u / math.sqrt(2))

r"""How fast a field drives two paths apart: its logarithmic norm and its norm over the segments between them."""

from __future__ import annotations

import math
from functools import singledispatch
from typing import NamedTuple

import torch
from torch import Tensor

from flowops._types import State, Times
from flowops.certificates.constant import COMPUTED, ESTIMATED, PROVED, Status
from flowops.certificates.norms import SMALL, STEPS, Rates, rates
from flowops.fields import VelocityField
from flowops.problems.gaussian import GaussianField
from flowops.problems.linear import LinearField
from flowops.problems.logistic import LogisticField
from flowops.problems.pendulum import PendulumField
from flowops.problems.rotation import RotationField
from flowops.problems.time_dependent import TimeDependentField

_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of a segment that is looked at


class Segments(NamedTuple):
    r"""Segments between states at given times.

    Attributes:
        t: times, `[m]`.
        y: one end, `[m, *event]`.
        z: the other end.
        direction: $\pm1$, `[m]`: the logarithmic norm is that of $\pm\nabla b$, as forward or backward in time.
    """

    t: Times
    y: State
    z: State
    direction: Tensor


class SegmentRates(NamedTuple):
    """The largest rates over segments, `[m]` each, with what is known of them."""

    rates: Rates
    status: Status
    how: str


@singledispatch
def known_rates(_: VelocityField, __: Segments) -> SegmentRates | None:
    """The rates of a field over segments by a formula; None for a field without one.

    A field of your own has a formula by `known_rates.register(MyField)`: a function of the field and `Segments`.
    """
    return None


def segment_rates(b: VelocityField, at: Segments) -> SegmentRates:
    r"""$\max\mu_2(\pm\nabla b_t)$ and $\max\|\nabla b_t\|_2$ over segments.

    By the field's formula if it has one (`known_rates`), else at five points of every segment; at its ends for events
    of more than 32 numbers.

    Cost: five Jacobians; for large events two times `norms.rates`.
    """
    known = known_rates(b, at)
    if known is not None:
        return known
    small = at.y[:1].numel() <= SMALL
    shares = _SHARES if small else (0.0, 1.0)
    found = [rates(b, at.t, torch.lerp(at.y, at.z, share), at.direction) for share in shares]
    growth, norm = (torch.stack(part).amax(0) for part in zip(*found, strict=True))
    points = f"{len(found)} points of every segment between the paths"
    how = f"eigenvalues at {points}" if small else f"{STEPS} steps of Lanczos at {points}"
    return SegmentRates(Rates(growth, norm), ESTIMATED, how)


@known_rates.register
def _linear(b: LinearField, at: Segments) -> SegmentRates:
    A = b.A.double()
    values = torch.linalg.eigvalsh((A + A.mT) / 2)
    growth = torch.where(at.direction > 0, values[-1], -values[0])
    return SegmentRates(
        Rates(growth, torch.linalg.matrix_norm(A, 2).expand(len(at.t))), PROVED, "the matrix of the field"
    )


@known_rates.register
def _rotation(b: RotationField, at: Segments) -> SegmentRates:
    speed = b.omega.double().abs().max()
    return SegmentRates(
        Rates(torch.zeros_like(at.direction), speed.expand(len(at.t))), PROVED, "it turns, lengths stay"
    )


@known_rates.register
def _time_dependent(b: TimeDependentField, at: Segments) -> SegmentRates:
    rate = b.rate * torch.cos(b.omega * at.t.double())
    return SegmentRates(Rates(at.direction * rate, rate.abs()), PROVED, "a cos(omega t), the slope in the state")


@known_rates.register
def _gaussian(b: GaussianField, at: Segments) -> SegmentRates:
    m = b.law.moments(b.interpolant, at.t.double())
    slopes = m.half_rate / m.variance
    return SegmentRates(
        Rates((at.direction * slopes).amax(0), slopes.abs().amax(0)),
        PROVED,
        "eigenvalues of half the rate of the covariance over the covariance",
    )


@known_rates.register
def _logistic(b: LogisticField, at: Segments) -> SegmentRates:
    slopes = torch.stack([b.rate * (1 - 2 * x.double().reshape(len(x), -1)) for x in (at.y, at.z)], 1).flatten(1)
    return SegmentRates(
        Rates((at.direction[:, None] * slopes).amax(1), slopes.abs().amax(1)),
        COMPUTED,
        "r(1 - 2x) is affine, and largest at an end of a segment",
    )


@known_rates.register
def _pendulum(b: PendulumField, at: Segments) -> SegmentRates:
    q, r = (x.double().reshape(len(x), 2)[:, 0] for x in (at.y, at.z))
    low, high = _cosines(torch.minimum(q, r), torch.maximum(q, r))
    square = b.omega**2
    growth = torch.maximum((1 - square * low).abs(), (1 - square * high).abs()) / 2
    norm = torch.maximum(torch.ones_like(low), square * torch.maximum(low.abs(), high.abs()))
    return SegmentRates(Rates(growth, norm), COMPUTED, "the range of cos q over every segment")


def _cosines(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """The least and the largest cosine between two angles."""
    ends = torch.stack([low.cos(), high.cos()])
    turn = 2 * math.pi
    top = (low / turn).ceil() * turn <= high
    bottom = ((low - math.pi) / turn).ceil() * turn + math.pi <= high
    least = torch.where(bottom, -1, ends.amin(0))
    return least, torch.where(top, 1, ends.amax(0))

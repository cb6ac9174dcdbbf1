r"""The first time at which a function of time and state is zero along a solution, sample by sample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from flowops._arguments import check_per_sample, per_event
from flowops._derivatives import is_tracked, value_and_vjp
from flowops._types import State, Times
from flowops.maps.dense_output import DenseOutput, MovedOutput

_ORDER = 2  # derivatives are right up to this one

Function = Callable[[Times, State], Tensor]
"""`(t, x) -> g`, `[m]` for `m` samples; it is asked for any number of them at once."""


@dataclass(frozen=True)
class Event:
    """Where the solutions of a batch ended.

    Attributes:
        time: when the event occurred, `[batch]`; the end of the interval where it did not.
        state: the states at these times, `[batch, *event]`.
        occurred: for which samples it did, `[batch]`.
    """

    time: Tensor
    state: Tensor
    occurred: Tensor

    @staticmethod
    def join(parts: list[Event]) -> Event:
        """The events of consecutive chunks."""
        return Event(*(torch.cat([getattr(p, name) for p in parts]) for name in ("time", "state", "occurred")))


def first_event(dense: DenseOutput | MovedOutput, g: Function, direction: int) -> Event:
    r"""The first zero of $g(\tau,X_{s,\tau}(x))$ with a change of sign between the ends of a step.

    The time is found without derivatives. Steps of Newton from it, which leave it where it is, give it those of
    $g(\tau,X_{s,\tau}(x))=0$ solved for $\tau$, each one order more.
    """
    times, states = (z.detach() for z in dense.nodes())
    nodes = times.flatten()
    values = check_per_sample(g(nodes, states.flatten(0, 1)), nodes, "g").detach().reshape(times.shape)
    rises = (values[:-1] < 0) & (values[1:] >= 0)
    falls = (values[:-1] > 0) & (values[1:] <= 0)
    hits = rises & (direction >= 0) | falls & (direction <= 0)
    occurred = hits.any(0)
    if not bool(occurred.any()):
        return Event(dense.t, dense.end, occurred)
    rows = occurred.nonzero()[:, 0]
    step = hits[:, rows].int().argmax(0)
    begin, state = times[step, rows], states[step, rows]
    near = dense.X.subset(rows)

    def along(tau: Tensor) -> Tensor:
        return g(tau, near._flow(begin, tau, state, first=1.0))

    with torch.no_grad():
        root = _root(along, begin, values[step, rows], times[step + 1, rows], values[step + 1, rows])
    time = dense.t.index_put((rows,), root)
    reached = dense(time[None])[0]
    rate = torch.where(occurred, _rate(dense, g, time.detach(), reached.detach()), 1)
    for _ in range(_ORDER):
        value = g(time, reached)
        if not is_tracked(value):
            break
        time = time + torch.where(occurred, (value.detach() - value) / rate, 0)
        reached = dense(time[None])[0]
    return Event(time, reached, occurred)


def _rate(dense: DenseOutput | MovedOutput, g: Function, t: Times, x: State) -> Tensor:
    """The derivative of `g` along the solution, `[batch]`, as a number."""
    slope = dense.X.b(t, x)

    def ahead(tau: Tensor) -> Tensor:
        return g(t + tau, x + per_event(tau, x).to(x.dtype) * slope)

    return value_and_vjp(ahead, torch.zeros_like(t), torch.ones_like(t))[1].detach()


def _root(f: Callable[[Tensor], Tensor], a: Tensor, fa: Tensor, b: Tensor, fb: Tensor) -> Tensor:
    """A zero of every entry of `f` between `a` and `b`, where it has different signs, to rounding.

    Source: Chandrupatla, Adv. Eng. Software 28 (1997) 145: inverse quadratic interpolation where it is safe, else
    bisection.
    """
    eps = torch.finfo(a.dtype).eps
    c, fc, part = a, fa, torch.full_like(a, 0.5)
    best = a
    for _ in range(100):
        x = a + part * (b - a)
        fx = f(x)
        same = fx.sign() == fa.sign()
        c, fc = torch.where(same, a, b), torch.where(same, fa, fb)
        b, fb = torch.where(same, b, a), torch.where(same, fb, fa)
        a, fa = x, fx
        best = torch.where(fa.abs() < fb.abs(), a, b)
        least = (2 * eps * best.abs() + eps * eps) / (b - a).abs()
        if bool(((least > 0.5) | (fa == 0) | (fb == 0)).all()):
            break
        xi, phi = (a - b) / (c - b), (fa - fb) / (fc - fb)
        safe = (phi.square() < xi) & ((1 - phi).square() < 1 - xi)
        inverse = fa / (fb - fa) * fc / (fb - fc) + (c - a) / (b - a) * fa / (fc - fa) * fb / (fc - fb)
        part = torch.where(safe, inverse, 0.5).clamp(least.clamp(max=0.5), (1 - least).clamp(min=0.5))
    return best

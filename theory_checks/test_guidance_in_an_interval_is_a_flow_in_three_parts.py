r"""Guidance in an interval of times is the guided flow inside it and the conditional flow before and after.

$b^w_t=b_t(c)+\mathbb 1_{[l,h]}(t)\,(w-1)(b_t(c)-b_t(\varnothing))$, so that
$X_{0,1}=X^c_{h,1}\circ X^w_{l,h}\circ X^c_{0,l}$, which `IntervalMap` is for every order of the times. For two classes
and a null class of Gaussians with one variance the parts have a closed form, that of a Gaussian whose mean is
extrapolated. It solves the equation of the guided field; rows that guide their own velocity at `guidance_interval`
vanish there, and those along $\dot I_t$ guide their target inside alone. Another interval is seen.

A map that is told scale and interval, both drawn per sample, is that flow for all of them at once: there the same rows
vanish, and those along $\dot I_t$ have no expected gradient, with the target as it is, mixed with $\kappa=1-1/w$ of the
own velocity, or with own velocities from a second output. A map that follows another scale or interval than it is told
is seen.

Source: 2404.07724; 2512.02012 and its code, whose times run from the data; 2511.19797 for a weight $w^{-2}$.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from flowops import FlowMap, VelocityField, guided, interpolants, residuals
from flowops.maps import IntervalMap
from flowops.methods import InverseGuidance, PowerLaw, RandomInterval, get_method
from theory_checks.cases import CLOSED_FORM
from theory_checks.gradients import flat_gradient
from theory_checks.method_families import Family
from theory_checks.method_settings import At
from theory_checks.strategies import normal
from theory_checks.test_guidance_replaces_the_target_or_the_own_velocity import (
    MEANS,
    NULL,
    GuidedFlow,
    labelled,
    nodes,
)
from theory_checks.verdicts import Check

I, W, INTERVAL = interpolants.linear(), 2.5, (0.35, 0.6)


class InParts(FlowMap):
    """The flow from earlier to later times that is guided inside an interval."""

    def __init__(self, interval: tuple[float, float] = INTERVAL) -> None:
        super().__init__()
        self.X, self.interval = GuidedFlow(I), interval

    def forward(self, s: Tensor, t: Tensor, x: Tensor, label: Tensor, guidance: Tensor) -> Tensor:
        low, high = self.interval
        one = torch.ones_like(guidance)
        for start, end, w in ((0.0, low, one), (low, high, guidance), (high, 1.0, one)):
            x = self.X.given(label=label, guidance=w)(s.clamp(start, end), t.clamp(start, end), x)
        return x


def scale(x: Tensor) -> Tensor:
    """One scale for every sample."""
    return torch.full((len(x),), W, dtype=x.dtype)


@pytest.mark.parametrize("times", [(0.0, 0.99), (0.4, 0.5), (0.1, 0.5), (0.5, 0.9), (0.0, 0.2)])
def test_the_flow_in_parts_is_that_of_the_guided_field(check: Check, times: tuple[float, float]) -> None:
    """It solves the equation of the field from the identity; the ends of the interval apart."""
    x, labels = normal(1, 6, 2), torch.tensor([0, 1, 0, 1, 0, 1])
    flow, X = GuidedFlow(I), InParts().given(label=labels, guidance=scale(x))
    one, null = (
        flow.given(label=label, guidance=torch.ones(6).double()).velocity()
        for label in (labels, torch.full_like(labels, NULL))
    )
    for w in (W, scale(x)):
        check.vanishes(residuals.lagrangian(X, guided(one, null, w, INTERVAL), *times, x), CLOSED_FORM)
    check.vanishes(residuals.identity(X, times[0], x), CLOSED_FORM)
    inside = INTERVAL[0] < times[1] < INTERVAL[1]
    wrong, half = (residuals.lagrangian(X, guided(one, null, W + d, INTERVAL), *times, x) for d in (1e-2, 5e-3))
    if inside:
        check.sees(wrong, half, CLOSED_FORM)
    other = (0.0, 0.2) if inside else (0.0, 1.0)
    assert residuals.lagrangian(X, guided(one, null, W, other), *times, x).abs().max() > 0.02


def of_row(name: str, X: FlowMap, interval: tuple[float, float], s: float, t: float, **options: Any) -> Tensor:
    """The loss of each sample of a row that guides in an interval, and what each was drawn with."""
    x0, x1, labels = labelled(24)
    method = get_method(
        name, guidance=(W, W), guidance_interval=interval, null_label=NULL, law=At(s, t), eta=0.0, **options
    )
    return method(X, I, x0[:, None], x1[:, None], labels=labels, seed=0).per_sample


@pytest.mark.parametrize("times", [(0.1, 0.2), (0.4, 0.5), (0.2, 0.5), (0.45, 0.9)])
@pytest.mark.parametrize("name", ["lsd", "esd"])
@pytest.mark.parametrize("guides", ["own", "target"])
def test_rows_with_their_own_velocity_vanish_there(
    check: Check, name: str, guides: str, times: tuple[float, float]
) -> None:
    loss = of_row(name, InParts(), INTERVAL, *times, guides=guides)
    check.vanishes(loss, CLOSED_FORM)
    off = of_row(name, InParts((0.0, 0.05)), INTERVAL, *times, guides=guides)
    at = times[1] if name == "lsd" else times[0]
    if guides == "own" and INTERVAL[0] < at < INTERVAL[1]:  # it is the interval of the row, not of the map, that guides
        assert off.max() > 1e-2


@pytest.mark.parametrize("time", [0.2, 0.45, 0.8])
def test_the_target_is_guided_inside_alone(check: Check, time: float) -> None:
    """The gradient of flow matching by the map is that of the target by hand."""
    x0, x1, labels = labelled(24)
    X = Family(InParts(), 1, 0.2)
    method = get_method("fm", guidance=(W, W), guidance_interval=INTERVAL, null_label=NULL, law=At(time, time))
    found = flat_gradient(method(X, I, x0[:, None], x1[:, None], labels=labels, seed=0).loss, X)
    t = torch.full((len(x0),), time, dtype=x0.dtype)
    x = I(t, x0[:, None], x1[:, None])
    null = X.given(label=torch.full_like(labels, NULL), guidance=torch.ones_like(t)).velocity()(t, x).detach()

    def by_hand(w: float) -> Tensor:
        target = null + w * (x1 - x0)[:, None] - w * null
        v = X.given(label=labels, guidance=scale(x)).velocity()(t, x)
        return flat_gradient((v - target).square().sum(1).mean(), X)

    inside = INTERVAL[0] < time < INTERVAL[1]
    check.vanishes(found - by_hand(W if inside else 1.0), CLOSED_FORM)
    assert (found - by_hand(1.0 if inside else W)).norm() > 0.01


@pytest.mark.parametrize("times", [(0.0, 0.99), (0.9, 0.1), (0.4, 0.5), (0.5, 0.2), (0.8, 0.7), (0.45, 0.45)])
def test_the_parts_put_together(check: Check, times: tuple[float, float]) -> None:
    x, labels = normal(1, 6, 2), torch.tensor([0, 1, 0, 1, 0, 1])
    flow = GuidedFlow(I).given(label=labels)
    X = IntervalMap(flow.given(guidance=scale(x)), flow.given(guidance=torch.ones(6).double()), INTERVAL)
    field, (s, t) = X.velocity(), times
    check.vanishes(residuals.lagrangian(X, field, s, t, x), CLOSED_FORM)
    check.vanishes(residuals.inverse(X, s, t, x), CLOSED_FORM)
    if s <= t:
        check.vanishes(X(s, t, x) - InParts().given(label=labels, guidance=scale(x))(s, t, x), CLOSED_FORM)
    plain = flow.given(guidance=torch.ones(6).double())
    assert residuals.lagrangian(plain, field, 0.1, 0.5, x).abs().max() > 0.1


class Told(FlowMap):
    r"""The flow in parts of the scale and interval that it is told, off by $\delta(w-1)$, and `later` at the end."""

    def __init__(self, delta: float = 0.0, later: float = 0.0) -> None:
        super().__init__()
        self.X, self.delta, self.later = GuidedFlow(I), delta, later

    def forward(self, s: Tensor, t: Tensor, x: Tensor, label: Tensor, guidance: Tensor, interval: Tensor) -> Tensor:
        (low, high), one = interval.to(s.dtype).unbind(1), torch.ones_like(guidance)
        high, w = high + self.later * (guidance != 1), guidance + self.delta * (guidance - 1)
        for start, end, own in ((torch.zeros_like(low), low, one), (low, high, w), (high, torch.ones_like(high), one)):
            x = self.X.given(label=label, guidance=own)(s.clamp(start, end), t.clamp(start, end), x)
        return x

    def auxiliary(self) -> VelocityField:
        return self.velocity()


DRAWN: dict[str, Any] = {"guidance": PowerLaw(1.2, 4.0, 1.0), "guidance_interval": RandomInterval(0.5)}
MIXES: list[dict[str, Any]] = [
    {},
    {"mix": 0.6},
    {"mix": "unit"},
    {"auxiliary": True},
    {"auxiliary": True, "mix": "unit"},
]
TOLD = [("lsd", {"guides": "own"}), ("lsd", {}), ("esd", {"guides": "own"}), ("esd", {}), ("psd-u", {})]


def told(name: str, X: FlowMap, **options: Any) -> Tensor:
    """The loss of each sample of the last term of a row with a drawn scale and interval."""
    x0, x1, labels = labelled(48)
    method = get_method(name, null_label=NULL, label_dropout=0.2, eta=0.0, **DRAWN, **options)
    return method(X, I, x0[:, None], x1[:, None], labels=labels, seed=0).per_sample


@pytest.mark.parametrize(("name", "options"), TOLD)
def test_a_map_that_is_told_scale_and_interval_is_every_such_flow(
    check: Check, name: str, options: dict[str, Any]
) -> None:
    check.vanishes(told(name, Told(), weight=InverseGuidance(), **options), CLOSED_FORM)
    if options:
        wrong, half = (told(name, Told(delta), **options).sqrt() for delta in (1e-2, 5e-3))
        check.sees(wrong, half, CLOSED_FORM)
        assert told(name, Told(later=0.1), **options).max() > 1e-3


def slope(name: str, X: FlowMap, at: tuple[float, float], **options: Any) -> Tensor:
    """The expected gradient of the last term of a row given each class and a drawn scale and interval: two of both."""
    x0, x1, labels, weights = (value.repeat_interleave(2, 0) for value in nodes(14))
    family = Family(X, 1)
    method = get_method(name, null_label=NULL, law=At(*at), **DRAWN, **options)
    draw = method.draw(family, I, x0[:, None], x1[:, None], labels=labels, seed=1)
    k = draw.terms[-1]
    assert k is not None
    assert k.guidance is not None
    assert k.interval is not None
    n = len(labels) // 2
    k = k._replace(guidance=k.guidance[:2].repeat(n), interval=k.interval[:2].repeat(n, 1))
    draw = draw._replace(terms=(*draw.terms[:-1], k))
    values = (method.evaluate(family, I, draw).per_sample * weights).reshape(len(MEANS), n // len(MEANS), 2).sum(1)
    return torch.stack([torch.autograd.grad(v, family.theta, retain_graph=True)[0] for v in values.flatten()])


@pytest.mark.parametrize("options", MIXES, ids=str)
@pytest.mark.parametrize("name", ["meanflow", "imf"])
def test_conditional_terms_have_no_expected_gradient_there(check: Check, name: str, options: dict[str, Any]) -> None:
    for at in ((0.2, 0.7), (0.45, 0.6)):
        check.vanishes(slope(name, Told(), at, eta=0.0, **options), CLOSED_FORM)


def test_negative_control_of_a_conditional_velocity(check: Check) -> None:
    for options in MIXES[1::2]:
        wrong, half = (slope("imf", Told(d), (0.45, 0.6), eta=0.0, **options) for d in (1e-2, 5e-3))
        check.sees(wrong, half, CLOSED_FORM)


def test_scales_and_intervals_have_the_laws_that_are_written(check: Check) -> None:
    r"""The quantile of a density $w^{-p}$ has its derivative, and its ends; a dropped label is told (0, 1)."""
    u = torch.linspace(0, 1, 9, dtype=torch.float64)
    for power in (0.0, 0.5, 1.0, 2.0):
        law = PowerLaw(1.0, 8.0, power)
        w, rate = torch.func.jvp(law.quantile, (u,), (torch.ones_like(u),))[:2]
        mass = rate * w**-power
        check.vanishes(mass / mass[0] - 1, CLOSED_FORM)
        check.vanishes(w[[0, -1]] - torch.tensor([1.0, 8.0]), CLOSED_FORM)
    x0, x1, labels = labelled(400)
    method = get_method("fm", null_label=NULL, label_dropout=0.3, **DRAWN)
    (k,) = method.draw(Told(), I, x0[:, None], x1[:, None], labels=labels, seed=2).terms
    assert k is not None
    assert k.interval is not None
    assert torch.equal(k.interval[~k.kept].unique(dim=0), torch.tensor([[0.0, 1.0]]).double())
    low, high = k.interval[k.kept].unbind(1)
    assert 0 <= low.min() < 0.1 < 0.4 < low.max() <= 0.5 <= high.min() < 0.6 < 0.9 < high.max() <= 1

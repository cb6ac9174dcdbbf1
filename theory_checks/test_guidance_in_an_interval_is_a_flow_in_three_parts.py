r"""Guidance in an interval of times is the guided flow inside it and the conditional flow before and after.

$b^w_t=b_t(c)+\mathbb 1_{[l,h]}(t)\,(w-1)(b_t(c)-b_t(\varnothing))$, so that
$X_{0,1}=X^c_{h,1}\circ X^w_{l,h}\circ X^c_{0,l}$. For two classes and a null class of Gaussians with one variance the
parts have a closed form, that of a Gaussian whose mean is extrapolated. It solves the equation of the guided
field; rows that guide their own velocity at `guidance_interval` vanish there, and those along $\dot I_t$ guide their
target inside alone. Another interval is seen.

Source: 2404.07724; 2512.02012 and its code, whose times run from the data.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from flowops import FlowMap, guided, interpolants, residuals
from flowops.methods import get_method
from theory_checks.cases import CLOSED_FORM
from theory_checks.gradients import flat_gradient
from theory_checks.method_families import Family
from theory_checks.method_settings import At
from theory_checks.strategies import normal
from theory_checks.test_guidance_replaces_the_target_or_the_own_velocity import NULL, GuidedFlow, labelled
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

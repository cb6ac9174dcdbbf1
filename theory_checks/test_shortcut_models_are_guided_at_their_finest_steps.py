r"""Shortcut models with labels are guided at their finest steps alone, and learn the guided flow up to Euler's error.

A step up to `finest` is met by two Euler steps along $v_{s,s}(\varnothing)+w\,(v_{s,s}(c)-v_{s,s}(\varnothing))$ of the
diagonal, which flow matching keeps plain; a longer one by two steps of the map. At a map that is the guided flow off
the diagonal and the plain field on it the long steps vanish, whatever the scale, and the fine ones with the first power
of their length. States between and targets are clipped. The gradient is that of the released code, in its letters:
labels `l`, a step `dt` from `t`, velocities `v_b1`, `v_b2`; its network of the smallest step is our diagonal.

Hypotheses: Gaussian classes of one variance, the closed form of their guided flow; for the gradients none.

Source: 2410.12557, section on guidance, and targets_shortcut.py of its code (`bootstrap_cfg`).
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from flowops import LearnedMap, interpolants
from flowops.methods import Method, get_method
from flowops.times import Dyadic
from theory_checks.cases import CLOSED_FORM, SINGLE
from theory_checks.gradients import SAME, agree, batch, differ, flat_gradient
from theory_checks.method_settings import At
from theory_checks.test_a_mixed_guided_target_keeps_the_minimizer import LABELS, NULL, Labelled
from theory_checks.test_guidance_replaces_the_target_or_the_own_velocity import GuidedFlow, labelled
from theory_checks.verdicts import Check

I, W = interpolants.linear(), 2.5


def shortcut(**options: Any) -> Method:
    given = {"guides": "own", "finest": 1 / 8, "guidance": W, "null_label": NULL, "eta": 0.0, "law": Dyadic(4)}
    return get_method("shortcut", **given | options)


def written_down(v: Labelled, w: Labelled, method: Method, clip: float, cfg_scale: float = W) -> tuple[Tensor, Tensor]:
    """The gradients of the library and of the code, the average of the map on its constant side."""
    X, average = LearnedMap(v), LearnedMap(w)
    draw = method.draw(X, I, *batch(1, 6), labels=LABELS, average=average, seed=3)
    k = draw.terms[-1]
    assert k is not None
    assert k.labels is not None
    x_t, l, t, dt = (1 - k.s)[:, None] * k.x0 + k.s[:, None] * k.x1, k.labels, k.s, k.t - k.s
    smallest = (dt <= 1 / 8)[:, None]

    def velocity(t: Tensor, x: Tensor) -> Tensor:
        cond, uncond = w(t, t, x, l), w(t, t, x, torch.full_like(l, NULL))
        v_cfg = uncond + cfg_scale * (cond - uncond)
        return torch.where(smallest, v_cfg, w(t, t + dt / 2, x, l))

    with torch.no_grad():
        v_b1 = velocity(t, x_t)
        x_t2 = torch.clip(x_t + (dt / 2)[:, None] * v_b1, -clip, clip)
        v_b2 = velocity(t + dt / 2, x_t2)
        v_target = torch.clip((v_b1 + v_b2) / 2, -clip, clip)
    theirs = (v(t, t + dt, x_t, l) - v_target).square().sum(1).mean()
    assert smallest.any()
    assert not smallest.all()
    return flat_gradient(method.evaluate(X, I, draw, average=average).loss, X), flat_gradient(theirs, X)


def networks() -> tuple[Labelled, Labelled]:
    """One, and its average."""
    v, w = Labelled(), Labelled()
    with torch.no_grad():
        w.last.mul_(1.3)
    return v, w


@pytest.mark.parametrize("clip", [0.6, 100.0])
def test_the_gradient_is_that_of_the_code(check: Check, clip: float) -> None:
    method = shortcut(ema_teacher=True, clip=clip)
    ours, theirs = written_down(*networks(), method, clip)
    agree(check, ours, theirs)
    wrong, half = (written_down(*networks(), method, clip, W + d)[1] - ours for d in (2e-3, 1e-3))
    check.sees(wrong, half, SAME)
    for other in ({"clip": None}, {"finest": None, "guides": "target", "guidance": 1.0}):
        if other != {"clip": None} or clip < 1:
            differ(ours, written_down(*networks(), method.with_options(**other), clip)[0])


def loss(length: float, delta: float = 0.0, n: int = 12, dtype: torch.dtype = torch.float64, **options: Any) -> Tensor:
    """That of each sample at steps of one length, the map being told the scale, of which the diagonal is told 1."""
    x0, x1, labels = (value.to(dtype) if value.is_floating_point() else value for value in labelled(n))
    method = shortcut(guidance=(0.5, 3.0), law=At(0.3, 0.3 + length), **options)
    return method(GuidedFlow(I, delta), I, x0, x1, labels=labels, seed=5).per_sample


def test_long_steps_vanish_at_the_guided_flow(check: Check) -> None:
    check.vanishes(loss(0.5).sqrt(), CLOSED_FORM)
    check.vanishes(loss(0.5, n=1).sqrt(), CLOSED_FORM)
    check.vanishes(loss(0.5, dtype=torch.float32).sqrt(), SINGLE)
    check.vanishes(loss(0.0).sqrt()[labelled(12)[2] == NULL], CLOSED_FORM)


def test_fine_steps_vanish_with_their_length(check: Check) -> None:
    sizes = [float(loss(h).mean().sqrt()) for h in (1 / 32, 1 / 64, 1 / 128)]
    for long, short in zip(sizes[:-1], sizes[1:], strict=True):
        check.at_most(abs(long / short - 2), 0.1, where="ratio of the residuals of a step and of its half, off 2")


def test_only_fine_steps_see_a_wrong_scale(check: Check) -> None:
    r"""A map that follows $w+\delta(w-1)$: its long steps are a flow, its fine ones are off by about $\delta$."""
    check.vanishes(loss(0.5, 1e-2).sqrt(), CLOSED_FORM)
    exact = loss(1e-6).sqrt()
    wrong, half = (loss(1e-6, delta).sqrt() - exact for delta in (1e-2, 5e-3))
    check.sees(wrong, half, 1e-4)


def test_a_single_scale_needs_steps_along_the_diagonal() -> None:
    with pytest.raises(ValueError, match=r'`guidance` must be a pair \(low, high\) with guides="own", got 2\.5'):
        shortcut(finest=None)

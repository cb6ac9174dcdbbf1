r"""Shortcut models are `psd-m` on dyadic steps, and SplitMeanFlow is `psd-u`.

Gradients on random networks. SplitMeanFlow is derived anew here, in its own clock (data at 0, noise at 1) and letters:
$u(z_t,r,t)=(1-\lambda)\,u(z_s,r,s)+\lambda\,u(z_t,s,t)$ with $s=(1-\lambda)t+\lambda r$ and
$z_s=z_t-(t-s)\,u(z_t,s,t)$, the right side frozen.

Source: 2505.18825 (22), (43); 2410.12557; 2507.16884.
"""

import pytest
import torch
from torch import Tensor, nn

from flowops import Interpolant, LearnedMap, interpolants
from flowops.methods import Method, get_method
from flowops.times import Dyadic, UpperTriangle
from theory_checks.gradients import (
    Batch,
    Network,
    Translated,
    agree,
    batch,
    differ,
    flat_gradient,
    gradient,
    random_map,
)
from theory_checks.verdicts import Check


@pytest.mark.parametrize("seed", [3, 4])
def test_shortcut_is_the_midpoint_on_dyadic_steps(interpolant: Interpolant, check: Check, seed: int) -> None:
    X, samples = random_map(), batch()
    shortcut, midpoint = get_method("shortcut"), get_method("psd-m", law=Dyadic(7))
    agree(
        check,
        gradient(shortcut, X, interpolant, samples, seed=seed),
        gradient(midpoint, X, interpolant, samples, seed=seed),
    )
    averaged = shortcut.with_options(ema_teacher=True)
    ours = gradient(averaged, X, interpolant, samples, seed=seed, average=random_map(5))
    theirs = midpoint.with_options(ema_teacher=True)
    agree(check, ours, gradient(theirs, X, interpolant, samples, seed=seed, average=random_map(5)))


def in_our_letters(u: nn.Module, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
    r"""$v_{s,t}(x)=-u(x,r,t_{MF})$ at $t_{MF}=1-s$, $r=1-t$."""
    return -u(1 - t, 1 - s, x)


def split_mean_flow(u: nn.Module, method: Method, X: LearnedMap, samples: Batch) -> Tensor:
    r"""SplitMeanFlow's loss with $\lambda$ as drawn: $z_t=(1-t)x+te$ with data $x$ and noise $e$."""
    term = method.draw(X, interpolants.linear(), *samples, seed=3).terms[-1]
    assert term is not None
    assert term.u is not None
    t, s, r = 1 - term.s, 1 - term.u, 1 - term.t
    lam = ((t - s) / (t - r))[:, None]
    e, data = term.x0, term.x1
    z = (1 - t)[:, None] * data + t[:, None] * e
    with torch.no_grad():
        near = u(s, t, z)
        far = u(r, s, z - (t - s)[:, None] * near)
        target = (1 - lam) * far + lam * near
    return (u(r, t, z) - target).square().sum(1).mean()


@pytest.mark.parametrize("gamma", [None, 0.5, 0.2])
def test_split_mean_flow_is_the_random_split(check: Check, gamma: float | None) -> None:
    u, samples = Network(7), batch(7)
    X, psd = LearnedMap(Translated(u, in_our_letters)), get_method("psd-u", eta=0.0, gamma=gamma)
    theirs = flat_gradient(split_mean_flow(u, psd, X, samples), X)
    agree(check, gradient(psd, X, interpolants.linear(), samples), theirs)


def test_negative_control() -> None:
    I, X, samples = interpolants.linear(), random_map(8), batch(8)
    shortcut = gradient(get_method("shortcut", eta=0.0), X, I, samples)
    for options in ({"gamma": 0.3, "law": Dyadic(7)}, {"gamma": 0.5, "law": UpperTriangle()}, {"law": Dyadic(7)}):
        differ(shortcut, gradient(get_method("psd-u", eta=0.0, **options), X, I, samples))
    thawed = get_method("psd-m", eta=0.0, law=Dyadic(7), stop_gradient=False)
    differ(shortcut, gradient(thawed, X, I, samples))
    weighed = get_method("psd-m", eta=0.0, law=Dyadic(7), form="map")  # the same up to the weight (t - s)^2
    differ(shortcut, gradient(weighed, X, I, samples))

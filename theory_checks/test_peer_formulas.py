r"""Peer formulas: the loss of each paper, in its own clock and letters, has the gradient of our row.

Every loss is derived anew from its paper's formula and acts on a random network in the paper's letters, which our map
sees through the translation of the row's summary; derivatives along trajectories are central differences of the
network. `e` is noise and `data` data, and a clock with the data at 0 is $t=1-s$.

Source: 2505.13447, 2512.02012, 2510.20771, 2410.12557, 2303.01469, 2310.14189, 2410.11081, 2506.14603, 2506.05350.
"""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from flowops import FlowMap, LearnedMap, interpolants
from flowops.methods import Method, OfTimes, TermDraw, get_method
from theory_checks.gradients import (
    DIFFERENCED,
    STARTS,
    Batch,
    Fixed,
    Network,
    Translated,
    agree,
    along,
    batch,
    differ,
    flat_gradient,
    gradient,
)
from theory_checks.strategies import SmoothField
from theory_checks.verdicts import Check

Peer = Callable[[nn.Module, TermDraw], Tensor]
LINEAR, TRIGONOMETRIC = interpolants.linear(), interpolants.trigonometric()
B = SmoothField((2,), seed=6)


def published(
    peer: Peer, network: nn.Module, method: Method, X: FlowMap, samples: Batch, teacher: Any = None
) -> Tensor:
    """The gradient of a peer's per-sample losses, averaged over the batch, at what our method draws."""
    terms = method.draw(X, LINEAR, *samples, teacher=teacher, seed=3).terms
    return flat_gradient(torch.cat([peer(network, term) for term in terms if term is not None]).mean(), X)


def squared(x: Tensor) -> Tensor:
    return x.square().sum(1)


def column(t: Tensor) -> Tensor:
    return t[:, None]


def reversed_clock(term: TermDraw) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """$t$, $r$, $z_t$, $e-$ data and $e$ of a clock with the data at 0: $z_t=(1-t)$ data $+te$."""
    t, r, e = 1 - term.s, 1 - term.t, term.x0
    return t, r, column(1 - t) * term.x1 + column(t) * e, e - term.x1, e


def from_average_velocity(u: nn.Module, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
    """MeanFlow's u(z, r, t), of a network called as (r, t, z), as our average velocity."""
    return -u(1 - t, 1 - s, x)


def total_derivative(u: nn.Module, r: Tensor, t: Tensor, z: Tensor, v: Tensor) -> Tensor:
    r"""$v\cdot\partial_zu+\partial_tu$ along $(v,0,1)$."""
    return along(lambda h: u(r, t + h, z + h * v))


def mean_flow(u: nn.Module, term: TermDraw) -> Tensor:
    t, r, z, v, _ = reversed_clock(term)
    target = v - column(t - r) * total_derivative(u, r, t, z, v)
    return squared(u(r, t, z) - target.detach())


def weighted_mean_flow(u: nn.Module, term: TermDraw) -> Tensor:
    loss = mean_flow(u, term)
    return loss / (loss.detach() + 1e-3)


def improved_mean_flow(u: nn.Module, term: TermDraw) -> Tensor:
    t, r, z, v, _ = reversed_clock(term)
    compound = u(r, t, z) + column(t - r) * total_derivative(u, r, t, z, u(t, t, z)).detach()
    return squared(compound - v)


def alpha_flow(u: nn.Module, term: TermDraw) -> Tensor:
    t, r, z, v, _ = reversed_clock(term)
    if term.u is None:
        return squared(u(t, t, z) - v)
    alpha = 0.3
    s = alpha * r + (1 - alpha) * t
    target = alpha * v + (1 - alpha) * u(r, s, z - column(t - s) * v)
    return squared(u(r, t, z) - target.detach()) / alpha


AVERAGE_VELOCITIES = [
    ("meanflow", {}, mean_flow),
    ("meanflow", {"p": 1.0, "c": 1e-3}, weighted_mean_flow),
    ("imf", {}, improved_mean_flow),
    ("alpha-flow", {"alpha": 0.3}, alpha_flow),
]


@pytest.mark.parametrize(("name", "options", "peer"), AVERAGE_VELOCITIES)
def test_average_velocities(check: Check, name: str, options: dict[str, float], peer: Peer) -> None:
    u, samples, method = Network(1), batch(1), get_method(name, eta=0.5, **options)
    X = LearnedMap(Translated(u, from_average_velocity))
    agree(check, gradient(method, X, LINEAR, samples), published(peer, u, method, X, samples), DIFFERENCED)


def shortcut(network: nn.Module, term: TermDraw) -> Tensor:
    """Alg. 1: flow matching at d = 0, two steps of d against one of 2d elsewhere; noise at 0."""
    t, x = term.s, column(1 - term.s) * term.x0 + column(term.s) * term.x1
    if term.u is None:
        return squared(network(t, 0 * t, x) - (term.x1 - term.x0))
    d = (term.t - t) / 2
    first = network(t, d, x)
    second = network(t + d, d, x + column(d) * first)
    return squared(network(t, 2 * d, x) - ((first + second) / 2).detach())


def test_shortcut_models(check: Check) -> None:
    network, samples, method = Network(2), batch(2), get_method("shortcut", eta=0.5)
    X = LearnedMap(Translated(network, lambda net, s, t, x: net(s, t - s, x)))
    agree(check, gradient(method, X, LINEAR, samples), published(shortcut, network, method, X, samples))


def consistency_function(F: nn.Module, y: Tensor, sigma: Tensor) -> Tensor:
    r"""$f(y,\sigma)=c_{skip}y+c_{out}F(c_{in}y,\tfrac14\log\sigma)$ of EDM with $\sigma_d=\tfrac12$, $f(y,0)=y$."""
    total = sigma.square() + 0.25
    skip, out, scale = 0.25 / total, 0.5 * sigma / total.sqrt(), total.rsqrt()
    return column(skip) * y + column(out) * F(sigma.log() / 4, 0 * sigma, column(scale) * y)


def consistency_training(F: nn.Module, term: TermDraw) -> Tensor:
    """The paper's pairs x + sigma e of the same noise, whose noise levels are alpha / beta."""
    assert term.u is not None
    high, low = ((1 - q) / q for q in (term.s, term.u))
    later = consistency_function(F, term.x1 + column(low) * term.x0, low)
    return squared(consistency_function(F, term.x1 + column(high) * term.x0, high) - later.detach())


def improved_consistency_training(F: nn.Module, term: TermDraw) -> Tensor:
    c = 0.00054 * math.sqrt(2)
    return (consistency_training(F, term) + c**2).sqrt() - c


@pytest.mark.parametrize(
    ("norm", "peer"), [("squared", consistency_training), ("pseudo-huber", improved_consistency_training)]
)
def test_consistency_training_in_the_clock_of_noise_levels(check: Check, norm: str, peer: Peer) -> None:
    F, samples = Network(3), batch(3)
    sigma = torch.tensor([0.1, 0.3, 0.8, 1.7, 4.0, 9.0], dtype=torch.float64)
    law = Fixed(tuple((1 / (1 + sigma)).tolist()), tuple((1 / (1 + 0.7 * sigma)).tolist()))
    method = get_method("ct", law=law, norm=norm)
    rescaled = Translated(F, lambda net, s, _t, x: consistency_function(net, x / column(s), (1 - s) / s))
    X = FlowMap.from_function(rescaled)
    agree(check, gradient(method, X, LINEAR, samples), published(peer, F, method, X, samples))


def from_trigflow(F: nn.Module, s: Tensor, _t: Tensor, x: Tensor) -> Tensor:
    r"""The average velocity to the data of $f(x,\tau)=\cos(\tau)x-\sin(\tau)F(x,\tau)$ at $\tau=\tfrac\pi2(1-s)$."""
    return (trigflow(F, math.pi / 2 * (1 - s), x) - x) / column(1 - s)


def trigflow(F: nn.Module, tau: Tensor, x: Tensor) -> Tensor:
    return column(tau.cos()) * x - column(tau.sin()) * F(tau, 0 * tau, x)


def trigflow_loss(constant: float | None) -> Peer:
    r"""(8): $|F-\mathrm{sg}(F+g)|^2$ with $g=\cos(\tau)\,\tfrac{df}{d\tau}$, normalized by $|g|+c$ if asked for."""

    def loss(F: nn.Module, term: TermDraw) -> Tensor:
        tau = math.pi / 2 * (1 - term.s)
        x = column(tau.cos()) * term.x1 + column(tau.sin()) * term.x0
        velocity = column(tau.cos()) * term.x0 - column(tau.sin()) * term.x1
        g = column(tau.cos()) * along(lambda h: trigflow(F, tau + h, x + h * velocity))
        if constant is not None:
            g = g / (g.norm(dim=1, keepdim=True) + constant)
        value = F(tau, 0 * tau, x)
        return squared(value - (value + g).detach())

    return loss


def test_continuous_consistency_models_in_trigflow(check: Check) -> None:
    F, samples, law = Network(4), batch(4), Fixed(STARTS, tuple(1.0 for _ in STARTS))
    X = LearnedMap(Translated(F, from_trigflow))

    def weight(s: Tensor, _t: Tensor) -> Tensor:
        return (1 - s) * TRIGONOMETRIC.beta(s) / TRIGONOMETRIC.alpha(s)

    method = get_method("scm", law=law, weight=OfTimes(weight))
    theirs = published(trigflow_loss(None), F, method, X, samples)
    agree(check, gradient(method, X, TRIGONOMETRIC, samples), math.pi / 2 * theirs, DIFFERENCED)
    unweighted = gradient(get_method("scm", law=law), X, TRIGONOMETRIC, samples)
    differ(unweighted / unweighted.norm(), theirs / theirs.norm())


def test_tangent_normalization_in_trigflow_has_another_constant(check: Check) -> None:
    r"""$g=-\tfrac2\pi\beta_sR$, $R=\partial_sX+\nabla X\,\dot I_s$: their $c$ is our $\tfrac{\pi c}{2\beta_s}$."""
    F, samples, s = Network(5), batch(5), 0.6
    X = LearnedMap(Translated(F, from_trigflow))
    a, b = (float(f(torch.tensor(s, dtype=torch.float64))) for f in (TRIGONOMETRIC.alpha, TRIGONOMETRIC.beta))
    law = Fixed((s,) * len(STARTS), (1.0,) * len(STARTS))
    method = get_method("scm", law=law, normalize=0.1 * math.pi / (2 * b), weight=(1 - s) / a)
    theirs = published(trigflow_loss(0.1), F, method, X, samples)
    agree(check, gradient(method, X, TRIGONOMETRIC, samples), theirs, DIFFERENCED)


def align_your_flow(warmup: float, constant: float | None, lagrangian: bool) -> Peer:
    r"""Thms. 3.2, 3.3 for $f(x,t,s)=x+(s-t)F(x,t,s)$ with the data at 0, $s<t$: $|F-\mathrm{sg}(F+g)|^2$.

    The gradient of $f\cdot\mathrm{sg}(df/dt)$ along the teacher, and that of $-f\cdot\mathrm{sg}(df/ds-v(f,s))$, both
    over $t-s$; with a warm-up the part of $g$ with a derivative of $F$ is scaled by it.
    """

    def loss(F: nn.Module, term: TermDraw) -> Tensor:
        t, s, x, _, _ = reversed_clock(term)
        value = F(t, s, x)
        if lagrangian:
            end = x + column(s - t) * value
            g = -B(1 - s, end) - value - warmup * column(s - t) * along(lambda h: F(t, s + h, x))
        else:
            v = -B(1 - t, x)
            g = v - value + warmup * column(s - t) * along(lambda h: F(t + h, s, x + h * v))
        if constant is not None:
            g = g / (g.norm(dim=1, keepdim=True) + constant)
        return squared(value - (value + g).detach())

    return loss


@pytest.mark.parametrize("name", ["ayf-emd", "ayf-lmd"])
@pytest.mark.parametrize(("step", "constant"), [(None, None), (3, None), (3, 0.1)])
def test_align_your_flow(check: Check, name: str, step: int | None, constant: float | None) -> None:
    F, samples = Network(6), batch(6)
    X = LearnedMap(Translated(F, lambda net, s, t, x: -net(1 - s, 1 - t, x)))
    method = get_method(name, law=Fixed(), warmup=10, normalize=constant)
    peer = align_your_flow(1.0 if step is None else step / 10, constant, name == "ayf-lmd")
    ours = gradient(method, X, LINEAR, samples, teacher=B, step=step)
    agree(check, ours, published(peer, F, method, X, samples, B), DIFFERENCED)


def contrastive(v: nn.Module, term: TermDraw) -> Tensor:
    r"""$|v-(e-x)|^2-\lambda|v-(\tilde e-\tilde x)|^2$ is, up to constants, $(1-\lambda)$ times one square."""
    t, lam, difference = 1 - term.s, 0.05, term.x0 - term.x1
    x = column(1 - t) * term.x1 + column(t) * term.x0
    mixed = (difference - lam * difference.roll(1, 0)) / (1 - lam)
    return (1 - lam) * squared(v(t, 0 * t, x) - mixed)


def test_contrastive_flow_matching(check: Check) -> None:
    v, samples, method = Network(7), batch(7), get_method("contrastive-fm")
    X = LearnedMap(Translated(v, lambda net, s, _t, x: -net(1 - s, 0 * s, x)))
    agree(check, gradient(method, X, LINEAR, samples), published(contrastive, v, method, X, samples))


def test_negative_control() -> None:
    u, samples = Network(8), batch(8)
    X = LearnedMap(Translated(u, from_average_velocity))
    for name, options, peer in AVERAGE_VELOCITIES:
        method = get_method(name, eta=0.0, **options)
        for other, _, wrong in AVERAGE_VELOCITIES:
            if other != name:
                differ(gradient(method, X, LINEAR, samples), published(wrong, u, method, X, samples))
        mirrored = LearnedMap(Translated(u, lambda net, s, t, x: net(s, t, x)))  # the clock not turned round
        differ(gradient(method, mirrored, LINEAR, samples), published(peer, u, method, mirrored, samples))

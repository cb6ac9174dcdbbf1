r"""With the settings of its paper a row has the gradient of the loss that the paper prints, weight and norm included.

`paper=True` on given times against losses written in the letters of the papers, on a random network that our map sees
through the translation of the row's summary.

* `ict`: the pseudo-Huber distance over $\sigma_{n+1}-\sigma_n$.
* `ect`: $(\sqrt{|\Delta|^2+c^2}-c)/(t-r)$ with the noise levels $t,r$, as its code has it.
* `scm`: $e^w|F-\mathrm{sg}(F+g/(|g|+c))|^2-w$ with
  $g=-\cos^2\tau\,(F-\dot x)-r\cos\tau\sin\tau\,(x+\tfrac{dF}{d\tau})$, $r$ the warm-up.
* `pd`: $\max(\alpha^2/\sigma^2,1)\,|\hat x-\tilde x|^2$, $\tilde x$ that of two DDIM steps of the teacher.
* `ayf-emd`, `ayf-lmd`: the normalized tangent with 0.99 of the part that has a derivative of $F$.
* `meanflow`: $|\Delta|^2/\mathrm{sg}(|\Delta|^2+c)$.
* `alpha-flow`: $\alpha|\Delta|^2/\mathrm{sg}(|\Delta|^2+\alpha^2c)$.

Hypotheses: none; derivatives along trajectories are central differences of the network. A row at times that are off by
$\delta$ is off by $O(\delta)$; with its defaults it is another loss.

Source: 2310.14189 Table 1; 2406.14548; 2410.11081 Alg. 1; 2202.00512 Alg. 2, §4; 2506.14603; 2505.13447; 2510.20771.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from flowops import FlowMap, Interpolant, LearnedMap, VelocityField, interpolants
from flowops.methods import Learned, Method, TermDraw, get_method
from theory_checks.gradients import (
    DIFFERENCED,
    STARTS,
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
from theory_checks.strategies import SmoothField, normal
from theory_checks.test_peer_formulas import (
    align_your_flow,
    column,
    consistency_function,
    consistency_training,
    from_average_velocity,
    from_trigflow,
    mean_flow,
    reversed_clock,
    squared,
)
from theory_checks.verdicts import Check

Loss = Callable[[nn.Module, TermDraw, Method], Tensor]
LINEAR, TRIGONOMETRIC = interpolants.linear(), interpolants.trigonometric()
SIGMAS = torch.tensor([0.1, 0.3, 0.8, 1.7, 4.0, 9.0], dtype=torch.float64)


def step_of_levels(term: TermDraw) -> Tensor:
    """The step between the noise levels of the linear interpolant."""
    assert term.u is not None
    return (1 - term.s) / term.s - (1 - term.u) / term.u


def improved(F: nn.Module, term: TermDraw, _: Method) -> Tensor:
    c = 0.00054 * math.sqrt(2)
    return ((consistency_training(F, term) + c**2).sqrt() - c) / step_of_levels(term)


def easy(F: nn.Module, term: TermDraw, _: Method) -> Tensor:
    return ((consistency_training(F, term) + 1e-16).sqrt() - 1e-8) / step_of_levels(term)


def trigflow(ramp: float) -> Loss:
    """Algorithm 1, with this much of the warm-up, and its weight the inverse of ours."""

    def loss(F: nn.Module, term: TermDraw, method: Method) -> Tensor:
        tau = math.pi / 2 * (1 - term.s)
        cos, sin = column(tau.cos()), column(tau.sin())
        x, velocity = cos * term.x1 + sin * term.x0, cos * term.x0 - sin * term.x1
        value = F(tau, 0 * tau, x)
        moving = along(lambda h: F(tau + h, 0 * tau, x + h * velocity))
        g = -(cos**2) * (value - velocity) - ramp * cos * sin * (x + moving)
        g = g / (g.norm(dim=1, keepdim=True) + 0.1)
        assert isinstance(method.weight, Learned)
        w = -method.weight.network(term.s, term.t)
        return w.exp() * squared(value - (value + g).detach()) - w

    return loss


def teacher_data(t: Tensor, z: Tensor) -> Tensor:
    """What the first teacher of progressive distillation predicts."""
    return torch.tanh(z * column(1 + t)) + column(t)


def ddim(z: Tensor, data: Tensor, s: Tensor, t: Tensor) -> Tensor:
    r"""A step that holds data and noise, on the schedule whose data comes with $\sin$ and whose noise with $\cos$."""
    noise = (z - column((math.pi / 2 * s).sin()) * data) / column((math.pi / 2 * s).cos())
    return column((math.pi / 2 * t).sin()) * data + column((math.pi / 2 * t).cos()) * noise


def progressive(F: nn.Module, term: TermDraw, _: Method) -> Tensor:
    s, t = term.s, term.t
    z = column((math.pi / 2 * s).sin()) * term.x1 + column((math.pi / 2 * s).cos()) * term.x0
    middle = (s + t) / 2
    near = ddim(z, teacher_data(s, z), s, middle)
    end = ddim(near, teacher_data(middle, near), middle, t)
    (a, b), (c, d) = (((math.pi / 2 * r).sin(), (math.pi / 2 * r).cos()) for r in (s, t))
    target = (end - column(d / b) * z) / column(c - d / b * a)
    return (a**2 / b**2).clamp(min=1) * squared(F(s, 0 * s, z) - target)


def from_data(F: nn.Module, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
    """The average velocity of a DDIM step towards the data that a network predicts."""
    return (ddim(x, F(s, 0 * s, x), s, t) - x) / column(t - s)


def mean_flow_weighted(u: nn.Module, term: TermDraw, _: Method) -> Tensor:
    square = mean_flow(u, term)
    return square / (square.detach() + 1e-3)


def weighted(alpha: float) -> Loss:
    r"""$\alpha^{-1}|\Delta|^2$ with the weight that makes it $\alpha|\Delta|^2/(|\Delta|^2+\alpha^2c)$."""

    def loss(u: nn.Module, term: TermDraw, method: Method) -> Tensor:
        if term.u is None:
            return mean_flow_weighted(u, term, method)
        t, r, z, v, _ = reversed_clock(term)
        s = alpha * r + (1 - alpha) * t
        square = squared(u(r, t, z) - (alpha * v + (1 - alpha) * u(r, s, z - column(t - s) * v)).detach())
        return alpha * square / (square.detach() + alpha**2 * 1e-3)

    return loss


FIELD = SmoothField((2,), seed=6)
FIRST = VelocityField.from_function(
    lambda t, x: TRIGONOMETRIC.convert(t, x, teacher_data(t, x), "denoiser", "velocity")
)
RUNGS = Fixed(tuple((1 / (1 + SIGMAS)).tolist()), tuple((1 / (1 + 0.7 * SIGMAS)).tolist()))
TO_DATA = Fixed(STARTS, (1.0,) * len(STARTS))


@dataclass(frozen=True, eq=False)
class Printed:
    """A row, the loss of its paper, and what both see.

    Attributes:
        name: of the row.
        loss: per sample, at what the method draws.
        network: ours of theirs.
        law: the times.
        I: the schedule.
        teacher: what is distilled.
        step: of the training.
        options: besides those of the paper.
    """

    name: str
    loss: Loss
    network: Callable[..., Tensor]
    law: Fixed = field(default_factory=Fixed)
    I: Interpolant = LINEAR
    teacher: VelocityField | None = None
    step: int | None = None
    options: dict[str, Any] = field(default_factory=dict)

    def gradients(self, off: float = 0.0) -> tuple[Tensor, Tensor]:
        """Ours with the second times nearer to the first by a share, and that of the printed loss."""
        F, samples = Network(3), batch(3)
        X: FlowMap = LearnedMap(Translated(F, self.network))
        method = get_method(self.name, paper=True, law=self.law, **self.options)
        if isinstance(method.weight, Learned):
            for k, parameter in enumerate(method.weight.parameters()):
                parameter.data = normal(9 + k, *parameter.shape).to(parameter.dtype) / 4
        draw = method.draw(X, self.I, *samples, teacher=self.teacher, step=self.step, seed=3)
        terms = [term for term in draw.terms if term is not None]
        theirs = flat_gradient(torch.cat([self.loss(F, term, method) for term in terms]).mean(), X)
        nearer = Fixed(self.law.s, tuple(t - off * (t - s) for s, t in zip(self.law.s, self.law.t, strict=True)))
        return self.gradient(method.with_options(law=nearer, weight=method.weight or 1.0)), theirs

    def gradient(self, method: Method) -> Tensor:
        """That of a method on the same network."""
        X = LearnedMap(Translated(Network(3), self.network))
        return gradient(method, X, self.I, batch(3), teacher=self.teacher, step=self.step)


def to_noise_levels(net: nn.Module, s: Tensor, _t: Tensor, x: Tensor) -> Tensor:
    r"""The average velocity to the data of EDM's consistency function, whose state is $x/s$."""
    return (consistency_function(net, x / column(s), (1 - s) / s) - x) / column(1 - s)


def in_the_other_clock(net: nn.Module, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
    return -net(1 - s, 1 - t, x)


def aligned(lagrangian: bool) -> Loss:
    peer = align_your_flow(0.99, 0.1, lagrangian)
    return lambda F, term, _: peer(F, term)


PRINTED = {
    "ict": Printed("ict", improved, to_noise_levels, RUNGS),
    "ect": Printed("ect", easy, to_noise_levels, RUNGS),
    "scm": Printed("scm", trigflow(1.0), from_trigflow, TO_DATA, TRIGONOMETRIC),
    "scm, warming up": Printed("scm", trigflow(0.3), from_trigflow, TO_DATA, TRIGONOMETRIC, step=3_000),
    "pd": Printed("pd", progressive, from_data, Fixed(), TRIGONOMETRIC, FIRST),
    "ayf-emd": Printed("ayf-emd", aligned(False), in_the_other_clock, teacher=FIELD),
    "ayf-lmd": Printed("ayf-lmd", aligned(True), in_the_other_clock, teacher=FIELD),
    "meanflow": Printed("meanflow", mean_flow_weighted, from_average_velocity, options={"eta": 0.5}),
    "alpha-flow": Printed("alpha-flow", weighted(0.3), from_average_velocity, options={"alpha": 0.3, "eta": 0.5}),
}
EVERY = pytest.mark.parametrize("printed", PRINTED.values(), ids=PRINTED)


@EVERY
def test_same_gradient(check: Check, printed: Printed) -> None:
    ours, theirs = printed.gradients()
    agree(check, ours, theirs, DIFFERENCED, where=f"of {printed.name}")


@EVERY
def test_negative_control(check: Check, printed: Printed) -> None:
    """Other times are seen, and the row with its defaults."""
    wrong, half = ((ours - theirs) / theirs.norm() for ours, theirs in map(printed.gradients, (1e-2, 5e-3)))
    check.sees(wrong, half, DIFFERENCED)
    _, theirs = printed.gradients()
    plain = printed.gradient(get_method(printed.name, law=printed.law, **printed.options))
    differ(plain / plain.norm(), theirs / theirs.norm())


def test_the_rungs_of_a_ladder_that_reaches_the_noise(check: Check) -> None:
    """The first rung, moved to the time 0 where its noise level is infinite, has the weight of the level 80."""
    law = Fixed((0.0, *RUNGS.s[1:]), RUNGS.t)
    (X, samples), names = (LearnedMap(Network(3)), batch(3)), ("ict", "ect")
    for name, most in zip(names, (80.0, math.inf), strict=True):
        results = [
            get_method(name, paper=True, law=law, **o)(X, LINEAR, *samples, seed=3) for o in ({}, {"weight": 1.0})
        ]
        weight = results[0].per_sample[0] / results[1].per_sample[0]
        check.vanishes(weight - 1 / (most - 0.7 * 0.1), 1e-12)

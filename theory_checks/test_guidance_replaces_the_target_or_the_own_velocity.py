r"""Guidance replaces the target on the diagonal, or the own velocity off it: both train the flow of the guided field.

$q_t(x;\alpha,c)=b_t(x;\varnothing)+\alpha\,(b_t(x;c)-b_t(x;\varnothing))$, and $X_{s,t}(x;\alpha,c)$ is its flow map.
* `guides="own"`, as the paper prints it: the diagonal compares $v_{t,t}(I_t;1,c)$ with $\dot I_t$, what is off it takes
  $\hat q_t=v_{t,t}(\cdot;1,\varnothing)+\alpha\,(v_{t,t}(\cdot;1,c)-v_{t,t}(\cdot;1,\varnothing))$ for the velocity.
* `guides="target"`, the default: the diagonal compares $v_{t,t}(I_t;\alpha,c)$ with
  $v_{t,t}(\varnothing)+\alpha\,(\dot I_t-v_{t,t}(\varnothing))$, what is off it takes $v_{t,t}(\cdot;\alpha,c)$.

At the guided flow map the terms off the diagonal vanish and those on it have no expected gradient, with either. They
differ in what carries the scale: a map that follows $\alpha+\delta(\alpha-1)$ when told $\alpha$ is seen off the
diagonal alone by the first, on it alone by the second. Without the scale as a condition the first asks two things of
$v_{t,t}$ that differ by $(\alpha-1)(b_t(c)-b_t(\varnothing))$. The semigroup property (102) has no velocity to guide:
with the unguided diagonal (97) it is least at a map that is deaf to its scale too, with the guided target at the guided
flow map alone, so that `psd-u` and `psd-m` have the target only.

Hypotheses: Gaussian data of each class and of the null class, one variance; for the gradients any smooth network.

Source: 2505.18825 F.5 (97)-(102); 2505.13447 (its guided target at kappa = 0).
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from flowops import FlowMap, Interpolant, LearnedMap, interpolants, problems
from flowops._arguments import per_event
from flowops.methods import Method, get_method
from flowops.residuals import Sides
from flowops.times import Diagonal, FullSquare
from theory_checks.by_hand import Velocity, eulerian_differenced, lagrangian_differenced, squares
from theory_checks.cases import CLOSED_FORM, SINGLE
from theory_checks.controls import Perturbed
from theory_checks.gradients import DIFFERENCED, agree, batch, differ, flat_gradient
from theory_checks.method_families import Family
from theory_checks.quadrature import standard_normal
from theory_checks.strategies import normal
from theory_checks.verdicts import Check

I = interpolants.linear()
MEANS, VARIANCE = torch.tensor([0.9, -0.7, 0.1], dtype=torch.float64), 0.5  # of two classes, and of the null class
NULL = 2
RANGE = (0.5, 3.0)
WAYS = ("own", "target")
ROWS = [(name, form) for name in ("lsd", "esd") for form in ("map", "velocity")]
EVERY_WAY = pytest.mark.parametrize("guides", WAYS)
EVERY_ROW = pytest.mark.parametrize(("name", "form"), ROWS)


class GuidedFlow(FlowMap):
    r"""The flow of $q_t(\cdot;\alpha+\delta(\alpha-1),c)$: that of the Gaussian whose mean is extrapolated."""

    def __init__(self, interpolant: Interpolant, delta: float = 0.0) -> None:
        super().__init__()
        self.interpolant, self.delta = interpolant, delta

    def forward(self, s: Tensor, t: Tensor, x: Tensor, label: Tensor, guidance: Tensor) -> Tensor:
        null, means = MEANS[NULL], MEANS[label]
        mean = (null + (guidance + self.delta * (guidance - 1)) * (means - null)).to(x.dtype)
        (a, m), (b, n) = ((self.deviation(r), self.interpolant.beta(r) * mean) for r in (s, t))
        return per_event(n, x) + per_event(b / a, x) * (x - per_event(m, x))

    def deviation(self, t: Tensor) -> Tensor:
        return (self.interpolant.alpha(t) ** 2 + VARIANCE * self.interpolant.beta(t) ** 2).sqrt()


def labelled(n: int, event: tuple[int, ...] = (), seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Base samples, data of their classes, and the labels."""
    labels = torch.arange(n) % len(MEANS)
    x1 = per_event(MEANS[labels], normal(seed, n, *event)) + VARIANCE**0.5 * normal(seed + 1, n, *event)
    return normal(seed + 2, n, *event), x1, labels


def row(name: str, guides: str, **options: Any) -> Method:
    return get_method(name, guides=guides, **({"guidance": RANGE, "null_label": NULL} | options))


def called(method: Method, X: FlowMap, interpolant: Interpolant, n: int = 12, event: tuple[int, ...] = ()) -> Tensor:
    """The loss of each sample."""
    x0, x1, labels = labelled(n, event)
    return method(X, interpolant, x0, x1, labels=labels, seed=5).per_sample


@EVERY_ROW
@EVERY_WAY
def test_off_the_diagonal_the_guided_flow_is_exact(check: Check, guides: str, name: str, form: str) -> None:
    interpolant = interpolants.trigonometric()
    method = row(name, guides, form=form, eta=0.0, label_dropout=0.2)
    for law, n, event in (
        (None, 12, ()),
        (Diagonal(), 6, ()),
        (FullSquare(), 12, ()),
        (None, 1, ()),
        (None, 4, (2, 2)),
    ):
        loss = called(method.with_options(law=law), GuidedFlow(interpolant), interpolant, n, event)
        check.vanishes(loss.sqrt(), CLOSED_FORM)


@EVERY_ROW
@EVERY_WAY
def test_single_precision(check: Check, guides: str, name: str, form: str) -> None:
    x0, x1, labels = labelled(12)
    X = GuidedFlow(I)
    loss = row(name, guides, form=form, eta=0.0)(X, I, x0.float(), x1.float(), labels=labels, seed=5).per_sample
    assert loss.dtype == torch.float32
    check.vanishes(loss.sqrt(), SINGLE)


@cache
def nodes(order: int = 16) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Quadrature of $(x_0,x_1)$ given each class, one after the other: base, data, labels, weights."""
    y, weights = standard_normal(order, 2)
    labels = torch.arange(len(MEANS)).repeat_interleave(len(y))
    y = y.repeat(len(MEANS), 1)
    return y[:, 0], MEANS[labels] + VARIANCE**0.5 * y[:, 1], labels, weights.repeat(len(MEANS))


def slopes(guides: str, X: FlowMap, scale: float, t: float = 0.4) -> Tensor:
    """The expected gradient of the term on the diagonal given each class, `[classes, directions]`."""
    family = Family(X, 1)
    x0, x1, labels, weights = nodes()
    method = row("lsd", guides, guidance=(scale, scale), eta=1.0)
    draw = method.draw(family, I, x0, x1, labels=labels, seed=5)
    (term,) = [term for term in draw.terms if term is not None]
    time = torch.full_like(x0, t)
    draw = draw._replace(terms=(term._replace(s=time, t=time), None))
    values = (method.evaluate(family, I, draw).per_sample * weights).reshape(len(MEANS), -1).sum(1)
    return torch.stack([torch.autograd.grad(value, family.theta, retain_graph=True)[0] for value in values])


@pytest.mark.parametrize("scale", RANGE)
@EVERY_WAY
def test_on_the_diagonal_the_guided_flow_is_stationary(check: Check, guides: str, scale: float) -> None:
    check.vanishes(slopes(guides, GuidedFlow(I), scale), CLOSED_FORM)


def test_the_closed_form_has_the_guided_field_on_its_diagonal(check: Check) -> None:
    x, w = normal(1, 6), torch.linspace(0.5, 3.0, 6, dtype=torch.float64)
    labels = torch.arange(6) % NULL
    one, other, null = (problems.gaussian(float(mean), VARIANCE, I).b(0.3, x) for mean in MEANS)
    q = null + w * (torch.where(labels == 0, one, other) - null)
    check.vanishes(GuidedFlow(I).given(label=labels, guidance=w).velocity()(0.3, x) - q, CLOSED_FORM)


@EVERY_ROW
def test_the_paper_sees_a_wrong_scale_off_the_diagonal_and_ours_does_not(check: Check, name: str, form: str) -> None:
    wrong, half = (called(row(name, "own", form=form, eta=0.0), GuidedFlow(I, delta), I) for delta in (1e-2, 5e-3))
    check.sees(wrong.sqrt(), half.sqrt(), CLOSED_FORM)
    ours = called(row(name, "target", form=form, eta=0.0), GuidedFlow(I, 1e-2), I)
    check.vanishes(ours.sqrt(), CLOSED_FORM)  # it is the flow of a field, if of the wrong one


def test_ours_sees_a_wrong_scale_on_the_diagonal_and_the_paper_does_not(check: Check) -> None:
    wrong, half = (slopes("target", GuidedFlow(I, delta), 2.5) for delta in (1e-2, 5e-3))
    check.sees(wrong, half, CLOSED_FORM)
    check.vanishes(slopes("own", GuidedFlow(I, 1e-2), 2.5), CLOSED_FORM)  # at scale 1 nothing is wrong


def test_a_map_that_is_not_told_the_scale_is_asked_for_two_velocities(check: Check) -> None:
    r"""On the diagonal $b(c)$, off it in the limit another one, by $(\alpha-1)(b(c)-b(\varnothing))$."""
    x0, x1, labels = labelled(12)
    deaf = GuidedFlow(I, -1.0)  # it hears a scale of 1 whatever it is told
    check.vanishes(slopes("own", deaf, 2.5), CLOSED_FORM)
    method = row("lsd", "own", guidance=(2.5, 2.5), eta=0.0, law=Diagonal())
    result = method(deaf, I, x0, x1, labels=labels, seed=5)
    x = I(result.s, x0, x1)
    one = torch.ones_like(x)
    b, null = (
        deaf.given(label=c, guidance=one).velocity()(result.s, x) for c in (labels, torch.full_like(labels, NULL))
    )
    check.vanishes(result.per_sample - (1.5 * (b - null)).square(), CLOSED_FORM)
    assert result.per_sample.max() > 0.1
    with pytest.raises(ValueError, match=r"`guidance` must be a pair \(low, high\) with guides=\"own\", got 2\.5"):
        row("lsd", "own", guidance=2.5)


@pytest.mark.parametrize("name", ["psd-u", "psd-m"])
def test_the_semigroup_property_does_not_hear_the_scale(check: Check, name: str) -> None:
    method = get_method(name, guidance=RANGE, null_label=NULL, eta=0.0)
    check.vanishes(called(method, GuidedFlow(I, -1.0), I).sqrt(), CLOSED_FORM)
    check.vanishes(slopes("own", GuidedFlow(I, -1.0), 2.5), CLOSED_FORM)  # nor does the unguided diagonal
    assert called(row("lsd", "own", eta=0.0), GuidedFlow(I, -1.0), I).max() > 0.1
    assert slopes("target", GuidedFlow(I, -1.0), 2.5).abs().max() > 0.1
    wrong, half = (called(method, Perturbed(GuidedFlow(I), delta), I).sqrt() for delta in (1e-2, 5e-3))
    check.sees(wrong, half, CLOSED_FORM)


class Scaled(nn.Module):
    """A random network of a label and a scale."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.first, self.last = nn.Parameter(normal(seed, 5, 8)), nn.Parameter(normal(seed + 1, 8, 2) / 8**0.5)
        self.classes = nn.Parameter(normal(seed + 2, len(MEANS), 8))

    def forward(self, s: Tensor, t: Tensor, x: Tensor, label: Tensor, guidance: Tensor) -> Tensor:
        times = torch.stack([s, t, guidance], 1)
        return torch.tanh(torch.cat([x, times], 1) @ self.first + self.classes[label]) @ self.last


def by_hand(name: str, guides: str, v: nn.Module, w: nn.Module, drawn: Any, frozen: bool) -> Tensor:
    """The loss as either way has it, from the networks of the map and of its constant side alone."""
    diagonal, k = drawn.terms
    null, one = (torch.full((6,), value, dtype=dtype) for value, dtype in ((NULL, torch.int64), (1.0, torch.float64)))

    def held(net: nn.Module, t: Tensor, x: Tensor, label: Tensor, scale: Tensor) -> Tensor:
        n, guided = len(x), (net(t, t, x, label, one[: len(x)]) if guides == "own" else None)
        if guided is None:
            return net(t, t, x, label, scale)
        plain = net(t, t, x, null[:n], one[:n])
        return plain + scale[:, None] * (guided - plain)

    def told(net: nn.Module) -> Velocity:
        return lambda s, t, x: net(s, t, x, k.labels, k.guidance)

    def q(t: Tensor, x: Tensor) -> Tensor:
        return held(w, t, x, k.labels, k.guidance)

    x = (1 - k.s)[:, None] * k.x0 + k.s[:, None] * k.x1
    if name == "lsd":
        sides = lagrangian_differenced(told(v), q, k, x)
    elif name.startswith("psd"):
        sides = split(told(v), told(w), k, x)
    else:
        sides = eulerian_differenced(told(v), told(w), q, k, x)
    d = diagonal
    y, target, n = (1 - d.t)[:, None] * d.x0 + d.t[:, None] * d.x1, d.x1 - d.x0, len(d.t)
    if guides == "target":
        plain = v(d.t, d.t, y, null[:n], one[:n]).detach()
        target = plain + d.guidance[:, None] * (target - plain)
    on = Sides(v(d.t, d.t, y, d.labels, one[:n] if guides == "own" else d.guidance), target)
    return torch.cat([squares(sides, frozen=frozen), squares(on)]).mean()


def split(v: Velocity, w: Velocity, k: Any, x: Tensor) -> Sides:
    r"""$\hat X_{s,t}(x)$ and, of the constant side, $\hat X_{u,t}(\hat X_{s,u}(x))$, all at the drawn scales."""

    def moved(net: Velocity, s: Tensor, t: Tensor, y: Tensor) -> Tensor:
        return y + (t - s)[:, None] * net(s, t, y)

    return Sides(moved(v, k.s, k.t, x), moved(w, k.u, k.t, moved(w, k.s, k.u, x)))


FORMULAS = [(guides, name) for guides in WAYS for name in ("lsd", "esd")] + [("target", "psd-u"), ("target", "psd-m")]


@pytest.mark.parametrize("averaged", [False, True])
@pytest.mark.parametrize(("guides", "name"), FORMULAS)
def test_the_gradients_are_those_of_the_formulas(check: Check, guides: str, name: str, averaged: bool) -> None:
    v, labels, samples = Scaled(1), torch.tensor([0, 1, 2, 0, 1, 0]), batch(3)
    w = Scaled(9) if averaged else v
    map_, average = LearnedMap(v), LearnedMap(w) if averaged else None
    for frozen in (True,) if averaged else (True, False):
        options = {"form": "map"} if name.startswith("psd") else {"guides": guides}
        method = get_method(name, guidance=RANGE, null_label=NULL, eta=0.5, label_dropout=0.2, **options)
        method = method.with_options(ema_teacher=averaged, stop_gradient=frozen)
        draw = method.draw(map_, I, *samples, labels=labels, average=average, seed=4)
        ours = flat_gradient(method.evaluate(map_, I, draw, average=average).loss, map_)
        agree(check, ours, flat_gradient(by_hand(name, guides, v, w, draw, frozen), map_), DIFFERENCED)


@pytest.mark.parametrize("name", ["lsd", "esd"])
def test_negative_control(check: Check, name: str) -> None:
    """The two ways are different, and the same at scale 1; an average off by delta is seen."""
    map_, labels, samples = LearnedMap(Scaled(2)), torch.tensor([0, 1, 2, 0, 1, 0]), batch(4)

    def gradient(guides: str, guidance: tuple[float, float] = RANGE, **given: Any) -> Tensor:
        method = row(name, guides, guidance=guidance, eta=0.5, ema_teacher="average" in given)
        return flat_gradient(method(map_, I, *samples, labels=labels, seed=4, **given).loss, map_)

    differ(gradient("own"), gradient("target"))
    agree(check, gradient("own", (1.0, 1.0)), gradient("target", (1.0, 1.0)))
    near = []
    for delta in (1e-2, 5e-3):
        other = Scaled(2)
        with torch.no_grad():
            other.last.add_(delta * normal(7, 8, 2))
        near.append((gradient("own", average=LearnedMap(other)) - gradient("own")) / gradient("own").norm())
    check.sees(near[0], near[1], CLOSED_FORM)

r"""What the theory says of a method, as functions of any `Method`: each returns what it measured beside its bound.

The method may be a row of the table or a wrong version of it: it is judged as the row of its name.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from flowops import FlowMap
from flowops.methods import Draw, Method, MethodResult, TermPoint
from flowops.methods.point import Differences
from theory_checks.method_cases import Aspect, step_options
from theory_checks.method_families import Family, Forward, JointFamily, Straight, family_through, true_map
from theory_checks.method_settings import At, Setting
from theory_checks.verdicts import Check

LOSS = 1e-10  # of a row without a conditional velocity at the exact map, float64
SLOPE = 0.2
DELTAS = (2e-2, 1e-2, 5e-3)
PAIRS = ((0.2, 0.7), (0.8, 0.3), (0.45, 0.45))  # forward, backward, on the diagonal


@dataclass(frozen=True)
class Measured:
    """A number that must not exceed its bound."""

    what: str
    value: float
    bound: float

    @property
    def holds(self) -> bool:
        """Whether it is within its bound; NaN never is."""
        return self.value <= self.bound

    def __str__(self) -> str:
        return f"{self.what}: {self.value:.3g} (at most {self.bound:.3g})"


def truth(setting: Setting, aspect: Aspect) -> FlowMap:
    """The map at which the aspect is at its best: for reflow that of the straightened coupling."""
    if aspect.term.pairs == "teacher flow":
        return Straight(setting.X, setting.I, setting.x0)
    return true_map(setting.X, setting.b, aspect.term.joint)


def family(
    setting: Setting, aspect: Aspect, delta: float | Tensor, count: int = 4, seed: int = 0
) -> Family | JointFamily:
    """The truth plus `delta` along random directions."""
    return family_through(truth(setting, aspect), setting.x0.shape[1:], delta, count, seed, setting.rate_only)


def call(method: Method, aspect: Aspect, setting: Setting, X: FlowMap, *, step: int | None = None) -> MethodResult:
    """The term on random times of its law; an average, where the options want one, is the truth."""
    teacher, average = setting.teacher(aspect.teacher), truth(setting, aspect) if method.options.ema_teacher else None
    return method(X, setting.I, setting.x0, setting.x1, teacher=teacher, average=average, step=step, seed=5)


def at(method: Method, setting: Setting, aspect: Aspect, X: FlowMap, s: float, t: float) -> Tensor:
    """The expected loss at one pair of times: the quadrature of the samples' losses."""
    teacher = setting.teacher(aspect.teacher)
    method = method.with_options(law=At(s, t))
    draw = method.draw(X, setting.I, setting.x0, setting.x1, teacher=teacher, seed=5)
    draw = draw._replace(terms=tuple(None if k is None else _moved(k, aspect, setting, t) for k in draw.terms))
    assert setting.weights is not None
    return method.evaluate(X, setting.I, draw, teacher=teacher).per_sample @ setting.weights


def _moved(k: Any, aspect: Aspect, setting: Setting, t: float) -> Any:
    """A term's draw on the nodes of the latent; those of a term on its own diagonal are moved to `t`."""
    if aspect.diagonal:
        k = k._replace(s=torch.full_like(k.s, t), t=torch.full_like(k.t, t))
    return k._replace(z=setting.z)


def by_theta(loss: Tensor, X: Family | JointFamily) -> Tensor:
    """The gradient of a loss by the parameters of the family."""
    return torch.autograd.grad(loss, X.theta)[0]


def slope(values: list[float], steps: tuple[float, ...]) -> float:
    """Of the logarithms; NaN if a value is not positive."""
    if min(values) <= 0:
        return math.nan
    y, x = torch.tensor(values, dtype=torch.float64).log(), torch.tensor(steps, dtype=torch.float64).log()
    return float(((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum())


def vanishes(method: Method, aspect: Aspect, setting: Setting) -> list[Measured]:
    """The loss of a deterministic term is zero at the exact map."""
    with torch.no_grad():
        loss = call(aspect.of(method), aspect, setting, truth(setting, aspect)).loss
    return [Measured("loss at the exact map", float(loss), LOSS)]


def looks_forward(method: Method, aspect: Aspect, setting: Setting) -> list[Measured]:
    r"""A term whose law has $s\le t$ asks nothing of the map at $s>t$."""
    with torch.no_grad():
        loss = call(aspect.of(method), aspect, setting, Forward(truth(setting, aspect))).loss
    return [Measured("loss at a map that is right for s <= t only", float(loss), LOSS)]


def is_stationary(method: Method, aspect: Aspect, setting: Setting) -> list[Measured]:
    """The expected gradient is zero at the exact map."""
    method, measured = aspect.of(method), []
    for s, t in PAIRS:
        X = family(setting, aspect, 0.0)
        here = float(by_theta(at(method, setting, aspect, X, s, t), X).abs().max())
        measured.append(Measured(f"expected gradient at {s}, {t}", here, setting.tolerance))
    return measured


def gradient_grows(method: Method, aspect: Aspect, setting: Setting) -> list[Measured]:
    r"""The expected gradient of a conditional term, or that of a semigradient, grows like $\delta$."""
    method, gradients = aspect.of(method), []
    for delta in (0.0, *DELTAS):
        X = family(setting, aspect, delta)
        conditional = setting.weights is not None
        loss = at(method, setting, aspect, X, *PAIRS[0]) if conditional else call(method, aspect, setting, X).loss
        gradients.append(by_theta(loss, X))
    found = slope([float((g - gradients[0]).norm()) for g in gradients[1:]], DELTAS)
    return [Measured("order of the gradient in delta, off 1", abs(found - 1), SLOPE)]


def loss_grows(method: Method, aspect: Aspect, setting: Setting) -> list[Measured]:
    r"""The excess of a deterministic term or of a regression grows like $\delta^2$."""
    method, losses = aspect.of(method), []
    for delta in (0.0, *DELTAS):
        X = family(setting, aspect, delta)
        with torch.no_grad():
            conditional = setting.weights is not None
            loss = at(method, setting, aspect, X, *PAIRS[0]) if conditional else call(method, aspect, setting, X).loss
        losses.append(float(loss))
    found = slope([loss - losses[0] for loss in losses[1:]], DELTAS)
    return [Measured("order of the excess in delta, off 2", abs(found - 2), SLOPE)]


def sees_the_rate(method: Method, aspect: Aspect, setting: Setting) -> list[Measured]:
    r"""Where the rate of the log-determinant alone is wrong by $\delta$, the excess grows like $\delta^2$."""
    return loss_grows(method, aspect, replace(setting, rate_only=True))


def has_its_minimum(method: Method, aspect: Aspect, setting: Setting, minimum: float, s: float, t: float) -> Measured:
    """The loss of a regression at the exact map is this number."""
    with torch.no_grad():
        loss = at(aspect.of(method), setting, aspect, truth(setting, aspect), s, t)
    return Measured(f"loss less its minimum at {s}, {t}", abs(float(loss) - minimum), setting.tolerance)


def vanishes_at_its_order(method: Method, aspect: Aspect, setting: Setting) -> list[Measured]:
    """The residual of a finite step, or the conditional mean of it, vanishes at the order of the step."""
    assert aspect.order is not None
    steps = (1 / 16, 1 / 32, 1 / 64) if aspect.exact else (0.04, 0.02, 0.01)
    sizes = []
    for step in steps:
        X = family(setting, aspect, 0.0)
        if aspect.exact:
            options = step_options(aspect.term, step)
            with torch.no_grad():
                loss = call(aspect.of(method, **options), aspect, setting, X, step=0).loss
            sizes.append(float(loss.sqrt()))
        elif aspect.steps:
            loss = at(aspect.of(method, **{aspect.steps: step}), setting, aspect, X, 0.2, 0.8)
            sizes.append(float(by_theta(loss, X).norm()))
        else:
            loss = at(aspect.of(method), setting, aspect, X, 0.3, 0.3 + step)
            sizes.append(float(by_theta(loss, X).norm()))
    found = slope(sizes, steps)
    return [Measured(f"order of the step, off {aspect.order:g}", abs(found - aspect.order), SLOPE)]


def is_semigradient(method: Method, aspect: Aspect, setting: Setting) -> list[Measured]:
    r"""The gradient at a wrong map is that of the left side alone: differences of $|a_\theta-b_{\theta_0}|^2$."""
    delta, h, count = 0.3, 1e-4, 3
    method = aspect.of(method)
    X = family(setting, aspect, delta, count)
    teacher = setting.teacher(aspect.teacher)
    draw = method.draw(X, setting.I, setting.x0, setting.x1, teacher=teacher, seed=5)
    found = by_theta(method.evaluate(X, setting.I, draw, teacher=teacher).loss, X)
    with torch.no_grad():
        right = {name: d.right for name, d in _compared(method, aspect, setting, draw, X)[1].items()}
    differences = []
    for direction in torch.eye(count, dtype=torch.float64):
        ends = [family(setting, aspect, delta + sign * h * direction, count) for sign in (1, -1)]
        up, down = (_held(method, aspect, setting, draw, Y, X, right) for Y in ends)
        differences.append((up - down) / (2 * h))
    wanted = torch.stack(differences)
    return [Measured("gradient less the semigradient", float((found - wanted).norm() / wanted.norm()), 1e-6)]


@torch.no_grad()
def _held(
    method: Method, aspect: Aspect, setting: Setting, draw: Draw, X: Any, still: Any, right: dict[str, Tensor]
) -> Tensor:
    """The loss with the left side of `X` and these right sides."""
    k, compared = _compared(method, aspect, setting, draw, X)
    total = torch.zeros((), dtype=torch.float64)
    for name, (left, _, factor, *_) in compared.items():
        if method.name == "ctm":  # its outer map is a constant too
            left = still(k.t, torch.ones_like(k.t), X(k.s, k.t, k.x))
        total = total + (factor * (left - right[name]).square().flatten(1).sum(1)).mean()
    return total


def _compared(
    method: Method, aspect: Aspect, setting: Setting, draw: Draw, X: FlowMap
) -> tuple[TermPoint, Differences]:
    """Where the only term of a draw is evaluated, and what it compares there."""
    seen: list[tuple[TermPoint, Differences]] = []
    (term,) = [term for term, drawn in zip(method.terms, draw.terms, strict=True) if drawn is not None]

    def seeing(k: TermPoint) -> Differences:
        seen.append((k, term.residual(k)))
        return seen[-1][1]

    terms = tuple(replace(other, residual=seeing) if other is term else other for other in method.terms)
    row = replace(method.row, forms=dict.fromkeys(method.row.forms, terms))
    Method(row, **method.given).evaluate(X, setting.I, draw, teacher=setting.teacher(aspect.teacher))
    return seen[0]


def hold(check: Check, measured: list[Measured], where: str = "") -> None:
    """Every measurement is within its bound."""
    for m in measured:
        check.at_most(m.value, m.bound, where=f"{m.what} {where}".rstrip())

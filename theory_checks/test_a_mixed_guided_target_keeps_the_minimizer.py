r"""A guided target that is mixed with the map's own velocity keeps the minimizer: it pulls by $1-\kappa$.

With $w=v_{s,s}(\varnothing)+\alpha\,(\dot I_s-v_{s,s}(\varnothing))$ the guided target, `mix` $=\kappa$ takes
$\kappa\,v_{s,s}(c)+(1-\kappa)\,w$. On the diagonal the difference is $(1-\kappa)(v_{s,s}(c)-w)$: the loss is
$(1-\kappa)^2$ times, its gradient $1-\kappa$ times that without. MeanFlow writes
$\omega\,\dot I_s+\kappa\,v_{s,s}(c)+(1-\omega-\kappa)\,v_{s,s}(\varnothing)$, which is this with
$\alpha=\omega/(1-\kappa)$; its tangent is along it too. Samples whose label was dropped keep the plain target.

Hypotheses: none for the gradients, on random networks with labels; the written target and its tangent without the
library's guidance.

Source: 2505.13447 (17)-(21) and App. A; the effective scale $\omega'=\omega/(1-\kappa)$.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from flowops import LearnedMap, interpolants
from flowops._arguments import per_event
from flowops.methods import Draw, Method, get_method
from theory_checks.gradients import SAME, agree, batch, differ, flat_gradient
from theory_checks.strategies import normal
from theory_checks.verdicts import Check

I = interpolants.linear()
NULL, LABELS = 2, torch.tensor([0, 1, 0, 1, 1, 0])
OMEGA, KAPPA = 0.4, 0.8
ALPHA = OMEGA / (1 - KAPPA)


class Labelled(nn.Module):
    """A random perceptron that is told a label."""

    null_label = NULL

    def __init__(self, event: tuple[int, ...] = (2,)) -> None:
        super().__init__()
        size = torch.Size(event).numel()
        self.first, self.last = (nn.Parameter(normal(k, *shape)) for k, shape in ((1, (2 + size, 8)), (2, (8, size))))
        self.classes = nn.Parameter(normal(3, NULL + 1, 8))

    def forward(self, s: Tensor, t: Tensor, x: Tensor, label: Tensor) -> Tensor:
        inputs = torch.cat([s[:, None], t[:, None], x.reshape(len(x), -1)], 1)
        return (torch.tanh(inputs @ self.first + self.classes[label]) @ self.last).reshape(x.shape)


def drawn(method: Method, X: LearnedMap, n: int = 6, event: tuple[int, ...] = (2,)) -> Draw:
    labels = LABELS[:n]
    return method.draw(X, I, *batch(1, n, event), labels=labels, seed=3)


def row(name: str, **options: Any) -> Method:
    return get_method(name, **({"guidance": ALPHA, "mix": KAPPA} | options))


@pytest.mark.parametrize("event", [(2,), (2, 2, 2)])
@pytest.mark.parametrize("n", [1, 6])
@pytest.mark.parametrize("name", ["meanflow", "alpha-flow"])
def test_the_pull_on_the_diagonal(check: Check, name: str, n: int, event: tuple[int, ...]) -> None:
    X = LearnedMap(Labelled(event))
    mixed, plain = (row(name, eta=1.0, mix=mix) for mix in (KAPPA, 0.0))
    draw = drawn(plain, X, n, event)
    ours, theirs = (method.evaluate(X, I, draw).loss for method in (mixed, plain))
    check.vanishes(ours / ((1 - KAPPA) ** 2 * theirs) - 1, SAME)
    agree(check, flat_gradient(ours, X), (1 - KAPPA) * flat_gradient(theirs, X))


def written_down(X: LearnedMap, draw: Draw, omega: float = OMEGA, kappa: float = KAPPA) -> Tensor:
    """MeanFlow's loss with its mixed target, which is its tangent too."""
    squares = []
    for k in draw.terms:
        assert k is not None
        assert k.labels is not None
        null, x = torch.full_like(k.labels, NULL), I(k.s, k.x0, k.x1)
        with torch.no_grad():
            own, free = (X.network(k.s, k.s, x, label) for label in (k.labels, null))
            target = I.velocity(k.s, k.x0, k.x1)
            kept = per_event((k.labels != NULL).double(), x)
            target = torch.lerp(target, omega * target + kappa * own + (1 - omega - kappa) * free, kept)
            conditioned = LearnedMap(X.network).given(label=k.labels)
            right = conditioned.material_derivative(k.s, k.t, x, target) + X.network(k.s, k.t, x, k.labels)
        squares.append((X.network(k.s, k.t, x, k.labels) - right).square().flatten(1).sum(1))
    return torch.cat(squares).mean()


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_it_is_the_target_of_the_paper(check: Check, dropout: float) -> None:
    X = LearnedMap(Labelled())
    method = row("meanflow", eta=0.5, label_dropout=dropout)
    draw = drawn(method, X)
    ours = flat_gradient(method.evaluate(X, I, draw).loss, X)
    agree(check, ours, flat_gradient(written_down(X, draw), X))


def test_negative_control(check: Check) -> None:
    r"""$\omega$ or $\kappa$ off by $\delta$ is seen, and so is the target that is not mixed."""
    X, method = LearnedMap(Labelled()), row("meanflow", eta=0.5)
    draw = drawn(method, X)
    ours = flat_gradient(method.evaluate(X, I, draw).loss, X)
    for off in ((1.0, 0.0), (0.0, 1.0)):
        wrong, half = (
            flat_gradient(written_down(X, draw, OMEGA + d * off[0], KAPPA + d * off[1]), X) - ours for d in (2e-3, 1e-3)
        )
        check.sees(wrong, half, SAME)
    differ(ours, flat_gradient(row("meanflow", eta=0.5, mix=0.0).evaluate(X, I, draw).loss, X))


def test_with_unit_weight_the_target_is_that_of_improved_meanflow(check: Check) -> None:
    r"""$\kappa=1-1/\alpha$: $\dot I_s+(1-1/\alpha)(v_{s,s}(c)-v_{s,s}(\varnothing))$."""
    X = LearnedMap(Labelled())
    method = row("meanflow", mix="unit", eta=0.5)
    draw = drawn(method, X)
    ours = flat_gradient(method.evaluate(X, I, draw).loss, X)
    agree(check, ours, flat_gradient(written_down(X, draw, 1.0, 1 - 1 / ALPHA), X))
    differ(ours, flat_gradient(written_down(X, draw), X))


def test_without_guidance_there_is_nothing_to_mix() -> None:
    with pytest.raises(ValueError, match="`mix` must be 0 where nothing is guided, got 0.8; pass a scale too"):
        get_method("meanflow", mix=KAPPA)
    with pytest.raises(ValueError, match='`guidance` must be positive with mix="unit", which divides by it, got'):
        get_method("meanflow", mix="unit", guidance=(0.0, 2.0))

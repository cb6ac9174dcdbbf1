r"""The learned weight is least at the logarithm of the expected loss, where the loss is its mean logarithm, up to one.

Of $e^{-w_{s,t}}L_{s,t}+w_{s,t}$, $L_{s,t}=\mathbb E[L\mid s,t]$, the minimizer over $w$ is $w^*=\log L_{s,t}$, not
$\mathbb E\log L$; the minimum is $1+\log L_{s,t}$, and by the envelope theorem the gradient there is
$\nabla_\theta L_{s,t}/L_{s,t}=\nabla_\theta\log L_{s,t}$: every pair of times pulls on its own scale, and a factor
$c(s,t)$ of the loss changes no gradient. Away from it the excess is $e^{-\delta}-1+\delta=\delta^2/2+O(\delta^3)$.

Hypotheses: $0<L_{s,t}<\infty$. Rows of the library on a random network at three pairs of times, forty samples each;
$w$ by Newton's method on the loss of the library. The logarithm is taken of losses without a weight.

Source: 2505.18825 (18), (19); 2312.02696 (14).
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from flowops import LearnedMap, interpolants
from flowops.methods import Learned, MethodResult, get_method
from theory_checks.cases import CLOSED_FORM
from theory_checks.gradients import EDGES, SAME, Batch, Fixed, agree, batch, differ, flat_gradient, random_map
from theory_checks.strategies import SmoothField
from theory_checks.verdicts import Check

I = interpolants.linear()
B = SmoothField((2,), seed=6)
COUNT = 40
CELLS = ((0.1, 0.9), (0.4, 0.7), (0.6, 0.62))
ROWS = [("lmd", {}), ("emd", {}), ("lsd", {"eta": 0.0}), ("psd-u", {"eta": 0.0})]
EVERY = pytest.mark.parametrize(("name", "options"), ROWS, ids=[name for name, _ in ROWS])
LAW = Fixed(*(tuple(cell[i] for cell in CELLS for _ in range(COUNT)) for i in (0, 1)))


class Cells(nn.Module):
    """A weight of its own for each pair of times, in their order."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(len(CELLS), dtype=torch.float64))

    def forward(self, s: Tensor, t: Tensor) -> Tensor:
        return self.w.repeat_interleave(len(s) // len(CELLS))


class Everywhere(nn.Module):
    """One weight for every pair of times: the logarithm of a mean."""

    def __init__(self, losses: Tensor) -> None:
        super().__init__()
        self.w = losses.detach().mean().log()

    def forward(self, s: Tensor, t: Tensor) -> Tensor:
        return self.w.expand_as(t - s)


def call(name: str, X: LearnedMap, weight: Any, options: dict[str, Any], samples: Batch | None = None) -> MethodResult:
    method = get_method(name, law=LAW, weight=weight, **options)
    return method(
        X, I, *(samples or batch(1, COUNT * len(CELLS))), teacher=B if name in ("lmd", "emd") else None, seed=3
    )


def expected_losses(result: MethodResult) -> Tensor:
    r"""$L_{s,t}$ of each cell."""
    return result.per_sample.reshape(len(CELLS), -1).mean(1)


def least(name: str, X: LearnedMap, options: dict[str, Any], weight: type[Learned] = Learned) -> Cells:
    """The weight at which the loss of the library is least."""
    cells = Cells()
    for _ in range(60):
        loss = call(name, X, weight(cells), options).loss
        (slope,) = torch.autograd.grad(loss, cells.w, create_graph=True)
        if slope.abs().max() < 1e-14:
            break
        (curvature,) = torch.autograd.grad(slope.sum(), cells.w)
        cells.w.data = cells.w.data - (slope / curvature).detach().clamp(-1, 1)
    return cells


@EVERY
def test_the_minimizer_is_the_logarithm_of_the_expected_loss(check: Check, name: str, options: dict[str, Any]) -> None:
    X = random_map(1)
    cells, plain = least(name, X, options), call(name, X, 1.0, options)
    losses = expected_losses(plain).detach()
    check.vanishes(cells.w - losses.log(), CLOSED_FORM)
    check.vanishes(call(name, X, Learned(cells), options).loss - (1 + losses.log().mean()), CLOSED_FORM)
    geometric = plain.per_sample.log().reshape(len(CELLS), -1).mean(1)  # of the samples: it is smaller
    assert (cells.w - geometric).min() > 0.05


@EVERY
def test_the_gradient_there_is_that_of_the_logarithm(check: Check, name: str, options: dict[str, Any]) -> None:
    X = random_map(2)
    cells = least(name, X, options)
    ours = flat_gradient(call(name, X, Learned(cells), options).loss, X)
    plain = [expected_losses(call(name, X, 1.0, options)) for _ in range(2)]
    agree(check, ours, flat_gradient(plain[0].log().mean(), X), CLOSED_FORM)
    differ(ours, flat_gradient(plain[1].mean(), X))  # where the largest losses pull most


class OfScaled(Learned):
    r"""The learned weight of the loss times $c(s,t)=10^{4(t-s)}$."""

    def forward(self, loss: Tensor, squared: Tensor, s: Tensor, t: Tensor) -> Tensor:
        return super().forward(10 ** (4 * (t - s)) * loss, squared, s, t)


def test_a_factor_of_the_loss_changes_no_gradient(check: Check) -> None:
    r"""The loss times $c(s,t)$ has the minimizer $w^*+\log c$, at which its gradient is the same."""
    X = random_map(3)
    cells, scaled = least("lmd", X, {}), least("lmd", X, {}, OfScaled)
    log_c = torch.tensor([4 * (t - s) * math.log(10) for s, t in CELLS], dtype=torch.float64)
    check.vanishes(scaled.w - cells.w - log_c, CLOSED_FORM)
    ours, theirs = (flat_gradient(call("lmd", X, weight, {}).loss, X) for weight in (Learned(cells), OfScaled(scaled)))
    agree(check, ours, theirs, CLOSED_FORM)


def test_away_from_the_minimizer_the_excess_is_half_the_square(check: Check) -> None:
    X, steps = random_map(5), torch.tensor([0.2, 0.1, 0.05, 0.025], dtype=torch.float64)
    cells, excess = least("lmd", X, {}), []
    best, minimum = cells.w.detach().clone(), call("lmd", X, Learned(cells), {}).loss
    for delta in steps:
        cells.w.data = best + delta
        excess.append((call("lmd", X, Learned(cells), {}).loss - minimum).detach())
    found = torch.stack(excess)
    check.vanishes(found - (torch.exp(-steps) - 1 + steps), CLOSED_FORM)
    check.order(found, steps, 2.0)


@pytest.mark.parametrize("edge", EDGES.values(), ids=EDGES)
def test_at_the_edges(check: Check, edge: Any) -> None:
    """One weight for all pairs: the minimizer is the logarithm of the batch mean."""
    X, samples = random_map(6, edge.event).to(edge.dtype), batch(6, edge.n, edge.event, edge.dtype)
    method = get_method("fm") if edge.law is None else get_method("psd-u", eta=0.0, law=Fixed())
    losses = method(X, I, *samples, seed=3).per_sample
    weighted = method.with_options(weight=Learned(Everywhere(losses)))(X, I, *samples, seed=3).loss
    check.vanishes(weighted - (1 + losses.mean().log()), 10 * SAME if edge.dtype == torch.float64 else edge.tolerance)


def test_negative_control(check: Check) -> None:
    r"""The slope at a weight that is off by $\delta$."""
    X, cells = random_map(7), Cells()
    losses = expected_losses(call("lmd", X, 1.0, {})).detach()
    slopes = []
    for delta in (1e-3, 5e-4):
        cells.w.data = losses.log() + delta
        slopes.append(torch.autograd.grad(call("lmd", X, Learned(cells), {}).loss, cells.w)[0])
    check.sees(slopes[0], slopes[1], CLOSED_FORM)

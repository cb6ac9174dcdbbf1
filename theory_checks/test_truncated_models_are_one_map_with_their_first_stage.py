r"""A truncated consistency model and the map of its first stage are one flow map to time 1.

* Where $X^1_{s,1}$ is exact for $s\ge\tau$ and $X_{s,1}$ for $s<\tau$, so is `StagedMap`, whatever $X$ does from $\tau$
  on; an error of the first stage is seen from $\tau$ on alone.
* `tcm` asks nothing of $X$ at $s>\tau$: starts that a law draws later are moved to $\tau$, where its loss is
  $|X_{\tau,1}(I_\tau)-X^1_{\tau,1}(I_\tau)|^2$, zero at the truth and growing like $\delta^2$ with the first stage.
* On times before $\tau$ it is `ct`: with itself as first stage everywhere, with another one where $u<\tau$.

Source: 2410.14895, section 3, whose time is the noise level.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from flowops import FlowMap, interpolants
from flowops._arguments import per_event
from flowops.maps import StagedMap
from flowops.methods import get_method
from flowops.times import EndpointFixed, Step, Uniform
from theory_checks.cases import CLOSED_FORM, gaussian
from theory_checks.controls import Perturbed
from theory_checks.gradients import EDGES, STARTS, Edge, Fixed, agree, batch, differ, gradient, random_map
from theory_checks.strategies import normal
from theory_checks.verdicts import Check

I, TAU = interpolants.linear(), 0.5
EARLY = Step(Uniform(0.0, 0.4), 0.1)  # rungs before the transition
RUNGS = Fixed(t=tuple(s + 0.1 for s in STARTS))  # two of their steps cross it or lie beyond
LATE = EndpointFixed(Uniform(TAU, 1.0))
EDGE = pytest.mark.parametrize("edge", [EDGES[name] for name in EDGES if name != "equal times"], ids=str)


class Late(FlowMap):
    """A map that is another one from the transition on."""

    def __init__(self, X: FlowMap, off: float = 1.0) -> None:
        super().__init__()
        self.X, self.off = X, off

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return self.X(s, t, x) + self.off * per_event((s > TAU).to(x.dtype), x)


def test_the_map_of_both_stages_is_the_flow_map(check: Check) -> None:
    X = gaussian(I).X
    assert X is not None
    s, x = torch.linspace(0, 0.99, 12, dtype=torch.float64), normal(1, 12, 2)
    staged = StagedMap(Late(X), X, TAU)
    check.vanishes(staged(s, 1.0, x) - X(s, 1.0, x), CLOSED_FORM)
    check.vanishes(staged.average_velocity(s, 1.0, x) - X.average_velocity(s, 1.0, x), CLOSED_FORM)
    wrong, half = (StagedMap(X, Perturbed(X, delta), TAU)(s, 1.0, x) - X(s, 1.0, x) for delta in (1e-2, 5e-3))
    check.sees(wrong, half, CLOSED_FORM)
    assert not wrong[s < TAU].any()


@EDGE
@pytest.mark.parametrize("law", [EARLY, RUNGS, LATE], ids=["early", "crossing", "late"])
def test_nothing_is_asked_of_the_map_after_the_transition(check: Check, edge: Edge, law) -> None:
    X, first = (random_map(seed, edge.event).to(edge.dtype) for seed in (1, 2))
    samples, method = batch(1, edge.n, edge.event, edge.dtype), get_method("tcm", law=law, transition=TAU)
    plain, late = (gradient(method, Y, I, samples, teacher=first) for Y in (X, Late(X)))
    assert plain.dtype == edge.dtype
    agree(check, plain, late, edge.tolerance)
    if law is LATE:
        differ(plain, gradient(method, X, I, samples, teacher=random_map(7, edge.event).to(edge.dtype)))


def test_at_the_transition_both_stages_must_agree(check: Check) -> None:
    X, first, (x0, x1) = random_map(3), random_map(4), batch(3)
    tau, one = (torch.full((len(x0),), time, dtype=x0.dtype) for time in (TAU, 1.0))
    found = get_method("tcm", law=LATE, transition=TAU)(X, I, x0, x1, teacher=first, seed=0)
    x = I(tau, x0, x1)
    check.vanishes(found.per_sample - (X(tau, one, x) - first(tau, one, x)).square().sum(1), CLOSED_FORM)
    assert bool((found.s == TAU).all())
    exact = gaussian(I).X
    assert exact is not None
    losses = [
        get_method("tcm", law=LATE)(exact, I, x0, x1, teacher=Perturbed(exact, delta), seed=0).loss.sqrt()
        for delta in (0.0, 1e-2, 5e-3)
    ]
    check.vanishes(losses[0], CLOSED_FORM)
    check.sees(losses[1], losses[2], CLOSED_FORM)


@EDGE
def test_before_the_transition_it_is_consistency_training(check: Check, edge: Edge) -> None:
    X, first = (random_map(seed, edge.event).to(edge.dtype) for seed in (5, 6))
    samples = batch(5, edge.n, edge.event, edge.dtype)
    early, crossing = (
        (gradient(get_method("ct", law=law), X, I, samples), get_method("tcm", law=law, transition=0.75))
        for law in (EARLY, RUNGS)
    )
    agree(check, early[0], gradient(early[1], X, I, samples, teacher=first), edge.tolerance)
    agree(check, crossing[0], gradient(crossing[1], X, I, samples, teacher=X), edge.tolerance)
    if edge.n > 1:
        differ(crossing[0], gradient(crossing[1], X, I, samples, teacher=first))

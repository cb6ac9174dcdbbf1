r"""Consistency models are the restriction of flow maps to the end time 1: X_{s,1}.

Gradients on random networks: `cd` = `discrete-emd`, `scm` with a teacher = `ayf-emd`, both at $t=1$; `ctm` = `cd`
there, since its outer map $X_{1,1}$ is the identity. Every row of the family calls the map with the end time 1 only.

Source: 2505.18825 (33)-(35), (40), (41); 2303.01469; 2410.11081; 2310.02279.
"""

import pytest
import torch
from torch import Tensor

from flowops import FlowMap, LearnedMap, interpolants
from flowops.methods import get_method
from flowops.times import EndpointFixed, Step, Uniform
from theory_checks.gradients import STARTS, Fixed, Network, agree, batch, differ, gradient, random_map
from theory_checks.strategies import SmoothField
from theory_checks.verdicts import Check

I, B = interpolants.linear(), SmoothField((2,), seed=4)
EPSILON = 0.05
RUNGS = Step(Uniform(), EPSILON)  # s, and u = s + epsilon (1 - s)
TO_ONE = EndpointFixed(Uniform())  # the same s for the same seed
FAMILY = [("cd", {}), ("ct", {}), ("ict", {}), ("ect", {}), ("scm", {}), ("cd", {"stop_gradient": False})]


class Recorded(FlowMap):
    """A map that keeps the end times it was called with."""

    def __init__(self, X: FlowMap) -> None:
        super().__init__()
        self.X = X
        self.ends: list[Tensor] = []

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        self.ends.append(t.detach())
        return self.X(s, t, x)

    def average_velocity(self, s, t, x):
        self.ends.append(torch.as_tensor(t).detach())
        return self.X.average_velocity(s, t, x)


@pytest.mark.parametrize(("name", "options"), FAMILY)
def test_only_the_maps_to_time_one_are_called(check: Check, name: str, options: dict[str, bool]) -> None:
    X = Recorded(random_map())
    get_method(name, **options)(X, I, *batch(), teacher=B, seed=3)
    assert X.ends
    check.vanishes(torch.cat([t.reshape(-1) for t in X.ends]) - 1, 0.0, where=f"in {name}")


@pytest.mark.parametrize("solver", ["euler", "heun"])
def test_distillation_is_the_discrete_eulerian_row_there(check: Check, solver: str) -> None:
    X, samples = random_map(1), batch(1)
    cd = gradient(get_method("cd", law=RUNGS, solver=solver), X, I, samples, teacher=B)
    emd = get_method("discrete-emd", law=TO_ONE, epsilon=EPSILON, solver=solver)
    agree(check, cd, gradient(emd, X, I, samples, teacher=B))


@pytest.mark.parametrize("own", [True, False])
def test_trajectory_models_are_consistency_models_there(check: Check, own: bool) -> None:
    X, samples = random_map(2), batch(2)
    ctm = get_method("ctm", eta=0.0, law=TO_ONE, epsilon=EPSILON)
    ours = gradient(ctm, X, I, samples, teacher=None if own else B)
    agree(check, ours, gradient(get_method("cd", law=RUNGS), X, I, samples, teacher=X.velocity() if own else B))


def test_the_continuous_ones_are_the_eulerian_semigradient_there(check: Check) -> None:
    X, samples = random_map(3), batch(3)
    scm = gradient(get_method("scm"), X, I, samples, teacher=B)
    agree(check, scm, gradient(get_method("ayf-emd", law=EndpointFixed()), X, I, samples, teacher=B))
    normalized = get_method("scm", normalize=0.1, warmup=10)
    ayf = get_method("ayf-emd", law=EndpointFixed(), normalize=0.1, warmup=10)
    ours = gradient(normalized, X, I, samples, teacher=B, step=4)
    agree(check, ours, gradient(ayf, X, I, samples, teacher=B, step=4))


def test_negative_control() -> None:
    X, samples = random_map(4), batch(4)
    cd = gradient(get_method("cd", law=RUNGS, solver="euler"), X, I, samples, teacher=B)
    short = Fixed(STARTS, tuple(0.9 for _ in STARTS))
    for options in (
        {"law": short, "epsilon": EPSILON},
        {"law": TO_ONE, "epsilon": 2 * EPSILON},
        {"law": TO_ONE, "epsilon": EPSILON, "stop_gradient": False},
    ):
        differ(cd, gradient(get_method("discrete-emd", solver="euler", **options), X, I, samples, teacher=B))
    ctm = get_method("ctm", eta=0.0, law=Fixed(), epsilon=EPSILON)
    emd = get_method("discrete-emd", law=Fixed(), epsilon=EPSILON, solver="heun")
    differ(gradient(ctm, X, I, samples, teacher=B), gradient(emd, X, I, samples, teacher=B))
    other = LearnedMap(Network(9))
    differ(cd, gradient(get_method("cd", law=RUNGS, solver="euler"), other, I, samples, teacher=B))

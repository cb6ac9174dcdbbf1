r"""Finite steps tend to the semigradients at first order: grad(discrete-*) / eps -> (t-s)^2 grad(ayf-*).

Gradients on random networks. With $u=s+\varepsilon(t-s)$, `discrete-emd` compares $X_{s,t}$ with $X_{u,t}$ one Euler
step ahead: the difference is $-\varepsilon(t-s)(\partial_sX+\nabla X\,b_s)+O(\varepsilon^2)$ and
$\nabla_\theta X=(t-s)\nabla_\theta v$: the limit is `ayf-emd`. With $u=t+\varepsilon(s-t)$, `discrete-lmd` likewise
with $\varepsilon(t-s)(\partial_tX-b_t(X))$ tends to `ayf-lmd`. `ctm` at $\varepsilon\to0$ is the first of them seen
through $\bar X_{t,1}$, so it tends to another gradient.

Source: the flow-map-learning note; 2506.14603 Thms. 3.2, 3.3.
"""

import pytest
import torch

from flowops import Interpolant, interpolants
from flowops.methods import get_method
from flowops.methods.weights import TimePower
from theory_checks.gradients import Fixed, batch, differ, gradient, random_map, tends
from theory_checks.strategies import SmoothField
from theory_checks.verdicts import Check

LAW, B = Fixed(), SmoothField((2,), seed=6)
STEPS = [0.02, 0.01, 0.005]
KINDS = ["emd", "lmd"]


@pytest.mark.parametrize("kind", KINDS)
def test_first_order(interpolant: Interpolant, check: Check, kind: str) -> None:
    X, samples = random_map(), batch()
    continuous = get_method(f"ayf-{kind}", law=LAW, weight=TimePower(2))

    def at(epsilon: float) -> torch.Tensor:
        finite = get_method(f"discrete-{kind}", law=LAW, epsilon=epsilon)
        return gradient(finite, X, interpolant, samples, teacher=B) / epsilon

    tends(check, at, gradient(continuous, X, interpolant, samples, teacher=B), STEPS)


def test_a_heun_step_has_the_same_limit(check: Check) -> None:
    I, X, samples = interpolants.linear(), random_map(1), batch(1)
    continuous = get_method("ayf-emd", law=LAW, weight=TimePower(2))

    def at(epsilon: float) -> torch.Tensor:
        finite = get_method("discrete-emd", law=LAW, epsilon=epsilon, solver="heun")
        return gradient(finite, X, I, samples, teacher=B) / epsilon

    tends(check, at, gradient(continuous, X, I, samples, teacher=B), STEPS)


@pytest.mark.parametrize("kind", KINDS)
def test_negative_control(kind: str) -> None:
    I, X, samples, epsilon = interpolants.linear(), random_map(2), batch(2), STEPS[-1]
    finite = gradient(get_method(f"discrete-{kind}", law=LAW, epsilon=epsilon), X, I, samples, teacher=B) / epsilon
    other = KINDS[1 - KINDS.index(kind)]
    for wrong in (
        get_method(f"ayf-{kind}", law=LAW),
        get_method(f"ayf-{kind}", law=LAW, weight=TimePower(1)),
        get_method(f"ayf-{other}", law=LAW, weight=TimePower(2)),
        get_method(kind, form="velocity", law=LAW, weight=TimePower(2)),
    ):
        differ(finite, gradient(wrong, X, I, samples, teacher=B))
    thawed = get_method(f"discrete-{kind}", law=LAW, epsilon=epsilon, stop_gradient=False)
    differ(finite, gradient(thawed, X, I, samples, teacher=B) / epsilon)
    ctm = get_method("ctm", eta=0.0, law=LAW, epsilon=epsilon)
    differ(finite, gradient(ctm, X, I, samples, teacher=B) / epsilon)

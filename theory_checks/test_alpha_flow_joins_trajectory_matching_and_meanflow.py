r"""alpha-flow joins trajectory matching (alpha = 1), shortcuts (1/2, own velocity) and MeanFlow (alpha -> 0).

Gradients on random networks. At $\alpha=1$ it is $|v_{s,t}(I_s)-\dot I_s|^2$; at $\alpha=\tfrac12$ along the map's own
$v_{s,u}$ it is exactly twice the shortcut step, `psd-m`, and at any $\alpha$ there $\alpha^{-1}$ times `psd-u` with
$\gamma=1-\alpha$; as $\alpha\to0$ along $\dot I_s$ it tends to `meanflow` at first order, and is `meanflow` at 0.

Source: 2510.20771.
"""

from typing import Any

import pytest
import torch

from flowops import Interpolant, interpolants
from flowops.methods import get_method
from theory_checks.gradients import (
    ENDS,
    STARTS,
    Fixed,
    agree,
    batch,
    differ,
    flat_gradient,
    gradient,
    random_map,
    tends,
)
from theory_checks.verdicts import Check

LAW = Fixed()
ALPHA = get_method("alpha-flow", eta=0.0, law=LAW)
MEANFLOW = get_method("meanflow", eta=0.0, law=LAW)


def latent(I: Interpolant, x: torch.Tensor) -> list[torch.Tensor]:
    """A latent where there is one."""
    return [torch.ones_like(x)] if I.has_latent else []


@pytest.mark.two_terms
def test_one_is_trajectory_flow_matching(interpolant: Interpolant, check: Check) -> None:
    X, samples = random_map(), batch()
    s, t = (torch.tensor(times, dtype=torch.float64) for times in (STARTS, ENDS))
    error = X.average_velocity(s, t, interpolant(s, *samples)) - interpolant.velocity(s, *samples)
    expected = flat_gradient(error.square().sum(1).mean(), X)
    agree(check, gradient(ALPHA.with_options(alpha=1.0), X, interpolant, samples), expected)
    agree(check, gradient(ALPHA, X, interpolant, samples, step=0), expected, where="at the start of the annealing")


@pytest.mark.parametrize("alpha", [0.5, 0.2])
def test_the_own_velocity_is_a_split(interpolant: Interpolant, check: Check, alpha: float) -> None:
    X, samples = random_map(1), batch(1)
    ours = gradient(ALPHA.with_options(alpha=alpha, follow="own"), X, interpolant, samples)
    split = get_method("psd-u", eta=0.0, law=LAW, gamma=1 - alpha)
    agree(check, ours, gradient(split, X, interpolant, samples) / alpha)
    if alpha == 0.5:
        agree(check, ours, 2 * gradient(get_method("shortcut", eta=0.0, law=LAW), X, interpolant, samples))


def test_zero_is_meanflow(interpolant: Interpolant, check: Check) -> None:
    X, samples = random_map(2), batch(2)
    meanflow = gradient(MEANFLOW, X, interpolant, samples)
    agree(check, gradient(ALPHA.with_options(alpha=0.0), X, interpolant, samples), meanflow)
    agree(check, gradient(ALPHA, X, interpolant, samples), meanflow, where="at the end of the annealing")
    speed = interpolant.velocity(torch.tensor(STARTS, dtype=torch.float64), *samples, *latent(interpolant, samples.x0))
    steps = [a / max(1.0, float(speed.abs().max()) / 3) for a in (0.01, 0.005, 0.0025)]
    tends(check, lambda a: gradient(ALPHA.with_options(alpha=a), X, interpolant, samples), meanflow, steps)


@pytest.mark.parametrize("options", [{"p": 1.0, "c": 1e-3}, {"normalize": 0.1}, {"norm": "pseudo-huber"}])
def test_zero_is_meanflow_with_its_weights_and_norms(check: Check, options: dict[str, Any]) -> None:
    r"""The difference is of the size of $\alpha$, so that these must see it divided by $\alpha$."""
    I, X, samples = interpolants.linear(), random_map(5), batch(5)
    meanflow = gradient(MEANFLOW.with_options(**options), X, I, samples)
    small = ALPHA.with_options(**options)
    tends(check, lambda a: gradient(small.with_options(alpha=a), X, I, samples), meanflow, (0.01, 0.005, 0.0025))


def test_the_share_on_the_diagonal_is_flow_matching(check: Check) -> None:
    I, X, samples = interpolants.linear(), random_map(3), batch(3)
    meanflow = gradient(get_method("meanflow", eta=0.5), X, I, samples)
    agree(check, gradient(get_method("alpha-flow", eta=0.5, alpha=0.0), X, I, samples), meanflow)
    diagonal = ALPHA.with_options(eta=1.0)
    agree(
        check, gradient(diagonal, X, I, samples), gradient(get_method("fm", law=Fixed(STARTS, STARTS)), X, I, samples)
    )


def test_negative_control() -> None:
    I, X, samples = interpolants.linear(), random_map(4), batch(4)
    meanflow = gradient(MEANFLOW, X, I, samples)
    shortcut = gradient(get_method("psd-m", eta=0.0, law=LAW), X, I, samples)
    half = ALPHA.with_options(alpha=0.5)
    differ(gradient(half, X, I, samples), meanflow)
    differ(gradient(half, X, I, samples), 2 * shortcut)
    differ(gradient(half.with_options(follow="own"), X, I, samples), shortcut)
    differ(gradient(ALPHA.with_options(alpha=0.0, follow="own"), X, I, samples), meanflow)
    differ(gradient(ALPHA.with_options(alpha=1.0, stop_gradient=False), X, I, samples), meanflow)

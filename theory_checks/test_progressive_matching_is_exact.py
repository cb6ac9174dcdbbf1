r"""Progressive flow map matching is exact: K steps of a map that is right up to length h are the flow map up to K h.

The loss $\mathbb E|\hat X_{s,t}(I_s)-\check X_{t_{K-1},t}\circ\dots\circ\check X_{s,t_1}(I_s)|^2$ has the composition
of $K$ equal steps as its only minimizer, whatever the map $\check X$ of the previous round. If
$\check X_{s,t}=X_{s,t}$ for $|t-s|\le h$, that is the flow map for $|t-s|\le Kh$, by the semigroup property, and
$\log_K(1/h)$ rounds reach every pair. No step of the argument is an approximation: the error of a round is what the
errors of $K$ steps are carried on to,
$|\hat X_{s,t}-X_{s,t}|\le\sum_kL_k\,|\check X_{t_k,t_{k+1}}-X_{t_k,t_{k+1}}|$.

Hypotheses: $X$ the flow map of a Lipschitz field; $K$ equal steps.

Source: 2406.07507, the lemma of progressive flow map matching; 2505.18825 (30).
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from flowops import FlowMap
from flowops.methods import get_method
from theory_checks.gradients import Fixed
from theory_checks.method_families import Family
from theory_checks.method_settings import Setting, sampled
from theory_checks.verdicts import Check

NAMES = ("linear system", "gaussian trigonometric", "gaussian encoding_decoding", "mixture solved")
STEPS = pytest.mark.parametrize("K", [2, 5])
REACH = 0.12
EXACT = 1e-16  # of a squared distance, float64
SOLVED = 1e-13  # of a squared distance, solved at 1e-8


def chosen(name: str) -> Setting:
    """A setting; the mixture with few samples and a coarser solve."""
    setting = sampled(name)
    if "solved" not in name:
        return setting
    return replace(setting, X=setting.b.flow_map(rtol=1e-8, atol=1e-8), x0=setting.x0[:4], x1=setting.x1[:4])


SETTINGS = pytest.mark.parametrize("setting", [pytest.param(chosen(name), id=name) for name in NAMES])
TOLERANCES = {name: SOLVED if "solved" in name else EXACT for name in NAMES}


class Short(FlowMap):
    r"""$X_{s,t}$ for $|t-s|\le h$, and wrong beyond."""

    def __init__(self, X: FlowMap, h: float) -> None:
        super().__init__()
        self.X, self.h = X, h

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        beyond = ((t - s).abs() - self.h - 1e-12).clamp(min=0)
        return self.X(s, t, x) + beyond.reshape(-1, *[1] * (x.ndim - 1)) * (1 + torch.cos(x))


def distances(setting: Setting, X: FlowMap, teacher: FlowMap, K: int, length: float) -> Tensor:
    """The row's loss of each sample, at pairs of this length, forward and backward in turn."""
    n = len(setting.x0)
    start = [0.02 + 0.3 * k / n for k in range(n)]
    pairs = [(s, s + length) if k % 2 else (s + length, s) for k, s in enumerate(start)]
    law = Fixed(*(tuple(times) for times in zip(*pairs, strict=True)))
    method = get_method("pfmm", K=K, law=law)
    return method(X, setting.I, setting.x0, setting.x1, teacher=teacher, seed=0).per_sample.detach()


@SETTINGS
@STEPS
def test_a_round_multiplies_the_reach_by_the_number_of_steps(check: Check, setting: Setting, K: int) -> None:
    teacher = Short(setting.X, REACH)
    for length in (0.3 * K * REACH, K * REACH):
        check.vanishes(
            distances(setting, setting.X, teacher, K, length), TOLERANCES[setting.name], where=f"at length {length}"
        )
    assert distances(setting, setting.X, teacher, K, 1.1 * K * REACH).min() > 1e-7, "one step is too long"
    assert distances(setting, setting.X, teacher, 1, K * REACH).min() > 1e-7, "one step for the whole way"


@SETTINGS
def test_rounds_reach_every_pair(check: Check, setting: Setting) -> None:
    """Two rounds of three steps: the map of the first is the teacher of the second."""
    first = FlowMap.from_function(lambda s, t, x: composed(Short(setting.X, 0.08), s, t, x, 3))
    values = distances(setting, setting.X, first, 3, 0.6)
    check.vanishes(values, TOLERANCES[setting.name])
    assert distances(setting, setting.X, Short(setting.X, 0.08), 3, 0.6).min() > 1e-7


def composed(X: FlowMap, s: Tensor, t: Tensor, x: Tensor, K: int) -> Tensor:
    for k in range(K):
        x = X(torch.lerp(s, t, k / K), torch.lerp(s, t, (k + 1) / K), x)
    return x


@SETTINGS
def test_the_composition_is_the_only_minimizer(check: Check, setting: Setting) -> None:
    teacher = Family(setting.X, setting.x0[0].numel(), 0.3)  # any map
    best = FlowMap.from_function(lambda s, t, x: composed(teacher, s, t, x, 3))
    check.vanishes(distances(setting, best, teacher, 3, 0.5), EXACT)
    for delta in (0.1, 1e-3):
        other = FlowMap.from_function(lambda s, t, x, d=delta: best(s, t, x) + d)
        check.vanishes(distances(setting, other, teacher, 3, 0.5) / delta**2 / setting.x0[0].numel() - 1, 1e-6)


@SETTINGS
def test_the_errors_of_the_steps_are_carried_on(check: Check, setting: Setting) -> None:
    """Telescoping: the quotient of the two sides, with the steps' errors carried on by the flow map itself."""
    K, size = 4, setting.x0[0].numel()
    teacher = Family(setting.X, size, 0.05)
    grid, x = torch.linspace(0.1, 0.8, K + 1, dtype=torch.float64).tolist(), setting.x0
    bound, state = torch.zeros(len(x), dtype=torch.float64), x
    for near, far in zip(grid[:-1], grid[1:], strict=True):
        after, truth = teacher(near, far, state).detach(), setting.X(near, far, state).detach()
        ends = torch.lerp(after, truth, 0.5)
        J = setting.X.jacobian(far, grid[-1], ends).detach().reshape(len(x), size, size)
        bound = bound + torch.linalg.matrix_norm(J, ord=2) * (after - truth).norm(dim=1)
        state = after
    error = (state - setting.X(grid[0], grid[-1], x).detach()).norm(dim=1)
    check.at_most(float((error / bound).max()), 1.0)


@SETTINGS
def test_negative_control(setting: Setting) -> None:
    """A teacher that is wrong by delta gives a map that is, and the loss of the truth falls like delta squared."""
    size = setting.x0[0].numel()
    wrong, half = (distances(setting, setting.X, Family(setting.X, size, d), 3, 0.5).mean() for d in (2e-3, 1e-3))
    assert wrong > 1e-9
    assert abs(wrong / half - 4) < 0.1

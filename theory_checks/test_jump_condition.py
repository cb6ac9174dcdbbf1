r"""Jump condition: X_{s,t}(x_s) = x_t along every trajectory.

Hypotheses: $b$ Lipschitz in $x$. Ground truth: SciPy's DOP853 at rtol 1e-11, forward and backward.

Source: 2505.18825 (4), (48).
"""

import numpy as np
import pytest
import torch
from hypothesis import given
from scipy.integrate import solve_ivp
from torch import Tensor

from flowops import VelocityField
from theory_checks.cases import SINGLE, Case
from theory_checks.controls import Perturbed
from theory_checks.strategies import Example, examples, few
from theory_checks.verdicts import Check


def trajectory_end(b: VelocityField, s: float, t: float, x: Tensor, rtol: float = 1e-11) -> Tensor:
    """The states at `t` of the trajectories through `x` at `s`, by SciPy, all of them as one equation."""

    def slope(time: float, y: np.ndarray) -> np.ndarray:
        return b(min(max(time, 0.0), 1.0), torch.from_numpy(y).reshape(x.shape)).detach().reshape(-1).numpy()

    if s == t:
        return x
    end = solve_ivp(slope, (s, t), x.reshape(-1).numpy(), method="DOP853", rtol=rtol, atol=rtol / 10).y[:, -1]
    return torch.from_numpy(end).reshape(x.shape)


@few
@given(e=examples())
def test_maps_follow_trajectories(case: Case, check: Check, e: Example) -> None:
    batch = min(e.batch, 2)
    x = case.states(batch, e.seed)
    s, t = (torch.as_tensor(q, dtype=x.dtype).expand(e.batch)[:batch] for q in (e.s, e.t))
    ends = zip(s.tolist(), t.tolist(), x.split(1), strict=True)
    truth = torch.cat([trajectory_end(case.b, start, end, row) for start, end, row in ends])
    check.vanishes(case.X(s, t, x) - truth, case.tolerance, scale=1 + truth.abs())


def test_single_precision(case: Case, check: Check) -> None:
    x = case.states(2, 1)
    truth = trajectory_end(case.b, 0.8, 0.1, x, rtol=1e-9)
    check.vanishes(case.X(0.8, 0.1, x.float()) - truth, SINGLE, scale=1 + truth.abs())


@pytest.mark.parametrize(("s", "t"), [(0.1, 0.9), (0.9, 0.2)])
def test_negative_control(case: Case, check: Check, s: float, t: float) -> None:
    x = case.states(2, 2)
    truth = trajectory_end(case.b, s, t, x)
    wrong, half = (Perturbed(case.X, delta)(s, t, x) - truth for delta in (1e-3, 5e-4))
    check.sees(wrong, half, case.tolerance)

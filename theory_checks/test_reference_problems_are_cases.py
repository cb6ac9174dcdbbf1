r"""Every reference problem is a case of the identities, unless its field is not Lipschitz at the data.

`flowops.problems.REFERENCE` is what the checks run over: an entry with a closed-form map is a case under every
schedule, one without is solved. The hypothesis of the identities, $b$ Lipschitz in $x$, fails for data on finitely many
points and for a density with jumps: there $\max|\nabla b_t|$ grows at least like $1/(1-t)$, linear interpolant.

Source: 2505.18825 Prop. 2.2.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from flowops import VelocityField, interpolants, problems
from theory_checks.cases import OWN, ROUGH, data_problems, exact_cases, pure_problems, schedule_cases
from theory_checks.verdicts import Check

I = interpolants.linear()


def test_every_problem_is_a_case() -> None:
    names = [case.name for case in exact_cases(None)]
    assert pure_problems().keys() | data_problems(I).keys() == problems.REFERENCE.keys() | OWN.keys()
    assert set(pure_problems()) <= set(names)
    for name, problem in data_problems(I).items():
        wanted = [f"{name} {schedule}" for schedule in schedule_cases()] if problem.X else [f"{name} solved"]
        assert (name in ROUGH) == (not set(wanted) & set(names)), name
        assert name in ROUGH or set(wanted) <= set(names), name


def test_a_problem_that_is_added_is_a_case(monkeypatch: pytest.MonkeyPatch) -> None:
    added = {
        "turning": lambda _: problems.rotation(3.0),
        "narrow": lambda I: problems.gaussian([0.0, 1.0], 0.1, I),
        "two points, blurred": lambda I: problems.gaussian_mixture(None, [[-1.0], [1.0]], 0.3, I),
    }
    monkeypatch.setattr(problems, "REFERENCE", {**problems.REFERENCE, **added})
    names = {case.name for case in exact_cases(None)}
    assert {"turning", "narrow linear", "narrow encoding_decoding", "two points, blurred solved"} <= names
    assert {"narrow user", "two points, blurred solved"} <= {case.name for case in exact_cases(I)}


def steepest(b: VelocityField, t: float) -> Tensor:
    r"""The largest entry of $\nabla b_t$ along a line through the plane."""
    share = torch.linspace(0, 1, 4000, dtype=torch.float64)[:, None]
    x = torch.lerp(torch.tensor([[-1.9, -1.7]]).double(), torch.tensor([[1.7, 1.6]]).double(), share)
    columns = [b.jvp(t, x, e.expand_as(x)) for e in torch.eye(2, dtype=torch.float64)]
    return torch.stack(columns).detach().abs().max()


@pytest.mark.parametrize("name", sorted(ROUGH))
def test_the_fields_left_out_are_not_lipschitz(check: Check, name: str) -> None:
    slopes = torch.stack([steepest(data_problems(I)[name].b, 1 - gap) for gap in (0.16, 0.08, 0.04)])
    check.at_most(float((slopes[:-1] / slopes[1:]).max()), 0.55, where="halving 1 - t")


@pytest.mark.parametrize("name", ["gaussian", "mixture"])
def test_negative_control(name: str) -> None:
    early, late = (steepest(data_problems(I)[name].b, t) for t in (0.92, 0.98))
    assert late < 1.5 * early

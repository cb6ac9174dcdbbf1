r"""Decomposition: the error of a distilled sampler is that of its teacher, of its own field and of its steps.

$$\hat X_{t_{K-1},t_K}\circ\dots\circ\hat X_{t_0,t_1}-X=\big[\hat X\circ\dots\circ\hat X-\Phi^{\hat v}\big]
  +\big[\Phi^{\hat v}-\Phi^{\hat b}\big]+\big[\Phi^{\hat b}-X\big]$$

with the flows of the map's diagonal $\hat v$ and of the teacher $\hat b$. The contributions
$\mathbb E\langle e_k,e\rangle$ of the parts sum to $\mathbb E|e|^2$, also where each is measured on draws of its own,
within their intervals. Each part vanishes where its cause does, that of the steps at first order in their length.

Hypotheses: fields that are Lipschitz, $\hat X$ with a diagonal.

Source: 2505.18825 E.3 (the triangle), here as an identity.
"""

from __future__ import annotations

import pytest
import torch

from flowops import FlowMap, interpolants, problems
from flowops.certificates import Decomposition, decompose
from theory_checks.cases import draw
from theory_checks.method_families import Family
from theory_checks.verdicts import Check

I = interpolants.linear()
TRUTH = problems.gaussian([1.0, -0.5], [0.5, 0.2], I)
TAUGHT = problems.gaussian([1.1, -0.4], [0.45, 0.25], I)
PARTS = ("teacher", "map", "discretization")


def of(X: FlowMap, teacher: problems.Problem = TAUGHT, n: int = 40, seed: int = 1, steps: int = 2) -> Decomposition:
    x = draw(TRUTH, 0.0, n, seed=seed)
    return decompose(X, teacher.b, TRUTH.b, x, torch.linspace(0, 1, steps + 1).double(), flow=TRUTH.X)


@pytest.fixture(scope="module")
def found() -> Decomposition:
    return of(Family(TAUGHT.X, 2, 0.1))


def test_the_parts_of_every_sample_sum_to_its_error(check: Check, found: Decomposition) -> None:
    parts = [getattr(found, name) for name in PARTS]
    check.vanishes(sum(part.error for part in parts) - found.total.error, 1e-12)
    total = sum(part.contribution.value for part in parts)
    check.vanishes(torch.tensor(total - found.total.size.value**2), 1e-12)


def test_draws_of_their_own_add_up_within_their_intervals() -> None:
    X = Family(TAUGHT.X, 2, 0.1)
    apart = [getattr(of(X, n=400, seed=10 + k), name).contribution for k, name in enumerate(PARTS)]
    whole = of(X, n=400, seed=20).total.contribution
    together = apart[0] + apart[1] + apart[2]
    assert together.low <= whole.high
    assert whole.low <= together.high
    without = apart[1] + apart[2]
    assert without.high < whole.low, "without the teacher they do not"


def test_each_part_vanishes_with_its_cause(check: Check) -> None:
    exact = of(Family(TRUTH.X, 2, 0.1), teacher=TRUTH)
    check.vanishes(exact.teacher.error, 1e-8)
    assert exact.map.size.low > 1e-2
    consistent = of(Family(TAUGHT.X, 2, 0.0))
    check.vanishes(consistent.discretization.error, 1e-8)
    check.vanishes(consistent.map.error, 1e-8)
    assert consistent.teacher.size.low > 1e-2


def test_that_of_the_steps_is_of_first_order_in_their_length(check: Check) -> None:
    X = Family(TAUGHT.X, 2, 0.1)
    counts = torch.tensor([4, 8, 16])
    sizes = torch.tensor([of(X, n=4, steps=int(k)).discretization.size.value for k in counts])
    check.order(sizes, 1 / counts, expected=1.0)

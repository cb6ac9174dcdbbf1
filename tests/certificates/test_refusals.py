"""What the functions beside `certify` refuse, each in one sentence."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from flowops import FlowMap, problems
from flowops.certificates import (
    decompose,
    lagrangian_error,
    progressive_bound,
    self_distillation_bounds,
    wasserstein_bounds,
)

B = problems.logistic(1.5).b
X = FlowMap.from_function(lambda s, t, x: x + (t - s)[:, None] * B(s, x))
STATES = torch.tensor([[0.2], [0.4], [0.7]]).double()


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: lagrangian_error(X, B, 0.0, 1.0, STATES, most=0), "`most` must be a whole number of at least 1"),
        (lambda: lagrangian_error(X, B, 0.0, 1.0, STATES, chunk=0), "`chunk` must be a whole number of at least 1"),
        (lambda: lagrangian_error(X, B, 0.0, 1.0, STATES, tolerance=-1.0), "`tolerance` must be at least 0, got -1"),
        (lambda: progressive_bound(X, B, STATES, []), "`times` must hold at least two times, got 0"),
        (lambda: decompose(X, B, B, STATES, []), "`times` must hold at least two times, got 0"),
        (lambda: progressive_bound(B, B, STATES, [0.0, 1.0], teacher=X), "`X` must be a FlowMap"),  # type: ignore[arg-type]
        (lambda: wasserstein_bounds(X, B, STATES, nodes=1), "`nodes` must be a whole number of at least 2, got 1"),
        (lambda: self_distillation_bounds(X, B, STATES, nodes=0), "`nodes` must be a whole number of at least 1"),
    ],
)
def test_what_does_not_fit_is_refused(call: Callable[[], object], said: str) -> None:
    with pytest.raises((TypeError, ValueError), match=said) as caught:
        call()
    assert str(caught.value).endswith(".")

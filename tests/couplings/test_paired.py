"""Paired data sets: the pairs of a linear flow, alignment under every way to draw, labels passed to the flow."""

from __future__ import annotations

from typing import Any

import pytest
import scipy.linalg
import torch
from scipy import stats
from torch import Tensor

from flowops import FlowMap, problems
from flowops.couplings import Paired
from tests.examples import EVENT_IDS, EVENTS, CubicFlow, mild, normal, over

A = torch.tensor([[0.3, -1.1], [0.8, -0.4]], dtype=torch.float64)


class Growth(FlowMap):
    r"""$X_{s,t}(x;\ell)=e^{\ell(t-s)}x$."""

    def forward(self, s: Tensor, t: Tensor, x: Tensor, *, label: Tensor) -> Tensor:
        return torch.exp(over(label * (t - s), x)) * x


@pytest.mark.parametrize("chunk", [1, 3, 7, 100])
def test_pairs_of_a_linear_flow_are_those_of_the_matrix_exponential(chunk: int) -> None:
    x0 = normal(7, 2)
    pairs = Paired.from_flow(problems.linear(A).X, x0, chunk=chunk)
    torch.testing.assert_close(pairs.x1, x0 @ torch.from_numpy(scipy.linalg.expm(A.numpy())).T)
    assert torch.equal(pairs.x0, x0)
    assert pairs.labels is None
    assert len(pairs) == 7


@pytest.mark.parametrize("event", EVENTS, ids=EVENT_IDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_any_event_and_dtype(event: tuple[int, ...], dtype: torch.dtype) -> None:
    x0 = mild(5, *event, dtype=dtype)
    pairs = Paired.from_flow(CubicFlow(), x0, chunk=2)
    torch.testing.assert_close(pairs.x1, x0 / (1 + 1.5 * x0**2).sqrt())
    assert pairs.x1.dtype == dtype


def test_nothing_is_differentiated() -> None:
    x0 = mild(3, 2).requires_grad_()
    pairs = Paired.from_flow(CubicFlow(), x0)
    assert not pairs.x0.requires_grad
    assert not pairs.x1.requires_grad


def test_labels_reach_the_flow_row_by_row() -> None:
    x0, labels = normal(5, 3), torch.linspace(-1, 1, 5, dtype=torch.float64)
    pairs = Paired.from_flow(Growth(), x0, labels, chunk=2)
    torch.testing.assert_close(pairs.x1, labels.exp()[:, None] * x0)
    assert pairs.labels is labels
    with pytest.raises(TypeError, match="`label` must be a condition that the forward of CubicFlow takes"):
        Paired.from_flow(CubicFlow(), x0, labels)


def test_rows_stay_together() -> None:
    x0 = normal(20, 2)
    pairs = Paired(x0, 2 * x0, torch.arange(20))
    for index in (3, slice(2, 9), torch.tensor([4, 4, 0]), torch.arange(20) > 15):
        drawn = pairs[index]
        assert drawn.labels is not None
        assert torch.equal(drawn.x0, x0[index])
        assert torch.equal(drawn.x1, 2 * x0[index])
        assert torch.equal(x0[drawn.labels], drawn.x0)
    assert Paired(x0, x0)[3].labels is None


def test_draws_are_uniform_over_the_rows_and_fixed_by_the_seed() -> None:
    x0 = normal(6, 2)
    pairs = Paired(x0, 2 * x0, torch.arange(6))
    drawn = pairs.sample(12_000, generator=torch.Generator().manual_seed(0))
    again = pairs.sample(12_000, generator=torch.Generator().manual_seed(0))
    assert drawn.labels is not None
    assert torch.equal(drawn.x1, 2 * drawn.x0)
    assert torch.equal(drawn.x0, again.x0)
    assert torch.equal(x0[drawn.labels], drawn.x0)
    assert stats.chisquare(drawn.labels.bincount().numpy()).pvalue > 1e-6


def test_it_says_what_it_holds() -> None:
    assert repr(Paired(normal(3, 2), normal(3, 2))) == "Paired(3 pairs of event [2], torch.float64)"
    assert repr(Paired(normal(3), normal(3), torch.arange(3))) == "Paired(3 pairs of event [], torch.float64, labelled)"


@pytest.mark.parametrize(
    ("act", "error", "sentence"),
    [
        (lambda: Paired(normal(3, 2), normal(4, 2)), ValueError, r"`x1` must have the shape of `x0`, \[3, 2\]"),
        (
            lambda: Paired(normal(3), normal(3), torch.arange(2)),
            ValueError,
            "`labels` must hold one entry per sample, 3",
        ),
        (lambda: Paired(normal(3), normal(3)).sample(0), ValueError, "`n` must be a positive number of draws"),
        (lambda: Paired(normal(0, 2), normal(0, 2)).sample(1), ValueError, "from a set that is not empty, got 1 of"),
        (lambda: Paired.from_flow(CubicFlow(), mild(3), chunk=0), ValueError, "`chunk` must be a number of rows"),
        (lambda: Paired.from_flow(CubicFlow(), mild(3), torch.arange(2)), ValueError, "`labels` must hold one entry"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_wrong_arguments_are_refused(act: Any, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        act()

"""Many end times at once: what `FlowMap.path` returns, and what it costs a `SolutionOperator`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import vmap
from torch.testing import assert_close

from flowops import FlowMap, LearnedMap, SolutionOperator, VelocityField, reschedule
from flowops.interpolants import linear, trigonometric
from tests.examples import EVENT_IDS, EVENTS, Coupled, Cubic, CubicFlow, Labelled, TwoTimeNetwork, mild, normal, uniform

# The shape checks take three times as long as these solves; the solves of the other files run under them.
pytestmark = pytest.mark.usefixtures("unchecked")

TIMES: dict[str, list[float]] = {
    "ahead": [0.5, 0.7, 1.0],
    "behind": [0.3, 0.1, 0.0],
    "on both sides, in no order": [0.9, 0.1, 0.45, 0.0, 0.6],
    "twice and at the start": [0.8, 0.4, 0.8, 0.2, 0.4],
    "one": [0.7],
}
MAPS: dict[str, Callable[[tuple[int, ...]], FlowMap]] = {
    "a closed form": lambda _: CubicFlow(),
    "a learned map": lambda event: LearnedMap(TwoTimeNetwork(event)),
    "a rescheduled map": lambda event: reschedule(LearnedMap(TwoTimeNetwork(event)), linear(), trigonometric()),
    "an adaptive solve": lambda event: SolutionOperator(Coupled(event)),
    "fixed steps": lambda event: SolutionOperator(Coupled(event), method="rk4", steps=6),
}
maps = pytest.mark.parametrize("make", MAPS.values(), ids=list(MAPS))


def tolerance(X: FlowMap) -> dict[str, Any]:
    """The states of an adaptive solve on the way are right to its tolerance, all others are those of a call."""
    loose = isinstance(X, SolutionOperator) and not X.solver.fixed
    return {"rtol": 1e-7, "atol": 1e-7} if loose else {"rtol": 1e-12, "atol": 1e-12}


class Counted(VelocityField):
    """A field that counts its calls, and those of its parts of a batch."""

    def __init__(self, b: VelocityField) -> None:
        super().__init__()
        self.b = b
        self.seen: list[int] = []  # one for all parts

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        self.seen.append(len(x))
        return self.b(t, x)

    def calls(self) -> int:
        """How many since the last question."""
        count = len(self.seen)
        self.seen.clear()
        return count


@maps
@pytest.mark.parametrize("event", EVENTS, ids=EVENT_IDS)
@pytest.mark.parametrize("times", TIMES.values(), ids=list(TIMES))
def test_every_state_is_that_of_a_call(make: Any, event: tuple[int, ...], times: list[float]) -> None:
    X, x = make(event), mild(3, *event)
    path = X.path(0.4, times, x)
    assert path.shape == (len(times), 3, *event)
    for state, t in zip(path, times, strict=True):
        assert_close(state, X(0.4, t, x), **tolerance(X))


@maps
def test_times_may_be_numbers_and_tensors_of_one_or_of_every_sample(make: Any) -> None:
    X, x, s = make((3,)), mild(4, 3), uniform(4)
    each = uniform(5, 4, seed=1)
    path = X.path(s, each, x)
    for i in range(4):
        row = slice(i, i + 1)
        assert_close(path[:, row], X.path(s[i].item(), each[:, i].tolist(), x[row]), **tolerance(X))
    grids: list[Any] = [
        [0.2, 0.9],
        (0.2, 0.9),
        torch.tensor([0.2, 0.9], dtype=torch.float64),
        [torch.tensor(0.2, dtype=torch.float64), 0.9],
    ]
    for grid in grids:
        assert_close(X.path(torch.tensor(0.5).double(), grid, x), X.path(0.5, [0.2, 0.9], x), rtol=1e-13, atol=1e-13)
    assert_close(X.path(0.5, [each[0], 0.9], x)[0], X(0.5, each[0], x), **tolerance(X))


@maps
@pytest.mark.parametrize("recording", [False, True])
def test_a_sample_may_rest_on_one_side_while_others_move(make: Any, recording: bool) -> None:
    X, x, s = make((3,)), mild(3, 3), torch.tensor([0.2, 0.5, 0.9]).double()
    times = torch.tensor([[0.7, 0.5, 0.1], [0.0, 1.0, 0.9]]).double()
    with torch.set_grad_enabled(recording):
        path = X.path(s, times, x)
    assert_close(path[0, 1], x[1])
    assert_close(path[1, 2], x[2])
    for state, t in zip(path, times, strict=True):
        assert_close(state, X(s, t, x), **tolerance(X))


@maps
@pytest.mark.parametrize("batch", [0, 1])
def test_small_batches(make: Any, batch: int) -> None:
    X, x = make((3,)), mild(batch, 3)
    assert_close(X.path(0.5, [1.0, 0.0, 0.5], x)[2], x)
    assert X.path(0.5, [1.0, 0.0, 0.5], x).shape == (3, batch, 3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_dtype_is_that_of_the_state(dtype: torch.dtype) -> None:
    x = mild(3, 2, dtype=dtype)
    for X in (CubicFlow(), SolutionOperator(Cubic())):
        grids: list[Any] = [[0.9, 0.1], torch.tensor([0.9, 0.1]).double(), [0.9, uniform(3)]]
        for times in grids:
            assert X.path(0.5, times, x).dtype == dtype


def test_a_path_is_no_composition() -> None:
    X, x = LearnedMap(TwoTimeNetwork((3,))), normal(4, 3)
    path, composed = X.path(0.0, [0.5, 1.0], x), X.compose([0.0, 0.5, 1.0], x, trajectory=True)[1:]
    assert_close(path[0], composed[0])
    assert (path[1] - composed[1]).abs().max() > 1e-3  # a learned map is no semigroup


def test_conditions_belong_to_their_samples() -> None:
    x, labels = normal(4, 3), normal(4, seed=1)
    for X in (SolutionOperator(Labelled(), chunk=2), LearnedMap(TwoTimeNetwork((3,)))):
        path = X.given(label=labels).path(0.5, [0.1, 1.0], x)
        for i in range(4):
            row = slice(i, i + 1)
            assert_close(path[:, row], X.given(label=labels[row]).path(0.5, [0.1, 1.0], x[row]), **tolerance(X))


def test_conditions_of_another_batch_are_refused() -> None:
    for X in (SolutionOperator(Labelled()), LearnedMap(TwoTimeNetwork((3,)))):
        with pytest.raises(ValueError, match="`label` must be a scalar or hold one entry per sample, 2, got"):
            X.given(label=normal(5)).path(0.5, [0.1, 1.0], normal(2, 3))


class TestSolved:
    """One adaptive solve on either side of the start."""

    TIMES = torch.linspace(0, 1, 40, dtype=torch.float64)[
        torch.randperm(40, generator=torch.Generator().manual_seed(0))
    ]

    @pytest.mark.parametrize("solver", [{}, {"method": "dopri5"}, {"rtol": 1e-5, "atol": 1e-5}], ids=str)
    def test_its_cost_hardly_depends_on_the_number_of_times(self, solver: dict[str, Any]) -> None:
        b, x = Counted(Coupled((3,)).requires_grad_(False)), normal(5, 3)
        X, calls = SolutionOperator(b, **solver), list[int]()
        grids: list[Any] = [[1.0], self.TIMES, torch.linspace(0, 1, 200, dtype=torch.float64)]
        for times in grids:
            X.path(0.0, times, x)
            calls.append(b.calls())
        X(0.0, 1.0, x)
        once = b.calls()
        FlowMap.path(X, 0.0, self.TIMES, x)
        assert once < calls[0] <= calls[1] <= calls[2] < 2 * once + 30
        assert calls[1] < b.calls() / 5

    def test_its_order_does_not_matter(self) -> None:
        b, x = Counted(Coupled((3,)).requires_grad_(False)), normal(5, 3)
        X, ordered = SolutionOperator(b), self.TIMES.sort()
        path = X.path(0.5, self.TIMES, x)
        calls = b.calls()
        assert_close(path[ordered.indices], X.path(0.5, ordered.values, x), rtol=1e-12, atol=1e-12)
        assert calls == b.calls() > 0

    @pytest.mark.parametrize("method", ["dopri8", "dopri5", "bosh3", "adaptive_heun"])
    def test_between_steps_it_is_as_exact_as_at_their_ends(self, method: str) -> None:
        x = mild(3, 2)
        X = SolutionOperator(Cubic(), method=method, rtol=1e-6, atol=1e-6)
        exact = torch.stack([CubicFlow()(0.5, t, x) for t in self.TIMES])
        assert (X.path(0.5, self.TIMES, x) - exact).abs().max() < 1e-5

    @pytest.mark.parametrize("chunk", [1, 3, 100])
    def test_chunks_change_nothing_beyond_the_tolerance(self, chunk: int) -> None:
        s, times, x = uniform(7), uniform(6, 7, seed=1), mild(7, 2)
        exact = torch.stack([CubicFlow()(s, t, x) for t in times])
        assert_close(SolutionOperator(Cubic(), chunk=chunk).path(s, times, x), exact, rtol=1e-7, atol=1e-7)

    def test_a_way_back_magnifies_no_error(self) -> None:
        b = VelocityField.from_function(lambda _, x: -25 * x)
        x = mild(3, 2)
        times = [1.0, 0.05, 0.9, 0.1]
        exact = torch.stack([torch.exp(torch.tensor(-25 * t).double()) * x for t in times])
        X = SolutionOperator(b)
        assert_close(X.path(0.0, times, x), exact, rtol=1e-7, atol=1e-8)
        there_and_back = X.compose([0.0, *times], x, trajectory=True)[1:]
        assert (there_and_back - exact).abs().max() > 1e-4

    def test_an_interval_of_no_length_returns_the_state(self) -> None:
        x = normal(3, 2)
        singular = VelocityField.from_function(lambda t, x: x / (t - 0.5)[:, None])
        assert torch.equal(SolutionOperator(singular).path(0.5, [0.5, 0.5], x), torch.stack([x, x]))

    @pytest.mark.parametrize("adjoint", [False, True])
    @pytest.mark.parametrize("X", [CubicFlow(), None], ids=["closed form", "solved"])
    def test_gradients_agree_with_the_closed_form(self, X: FlowMap | None, adjoint: bool) -> None:
        X = SolutionOperator(Cubic(), adjoint=adjoint) if X is None else X
        s, x = uniform(4).requires_grad_(), mild(4, 2).requires_grad_()
        times = torch.cat([uniform(3, 4, seed=1), s.detach()[None]]).requires_grad_()  # the last ones are the start
        w = normal(4, 4, 2, seed=2)
        found = torch.autograd.grad((w * X.path(s, times, x)).sum(), [s, times, x])
        alone = torch.stack([CubicFlow()(s, t, x) for t in times])
        for gradient, expected in zip(found, torch.autograd.grad((w * alone).sum(), [s, times, x]), strict=True):
            assert_close(gradient, expected, rtol=1e-6, atol=1e-6)

    @pytest.mark.parametrize("adjoint", [False, True])
    def test_gradients_reach_the_parameters_of_the_field(self, adjoint: bool) -> None:
        b, x = Coupled((2,)), normal(3, 2)
        X, times = SolutionOperator(b, adjoint=adjoint), [0.9, 0.2, 0.6]
        (found,) = torch.autograd.grad(X.path(0.5, times, x).square().sum(), b.weight)
        (expected,) = torch.autograd.grad(torch.stack([X(0.5, t, x) for t in times]).square().sum(), b.weight)
        assert expected.abs().max() > 0.1
        assert_close(found, expected, rtol=1e-6, atol=1e-6)

    def test_fixed_steps_work_inside_vmap(self) -> None:
        X, x = SolutionOperator(Coupled((2,)), method="rk4", steps=4), normal(5, 2)
        together = X.path(0.5, [0.9, 0.1], x)
        assert_close(vmap(lambda y: X.path(0.5, [0.9, 0.1], y[None])[:, 0], out_dims=1)(x), together)

    def test_forward_mode_through_an_adaptive_one_is_that_of_the_closed_form(self) -> None:
        x, s, times = mild(3, 2), uniform(3), uniform(2, 3, seed=1)
        operands = (s, times, x)
        found, expected = (
            torch.func.jvp(X.path, operands, tuple(map(torch.ones_like, operands)))
            for X in (SolutionOperator(Cubic()), CubicFlow())
        )
        for value, exact in zip(found, expected, strict=True):
            assert_close(value, exact, rtol=1e-7, atol=1e-7)

    def test_an_adaptive_one_inside_vmap_is_refused(self) -> None:
        X, x = SolutionOperator(Cubic()), mild(3, 2)
        with pytest.raises(RuntimeError, match="works in no `vmap`; make the axis a part of the batch"):
            vmap(lambda y: X.path(0.5, [0.1, 0.9], y[None]))(x)


@pytest.mark.parametrize("X", [CubicFlow(), SolutionOperator(Cubic())], ids=["generic", "solved"])
@pytest.mark.parametrize(
    ("s", "times", "error", "sentence"),
    [
        (0.0, [], ValueError, "`times` must hold at least one time, got none"),
        (0.0, 0.5, ValueError, "`times` must be a grid of times, got the single time 0.5"),
        (0.0, torch.zeros(4, 3).double(), ValueError, "must be a scalar or have shape [batch] = [2], got [3]"),
        (torch.zeros(3).double(), [0.5], ValueError, "`s` must be a scalar or have shape [batch] = [2], got [3]"),
        (0.0, torch.zeros(4), TypeError, "must be at least as precise as the state"),
        (0.0, [0.5, float("nan")], ValueError, "must be finite, got nan"),
    ],
)
def test_what_is_no_grid_is_refused(X: FlowMap, s: Any, times: Any, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=re.escape(sentence)):
        X.path(s, times, mild(2, 2))

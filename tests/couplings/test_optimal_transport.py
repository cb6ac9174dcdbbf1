"""Minibatch transport: brute force, sorted pairings, entropic plans in closed form, and what labels make of it."""

from __future__ import annotations

import itertools
import sys
import warnings
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from flowops.couplings import COUPLINGS, Coupling, Independent, OptimalTransport, Sinkhorn
from flowops.couplings.coupling import transport_cost
from tests.examples import EVENT_IDS, EVENTS, normal, uniform

RATE = 1e-6  # of a false alarm, at a fixed seed


def total_cost(x0: Tensor, x1: Tensor) -> float:
    return float((x0 - x1).square().sum())


@pytest.mark.parametrize("event", EVENTS, ids=EVENT_IDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_exact_transport_is_the_best_of_all_permutations(event: tuple[int, ...], dtype: torch.dtype) -> None:
    for seed in range(5):
        x0, x1 = normal(5, *event, seed=seed).to(dtype), 2 * normal(5, *event, seed=seed + 50).to(dtype) + 1
        coupled = OptimalTransport()(x0, x1)
        assert coupled.x0 is x0
        assert coupled.x1.dtype == dtype
        assert coupled.x1.shape == x1.shape
        best = min(total_cost(x0.double(), x1.double()[list(p)]) for p in itertools.permutations(range(5)))
        assert total_cost(x0.double(), coupled.x1.double()) == pytest.approx(best, rel=1e-6)


@pytest.mark.parametrize("coupling", [OptimalTransport(), Sinkhorn(1e-3, 20_000), Independent()], ids=repr)
def test_labels_travel_with_the_data(coupling: Any, generator: torch.Generator) -> None:
    x0, x1 = normal(30, 2, 2, seed=0), normal(30, 2, 2, seed=1)
    for labels in (torch.arange(30), x1.flatten(1)):
        coupled = coupling(x0, x1, labels, generator=generator)
        rows = [int((x1 == row).flatten(1).all(1).nonzero()) for row in coupled.x1]
        assert torch.equal(coupled.labels, labels[rows])
        assert torch.equal(coupled.x0, x0)


def test_on_the_line_transport_is_sorted() -> None:
    x0, x1 = normal(200), uniform(200, seed=1) ** 3
    coupled = OptimalTransport()(x0, x1)
    assert torch.equal(coupled.x1[x0.argsort()], x1.sort().values)


def test_a_common_offset_costs_no_digits_in_float32() -> None:
    x0, x1 = normal(40, 2, seed=0).float(), normal(40, 2, seed=1).float()
    moved = OptimalTransport()(x0 + 4096, x1 + 4096)
    exact = OptimalTransport()((x0 + 4096).double(), (x1 + 4096).double())
    assert torch.equal(moved.x1.double(), exact.x1)


def test_a_batch_of_one_and_equal_samples() -> None:
    x = normal(1, 3)
    for coupling in (OptimalTransport(), Sinkhorn(), Independent()):
        assert torch.equal(coupling(x, x + 1).x1, x + 1)
        assert coupling(torch.ones(4, 2), torch.ones(4, 2)).x1.shape == (4, 2)


def test_independent_samples_are_left_as_they_are() -> None:
    x0, x1, labels = normal(4, 2), normal(4, 2, seed=1), torch.arange(4)
    coupled = Independent()(x0, x1, labels)
    assert coupled.x0 is x0
    assert coupled.x1 is x1
    assert coupled.labels is labels


def test_no_gradient_flows_through_the_choice() -> None:
    x0, x1 = normal(6, 2).requires_grad_(), normal(6, 2, seed=1).requires_grad_()
    coupled = OptimalTransport()(x0, x1)
    (coupled.x1 - coupled.x0).square().sum().backward()
    assert x0.grad is not None
    torch.testing.assert_close(x0.grad, 2 * (x0 - coupled.x1).detach())


class TestBlocks:
    """Rows divided at random into blocks, and assigned within each."""

    N = 60
    X0, X1 = normal(N, 2), 2 * normal(N, 2, seed=1) + 1

    def rows(self, block: int | None, seed: int = 0) -> Tensor:
        labels = OptimalTransport(block=block)(
            self.X0, self.X1, torch.arange(self.N), generator=torch.Generator().manual_seed(seed)
        ).labels
        assert labels is not None
        return labels

    @pytest.mark.parametrize("block", [60, 61, 10_000])
    def test_a_block_of_the_batch_is_the_whole(self, block: int) -> None:
        assert torch.equal(self.rows(block), self.rows(None))

    def test_a_block_of_one_row_exchanges_nothing(self) -> None:
        assert torch.equal(self.rows(1), torch.arange(self.N))

    @pytest.mark.parametrize("block", [2, 7, 20, 59])
    def test_every_row_is_used_once_and_only_rows_of_one_block_are_exchanged(self, block: int) -> None:
        rows = self.rows(block)
        assert torch.equal(rows.sort().values, torch.arange(self.N))
        parts = torch.randperm(self.N, generator=torch.Generator().manual_seed(0)).split(block)
        for part in parts:
            assert sorted(rows[part].tolist()) == sorted(part.tolist())
            alone = OptimalTransport()(self.X0[part], self.X1[part], part)
            assert torch.equal(alone.labels, rows[part])  # type: ignore[arg-type]
        assert not torch.equal(rows, torch.arange(self.N))

    def test_larger_blocks_come_closer_to_the_best(self) -> None:
        costs = [
            sum(total_cost(self.X0, self.X1[self.rows(block, seed)]) for seed in range(20)) / 20
            for block in (1, 3, 12, 60)
        ]
        assert costs == sorted(costs, reverse=True)
        assert costs[-1] < costs[-2] < costs[0]

    def test_blocks_follow_the_generator(self) -> None:
        assert torch.equal(self.rows(7, seed=1), self.rows(7, seed=1))
        assert not torch.equal(self.rows(7, seed=1), self.rows(7, seed=2))

    def test_conditions_stay_with_their_rows(self) -> None:
        labels = torch.arange(self.N) % 3
        coupled = OptimalTransport(1e6, block=20)(
            self.X0, self.X1, labels, labels0=labels, generator=torch.Generator().manual_seed(0)
        )
        assert torch.equal(coupled.labels, labels)  # type: ignore[arg-type]
        assert not torch.equal(coupled.x1, self.X1)


class TestPOT:
    """The solver of POT, replaced by a stub where it is not installed."""

    def solve(self, monkeypatch: pytest.MonkeyPatch, plan: Any) -> tuple[Tensor, Tensor]:
        module = ModuleType("ot")
        module.emd = plan  # type: ignore[attr-defined]
        module.__spec__ = torch.__spec__
        monkeypatch.setitem(sys.modules, "ot", module)
        x0, x1 = normal(256), normal(256, seed=1)
        return x0, OptimalTransport()(x0, x1).x1

    def test_its_plan_is_used(self, monkeypatch: pytest.MonkeyPatch) -> None:
        x0, x1 = self.solve(monkeypatch, lambda a, *_, **__: np.eye(len(a))[::-1] * a[:, None])
        assert torch.equal(x1, normal(256, seed=1).flip(0))

    def test_a_plan_that_is_no_permutation_is_not(self, monkeypatch: pytest.MonkeyPatch) -> None:
        x0, x1 = self.solve(monkeypatch, lambda a, b, *_, **__: a[:, None] * b)
        assert torch.equal(x1[x0.argsort()], x1.sort().values)

    def test_what_it_warns_of_is_checked_and_not_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def stopped(a: Any, b: Any, *_: Any, **__: Any) -> Any:
            warnings.warn("numItermax reached before optimality", stacklevel=2)
            return a[:, None] * b

        x0, x1 = self.solve(monkeypatch, stopped)
        assert torch.equal(x1[x0.argsort()], x1.sort().values)

    def test_the_real_one_agrees_with_scipy(self) -> None:
        pytest.importorskip("ot", reason="POT is not installed")
        x0, x1 = normal(300), normal(300, seed=1)
        coupled = OptimalTransport()(x0, x1)
        assert torch.equal(coupled.x1[x0.argsort()], x1.sort().values)


def test_the_entropic_plan_of_two_points_in_closed_form() -> None:
    cost = torch.tensor([[1.0, 3.0], [2.0, 0.5]], dtype=torch.float64)
    for epsilon in (0.2, 1.0, 5.0):
        plan = Sinkhorn(epsilon, tolerance=1e-10).conditional_plan(cost)
        # equal marginals leave one unknown: log(p / (1 - p)) = -(C11 + C22 - C12 - C21) / (2 epsilon mean C)
        p = torch.sigmoid(torch.tensor(3.5 / (2 * epsilon * 1.625), dtype=torch.float64))
        expected = torch.stack([torch.stack([p, 1 - p]), torch.stack([1 - p, p])])
        torch.testing.assert_close(plan, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("epsilon", [0.02, 0.2, 10.0])
def test_the_marginals_of_the_plan(epsilon: float, dtype: torch.dtype) -> None:
    x0, x1 = normal(50, 2, dtype=dtype), 3 * normal(50, 2, seed=1, dtype=dtype)
    plan = Sinkhorn(epsilon, tolerance=1e-4).conditional_plan(transport_cost(x0, x1, None, None, 0.0))
    assert plan.dtype == dtype
    torch.testing.assert_close(plan.sum(1), torch.ones(50, dtype=dtype))
    assert 0.5 * (plan.sum(0) - 1).abs().mean() <= 1.1e-4


def test_little_entropy_is_optimal_transport(generator: torch.Generator) -> None:
    x0, x1 = normal(12, 2), normal(12, 2, seed=1) + 1
    exact = OptimalTransport()(x0, x1).x1
    coupled = Sinkhorn(2e-4, 50_000)(x0, x1, generator=generator)
    assert torch.equal(coupled.x1, exact)


def test_much_entropy_is_the_independent_coupling(generator: torch.Generator) -> None:
    x0, x1 = normal(4, 2), normal(4, 2, seed=1) + 1
    coupling, rows = Sinkhorn(1e6), torch.arange(4)
    drawn = torch.stack([coupling(x0, x1, rows, generator=generator).labels for _ in range(3000)])  # type: ignore[misc]
    cells = (drawn + 4 * rows).flatten().bincount(minlength=16)
    assert stats.chisquare(cells.numpy()).pvalue > RATE


def test_partners_are_drawn_from_the_plan(generator: torch.Generator) -> None:
    x0, x1 = normal(3, 2), normal(3, 2, seed=1)
    coupling, rows = Sinkhorn(0.5), torch.arange(3)
    plan = coupling.conditional_plan(transport_cost(x0, x1, None, None, 0.0))
    drawn = torch.stack([coupling(x0, x1, rows, generator=generator).labels for _ in range(3000)])  # type: ignore[misc]
    for row in range(3):
        counts = drawn[:, row].bincount(minlength=3).numpy()
        assert stats.chisquare(counts, 3000 * plan[row].numpy()).pvalue > RATE / 3


def test_a_plan_that_has_not_converged_says_so() -> None:
    with pytest.warns(
        UserWarning, match="column sums are off by .* after 2 iterations.* raise `epsilon` or `iterations`"
    ) as told:
        Sinkhorn(1e-3, iterations=2)(normal(20, 2), normal(20, 2, seed=1) + 2)
    assert told[0].filename == __file__  # it points to the line that asked for the plan


def test_how_far_a_plan_is_off_is_the_total_variation_of_its_columns() -> None:
    cost = transport_cost(normal(20, 2), normal(20, 2, seed=1) + 2, None, None, 0.0)
    with pytest.warns(UserWarning, match="column sums") as told:
        plan = Sinkhorn(1e-2, iterations=2).conditional_plan(cost)
    off = (plan.mean(0) - 1 / 20).clamp_min(0).sum().item()  # the largest difference of the laws on a set of columns
    assert f"off by {off:.2g} after" in str(told[0].message)


def test_plain_transport_makes_the_base_depend_on_the_label_and_the_condition_aware_cost_does_not() -> None:
    n = 1000
    x0, labels = normal(n), torch.arange(n) % 2
    x1 = 6.0 * labels - 3 + 0.1 * normal(n, seed=1)
    plain = OptimalTransport()(x0, x1, labels)
    assert plain.labels is not None
    # the upper half of a normal has mean sqrt(2 / pi) and variance 1 - 2 / pi
    upper = plain.x0[plain.labels == 1].mean().item()
    assert upper == pytest.approx((2 / torch.pi) ** 0.5, abs=5 * (0.37 / 500) ** 0.5)
    aware = OptimalTransport(condition_weight=1e6)(x0, x1, labels, labels0=labels)
    assert aware.labels is not None
    assert torch.equal(aware.labels, labels)
    assert not torch.equal(aware.x1, x1)
    for label in (0, 1):
        mine = labels == label  # inside a label, transport is still optimal
        assert torch.equal(aware.x1[mine][x0[mine].argsort()], x1[mine].sort().values)
        assert stats.kstest(x0[mine].numpy(), stats.norm().cdf).pvalue > RATE


def test_the_condition_aware_cost_by_hand() -> None:
    x0, x1 = torch.tensor([[0.0], [1.0]]), torch.tensor([[2.0], [0.0]])
    cost = transport_cost(x0, x1, torch.tensor([7, 8]), torch.tensor([8, 8]), 10.0)
    torch.testing.assert_close(cost, torch.tensor([[14.0, 0.0], [11.0, 1.0]]))
    cost = transport_cost(x0, x1, torch.tensor([[0.0, 1.0], [0.0, 0.0]]), torch.tensor([[2.0, 0.0], [0.0, 0.0]]), 0.5)
    torch.testing.assert_close(cost, torch.tensor([[4 + 2.5, 0 + 2.0], [1 + 0.5, 1.0]]))
    cost = transport_cost(x0, x1, torch.tensor([[1, 1], [1, 2]]), torch.tensor([[1, 2], [1, 2]]), 3.0)
    torch.testing.assert_close(cost, torch.tensor([[7.0, 0.0], [4.0, 1.0]]))


def test_conditions_of_entropic_plans(generator: torch.Generator) -> None:
    x0, x1, labels = normal(40, 2), normal(40, 2, seed=1), torch.arange(40) % 4
    coupled = Sinkhorn(1e-2, condition_weight=1e3)(x0, x1, labels, labels0=labels, generator=generator)
    assert coupled.labels is not None
    assert torch.equal(coupled.labels, labels)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "sentence"),
    [
        (
            (torch.ones(3, 2), torch.ones(4, 2)),
            {},
            ValueError,
            r"`x1` must have the shape of `x0`, \[3, 2\], got \[4, 2\]",
        ),
        ((torch.ones(3), torch.ones(3).double()), {}, TypeError, "`x1` must have the dtype of `x0`"),
        (
            (torch.ones(3), torch.ones(3), torch.ones(4)),
            {},
            ValueError,
            "`labels` must hold one entry per sample, 3, got",
        ),
        ((torch.ones(3), torch.ones(3), [1, 2, 3]), {}, TypeError, "`labels` must be a tensor .* got list"),
        (
            (torch.ones(3), torch.ones(3), torch.ones(3)),
            {"labels0": torch.ones(3, dtype=torch.int64)},
            ValueError,
            "`labels0` must have the shape and dtype of `labels`",
        ),
        (
            (torch.ones(3), torch.tensor([1.0, 2.0, torch.nan])),
            {},
            ValueError,
            "must be finite to be coupled by transport",
        ),
    ],
)
@pytest.mark.parametrize("coupling", [OptimalTransport(), Sinkhorn()], ids=repr)
@pytest.mark.usefixtures("unchecked")
def test_wrong_arguments_are_refused(
    coupling: Any, arguments: Any, options: Any, error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        coupling(*arguments, **options)


@pytest.mark.parametrize("labels", [None, torch.ones(3)])
def test_a_condition_weight_needs_conditions_on_both_sides(labels: Tensor | None) -> None:
    missing = "labels" if labels is None else "labels0"
    for coupling in (OptimalTransport(1.0), Sinkhorn(condition_weight=1.0)):
        with pytest.raises(ValueError, match=f"`{missing}` must be given, since condition_weight = 1.0 compares"):
            coupling(torch.ones(3), torch.ones(3), labels)


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: OptimalTransport(-1.0), "`condition_weight` must not be negative, got -1.0"),
        (lambda: OptimalTransport(block=0), "`block` must be a whole number of at least 1, got 0"),
        (lambda: Sinkhorn(0.0), "`epsilon` must be positive, got 0.0"),
        (lambda: Sinkhorn(tolerance=-1.0), "`tolerance` must be positive"),
        (lambda: Sinkhorn(iterations=0), "`iterations` must be a whole number of at least 1, got 0"),
        (lambda: Sinkhorn(condition_weight=float("inf")), "`condition_weight` must be finite"),
    ],
)
def test_wrong_parameters_are_refused(build: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        build()


def test_couplings_by_name() -> None:
    assert COUPLINGS.make("independent") == Independent()
    assert COUPLINGS.make("optimal-transport", options={"block": 16}) == OptimalTransport(block=16)
    assert COUPLINGS.make("sinkhorn", options={"epsilon": 0.5, "iterations": 7}) == Sinkhorn(0.5, 7)
    own: Coupling = Sinkhorn(0.3)
    assert COUPLINGS.make(own) is own
    assert COUPLINGS.make("flowops.couplings.optimal_transport:Sinkhorn") == Sinkhorn()
    with pytest.raises(ValueError, match="`coupling` must be one of .*, got 'sinkhron'; did you mean 'sinkhorn'"):
        COUPLINGS.make("sinkhron")
    with pytest.raises(TypeError, match="`coupling` must name a function that returns Coupling, .* returned list"):
        COUPLINGS.make("builtins:list")

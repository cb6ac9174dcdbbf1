"""What moves the weights: optimizers, what muon does with which parameters, and learning rates by the step."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import nn

from flowops.networks import MLP, UNet
from flowops.runs import OptimizerConfig
from flowops.training.optimization import (
    Kind,
    MuonAndAdam,
    optimizer_of,
    rate_factor,
    restore,
    set_rates,
    update,
)

KINDS: tuple[Kind, ...] = ("constant", "inverse-sqrt", "cosine", "linear")


def factors(kind: Kind, steps: int = 100, **options: Any) -> list[float]:
    """The factor of every step."""
    return [rate_factor(k, kind=kind, steps=steps, **options) for k in range(steps)]


class TestRates:
    @pytest.mark.parametrize("kind", KINDS)
    def test_the_warm_up_rises_by_equal_amounts_to_one(self, kind: Kind) -> None:
        assert factors(kind, warmup=10)[:10] == pytest.approx([0.1 * k for k in range(1, 11)])
        assert factors(kind)[0] == 1.0

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_rate_is_positive_and_never_rises_after_the_warm_up(self, kind: Kind) -> None:
        values = factors(kind, warmup=7, decay_start=20)
        assert min(values) > 0
        assert all(b <= a for a, b in zip(values[7:-1], values[8:], strict=True))

    def test_the_inverse_square_root_halves_after_four_times_the_start(self) -> None:
        values = factors("inverse-sqrt", steps=1000, decay_start=100)
        assert values[:101] == [1.0] * 101
        assert values[400] == pytest.approx(1 / 2)
        assert values[900] == pytest.approx(1 / 3)

    def test_halfway_cosine_and_linear_are_half(self) -> None:
        for kind in ("cosine", "linear"):
            assert rate_factor(60, kind=kind, warmup=20, steps=100) == pytest.approx(0.5)
        assert rate_factor(40, kind="linear", warmup=20, steps=100) == pytest.approx(0.75)
        assert rate_factor(40, kind="cosine", warmup=20, steps=100) == pytest.approx((2 + math.sqrt(2)) / 4)

    @pytest.mark.parametrize("kind", ["constant", "inverse-sqrt"])
    def test_kinds_without_an_end_have_a_rate_at_any_step(self, kind: Kind) -> None:
        assert rate_factor(10**6, kind=kind, decay_start=10**4, steps=10) in (1.0, pytest.approx(0.1))

    @pytest.mark.parametrize(("kind", "half"), [("linear", 0.5), ("cosine", 0.5)])
    def test_a_run_that_ends_by_the_clock_falls_with_its_time(self, kind: Kind, half: float) -> None:
        assert rate_factor(10**6, kind=kind, done=0.5) == pytest.approx(half)
        assert rate_factor(10**6, kind=kind, done=1.2) == pytest.approx(0.0, abs=1e-12)
        assert rate_factor(5, kind=kind, warmup=10, done=0.5) == pytest.approx(0.6 * half)
        # of a run with both ends the one that is nearer decides
        assert rate_factor(50, kind=kind, steps=100, done=0.1) == rate_factor(50, kind=kind, steps=100)
        assert rate_factor(10, kind=kind, steps=100, done=0.5) == pytest.approx(half)

    @pytest.mark.parametrize("kind", ["constant", "inverse-sqrt"])
    def test_other_rates_do_not_know_the_clock(self, kind: Kind) -> None:
        assert rate_factor(7, kind=kind, done=0.9) == rate_factor(7, kind=kind) == 1.0

    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            ({"kind": "step"}, "`kind` must be one of constant, inverse-sqrt, cosine, linear, got 'step'"),
            ({"step": -1}, "`step` must be a whole number of at least 0, got -1"),
            ({"warmup": -1}, "`warmup` must be a whole number of at least 0, got -1"),
            ({"decay_start": 0}, "`decay_start` must be a whole number of at least 1, got 0"),
            (
                {"step": 10, "kind": "cosine"},
                "`step` and `warmup` must be below `steps` = 10 for a cosine rate, got 10 and 0",
            ),
            ({"warmup": 10, "kind": "linear"}, "must be below `steps` = 10 for a linear rate, got 0 and 10"),
            ({"kind": "linear", "done": math.nan}, "`done` must be finite"),
        ],
    )
    @pytest.mark.usefixtures("unchecked")
    def test_wrong_arguments_are_refused(self, options: Any, sentence: str) -> None:
        with pytest.raises(ValueError, match=sentence):
            rate_factor(**{"step": 0, "steps": 10, **options})


def gradients(module: nn.Module, seed: int) -> None:
    """Give every parameter that learns a gradient from a seed."""
    source = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.randn(parameter.shape, generator=source)


@pytest.mark.parametrize(
    ("config", "kind", "options"),
    [
        (OptimizerConfig(rate=0.1, beta1=0.8, beta2=0.9), torch.optim.Adam, {}),
        (
            OptimizerConfig("adamw", rate=0.1, beta1=0.8, beta2=0.9, weight_decay=0.3),
            torch.optim.AdamW,
            {"weight_decay": 0.3},
        ),
        (OptimizerConfig("radam", rate=0.1, beta1=0.8, beta2=0.9), torch.optim.RAdam, {}),
    ],
    ids=["adam", "adamw", "radam"],
)
def test_an_optimizer_is_that_of_torch(config: OptimizerConfig, kind: type, options: dict[str, float]) -> None:
    one, two = MLP(2, width=4, depth=1), MLP(2, width=4, depth=1)
    two.load_state_dict(one.state_dict())
    mine = optimizer_of(config, one.parameters())
    theirs = kind(two.parameters(), lr=0.1, betas=(0.8, 0.9), **options)
    assert isinstance(mine, kind)
    for seed in range(3):
        for module, optimizer in ((one, mine), (two, theirs)):
            gradients(module, seed)
            optimizer.step()
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_what_does_not_learn_is_not_moved() -> None:
    module = MLP(2, width=4, depth=1)
    frozen = next(module.parameters())
    frozen.requires_grad_(False)
    held = [p for group in optimizer_of(OptimizerConfig(), module.parameters()).param_groups for p in group["params"]]
    assert len(held) == len(list(module.parameters())) - 1
    assert all(p is not frozen for p in held)


def test_the_rate_of_every_group_is_its_own_times_the_factor() -> None:
    config = OptimizerConfig("muon", rate=0.2, matrix_rate=0.5)
    optimizer = optimizer_of(config, MLP(2, width=4, depth=2).parameters())
    for factor in (1.0, 0.25):
        set_rates(optimizer, config, factor)
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.2 * factor, 0.5 * factor])
    plain = optimizer_of(OptimizerConfig(rate=0.2), MLP(2, width=4, depth=2).parameters())
    set_rates(plain, config, 0.25)
    assert [group["lr"] for group in plain.param_groups] == pytest.approx([0.05])


class Mixed(nn.Module):
    """Parameters of every shape."""

    def __init__(self) -> None:
        super().__init__()
        self.square, self.wide = nn.Linear(6, 6), nn.Linear(6, 4)
        self.image, self.cube = nn.Conv2d(3, 3, 3), nn.Parameter(torch.randn(4, 4, 4))
        self.other = nn.Linear(3, 3, bias=False)


CONFIG = OptimizerConfig("muon", rate=0.05, matrix_rate=0.02, beta1=0.8, beta2=0.9)


class TestMuon:
    def test_it_takes_the_square_matrices_and_adam_the_rest(self) -> None:
        module = Mixed()
        optimizer = optimizer_of(CONFIG, module.parameters())
        assert isinstance(optimizer, MuonAndAdam)
        others, matrices = ({id(p) for p in group["params"]} for group in optimizer.param_groups)
        assert matrices == {id(module.square.weight), id(module.other.weight)}
        assert others == {id(p) for p in module.parameters()} - matrices
        assert isinstance(optimizer.parts[0], torch.optim.Adam)
        assert isinstance(optimizer.parts[1], torch.optim.Muon)

    @pytest.mark.parametrize("network", [MLP((1, 4, 4), width=8, depth=2), UNet((1, 8, 8), channels=4, blocks=1)])
    def test_every_parameter_of_a_network_is_in_one_group(self, network: nn.Module) -> None:
        groups = optimizer_of(CONFIG, network.parameters()).param_groups
        held = [id(p) for group in groups for p in group["params"]]
        assert sorted(held) == sorted(id(p) for p in network.parameters())
        assert all(p.ndim == 2 and p.shape[0] == p.shape[1] for p in groups[1]["params"])

    def test_its_steps_are_those_of_torch_on_each_part(self) -> None:
        one = Mixed()
        two = copy.deepcopy(one)
        optimizer = optimizer_of(CONFIG, one.parameters())
        matrices = [two.square.weight, two.other.weight]
        rest = [p for p in two.parameters() if all(p is not q for q in matrices)]
        muon = torch.optim.Muon(matrices, lr=0.02, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
        adam = torch.optim.Adam(rest, lr=0.05, betas=(0.8, 0.9))
        for seed in range(3):
            gradients(one, seed)
            gradients(two, seed)
            optimizer.step()
            muon.step()
            adam.step()
        before = Mixed()
        for a, b, c in zip(one.parameters(), two.parameters(), before.parameters(), strict=True):
            torch.testing.assert_close(a, b)
            assert not torch.equal(a, c)

    def test_a_step_of_a_matrix_turns_it_and_is_of_the_size_of_adams(self) -> None:
        """The step is near an orthogonal matrix, whatever the singular values of the gradient."""
        weight, bias = nn.Parameter(torch.zeros(8, 8)), nn.Parameter(torch.zeros(8))
        optimizer = optimizer_of(OptimizerConfig("muon", matrix_rate=1.0), [weight, bias])
        source = torch.Generator().manual_seed(0)
        left, right = (torch.linalg.qr(torch.randn(8, 8, generator=source)).Q for _ in range(2))
        weight.grad = left @ torch.diag(torch.logspace(-1, 1, 8)) @ right
        optimizer.step()
        values = torch.linalg.svdvals(weight.detach())
        assert values.max() / values.min() < 3  # of the gradient it is 100
        assert 0.1 < weight.detach().square().mean().sqrt() < 0.4  # 0.2 by its paper

    def test_without_square_matrices_it_is_adam(self) -> None:
        one, two = nn.Linear(3, 2), nn.Linear(3, 2)
        two.load_state_dict(one.state_dict())
        mine, adam = optimizer_of(CONFIG, one.parameters()), torch.optim.Adam(two.parameters(), 0.05, betas=(0.8, 0.9))
        assert len(mine.param_groups) == 1
        for module, optimizer in ((one, mine), (two, adam)):
            gradients(module, 0)
            optimizer.step()
        torch.testing.assert_close(one.weight, two.weight)

    def test_it_goes_on_from_its_state_and_its_rates_can_still_be_set(self) -> None:
        def steps(module: nn.Module, optimizer: Any, seeds: range) -> None:
            for seed in seeds:
                set_rates(optimizer, CONFIG, 1 / (1 + seed))
                gradients(module, seed)
                optimizer.step()

        whole = Mixed()
        cut = copy.deepcopy(whole)
        first = optimizer_of(CONFIG, whole.parameters())
        steps(whole, first, range(6))
        begun = optimizer_of(CONFIG, cut.parameters())
        steps(cut, begun, range(3))
        state = copy.deepcopy(begun.state_dict())
        later = copy.deepcopy(cut)
        again = optimizer_of(CONFIG, later.parameters())
        again.load_state_dict(state)
        steps(later, again, range(3, 6))
        for a, b in zip(whole.parameters(), later.parameters(), strict=True):
            assert torch.equal(a, b)
        assert [group["lr"] for group in again.param_groups] == pytest.approx([0.05 / 6, 0.02 / 6])

    def test_gradients_are_set_to_nothing_in_both_parts(self) -> None:
        module = Mixed()
        optimizer = optimizer_of(CONFIG, module.parameters())
        gradients(module, 0)
        optimizer.zero_grad(set_to_none=True)
        assert all(p.grad is None for p in module.parameters())


@pytest.mark.parametrize("kind", ["adam", "radam", "muon"])
def test_a_state_goes_on_under_the_settings_of_another_device(kind: Any) -> None:
    first = torch.nn.Linear(2, 2)
    before = optimizer_of(OptimizerConfig(kind, rate=0.1), first.parameters())
    first(torch.ones(1, 2)).sum().backward()
    before.step()
    after = optimizer_of(OptimizerConfig(kind, rate=0.2), torch.nn.Linear(2, 2, device="meta").parameters())
    parts: list[Any] = getattr(after, "parts", [after])
    for group in (group for part in parts for group in part.param_groups):
        group.update({"capturable": True} if kind == "radam" else {})
    restore(after, before.state_dict())
    found = [value for part in parts for state in part.state.values() for value in state.values()]
    assert found
    assert {value.device.type for value in found} == {"meta"}
    assert {group["lr"] for part in parts for group in part.param_groups} <= {0.2, OptimizerConfig(kind).matrix_rate}


@pytest.mark.parametrize("kind", ["adam", "adamw", "radam", "muon"])
class TestSteps:
    """A step that is not finite is skipped on the device as the host would skip it, bit for bit."""

    @staticmethod
    def trained(kind: Any, finite: list[bool], *, on_device: bool) -> tuple[list[torch.Tensor], Any]:
        generator = torch.Generator().manual_seed(0)
        module = nn.Sequential(nn.Linear(4, 4), nn.SiLU(), nn.Linear(4, 2))
        for p in module.parameters():
            p.data = torch.randn(p.shape, generator=generator)
        optimizer = optimizer_of(OptimizerConfig(kind=kind), module.parameters())
        for ok in finite:
            module(torch.randn(8, 4, generator=generator)).square().mean().backward()
            if not ok:
                for p in module.parameters():
                    p.grad = p.grad * torch.nan if p.grad is not None else None
            update(optimizer, torch.tensor(ok) if on_device else ok)
            optimizer.zero_grad()
        return [p.detach().clone() for p in module.parameters()], optimizer.state_dict()

    @pytest.mark.parametrize("finite", [[True] * 4, [False, True, True], [True, False, False, True, True]])
    def test_the_same_weights_and_state(self, kind: Any, finite: list[bool]) -> None:
        weights, state = self.trained(kind, finite, on_device=True)
        expected, held = self.trained(kind, finite, on_device=False)
        torch.testing.assert_close(weights, expected, rtol=0, atol=0)
        for ours, theirs in zip(state.get("parts", [state]), held.get("parts", [held]), strict=True):
            for name, values in theirs["state"].items():
                for key, value in values.items():
                    torch.testing.assert_close(torch.as_tensor(ours["state"][name][key]), torch.as_tensor(value))

    def test_a_skipped_step_changes_nothing_and_the_next_one_does(self, kind: Any) -> None:
        one, two = (self.trained(kind, finite, on_device=True)[0] for finite in ([True], [True, False]))
        torch.testing.assert_close(one, two, rtol=0, atol=0)
        moved = self.trained(kind, [True, True], on_device=True)[0]
        assert not any(torch.equal(a, b) for a, b in zip(one, moved, strict=True))

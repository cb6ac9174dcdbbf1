"""Averages of weights along training: closed forms along known trajectories."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from flowops.runs.power import WIDEST, exponent
from flowops.training.averages import Averages
from tests.runs.trajectories import WIDTHS, Point, integral, trained, trajectory


@pytest.mark.parametrize("width", WIDTHS)
def test_a_power_average_is_the_integral_of_its_profile(width: float) -> None:
    averages = trained(60, (), (width,))
    assert averages.names == (f"power-{width}",)
    assert_close(averages.state(averages.names[0])["inner.weight"], integral(exponent(width), 60), rtol=1e-9, atol=1e-9)


def test_the_average_of_the_widest_profile_is_the_mean() -> None:
    averages = trained(30, (), (WIDEST,))
    mean = torch.stack([trajectory(step) for step in range(1, 31)]).mean(0)[None]
    assert_close(averages.state(averages.names[0])["inner.weight"], mean)


def test_an_exponential_average_by_hand() -> None:
    values = [3.0, 5.0, -1.0, 4.0]
    averages = trained(3, (0.2, 0.9), (), lambda step: torch.tensor([values[step]], dtype=torch.float64))
    assert averages.names == ("0.2", "0.9")
    # beta is 2/11, 3/12, 4/13 while these are below the decay
    first = 2 / 11 * 3 + 9 / 11 * 5
    second = 0.25 * first + 0.75 * -1
    third = 4 / 13 * second + 9 / 13 * 4
    assert_close(averages.state("0.9")["inner.weight"], torch.full((1, 2), third, dtype=torch.float64))
    low = 0.2 * (0.2 * first + 0.8 * -1) + 0.8 * 4
    assert_close(averages.state("0.2")["inner.weight"], torch.full((1, 2), low, dtype=torch.float64))


@pytest.mark.parametrize("on_device", [False, True])
def test_nothing_is_taken_in_from_a_step_that_was_skipped(on_device: bool) -> None:
    module, generator = nn.Linear(3, 2), torch.Generator().manual_seed(0)
    averages, plain = (Averages(module, [0.9], [0.1]) for _ in range(2))
    for step, taken in enumerate([True, False, True, True, False], 1):
        with torch.no_grad():
            module.weight.normal_(generator=generator)
        averages.update(module, step, torch.tensor(taken) if on_device else taken)
        if taken:
            plain.update(module, step)
    for name in averages.names:
        assert_close(averages.state(name), plain.state(name))


def test_a_constant_trajectory_stays_as_it_is() -> None:
    averages = trained(50, (0.999,), (0.1,), lambda _: torch.tensor([0.1, 1 / 3], dtype=torch.float32))
    for name in averages.names:
        weight = averages.state(name)["inner.weight"]
        assert weight.dtype == torch.float32
        assert_close(weight, torch.tensor([[0.1, 1 / 3]]), rtol=1e-7, atol=0)


def test_averages_have_no_gradient_and_buffers_are_taken_over() -> None:
    module = Point(trajectory(0))
    averages = Averages(module, (0.99,))
    assert not list(averages.parameters())[0].requires_grad
    module.go(trajectory(1), 7)
    averages.update(module, 1)
    assert averages.state("0.99")["seen"] == 7
    assert all(parameter.requires_grad for parameter in module.parameters())
    assert not any(value.requires_grad for value in averages.state("0.99").values())


def test_weights_in_bfloat16_are_averaged_in_float32() -> None:
    module = Point(torch.tensor([1.0, 2.0]).bfloat16())
    averages = Averages(module, (0.9,))
    module.go(torch.tensor([1.0078125, 2.0]).bfloat16(), 1)
    averages.update(module, 1)
    weight = averages.state("0.9")["inner.weight"]
    assert_close(weight, torch.tensor([[1 + 0.0078125 * 9 / 11, 2.0]]))
    averages.copy_to("0.9", module)
    assert module.inner.weight.dtype == torch.bfloat16


def test_an_average_goes_into_a_module_and_comes_back_from_a_state() -> None:
    averages = trained(9, (0.9,), (0.1,))
    saved = {name: {key: value.clone() for key, value in averages.state(name).items()} for name in averages.names}
    other, module = Averages(Point(trajectory(0)), (0.9,), (0.1,)), Point(trajectory(0))
    for name in averages.names:
        other.load(name, saved[name])
        other.copy_to(name, module)
        for key, value in module.state_dict().items():
            assert torch.equal(value, saved[name][key])
    module.go(trajectory(10), 10)
    for each in (averages, other):
        each.update(module, 10)
    assert_close(averages.state_dict(), other.state_dict(), rtol=0, atol=0)


def test_the_average_of_a_method_has_the_decay_of_each_step_from_the_first_weights_on() -> None:
    decays, module = (0.5, 0.25, 0.75), Point(trajectory(0))
    averages, expected = Averages(module, (0.9,), (), lambda step: decays[step]), trajectory(0)
    assert averages.names == ("0.9", "target")
    for step, decay in enumerate(decays, 1):
        module.go(trajectory(step), step)
        averages.update(module, step)
        expected = decay * expected + (1 - decay) * trajectory(step)
        assert_close(averages.state("target")["inner.weight"], expected[None])


def test_tied_and_missing_parameters() -> None:
    tied = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    tied[1].weight = tied[0].weight
    averages = Averages(tied, (0.5,))
    averages.update(tied, 1)
    state = averages.state("0.5")
    assert state["0.weight"].data_ptr() == state["1.weight"].data_ptr()
    Averages(nn.ReLU(), (0.5,)).update(nn.ReLU(), 1)


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda m: Averages(m, (1.0,)), "`decays` must be at least 0 and below 1, got 1.0"),
        (lambda m: Averages(m, (), (0.5,)), "`sigma_rel` must be above 0 and at most 0.2887"),
        (lambda m: Averages(m, (), (0.0,)), "`sigma_rel` must be above 0"),
        (lambda m: Averages(m, (0.9, 0.90000001)), "`decays` and `power` must differ in six digits, got 0.9, 0.9"),
        (lambda m: Averages(m, (0.9,)).update(m, 0), "`step` must count from 1, got 0"),
        (lambda m: Averages(m, (0.9,)).state("0.99"), "`name` must be one of 0.9, got '0.99'"),
        (lambda m: Averages(m, ()).copy_to("0.99", m), r"`name` must be one of \(no average\), got '0.99'"),
    ],
)
def test_wrong_arguments_are_refused(build: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        build(Point(trajectory(0)))

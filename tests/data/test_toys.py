"""Laws in the plane: those of their exact problems, where their labels say, pure and on the device."""

from __future__ import annotations

import math

import pytest
import torch

from flowops import interpolants
from flowops.data import Toy, open_dataset
from flowops.metrics import histogram_kl

TOYS = ("checkerboard", "gaussians", "moons", "spirals", "pinwheel")


def toy(name: str) -> Toy:
    found = open_dataset(name)
    assert isinstance(found, Toy)
    return found


@pytest.mark.parametrize("name", TOYS)
def test_batches_are_pure_and_differ_by_step_and_seed(name: str) -> None:
    one, other = toy(name), toy(name)
    other.batch(3, 11, seed=7)
    for step in (4, 0):
        first, second = one.batch(step, 100, seed=1), other.batch(step, 100, seed=1)
        assert torch.equal(first.x1, second.x1)
        assert (first.labels is None) == (one.classes == ())
        if first.labels is not None and second.labels is not None:
            assert torch.equal(first.labels, second.labels)
    draws = [one.batch(0, 50, seed=1), one.batch(1, 50, seed=1), one.batch(0, 50, seed=2), one.reference(50)]
    assert len({tuple(batch.x1.flatten().tolist()) for batch in draws}) == len(draws)


@pytest.mark.parametrize("name", TOYS)
def test_a_toy_is_a_law_over_the_box(name: str) -> None:
    law = toy(name)
    batch = law.batch(0, 20_000, seed=0)
    assert law.size is None
    assert not hasattr(law, "__len__")
    assert law.event == batch.x1.shape[1:] == torch.Size([2])
    assert batch.x0 is None
    assert batch.x1.dtype == torch.float32
    assert batch.x1.abs().le(1).all(1).float().mean() > 0.999
    assert batch.x1.abs().max() > 0.7
    if batch.labels is not None:
        counts = batch.labels.bincount()
        assert batch.labels.dtype == torch.int64
        assert len(counts) == len(law.classes)
        assert (counts - 20_000 / len(counts)).abs().max() < 5 * math.sqrt(20_000 / len(counts))


@pytest.mark.parametrize(("name", "bins", "bound"), [("checkerboard", 48, 0.012), ("gaussians", 40, 0.012)])
def test_the_law_is_that_of_the_reference_problem(name: str, bins: int, bound: float) -> None:
    law = toy(name)
    assert law.problem is not None
    problem = law.problem(interpolants.linear())
    x = law.reference(64_000).x1
    assert histogram_kl(x, problem, bins=bins, points=4) < bound
    assert histogram_kl(x + 0.05, problem, bins=bins, points=4) > 4 * bound


def test_gaussians_are_labelled_by_their_mode() -> None:
    batch = toy("gaussians").batch(0, 4000, seed=0)
    assert batch.labels is not None
    angles = torch.atan2(batch.x1[:, 1], batch.x1[:, 0])
    assert torch.equal((angles / (math.pi / 4)).round().long() % 8, batch.labels)
    x = batch.x1[batch.labels == 2]
    torch.testing.assert_close(x.mean(0), torch.tensor([0.0, 0.8]), atol=0.015, rtol=0)
    torch.testing.assert_close(x.std(0), torch.tensor([0.06, 0.06]), atol=0.008, rtol=0)


def test_moons_are_half_circles() -> None:
    batch = toy("moons").batch(0, 4000, seed=0)
    assert batch.labels is not None
    for label, center, side in ((0, (-0.3, -0.15), 1), (1, (0.3, 0.15), -1)):
        x = batch.x1[batch.labels == label] - torch.tensor(center)
        torch.testing.assert_close(x.norm(dim=1).mean().item(), 0.6, atol=0.01, rtol=0)
        assert (side * x[:, 1]).min() > -0.2
        assert (side * x[:, 1]).mean() > 0.3


def test_the_arms_of_the_spirals_are_half_a_turn_apart() -> None:
    batch = toy("spirals").batch(0, 20_000, seed=0)
    assert batch.labels is not None
    radius = batch.x1.norm(dim=1)
    middle = ((radius - 0.5).abs() < 0.02) & (batch.labels == 0)
    opposite = ((radius - 0.5).abs() < 0.02) & (batch.labels == 1)
    torch.testing.assert_close(batch.x1[middle].mean(0), -batch.x1[opposite].mean(0), atol=0.02, rtol=0)
    assert batch.x1[middle].mean(0).norm() > 0.45


def test_the_pinwheel_has_five_arms_a_fifth_of_a_turn_apart() -> None:
    batch = toy("pinwheel").batch(0, 50_000, seed=0)
    assert batch.labels is not None
    means = torch.stack([batch.x1[batch.labels == arm].mean(0) for arm in range(5)])
    angles = torch.atan2(means[:, 1], means[:, 0]).diff() % (2 * math.pi)
    torch.testing.assert_close(angles, torch.full((4,), 2 * math.pi / 5), atol=0.05, rtol=0)


@pytest.mark.parametrize("name", TOYS)
def test_batches_come_out_on_the_device(name: str) -> None:
    law = toy(name)
    moved = law.to("meta")
    batch = moved.batch(0, 5, seed=0)
    assert batch.x1.device.type == "meta"
    assert batch.labels is None or batch.labels.device.type == "meta"
    assert law.batch(0, 5, seed=0).x1.device.type == "cpu"


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", ["moons", "spirals"])
def test_noise_is_a_deviation(name: str) -> None:
    plain, noisy = (open_dataset(name, noise=noise).reference(500).x1 for noise in (0, 0.5))
    assert 0.4 < (noisy - plain).std() < 0.6
    for noise, error, sentence in (
        ("abc", TypeError, "`noise` must be a number .*, got str"),
        (-1, ValueError, "`noise` must be at least 0, got -1.0; pass 0 or more"),
        (math.inf, ValueError, "`noise` must be finite, got inf"),
    ):
        with pytest.raises(error, match=sentence):
            open_dataset(name, noise=noise)


def test_what_is_not_there_is_refused() -> None:
    law = toy("moons")
    with pytest.raises(ValueError, match="`split` must be one of train, test for moons, got 'val'"):
        law.reference(3, split="val")
    with pytest.raises(ValueError, match="`n` must be a whole number of at least 1, got 0"):
        law.batch(0, 0, seed=0)
    assert not torch.equal(law.reference(9, split="test").x1, law.reference(9).x1)

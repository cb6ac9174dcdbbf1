"""A run goes from data to noise: along its map where that was trained backward, or along its own field."""

from __future__ import annotations

import pytest
import torch

from flowops.runs import Run
from flowops.sampling import slerp
from flowops.training import train
from tests.examples import normal
from tests.runs.small import Make, silent

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")
GRID = [0.0, 0.3, 1.0]


@pytest.fixture(scope="module")
def square(trained: Make) -> Run:
    """A run on digits whose times are drawn in either order; tests must not change it."""
    return train(trained("square", "digits", steps=3, options=("law=FullSquare()",)), report=silent)


def test_whether_it_goes_back_is_told_by_its_law(square: Run, labelled: Run, plain: Run) -> None:
    assert square.two_sided
    assert Run.load(square.folder.path).two_sided
    assert not labelled.two_sided
    assert not plain.two_sided


def test_it_goes_back_along_the_grid_and_the_samples_take_the_noise(square: Run) -> None:
    x1, label = normal(4, 1, 8, 8, dtype=torch.float32), [3, 1, 4, 1]
    found = square.invert(x1, grid=GRID, label=label)
    X = square.X.given(label=torch.tensor(label))
    torch.testing.assert_close(found.x0, X(0.3, 0.0, X(1.0, 0.3, x1)))
    torch.testing.assert_close(square.sample(x0=found.x0, grid=GRID, label=label), found.back)
    torch.testing.assert_close(found.error, (found.back - x1).flatten(1).square().mean(1).sqrt())
    assert found.error.min() > 0
    assert found.calls == 2
    assert found.sampler == "map, 2 steps"
    assert not torch.equal(square.sample(x0=found.x0, grid=GRID, label=7), found.back)  # an edit
    assert not found.x0.requires_grad


def test_its_field_goes_back_whatever_was_trained(plain: Run) -> None:
    x1 = plain.sample(6, steps=1)
    found = plain.invert(x1, solver="dopri5", tolerance=1e-6)
    torch.testing.assert_close(plain.solve(x0=found.x0, tolerance=1e-6).x, found.back)
    assert found.error.max() < 1e-4
    assert plain.invert(x1, solver="heun", steps=3).calls == 6


def test_guidance_is_that_of_both_ways(square: Run) -> None:
    x1 = normal(3, 1, 8, 8, dtype=torch.float32)
    found = square.invert(x1, steps=1, label=2, guidance=2.0)
    assert found.calls == 2
    conditioning = square.conditioning(3, 2, 2.0)
    torch.testing.assert_close(found.x0, conditioning.map()(1.0, 0.0, x1))
    torch.testing.assert_close(found.back, conditioning.map()(0.0, 1.0, found.x0))


def test_samples_lie_between_those_of_two_noises(square: Run) -> None:
    x0 = square.base(2)
    ends = square.sample(x0=x0, label=[3, 5])
    way = slerp(x0[:1].expand(3, -1, -1, -1), x0[1:].expand(3, -1, -1, -1), torch.tensor([0.0, 0.5, 1.0]))
    found = square.sample(x0=way, label=[3, 3, 5])
    torch.testing.assert_close(found[[0, 2]], ends)


def test_a_map_that_goes_forward_only_says_what_to_do(labelled: Run) -> None:
    with pytest.raises(
        ValueError, match=r"`solver` must be given for .*never saw a start s after its end t; pass"
    ) as e:
        labelled.invert(torch.zeros(2, 1, 8, 8), label=3, steps=1)
    assert "law=FullSquare()" in str(e.value)


def test_what_does_not_fit_is_refused(square: Run, plain: Run) -> None:
    with pytest.raises(ValueError, match=r"`label`, or `condition`, must say which one each of `x1` has, got None"):
        square.invert(torch.zeros(2, 1, 8, 8), steps=1)
    with pytest.raises(ValueError, match=r"`x1` must hold states of shape \[1, 8, 8\], got \[1, 9, 8\]"):
        square.invert(torch.zeros(2, 1, 9, 8), label=1, steps=1)
    with pytest.raises(ValueError, match=r"`label` must be one class or 2 of them, one per sample, got 3"):
        square.invert(torch.zeros(2, 1, 8, 8), label=[1, 2, 3], steps=1)
    with pytest.raises(ValueError, match="trained without labels"):
        plain.invert(torch.zeros(2, 2), label=1, solver="dopri5")
    with pytest.raises(ValueError, match="`x1` must hold at least one states"):
        plain.invert(torch.zeros(0, 2), solver="dopri5")


def test_the_way_back_is_that_of_the_run_on_disk(square: Run) -> None:
    read, x1 = Run.load(square.folder.path), normal(2, 1, 8, 8, dtype=torch.float32)
    assert torch.equal(read.invert(x1, steps=2, label=1).x0, square.invert(x1, steps=2, label=1).x0)

"""The classes by the number of steps, and the way of samples, are what the run samples."""

from __future__ import annotations

import pytest
import torch

from flowops.runs import LogConfig, Run
from flowops.runs.views import by_class, ways
from flowops.training import train
from tests.runs.small import Make, silent

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


@pytest.fixture(scope="module")
def digits(trained: Make) -> Run:
    """A run with labels; tests must not change it."""
    return train(
        trained(dataset="digits", steps=2, log=LogConfig(to=(), telemetry_every=0, progress=False)), report=silent
    )


def test_a_cell_holds_the_samples_of_its_class_from_the_same_noise(digits: Run) -> None:
    found = by_class(digits, (1, 2), "heun", solver_steps=2, n=2, seed=3)
    assert list(found) == [str(k) for k in range(10)]
    x0 = digits.base(2, seed=3)
    for k, row in enumerate(found.values()):
        assert list(row) == ["1 step", "2 steps", "heun"]
        torch.testing.assert_close(row["2 steps"], digits.sample(steps=2, x0=x0, label=k))
    torch.testing.assert_close(found["7"]["heun"], digits.solve(x0=x0, label=7, method="heun", steps=2).x)
    assert not torch.equal(found["7"]["1 step"], found["8"]["1 step"])


def test_a_run_without_labels_has_one_row(small: Make) -> None:
    run = train(small(dataset="checkerboard", steps=1), report=silent)
    found = by_class(run, (1,), None, n=3)
    assert list(found) == ["all"]
    assert list(found["all"]) == ["1 step"]


def test_a_way_begins_at_the_noise_and_ends_at_the_sample(digits: Run) -> None:
    times, x = ways(digits, 3, seed=5)
    assert (times[0], times[-1], len(x)) == (0.0, 1.0, len(times))
    torch.testing.assert_close(x[0], digits.base(3, seed=5))
    torch.testing.assert_close(x[-1], digits.sample(3, seed=5))
    label = torch.full((3,), 4)
    _, other = ways(digits, 3, seed=5, label=4)
    torch.testing.assert_close(other[4], digits.X.given(label=label)(0.0, 0.5, x[0]))


@pytest.mark.slow
@pytest.mark.usefixtures("pictures")
def test_a_run_draws_what_its_settings_ask_for(small: Make) -> None:
    log = LogConfig(to=(), pictures=("classes", "trajectories"), telemetry_every=0, progress=False)
    lines = list[str]()
    run = train(small(dataset="digits", steps=1, log=log), report=lines.append)
    assert sorted(path.name for path in run.folder.samples.iterdir()) == ["1-classes.png", "1-trajectories.png"]
    assert lines == []

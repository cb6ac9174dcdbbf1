"""The calibration of a run: measured once for its weights, on states that no seed of samples has."""

from __future__ import annotations

import torch

from flowops.runs import Run, calibrated
from flowops.sampling import calibrate
from flowops.training import train
from tests.runs.small import Make, silent


def test_it_is_measured_beside_the_maps_own_field_and_kept(small: Make) -> None:
    run = train(small(steps=2), report=silent)
    found, file = calibrated(run, 100), run.folder.path / "calibration.json"
    again = calibrated(Run.load(run.folder.path), 100)
    assert file.is_file()
    assert again.plans == found.plans
    torch.testing.assert_close(again.errors, found.errors.sort(1).values, rtol=1e-3, atol=0)
    assert run.draw(3, plan=found.plan(float(found.bounds().max()))).sampler == "map, 1 step"


def test_other_weights_and_another_number_of_samples_are_measured_anew(small: Make) -> None:
    run = train(small(steps=2), report=silent)
    file = run.folder.path / "calibration.json"
    calibrated(run, 80)
    first = file.read_bytes()
    calibrated(run, 70)
    second = file.read_bytes()
    with torch.no_grad():
        for weight in run.X.parameters():
            weight.mul_(1.5)
    calibrated(run, 70)
    assert len({first, second, file.read_bytes()}) == 3


def test_its_states_are_those_of_no_seed(small: Make) -> None:
    run = train(small(steps=2), report=silent)
    found = calibrated(run, 80)
    drawn = calibrate(run.X, run.base(80))
    assert not torch.equal(drawn.errors.sort(1).values, found.errors.sort(1).values)

"""What consistency training learns without error, against closed forms and a walk over the pairs; the page in short."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from experiments import consistency_steps as study
from experiments._consistency import learned, shrinkage


@pytest.mark.parametrize("rungs", [study.uniform(5), study.karras(5), study.angles(5)], ids=[*study.SPACINGS])
def test_normal_data_is_shrunk_as_the_theorem_says(rungs: torch.Tensor) -> None:
    x = np.linspace(-3, 3, 7)
    assert rungs[0] == 0
    assert rungs[-1] == 1
    np.testing.assert_allclose(learned(study.NORMAL, rungs, x), shrinkage(study.NORMAL, rungs) * x, atol=1e-12)
    wider = replace(study.NORMAL, deviation=1.1)
    assert abs(learned(wider, rungs, x) - shrinkage(study.NORMAL, rungs) * x).max() > 0.05


def test_one_step_of_modes_is_the_mean_and_more_keep_it() -> None:
    data, x = study.modes(0.3), study.X0
    np.testing.assert_allclose(learned(data, study.uniform(1), x), 0.2, atol=1e-12)
    samples = learned(data, study.uniform(6), x)
    assert abs(samples.mean() - 0.2) < 1e-3
    assert samples.std() < study.flow(data).std()  # an average has less spread than what it is of


def test_it_is_the_mean_of_a_walk_that_draws_new_pairs() -> None:
    data, rungs, start = study.modes(0.3), study.uniform(3), np.array([-0.6, 0.1, 0.8])
    drawn, x = np.random.default_rng(0), np.tile(np.array(start)[:, None], (1, 100_000))
    for s, u in zip(rungs[:-1].tolist(), rungs[1:].tolist(), strict=True):
        weights, means, deviation = data.moves(s, u, x.reshape(-1))
        second = drawn.random(weights.shape[1]) < weights[1]
        x = (np.where(second, means[1], means[0]) + deviation * drawn.standard_normal(second.shape)).reshape(x.shape)
    np.testing.assert_allclose(learned(data, rungs, start), x.mean(1), atol=5 * x.std() / 100_000**0.5)


@pytest.mark.slow
def test_the_page_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "STEPS", (1, 2, 4, 8))
    monkeypatch.setattr(study, "TRAINED", (1, 2))
    monkeypatch.setattr(study, "X0", study.X0[::100])
    out = tmp_path / "page.md"
    study.main(["--steps", "2", "--batch", "8", "--seeds", "2", "--out", str(out)])
    text = out.read_text(encoding="utf-8")
    assert all(word in text for word in (*study.SPACINGS, "`ct`", "`cd`", "2 training steps of 8 samples"))
    assert out.with_suffix(".png").stat().st_size > 0

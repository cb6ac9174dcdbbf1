"""Conditions with continuous values: from a file to samples, dropped and guided, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from flowops import LearnedMap, Run, interpolants
from flowops.cli import main
from flowops.data import Arrays, open_dataset
from flowops.evaluation.report import plan_of_run
from flowops.methods import get_method
from flowops.networks import MLP, UNet, audit
from flowops.runs import NetworkConfig
from flowops.runs.writing import write_samples
from flowops.training import train
from tests.examples import normal
from tests.runs.small import Make, silent
from tests.training.states import assert_same_bits, state_of

CONDITIONS = normal(16, 2, 3).float()
X1 = torch.stack([CONDITIONS.sum((1, 2)), CONDITIONS[:, 0, 0]], 1)


def written(path: Path, **others: Tensor) -> str:
    """A file with samples and conditions, by name."""
    arrays = {"x1": X1, "condition": CONDITIONS, **others}
    np.savez(path, **{name: value.numpy() for name, value in arrays.items()})  # type: ignore[arg-type]
    return f"arrays:{path}"


def nets() -> list[tuple[torch.nn.Module, Tensor]]:
    """Networks that take a condition, with states."""
    source = torch.Generator().manual_seed(0)
    unet = UNet((1, 4, 4), channels=4, multipliers=(1,), blocks=1, attention=(), condition=(2, 3), generator=source)
    for parameter in unet.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, generator=source)
    return [
        (MLP(2, width=8, depth=2, condition=(2, 3), generator=source), normal(4, 2).float()),
        (unet, normal(4, 1, 4, 4).float()),
    ]


@pytest.mark.parametrize("k", [0, 1])
def test_a_network_depends_on_its_condition_row_by_row(k: int) -> None:
    network, x = nets()[k]
    X = LearnedMap(network)
    c = CONDITIONS[:4]
    value = X.given(condition=c)(0.0, 1.0, x)
    for row in range(4):
        assert_close(
            X.given(condition=c[row : row + 1])(0.0, 1.0, x[row : row + 1]), value[row : row + 1], rtol=1e-4, atol=1e-5
        )
    assert (X.given(condition=c.flip(0))(0.0, 1.0, x) - value).abs().max() > 1e-3
    nothing = X(0.0, 1.0, x)
    dropped = c.clone()
    dropped[1] = torch.nan
    mixed = X.given(condition=dropped)(0.0, 1.0, x)
    assert_close(mixed[1], nothing[1], rtol=1e-4, atol=1e-5)
    assert_close(mixed[0], value[0], rtol=1e-4, atol=1e-5)
    assert (nothing - value).abs().max() > 1e-3
    audit(network, x, condition=c).raise_for_findings()
    gradient = torch.autograd.grad(mixed.square().sum(), list(network.parameters()), allow_unused=True)
    assert all(g is None or bool(g.isfinite().all()) for g in gradient)  # that of what was dropped, too
    for wrong, error, sentence in (
        (c[:, :1], ValueError, r"`condition` must have shape \[4, 2, 3\], one per sample, got \[4, 1, 3\]"),
        (c.long(), TypeError, "`condition` must be a floating tensor, got torch.int64; classes are given as `label`"),
    ):
        with pytest.raises(error, match=sentence):
            X.given(condition=wrong)(0.0, 1.0, x)


@pytest.mark.parametrize("name", ["fm", "lsd", "meanflow", "psd-m"])
def test_rows_are_given_conditions_as_labels(name: str) -> None:
    network, x0 = nets()[0]
    X, seen = LearnedMap(network), list[Tensor]()
    plain = network.forward

    def spy(s: Tensor, t: Tensor, x: Tensor, condition: Tensor | None = None, **others: Any) -> Tensor:
        if condition is not None:
            seen.append(condition.detach())
        return plain(s, t, x, condition=condition, **others)

    network.accepted_conditions = ("condition",)  # type: ignore[assignment]
    network.forward = spy
    method = get_method(name, label_dropout=0.5, guidance=2.0)
    result = method(X, interpolants.linear(), x0, X1[:4], labels=CONDITIONS[:4], step=0, seed=0)
    assert bool(result.loss.isfinite())
    missing = torch.cat([c.isnan().flatten(1).all(1) for c in seen if c.ndim == 3])
    assert bool(missing.any())
    assert not bool(missing.all())


def test_a_run_learns_from_a_file_is_resumed_and_sampled(small: Make, tmp_path: Path) -> None:
    name = written(tmp_path / "x.npz")
    settings: dict[str, Any] = {"checkpoint_every": 3, "label_dropout": 0.2}
    whole = small("whole", name, steps=6, **settings)
    run = train(whole, report=silent)
    train(small("parts", name, steps=3, **settings), report=silent)
    resumed = small("parts", name, steps=6, **settings)
    train(resumed, resume=True, report=silent)
    assert_same_bits(state_of(whole, 6), state_of(resumed, 6))
    for found in (run, Run.load(run.folder.path)):
        assert found.condition == torch.Size([2, 3])
        one = found.sample(5, condition=CONDITIONS[0], steps=2)
        each = found.sample(5, condition=CONDITIONS[:5], steps=2)
        assert_close(one[0], each[0])
        assert (one[1:] - each[1:]).abs().max() > 1e-5
        known = found.dataset.reference(16).labels
        assert known is not None
        in_turn = found.sample(20, steps=2)
        assert_close(in_turn, found.sample(20, condition=known[torch.arange(20) % 16], steps=2))
        assert_close(in_turn[16:], found.sample(4, start=16, steps=2))
        guided = found.sample(5, condition=CONDITIONS[:5], guidance=3.0, steps=2)
        assert (guided - each).abs().max() > 1e-5
        assert found.solve(3, condition=CONDITIONS[:3], method="euler", steps=2, guidance=2.0).x.shape == (3, 2)
    write_samples(run, tmp_path / "s.npz", 5, condition=CONDITIONS[:5], steps=2, chunk=2)
    with np.load(tmp_path / "s.npz") as file:
        assert_close(torch.from_numpy(file["arr_0"]), run.sample(5, condition=CONDITIONS[:5], steps=2))
    np.save(tmp_path / "c.npy", CONDITIONS[:5].numpy())
    out = ["--n", "5", "--steps", "2", "--out", str(tmp_path / "t.npz")]
    assert main(["sample", str(run.folder.path), "--condition", str(tmp_path / "c.npy"), *out]) == 0
    with np.load(tmp_path / "t.npz") as file:
        assert_close(torch.from_numpy(file["arr_0"]), run.sample(5, condition=CONDITIONS[:5], steps=2))


def test_the_unet_trains_on_conditions(small: Make) -> None:
    network = NetworkConfig("unet", channels=4, multipliers=(1,), blocks=1, attention=())
    data = Arrays({"train": normal(16, 1, 4, 4).float()}, {"train": CONDITIONS})
    run = train(small(network=network, steps=1), dataset=data, report=silent)
    assert run.sample(3, condition=CONDITIONS[:3]).shape == (3, 1, 4, 4)


def test_conditions_may_be_left_out(small: Make, tmp_path: Path) -> None:
    lines: list[str] = []
    run = train(small(dataset=written(tmp_path / "x.npz"), labels=False, steps=1), report=lines.append)
    assert run.condition is None
    with pytest.raises(ValueError, match="`condition` must not be given for a map that was trained without conditions"):
        run.sample(2, condition=CONDITIONS[0])


def test_what_does_not_fit_is_refused(small: Make, tmp_path: Path) -> None:
    run = train(small(dataset=written(tmp_path / "x.npz"), steps=1), report=silent)
    for given, error, sentence in (
        ({"label": 1}, ValueError, "`label` must not be given for a map that takes a `condition`; pass condition="),
        (
            {"condition": CONDITIONS[:3]},
            ValueError,
            r"have shape \[2, 3\], or .*\[2, 2, 3\], got \[3, 2",
        ),
        ({"condition": CONDITIONS[0].double()}, TypeError, "`condition` must be a float32 tensor, got torch.float64"),
        ({"condition": CONDITIONS[0] / 0}, ValueError, "`condition` must be finite, got nan or inf"),
    ):
        with pytest.raises(error, match=sentence):
            run.sample(2, **given)
    labelled = {"label": torch.arange(16)}
    for others, sentence in (
        (labelled, "must hold label or condition, not both, got condition, label, x1 in .*; pass label=none"),
        ({"condition": CONDITIONS[:3]}, r"`condition` must have shape \[16, \*shape\], one per sample of split train"),
        ({"condition": CONDITIONS / 0}, "`condition` must be finite, got nan or inf in split train"),
        ({"x1_test": X1, "condition_test": CONDITIONS[:, 0]}, "`condition` must have one shape in all splits, got"),
    ):
        with pytest.raises(ValueError, match=sentence):
            open_dataset(written(tmp_path / "y.npz", **others))
    assert open_dataset(written(tmp_path / "y.npz", **labelled), condition=None).classes == tuple(map(str, range(16)))
    assert main(["export", str(run.folder.path)]) != 0
    with pytest.raises(ValueError, match="`run` must take classes or nothing to be checked, and .* takes a condition"):
        plan_of_run(run)

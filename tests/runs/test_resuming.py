"""What may change when a run goes on, what may not, and why."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from flowops.data import Pairs
from flowops.runs import HardwareConfig, LogConfig, NetworkConfig, OptimizerConfig, TrainConfig
from flowops.runs.assembly import completed
from flowops.runs.facts import Facts
from flowops.runs.resuming import changes, check_resumable, check_same_data

CONFIG = completed(TrainConfig("digits", seed=3), {}, (1, 8, 8))


def check(before: TrainConfig = CONFIG, *, average: bool = False, **changed: Any) -> None:
    check_resumable(replace(before, **changed), before, average=average)


@pytest.mark.parametrize(
    "changed",
    [
        *({"steps": 5}, {"minutes": 1.0}, {"audit": False}, {"checkpoint_every": 7}, {"patience": 3}, {"out": "x"}),
        *({"data": "x"}, {"teacher": "x"}, {"init": "x"}, {"hardware": HardwareConfig(threads=1)}),
        *({"log": LogConfig(keep=1)}, {"averages": (0.5,)}, {"power": (0.1,)}, {"averages": (), "power": (0.1,)}),
        {"optimizer": OptimizerConfig("adam", rate=1e-5, matrix_rate=1e-3, schedule="cosine", warmup=3, decay_start=7)},
        {"optimizer": OptimizerConfig("adam", beta1=0.5, beta2=0.9, weight_decay=0.5, clip=0.0)},
    ],
)
def test_a_run_may_go_on_under_settings_that_leave_it_the_same_run(changed: dict[str, Any]) -> None:
    check(**changed)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"method": "fm"},
            r"`method` must stay 'lsd' to resume this run, got 'fm' \(the loss would be another\); drop it",
        ),
        ({"options": ("eta=0.5",)}, r"`options` must stay \(\) .* \(the loss would be another\)"),
        ({"seed": 1}, r"`seed` must stay 3 .* got 1 \(all that is random in a step follows from it\)"),
        ({"batch": 8}, r"`batch` must stay 128 .* got 8 \(it decides what a step is, and steps are counted\)"),
        ({"interpolant": "cosine"}, r"`interpolant` must stay 'linear' .* \(what is learned would be another map\)"),
        ({"labels": False}, r"`labels` must stay True .* \(the network would be another\)"),
        ({"dataset": "moons"}, r"`dataset` must stay 'digits' .* \(other data make another run\)"),
        (
            {"network": NetworkConfig("mlp", width=8)},
            r"`network.kind` must stay 'unet' .* \(the weights are those of th",
        ),
        (
            {"optimizer": OptimizerConfig("muon", schedule="constant")},
            "`optimizer.kind` must stay 'adam' .*of this kind",
        ),
        (
            {"batch": 8, "method": "fm"},
            r"`method` must stay 'lsd' to resume this run, got 'fm' \(.*\); `batch` must stay 128, got 8 \(.*\); drop",
        ),
    ],
)
def test_a_run_does_not_go_on_as_another_one_and_says_why(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        check(**changed)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("before", "after"), [("folder:a", "folder:b"), ("pairs:/a/b.npz", "pairs:c.npz"), ("folder:a", "folder")]
)
def test_the_files_of_the_data_may_have_been_moved(before: str, after: str) -> None:
    check(replace(CONFIG, dataset=before), dataset=after)


@pytest.mark.parametrize(
    ("before", "after"),
    [("folder:a", "pairs:a"), ("my.module:data", "my.module:other"), ("transported:digits", "transported:moons")],
)
def test_what_stands_behind_a_colon_is_not_always_a_place(before: str, after: str) -> None:
    with pytest.raises(ValueError, match="`dataset` must stay"):
        check(replace(CONFIG, dataset=before), dataset=after)


def test_the_first_average_stays_where_the_method_looks_at_it() -> None:
    check(average=True, averages=(*(CONFIG.averages or ()), 0.5), power=(0.1,))
    with pytest.raises(ValueError, match=r"`averages` must stay .* \(the method looks at the first average\)"):
        check(average=True, averages=(0.5, *(CONFIG.averages or ())))


def test_a_change_is_told_and_written_without_the_folders_of_a_machine() -> None:
    config = replace(CONFIG, dataset="folder:/home/me/new", out="elsewhere", steps=7, log=LogConfig(keep=1))
    found = changes(config, replace(CONFIG, dataset="folder:/home/me/old"))
    assert [change.name for change in found] == ["dataset", "steps"]
    assert found[1].told(4) == "`steps` is 7 from step 4 on, before it was 10000."
    assert found[0].plain(4) == {"step": 4, "setting": "dataset", "before": "folder:old", "after": "folder:new"}


class TestData:
    """Data are the same by what they are, not by where they lie."""

    def facts(self, data: str) -> Facts:
        return Facts(torch.Size([2]), (), True, False, data, [])

    def data(self, name: str, seed: int = 0) -> Pairs:
        x = torch.randn(5, 2, generator=torch.Generator().manual_seed(seed))
        return Pairs(x, x + 1, name=name)

    def test_they_may_lie_elsewhere(self) -> None:
        before = self.data("pairs:/some: where/x.npz").provenance
        check_same_data(self.data("pairs:/else/y.npz"), self.facts(before))
        check_same_data(self.data("pairs:/else/y.npz"), self.facts(""))  # of a run that did not say

    def test_others_are_refused(self) -> None:
        before = self.data("pairs:/x.npz").provenance
        with pytest.raises(
            ValueError, match=r"`dataset` must stay 'pairs:/x.npz: 5 pairs.* to resume this run, got 'pa"
        ):
            check_same_data(self.data("pairs:/x.npz", seed=1), self.facts(before))

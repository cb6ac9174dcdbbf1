"""Settings that are refused, each with a sentence."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest

from flowops.training import HardwareConfig, NetworkConfig, OptimizerConfig, TrainConfig
from flowops.training.config_checks import COUNTS, RANGES, check_config, check_same

CONFIG = TrainConfig("digits")


def test_the_defaults_are_accepted() -> None:
    check_config(CONFIG)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"steps": 0}, "`steps` must be a whole number of at least 1, got 0"),
        ({"batch": -4}, "`batch` must be a whole number of at least 1, got -4"),
        ({"checkpoint_every": -1}, "`checkpoint_every`"),
        ({"label_dropout": 1.0}, r"`label_dropout` must lie in \[0, 1\)"),
        ({"averages": (1.0,)}, "`averages` must lie between 0 and 1"),
        ({"averages": ()}, "at least one decay"),
        ({"alpha": "1-t"}, "`alpha` and `beta` must be given together"),
        ({"gamma": "t*(1-t)"}, "`alpha` and `beta` must be given together"),
        ({"alpha": "1-t", "beta": "t", "interpolant": "cosine"}, "`interpolant` must not be given beside `alpha`"),
        ({"optimizer": OptimizerConfig(rate=0.0)}, "`optimizer.rate` must be positive"),
        ({"optimizer": OptimizerConfig(rate=float("nan"))}, "`optimizer.rate` must lie in"),
        ({"optimizer": OptimizerConfig(beta2=1.0)}, "`optimizer.beta2`"),
        ({"steps": 5, "optimizer": OptimizerConfig(schedule="cosine", warmup=5)}, "`optimizer.warmup` must be below"),
        ({"network": NetworkConfig(channels=0)}, "`network.channels`"),
        ({"batch": 10, "hardware": HardwareConfig(devices=2, accumulate=3)}, "= 2 x 3, got 10; pass 12"),
        ({"batch": 10, "hardware": HardwareConfig(recompute=4)}, "a multiple of"),
    ],
)
def test_a_wrong_setting_is_refused_in_one_sentence(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        check_config(replace(CONFIG, **changed))
    assert "\n" not in str(caught.value)


def test_every_name_that_is_checked_exists() -> None:
    for name in (*COUNTS, *RANGES):
        held: Any = CONFIG
        for part in name.split("."):
            held = getattr(held, part)
        assert isinstance(held, int | float)


def test_every_whole_number_is_checked() -> None:
    def numbers(config: Any, prefix: str = "") -> set[str]:
        found = set()
        for f in fields(config):
            held = getattr(config, f.name)
            if is_dataclass(held):
                found |= numbers(held, f"{f.name}.")
            elif isinstance(held, int | float) and not isinstance(held, bool):
                found.add(prefix + f.name)
        return found

    assert numbers(CONFIG) - set(COUNTS) - set(RANGES) == {"seed"}


@pytest.mark.parametrize("changed", [{"steps": 5}, {"audit": False}, {"hardware": HardwareConfig(threads=1)}])
def test_a_run_may_go_on_under_settings_that_do_not_change_it(changed: dict[str, Any]) -> None:
    check_same(replace(CONFIG, **changed), CONFIG)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"method": "fm"}, "`method` must stay 'lsd' to resume this run, got 'fm'"),
        ({"seed": 1}, "`seed` must stay 0"),
        ({"network": NetworkConfig(channels=8)}, "`network.channels` must stay 32 to resume this run, got 8"),
    ],
)
def test_a_run_does_not_go_on_as_another_one(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_same(replace(CONFIG, **changed), CONFIG)

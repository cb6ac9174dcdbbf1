"""Learning rates: values by hand, the shape of each kind, refusals."""

from __future__ import annotations

import math
from typing import Any

import pytest

from flowops.training.schedules import Kind, learning_rate

KINDS: tuple[Kind, ...] = ("constant", "inverse-sqrt", "cosine", "linear")


def rates(kind: Kind, steps: int = 100, **options: Any) -> list[float]:
    return [learning_rate(k, base=2.0, kind=kind, steps=steps, **options) for k in range(steps)]


@pytest.mark.parametrize("kind", KINDS)
def test_the_warm_up_rises_by_equal_amounts_to_the_base(kind: Kind) -> None:
    assert rates(kind, warmup=10)[:10] == pytest.approx([0.2 * k for k in range(1, 11)])
    assert rates(kind)[0] == 2.0


@pytest.mark.parametrize("kind", KINDS)
def test_a_rate_is_positive_and_never_rises_after_the_warm_up(kind: Kind) -> None:
    values = rates(kind, warmup=7, decay_start=20)
    assert min(values) > 0
    assert all(b <= a for a, b in zip(values[7:-1], values[8:], strict=True))


def test_the_inverse_square_root_halves_after_four_times_the_start() -> None:
    values = rates("inverse-sqrt", steps=1000, decay_start=100)
    assert values[:101] == [2.0] * 101
    assert values[400] == pytest.approx(1.0)
    assert values[900] == pytest.approx(2 / 3)


def test_halfway_cosine_and_linear_are_half() -> None:
    for kind in ("cosine", "linear"):
        assert learning_rate(60, base=1.0, kind=kind, warmup=20, steps=100) == pytest.approx(0.5)
    assert learning_rate(40, base=1.0, kind="linear", warmup=20, steps=100) == pytest.approx(0.75)
    assert learning_rate(40, base=1.0, kind="cosine", warmup=20, steps=100) == pytest.approx((2 + math.sqrt(2)) / 4)


@pytest.mark.parametrize("kind", ["constant", "inverse-sqrt"])
def test_kinds_without_an_end_have_a_rate_at_any_step(kind: Kind) -> None:
    assert learning_rate(10**6, base=1.0, kind=kind, decay_start=10**4, steps=10) in (1.0, pytest.approx(0.1))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"kind": "step"}, "`kind` must be one of constant, inverse-sqrt, cosine, linear, got 'step'"),
        ({"base": 0.0}, "`base` must be a positive rate, got 0.0"),
        ({"step": -1}, "`step` must be at least 0, got -1"),
        ({"warmup": -1}, "`warmup` must be at least 0, got -1"),
        ({"decay_start": 0}, "`decay_start` must be at least 1, got 0"),
        (
            {"step": 10, "kind": "cosine"},
            "`step` and `warmup` must be below `steps` = 10 for a cosine rate, got 10 and 0",
        ),
        ({"warmup": 10, "kind": "linear"}, "must be below `steps` = 10 for a linear rate, got 0 and 10"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_wrong_arguments_are_refused(options: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        learning_rate(**{"step": 0, "base": 1e-3, "steps": 10, **options})

"""What is accepted as a time and a state, and the sentences that refuse the rest."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from flowops import FlowMap, VelocityField
from flowops._arguments import (
    check_labels,
    check_like,
    check_result,
    check_state,
    expand_time,
    expand_times,
    number,
    per_event,
    whole,
)
from tests.examples import EVENT_IDS, EVENTS, normal, uniform

HALF, BRAIN, SINGLE, DOUBLE = torch.float16, torch.bfloat16, torch.float32, torch.float64
STATE = torch.zeros(4, 3)


def drift(t: Tensor, x: Tensor) -> Tensor:
    return per_event(t, x) + x


def shift(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
    return x + per_event(t - s, x)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("x", "error", "sentence"),
    [
        ([1.0, 2.0], TypeError, "`x` must be a torch.Tensor of shape [batch, *event], got list; convert it with"),
        (np.zeros((2, 3)), TypeError, "`x` must be a torch.Tensor of shape [batch, *event], got ndarray; convert"),
        (
            torch.zeros(2, dtype=torch.int64),
            TypeError,
            "`x` must have a floating dtype, got torch.int64; pass x.float()",
        ),
        (torch.zeros(2, dtype=torch.bool), TypeError, "`x` must have a floating dtype, got torch.bool; pass x.float()"),
        (torch.zeros(2, dtype=torch.complex64), TypeError, "`x` must have a floating dtype, got torch.complex64;"),
        (torch.tensor(1.0), ValueError, "`x` must have shape [batch, *event], got a 0-d tensor; pass x[None]."),
    ],
)
def test_a_state_that_is_none_is_refused(x: Any, error: type[Exception], sentence: str) -> None:
    calls = [
        lambda: check_state(x),
        lambda: VelocityField.from_function(drift)(0.5, x),
        lambda: FlowMap.from_function(shift)(0.0, 0.5, x),
        lambda: FlowMap.from_function(shift).compose([0.0, 1.0], x),
    ]
    for call in calls:
        with pytest.raises(error, match=re.escape(sentence)):
            call()


@pytest.mark.parametrize(
    ("u", "error", "sentence"),
    [
        (torch.zeros(4), ValueError, "`u` must have the shape of `x`, [4, 3], got [4]; expand it to that shape."),
        (torch.zeros(1, 3), ValueError, "`u` must have the shape of `x`, [4, 3], got [1, 3]; expand it"),
        (
            torch.zeros(4, 3).double(),
            TypeError,
            "`u` must have the dtype of `x`, torch.float32, got torch.float64; pass",
        ),
        (
            torch.zeros(4, 3, device="meta"),
            ValueError,
            "`u` must be on the device of `x`, cpu, got meta; pass u.to(x).",
        ),
        (
            torch.zeros(4, 3, dtype=torch.int32),
            TypeError,
            "`u` must have a floating dtype, got torch.int32; pass u.float",
        ),
    ],
)
def test_a_direction_must_be_like_the_state(u: Tensor, error: type[Exception], sentence: str) -> None:
    b, X = VelocityField.from_function(drift), FlowMap.from_function(shift)
    calls = [
        lambda: check_like(u, STATE, "u"),
        lambda: b.jvp(0.0, STATE, u),
        lambda: X.jvp(0.0, 1.0, STATE, u),
        lambda: X.material_derivative(0.0, 1.0, STATE, u),
    ]
    for call in calls:
        with pytest.raises(error, match=re.escape(sentence)):
            call()
    for cotangent in (lambda: b.vjp(0.0, STATE, u), lambda: X.vjp(0.0, 1.0, STATE, u)):
        with pytest.raises(error, match=re.escape(sentence.replace("`u`", "`w`").replace("pass u.", "pass w."))):
            cotangent()


@pytest.mark.usefixtures("unchecked")  # the annotation of a time does not name the numbers of NumPy
@pytest.mark.parametrize("t", [1, 1.0, np.float64(1), np.float32(1), np.int64(1), torch.ones(()), torch.ones(4)])
@pytest.mark.parametrize("event", EVENTS, ids=EVENT_IDS)
def test_every_kind_of_time_becomes_one_per_sample(t: Any, event: tuple[int, ...]) -> None:
    assert_close(expand_time(t, torch.zeros(4, *event)), torch.ones(4))


@pytest.mark.parametrize("batch", [0, 1])
def test_small_batches_take_every_kind_of_time(batch: int) -> None:
    x = torch.zeros(batch, 2)
    for t in (0.5, torch.tensor(0.5), torch.full((batch,), 0.5)):
        assert_close(expand_time(t, x), torch.full((batch,), 0.5))


def test_a_tensor_of_times_is_returned_as_it_is() -> None:
    t = torch.rand(4)
    assert expand_time(t, STATE) is t


@pytest.mark.parametrize(("state", "time"), [(HALF, SINGLE), (BRAIN, SINGLE), (SINGLE, SINGLE), (DOUBLE, DOUBLE)])
def test_numbers_take_the_wider_of_the_state_dtype_and_float32(state: torch.dtype, time: torch.dtype) -> None:
    for value in (0.1, 1, np.float64(0.1)):
        t = expand_time(value, torch.zeros(2, dtype=state))
        assert t.dtype == time
        assert_close(t, torch.full((2,), float(value), dtype=time))


@pytest.mark.parametrize("state", [HALF, BRAIN, SINGLE, DOUBLE])
@pytest.mark.parametrize("time", [HALF, BRAIN, SINGLE, DOUBLE])
def test_times_as_precise_as_the_state_are_taken_and_the_result_keeps_its_dtype(
    state: torch.dtype, time: torch.dtype
) -> None:
    x, t = torch.ones(3, 2, dtype=state), torch.full((3,), 0.5, dtype=time)
    b, X = VelocityField.from_function(drift), FlowMap.from_function(shift)
    if torch.finfo(time).eps > torch.finfo(state).eps:
        sentence = (
            f"must be at least as precise as the state, got {time} times with {state} states; pass {{}}.to(x.dtype)."
        )
        with pytest.raises(TypeError, match=re.escape("`t` " + sentence.format("t"))):
            b(t, x)
        with pytest.raises(TypeError, match=re.escape("`s` " + sentence.format("s"))):
            X(t, 1.0, x)
        with pytest.raises(TypeError, match=re.escape("`t` " + sentence.format("t"))):
            X(0.0, t, x)
        return
    expected = torch.full((3, 2), 1.5, dtype=state)
    assert_close(b(t, x), expected)
    assert_close(X(0.0, t, x), expected)
    assert_close(X(t, 1.0, x), expected)
    assert_close(b(0.5, x), expected)


def test_the_two_times_of_a_map_reach_its_forward_in_the_wider_dtype() -> None:
    t = uniform(4)
    seen: list[torch.dtype] = []

    def record(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        seen.extend((s.dtype, t.dtype))
        return x

    FlowMap.from_function(record)(0.0, t, STATE)
    assert seen == [DOUBLE, DOUBLE]
    s, end = expand_times(torch.zeros(4, dtype=BRAIN), torch.zeros(4, dtype=HALF), STATE.bfloat16())
    assert (s.dtype, end.dtype) == (SINGLE, SINGLE)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("t", "error", "sentence"),
    [
        (
            torch.zeros(4, 1),
            ValueError,
            "must be a scalar or have shape [batch] = [4], got [4, 1]; pass {}.reshape(-1).",
        ),
        (torch.zeros(1), ValueError, "must be a scalar or have shape [batch] = [4], got [1]."),
        (torch.zeros(5), ValueError, "must be a scalar or have shape [batch] = [4], got [5]."),
        (torch.zeros(4, 3), ValueError, "must be a scalar or have shape [batch] = [4], got [4, 3]."),
        (
            torch.zeros(4, dtype=torch.int64),
            TypeError,
            "must have a floating dtype, got torch.int64; pass {}.to(x.dtype).",
        ),
        (torch.tensor(1), TypeError, "must have a floating dtype, got torch.int64; pass {}.to(x.dtype)."),
        (
            torch.zeros((), device="meta"),
            ValueError,
            "must be on the state's device, cpu, got meta; pass {}.to(x.device).",
        ),
        ("0.5", TypeError, "must be a number or a tensor, got str; pass a float."),
        (None, TypeError, "must be a number or a tensor, got NoneType; pass a float."),
        (True, TypeError, "must be a number or a tensor, got bool; pass a float."),
        (1j, TypeError, "must be a number or a tensor, got complex; pass a float."),
        ([0.5], TypeError, "must be a number or a tensor, got list; pass a float."),
        (float("nan"), ValueError, "must be finite, got nan; pass a finite number."),
        (float("inf"), ValueError, "must be finite, got inf; pass a finite number."),
    ],
)
def test_a_time_that_is_none_is_refused(t: Any, error: type[Exception], sentence: str) -> None:
    b, X = VelocityField.from_function(drift), FlowMap.from_function(shift)
    calls = {
        "t": [lambda: expand_time(t, STATE), lambda: b(t, STATE), lambda: b.dt(t, STATE), lambda: X(0.0, t, STATE)],
        "s": [lambda: expand_time(t, STATE, "s"), lambda: X(t, 0.0, STATE), lambda: X.ds(t, 0.0, STATE)],
    }
    for name, refused in calls.items():
        for call in refused:
            with pytest.raises(error, match=re.escape(f"`{name}` " + sentence.format(name))):
                call()


def test_numbers_are_finite_reals() -> None:
    assert number(np.float32(0.5), "c") == 0.5
    with pytest.raises(TypeError, match=re.escape("`c` must be a number or a tensor, got str; pass a float.")):
        number("1", "c")


@pytest.mark.parametrize(("value", "least"), [(1, 1), (5, 1), (0, 0), (10**30, 2)])
def test_whole_numbers_are_returned(value: int, least: int) -> None:
    assert whole(value, "n", least) == value


@pytest.mark.parametrize("value", [0, -3, 1.0, 2.5, True, "2", None, float("nan"), torch.tensor(2)])
def test_what_is_no_whole_number_is_refused(value: Any) -> None:
    sentence = f"`n` must be a whole number of at least 1, got {value!r}; pass 1 or more."
    with pytest.raises(ValueError, match=re.escape(sentence)):
        whole(value, "n")


def test_the_least_whole_number_counts() -> None:
    assert whole(2, "rungs", 2) == 2
    with pytest.raises(ValueError, match="`rungs` must be a whole number of at least 2, got 1; pass 2 or more"):
        whole(1, "rungs", 2)


@pytest.mark.parametrize("labels", [None, torch.arange(4), torch.zeros(4, 7), torch.ones(4, dtype=torch.bool)])
def test_labels_belong_to_their_rows(labels: Tensor | None) -> None:
    check_labels(labels, STATE, "labels")


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("labels", "error", "sentence"),
    [
        ([0, 1, 2, 3], TypeError, "`labels0` must be a tensor with one entry per sample, got list."),
        (3, TypeError, "`labels0` must be a tensor with one entry per sample, got int."),
        (torch.arange(3), ValueError, "`labels0` must hold one entry per sample, 4, got shape [3]."),
        (torch.tensor(1), ValueError, "`labels0` must hold one entry per sample, 4, got shape []."),
        (torch.zeros(1, 4), ValueError, "`labels0` must hold one entry per sample, 4, got shape [1, 4]."),
        (torch.arange(4, device="meta"), ValueError, "`labels0` must be on the device of `x0`, cpu, got meta."),
    ],
)
def test_labels_of_other_rows_are_refused(labels: Any, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=re.escape(sentence)):
        check_labels(labels, STATE, "labels0")


@pytest.mark.parametrize("event", EVENTS, ids=EVENT_IDS)
def test_per_event_spreads_numbers_over_the_event(event: tuple[int, ...]) -> None:
    x, values = normal(5, *event), normal(5, seed=1)
    product = per_event(values, x) * x
    assert product.shape == x.shape
    for i in range(5):
        assert_close(product[i], values[i] * x[i])


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("result", "error", "sentence"),
    [
        (
            None,
            TypeError,
            "FunctionField must return a tensor of the shape of the state, [4, 3], got NoneType; return the",
        ),
        (
            (STATE, STATE),
            TypeError,
            "must return a tensor of the shape of the state, [4, 3], got tuple; return the state",
        ),
        (torch.zeros(4), ValueError, "FunctionField must return the shape of the state, [4, 3], got [4]; check the"),
        (torch.zeros(1, 3), ValueError, "must return the shape of the state, [4, 3], got [1, 3]; check the reshapes"),
        (STATE.double(), TypeError, "must return the dtype of the state, torch.float32, got torch.float64; move its"),
        (
            STATE.bfloat16(),
            TypeError,
            "must return the dtype of the state, torch.float32, got torch.bfloat16; move its",
        ),
        (STATE.long(), TypeError, "must return the dtype of the state, torch.float32, got torch.int64; move its"),
    ],
)
def test_a_result_that_is_no_state_is_refused(result: Any, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=re.escape(sentence)):
        VelocityField.from_function(lambda *_: result)(0.5, STATE)
    with pytest.raises(error, match=re.escape(sentence.replace("FunctionField", "FunctionMap"))):
        FlowMap.from_function(lambda *_: result)(0.5, 0.7, STATE)


def test_only_the_promotion_by_wider_times_is_undone() -> None:
    wide = STATE.double()
    assert check_result(wide, STATE, torch.zeros(4).double(), name="The field").dtype == SINGLE
    with pytest.raises(TypeError, match="The field must return the dtype of the state"):
        check_result(wide, STATE, torch.zeros(4), name="The field")


def test_under_autocast_the_result_is_brought_back_to_the_state_dtype() -> None:
    layer = torch.nn.Linear(3, 3)
    b = VelocityField.from_function(lambda _, x: layer(x))
    with torch.autocast("cpu", dtype=BRAIN):
        assert layer(STATE).dtype == BRAIN
        assert b(0.5, STATE).dtype == SINGLE

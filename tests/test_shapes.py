"""Shape checks that remember what was right: every call that is wrong is refused, whatever came before it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from jaxtyping import Float, TypeCheckError
from torch import Tensor, nn

from tests.shapes import kind_of, remembered

State = Float[Tensor, "batch *event"]
Times = Float[Tensor, "batch"]


@remembered
def add(t: Times, x: State, *, sign: float = 1.0, texts: dict[str, str] | None = None) -> State:  # noqa: ARG001
    return x + sign * t.reshape(-1, *[1] * (x.ndim - 1))


GOOD = (torch.ones(3), torch.ones(3, 2))
BAD: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((torch.ones(2), torch.ones(3, 2)), {}),
    ((torch.ones(3, 1), torch.ones(3, 2)), {}),
    ((torch.ones(3), torch.ones(3, 2, dtype=torch.int64)), {}),
    ((torch.ones(3), [torch.ones(3, 2)]), {}),
    (GOOD, {"sign": "1"}),
    (GOOD, {"texts": {"a": 1}}),
    (GOOD, {"texts": ["a"]}),
]


@pytest.mark.parametrize(("args", "kwargs"), BAD)
def test_what_is_wrong_is_refused_before_and_after_what_is_right(args: Any, kwargs: Any) -> None:
    for _ in range(2):
        with pytest.raises(TypeCheckError):
            add(*args, **kwargs)
        for sign in (1.0, 1.0, -2.0):
            assert torch.equal(add(*GOOD, sign=sign, texts={"a": "b"}), GOOD[1] + sign)
            assert torch.equal(add(*GOOD), GOOD[1] + 1)


def test_a_value_of_another_shape_is_refused_though_the_arguments_are_known() -> None:
    values = [torch.ones(3, 2), torch.ones(3, 2), torch.ones(3), torch.ones(3, 2)]

    @remembered
    def turn(x: State) -> State:  # noqa: ARG001
        return values.pop()

    x = torch.ones(3, 2)
    assert turn(x).shape == (3, 2)
    with pytest.raises(TypeCheckError, match="return value"):
        turn(x)
    assert turn(x).shape == (3, 2)
    values.append([torch.ones(3, 2)])  # type: ignore[arg-type]
    with pytest.raises(TypeCheckError, match="return value"):
        turn(x)


def test_a_known_call_is_made_once_and_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Tensor] = []

    @remembered
    def count(x: State) -> State:
        calls.append(x)
        return x

    count(torch.ones(2))
    monkeypatch.setattr("jaxtyping._decorator.push_shape_memo", None)  # what every check begins with
    count(torch.zeros(2))
    assert len(calls) == 2
    with pytest.raises(TypeError):
        count(torch.ones(3))


@pytest.mark.parametrize(
    ("one", "other"),
    [(torch.ones(2), torch.ones(3)), (torch.ones(2), torch.ones(2).double()), (1, 1.0), (True, 1), ("a", "b"),
     (torch.ones(1), nn.Parameter(torch.ones(1))), ((1, 2), [1, 2]), ((1, 2.0), (1, 2)), (None, 0), (int, float)],
)  # fmt: skip
def test_kinds_differ_where_an_annotation_may_tell_them_apart(one: object, other: object) -> None:
    assert kind_of(one) != kind_of(other)
    assert kind_of(one) == kind_of(one) is not None


@pytest.mark.parametrize("value", [{}, {"a": 1}, ({},), iter(()), range(3), set()])
def test_containers_that_are_not_looked_into_have_no_kind(value: object) -> None:
    assert kind_of(value) is None

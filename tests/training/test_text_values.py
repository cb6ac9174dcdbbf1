"""Values as text."""

from __future__ import annotations

import pytest

from flowops.training.text_values import parse_values


@pytest.mark.parametrize(
    ("text", "value"),
    [("3", 3), ("-0.5", -0.5), ("1e-3", 1e-3), ("True", True), ("false", False), ("none", None), ("1,4.5", (1, 4.5))],
)
def test_a_value_has_its_type(text: str, value: object) -> None:
    found = parse_values([f"a={text}"], "options")["a"]
    assert found == value
    assert type(found) is type(value)


def test_other_words_are_words() -> None:
    assert parse_values(["form=velocity", "path=a=b"], "options") == {"form": "velocity", "path": "a=b"}


def test_some_names_are_read_in_their_own_way() -> None:
    assert parse_values(["a=1", "b=1"], "options", {"b": lambda text: text + "!"}) == {"a": 1, "b": "1!"}


@pytest.mark.parametrize("texts", [["a"], ["=1"], ["a="], ["a=1", "a=2"], ["a=1,b"]])
def test_what_is_no_value_is_refused_by_the_name_of_the_setting(texts: list[str]) -> None:
    with pytest.raises(ValueError, match="`data_options` must"):
        parse_values(texts, "data_options")

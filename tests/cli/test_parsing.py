"""Flags from dataclasses: help, spelling, defaults."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import pytest

from flowops.cli.parsing import Flag, parse
from flowops.training import TrainConfig
from tests.cli.commands import Console


@dataclass(frozen=True)
class Ship:
    """A ship.

    It floats.

    Attributes:
        name: of the ship.
        masts: how many.
        rows_of_oars: none on a sailing ship.
    """

    name: str
    masts: int = 3
    rows_of_oars: int | None = None


FLAGS = {"name": Flag(positional=True), "masts": Flag(name="poles", shown="COUNT")}


def settings(held: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every setting of a configuration with its value."""
    for f in fields(held):
        value = getattr(held, f.name)
        yield from settings(value, f"{prefix}{f.name}.") if is_dataclass(value) else [(prefix + f.name, value)]


def unboxed(page: str) -> str:
    """The words of a help page without the lines around them."""
    return " ".join(re.sub(r"[─│╭╮╰╯]", " ", page).split())


def test_the_help_of_train_has_every_setting_with_its_default(flowops: Console) -> None:
    text = unboxed(flowops("train", "--help").out)
    for name, value in settings(TrainConfig("digits")):
        shown = " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
        found = re.search(rf" --{re.escape(name.replace('_', '-'))}[ ,](?!unet).*?\(default: ?([^)]*)\)", text)
        assert name == "dataset" or (found is not None and found[1] == shown), name
    for group in ("network", "optimizer", "hardware", "log"):
        assert f" {group} options " in text


def test_flags_are_read_with_their_own_names() -> None:
    assert parse(Ship, ["Argo", "--poles", "1"], "ship", flags=FLAGS) == Ship("Argo", 1)


@pytest.mark.parametrize("flag", ["--rows-of-oars", "--rows_of_oars"])
def test_hyphens_and_underscores_are_one(flag: str) -> None:
    assert parse(Ship, ["Argo", flag, "25"], "ship", flags=FLAGS).rows_of_oars == 25


def test_defaults_may_come_from_elsewhere_and_flags_override_them() -> None:
    before = Ship("Argo", 1, 25)
    assert parse(Ship, [], "ship", flags=FLAGS, default=before) == before
    assert parse(Ship, ["--poles", "2"], "ship", flags=FLAGS, default=before) == Ship("Argo", 2, 25)
    assert parse(Ship, ["Fram"], "ship", flags=FLAGS, default=before) == Ship("Fram", 1, 25)


def test_the_help_is_the_docstring(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse(Ship, ["--help"], "ship", flags=FLAGS)
    assert stopped.value.code == 0
    text = unboxed(capsys.readouterr().out)
    assert text.startswith("usage: flowops ship [-h] NAME [--poles COUNT] [--rows-of-oars INT] A ship. It floats. ")
    assert "--poles COUNT how many. (default: 3)" in text
    assert "--rows-of-oars INT none on a sailing ship. (default: None)" in text
    assert "Attributes" not in text


def test_an_unknown_flag_is_a_usage_error_with_a_hint(flowops: Console) -> None:
    said = flowops("train", "digits", "--stesp", "3")
    assert said.code == 2
    assert "--stesp" in said.err
    assert "Perhaps you meant" in said.err
    assert "--steps" in said.err


@pytest.mark.parametrize(
    ("flag", "hint"),
    [
        ("--network.width", "options of the network are --network.options width=VALUE."),
        ("--network.positional-scale=3", "options of the network are --network.options positional_scale=VALUE."),
        ("--network.parametrization", "--network.parameterization {None}|STR"),
    ],
)
def test_an_option_of_the_network_as_a_flag_is_told_how_it_is_passed(flowops: Console, flag: str, hint: str) -> None:
    said = flowops("train", "checkerboard", flag, "8")
    assert (said.code, said.out) == (2, "")
    assert hint in said.err


@pytest.mark.parametrize(
    "words", [("train",), ("train", "--out"), ("train", "digits", "--steps", "many"), ("train", "digits", "moons")]
)
def test_words_that_do_not_fit_are_usage_errors(flowops: Console, words: tuple[str, ...]) -> None:
    said = flowops(*words)
    assert (said.code, said.out) == (2, "")
    assert said.err


def test_the_environment_is_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    parse(Ship, ["Argo"], "ship", flags=FLAGS)
    assert "COLUMNS" not in os.environ
    monkeypatch.setenv("COLUMNS", "60")
    parse(Ship, ["Argo"], "ship", flags=FLAGS)
    assert os.environ["COLUMNS"] == "60"

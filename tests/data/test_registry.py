"""Data sets by name: every name opens or says what it needs, factories of one's own, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flowops.data import NAMES, Dataset, open_dataset
from flowops.data.registry import ENTRIES
from tests.data.zeros import Zeros

ZEROS = Zeros()


def nothing() -> None:
    """No data set."""


def wide(path: Path, width: int) -> Dataset:
    """A factory whose option has no default."""
    return Zeros(path, width)


@pytest.mark.parametrize("name", [name for name in NAMES if not ENTRIES[name].place])
def test_a_set_without_files_opens_by_its_name(name: str) -> None:
    dataset = open_dataset(name)
    assert dataset.name == name
    assert dataset.provenance.startswith(f"{name}: ")
    assert dataset.batch(0, 2, seed=0).x1.shape == (2, *dataset.event)


@pytest.mark.parametrize("name", [name for name in NAMES if ENTRIES[name].place == "path"])
def test_a_set_of_files_asks_for_its_path(name: str) -> None:
    with pytest.raises(ValueError, match="`path` must be .*, got none; pass path="):
        open_dataset(name)
    with pytest.raises(FileNotFoundError, match="/not/there"):
        open_dataset(name, path="/not/there")
    with pytest.raises(FileNotFoundError, match="/not/there"):
        open_dataset(f"{name}:/not/there")


def test_a_factory_of_ones_own_is_imported(tmp_path: Path) -> None:
    factory = "tests.data.zeros:Zeros"
    assert open_dataset(factory).batch(0, 4, seed=0).x1.shape == (4, 3)
    assert open_dataset(factory, path=tmp_path, width=2).provenance == f"zeros from {tmp_path}"
    assert open_dataset(f"{__name__}:wide", path=tmp_path, width=2).event == (2,)
    assert open_dataset(f"{__name__}:ZEROS") is ZEROS


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("nothing", {}, "`dataset` must name a function that returns Dataset, got '.*', which returned NoneType; mend"),
        (
            "wide",
            {"width": 2},
            r"`dataset` must name a function of \(path, options...\), got .*argument: 'path'; mend",
        ),
        (
            "wide",
            {"path": "/x", "wide": 2},
            "`wide` must be an option of .*:wide, which has width; did you mean 'wid",
        ),
    ],
)
def test_a_factory_that_does_not_fit_is_refused(name: str, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(TypeError, match=sentence):
        open_dataset(f"{__name__}:{name}", **options)


@pytest.mark.parametrize("name", [ZEROS, f"{__name__}:ZEROS"])
@pytest.mark.parametrize("option", ["path", "width"])
def test_nothing_is_passed_to_a_data_set_that_is_there(name: str | Dataset, option: str) -> None:
    with pytest.raises(TypeError, match=f"`{option}` must be an option of the Zeros given, which has none"):
        open_dataset(name, **{option: "/x"})


@pytest.mark.parametrize(
    ("name", "options", "error", "sentence"),
    [
        (
            "digit",
            {},
            ValueError,
            "`dataset` must be one of .*digits.* or package.module:factory.*did you mean 'digits'",
        ),
        ("zzzz", {}, ValueError, "got 'zzzz'.$"),
        ("foldr:/x", {}, ValueError, "`dataset` must name something to import.*did you mean 'folder:/x'"),
        ("torch:nothing_there", {}, ValueError, "nothing_there.*check that it can be imported"),
        ("digits", {"path": "/x"}, ValueError, "`path` must be None for digits, which is read from no file, got /x"),
        (
            "digits:/x",
            {},
            ValueError,
            "`dataset` must be 'digits' alone with no files, got 'digits:/x'; leave out ':/x'",
        ),
        ("folder:/x", {"path": "/y"}, ValueError, "`dataset` must be 'folder' alone with `path` given, /y, got"),
        ("digits", {"flip": True}, TypeError, "`flip` must be an option of digits, which has none"),
        (
            "folder:/x",
            {"flips": True},
            TypeError,
            "`flips` must be an option of folder, which has flip, channels, .*; did you mean 'flip'",
        ),
    ],
)
def test_what_cannot_be_opened_is_refused(
    name: str, options: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        open_dataset(name, **options)

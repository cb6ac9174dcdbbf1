"""Extractors by name: those of the library, one of one's own, with weights and without, and what is refused."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from flowops.metrics import EXTRACTORS, Extractor, open_extractor

PICTURES = torch.randint(256, (5, 3, 2, 2), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def colours(note: str = "") -> Extractor:
    return Extractor("mean colour", lambda images: images.float().mean((2, 3)), 3, note)


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of the user's with factories of several signatures."""
    module: Any = ModuleType("own_features.colours")
    module.mean_colour = colours
    module.placed = lambda device="cpu": colours(f"on {device}")
    module.weighed = lambda weights, *, device: colours(f"{weights} on {device}")
    module.anything = lambda **options: colours(str(sorted(options)))
    module.wrong = lambda: "mean colour"
    module.number = 3
    monkeypatch.setitem(sys.modules, "own_features", ModuleType("own_features"))
    monkeypatch.setitem(sys.modules, "own_features.colours", module)


def test_pixels_are_the_bytes() -> None:
    features = open_extractor("pixels")(PICTURES)
    assert features.dtype == torch.float64
    assert_close((features * 255).round().to(torch.uint8).reshape(PICTURES.shape), PICTURES)
    assert features[1, 3] == PICTURES[1, 0, 1, 1].item() / 255


def test_an_extractor_is_returned_as_it_is() -> None:
    extractor = colours()
    assert open_extractor(extractor) is extractor
    with pytest.raises(ValueError, match="`weights` must be left out for Extractor"):
        open_extractor(extractor, "file.pth")


@pytest.mark.usefixtures("own")
def test_an_own_extractor_is_opened_by_its_path() -> None:
    assert_close(open_extractor("own_features.colours:mean_colour")(PICTURES), PICTURES.float().mean((2, 3)))


@pytest.mark.usefixtures("own")
def test_an_own_factory_is_given_what_it_takes() -> None:
    assert open_extractor("own_features.colours:mean_colour", device="meta").note == ""
    assert open_extractor("own_features.colours:placed", device="meta").note == "on meta"
    assert open_extractor("own_features.colours:weighed", Path("w.pth")).note == "w.pth on cpu"
    assert open_extractor("own_features.colours:anything", Path("w.pth")).note == "['device', 'weights']"


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize("name", ["pixels", "own_features.colours:mean_colour", "own_features.colours:placed"])
def test_weights_are_refused_where_there_are_none(name: str) -> None:
    with pytest.raises(ValueError, match=f"`weights` must be left out for '{name}', which takes none, got 'file.pth'"):
        open_extractor(name, "file.pth")


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("incepton", ValueError, "be one of pixels, inception, dinov2 or .*got 'incepton'; did you mean 'inception'"),
        ("classifier", ValueError, "be one of pixels, inception, dinov2 or package.module:factory, got 'classifier'"),
        ("own_features.colours:wrong", TypeError, "name a function that returns Extractor, got .*which returned str"),
        ("own_features.colours:number", ValueError, "name a function that returns Extractor, got '.*', which is int"),
        ("own_features.colours:none", ValueError, "name something to import, package.module:name, got"),
        ("own_features.none:mean_colour", ValueError, "name something to import, package.module:name, got"),
    ],
)
def test_what_cannot_be_opened_is_refused(name: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"`features` must {message}"):
        open_extractor(name)


def test_the_table_names_what_is_there() -> None:
    assert list(EXTRACTORS) == ["pixels", "inception", "dinov2"]
    assert EXTRACTORS.options("inception") == {}

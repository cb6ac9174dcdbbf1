"""Extractors: what goes in and comes out, names, an extractor of one's own."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from flowops.metrics import Extractor, open_extractor

PICTURES = torch.randint(256, (5, 3, 2, 2), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def test_pixels_are_the_bytes() -> None:
    features = open_extractor("pixels")(PICTURES)
    assert features.dtype == torch.float64
    assert_close((features * 255).round().to(torch.uint8).reshape(PICTURES.shape), PICTURES)
    assert features[1, 3] == PICTURES[1, 0, 1, 1].item() / 255


def test_chunks_are_put_together_in_order() -> None:
    pixels = open_extractor("pixels")
    assert_close(pixels.features(PICTURES, chunk=2), pixels(PICTURES))
    assert_close(pixels.features(iter(PICTURES.split([1, 4])), chunk=3), pixels(PICTURES))
    with pytest.raises(ValueError, match="`images` must not be empty"):
        pixels.features(PICTURES[:0])


def test_features_carry_no_graph_and_are_computed_in_full_precision() -> None:
    cudnn: Any = torch.backends.cudnn
    weight, seen = torch.ones(12, 4, requires_grad=True), []

    def function(images: Tensor) -> Tensor:
        seen.append(cudnn.conv.fp32_precision)
        return images.flatten(1).float() @ weight

    before = cudnn.conv.fp32_precision
    assert not Extractor("mine", function)(PICTURES).requires_grad
    assert seen == ["ieee"]
    assert cudnn.conv.fp32_precision == before


def test_an_own_extractor_is_opened_by_its_path(monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = ModuleType("own_features.colours")
    module.mean_colour = lambda: Extractor("mean colour", lambda images: images.float().mean((2, 3)), 3)
    module.wrong = lambda: "mean colour"
    monkeypatch.setitem(sys.modules, "own_features", ModuleType("own_features"))
    monkeypatch.setitem(sys.modules, "own_features.colours", module)
    extractor = open_extractor("own_features.colours:mean_colour")
    assert_close(extractor(PICTURES), PICTURES.float().mean((2, 3)))
    with pytest.raises(TypeError, match="own_features.colours:wrong must return an Extractor, got str"):
        open_extractor("own_features.colours:wrong")
    with pytest.raises(ValueError, match="must be package.module:factory of a module that can be imported"):
        open_extractor("own_features.colours:none")
    with pytest.raises(ValueError, match="must be package.module:factory of a module that can be imported"):
        open_extractor("own_features.none:mean_colour")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("incepton", "got 'incepton'; did you mean 'inception'"),
        ("classifier", "got 'classifier'; did you mean 'classifier:FILE'"),
        ("classifier:", "must be one of pixels, classifier:FILE, inception"),
    ],
)
def test_an_unknown_name_is_told(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_extractor(name)


def test_weights_belong_to_inception() -> None:
    with pytest.raises(ValueError, match="`weights` must be left out for 'pixels'"):
        open_extractor("pixels", "file.pth")


@pytest.mark.parametrize(
    ("images", "kind", "message"),
    [
        (PICTURES.float(), TypeError, "must be a uint8 tensor, got torch.float32; convert states"),
        (PICTURES[0], ValueError, r"shape \[n, channels, height, width\], got \[3, 2, 2\]"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_only_bytes_are_pictures(images: Tensor, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        open_extractor("pixels")(images)


@pytest.mark.parametrize(
    ("result", "kind", "message"),
    [
        (torch.zeros(5, 4), ValueError, r"'mine' must return shape \[5, 3\], got \[5, 4\]"),
        (torch.zeros(4, 3), ValueError, r"'mine' must return shape \[5, 3\], got \[4, 3\]"),
        (torch.zeros(5, 3, dtype=torch.int64), TypeError, "must return a floating tensor, got torch.int64"),
        ([0.0], TypeError, "must return a floating tensor, got list"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_a_function_must_return_features(result: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        Extractor("mine", lambda _: result, 3)(PICTURES)

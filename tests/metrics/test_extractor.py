"""Extractors: what goes in, what comes out, and at which precision."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from flowops.metrics import Extractor, open_extractor

PICTURES = torch.randint(256, (5, 3, 2, 2), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def test_chunks_are_put_together_in_order() -> None:
    pixels = open_extractor("pixels")
    assert_close(pixels.features(PICTURES, chunk=2), pixels(PICTURES))
    assert_close(pixels.features(iter(PICTURES.split([1, 4])), chunk=3), pixels(PICTURES))
    with pytest.raises(ValueError, match="`images` must not be empty"):
        pixels.features(PICTURES[:0])


def test_features_carry_no_graph_and_are_computed_in_full_precision() -> None:
    cudnn: Any = torch.backends.cudnn
    weight, seen = torch.ones(12, 4, requires_grad=True), []

    def precisions() -> tuple[str, str]:
        return cudnn.conv.fp32_precision, torch.get_float32_matmul_precision()

    def function(images: Tensor) -> Tensor:
        seen.append(precisions())
        return images.flatten(1).float() @ weight

    before = precisions()
    try:
        cudnn.conv.fp32_precision = "tf32"
        torch.set_float32_matmul_precision("high")  # as training sets it
        assert not Extractor("mine", function)(PICTURES).requires_grad
        assert seen == [("ieee", "highest")]
        with pytest.raises(RuntimeError, match="is invalid"):
            Extractor("broken", lambda images: images.reshape(7))(PICTURES)
        assert precisions() == ("tf32", "high")
    finally:
        cudnn.conv.fp32_precision = before[0]
        torch.set_float32_matmul_precision(before[1])


def test_images_are_brought_to_the_device_of_the_function() -> None:
    seen: list[torch.device] = []

    def function(images: Tensor) -> Tensor:
        seen.append(images.device)
        return images.flatten(1).float()

    assert Extractor("mine", function, device="meta")(PICTURES).device.type == "meta"
    Extractor("mine", function)(PICTURES)
    assert [device.type for device in seen] == ["meta", "cpu"]
    assert open_extractor("pixels", device="meta")(PICTURES).device.type == "meta"


@pytest.mark.parametrize(
    ("images", "kind", "message"),
    [
        (PICTURES.float(), TypeError, "must be a uint8 tensor, got torch.float32; convert states"),
        (PICTURES[0], ValueError, r"shape \[n, channels, height, width\], got \[3, 2, 2\]"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_only_bytes_are_images(images: Tensor, kind: type[Exception], message: str) -> None:
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

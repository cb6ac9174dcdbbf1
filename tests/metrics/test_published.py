"""Extractors with published weights: the published file or a sentence, and coloured images alone."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from flowops.metrics import dinov2, inception, open_extractor

NETWORKS = {
    "inception": (inception.WEIGHTS, "torch_fidelity.feature_extractor_inceptionv3"),
    "dinov2": (dinov2.WEIGHTS, "timm.models.vision_transformer"),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_missing_weights_are_told_with_their_address(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, library = NETWORKS[name]
    pytest.importorskip(library)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(FileNotFoundError) as caught:
        open_extractor(name)
    for part in (weights.url, weights.size, str(tmp_path / "checkpoints" / weights.file), "weights=FILE"):
        assert part in str(caught.value)
    with pytest.raises(FileNotFoundError, match=r"mine\.pth"):
        open_extractor(name, tmp_path / "mine.pth")


@pytest.mark.parametrize("name", NETWORKS)
def test_another_file_is_refused_before_it_is_read(name: str, tmp_path: Path) -> None:
    weights, library = NETWORKS[name]
    pytest.importorskip(library)
    (tmp_path / "mine.pth").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(ValueError, match=f"with SHA-256 {weights.sha256[:16]}..., got"):
        open_extractor(name, tmp_path / "mine.pth")


@pytest.mark.parametrize("name", NETWORKS)
def test_a_missing_package_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    library = NETWORKS[name][1]
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.setitem(sys.modules, library.partition(".")[0], None)
    with pytest.raises(ImportError, match=r"flowops\[metrics\]"):
        open_extractor(name)


@pytest.mark.parametrize("name", NETWORKS)
def test_grey_images_are_refused(name: str) -> None:
    weights = NETWORKS[name][0]
    with pytest.raises(ValueError, match=f"must have 3 channels for {weights.whose}, got 1"):
        weights.check_colours(torch.zeros(2, 1, 8, 8, dtype=torch.uint8))

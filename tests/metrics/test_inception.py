"""Inception's features: those of the port that torchmetrics uses too."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from flowops.metrics import inception, open_extractor

PORT = "torch_fidelity.feature_extractor_inceptionv3"
pytest.importorskip(PORT, reason="torch-fidelity is not installed")


def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """Weights with the names and shapes of the published ones, drawn at random."""
    fidelity: Any = import_module(PORT)

    class Empty(fidelity.FeatureExtractorInceptionV3):
        def load_state_dict(self, *_: Any, **__: Any) -> None:
            pass

    monkeypatch.setattr(fidelity, "load_state_dict_from_url", lambda *_, **__: {})
    state: dict[str, Tensor] = Empty("inception", ["2048"]).state_dict()
    source = torch.Generator().manual_seed(0)
    for value in state.values():
        if value.ndim > 1:
            value.normal_(generator=source).mul_((2 / value[0].numel()) ** 0.5)
    return state


@pytest.mark.slow
def test_features_are_those_of_the_port_of_torchmetrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port = pytest.importorskip("torchmetrics.image.fid").NoTrainInceptionV3
    file = tmp_path / "drawn.pth"
    torch.save(drawn(monkeypatch), file)
    own = replace(inception.WEIGHTS, sha256=hashlib.sha256(file.read_bytes()).hexdigest())
    monkeypatch.setattr(inception, "WEIGHTS", own)
    extractor = open_extractor("inception", file)
    images = torch.randint(256, (2, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    features = extractor(images)
    other = port("inception", ["2048"], str(file), antialias=False)
    assert features.shape == (2, 2048)
    assert not torch.equal(features[0], features[1])
    assert_close(features, other(images))
    with pytest.raises(ValueError, match="must have 3 channels for Inception, got 1"):
        extractor(images[:, :1])

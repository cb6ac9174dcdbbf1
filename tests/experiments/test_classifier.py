"""The small classifier: reproducible, each image seen alone, and a file that is what it says or refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from experiments._classifier import Classifier, load_classifier, save_classifier
from flowops.metrics import Extractor, open_extractor

safetensors = pytest.importorskip("safetensors", reason="safetensors is not installed")
pytest.importorskip("safetensors.torch")

ABOUT = {"data": "random bytes", "accuracy": "0.1", "seed": "0"}


def small(seed: int = 0) -> Classifier:
    return Classifier((1, 8, 8), 5, width=2, generator=torch.Generator().manual_seed(seed))


def images(n: int) -> torch.Tensor:
    return torch.randint(256, (n, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def metadata_of(file: Path) -> dict[str, str]:
    with safetensors.safe_open(file, framework="pt") as held:
        return dict(held.metadata())


def opened(file: Path) -> Extractor:
    """The features of the classifier in a file, by name."""
    return open_extractor("experiments._classifier:classifier_extractor", file)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    network, path = small(), tmp_path / "classifier.safetensors"
    network(images(50).float() / 127.5 - 1)  # so that its statistics are not those of the start
    save_classifier(network, path, about=ABOUT)
    return path


def test_the_size_for_cifar10_is_below_a_megabyte(tmp_path: Path) -> None:
    network = Classifier(generator=torch.Generator().manual_seed(0))
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    assert network.features(torch.zeros(2, 3, 32, 32)).shape == (2, 128)
    save_classifier(network, tmp_path / "c.safetensors", about=ABOUT)
    assert (tmp_path / "c.safetensors").stat().st_size < 1e6


def test_parameters_come_from_the_generator_alone() -> None:
    state = torch.get_rng_state()
    assert_close(small().state_dict(), small().state_dict(), rtol=0, atol=0)
    assert torch.equal(state, torch.get_rng_state())
    assert not torch.equal(small().last.weight, small(1).last.weight)


def test_the_features_are_those_of_the_network_that_was_saved(file: Path) -> None:
    network = small()
    network(images(50).float() / 127.5 - 1)
    extractor = opened(file)
    expected = network.eval().features(images(6).float() / 127.5 - 1)
    assert extractor.dimension == 8
    assert_close(extractor(images(6)), expected.detach(), rtol=1e-2, atol=1e-3)  # the file keeps 11 bits
    assert_close(network.last(expected), network(images(6).float() / 127.5 - 1))
    assert_close(extractor(images(6))[2:3], extractor(images(6)[2:3]))


def test_what_is_known_is_kept_and_names_the_features(file: Path, tmp_path: Path) -> None:
    assert load_classifier(file).about == ABOUT
    extractor = opened(file)
    assert extractor.note == "random bytes, accuracy 0.1"
    save_classifier(small(1), tmp_path / "other.safetensors", about=ABOUT)
    other = opened(tmp_path / "other.safetensors")
    assert extractor.name != other.name
    about = {**metadata_of(file), "accuracy": "0.2"}
    safetensors.torch.save_file(safetensors.torch.load_file(file), file, metadata=about)
    again = opened(file)
    assert again.name == extractor.name == f"classifier:{load_classifier(file).fingerprint}"


def test_images_of_another_size_are_refused(file: Path) -> None:
    with pytest.raises(
        ValueError, match=r"shape \[n, 1, 8, 8\] for the classifier of random bytes, got \[2, 3, 8, 8\]"
    ):
        opened(file)(torch.zeros(2, 3, 8, 8, dtype=torch.uint8))


def test_data_and_accuracy_must_be_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="got no data and no accuracy"):
        save_classifier(small(), tmp_path / "c.safetensors", about={"seed": "0"})


def test_a_damaged_or_missing_file_is_told(file: Path) -> None:
    with pytest.raises(FileNotFoundError, match="must be a file with a classifier, and there is none"):
        load_classifier(file.with_name("none.safetensors"))
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ValueError, match="got a damaged one"):
        load_classifier(file)


@pytest.mark.parametrize(
    "sizes",
    [
        {"event": [1, 8, 8], "classes": 5, "width": 3},
        {"event": [1, 8, 8], "classes": 5, "width": 10**9},
        {"event": [1, 8, 10**9], "classes": 5, "width": 2},
        {"event": [1, 8], "classes": 5, "width": 2},
        {"event": "182", "classes": 5, "width": 2},
        {"event": [1, 8, 8], "classes": None, "width": 2},
        {"event": [1, 8, 8], "width": 2},
        [1, 8, 8],
        None,
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_a_file_of_another_architecture_is_refused(sizes: Any, file: Path) -> None:
    metadata = {"format": "flowops classifier 1"} | ({} if sizes is None else {"architecture": json.dumps(sizes)})
    safetensors.torch.save_file(safetensors.torch.load_file(file), file, metadata=metadata)
    with pytest.raises(ValueError, match="must hold the weights of the architecture it names, and does not"):
        load_classifier(file)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"event": (3, 4, 8)}, "`event` must be channels, height and width of at least 8"),
        ({"classes": 0}, "`classes` must be a whole number from 1"),
        ({"width": True}, "`width` must be a whole number from 1"),
    ],
)
def test_sizes_out_of_range_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Classifier(**arguments)

"""The protocols of the comparison, cut down to seconds, and what becomes of their tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from experiments import compare
from experiments._halved import _doubled, _halved, halved
from experiments.compare import PROTOCOLS, best, go, measured, settled
from flowops._named import parse_values
from flowops.cli.compare import chosen
from flowops.comparison import Comparison
from flowops.comparison.axes import variants
from flowops.data import open_dataset
from flowops.methods import get_method
from flowops.runs.assembly import completed
from flowops.runs.settings import check_config
from tests.data.image_files import encoded, pixels, written_folder

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:.*more samples:UserWarning")


@pytest.mark.parametrize("name", PROTOCOLS)
def test_the_settings_of_every_protocol_are_valid(name: str) -> None:
    given = PROTOCOLS[name]
    event = {"digits": (1, 8, 8), "checkerboard": (2,), "cifar10-16": (3, 16, 16), "cifar10-32": (3, 32, 32)}[name]
    check_config(completed(given, {}, event))
    if given.methods:
        assert {"lsd", "meanflow", "ect"} <= {each.method for each in variants(given.methods, given.set)}


def test_the_digits_are_the_demo_on_fewer_images() -> None:
    """All rows, the network, optimizer and batches that the data set suggests; `lsd` as in the table, too."""
    digits, own = open_dataset("digits"), PROTOCOLS["digits"]
    config = completed(own, digits.defaults, digits.event)
    assert (config.batch, config.optimizer.kind, own.methods) == (256, "muon", ("all",))
    assert 0 < (own.samples_seen or 0) < (config.steps or 0) * 256 / 2
    plain, suited = (each for each in variants(own.methods, own.set) if each.method == "lsd")
    given, table = get_method("lsd", **parse_values(plain.options, "options")), get_method("lsd")
    assert (given.terms, vars(given.options)) == (table.terms, vars(table.options))
    assert set(digits.defaults["options.lsd"]) == set(suited.options)


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(compare, "RESULTS", tmp_path / "results")
    return tmp_path / "results"


WORDS = ["--network", "mlp", "--network.options", "width=8", "depth=1", "--batch", "16", "--samples-seen", "32",
         "--jobs", "0", "--steps", "1", "2", "--n", "80", "--seeds", "0", "--solver", "none"]  # fmt: skip


def test_a_protocol_that_was_changed_stays_in_its_folder(results: Path, tmp_path: Path) -> None:
    go(["digits", *WORDS, "--methods", "lsd,fm", "--out", str(tmp_path / "it")])
    found = Comparison.load(tmp_path / "it").rows
    assert [row.label for row in found] == ["lsd eta=0.75 law=none", "lsd eta=0.5 law=InsideSteps(3)", "fm"]
    assert not results.exists()


@pytest.mark.slow
def test_a_whole_protocol_makes_the_page_and_chooses_the_best(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = chosen([*WORDS, "--methods", "lsd,fm,ct", "--out", str(tmp_path / "it")], "compare", PROTOCOLS["digits"])
    monkeypatch.setattr(compare, "PROTOCOLS", {"digits": tiny})
    with pytest.raises(FileNotFoundError, match="measure digits first"):
        best(folder=results)
    go(["digits"])
    found = measured("digits", results)
    assert found is not None
    assert {path.name for path in results.iterdir()} == {f"compare_digits.{kind}" for kind in ("json", "md", "png")}
    assert set(best(folder=results)) == {"lsd", "ct"}  # a field is no map in few steps
    assert str(tmp_path) not in (results / "compare_digits.json").read_text()


def test_the_first_word_is_a_protocol() -> None:
    with pytest.raises(ValueError, match="one of digits, checkerboard, cifar10-16, cifar10-32, got"):
        go(["cifar"])


def test_options_of_rows_that_are_not_compared_are_dropped() -> None:
    own = PROTOCOLS["digits"]
    assert settled(replace(own, methods=("fm",))).set == ()
    assert [text.partition(":")[0] for text in settled(replace(own, methods=("lsd",))).set] == ["lsd", "lsd"]
    assert settled(own).set == own.set


def test_halved_images_are_means_of_four() -> None:
    x = torch.randint(256, (3, 3, 4, 6), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    wanted = torch.nn.functional.avg_pool2d(x.double(), 2)
    assert _halved(x).shape == (3, 3, 2, 3)
    assert bool(((_halved(x).double() - wanted).abs() <= 0.5).all())
    assert torch.equal(_halved(_doubled(x)), x)


def test_a_folder_is_halved_with_its_labels_and_splits(tmp_path: Path) -> None:
    names = {f"{split}/{label}/{k}.png": k for split in ("train", "test") for label in ("a", "b") for k in (0, 1)}
    folder = written_folder(tmp_path / "all", {name: encoded(pixels(k, 4, 6)) for name, k in names.items()})
    found, whole = halved(folder), open_dataset(f"folder:{folder}")
    assert tuple(found.event) == (3, 2, 3)
    assert (found.classes, set(found.splits), found.flips) == (("a", "b"), {"train", "test"}, True)
    one, other = (data.reference(4, split="test", seed=0) for data in (found, whole))
    assert one.labels is not None
    assert other.labels is not None
    assert torch.equal(one.labels, other.labels)
    torch.testing.assert_close(one.x1, torch.nn.functional.avg_pool2d(other.x1, 2), rtol=0, atol=0.005)
    odd = written_folder(tmp_path / "odd", {"a.png": encoded(pixels(0, 3, 4))})
    with pytest.raises(ValueError, match="must hold images of even sides, got"):
        halved(odd)

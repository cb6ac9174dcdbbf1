"""Runs that are read from disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from flowops.data import PairedArrays
from flowops.training import CheckpointError, NetworkConfig, Run, TrainConfig, train

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")
Make = Callable[..., TrainConfig]
NETWORK = NetworkConfig(channels=4, multipliers=(1,), blocks=1, attention=())


@pytest.fixture
def plain(small: Make) -> Run:
    return train(small("plain", averages=(0.1, 0.9)), report=print)


@pytest.fixture
def labelled(small: Make) -> Run:
    return train(small("labelled", "digits", network=NETWORK, steps=3), report=print)


def test_the_returned_run_is_the_one_on_disk(plain: Run) -> None:
    read = Run.load(plain.folder.path)
    assert read.config == plain.config
    torch.testing.assert_close(read.sample(7, steps=3), plain.sample(7, steps=3), rtol=0, atol=0)


def test_a_sample_depends_on_its_number_and_the_seed_only(plain: Run) -> None:
    few, many = plain.base(3, seed=4), plain.base(9, seed=4)
    assert torch.equal(few, many[:3])
    assert not torch.equal(few, plain.base(3, seed=5))


def test_two_steps_are_the_composition(plain: Run) -> None:
    x0 = plain.base(6)
    middle = plain.X(0.0, 0.3, x0)
    torch.testing.assert_close(plain.sample(6, grid=[0.0, 0.3, 1.0]), plain.X(0.3, 1.0, middle))


def test_the_solver_follows_the_diagonal_of_the_map(plain: Run) -> None:
    solved = plain.solve(5, method="euler", steps=40)
    X, x = plain.X, plain.base(5)
    for k in range(40):
        x = x + X.average_velocity(k / 40, k / 40, x) / 40
    torch.testing.assert_close(solved.x, x, rtol=1e-4, atol=1e-5)
    assert solved.calls == 40


def test_every_average_and_every_checkpoint_can_be_asked_for(plain: Run) -> None:
    runs = [Run.load(plain.folder.path, average=name) for name in ("0.1", "0.9", "none")]
    runs.append(Run.load(plain.folder.path, step=4))
    results = [run.sample(4) for run in runs]
    assert not any(torch.equal(a, b) for i, a in enumerate(results) for b in results[:i])
    assert [run.step for run in runs] == [8, 8, 8, 4]


def test_what_is_not_there_is_named(plain: Run, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="must be the folder of a run"):
        Run.load(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError, match="step 5"):
        Run.load(plain.folder.path, step=5)
    with pytest.raises(CheckpointError, match="one of 0.1, 0.9 or none"):
        Run.load(plain.folder.path, average="0.7")


def test_labels_are_given_in_turn_or_as_asked_for(labelled: Run) -> None:
    assert labelled.conditioning(12, None, None).labels.tolist() == [*range(10), 0, 1]  # type: ignore[union-attr]
    with torch.no_grad():
        wanted = labelled.X.given(label=torch.full((4,), 3))(0.0, 1.0, labelled.base(4))
    torch.testing.assert_close(labelled.sample(4, label=3), wanted)
    torch.testing.assert_close(labelled.sample(4, label=[3, 3, 3, 3], chunk=3), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("label", "message"), [(10, "between 0 and 9"), (-1, "between 0 and 9"), ([1, 2], "one class or 4 of them")]
)
def test_a_label_out_of_range_is_refused(labelled: Run, label: int | list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        labelled.sample(4, label=label)


@pytest.mark.parametrize(("label", "guidance"), [(3, None), (None, 1.5)])
def test_labels_and_guidance_need_a_map_with_labels(plain: Run, label: int | None, guidance: float | None) -> None:
    with pytest.raises(ValueError, match="trained without labels"):
        plain.sample(4, label=label, guidance=guidance)


def test_guidance_of_one_is_none_and_zero_is_unconditional(labelled: Run) -> None:
    torch.testing.assert_close(labelled.sample(4, label=2, guidance=1.0), labelled.sample(4, label=2))
    with torch.no_grad():
        wanted = labelled.X.given(label=torch.full((4,), 10))(0.0, 1.0, labelled.base(4))
    torch.testing.assert_close(labelled.sample(4, label=2, guidance=0.0), wanted)


def test_the_guided_map_has_the_guided_field_on_its_diagonal(labelled: Run) -> None:
    conditioning, x = labelled.conditioning(4, 2, 2.5), labelled.base(4)
    with torch.no_grad():
        wanted = conditioning.field()(0.3, x)
        torch.testing.assert_close(conditioning.map().velocity()(0.3, x), wanted, rtol=1e-4, atol=1e-4)


def test_a_map_trained_with_guidance_takes_its_scale(small: Make) -> None:
    run = train(small("guided", "digits", network=NETWORK, options=("guidance=1,3",), steps=3), report=print)
    assert run.guided
    with torch.no_grad():
        X = run.X.given(label=torch.full((4,), 2), guidance=torch.full((4,), 2.0))
        wanted = X(0.0, 1.0, run.base(4))
    torch.testing.assert_close(run.sample(4, label=2, guidance=2.0), wanted)
    assert run.solve(4, method="euler", steps=3, label=2, guidance=2.0).calls == 3


def test_pairs_start_from_their_own_base(small: Make) -> None:
    run = train(small("pairs", f"{__name__}:pairs"), report=print)
    assert run.paired
    assert set(map(tuple, run.base(5).tolist())) <= set(map(tuple, pairs().x0.tolist()))


def test_the_settings_of_a_run_may_not_smuggle_code_into_a_schedule(plain: Run) -> None:
    text = plain.folder.config.read_text()
    plain.folder.config.write_text(text.replace("alpha: null", 'alpha: "__import__(\'os\').getcwd()"'
                                                ).replace("beta: null", "beta: t"))  # fmt: skip
    with pytest.raises(ValueError, match="__import__"):
        Run.load(plain.folder.path)


def test_the_facts_of_a_run_are_json(plain: Run) -> None:
    facts = json.loads(plain.folder.facts.read_text())
    assert facts["event"] == [2]
    assert facts["paired"] is False


def pairs() -> PairedArrays:
    """A data set of pairs."""
    x0 = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
    return PairedArrays(x0, x0 + 1)


@pytest.mark.parametrize("text", ["{}", "nothing", '{"event": 3, "classes": [], "paired": false}'])
def test_damaged_facts_are_one_sentence(plain: Run, text: str) -> None:
    plain.folder.facts.write_text(text)
    with pytest.raises(ValueError, match="must hold event, classes and paired"):
        Run.load(plain.folder.path)


def test_weights_of_another_network_are_one_sentence(plain: Run) -> None:
    text = plain.folder.config.read_text()
    plain.folder.config.write_text(text.replace("width: 8", "width: 9"))
    with pytest.raises(CheckpointError, match=r"must be those of the network of config\.yaml") as caught:
        Run.load(plain.folder.path)
    assert "\n" not in str(caught.value)

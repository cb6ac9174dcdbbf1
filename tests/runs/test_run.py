"""Runs that are read from disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from flowops import interpolants, problems
from flowops.maps import EDMPreconditioning, SecondOrder
from flowops.networks import MLP
from flowops.runs import CheckpointError, NetworkConfig, Run
from flowops.training import train
from tests.runs.small import PERCEPTRON, Make, pairs, silent

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")
GRID = [0.0, 0.3, 1.0]
UNET = NetworkConfig("unet", channels=4, multipliers=(1,), blocks=1)


@pytest.fixture
def broken(small: Make) -> Run:
    """A run whose files a test changes."""
    return train(small("broken", steps=2), report=silent)


class TestReading:
    def test_the_returned_run_is_the_one_on_disk(self, plain: Run) -> None:
        read = Run.load(plain.folder.path)
        assert read.config == plain.config
        assert (read.step, read.event, read.classes, read.paired) == (8, torch.Size([2]), (), False)
        torch.testing.assert_close(read.sample(7, steps=3), plain.sample(7, steps=3), rtol=0, atol=0)

    def test_a_finished_run_is_read_where_it_would_train(self, broken: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        devices, plain = [], Run.load

        def noted(path: Path, **options: Any) -> Run:
            devices.append(options.get("device"))
            return plain(path, **options)

        monkeypatch.setattr(Run, "load", noted)
        assert train(broken.config, resume=True, report=silent).step == broken.step
        assert devices == [torch.device("cpu")]

    def test_every_average_and_every_checkpoint_can_be_asked_for(self, plain: Run) -> None:
        runs = [Run.load(plain.folder.path, average=name) for name in ("0.1", "0.9", "none")]
        runs.append(Run.load(plain.folder.path, step=4))
        results = [run.sample(4) for run in runs]
        assert not any(torch.equal(a, b) for i, a in enumerate(results) for b in results[:i])
        assert [run.step for run in runs] == [8, 8, 8, 4]

    def test_what_is_not_there_is_named(self, plain: Run, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="must be the folder of a run"):
            Run.load(tmp_path / "nothing")
        with pytest.raises(FileNotFoundError, match="step 5"):
            Run.load(plain.folder.path, step=5)
        with pytest.raises(CheckpointError, match=r"one of 0\.1, 0\.9 or none"):
            Run.load(plain.folder.path, average="0.7")

    def test_the_settings_of_a_run_may_not_smuggle_code_into_a_schedule(self, broken: Run) -> None:
        text = broken.folder.config.read_text()
        code = "\"__import__('os').getcwd()\""
        broken.folder.config.write_text(text.replace("alpha: null", f"alpha: {code}").replace("beta: null", "beta: t"))
        with pytest.raises(ValueError, match="__import__"):
            Run.load(broken.folder.path)

    def test_the_facts_of_a_run_are_json(self, plain: Run, labelled: Run) -> None:
        facts = json.loads(plain.folder.facts.read_text())
        assert facts["event"] == [2]
        assert facts["paired"] is False
        assert facts["classes"] == []
        assert json.loads(labelled.folder.facts.read_text())["classes"] == list("0123456789")

    @pytest.mark.parametrize(
        "text", ["{}", "nothing", '{"event": 3, "classes": [], "paired": false, "guided": false}', "[]"]
    )
    def test_damaged_facts_are_one_sentence(self, broken: Run, text: str) -> None:
        broken.folder.facts.write_text(text)
        with pytest.raises(ValueError, match="must hold event, classes, paired and guided") as caught:
            Run.load(broken.folder.path)
        assert "\n" not in str(caught.value)

    def test_weights_of_another_network_are_one_sentence(self, broken: Run) -> None:
        text = broken.folder.config.read_text()
        assert "width=8" in text
        broken.folder.config.write_text(text.replace("width=8", "width=9"))
        with pytest.raises(CheckpointError, match=r"must be those of the network of config\.yaml") as caught:
            Run.load(broken.folder.path)
        assert "\n" not in str(caught.value)

    def test_settings_of_an_older_version_are_one_sentence(self, broken: Run) -> None:
        text = broken.folder.config.read_text()
        broken.folder.config.write_text(text.replace("version: 2", "version: 1"))
        with pytest.raises(ValueError, match="must be a configuration of version 2, got version 1") as caught:
            Run.load(broken.folder.path)
        assert "\n" not in str(caught.value)

    def test_an_older_checkpoint_in_place_of_a_damaged_one_is_told_on_the_standard_error(
        self, small: Make, capsys: pytest.CaptureFixture[str]
    ) -> None:
        run, lines = train(small("cut"), report=silent), list[str]()
        (run.folder.checkpoints / "8" / "ema-0.999.safetensors").write_bytes(b"")
        assert (Run.load(run.folder.path).step, Run.load(run.folder.path, report=lines.append).step) == (4, 4)
        assert capsys.readouterr().err == f"{lines[0]}\n"
        assert lines[0].startswith(
            f"Checkpoint 8 is not used: {run.folder.checkpoints / '8' / 'ema-0.999.safetensors'} "
        )
        assert Run.load(run.folder.path, average="none", report=pytest.fail).step == 8
        with pytest.raises(CheckpointError, match="it is cut"):
            Run.load(run.folder.path, step=8)

    def test_it_is_shown_in_one_line(self, plain: Run) -> None:
        assert repr(plain) == f"Run({plain.folder.path}: lsd on checkerboard, step 8, cpu)"


class TestParameterizations:
    """What the network predicts is part of a run: the map on disk is the one that was trained."""

    @pytest.mark.parametrize(
        ("network", "teacher", "kind"),
        [
            (NetworkConfig(PERCEPTRON.kind, PERCEPTRON.options, "edm", {"sigma_data": 0.6}), None, EDMPreconditioning),
            (NetworkConfig(PERCEPTRON.kind, PERCEPTRON.options, "second-order"), "problem:gaussian", SecondOrder),
        ],
        ids=["edm", "second-order"],
    )
    def test_a_run_is_read_with_its_own(
        self, small: Make, network: NetworkConfig, teacher: str | None, kind: type
    ) -> None:
        method = "lsd" if teacher is None else "lmd"
        run = train(small(network=network, teacher=teacher, method=method, interpolant="trigonometric"), report=silent)
        read = Run.load(run.folder.path)
        x0, other = run.base(6), Run(**{**vars(run), "X": type(run.X)(run.X.network)})
        for found in (run, read):
            assert isinstance(found.X.parameterization, kind)
        with torch.no_grad():
            for s, t in ((0.0, 1.0), (0.3, 0.8), (0.5, 0.5)):
                torch.testing.assert_close(read.X(s, t, x0), run.X(s, t, x0), rtol=0, atol=0)
        torch.testing.assert_close(read.sample(6, steps=2), run.sample(6, steps=2), rtol=0, atol=0)
        assert not torch.allclose(other.sample(6, steps=2), run.sample(6, steps=2))

    def test_the_field_of_a_second_order_map_is_the_given_one(self, small: Make) -> None:
        network = NetworkConfig(PERCEPTRON.kind, PERCEPTRON.options, "second-order")
        config = small(network=network, teacher="problem:gaussian", method="lmd", interpolant="trigonometric")
        read = Run.load(train(config, report=silent).folder.path)
        b, x, t = problems.REFERENCE["gaussian"](interpolants.trigonometric()).b, read.base(6), torch.linspace(0, 1, 6)
        with torch.no_grad():
            torch.testing.assert_close(read.X.velocity()(t, x), b(t, x))

    def test_one_that_is_made_of_a_run_is_read_with_that_run(self, small: Make) -> None:
        first = train(small("first", method="fm", steps=2), report=silent)
        network = NetworkConfig(PERCEPTRON.kind, PERCEPTRON.options, "second-order")
        config = small("second", network=network, teacher=str(first.folder.path), method="lmd", steps=2)
        run = train(config, report=silent)
        read = Run.load(run.folder.path)
        torch.testing.assert_close(read.sample(6), run.sample(6), rtol=0, atol=0)
        t, x = torch.linspace(0, 1, 6), read.base(6)
        with torch.no_grad():
            torch.testing.assert_close(read.X.velocity()(t, x), first.X.velocity()(t, x))


class Own(nn.Module):
    """A network of one's own."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 2)

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return self.inner(torch.cat([x, s[:, None], t[:, None]], 1))


class TestObjects:
    """A run that was trained on objects asks for them when it is read."""

    def test_a_network_is_asked_for_and_gets_its_weights(self, small: Make) -> None:
        run = train(small(), network=Own(), report=silent)
        asked = (
            "`network` must be given again, for it was an object; pass it to `flowops.train` or `Run.load` in Python."
        )
        with pytest.raises(ValueError, match=asked) as caught:
            Run.load(run.folder.path)
        assert "\n" not in str(caught.value)
        read = Run.load(run.folder.path, network=Own())
        torch.testing.assert_close(read.sample(5, steps=2), run.sample(5, steps=2), rtol=0, atol=0)
        with pytest.raises(CheckpointError, match=r"must be those of the network"):
            Run.load(run.folder.path, network=MLP(2, width=4, depth=1))

    def test_data_are_asked_for_where_they_are_needed_only(self, small: Make) -> None:
        run = train(small(dataset="mine"), dataset=pairs(), report=silent)
        read = Run.load(run.folder.path)
        x0 = pairs().x0[:5]
        torch.testing.assert_close(read.sample(x0=x0), run.sample(x0=x0), rtol=0, atol=0)
        with pytest.raises(ValueError, match="`dataset` must be given again, for it was an object") as caught:
            read.base(5)
        assert "\n" not in str(caught.value)
        read = Run.load(run.folder.path, dataset=pairs())
        assert torch.equal(read.base(5, seed=1), run.base(5, seed=1))
        torch.testing.assert_close(read.sample(5), run.sample(5), rtol=0, atol=0)

    def test_a_teacher_is_asked_for_where_the_map_is_made_of_it(self, small: Make) -> None:
        b = problems.REFERENCE["gaussian"](interpolants.linear()).b
        network = NetworkConfig(PERCEPTRON.kind, PERCEPTRON.options, "second-order")
        run = train(small("second", method="lmd", network=network), teacher=b, report=silent)
        with pytest.raises(ValueError, match="`teacher` must be given again, for it was an object") as caught:
            Run.load(run.folder.path)
        assert "\n" not in str(caught.value)
        torch.testing.assert_close(Run.load(run.folder.path, teacher=b).sample(5), run.sample(5), rtol=0, atol=0)
        plain = train(small("plain", method="lmd", steps=2), teacher=b, report=silent)
        torch.testing.assert_close(Run.load(plain.folder.path).sample(5), plain.sample(5), rtol=0, atol=0)

"""The weights a run starts from: those of its seed, of another run, of a part of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from flowops.runs import (
    CheckpointError,
    NetworkConfig,
    OptimizerConfig,
)
from flowops.training import train
from tests.runs.small import PERCEPTRON, Make, silent
from tests.training.parts import Images
from tests.training.states import assert_same_bits, state_of

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


class TestWeights:
    def test_the_seed_decides(self, small: Make) -> None:
        first, again, other = small("first"), small("again"), small("other", seed=1)
        for config in (first, again, other):
            train(config, report=silent)
        assert_same_bits(state_of(first, 8), state_of(again, 8))
        assert not torch.equal(*(state_of(c, 8)["weights.last.weight"] for c in (first, other)))

    def test_first_weights_come_from_another_run(self, small: Make) -> None:
        first = train(small("first"), report=silent)
        config = small("second", init=first.folder.path.as_posix(), steps=1, optimizer=OptimizerConfig(rate=1e-12))
        second = train(config, report=silent)
        x0 = first.base(6)
        torch.testing.assert_close(second.X(0.0, 1.0, x0), first.X(0.0, 1.0, x0), rtol=1e-4, atol=1e-5)

    def test_stages_hand_their_weights_on_and_the_last_one_resumes_bit_for_bit(self, small: Make) -> None:
        """A teacher by flow matching, mid-training on its trajectories, and a truncated model from there."""
        slow = {"optimizer": OptimizerConfig(rate=1e-12)}
        teacher = train(small("teacher", method="fm"), report=silent)
        at_teacher = {"teacher": str(teacher.folder.path), "init": str(teacher.folder.path)}
        middle = train(small("middle", method="cmt", **at_teacher, **slow), report=silent)
        x0 = teacher.base(6)
        torch.testing.assert_close(middle.X(0.0, 1.0, x0), teacher.X(0.0, 1.0, x0), rtol=1e-4, atol=1e-5)
        stage = {"method": "tcm", "teacher": str(middle.folder.path), "init": str(middle.folder.path)}
        whole, parts = small("whole", **stage), small("parts", **stage)
        train(whole, report=silent)
        train(replace(parts, steps=4), report=silent)
        train(parts, resume=True, report=silent)
        assert_same_bits(state_of(whole, 8), state_of(parts, 8))

    def test_those_of_another_network_are_refused_in_one_sentence(self, small: Make) -> None:
        first = train(small("first", steps=1), report=silent)
        other = NetworkConfig(PERCEPTRON.kind, width=9, depth=3, octaves=1)
        with pytest.raises(
            ValueError,
            match=r"`init` must be a run of the network of this one, and in .*first 2 are miss"
            r"ing \(hidden.2.weight, hidden.2.bias\) and 5 are of another shape .* pass init_partial=True",
        ) as caught:
            train(small("second", init=str(first.folder.path), network=other), report=silent)
        assert "\n" not in str(caught.value)
        assert not Path(small("second").out).exists()

    def test_what_fits_of_them_is_taken_on_request(self, small: Make) -> None:
        first, lines = train(small("first", steps=4), report=silent), list[str]()
        deeper = NetworkConfig(PERCEPTRON.kind, width=8, depth=3, octaves=1)
        shared: dict[str, Any] = {"network": deeper, "steps": 1, "optimizer": OptimizerConfig(rate=1e-12)}
        config = small("second", init=str(first.folder.path), init_partial=True, **shared)
        train(config, report=lines.append)
        assert lines[0].startswith("8 of 10 weights are those of ")
        assert lines[0].endswith("; hidden.2.weight, hidden.2.bias keep their first values.")
        fresh = small("fresh", **shared)
        train(fresh, report=silent)
        found, plain = state_of(config, 1), state_of(fresh, 1)
        for name, value in first.X.network.state_dict().items():
            torch.testing.assert_close(found[f"weights.{name}"], value)
        for name in ("hidden.2.weight", "hidden.2.bias"):
            torch.testing.assert_close(found[f"weights.{name}"], plain[f"weights.{name}"])

    def test_nothing_in_common_is_refused(self, small: Make) -> None:
        first = train(small("first", steps=1), report=silent)
        config = small("second", init=str(first.folder.path), init_partial=True)
        with pytest.raises(
            ValueError, match="`init` must have weights in common with this network, and in .* 2 are miss"
        ):
            train(config, network=Images(2), report=silent)

    def test_they_may_come_from_a_network_that_was_an_object(self, small: Make) -> None:
        first = train(small("first", steps=2), network=Images(2), report=silent)
        config = small("second", steps=1, init=str(first.folder.path), optimizer=OptimizerConfig(rate=1e-12))
        second = train(config, network=Images(2), report=silent)
        torch.testing.assert_close(dict(second.X.named_parameters()), dict(first.X.named_parameters()))

    @pytest.mark.parametrize("use", ["init", "teacher"])
    def test_a_damaged_average_is_told_of_and_the_one_before_is_taken(self, small: Make, use: str) -> None:
        first, lines = train(small("first", method="fm"), report=silent), list[str]()
        (first.folder.checkpoints / "8" / "ema-0.999.safetensors").write_bytes(b"")
        method = "lmd" if use == "teacher" else "lsd"
        train(small("second", method=method, steps=1, **{use: str(first.folder.path)}), report=lines.append)
        assert lines[0].startswith("Checkpoint 8 is not used: ")
        assert "ema-0.999.safetensors must have" in lines[0]

    def test_a_teacher_whose_settings_name_another_network_is_one_sentence(self, small: Make) -> None:
        first = train(small("first", method="fm", steps=1), report=silent)
        first.folder.config.write_text(first.folder.config.read_text().replace("width=8", "width=9"))
        with pytest.raises(
            CheckpointError, match=r"first/checkpoints/1 must be those of the network of config.yaml, and 5 "
        ):
            train(small("second", method="lmd", teacher=str(first.folder.path)), report=silent)

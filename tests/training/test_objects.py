"""Networks, data and teachers that are given as objects."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from flowops import VelocityField, interpolants, problems
from flowops.runs import (
    NetworkConfig,
)
from flowops.training import train
from tests.runs.small import Make, silent
from tests.training.parts import Images, pairs
from tests.training.states import assert_same_bits, state_of

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


class TestObjects:
    """A data set, a network and a teacher may be objects in place of names."""

    def test_a_network_that_knows_times_and_states_only_trains_on_labelled_data(self, small: Make) -> None:
        lines: list[str] = []
        run = train(small(dataset="digits", steps=2, averages=(0.9,)), network=Images(), report=lines.append)
        assert "The network takes no `label`, so the map of digits is unconditional." in lines
        assert run.classes == ()
        assert run.sample(3, steps=2).shape == (3, 1, 8, 8)
        assert isinstance(run.X.network, Images)
        assert bool(run.X.network.inner.weight.any())  # it began at zero
        assert run.config.network.kind == "given"

    def test_a_network_that_takes_labels_sees_them(self, small: Make) -> None:
        Conditional.seen.clear()
        run = train(small(dataset="digits", steps=2, averages=(0.9,)), network=Conditional(), report=silent)
        assert run.classes == tuple("0123456789")
        assert set(Conditional.seen) <= set(range(10))
        assert len(set(Conditional.seen)) > 1
        assert not torch.equal(run.sample(2, label=0), run.sample(2, label=1))

    def test_a_network_of_ones_own_is_audited_before_the_first_step(self, small: Make) -> None:
        with pytest.raises(ValueError, match="BatchNorm"):
            train(small(steps=1), network=Broken(), report=silent)
        with pytest.raises(ValueError, match="BatchNorm"):
            train(small("named", network=NetworkConfig(f"{__name__}:broken"), steps=1), report=silent)
        assert not (Path(small().out) / "metrics.csv").exists()

    def test_a_network_of_the_library_is_not_audited_nor_is_one_that_need_not_be(
        self, small: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object, **__: object) -> None:
            raise AssertionError

        monkeypatch.setattr("flowops.training.start.audit", refuse)
        train(small(steps=1), report=silent)
        train(small("unchecked", steps=1, audit=False), network=Images(2), report=silent)
        config = small("differenced", steps=1, method="lsd", options=["derivatives=central"])
        train(config, network=Images(2), report=silent)
        with pytest.raises(AssertionError):
            train(small("own", steps=1), network=Images(2), report=silent)

    def test_a_parameterization_holds_for_a_network_that_is_given(self, small: Make) -> None:
        config = small(network=NetworkConfig(parameterization="edm"), steps=1)
        run = train(config, network=Images(2), report=silent)
        assert run.X.parameterization is not None
        assert run.config.network.parameterization == "edm"

    def test_data_are_trained_on(self, small: Make) -> None:
        run = train(small(steps=2), dataset=pairs(), report=silent)
        named = train(small("named", f"{pairs.__module__}:pairs", steps=2), report=silent)
        assert_same_bits(state_of(run.config, 2), state_of(named.config, 2))
        assert run.config.dataset == "given"
        assert run.dataset.provenance == named.dataset.provenance
        assert run.sample(3).shape == (3, 2)

    def test_a_teacher_is_distilled(self, small: Make) -> None:
        b = problems.REFERENCE["gaussian"](interpolants.linear()).b
        run = train(small(method="lmd", steps=2), teacher=b, report=silent)
        named = train(small("named", method="lmd", teacher="problem:gaussian", steps=2), report=silent)
        other = train(small("other", method="lmd", teacher="problem:mixture", steps=2), report=silent)
        assert_same_bits(state_of(run.config, 2), state_of(named.config, 2))
        assert not torch.equal(run.sample(4), other.sample(4))
        assert run.config.teacher == "given"

    def test_a_map_may_stand_for_its_field(self, small: Make) -> None:
        first = train(small("first", method="fm", steps=2), report=silent)
        by_map, by_field = (
            train(small(name, method="lmd", steps=2), teacher=teacher, report=silent)
            for name, teacher in (("map", first.X), ("field", first.X.velocity()))
        )
        torch.testing.assert_close(by_map.sample(4), by_field.sample(4))

    def test_a_run_goes_on_with_them(self, small: Make) -> None:
        def start(name: str, steps: int, resume: bool = False) -> Any:
            config = small(name, method="lmd", steps=steps)
            objects = {"dataset": pairs(), "network": Images(2), "teacher": Still()}
            train(config, resume=resume, report=silent, **objects)  # type: ignore[arg-type]
            return config

        whole = start("whole", 8)
        start("parts", 5)
        assert_same_bits(state_of(whole, 8), state_of(start("parts", 8, resume=True), 8))

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"dataset": 3}, "`dataset` must be a flowops.data.Dataset or a map-style one of torch, got int"),
            (
                {"dataset": [torch.zeros(4, 2)]},
                "`dataset` must be a flowops.data.Dataset or a map-style one of torch, got list",
            ),
            ({"network": silent}, "`network` must be an nn.Module, got function"),
            ({"network": nn.Linear}, "`network` must be an nn.Module, got type"),
            ({"teacher": nn.Linear(2, 2)}, "`teacher` must be a VelocityField or a FlowMap, got Linear"),
        ],
    )
    @pytest.mark.usefixtures("unchecked")
    def test_objects_of_another_kind_are_refused(self, small: Make, given: dict[str, Any], message: str) -> None:
        config = small()
        with pytest.raises(TypeError, match=message) as caught:
            train(config, report=silent, **given)
        assert "\n" not in str(caught.value)
        assert not Path(config.out).exists()


class Still(VelocityField):
    """A field of one's own."""

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return -x


class Conditional(Images):
    """The same with labels."""

    seen: ClassVar[list[int]] = []

    def __init__(self) -> None:
        super().__init__()
        self.classes = nn.Parameter(torch.randn(10, 64, generator=torch.Generator().manual_seed(0)))

    def forward(self, s: Tensor, t: Tensor, x: Tensor, label: Tensor | None = None) -> Tensor:
        if label is None:
            return super().forward(s, t, x)
        self.seen.extend(label.tolist())
        return super().forward(s, t, x) + self.classes[label].reshape(x.shape)


class Broken(nn.Module):
    """A network that couples samples."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.layer = nn.BatchNorm1d(2), nn.Linear(2, 2)

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return self.layer(self.norm(x))


def broken(*_: object) -> nn.Module:
    """It by name."""
    return Broken()

"""What every data set is: settings that suit it, a preparation in two parts, a line that tells what it is."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import MappingProxyType
from typing import Any, cast

import pytest
import torch

from flowops._keys import generator
from flowops.data import Batch, Dataset, Pairs, open_dataset
from flowops.data.registry import ENTRIES
from flowops.networks import NETWORKS
from flowops.runs.assembly import completed, method_of
from flowops.runs.settings import GENERAL, NetworkConfig, TrainConfig, check_config, get
from tests.data.zeros import Zeros

OPENED = [name for name, entry in ENTRIES.items() if not entry.place]


class Quick(Zeros):
    """One that names its own settings."""

    defaults = MappingProxyType({"steps": 7, "network.kind": "mlp", "network.options": ("width=8", "depth=1")})


def complete(dataset: Dataset, config: TrainConfig) -> TrainConfig:
    return completed(config, dataset.defaults, dataset.event)


def test_the_default_preparation_is_the_whole_batch() -> None:
    assert torch.equal(Zeros().prepared(0, 4, seed=0)().x1, torch.zeros(4, 3))
    assert repr(Zeros()) == "Zeros(zeros from nowhere)"


class Drawn(Zeros):
    """A set of one's own that draws by the step, and knows of no parts."""

    def batch(self, step: int, n: int, *, seed: int) -> Batch:
        source = generator("drawn", seed, step)
        return Batch(None, torch.randn(n, 3, generator=source), torch.randint(5, (n,), generator=source))


def paired() -> Pairs:
    x0 = torch.randn(30, 2, generator=generator("pairs"))
    return Pairs(x0, x0 + 1, torch.arange(30))


@pytest.mark.parametrize("make", [Drawn, paired, *(partial(open_dataset, name) for name in OPENED)])
def test_the_parts_of_a_step_are_the_rows_of_its_batch_bit_for_bit(make: Callable[[], Dataset]) -> None:
    dataset = make()
    for step in (0, 3):
        whole = dataset.batch(step, 48, seed=2)
        for k, count in ((0, 1), (1, 2), (5, 8), (23, 24)):
            part = dataset.prepared(step, 48, seed=2, part=(k, count))()
            for own, joint in zip(part, whole, strict=True):
                assert (own is None) == (joint is None)
                assert own is None or torch.equal(own, joint[k::count])  # type: ignore[index]
                assert own is None or own.is_contiguous()
    for part_ in ((0, 5), (2, 2)):
        with pytest.raises(ValueError, match="The number of"):
            dataset.prepared(0, 48, seed=2, part=part_)


def test_a_set_without_labels_of_fresh_draws_from_noise_is_the_default() -> None:
    assert (Zeros.classes, Zeros.size, Zeros.normal_base, Zeros.problem, dict(Zeros.defaults)) == (
        (),
        None,
        True,
        None,
        {},
    )


def test_the_settings_of_no_set_are_shared_by_being_written_to() -> None:
    for dataset in (Zeros(), Quick(), *map(open_dataset, OPENED)):
        with pytest.raises(TypeError):
            cast(Any, dataset.defaults)["steps"] = 1


class TestDefaults:
    @pytest.mark.parametrize("name", OPENED)
    def test_those_of_every_named_set_complete_a_configuration(self, name: str) -> None:
        dataset = open_dataset(name)
        config = complete(dataset, TrainConfig(name))
        for setting, value in {**GENERAL, **dataset.defaults}.items():
            if setting.startswith("options."):
                assert config.options == (value if setting == f"options.{config.method}" else ())
            else:
                assert get(config, setting) == value
        check_config(config)

    def test_what_a_configuration_says_comes_first(self) -> None:
        config = complete(Quick(), TrainConfig("zeros", steps=3))
        assert config.steps == 3
        assert config.batch == GENERAL["batch"]
        assert complete(Quick(), TrainConfig("zeros")).steps == 7
        assert complete(Zeros(), TrainConfig("zeros")).steps == GENERAL["steps"]

    def test_options_of_a_network_are_kept_beside_those_given(self) -> None:
        given = TrainConfig("zeros")
        for network, options in (
            (given.network, ("width=8", "depth=1")),
            (type(given.network)(options=("depth=3",)), ("width=8", "depth=3")),
            (type(given.network)("unet"), ()),
        ):
            found = complete(Quick(), TrainConfig("zeros", network=network)).network
            assert set(found.options) == set(options)

    def test_options_of_a_method_are_those_of_that_method_beside_the_given_ones(self) -> None:
        class Suited(Zeros):
            defaults = MappingProxyType({"options.lsd": ("eta=0.5", "law=InsideSteps(3)")})

        for method, options, wanted in (
            ("lsd", (), ("eta=0.5", "law=InsideSteps(3)")),
            ("lsd", ("eta=0.25", "p=0.5"), ("law=InsideSteps(3)", "eta=0.25", "p=0.5")),
            ("lsd", ("paper=true",), ("paper=true",)),
            ("esd", (), ()),
        ):
            config = complete(Suited(), TrainConfig("zeros", method=method, options=options))
            assert config.options == wanted
            method_of(config)
        other = complete(Zeros(), TrainConfig("zeros", method="lsd"))
        assert complete(Suited(), other) == other  # that of a run which began before they were suggested

    def test_a_parameterization_is_that_of_the_schedule_which_is_left_out(self) -> None:
        class Suited(Zeros):
            defaults = MappingProxyType(
                {"network.parameterization": "edm", "network.parameterization_options": ("sigma_data=0.7",)}
            )

        for given, wanted in (
            ({}, ("edm", ("sigma_data=0.7",))),
            ({"network": NetworkConfig(parameterization_options={"sigma_data": 0.3})}, ("edm", ("sigma_data=0.3",))),
            ({"network": NetworkConfig(parameterization="endpoint")}, ("endpoint", ())),
            ({"interpolant": "encoding-decoding"}, ("average-velocity", ())),
            ({"alpha": "1-t", "beta": "t", "gamma": "t*(1-t)"}, ("average-velocity", ())),
        ):
            found = complete(Suited(), TrainConfig("zeros", **given)).network
            assert (found.parameterization, found.parameterization_options) == wanted

    def test_settings_that_a_set_must_not_name_are_refused(self) -> None:
        with pytest.raises(ValueError, match=r"among steps, .* or options\.METHOD, got 'option\.lsd'"):
            completed(TrainConfig("zeros"), {"option.lsd": ("eta=0.5",)}, (3,))

    @pytest.mark.parametrize("name", OPENED)
    def test_the_network_they_name_is_made_with_their_options(self, name: str) -> None:
        network = complete(open_dataset(name), TrainConfig(name)).network
        known = NETWORKS.options(network.kind)
        assert {text.partition("=")[0] for text in network.options} <= set(known)

    def test_the_digits_have_some_of_their_own(self) -> None:
        assert open_dataset("digits").defaults["network.kind"] == "mlp"
        assert complete(open_dataset("digits"), TrainConfig("digits")).steps != GENERAL["steps"]

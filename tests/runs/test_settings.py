"""The settings of a run: how they are written, what is chosen for the data set, what is refused with a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import Field, fields, is_dataclass, replace
from typing import Any

import pytest

from flowops._named import parse_values
from flowops.couplings import OptimalTransport
from flowops.interpolants import linear
from flowops.runs import HardwareConfig, LogConfig, NetworkConfig, OptimizerConfig, TrainConfig
from flowops.runs.assembly import completed
from flowops.runs.settings import GENERAL, check_config, get, with_value

CONFIG = TrainConfig("digits")
DEFAULTS: dict[str, Any] = {
    "steps": 300,
    "batch": 64,
    "averages": (0.9,),
    "network.kind": "mlp",
    "network.options": ("width=16", "depth=3"),
    "optimizer.schedule": "cosine",
}


def every(config: Any, prefix: str = "") -> Iterator[tuple[str, Field[Any], Any]]:
    """Every setting by its dotted name, with its field and its value."""
    for f in fields(config):
        value = getattr(config, f.name)
        if is_dataclass(value):
            yield from every(value, f"{prefix}{f.name}.")
        else:
            yield prefix + f.name, f, value


@pytest.mark.usefixtures("unchecked")
class TestOptions:
    def test_they_are_texts_or_a_mapping(self) -> None:
        given = {"eta": 0.5, "norm": "l1", "stop_gradient": False, "normalize": None, "guidance": (1, 4.5)}
        written = ("eta=0.5", "norm=l1", "stop_gradient=false", "normalize=none", "guidance=1,4.5")
        config = TrainConfig("digits", options=given, data_options={"flip": True}, coupling_options={"block": 8})
        assert config == TrainConfig(
            "digits", options=written, data_options=("flip=true",), coupling_options=("block=8",)
        )
        assert parse_values(config.options, "options") == given

    def test_those_of_a_network_may_stand_as_arguments(self) -> None:
        wanted = NetworkConfig("unet", ("channels=4", "multipliers=1,2", "attention=,", "dropout=0.1"))
        assert NetworkConfig("unet", channels=4, multipliers=(1, 2), attention=(), dropout=0.1) == wanted
        assert NetworkConfig("unet", {"channels": 4}, multipliers=[1, 2], attention=(), dropout=0.1) == wanted
        values = {"channels": 4, "multipliers": (1, 2), "attention": (), "dropout": 0.1}
        assert parse_values(wanted.options, "network.options") == values
        assert parse_values(NetworkConfig("unet", multipliers=(1,)).options, "network.options") == {"multipliers": (1,)}

    def test_a_kind_stands_for_a_network(self) -> None:
        assert TrainConfig("digits", network="unet").network == NetworkConfig("unet")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value"), [("dataset", CONFIG), ("method", 3), ("network", object()), ("dataset", None)]
)
@pytest.mark.usefixtures("unchecked")
def test_an_object_has_its_place_beside_the_settings(name: str, value: Any) -> None:
    beside = r"as package\.module:row" if name == "method" else rf"train\(config, {name}=\.\.\.\)"
    message = rf"`{name}` must be a name in a configuration, got {type(value).__name__}; .* {beside}"
    with pytest.raises(TypeError, match=message):
        TrainConfig(**{"dataset": "digits", name: value})


class TestCompleted:
    def test_what_is_left_out_comes_from_the_data_set_and_else_from_the_general(self) -> None:
        found = completed(CONFIG, DEFAULTS, (1, 8, 8))
        assert (found.steps, found.batch, found.averages) == (300, 64, (0.9,))
        assert found.checkpoint_every == GENERAL["checkpoint_every"]
        assert (found.network.kind, found.network.options) == ("mlp", ("width=16", "depth=3"))
        assert (found.optimizer.schedule, found.interpolant) == ("cosine", "linear")
        plain = completed(CONFIG, {}, (2,))
        for name, value in GENERAL.items():
            assert get(plain, name) == value

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("steps", 5),
            ("batch", 2),
            ("averages", (0.5,)),
            ("checkpoint_every", 0),
            ("optimizer.schedule", "constant"),
            ("interpolant", "cosine"),
        ],
    )
    def test_what_is_given_wins(self, name: str, value: Any) -> None:
        found = completed(with_value(CONFIG, name, value), DEFAULTS, (1, 8, 8))
        assert get(found, name) == value
        assert get(completed(CONFIG, DEFAULTS, (1, 8, 8)), name) != value

    def test_nothing_else_changes(self) -> None:
        found = completed(CONFIG, DEFAULTS, (1, 8, 8))
        for name, _, value in every(CONFIG):
            if value is not None and not name.startswith("network."):
                assert get(found, name) == value
        assert completed(found, {}, (1, 8, 8)) == found

    @pytest.mark.parametrize(
        ("network", "wanted"),
        [
            (NetworkConfig(), NetworkConfig("mlp", ("width=16", "depth=3"))),
            (NetworkConfig(width=8), NetworkConfig("mlp", ("depth=3", "width=8"))),
            (NetworkConfig("mlp", octaves=2), NetworkConfig("mlp", ("width=16", "depth=3", "octaves=2"))),
            (NetworkConfig("unet"), NetworkConfig("unet")),
            (NetworkConfig("unet", channels=4), NetworkConfig("unet", ("channels=4",))),
            (NetworkConfig("my.own:network", width=4), NetworkConfig("my.own:network", ("width=4",))),
            (NetworkConfig(parameterization="edm"), NetworkConfig("mlp", ("width=16", "depth=3"), "edm")),
        ],
    )
    def test_options_of_the_network_hold_beside_the_given_ones_for_the_same_kind_only(
        self, network: NetworkConfig, wanted: NetworkConfig
    ) -> None:
        wanted = replace(wanted, parameterization=wanted.parameterization or "average-velocity")
        assert completed(replace(CONFIG, network=network), DEFAULTS, (1, 8, 8)).network == wanted

    @pytest.mark.parametrize(("event", "kind"), [((2,), "mlp"), ((3, 8, 8), "unet"), ((4, 4), "mlp"), ((), "mlp")])
    def test_images_get_a_unet_and_all_else_a_perceptron(self, event: tuple[int, ...], kind: str) -> None:
        assert completed(CONFIG, {}, event).network.kind == kind

    def test_formulas_take_the_place_of_a_schedule(self) -> None:
        assert completed(replace(CONFIG, alpha="1-t", beta="t"), {}, (2,)).interpolant is None

    def test_a_run_of_minutes_has_no_number_of_steps_of_its_own(self) -> None:
        found = completed(replace(CONFIG, minutes=2.0), DEFAULTS, (1, 8, 8))
        assert (found.steps, found.most_steps) == (0, float("inf"))
        assert completed(replace(CONFIG, minutes=2.0, steps=7), DEFAULTS, (1, 8, 8)).most_steps == 7


def test_the_defaults_are_accepted() -> None:
    check_config(CONFIG)
    check_config(completed(CONFIG, {}, (2,)))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"steps": 0}, "`steps` must be a whole number of at least 1 without `minutes`, got 0"),
        ({"steps": -1}, "`steps` must be a whole number of at least 0, got -1"),
        ({"steps": 2.5}, "`steps` must be a whole number of at least 0, got 2.5"),
        ({"batch": -4}, "`batch` must be a whole number of at least 1, got -4"),
        ({"batch": True}, "`batch` must be a whole number of at least 1, got True"),
        ({"checkpoint_every": -1}, "`checkpoint_every`"),
        ({"minutes": -1.0}, r"`minutes` must be in \[0, inf\), got -1.0"),
        ({"label_dropout": 1.0}, r"`label_dropout` must be in \[0, 1\), got 1.0"),
        ({"averages": (1.0,)}, "`averages` must lie between 0 and 1"),
        ({"averages": ()}, "at least one decay"),
        ({"averages": []}, "at least one decay"),
        ({"power": (0.5,)}, "`power` must lie between 0 and 0.2887"),
        ({"power": (0.0,)}, "`power` must lie between 0 and 0.2887"),
        ({"alpha": "1-t"}, "`alpha` and `beta` must be given together"),
        ({"gamma": "t*(1-t)"}, "`alpha` and `beta` must be given together"),
        ({"alpha": "1-t", "beta": "t", "interpolant": "cosine"}, "`interpolant` must not be given beside `alpha`"),
        ({"optimizer": OptimizerConfig(rate=0.0)}, "`optimizer.rate` must be positive"),
        ({"optimizer": OptimizerConfig(rate=float("nan"))}, r"`optimizer.rate` must be in \[0, inf\), got nan"),
        ({"optimizer": OptimizerConfig(matrix_rate=-1.0)}, "`optimizer.matrix_rate`"),
        ({"optimizer": OptimizerConfig(beta2=1.0)}, r"`optimizer.beta2` must be in \[0, 1\), got 1.0"),
        ({"steps": 5, "optimizer": OptimizerConfig(schedule="cosine", warmup=5)}, "`optimizer.warmup` must be below"),
        ({"log": LogConfig(every=-1)}, "`log.every` must be a whole number of at least 0, got -1"),
        ({"batch": 10, "hardware": HardwareConfig(devices=2, accumulate=3)}, "= 2 x 3, got 10; pass 12"),
        ({"batch": 10, "hardware": HardwareConfig(recompute=4)}, "a multiple of"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_a_wrong_setting_is_refused_in_one_sentence(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        check_config(replace(CONFIG, **changed))
    assert "\n" not in str(caught.value)


def test_every_number_has_bounds_but_the_seed() -> None:
    numbers = {
        name: f for name, f, _ in every(CONFIG) if str(f.type).partition(" | ")[0] in ("int", "float")
    }  # as they are written, "int | None" among them
    assert {"steps", "minutes", "optimizer.beta1", "hardware.devices", "log.keep", "label_dropout"} <= set(numbers)
    assert {name for name, f in numbers.items() if "holds" not in f.metadata} == {"seed"}


@pytest.mark.parametrize("name", [name for name, f, _ in every(CONFIG) if "holds" in f.metadata])
@pytest.mark.usefixtures("unchecked")
def test_the_bounds_are_those_of_the_field(name: str) -> None:
    _, f, value = next(found for found in every(CONFIG) if found[0] == name)
    assert value is None or f.metadata["holds"](value)
    assert not f.metadata["holds"](-1)
    with pytest.raises(ValueError, match=f"`{name}` must be ") as caught:
        check_config(with_value(CONFIG, name, -1))
    assert f.metadata["wanted"] in str(caught.value)


def test_any_seed_is_taken() -> None:
    check_config(replace(CONFIG, seed=-1))


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("optimizer.kind", "sgd", "`optimizer.kind` must be one of adam, adamw, radam, muon or none, got 'sgd'"),
        ("optimizer.schedule", "cos", "`optimizer.schedule` must be one of constant, .*, got 'cos'"),
        ("hardware.precision", "16", "`hardware.precision` must be one of 32, bf16, got '16'"),
        ("coupling", OptimalTransport(), "`coupling` must be a text, got OptimalTransport.*package.module:name"),
        ("interpolant", linear(), "`interpolant` must be a text or none, got Interpolant.*package.module:name"),
        ("steps", 2.5, "`steps` must be a whole number of at least 0, got 2.5"),
        ("averages", 0.9, "`averages` must be a list of a number or none, got 0.9"),
        ("optimizer", 3, "`optimizer` must be a group of settings, got 3"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_values_of_another_kind_are_refused_in_python_too(name: str, value: object, sentence: str) -> None:
    """What a file may not hold is not trained with: the run could not be loaded."""
    check_config(CONFIG)
    with pytest.raises(ValueError, match=sentence):
        check_config(with_value(CONFIG, name, value))

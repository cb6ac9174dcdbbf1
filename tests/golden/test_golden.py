"""Golden values: nothing moves unless a formula does, and a formula that does is seen."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from flowops import Interpolant
from flowops.maps import LearnedMap
from flowops.methods import METHODS, Difference, Method, Row, Squared, TermPoint
from flowops.networks import MLP, LearnedWeight, UNet
from flowops.networks.layers import TimePair
from flowops.runs import OptimizerConfig
from flowops.sampling import noise, sample
from flowops.times import Uniform, UpperTriangle
from tests.golden import measured, settings, write
from tests.golden.measured import RUNS, run

ROWS = [*settings.ROWS, *settings.VARIANTS]
rows = pytest.mark.parametrize("name", ROWS)


def changed(name: str) -> list[str]:
    """What moved in a row."""
    return write.moved(f"row {name}", write.stored()[f"row {name}"], run(name, settings.OPTIMIZER))


@pytest.mark.parametrize("name", RUNS)
def test_nothing_moved(name: str) -> None:
    moved = write.moved(name, write.stored()[name], RUNS[name]())
    assert not moved, "\n".join([*moved, "if it should have moved, run python -m tests.golden.write"])


def test_the_file_holds_every_row_and_nothing_else() -> None:
    assert list(write.stored()) == list(RUNS)
    assert list(settings.ROWS) == list(METHODS)


def test_the_file_is_as_it_would_be_written() -> None:
    assert write.FILE.read_text(encoding="utf-8") == write.text(write.stored())


class TestEverySettingIsWrittenOut:
    @rows
    def test_options_of_a_row(self, name: str) -> None:
        row, options = settings.row_of(name)
        assert set(options) == {option.name for option in METHODS[row].row.options}

    @pytest.mark.parametrize(
        ("made", "given"),
        [
            (MLP, {*settings.NETWORK, "generator"}),
            (UNet, {*settings.UNET, "magnitude_preserving", "generator"}),
            (LearnedWeight, {*settings.WEIGHT, "generator"}),
            (LearnedMap, {"network", "parameterization"}),
            (Interpolant.from_expressions, set(settings.INTERPOLANT)),
            (noise, {"n", "event", "seed", "device", "dtype", "start", "stream"}),
            (sample, {"X", "x0", "grid", "chunk"}),
        ],
    )
    def test_arguments(self, made: Callable[..., Any], given: set[str]) -> None:
        assert set(inspect.signature(made).parameters) == given

    @pytest.mark.parametrize("name", settings.OPTIMIZERS)
    def test_optimizers(self, name: str) -> None:
        assert set(settings.OPTIMIZERS[name]) == {f.name for f in fields(OptimizerConfig)}


class Poison:
    """A default that nothing can be computed with."""


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Method]:
    """Every default of what the runs are made of is one that fails where it is used."""

    def poisoned_row(row: Row) -> Row:
        return replace(row, options=tuple(replace(option, default=Poison()) for option in row.options))

    def get(name: str, **options: Any) -> Method:
        return Method(poisoned_row(METHODS[name].row), **options)

    monkeypatch.setattr("tests.golden.measured.get_method", get)
    laws = {type(part) for name in ROWS for part in parts(settings.row_of(name)[1]["law"])}
    made: tuple[Any, ...] = (MLP, UNet, LearnedWeight, LearnedMap, OptimizerConfig, *laws)
    called: list[Any] = [*(each.__init__ for each in made), Interpolant.from_expressions, noise, sample]
    for function in called:
        function = inspect.unwrap(getattr(function, "__func__", function))
        if function.__defaults__:
            monkeypatch.setattr(function, "__defaults__", tuple(Poison() for _ in function.__defaults__))
        if function.__kwdefaults__:
            monkeypatch.setattr(function, "__kwdefaults__", dict.fromkeys(function.__kwdefaults__, Poison()))
    return get


def parts(law: object) -> Iterator[object]:
    """A law, and the laws and spacings inside it."""
    yield law
    for f in fields(law) if is_dataclass(law) else ():
        inner = getattr(law, f.name)
        if is_dataclass(inner):
            yield from parts(inner)


@pytest.mark.usefixtures("poisoned", "unchecked")
class TestChangedDefaults:
    def test_they_are_changed(self, poisoned: Callable[..., Method]) -> None:
        with pytest.raises(ValueError, match="must be"):
            poisoned("lsd")
        with pytest.raises((TypeError, ValueError)):
            MLP(2)
        with pytest.raises((TypeError, ValueError)):
            noise(1, (2,), seed=0)

    @rows
    def test_they_move_no_row(self, name: str) -> None:
        assert changed(name) == []

    @pytest.mark.parametrize("name", [name for name in RUNS if not name.startswith("row")])
    def test_they_move_nothing_else(self, name: str) -> None:
        assert write.moved(name, write.stored()[name], RUNS[name]()) == []


def spoiled(residual: Callable[[TermPoint], dict[str, Difference]]) -> Callable[[TermPoint], dict[str, Difference]]:
    """A residual with one side a little too large."""

    def other(k: TermPoint) -> dict[str, Difference]:
        return {name: d._replace(left=d.left * (1 + 1e-5)) for name, d in residual(k).items()}

    return other


def with_terms(monkeypatch: pytest.MonkeyPatch, change: Callable[[Any], Any]) -> None:
    """The rows of the table with their terms changed."""

    def get(name: str, **options: Any) -> Method:
        row = METHODS[name].row
        return Method(
            replace(row, forms={form: tuple(map(change, terms)) for form, terms in row.forms.items()}), **options
        )

    monkeypatch.setattr("tests.golden.measured.get_method", get)


HELD = [name for name in ROWS if settings.row_of(name)[1].get("stop_gradient")]
"""Rows with a constant side of their own; that of an average has no gradient anyway."""
HELD = [name for name in HELD if not settings.row_of(name)[1].get("ema_teacher")]


class TestChangedFormulas:
    @rows
    def test_a_residual(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        with_terms(monkeypatch, lambda term: replace(term, residual=spoiled(term.residual)))
        moved = changed(name)
        assert any(", gradient" in line for line in moved)
        assert (
            any(", loss" in line for line in moved) or settings.row_of(name)[1]["p"] == 1
        )  # which makes all losses one
        assert not any(", times" in line for line in moved)

    @pytest.mark.parametrize("name", HELD)
    def test_the_place_of_a_stop_gradient(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        with_terms(monkeypatch, lambda term: replace(term, stop_gradient=False, constant=""))
        assert any(", gradient" in line for line in changed(name))

    def test_a_norm(self, monkeypatch: pytest.MonkeyPatch) -> None:
        plain = Squared.__call__
        monkeypatch.setattr(Squared, "__call__", lambda self, delta: plain(self, delta) * (1 + 1e-5))
        assert any(", loss" in line for line in changed("fm"))

    def test_features_of_the_network(self, monkeypatch: pytest.MonkeyPatch) -> None:
        plain = TimePair.forward
        monkeypatch.setattr(TimePair, "forward", lambda self, s, t: plain(self, s, t + 1e-5))
        assert any(", loss" in line for line in changed("lsd"))
        assert write.moved("network perceptron", write.stored()["network perceptron"], RUNS["network perceptron"]())

    def test_the_schedule(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(settings.INTERPOLANT, "alpha", "cos(pi*t/2)*(1+t/100000)")
        assert any(", loss" in line for line in changed("lmd"))

    def test_a_law(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(settings.SHARED, "law", UpperTriangle(law=Uniform(low=0.0, high=0.9999)))
        assert any(", times" in line for line in changed("lmd"))

    @pytest.mark.parametrize(("key", "value"), [("rate", 0.0201), ("beta1", 0.91), ("beta2", 0.96), ("clip", 0.99)])
    def test_the_optimizer(self, key: str, value: float) -> None:
        new = run("fm", {**settings.OPTIMIZER, key: value})
        moved = write.moved("row fm", write.stored()["row fm"], new)
        assert any(", weights" in line for line in moved)
        assert not any(", gradient" in line for line in moved)

    def test_the_sampler(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(measured, "GRID", [0.0, 0.3001, 1.0])
        moved = changed("fm")
        assert moved
        assert all(", samples" in line for line in moved)

    def test_noise_by_seed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(measured, "noise", lambda n, event, **options: noise(n, event, **{**options, "start": 3}))
        moved = changed("fm")
        assert moved
        assert all(", samples" in line for line in moved)


class TestTheComparison:
    def test_numbers_within_the_tolerance_are_the_same(self) -> None:
        assert write.moved("a", {"x": [1.0, 2.0]}, {"x": [1.0 + 1e-9, 2.0]}) == []
        assert write.moved("a", {"x": [1.0, 2.0]}, {"x": [1.0, 2.0 + 1e-5]}) == ["a, x 1: 2 -> 2.00001"]
        assert write.moved("optimizer muon", {"x": 1.0}, {"x": 1.01}) == []

    def test_what_is_missing_or_not_a_number_has_moved(self) -> None:
        assert write.moved("a", {"x": {"y": 1.0}}, {}) == ["a, x y: 1 -> none"]
        assert write.moved("a", {}, {"x": 1.0}) == ["a, x: none -> 1"]
        assert write.moved("a", {"x": 1.0}, {"x": math.nan}) == ["a, x: 1 -> nan"]

    def test_the_script_prints_what_moved_and_writes_it(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Any, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(write, "FILE", tmp_path / "values.json")
        monkeypatch.setattr(write, "RUNS", {"a": lambda: {"x": [1.0, 2.0]}})
        write.main()
        assert capsys.readouterr().out == "a, x 0: none -> 1\na, x 1: none -> 2\n2 numbers moved; wrote values.json\n"
        monkeypatch.setattr(write, "RUNS", {"a": lambda: {"x": [1.0, 3.0]}})
        write.main()
        assert capsys.readouterr().out == "a, x 1: 2 -> 3\n1 numbers moved; wrote values.json\n"
        assert write.stored() == {"a": {"x": [1.0, 3.0]}}


def test_the_numbers_belong_to_their_names() -> None:
    assert torch.equal(measured.uniform("a", 3), measured.uniform("a", 3))
    assert not torch.equal(measured.uniform("a", 3), measured.uniform("b", 3))
    many: Tensor = measured.centered("a", 10_000)
    assert abs(float(many.mean())) < 0.05
    assert float(many.square().mean()) == pytest.approx(1, abs=0.05)


def test_the_words_are_those_of_philox() -> None:
    first = [0x4DB6A27B756282DF, 0xD944FA03BABE0E2F]  # of the key 1; the words of a bit generator stay
    assert np.random.Philox(key=1).random_raw(2).tolist() == first

"""Things by name: registries, factories of one's own, optional packages, values as text."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from flowops._named import Registry, check_options, load, meant, options_of, parse_values, require, texts
from flowops.couplings import COUPLINGS, OptimalTransport
from flowops.interpolants import NAMED
from flowops.maps import PARAMETERIZATIONS
from flowops.metrics import EXTRACTORS
from flowops.networks import NETWORKS


class Shape:
    """What the factories of the registry return."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings


class Round(Shape):
    pass


def circle(radius: float = 1.0) -> Shape:
    return Round(radius=radius)


def box(size: int, *, depth: int = 2, colour: str = "red", seed: int = 0) -> Shape:
    return Shape(size=size, depth=depth, colour=colour, seed=seed)


def anything(**settings: Any) -> Shape:
    return Shape(**settings)


def wrong() -> str:
    return "shape"


@pytest.fixture
def shapes() -> Registry[Shape]:
    return Registry("shape", Shape, {"circle": circle, "box": box}, passed=("seed",))


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of the user's."""
    module: Any = ModuleType("own_shapes")
    module.circle, module.box, module.anything, module.wrong, module.number = circle, box, anything, wrong, 3
    module.ROUND = Round()
    module.Inner = type("Inner", (), {"circle": staticmethod(circle)})
    monkeypatch.setitem(sys.modules, "own_shapes", module)


@pytest.mark.usefixtures("own")
class TestRegistry:
    def test_it_is_a_mapping_of_its_factories(self, shapes: Registry[Shape]) -> None:
        assert isinstance(shapes, Mapping)
        assert dict(shapes) == {"circle": circle, "box": box}
        assert ("box" in shapes, "cube" in shapes, len(shapes)) == (True, False, 2)
        shapes.add("cube", box)
        assert list(shapes) == ["circle", "box", "cube"]

    def test_the_entries_are_its_own(self) -> None:
        entries = {"circle": circle}
        shapes: Registry[Shape] = Registry("shape", Shape, entries)
        shapes.add("box", box)
        assert list(entries) == ["circle"]

    def test_a_name_is_made_with_its_options(self, shapes: Registry[Shape]) -> None:
        assert shapes.make("circle").settings == {"radius": 1.0}
        assert shapes.make("circle", options={"radius": 2.0}).settings == {"radius": 2.0}
        assert shapes.make("box", 7, options={"depth": 5}).settings == {
            "size": 7,
            "depth": 5,
            "colour": "red",
            "seed": 0,
        }

    def test_a_factory_of_ones_own_is_imported(self, shapes: Registry[Shape]) -> None:
        assert shapes.make("own_shapes:circle", options={"radius": 3.0}).settings == {"radius": 3.0}
        assert shapes.make("own_shapes:Inner.circle").settings == {"radius": 1.0}
        assert shapes.factory("own_shapes:box") is box

    def test_an_object_is_returned_as_it_is(self, shapes: Registry[Shape]) -> None:
        for shape in (Shape(), Round()):
            assert shapes.make(shape) is shape
            assert shapes.make(shape, seed=3) is shape

    def test_so_is_one_that_is_imported(self, shapes: Registry[Shape]) -> None:
        assert isinstance(shapes.make("own_shapes:ROUND", 3, seed=2), Round)
        with pytest.raises(TypeError, match="`radius` must be an option of the Round given, which has none"):
            shapes.make("own_shapes:ROUND", options={"radius": 2.0})

    def test_a_factory_of_other_arguments_is_told_what_it_is_given(self) -> None:
        shapes: Registry[Shape] = Registry("shape", Shape, {}, takes=("size", "colour"))
        with pytest.raises(TypeError, match=r"`shape` must name a function of \(size, colour\), got 'own_shapes:box'"):
            shapes.make("own_shapes:box", 1, 2)

    def test_options_beside_an_object_are_refused(self, shapes: Registry[Shape]) -> None:
        with pytest.raises(TypeError, match="`radius` must be an option of the Round given, which has none"):
            shapes.make(Round(), options={"radius": 2.0})

    def test_what_the_caller_passes_reaches_whoever_has_it_and_is_no_option(self, shapes: Registry[Shape]) -> None:
        assert shapes.make("box", 1, seed=4).settings["seed"] == 4
        assert shapes.make("circle", seed=4).settings == {"radius": 1.0}
        assert shapes.make("own_shapes:anything", options={"size": 2}, seed=4).settings == {"size": 2, "seed": 4}
        for name in ("box", "own_shapes:box"):
            with pytest.raises(TypeError, match=f"`seed` must be an option of {name}, which has depth, colour"):
                shapes.make(name, 1, options={"seed": 4})

    def test_the_options_of_an_entry_are_those_of_its_signature(self, shapes: Registry[Shape]) -> None:
        assert shapes.options("box") == {"depth": 2, "colour": "red"}
        assert shapes.options("circle") == {"radius": 1.0}
        assert shapes.options("own_shapes:anything") == {}

    def test_an_unknown_option_is_told_with_what_was_meant(self, shapes: Registry[Shape]) -> None:
        with pytest.raises(TypeError) as refusal:
            shapes.make("box", 1, options={"color": "blue"})
        assert str(refusal.value) == (
            "`color` must be an option of box, which has depth, colour; did you mean 'colour'?"
        )
        with pytest.raises(TypeError, match="`size` must be an option of box, which has depth, colour.$"):
            shapes.make("box", 1, options={"size": 2})

    def test_an_unknown_name_is_told_with_what_was_meant(self, shapes: Registry[Shape]) -> None:
        with pytest.raises(ValueError, match="`shape` must be one of") as refusal:
            shapes.make("circel")
        assert str(refusal.value) == (
            "`shape` must be one of circle, box or package.module:factory, got 'circel'; did you mean 'circle'?"
        )
        with pytest.raises(ValueError, match="got 'zzz'.$"):
            shapes.make("zzz")
        with pytest.raises(KeyError):
            shapes["own_shapes:circle"]

    @pytest.mark.parametrize(
        ("name", "error", "sentence"),
        [
            (
                "own_shapes:wrong",
                TypeError,
                "a function that returns Shape, got 'own_shapes:wrong', which returned str",
            ),
            ("own_shapes:number", ValueError, "a function that returns Shape, got 'own_shapes:number', which is int"),
            ("own_shapes:nothing", ValueError, "something to import, package.module:name, got 'own_shapes:nothing'"),
            ("own_shape:circle", ValueError, "something to import, package.module:name, got 'own_shape:circle'"),
        ],
    )
    def test_what_makes_no_object_of_the_kind_is_refused(
        self, name: str, error: type[Exception], sentence: str, shapes: Registry[Shape]
    ) -> None:
        with pytest.raises(error, match=f"`shape` must name {sentence}"):
            shapes.make(name)


@pytest.mark.parametrize(
    "registry", [COUPLINGS, NETWORKS, PARAMETERIZATIONS, NAMED, EXTRACTORS], ids=lambda r: r.setting
)
def test_the_registries_of_the_library_hold_factories_whose_options_are_no_arguments(registry: Registry[Any]) -> None:
    assert len(registry) > 1
    for name in registry:
        options = registry.options(name)
        assert not set(options) & set(registry.passed)
        assert set(options) <= set(options_of(registry.factory(name)))
        with pytest.raises(TypeError, match=f"`no_such_option` must be an option of {name}, which has"):
            registry.make(name, options={"no_such_option": 1})


def test_options_given_as_text_reach_the_factory() -> None:
    options = parse_values(["block=8", "condition_weight=0.5"], "coupling_options")
    assert COUPLINGS.make("optimal-transport", options=options) == OptimalTransport(0.5, 8)


class TestLoad:
    def test_the_object_of_that_name(self) -> None:
        assert load("pathlib:Path", "x") is Path
        assert load("pathlib:Path.cwd", "x") == Path.cwd
        assert load("os.path:sep", "x") == "/"

    @pytest.mark.parametrize(
        "text",
        ["no_such_package:f", "pathlib:NoPath", "pathlib:Path.none", "pathlib:", ":f", ".x:f", "pathlib", "a..b:c"],
    )
    def test_what_cannot_be_imported_is_refused_by_the_name_of_the_setting(self, text: str) -> None:
        with pytest.raises(
            ValueError, match=r"`metric` must name something to import, package.module:name, got .*check"
        ):
            load(text, "metric")

    def test_a_module_that_is_broken_inside_is_not_taken_for_a_missing_one(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "brokenshapes.py").write_text("1 / 0")
        monkeypatch.syspath_prepend(str(tmp_path))
        with pytest.raises(ZeroDivisionError):
            load("brokenshapes:circle", "shape")


class TestRequire:
    def test_a_package_that_is_there_is_imported(self) -> None:
        assert require("os.path", "train").join("a", "b") == "a/b"

    def test_a_missing_package_names_its_extra(self) -> None:
        with pytest.raises(ImportError, match=r"`nosuchpackage` .* pip install 'flowops\[train\]'"):
            require("nosuchpackage.inner", "train")

    def test_a_package_that_is_broken_inside_says_so(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "brokenpackage.py").write_text("import nosuchpackage")
        monkeypatch.syspath_prepend(str(tmp_path))
        with pytest.raises(ModuleNotFoundError, match="nosuchpackage") as caught:
            require("brokenpackage", "train")
        assert "flowops[" not in str(caught.value)


def test_what_was_meant_is_the_closest_name_or_nothing() -> None:
    assert meant("widht", ["depth", "width"]) == "; did you mean 'width'?"
    assert meant("zzz", ["depth", "width"]) == "."
    assert meant("width", []) == "."
    assert meant(None, ["none"]).startswith((".", ";"))


def test_options_are_parameters_with_a_default() -> None:
    assert options_of(box) == {"depth": 2, "colour": "red", "seed": 0}
    assert options_of(OptimalTransport) == {"condition_weight": 0.0, "block": None}
    assert options_of(anything) == {}


def test_an_owner_that_takes_anything_refuses_no_option() -> None:
    check_options({"a": 1}, {}, "owner", every=True)
    check_options({"a": 1}, {"a": 0}, "owner")
    with pytest.raises(TypeError, match="`a` must be an option of owner, which has none.$"):
        check_options({"a": 1}, {}, "owner")


class TestParseValues:
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("3", 3),
            ("-0.5", -0.5),
            ("1e-3", 1e-3),
            ("True", True),
            ("false", False),
            ("none", None),
            ("1,4.5", (1, 4.5)),
            ("1,", (1,)),
            ("1,2,", (1, 2)),
            (",", ()),
        ],
    )
    def test_a_value_has_its_type(self, text: str, value: object) -> None:
        found = parse_values([f"a={text}"], "options")["a"]
        assert found == value
        assert type(found) is type(value)

    def test_other_words_are_words(self) -> None:
        assert parse_values(["form=velocity", "path=a=b"], "options") == {"form": "velocity", "path": "a=b"}
        assert parse_values(["f=__import__('os').getcwd()"], "options") == {"f": "__import__('os').getcwd()"}

    def test_some_names_are_read_in_their_own_way(self) -> None:
        assert parse_values(["a=1", "b=1"], "options", {"b": lambda text: text + "!"}) == {"a": 1, "b": "1!"}

    def test_what_is_written_is_read_back(self) -> None:
        values = {"a": 1, "b": -2.5e-7, "c": True, "d": None, "e": (), "f": (0.5,), "g": (1, 2.5, 3), "h": "velocity"}
        assert parse_values(texts(values), "options") == values

    @pytest.mark.parametrize(
        "given", [["a"], ["=1"], ["a="], ["a=1", "a=2"], ["a=1,b"], ["a=1,,2"], ["a=,1"], ["a=b,"]]
    )
    def test_what_is_no_value_is_refused_by_the_name_of_the_setting(self, given: list[str]) -> None:
        with pytest.raises(ValueError, match="`data_options` must"):
            parse_values(given, "data_options")

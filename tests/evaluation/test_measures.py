"""Measures by name: each a function of the data that gives a function of samples."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from torch import Tensor

from flowops.evaluation.measures import OF_FEATURES, OF_POINTS, named
from tests.examples import normal

DATA = normal(400, 2, seed=1)


@pytest.mark.parametrize("name", OF_POINTS)
def test_a_distance_of_points_grows_with_their_shift(name: str) -> None:
    measure = OF_POINTS[name](DATA)
    values = [measure(normal(400, 2, seed=2) + shift) for shift in (0.0, 1.0, 2.0)]
    assert values == sorted(values)
    assert values[2] > 5 * abs(values[0])


@pytest.mark.parametrize("names", OF_FEATURES)
def test_features_of_data_are_better_than_those_of_something_else(names: tuple[str, ...]) -> None:
    measure = OF_FEATURES[names](DATA)
    near, far = measure(normal(400, 2, seed=2)), measure(normal(400, 2, seed=2) + 6)
    for name, own, other in zip(names, near, far, strict=True):
        assert (own < other) == (name == "kernel distance")
        assert own != other


def test_what_belongs_to_the_data_is_fixed_with_them() -> None:
    """The kernel of one data set measures all samplers, whatever they are."""
    measure, x, y = OF_POINTS["MMD^2"](DATA), normal(50, 2, seed=3), normal(50, 2, seed=4) + 2
    before = measure(x)
    measure(y)
    assert measure(x) == before
    assert measure(x) != OF_POINTS["MMD^2"](3 * DATA)(x)


def largest(data: Tensor) -> Callable[[Tensor], float]:
    """The largest entry of samples beyond that of the data."""
    return lambda x: float(x.max() - data.max())


def test_one_of_ones_own_is_found_where_it_is_and_called_by_its_name() -> None:
    name, factory = named(f"{__name__}:largest")
    assert name == "largest"
    assert factory(DATA)(DATA + 1) == pytest.approx(1.0)
    assert named("sliced W2") == ("sliced W2", OF_POINTS["sliced W2"])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("W2", r"`metrics` must be among sliced W2, MMD\^2, energy distance or package.module:factory, got 'W2'"),
        ("recall", "`metrics` must be among"),
        (f"{__name__}:missing", "`metrics` must name something to import"),
    ],
)
def test_one_that_does_not_exist_is_named(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        named(name)


def test_the_table_of_measures_cannot_be_written_to() -> None:
    with pytest.raises(TypeError):
        OF_POINTS["mine"] = largest  # type: ignore[index]

"""Laws of times, norms and weights as text."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from torch import Tensor

from flowops.methods import (
    Adaptive,
    Exponential,
    InverseSpeed,
    InverseStep,
    Laplace,
    Lp,
    MeanSquared,
    PseudoHuber,
    Sigmoid,
    TimePower,
    get_method,
)
from flowops.runs.calls import parse_annealing, parse_law, parse_norm, parse_one_time, parse_weight
from flowops.times import (
    Diagonal,
    Dyadic,
    EndpointFixed,
    Karras,
    Ladder,
    LogitNormal,
    LogNoise,
    TimeLaw,
    Uniform,
    UniformAngle,
    UpperTriangle,
)


@pytest.mark.parametrize(
    "law",
    [
        UpperTriangle(),
        Diagonal(LogitNormal(-0.4, 1.0)),
        EndpointFixed(Uniform()),
        Ladder(18, spacing=Karras(), law=LogNoise(-1.1, 2.0)),
        Dyadic(7),
    ],
)
def test_a_law_is_read_from_its_own_repr(law: TimeLaw) -> None:
    assert parse_law(repr(law)) == law


def test_a_law_of_the_diagonal_is_one_of_a_single_time() -> None:
    for law in (Uniform(0.0, 0.999), UniformAngle()):
        assert parse_one_time(repr(law)) == law
    assert parse_one_time("none") is None
    with pytest.raises(ValueError, match=r"`diagonal` must be a law of one time, such as UniformAngle\(\), got 'Diag"):
        parse_one_time("Diagonal()")


def test_the_norms_and_weights_of_papers_are_read_as_they_are_printed() -> None:
    assert parse_norm("PseudoHuber(c=None)") == PseudoHuber()
    weight = parse_weight(repr(InverseStep(80.0)))
    assert isinstance(weight, InverseStep)
    assert weight.most == 80.0


def test_a_weight_by_speed_is_read_from_its_own_repr() -> None:
    weight = parse_weight(repr(InverseSpeed(1.5, 0.0, "end")))
    assert isinstance(weight, InverseSpeed)
    assert (weight.p, weight.floor, weight.time) == (1.5, 0.0, "end")


OWN = EndpointFixed(Uniform(0.2, 0.4))


def make() -> TimeLaw:
    """A law of one's own."""
    return OWN


@pytest.mark.parametrize("name", ["make", "OWN"])
def test_a_law_of_ones_own_is_found_where_it_is(name: str) -> None:
    assert parse_law(f"{__name__}:{name}") is OWN


@pytest.mark.parametrize("text", ["none", "None"])
def test_none_is_the_law_of_the_row(text: str) -> None:
    assert parse_law(text) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("__import__('os')", "must be a law of flowops.times"),
        ("UpperTriangle().__class__", "must be a law of flowops.times"),
        ("UpperTriangle", "must be a law of flowops.times"),
        ("Uniform()", "must be a law of pairs of times"),
        ("LogitNormal(0, -1)", "must be a law of flowops.times"),
        ("(" * 5000, "must be a law of flowops.times"),
        ("UpperTriangle(**{})", "must be a law of flowops.times"),
        ("UpperTriangle(**Uniform())", "must be a law of flowops.times"),
        ("[UpperTriangle()]", "must be a law of flowops.times"),
        ("no.such:law", "`law` must name something to import, package.module:name, got 'no.such:law'"),
        (f"{__name__}:pytest", "must be a law of pairs of times"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_other_texts_are_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        parse_law(text)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("norm", [Lp(2.0), PseudoHuber(0.3), MeanSquared(), Laplace(0.5)])
def test_a_norm_is_read_from_its_own_repr_and_by_name(norm: object) -> None:
    assert parse_norm(repr(norm)) == norm
    assert parse_norm("l1") == "l1"


def factor(s: Tensor, t: Tensor) -> Tensor:
    """A weight of one's own."""
    return t - s


def made() -> TimePower:
    """A weight of one's own, made."""
    return TimePower(3.0)


def test_a_weight_is_a_number_a_call_or_a_function_of_ones_own() -> None:
    assert (parse_weight("0.5"), parse_weight("learned")) == (0.5, "learned")
    assert parse_weight(f"{__name__}:factor") is factor
    power, adaptive = parse_weight("TimePower(-1.0)"), parse_weight("Adaptive(1.0, c=0.1)")
    assert isinstance(power, TimePower)
    assert isinstance(adaptive, Adaptive)
    assert (power.p, adaptive.p, adaptive.c) == (-1.0, 1.0, 0.1)
    assert parse_weight(f"{__name__}:made").p == 3  # type: ignore[union-attr]


def test_an_annealing_is_a_name_a_pair_of_steps_or_a_call() -> None:
    assert parse_annealing("exponential") == "exponential"
    assert parse_annealing("0,100") == (0, 100)
    for law in (Sigmoid(10, 90), Exponential(0, 50, 0.5, 1e-3)):
        assert parse_annealing(repr(law)) == law
        assert get_method("alpha-flow", anneal=parse_annealing(repr(law))).options.anneal == law


@pytest.mark.parametrize(
    ("parse", "text", "message"),
    [
        (parse_annealing, "Sigmoid(5, 5)", "must be an annealing of flowops.methods.*must be two increasing"),
        (parse_annealing, "Lp(2.0)", "must be an annealing of flowops.methods with numbers, such as Exponential"),
        (parse_norm, "Lp(0.5)", "must be a norm of flowops.methods with numbers, such as Lp.*`p` must be at least 1"),
        (parse_norm, "UpperTriangle()", "must be a norm of flowops.methods"),
        (parse_weight, "lerned", "must be a number, learned, a weight such as TimePower"),
        (parse_weight, "Learned(1)", "must be a weight of flowops.methods"),
        (parse_weight, "no.such:weight", "`weight` must name something to import"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_other_norms_and_weights_are_refused(parse: Callable[[str], object], text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse(text)

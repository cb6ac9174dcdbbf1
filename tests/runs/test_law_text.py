"""Laws of times as text."""

from __future__ import annotations

import pytest

from flowops.runs.law_text import parse_law
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

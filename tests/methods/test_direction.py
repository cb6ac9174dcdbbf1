"""Which methods teach a map to go back."""

from __future__ import annotations

from typing import Any

import pytest

from flowops.interpolants import linear
from flowops.methods import METHODS, get_method, goes_back
from flowops.times import Annealed, EndpointFixed, FullSquare, LogNoise, Uniform, UpperTriangle


def test_flow_map_matching_and_joint_maps_go_back_by_themselves() -> None:
    assert {name for name in METHODS if goes_back(get_method(name), linear())} == {"fmm", "f2d2"}


@pytest.mark.parametrize(
    ("name", "options", "wanted"),
    [
        ("lsd", {"law": FullSquare()}, True),
        ("lsd", {"law": Annealed(FullSquare(), 0.0, 100)}, True),
        ("lsd", {"law": UpperTriangle()}, False),
        ("lmd", {"law": FullSquare()}, True),
        ("meanflow", {"law": FullSquare()}, True),
        ("ctm", {"law": FullSquare(LogNoise(0.0, 1.0))}, True),
        ("esd", {"law": EndpointFixed(Uniform(), 0.5)}, True),
        ("esd", {"law": EndpointFixed(Uniform(), 1.0)}, False),
        ("fmm", {"law": UpperTriangle()}, True),  # both orders stand in its residual
    ],
)
def test_the_law_decides(name: str, options: dict[str, Any], wanted: bool) -> None:
    assert goes_back(get_method(name, **options), linear()) is wanted

"""Objects by name: what is checked, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from flowops.checks import Request

HERE = "tests.checks.objects"


def test_every_object_that_is_named_is_checked() -> None:
    request = Request(alpha="1-t", beta="t", flow_map=f"{HERE}:euler", field=f"{HERE}:field", n=6)
    (schedule, of_schedule), (flow_map, of_map) = request.checks()
    assert (schedule, flow_map) == ("schedule", "flow map")
    assert of_schedule().holds
    broken = of_map().first_broken
    assert broken is not None
    assert broken.name == "Lagrangian"


def test_a_density_is_held_against_the_field_beside_a_map_too() -> None:
    request = Request(field=f"{HERE}:field", flow_map=f"{HERE}:exact", log_density=f"{HERE}:density", n=2)
    assert [called for called, _ in request.checks()] == ["field", "flow map"]
    assert "Continuity" in [v.name for v in request.checks()[0][1]().verdicts]


def test_objects_are_loaded_once() -> None:
    request = Request(field=f"{HERE}:another", flow_map=f"{HERE}:exact")
    request.checks()
    assert request.velocity_field is request.velocity_field


@pytest.mark.parametrize("name", ["gaussian", "turning"])
def test_a_problem_is_its_field_and_its_map(name: str) -> None:
    checks = Request(problem=f"{HERE}:{name}", n=3).checks()
    assert [called.split(" of ")[0] for called, _ in checks] == ["the field", "the map"]
    report = checks[1][1]()
    assert report.holds, str(report)


def test_states_are_a_tensor_or_a_sampler_and_horizons_two_times() -> None:
    assert isinstance(Request(states=f"{HERE}:STATES").sampler(), torch.Tensor)
    assert callable(Request(states=f"{HERE}:states").sampler())
    assert Request(horizon="-1,20.5").times() == (-1.0, 20.5)
    assert Request(event="3,8,8").shape() == (3, 8, 8)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "must be given, got none of them"),
        ({"alpha": "1-t"}, "`alpha` and `beta` must be given together, got only `alpha`"),
        ({"alpha": "x", "beta": "t"}, "x"),
        ({"field": "nowhere:f"}, "`field` must name something to import"),
        ({"field": f"{HERE}:broken"}, "failed when called: no weights"),
        ({"log_density": f"{HERE}:density"}, "`log_density` must be given with the field"),
        ({"field": f"{HERE}:field", "log_density": f"{HERE}:STATES"}, "`log_density` must name a function"),
        ({"field": f"{HERE}:field", "event": "0"}, "`event` must be positive sizes"),
        ({"field": f"{HERE}:field", "event": "a,b"}, "`event` must be positive sizes"),
        ({"field": f"{HERE}:field", "horizon": "1"}, "`horizon` must be two times"),
        ({"field": f"{HERE}:field", "horizon": "1,0"}, "`horizon` must be two increasing times"),
        ({"field": f"{HERE}:field", "states": f"{HERE}:HERE"}, "`states` must name something to import"),
        ({"field": f"{HERE}:field", "states": f"{HERE}:turning"}, "`states` must name a tensor"),
    ],
)
def test_what_cannot_be_checked_is_refused_before_anything_runs(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Request(**given).checks()


def test_an_object_of_another_kind_is_refused() -> None:
    with pytest.raises(TypeError, match="`field` must give a VelocityField"):
        Request(field=f"{HERE}:euler").checks()

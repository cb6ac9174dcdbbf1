"""The document without a browser: controls are set, the pointer is moved, and the figures hold what a view says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from flowops import FlowMap, Interpolant, VelocityField
from flowops.evaluation.explore import Choice, Page, Subject, View, subject_of_problem
from flowops.evaluation.report.observed import Observed
from tests.examples import normal

document = pytest.importorskip("bokeh.document")
events = pytest.importorskip("bokeh.events")


def opened(subject: Subject) -> Page:
    return Page(subject, subject.under(None), document.Document(), threaded=False)


@pytest.fixture
def page() -> Page:
    return opened(subject_of_problem("mixture", n=50))


def ends(page: Page, name: str = "mapped") -> np.ndarray:
    assert page.particles is not None
    data: Any = page.particles.points[name].data
    return np.stack([data["x"], data["y"]], 1)


def test_the_figures_show_the_view(page: Page) -> None:
    page.s.value, page.t.value, page.steps.value, page.way.value = 0.2, 0.9, 3, "heun"
    scene = page.view.scene(Choice(0.2, 0.9, 3, "heun"))
    for name, points in (("start", scene.start), ("mapped", scene.mapped), ("true", scene.true)):
        np.testing.assert_allclose(ends(page, name), points)
    assert "heun, 3 steps" in page.status.text
    assert f"{scene.distance:.3g}" in page.status.text
    assert "6 calls per sample" in page.status.text
    assert page.particles is not None
    assert len(page.particles.errors.data["x"]) == 150  # two ends and a gap
    mark = page.residual.mark.data
    assert (mark["s"], mark["t"]) == ([0.2], [0.9])


def test_the_heat_map_is_that_of_the_chosen_steps_and_residual(page: Page) -> None:
    before = np.array(page.residual.cells.data["value"])
    page.kind.value = "Lagrangian"
    found = page.view.residuals(page.choice).values["Lagrangian"].numpy().ravel()
    assert [f"{v:.3g}" for v in found] == page.residual.cells.data["told"]
    assert not np.allclose(before, page.residual.cells.data["value"])
    one = np.array(page.residual.cells.data["value"])
    page.steps.value = 8
    assert np.median(page.residual.cells.data["value"]) < np.median(one) / 2


def test_a_click_on_the_heat_map_takes_its_times(page: Page) -> None:
    page.residual.figure._trigger_event(events.Tap(page.residual.figure, x=0.3017, y=0.7))
    assert (page.s.value, page.t.value) == (0.3, 0.7)
    page.residual.figure._trigger_event(events.Tap(page.residual.figure, x=-0.5, y=9.0))
    assert (page.s.value, page.t.value) == (0.0, 1.0)
    page.choose(None, 0.5)
    assert page.t.value == 1.0


def test_the_particle_under_the_pointer_is_traced(page: Page) -> None:
    assert page.particles is not None
    figure = page.particles.figure
    x, y = ends(page, "true")[17]
    figure._trigger_event(events.MouseMove(figure, x=x, y=y))
    assert page.particle == 17
    way = page.view.way(page.choice, 17)
    np.testing.assert_allclose(page.particles.way["true"].data["x"], way.true[:, 0])
    assert "particle 17" in page.status.text
    page.steps.value = 4  # it goes on being traced
    assert len(page.particles.way["stops"].data["x"]) == 5


@pytest.mark.parametrize(
    ("alpha", "beta", "said"),
    [
        ("import os", "t", "`alpha` must be a well-formed expression in t"),
        ("__import__('os')", "t", "`alpha` must"),
        ("1-t", "t/<b>", "`beta` must"),
        ("1-t", "", "`beta` must"),
        ("(1-t)*(1-2*t)**2", "t*(1-2*t)**2", "does not hold"),
    ],
)
def test_a_schedule_that_is_none_is_told_and_nothing_else_happens(page: Page, alpha: str, beta: str, said: str) -> None:
    before, view = ends(page), page.view
    page.beta.value = beta
    page.alpha.value = alpha
    assert said in page.notes.text
    assert 'class="fault"' in page.notes.text
    assert "<b>" not in page.notes.text  # what was typed is escaped
    assert page.schedule.value == "typed"
    if beta == "t":
        assert page.view is view
        np.testing.assert_array_equal(ends(page), before)


def test_a_typed_schedule_moves_the_flow(page: Page) -> None:
    page.t.value = 0.5
    before = ends(page, "true")
    page.alpha.value = "cos(pi*t/2)"
    page.beta.value = "sin(pi*t/2)"
    assert "fault" not in page.notes.text
    typed = ends(page, "true")
    assert not np.allclose(before, typed, atol=1e-2)
    page.schedule.value = "trigonometric"
    np.testing.assert_allclose(ends(page, "true"), typed, atol=1e-5)
    page.schedule.value = "as begun"
    assert page.alpha.value == "1-t"
    np.testing.assert_array_equal(ends(page, "true"), before)


def test_a_schedule_whose_ends_differ_is_used_and_its_faults_are_told(page: Page) -> None:
    page.schedule.value = "variance_preserving"
    assert "beta(0) = 0 does not hold: it is 0.00657" in page.notes.text
    assert page.view is not page.first


def test_what_an_object_raises_is_a_sentence_on_the_page() -> None:
    def breaks(_: Tensor, t: Tensor, x: Tensor) -> Tensor:
        if bool((t < 0.5).any()):
            raise RuntimeError("the weights are <gone>\nTraceback")
        return x

    rest, broken = VelocityField.from_function(lambda _, x: torch.zeros_like(x)), FlowMap.from_function(breaks)
    view = View(Observed(broken, rest, normal(9, 2)), {"map": broken}, learned=True)
    page = opened(Subject("mine", "a map", None, lambda _: view))
    page.t.value = 0.25
    assert "the weights are &lt;gone&gt;" in page.notes.text
    page.t.value, page.s.value = 0.75, 1.0
    assert "trained for t ≥ s" in page.status.text


def test_a_field_without_a_schedule_offers_none(page: Page) -> None:
    without = opened(subject_of_problem("rotation", n=9))
    names = {root.name for root in without.status.document.roots}
    assert {"s", "t", "steps", "particles", "residual"} <= names
    assert not names & {"alpha", "beta", "schedule"}
    assert {"alpha", "beta", "schedule"} <= {root.name for root in page.status.document.roots}


def test_images_are_drawn_and_their_residual_is_that_of_one_step() -> None:
    pytest.importorskip("torchvision")
    field = VelocityField.from_function(lambda _, x: -x)
    X = FlowMap.from_function(lambda s, t, x: x * (1 - (t - s))[:, None, None, None])
    view = View(Observed(X, field, normal(4, 1, 6, 6), backward=False), {"map": X}, learned=True)
    page = opened(Subject("images", "a map", Interpolant.from_expressions("1-t", "t"), lambda _: view))
    assert page.samples is not None
    assert len(page.samples.source.data["image"]) == 6
    before = list(page.residual.cells.data["told"])
    page.steps.value = 3
    assert len(page.samples.source.data["image"]) == 7
    assert page.residual.cells.data["told"] == before
    assert page.samples.figure.y_range.end == 7
    assert set(page.samples.figure.yaxis[0].major_label_overrides.values()) >= {"at s = 0", "map, 3 steps", "true flow"}


def test_the_template_holds_everything_for_phones_and_dark_rooms(page: Page) -> None:
    held = page.status.document
    assert held.title == "flowops explore: problem mixture"
    assert "prefers-color-scheme: dark" in held.template_variables["style"]
    assert pytest.importorskip("bokeh.core.validation").check.check_integrity(set(held.models)).error == []

"""A report is made task by task, and what cannot be made is told in its place."""

from __future__ import annotations

import pytest
import torch

from flowops import problems
from flowops.checks import Report, Request, Verdict
from flowops.evaluation.report import Paragraph, Plan, Section, Task, plan_of_objects
from tests.examples import normal

HOLDING = Report("the map", (Verdict("Identity", "here", "holds", 0.0, 1e-9),))


def broken() -> Section:
    raise RuntimeError("no weights.\nmore")


def slow() -> Section:
    problems.rotation(2.0).b(0.0, normal(2, 2))
    return Section("slow", ())


@pytest.mark.parametrize(("build", "seconds", "said"), [(broken, 40.0, "no weights"), (slow, 0.0, "than the 0.0 s")])
def test_what_cannot_be_drawn_is_a_sentence_in_its_place(build: object, seconds: float, said: str) -> None:
    assert callable(build)
    page = Plan("title", [("map", lambda: HOLDING)], [Task("A figure", build, seconds)], {}).carried_out()
    assert [section.title for section in page.sections] == ["Verdicts", "A figure"]
    (part,) = page.sections[1].parts
    assert isinstance(part, Paragraph)
    assert part.text.startswith("This could not be drawn: ")
    assert said in part.text
    assert page.holds


def test_it_tells_how_far_it_is() -> None:
    told: list[tuple[int, str]] = []
    plan = Plan("title", [("map", lambda: HOLDING)], [Task("A figure", broken, 1.0)], {})
    plan.carried_out(lambda done, what: told.append((done, what)))
    assert told == [(0, "map"), (1, "A figure"), (2, "")]
    assert len(plan) == 2


def test_two_plans_of_one_seed_make_one_page() -> None:
    request = Request(flow_map="tests.checks.objects:euler", field="tests.checks.objects:field", n=6)
    with torch.random.fork_rng():
        pages = [plan_of_objects(request).carried_out() for _ in range(2)]
    assert pages[0].sections == pages[1].sections

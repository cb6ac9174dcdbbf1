"""The report of `flowops check`: verdicts and figures on one page that opens from disk, also as JSON and JUnit.

`plan_of_run` and `plan_of_objects` load what is looked at, `Plan.carried_out` works on it, and the `Page` that comes
of it is text: `html()`, `json()`, `junit()`. Drawings are SVG elements, whose colours are those of the page.
"""

from flowops.evaluation.report.folder import prepared
from flowops.evaluation.report.page import Page
from flowops.evaluation.report.part import Figure, Judged, Paragraph, Section, Table, Verdicts
from flowops.evaluation.report.plan import Plan, Task, facts, plan_of_objects, plan_of_run, summary

__all__ = [
    # what is to be made
    "Plan",
    "Task",
    "plan_of_objects",
    "plan_of_run",
    # what came of it
    "Page",
    "Section",
    "Verdicts",
    "Judged",
    "Figure",
    "Table",
    "Paragraph",
    "summary",
    "facts",
    # where it goes
    "prepared",
]

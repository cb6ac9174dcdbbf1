"""The report on one object or several: an HTML file that needs no other one, the same as JSON, and as JUnit."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib import resources
from typing import Any
from xml.etree import ElementTree

from flowops._named import require
from flowops.checks.verdict import FAILS, UNDECIDED
from flowops.evaluation.plain import finite, legal
from flowops.evaluation.report.part import Judged, Section, Verdicts


@dataclass(frozen=True)
class Page:
    """What is written of one object or several.

    Attributes:
        title: what was looked at.
        summary: what came of it, a sentence each.
        sections: verdicts first, figures after.
        facts: with what it was made, and the seed.
    """

    title: str
    summary: tuple[str, ...]
    sections: tuple[Section, ...]
    facts: Mapping[str, str]

    @property
    def verdicts(self) -> tuple[Verdicts, ...]:
        """The tables of verdicts."""
        return tuple(part for section in self.sections for part in section.parts if isinstance(part, Verdicts))

    @property
    def holds(self) -> bool:
        """Whether something holds of everything and nothing fails."""
        return all(table.holds for table in self.verdicts)

    def text(self) -> str:
        """The verdicts for a terminal."""
        return "\n\n".join(table.text() for table in self.verdicts)

    def html(self) -> str:
        """The page: no scripts, nothing from a network, colours for light and dark, for phones and for print.

        Names are escaped, whatever they hold.

        Raises:
            ImportError: without jinja2; the message names the extra.
        """
        jinja2 = require("jinja2", "report")
        environment = jinja2.Environment(
            loader=jinja2.PackageLoader("flowops.evaluation.report", "."), autoescape=True, trim_blocks=True,
            lstrip_blocks=True, undefined=jinja2.StrictUndefined,
        )  # fmt: skip
        style = resources.files(__package__ or "").joinpath("style.css").read_text(encoding="utf-8")
        text: str = environment.get_template("page.html").render(page=self, style=style)
        return legal(text)

    def json(self) -> str:
        """Everything that the page shows, numbers in place of drawings; what is not finite is null."""
        held = {
            "title": self.title,
            "summary": self.summary,
            "holds": self.holds,
            "sections": [
                {"title": section.title, "parts": [{"kind": part.kind, **_told(part)} for part in section.parts]}
                for section in self.sections
            ],
            "facts": dict(self.facts),
        }
        return json.dumps(finite(held), indent=1, ensure_ascii=False) + "\n"

    def junit(self) -> str:
        """The verdicts as test cases: what fails is a failure, what is not decided is skipped."""
        root = ElementTree.Element("testsuites", name="flowops check")
        for table in self.verdicts:
            counts = {
                "tests": len(table.rows),
                "failures": sum(row.outcome == FAILS for row in table.rows),
                "errors": 0,
                "skipped": sum(row.outcome == UNDECIDED for row in table.rows),
            }
            suite = ElementTree.SubElement(
                root, "testsuite", {"name": legal(table.name), **{key: str(n) for key, n in counts.items()}}
            )
            for row in table.rows:
                suite.append(_case(table.name, row))
        ElementTree.indent(root)
        return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"

    def anchors(self) -> Iterator[tuple[str, Section]]:
        """Each section with the name by which it is linked."""
        for k, section in enumerate(self.sections):
            yield f"section-{k + 1}", section


def _told(part: Any) -> dict[str, Any]:
    held = asdict(part)
    held.pop("drawing", None)
    held.pop("wide", None)
    return held


def _case(name: str, row: Judged) -> ElementTree.Element:
    seconds = {} if row.seconds != row.seconds else {"time": f"{row.seconds:.3f}"}
    case = ElementTree.Element("testcase", {"classname": legal(name), "name": legal(row.statement), **seconds})
    if row.outcome in (FAILS, UNDECIDED):
        tag = "failure" if row.outcome == FAILS else "skipped"
        told = ElementTree.SubElement(case, tag, message=legal(row.detail or row.outcome))
        if tag == "failure":
            told.set("type", "residual")
    found, allowed, _ = row.cells
    out = [f"source: {row.source}", *[f"observed: {found}"] * bool(found), *[f"tolerance: {allowed}"] * bool(allowed)]
    ElementTree.SubElement(case, "system-out").text = legal("\n".join([*out, f"verdict: {row.outcome}"]))
    return case

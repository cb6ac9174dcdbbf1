"""`flowops check`: whether a schedule, field, flow map or run of your own is what it is meant to be, with a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from flowops.checks import Request
from flowops.cli.choice import FLAGS as RUN_FLAGS
from flowops.cli.choice import RunChoice, load
from flowops.cli.console import is_first, to_stdout
from flowops.cli.parsing import FORMULA, Flag, parse
from flowops.evaluation.report import Page, Plan, plan_of_objects, plan_of_run, prepared
from flowops.runs.progress import Progress


@dataclass(frozen=True)
class Check(Request):
    """Check a schedule, field, map or run of your own; the first broken equation is named.

    Objects are named as package.module:name, of a function without arguments or of the object.

    Of a RUN the equations that no training makes exact are told as sizes.

    Verdicts go to the standard output, and with figures to report.html, which opens from disk.

    Attributes:
        run: folder of a run, in place of objects.
        checkpoint: step of its checkpoint; the newest if left out.
        average: which average of its weights; the first one if left out.
        weights: file with other weights of its network.
        device: where the run computes; auto for cuda, mps or cpu, the first that is there.
        label: class of the samples of a run; all in turn if left out.
        guidance: scale of classifier-free guidance, for a run with labels.
        out: folder of the report; RUN/check if left out, or check.
        json: write report.json beside it, the numbers behind the figures.
        junit: write junit.xml beside it, the verdicts as test cases.
    """

    run: str | None = None
    checkpoint: int | None = None
    average: str | None = None
    weights: str | None = None
    device: str = "auto"
    label: int | None = None
    guidance: float | None = None
    out: str | None = None
    json: bool = False
    junit: bool = False


FLAGS = {name: Flag(shown=FORMULA) for name in ("alpha", "beta", "gamma")} | {
    name: Flag(shown="MODULE:NAME") for name in ("field", "flow_map", "log_density", "problem", "states")
}
OF_A_RUN = ("checkpoint", "average", "weights", "device", "label", "guidance")
SHARED = ("n", "seconds", "seed", "tolerance")  # what both kinds of objects have


def run(args: Sequence[str]) -> int:
    """Print the verdicts and write the report; the exit code is 1 if something fails, or nothing could be decided."""
    shown = {name: RUN_FLAGS[name] for name in ("run", "checkpoint", "average", "weights", "label")}
    given = parse(Check, args, "check", flags={**FLAGS, **shown, "out": Flag(shown="FOLDER")})
    _check_kind(given)
    out = Path(given.out or (f"{given.run}/check" if given.run else "check"))
    plan = _plan(given)
    with prepared(out) as folder:
        page = _made(plan)
        for name, text in _texts(given, page).items():
            (folder / name).write_text(text, encoding="utf-8")
    to_stdout(f"{page.text()}\n\nThe report: {out / 'report.html'}")
    return 0 if page.holds else 1


def _check_kind(given: Check) -> None:
    """Refuse objects beside a run, and what belongs to a run without one."""
    if given.run is not None:
        for f in fields(Request):
            if f.name not in SHARED and (value := getattr(given, f.name)) != f.default:
                raise ValueError(
                    f"`{f.name}` must be left out beside the run {given.run}, got {value}; drop one of them."
                )
        return
    for name in OF_A_RUN:
        if (value := getattr(given, name)) != getattr(Check, name):
            raise ValueError(f"`{name}` must be given with a run, got {value} without; name the folder of one.")


def _plan(given: Check) -> Plan:
    """What was asked for, loaded."""
    if given.run is None:
        return plan_of_objects(given)
    chosen = load(RunChoice(given.run, given.checkpoint, given.average, given.weights, given.device))
    return plan_of_run(
        chosen, label=given.label, guidance=given.guidance, n=given.n, seconds=given.seconds, seed=given.seed,
        tolerance=given.tolerance,
    )  # fmt: skip


def _made(plan: Plan) -> Page:
    """The page, with a bar while it is made."""
    with Progress(len(plan), "check", enabled=is_first()) as progress:
        return plan.carried_out(progress.update)


def _texts(given: Check, page: Page) -> dict[str, str]:
    """The files of the report."""
    texts = {"report.html": page.html()}
    if given.json:
        texts["report.json"] = page.json()
    if given.junit:
        texts["junit.xml"] = page.junit()
    return texts

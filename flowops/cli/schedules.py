"""`flowops schedules`: the named schedules with their verdicts, or the properties of one of your own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from flowops.cli.console import to_stdout
from flowops.cli.parsing import FORMULA, Flag, parse
from flowops.interpolants import NAMED, Interpolant, ValidationReport, named


@dataclass(frozen=True)
class Schedules:
    """The named schedules with formulas and verdicts, or the properties of one.

    Attributes:
        name: name of a schedule, whose properties are shown one by one.
        alpha: coefficient of the base of a schedule of your own, as a formula in t, such as "cos(pi*t/2)".
        beta: coefficient of the data.
        gamma: coefficient of the latent, if there is one.
    """

    name: str | None = None
    alpha: str | None = None
    beta: str | None = None
    gamma: str | None = None


FLAGS = {"name": Flag(positional=True), **{name: Flag(shown=FORMULA) for name in ("alpha", "beta", "gamma")}}


def run(args: Sequence[str]) -> int:
    """Print the list, or a report; the exit code of a report is 1 if a property fails."""
    given = parse(Schedules, args, "schedules", flags=FLAGS, also={"interpolant": "NAME"})
    formulas = [formula for formula in (given.alpha, given.beta, given.gamma) if formula is not None]
    if given.name is not None and formulas:
        raise ValueError(f"`name` must not be given beside formulas, got {given.name!r}; drop one of them.")
    if given.name is None and not formulas:
        to_stdout("\n".join(overview()))
        return 0
    if given.name is None and (given.alpha is None or given.beta is None):
        count = "none" if given.alpha is None and given.beta is None else "one"
        raise ValueError(f"`alpha` and `beta` must be given together, got {count} of them; pass both as formulas in t.")
    report = _schedule(given).validate()
    to_stdout(str(report))
    return 0 if report.ok else 1


def overview() -> Iterator[str]:
    """Each named schedule, its formulas, and which of its properties fail, and remarks."""
    for name in NAMED:
        interpolant = named(name)
        report = interpolant.validate()
        yield f"{name}: {_verdict(report)}"
        for symbol, formula in interpolant.expressions.items():
            if formula is not None:
                yield f"  {symbol:<5} = {formula}"
        yield from (f"  note: {remark}" for remark in report.remarks)
    yield ""
    yield "flowops schedules NAME shows every property; flowops schedules --alpha ... --beta ... checks your own."


def _schedule(given: Schedules) -> Interpolant:
    if given.alpha is not None and given.beta is not None:
        return Interpolant.from_expressions(given.alpha, given.beta, given.gamma, name="your schedule")
    return named(given.name or "")


def _verdict(report: ValidationReport) -> str:
    if report.ok:
        return "valid"
    failed = ", ".join(p.name for p in report.failures)
    return f"{'usable' if report.usable else 'not usable'}, fails {failed}"

"""The page of the mutants, and their counts by statement for the table in the documentation."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch

from experiments.mutation.equivalent import reason
from experiments.mutation.packages import PACKAGES
from experiments.mutation.records import Found

ABOUT = """# Mutants

A mutant is one module of the library with one small error in it: a sign, a constant, an operation, a dropped term or
function, two times or two states swapped, a comparison or its boundary, a condition, a statement left out. Argument
checks, messages and `repr`s are left alone. Each is judged by the theory checks whose files call into its module and by
the tests of its package. The first look is light: a dozen files of theory at most, those first that call into few other
modules, three cases of every check, as many examples of a property; three files of theory that catch a mutant are
enough, and one of tests; all of these tests pass without a mutant, which is looked at first. `--survivors` has what got
through judged again by all these files, all cases and the examples of the quick profile, but not by tests that are
marked slow, nor by the two slow files of theory on rows; a survivor that has had the light look only is marked. Mutants
that cannot be imported, and those that do the same as the library, are not counted. So a number in the column of the
theory checks is a lower bound. Packages take turns and a run can be stopped: the table counts what it came to. A
survivor is answered by a check, and looked at again: that all of these are caught does not say that the next one will
be.

mutmut 3.8 was tried first. It changes no table of a module, so no tableau, and no function with a decorator, so no
property; and it stops at these tests, whose shape checks want to be installed before the package is imported, which it
imports first. cosmic-ray runs a command in a new interpreter for each mutant, with four seconds of imports, where a
fork of a process that has imported everything beneath needs none.

"""


def page(found: Sequence[Found], command: str) -> str:
    """The whole page."""
    head = "| package | mutants | caught | by theory checks | by tests | by tests only | survivors | do the same |"
    lines = [ABOUT + head, "|" + "---|" * 8]
    for name in PACKAGES:
        lines.append(_row(name, [each for each in found if each.package == name]))
    lines.append(_row("all", found))
    survivors = [each for each in found if not (each.caught or reason(each.name) or each.stillborn)]
    lines += ["", "## Survivors", "", *(f"* {_plain(each.name)}{_look(each)}" for each in survivors)]
    same = [each for each in found if not each.caught and reason(each.name)]
    lines += ["", "## These do the same", "", *(f"* {_plain(each.name)}: {reason(each.name)}" for each in same)]
    seconds = sum(each.seconds for each in found)
    lines += [
        "",
        f"`{command}`, torch {torch.__version__.partition('+')[0]}, {seconds / 60:.0f} processor minutes.",
        "",
    ]
    return "\n".join(lines)


def by_statement(found: Iterable[Found]) -> dict[str, dict[str, int]]:
    """How many mutants each file of theory was asked about, and how many of them it caught."""
    asked, caught = Counter[str](), Counter[str]()
    for each in found:
        names = {Path(file).name for file in each.said if file.startswith("theory_checks")}
        asked.update(names)
        caught.update(Path(file).name for file in each.by("theory_checks"))
    return {name: {"caught": caught[name], "asked": asked[name]} for name in sorted(asked)}


def write(found: Mapping[str, Found], folder: Path, command: str) -> None:
    """`mutation.md` and `mutation.json`."""
    everything = sorted(found.values(), key=lambda each: (list(PACKAGES).index(each.package), each.name))
    (folder / "mutation.md").write_text(page(everything, command), encoding="utf-8")
    (folder / "mutation.json").write_text(json.dumps(by_statement(everything), indent=1) + "\n", encoding="utf-8")


def _row(name: str, found: Sequence[Found]) -> str:
    same = sum(not each.caught and reason(each.name) is not None for each in found)
    counted = [each for each in found if not each.stillborn and (each.caught or not reason(each.name))]
    caught = [each for each in counted if each.caught]
    theory, tests = ([each for each in caught if each.by(folder)] for folder in ("theory_checks", "tests"))
    only = len(caught) - len(theory)
    share = f"{len(caught)} ({len(caught) / max(len(counted), 1):.0%})"
    left = len(counted) - len(caught)
    return f"| {name} | {len(counted)} | {share} | {len(theory)} | {len(tests)} | {only} | {left} | {same} |"


def _look(found: Found) -> str:
    return " (light look)" if found.light else ""


def _plain(name: str) -> str:
    return name.removeprefix("flowops/").replace("|", "\\|")

"""Every operator, row, sampler, metric and step does on a pretended device what the table of the documentation says."""

from __future__ import annotations

import inspect
from types import ModuleType

import pytest

from flowops import fields, maps, metrics, residuals, sampling
from flowops.couplings import COUPLINGS
from flowops.interpolants import NAMED
from flowops.methods import METHODS
from flowops.networks import NETWORKS
from flowops.problems.reference import REFERENCE
from tests.devices.cases import CUDA, META, NARROW, Case, Column, Group, tried
from tests.devices.pretended import DeviceFault, TooWide, Waits
from tests.devices.table import GROUPS, PAGE, cell, rewritten

pytestmark = pytest.mark.slow

BOTH = ("Methods", "Couplings", "Samplers", "Metrics", "Residuals")
"""Groups that the default run tries on both devices."""
LONG = ("rescheduled", "solved, fixed steps", "one step of a solver", "`lsd`, activations computed again")


def quick(group: Group, case: Case, column: Column) -> bool:
    """Whether the default run tries it; the others take longer, and see what these see on another device."""
    if case.name in LONG or "U-Net in" in case.name:
        return False
    return column is META or (column is CUDA and (group.title in BOTH or case.name in ("`fm`", "`lsd`")))


TRIED = [
    pytest.param(
        case,
        column,
        id=f"{group.title}-{case.name}-{column.title}",
        marks=[*column.marks(), *([] if quick(group, case, column) else [pytest.mark.slow])],
    )
    for group in GROUPS
    for case in group.cases
    for column in group.columns
]


@pytest.mark.parametrize(("case", "column"), TRIED)
def test_it_does_what_the_table_says(case: Case, column: Column) -> None:
    if case.never:
        with pytest.raises(DeviceFault):
            tried(case, column)
    elif case.double and not column.wide:
        with pytest.raises(TooWide):
            tried(case, column, patient=True)
    elif not case.waits:
        assert tried(case, column) == 0
    else:
        assert tried(case, column, patient=True) > 0 or column.device == "meta"  # which takes numbers as they are
        if column is CUDA:
            with pytest.raises(Waits):
                tried(case, column)


def names(title: str) -> set[str]:
    """The cases of a group."""
    (group,) = (group for group in GROUPS if group.title == title)
    return {case.name.strip("`") for case in group.cases}


def functions(module: ModuleType) -> set[str]:
    """The public functions of a package."""
    return {name for name in module.__all__ if inspect.isfunction(getattr(module, name))}


def test_every_row_is_tried_in_a_loss() -> None:
    assert set(METHODS) <= names("Methods")
    assert set(METHODS) == names("Methods with the options of their papers and others")


def test_nothing_that_has_a_name_is_forgotten() -> None:
    assert set(NAMED) <= names("Interpolants")
    assert set(REFERENCE) == names("Exact fields and maps of the problems")
    assert functions(residuals) == names("Residuals")
    of_images = {"cell_masses", "frechet_inception_distance", "open_extractor", "statistics"}
    assert functions(metrics) - of_images == names("Metrics")
    assert {name for name in functions(sampling) if name.endswith("sample")} <= names("Samplers")
    assert set(sampling.SOLVERS) <= names("Samplers")
    assert {name.replace("-", " ") for name in COUPLINGS} == {name.lower() for name in names("Couplings")}
    assert set(NETWORKS) == {"ddpmpp", "dit", "mlp", "unet"}  # another one wants a case
    made = {"FrozenMap", "GuidedMap", "LearnedMap", "SolutionOperator", "SolverStep", "StagedMap", "reschedule"}
    assert made <= set(maps.__all__)
    assert {"FrozenField", "StoppedField", "guided"} <= set(fields.__all__)


def test_a_step_has_no_exception() -> None:
    (group,) = (group for group in GROUPS if group.title == "The whole step of the engine")
    for case in group.cases:
        assert {cell(case, group, column) for column in (META, CUDA, NARROW)} == {"yes"}


def test_the_page_holds_the_table() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert rewritten(text) == text, "run python -m tests.devices.table"
    assert rewritten(text.replace("| yes |", "| no |")) == text
    with pytest.raises(SystemExit, match="must hold the marks"):
        rewritten("nothing")

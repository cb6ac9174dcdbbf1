"""Which runs a comparison is made of: what each may spend, and what is trained before it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from flowops import LearnedMap
from flowops.comparison.axes import Pairing, Schedule, Variant, every
from flowops.comparison.entry import Entry, name_of
from flowops.comparison.plan import LADDERS, Budget, budget_of, planned
from flowops.comparison.trial import calls_of, fault_of, first_draw, kind_of
from flowops.data import open_dataset
from flowops.methods import METHODS
from flowops.runs.assembly import assemble, completed
from flowops.training.start import module_of
from tests.comparison.conftest import SMALL

LINEAR, PAIRS = Schedule("linear"), Pairing("independent")
BUDGET = Budget(8, 16)
BOARD = open_dataset("checkerboard")


def plan(*methods: str, seeds: tuple[int, ...] = (0,), **changed: object) -> list[Entry]:
    axes = (tuple(map(Variant, methods)), (LINEAR,), (PAIRS,))
    return planned(replace(SMALL, **changed), BUDGET, axes, seeds, Path("there"))  # type: ignore[arg-type]


def test_every_entry_sees_as_many_images() -> None:
    entries = plan("fm", "lsd", "lmd", "meanflow")
    assert {entry.images for entry in entries} == {128}
    assert {entry.config.steps for entry in entries} == {8}


def test_one_teacher_serves_all_that_distil_and_is_the_row_of_its_name() -> None:
    entries = plan("lmd", "emd", seeds=(0, 1))
    teachers = [entry for entry in entries if entry.role == "teacher"]
    assert [teacher.config.seed for teacher in teachers] == [0, 1]
    for entry in entries:
        if entry.role == "row":
            assert entry.needs == (name_of(Variant("fm"), LINEAR, PAIRS, entry.config.seed),)
            assert Path(str(entry.config.teacher)).name == entry.needs[0]
    both = plan("lmd", "fm")
    assert [(entry.variant.method, entry.role) for entry in both] == [("fm", "row"), ("lmd", "row")]
    assert len({entry.name for entry in plan("lmd", "fm", "emd", seeds=(0, 1))}) == 6


def test_a_teacher_that_is_given_is_not_trained_and_reaches_those_alone_that_want_one() -> None:
    entries = plan("lmd", "lsd", teacher="problem:checkerboard")
    assert [(entry.variant.method, entry.config.teacher) for entry in entries] == [
        ("lmd", "problem:checkerboard"),
        ("lsd", None),
    ]


def test_stages_share_the_budget() -> None:
    first, second = plan("tcm")
    assert (first.variant.method, first.role, second.role) == ("ct", "stage", "row")
    assert (first.images, second.images) == (64, 64)
    assert second.config.teacher == second.config.init == first.config.out


def test_budgets() -> None:
    complete = completed(SMALL, BOARD.defaults, BOARD.event)
    assert budget_of(complete, 100) == Budget(7, 16)
    assert budget_of(complete, 100).images == 112
    assert budget_of(replace(complete, minutes=2.0), None).settings(0.5) == {"steps": None, "batch": 16, "minutes": 1.0}
    with pytest.raises(ValueError, match="`samples_seen` must be left out beside minutes, got 100 beside 2 minutes"):
        budget_of(replace(complete, minutes=2.0), 100)
    with pytest.raises(ValueError, match="`samples_seen` must be at least 1, got 0"):
        budget_of(complete, 0)


def test_an_entry_survives_a_text() -> None:
    (entry,) = plan("lsd")
    assert Entry.of(entry.plain()) == entry


@pytest.mark.parametrize("method", every(presets=True))
def test_every_row_can_run_or_says_why_not(method: str) -> None:
    if method in LADDERS:
        assert METHODS[method].row.teacher == "field or map"
        return
    assert [fault_of(entry, BOARD) for entry in plan(method)] == [None] * len(plan(method))


def test_an_entry_that_cannot_run_says_why() -> None:
    (entry,) = plan("lsd")
    for changed, sentence in (
        ({"options": ("etaa=1",)}, "`options.etaa` must be an option of lsd"),
        ({"coupling": "sinkorn"}, "`coupling` must be one of"),
        ({"interpolant": "lineal"}, "lineal"),
        ({"method": "lmd"}, "`teacher` must be given for lmd"),
        ({"batch": 0}, "`batch` must be a whole number of at least 1"),
    ):
        found = fault_of(replace(entry, config=replace(entry.config, **changed)), BOARD)
        assert found is not None
        assert sentence in found


@pytest.mark.parametrize(
    ("method", "kind", "diagonal", "own", "teacher"),
    [
        ("fm", "field", True, 1.0, 0.0),
        ("lmd", "map", True, 1.0, 1.0),
        ("ct", "endpoint", False, 2.0, 0.0),
        ("facm", "endpoint", True, None, 0.0),
        ("lsd", "map", True, 1.25, 0.0),
        ("f2d2", "map", True, 2.5, 0.0),
    ],
)
def test_how_a_row_is_sampled_follows_from_its_times(
    method: str, kind: str, diagonal: bool, own: float | None, teacher: float
) -> None:
    """And its cost from counting.

    On the diagonal `lsd` takes one call, off it two, on a quarter of the batch; `f2d2` two and three on halves, where a
    divergence by forward derivatives is one.
    """
    (*_, entry) = plan(method)
    config = completed(replace(entry.config, teacher=None), BOARD.defaults, BOARD.event)
    assembly = assemble(config, torch.device("cpu"), dataset=BOARD)
    given = assemble(config, torch.device("cpu"), dataset=BOARD).network
    taught = LearnedMap(given).velocity() if method == "lmd" else None
    module = module_of(config, assembly, torch.device("cpu"), taught)
    draw = first_draw(module, assembly, 16, 0)
    found = kind_of(draw)
    assert (found.name, found.diagonal) == (kind, diagonal)
    calls = calls_of(module, draw)
    assert calls.teacher == teacher
    assert "forward" not in vars(assembly.network)  # nothing is left on it
    if own is not None:
        assert calls.own == own

"""The table of methods: adding a row needs no edit elsewhere."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import pytest
from torch.testing import assert_close

from flowops import interpolants, residuals
from flowops.methods import METHODS, TEACHER, Point, Term, get_method, row, sides, table
from flowops.methods.point import Differences, named
from flowops.times import UpperTriangle
from tests.methods.rows import NAMES, batch, call, learned


@pytest.fixture
def _restored() -> Iterator[None]:
    before = dict(METHODS)
    yield
    METHODS.clear()
    METHODS.update(before)


@pytest.mark.usefixtures("_restored")
def test_a_new_row_is_found_called_and_printed() -> None:
    def reverse_lagrangian(k: Point) -> Differences:
        r"""$\partial_sX_{t,s}(x)$ against $b_s(X_{t,s}(x))$."""
        return named("reverse", residuals.lagrangian(k.X, k.b, k.t, k.s, k.x, parts=True))

    row(
        "reverse-lmd",
        Term(reverse_lagrangian, TEACHER, law=UpperTriangle()),
        teacher="field",
        source="this test",
        summary="Backward Lagrangian distillation.",
    )
    assert call(get_method("reverse-lmd", p=0.5), teacher=learned(seed=11).velocity()).loss > 0
    assert "| `reverse-lmd` |" in table()


@pytest.mark.usefixtures("_restored")
def test_two_terms_on_the_whole_batch_add_up() -> None:
    once, twice = (
        row(f"lmd-{n}", *[Term(sides.lagrangian, TEACHER)] * n, teacher="field", source="this test", summary="Twice.")
        for n in (1, 2)
    )
    result = call(twice, teacher=learned(seed=11).velocity())
    assert result.per_sample.shape == result.s.shape == result.t.shape == (6,)
    assert_close(result.loss, result.terms["lagrangian"])
    assert result.loss > call(once, teacher=learned(seed=11).velocity()).loss


def test_a_name_is_taken_once() -> None:
    with pytest.raises(ValueError, match="'lsd', which is taken"):
        row("lsd", source="", summary="")


def test_the_table_has_every_row_and_form() -> None:
    lines = table().splitlines()
    assert all(line.count("|") == 7 for line in lines)
    for name in NAMES:
        assert sum(line.startswith(f"| `{name}`") for line in lines) == len(METHODS[name].row.forms)


def test_no_residual_of_a_row_is_longer_than_forty_lines() -> None:
    functions = {term.sides for m in METHODS.values() for terms in m.row.forms.values() for term in terms}
    assert all(len(inspect.getsource(f).splitlines()) <= 40 for f in functions)
    assert all(f.__module__ == sides.__name__ for f in functions)


def test_every_row_says_what_it_is_and_where_it_comes_from() -> None:
    for method in METHODS.values():
        assert method.row.summary
        assert method.row.source
        assert method.__doc__ == f"{method.row.summary}\n\nSource: {method.row.source}."


def test_a_call_is_a_draw_and_its_evaluation() -> None:
    X, I, method = learned(), interpolants.linear(), METHODS["lsd"]
    draw = method.draw(X, I, *batch(6), seed=3)
    assert_close(method.evaluate(X, I, draw).loss, call(method, X=X).loss, rtol=0, atol=0)

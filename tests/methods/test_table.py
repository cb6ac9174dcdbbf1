"""The table of methods, and how a row is named: by its name, by where it can be imported from, as itself."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from torch.testing import assert_close

from flowops import interpolants, residuals
from flowops.methods import METHODS, TEACHER, Difference, Term, TermPoint, compared, get_method, row, table
from flowops.methods.rows import FAMILIES
from tests.methods.rows import NAMES, batch, call, learned


def reversed_lagrangian(k: TermPoint) -> dict[str, Difference]:
    r"""$\partial_sX_{t,s}(x)$ against $b_s(X_{t,s}(x))$."""
    return {"reverse": Difference(*residuals.lagrangian(k.X, k.b, k.t, k.s, k.x, parts=True))}


reverse_lmd = row(
    "reverse-lmd",
    Term(residual=reversed_lagrangian, velocity=TEACHER),
    teacher="field",
    source="this test",
    summary="Backward Lagrangian distillation.",
)
no_row = 3


def test_a_row_of_ones_own_is_named_by_where_it_is() -> None:
    teacher = learned(seed=11).velocity()
    found = get_method(f"{__name__}:reverse_lmd", p=0.5)
    assert found.name == "reverse-lmd"
    assert found.given == {"p": 0.5}
    assert call(found, teacher=teacher).loss > 0
    for name in (reverse_lmd, f"{__name__}:reverse_lmd"):
        assert_close(call(get_method(name), teacher=teacher).loss, call(reverse_lmd, teacher=teacher).loss)


def test_a_row_itself_is_taken_with_further_options() -> None:
    method = get_method(get_method("lsd", eta=0.5), p=1.0)
    assert method.given == {"eta": 0.5, "p": 1.0}
    assert get_method(METHODS["esd"]).row is METHODS["esd"].row


def test_the_table_cannot_be_written_to() -> None:
    with pytest.raises(TypeError, match="does not support item assignment"):
        METHODS["reverse-lmd"] = reverse_lmd  # type: ignore[index]
    with pytest.raises(TypeError, match="does not support item deletion"):
        del METHODS["lsd"]  # type: ignore[attr-defined]
    assert not hasattr(METHODS, "update")


def test_a_row_of_ones_own_enters_no_table() -> None:
    before = dict(METHODS)
    made = row("lsd", Term(residual=compared.lagrangian, velocity=TEACHER), source="this test", summary="Another.")
    assert dict(METHODS) == before
    assert get_method("lsd").row is not made.row
    assert "reverse-lmd" not in METHODS
    assert "reverse-lmd" not in table()


def test_adding_a_row_to_a_family_needs_no_edit_elsewhere() -> None:
    """Every row is found under its own name, and stands in a module of `rows` under the same name in Python."""
    declared = {id(value) for family in FAMILIES for value in vars(family).values()}
    for name, method in METHODS.items():
        assert method.name == name
        assert id(method) in declared
        assert any(vars(family).get(name.replace("-", "_")) is method for family in FAMILIES)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lds", "`method` must be one of fm, fmm, .* or package.module:row, got 'lds'; did you mean 'lsd'?"),
        ("meanflw", "did you mean 'meanflow'?"),
        ("zzzzzz", "got 'zzzzzz'.$"),
        ("no.such.module:row", "`method` must name something to import, package.module:name, got 'no.such.module:row'"),
        (f"{__name__}:missing", "`method` must name something to import"),
        (f"{__name__}:no_row", f"`method` must be a row, got '{__name__}:no_row', which is a int; make it with `row`"),
        (3, "`method` must be a row, got 3, which is a int"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_is_no_row_is_named(name: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        get_method(name)


def test_the_table_has_every_row_and_form_and_a_preset_once() -> None:
    lines = table().splitlines()
    assert all(line.count("|") == 7 for line in lines)
    for name in NAMES:
        row = METHODS[name].row
        found = [line for line in lines if line.startswith(f"| `{name}`")]
        assert len(found) == (1 if row.preset_of else len(row.forms))
        if row.preset_of:
            assert f"| `{row.preset_of}`, {row.settings} |" in found[0]


def test_no_residual_of_a_row_is_longer_than_forty_lines() -> None:
    functions = {term.residual for m in METHODS.values() for terms in m.row.forms.values() for term in terms}
    assert all(len(inspect.getsource(f).splitlines()) <= 40 for f in functions)


def test_what_two_rows_compare_stands_in_one_place_and_what_one_row_does_beside_it() -> None:
    homes = {family.__name__ for family in FAMILIES}
    for method in METHODS.values():
        for term in (term for terms in method.row.forms.values() for term in terms):
            home = term.residual.__module__
            assert home in homes | {compared.__name__}
            if home in homes and not method.row.preset_of:
                assert vars(next(f for f in FAMILIES if f.__name__ == home)).get(method.name.replace("-", "_"))


def test_every_row_says_what_it_is_and_where_it_comes_from() -> None:
    for method in METHODS.values():
        assert method.row.summary
        assert method.row.source
        assert method.__doc__ == f"{method.row.summary}\n\nSource: {method.row.source}."


def test_a_call_is_a_draw_and_its_evaluation() -> None:
    X, I, method = learned(), interpolants.linear(), METHODS["lsd"]
    draw = method.draw(X, I, *batch(6), seed=3)
    assert_close(method.evaluate(X, I, draw).loss, call(method, X=X).loss, rtol=0, atol=0)

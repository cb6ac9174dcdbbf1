"""A term of a row: its fields, and that the switch and the words of a stop-gradient go together."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest

from flowops.methods import CONDITIONAL, METHODS, OWN, Term, compared
from flowops.times import Diagonal, UpperTriangle, on_diagonal

LSD = Term(residual=compared.lagrangian, velocity=OWN, stop_gradient=True, constant="v_tt(X_st)", share="rest")


@pytest.mark.parametrize(
    ("fields", "got"),
    [
        ({"stop_gradient": True}, r"got stop_gradient=True and ''"),
        ({"constant": "grad X b"}, r"got stop_gradient=False and 'grad X b'"),
    ],
)
def test_a_stop_gradient_says_what_it_holds_and_only_it_does(fields: dict[str, Any], got: str) -> None:
    sentence = "`constant` must say what is held exactly where `stop_gradient` is set"
    with pytest.raises(ValueError, match=f"{sentence}, {got}"):
        Term(residual=compared.eulerian, velocity=OWN, **fields)
    with pytest.raises(ValueError, match=sentence):
        replace(LSD, constant="")
    assert not replace(LSD, stop_gradient=False, constant="").stop_gradient


def test_every_term_of_the_table_says_what_it_holds() -> None:
    terms = [term for method in METHODS.values() for form in method.row.forms.values() for term in form]
    assert {term.stop_gradient for term in terms} == {True, False}
    assert all(term.stop_gradient == bool(term.constant) for term in terms)


def test_fields_go_by_name_and_stay() -> None:
    with pytest.raises(TypeError, match="positional"):
        Term(compared.lagrangian, OWN)  # type: ignore[call-arg]
    with pytest.raises(FrozenInstanceError):
        LSD.share = "all"  # type: ignore[misc]


def test_the_statement_is_the_first_line_of_the_residual() -> None:
    assert LSD.statement == r"$\partial_tX_{s,t}(x)$ against $b_t(X_{s,t}(x))$"
    assert (compared.lagrangian.__doc__ or "").startswith(LSD.statement)


def test_the_fields_that_are_not_the_default_are_shown() -> None:
    shown = "Term(residual=lagrangian, velocity=own, stop_gradient=True, constant='v_tt(X_st)', share='rest')"
    assert repr(LSD) == shown
    assert repr(replace(LSD, law=UpperTriangle())) == shown  # the default law
    term = Term(residual=compared.tangent, velocity=CONDITIONAL, law=Diagonal(), middle=on_diagonal)
    assert repr(term).endswith(f"law={Diagonal()!r}, middle=on_diagonal)")

"""What is varied, from words: rows, options, schedules, couplings."""

from __future__ import annotations

import pytest

from flowops.comparison.axes import YOURS, Pairing, Schedule, Variant, every, family_of, slug, split_words, variants
from flowops.methods import METHODS, get_method


def test_all_is_every_row_but_those_that_another_one_is() -> None:
    """What is left out has the terms and the options of a row that is in."""
    assert set(every(presets=True)) == set(METHODS)
    left_out = set(METHODS) - set(every())
    assert left_out == {"split-meanflow"}
    one, other = get_method("split-meanflow"), get_method("psd-u")
    assert one.terms == other.terms
    assert {"meanflow", "shortcut", "psd-m", "scm"} <= set(every())  # presets with settings of their own
    assert [v.method for v in variants(["all"], presets=True)] == list(METHODS)


def test_options_make_variants_in_place_of_the_defaults() -> None:
    found = variants(["lsd,psd-u", "fm"], ["lsd:eta=0.5 form=velocity", "lsd:", "psd-u:eta=0.25"])
    assert found == (
        Variant("lsd", ("eta=0.5", "form=velocity")), Variant("lsd"), Variant("psd-u", ("eta=0.25",)), Variant("fm")
    )  # fmt: skip
    assert [each.label for each in found][:2] == ["lsd eta=0.5 form=velocity", "lsd"]


@pytest.mark.parametrize(
    ("methods", "settings", "sentence"),
    [
        ([], [], "`methods` must name at least one row"),
        (["lsd", "lsdd"], [], "`method` must be one of .* got 'lsdd'; did you mean 'lsd'?"),
        (["lsd,lsd"], [], "must name every row once, got lsd more than once"),
        (
            ["lsd"],
            ["meanflow:p=1.0"],
            "`set` must be a row of the comparison, .* got 'meanflow:p=1.0'; the rows are lsd",
        ),
        (["lsd"], ["eta=0.5"], "`set` must be a row of the comparison"),
    ],
)
def test_what_does_not_exist_is_refused(methods: list[str], settings: list[str], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        variants(methods, settings)


def test_commas_in_parentheses_and_options_are_no_separators() -> None:
    assert split_words(["linear,trigonometric", "max(t,1-t);t"]) == ["linear", "trigonometric", "max(t,1-t);t"]
    assert split_words(["sinkhorn epsilon=0.1,"]) == ["sinkhorn epsilon=0.1,"]


def test_schedules_and_couplings_are_settings_of_a_run() -> None:
    assert Schedule("cosine").settings == {"interpolant": "cosine", "alpha": None, "beta": None, "gamma": None}
    assert Schedule("1-t; t").settings == {"interpolant": None, "alpha": "1-t", "beta": "t", "gamma": None}
    assert Schedule("1-t;t;t*(1-t)").settings["gamma"] == "t*(1-t)"
    assert Pairing("sinkhorn block=8").settings == {"coupling": "sinkhorn", "coupling_options": ("block=8",)}
    for wrong in ("1-t;", "a;b;c;d"):
        with pytest.raises(ValueError, match="two or three formulas between semicolons"):
            _ = Schedule(wrong).settings


def test_families_are_those_of_the_table() -> None:
    assert family_of("lsd").startswith("Self-distillation")
    assert family_of("ct") == family_of("ect") != family_of("lsd")
    assert family_of("my.rows:row") == YOURS


def test_names_of_folders() -> None:
    assert slug("cos(pi*t/2);t") == "cos-pi-t-2-t"

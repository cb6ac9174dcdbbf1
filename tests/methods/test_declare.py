"""Rows and presets: what a declaration wants, and that a preset is another row under the settings that it names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from flowops import interpolants
from flowops.maps import SolverStep
from flowops.methods import METHODS, OWN, TEACHER, Draw, Lp, Method, Term, compared, get_method, preset, replaced, row
from flowops.methods.options import ETA, NORM, SHARED, STOP_GRADIENT, Option, P
from flowops.methods.point import ConditionalVelocity, Teacher
from flowops.times import Doubling, Dyadic, EndpointFixed, Halving, Karras, Ladder, LogNoise, Shrinking, ahead
from tests.methods.rows import NAMES, WITH_LABELS, batch, call, gradient, learned, teacher_for

I = interpolants.linear()
N, SEED, STEP = 8, 3, 7
PRESETS = [name for name in NAMES if METHODS[name].row.preset_of]
MAP = learned(seed=11).requires_grad_(False)
FIELD = MAP.velocity()


def conditional(_: Teacher, draw: Draw) -> Teacher:
    r"""The velocity $\dot I_t$ of the samples of the last term, in place of a teacher."""
    term = draw.terms[-1]
    assert term is not None
    return ConditionalVelocity(I, term.x0, term.x1, term.z)


def stepped(_: Teacher, __: Draw) -> Teacher:
    """A step of Euler's method along the field, as a map."""
    return SolverStep(FIELD, "euler")


@dataclass(frozen=True)
class Setting:
    """What a preset is declared to be.

    Attributes:
        settings: options of the base row under which it is the preset.
        others: options of the base row under which it is not.
        teacher: of the preset.
        base: the teacher of the base row, from that of the preset and the draw.
        chosen: options of the preset.
        times: whether the base row draws the same times under these settings.
    """

    settings: dict[str, Any]
    others: tuple[dict[str, Any], ...] = ({},)
    teacher: Teacher = None
    base: Callable[[Teacher, Draw], Teacher] = lambda teacher, _: teacher
    chosen: dict[str, Any] = field(default_factory=dict)
    times: bool = True


SEMIGRADIENT = Setting(
    {"form": "velocity", "stop_gradient": True}, ({"form": "velocity"}, {"stop_gradient": True}), FIELD
)
DECLARED: dict[str, tuple[Setting, ...]] = {
    "ayf-emd": (SEMIGRADIENT,),
    "ayf-lmd": (SEMIGRADIENT,),
    "pd": (
        Setting({"law": Halving(10, 50_000)}, teacher=MAP),
        Setting({"law": Halving(10, 50_000)}, teacher=FIELD, base=stepped),
    ),
    "cmt": (
        Setting(
            {"start": "trajectory", "solver": "heun", "steps": 8},
            ({}, {"start": "trajectory"}, {"solver": "heun", "steps": 8}),
            FIELD,
        ),
    ),
    "cd": (Setting({"solver": "heun"}, teacher=FIELD, times=False),),
    "ict": (Setting({"law": Ladder(Doubling(), Karras(), LogNoise(-1.1, 2.0))}),),
    "ect": (Setting({"law": Shrinking()}),),
    "scm": (
        Setting({"law": EndpointFixed()}, teacher=FIELD),
        Setting({"law": EndpointFixed()}, ({"law": EndpointFixed()},), base=conditional),
    ),
    "psd-m": (Setting({"gamma": 0.5}),),
    "split-meanflow": (Setting({"form": "velocity"}, ({"form": "map"},)),),
    "shortcut": (Setting({"law": Dyadic(7)}),),
    "meanflow": (Setting({}, base=conditional, chosen={"eta": 0.0}),),
    "imf": (Setting({"tangent": 0.0}, ({"tangent": 1.0}, {"tangent": 0.5})),),
}
CASES = [pytest.param(name, case, id=f"{name}-{k}") for name, cases in DECLARED.items() for k, case in enumerate(cases)]


def drawn(method: Method, teacher: Teacher, labels: torch.Tensor | None = None) -> Draw:
    """The draw of a small batch, without the terms that have no sample."""
    found = method.draw(learned(), I, *batch(N), teacher=teacher, labels=labels, step=STEP, seed=SEED)
    return found._replace(terms=tuple(term for term in found.terms if term is not None))


def evaluated(method: Method, X: Any, draw: Draw, teacher: Teacher) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss and gradient; the terms of the row that have no sample are left out."""
    some = [None] * (len(method.terms) - len(draw.terms))
    result = method.evaluate(X, I, draw._replace(terms=(*some, *draw.terms)), teacher=teacher)
    return result.loss, gradient(result.loss, X)


def base_of(name: str, options: dict[str, Any]) -> Method:
    """The row that a preset names, with these options."""
    return get_method(METHODS[name].row.preset_of, **options)


def test_every_preset_is_compared() -> None:
    assert list(DECLARED) == [name for name in DECLARED if name in PRESETS]
    assert set(DECLARED) == set(PRESETS)


@pytest.mark.parametrize("labels", [None, torch.arange(N) % WITH_LABELS], ids=["plain", "labelled"])
@pytest.mark.parametrize(("name", "case"), CASES)
def test_a_preset_is_its_base_row_under_the_declared_settings(
    name: str, case: Setting, labels: torch.Tensor | None
) -> None:
    X, method = learned(), get_method(name, **case.chosen)
    draw = drawn(method, case.teacher, labels)
    one = evaluated(method, X, draw, case.teacher)
    two = evaluated(base_of(name, case.settings), X, draw, case.base(case.teacher, draw))
    assert_close(one, two, rtol=1e-12, atol=1e-12)
    assert one[1].abs().max() > 0


@pytest.mark.parametrize(("name", "case"), CASES)
def test_under_other_settings_the_base_row_is_not_the_preset(name: str, case: Setting) -> None:
    X, method = learned(), get_method(name, **case.chosen)
    _, slope = evaluated(method, X, drawn(method, case.teacher), case.teacher)
    for options in case.others:
        base = base_of(name, options)
        teacher = teacher_for(base)
        other = gradient(call(base, N, X=X, teacher=teacher, step=STEP, seed=SEED).loss, X)
        assert not torch.allclose(slope, other, rtol=1e-3)


@pytest.mark.parametrize(("name", "case"), [case for case in CASES if case.values[1].times])  # type: ignore[union-attr]
def test_a_preset_draws_what_its_base_row_draws_under_the_declared_settings(name: str, case: Setting) -> None:
    one = drawn(get_method(name, **case.chosen), case.teacher)
    base = base_of(name, case.settings)
    two = drawn(base, case.base(case.teacher, one))
    assert len(one.terms) == len(two.terms)
    for mine, theirs in zip(one.terms, two.terms, strict=True):
        assert mine is not None
        assert theirs is not None
        assert_close((mine.s, mine.t), (theirs.s, theirs.t), rtol=0, atol=0)
        assert (mine.u is None) == (theirs.u is None)
        if mine.u is not None:
            assert_close(mine.u, theirs.u, rtol=0, atol=0)


def test_consistency_distillation_goes_to_the_next_rung_and_on_to_the_end() -> None:
    (term,) = drawn(METHODS["cd"], FIELD).terms
    assert term is not None
    assert term.u is not None
    assert (term.t == 1).all()
    assert_close(term.u - term.s, torch.full_like(term.s, 1 / 17))  # of 18 rungs
    assert_close((17 * term.s).round(), 17 * term.s)


def test_meanflow_on_a_part_is_flow_matching_there_and_its_base_row_elsewhere() -> None:
    X, method = learned(), get_method("meanflow", eta=0.5)
    draw = drawn(method, None)
    whole = evaluated(method, X, draw, None)
    parts = [
        evaluated(METHODS["fm"], X, draw._replace(terms=draw.terms[:1]), None),
        evaluated(METHODS["ayf-emd"], X, draw._replace(terms=draw.terms[1:]), conditional(None, draw)),
    ]
    assert_close(whole[0], parts[0][0] + parts[1][0])
    assert_close(whole[1], parts[0][1] + parts[1][1])


class TestRow:
    OFF = Term(residual=compared.lagrangian, velocity=OWN, share="rest")
    BETWEEN = Term(residual=compared.consistency, velocity=TEACHER, middle=ahead, fraction="epsilon")

    def test_without_terms_it_is_refused(self) -> None:
        with pytest.raises(ValueError, match="`terms` of empty must hold at least one term, got none"):
            row("empty", source="this test", summary="Nothing.")
        with pytest.raises(ValueError, match="`terms` of half"):
            row("half", forms={"map": (self.OFF,), "velocity": ()}, options=(ETA,), source="this test", summary="Half.")

    @pytest.mark.parametrize(("term", "wanted"), [(OFF, "eta"), (BETWEEN, "epsilon")])
    def test_it_offers_what_its_terms_want(self, term: Term, wanted: str) -> None:
        with pytest.raises(ValueError, match=f"`options` of mine must hold {wanted}, which its terms want"):
            row("mine", term, source="this test", summary="Mine.")

    def test_a_teacher_of_no_kind_is_refused_where_it_is_declared(self) -> None:
        with pytest.raises(ValueError, match="`teacher` of mine must be one of field, map, .*; did you mean 'field'?"):
            row("mine", Term(residual=compared.semigroup), teacher="feild", source="", summary="")

    @pytest.mark.parametrize("name", ["alpha", "share"])
    def test_an_option_of_its_own_is_the_fraction_whatever_it_is_called(self, name: str) -> None:
        given = Option(name, 0.3, "how far", "a fraction", lambda value: 0 <= value <= 1)
        term = Term(residual=compared.semigroup, middle=ahead, fraction=name)
        mine, x = row("mine", term, options=(given,), source="", summary=""), torch.randn(6, 2)
        for fraction in (0.3, 0.8):
            (k,) = mine.with_options(**{name: fraction}).draw(MAP, I, x, x, seed=1).terms
            assert k is not None
            assert k.u is not None
            assert_close(k.u, torch.lerp(k.s, k.t, fraction))

    def test_it_offers_its_own_options_and_those_of_every_row(self) -> None:
        made = row("mine", self.OFF, options=(ETA(0.25), STOP_GRADIENT), source="this test", summary="Mine.")
        assert [option.name for option in made.row.options][:2] == ["eta", "stop_gradient"]
        assert made.options.eta == 0.25
        assert made.with_options(p=1.0).options.p == 1.0

    def test_its_own_default_of_an_option_of_every_row_counts(self) -> None:
        terms = METHODS["fm"].terms
        plain = row("plain", *terms, options=(ETA,), source="this test", summary="Plain.")
        made = row("mine", *terms, options=(P(1.0), NORM("l1"), ETA), source="this test", summary="Mine.")
        assert (made.options.p, made.options.norm) == (1.0, Lp(1.0))
        assert sorted(option.name for option in made.row.options) == sorted(option.name for option in (ETA, *SHARED))
        assert_close(call(made).loss, call(plain.with_options(p=1.0, norm="l1")).loss, rtol=0, atol=0)
        assert made.with_options(p=0.0).options.p == 0.0

    @pytest.mark.parametrize("forms", [{"map": (OFF,)}, {"map": (OFF,), "velocity": (OFF,)}])
    def test_forms_are_several_and_stand_in_place_of_terms(self, forms: dict[str, tuple[Term, ...]]) -> None:
        terms = () if len(forms) == 1 else (self.OFF,)
        names = ", ".join(forms)
        with pytest.raises(
            ValueError, match=f"`forms` of mine must be several in place of `terms`, got {names} beside {len(terms)} t"
        ):
            row("mine", *terms, forms=forms, options=(ETA,), source="this test", summary="Mine.")

    def test_two_terms_on_the_whole_batch_add_up(self) -> None:
        term = Term(residual=compared.lagrangian, velocity=TEACHER)
        once, twice = (
            row(f"lmd-{n}", *[term] * n, teacher="field", source="this test", summary="So often.") for n in (1, 2)
        )
        result = call(twice, teacher=FIELD)
        assert result.per_sample.shape == result.s.shape == result.t.shape == (6,)
        assert_close(result.loss, result.terms["lagrangian"])
        assert result.loss > call(once, teacher=FIELD).loss


class TestPreset:
    def test_one_of_ones_own_inherits_the_row(self) -> None:
        term = replaced(METHODS["lmd"], form="map", law=EndpointFixed())
        made = preset("to-the-end", METHODS["lmd"], "t = 1", term, source="this test", summary="To the end.")
        assert (made.row.preset_of, made.row.settings, made.row.teacher) == ("lmd", "t = 1", "field")
        assert [o.name for o in made.row.options] == [o.name for o in METHODS["lmd"].row.options if o.name != "form"]
        result = call(made, teacher=FIELD)
        assert (result.t == 1).all()
        assert_close(result.loss, call(get_method("lmd", law=EndpointFixed()), teacher=FIELD).loss)

    def test_without_terms_it_has_those_of_the_row(self) -> None:
        made = preset("lsd-half", METHODS["lsd"], "eta=0.5", options=(ETA(0.5),), source="this test", summary="Half.")
        assert made.row.forms == METHODS["lsd"].row.forms
        assert_close(call(made).loss, call(get_method("lsd", eta=0.5)).loss)
        with pytest.raises(
            TypeError, match="`normalize` must be an option of lsd-half, which has balance, c, diagonal, eta, form"
        ):
            made.with_options(normalize=0.1)

    @pytest.mark.parametrize(
        ("options", "p"),
        [(None, 1.0), ((), 1.0), ((ETA(0.5),), 1.0), ((P(2.0),), 2.0)],
        ids=["all", "none", "eta", "p"],
    )
    def test_it_keeps_the_defaults_of_the_row_unless_it_names_others(
        self, options: tuple[Option, ...] | None, p: float
    ) -> None:
        base = row("base", Term(residual=compared.semigroup), options=(P(1.0),), source="this test", summary="Base.")
        made = preset("made", base, "so", options=options, source="this test", summary="Made.")
        assert made.options.p == p
        assert [option.name for option in made.row.options].count("p") == 1

    def test_only_what_is_replaced_changes(self) -> None:
        *_, before = METHODS["esd"].row.forms["velocity"]
        after = replaced(METHODS["esd"], form="velocity", law=EndpointFixed())
        assert after.law == EndpointFixed()
        assert replaced(METHODS["esd"], form="velocity") == before
        assert (after.residual, after.constant, after.share) == (before.residual, before.constant, before.share)

r"""Methods without a conditional velocity vanish at the exact flow map.

Hypotheses: a term follows the teacher's or the map's own velocity, takes no finite step, and is squared. At
$X+\delta(t-s)g$ the loss grows like $\delta^2$; behind a stop-gradient the gradient grows like $\delta$, and is that of
the left side alone, $\nabla_\theta|a_\theta-b_{\theta_0}|^2$ at $\theta=\theta_0$ (by differences, without autograd).
For `reflow` the exact map is that of the straightened coupling.

Source: 2406.07507; 2505.18825 Props. 2.2, 2.3.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
import torch

from flowops import interpolants, problems
from flowops.methods import METHODS, TEACHER, Method, Term, VelocitySource, compared, row
from flowops.times import Diagonal, FullSquare
from theory_checks.cases import SINGLE, random_gaussian
from theory_checks.method_cases import Aspect, aspects, every_aspect
from theory_checks.method_families import Forward
from theory_checks.method_measurements import (
    Measured,
    call,
    gradient_grows,
    hold,
    is_semigradient,
    loss_grows,
    sees_the_rate,
    truth,
    vanishes,
)
from theory_checks.method_settings import Setting, sample_settings, sampled
from theory_checks.strategies import normal
from theory_checks.verdicts import Check


def each(chosen: Iterable[tuple[Method, Aspect]]) -> list[Any]:
    """The exact ones of them as parameters; those of joint maps, whose truth takes determinants, are slow."""
    slow = pytest.mark.slow
    return [pytest.param(m, a, id=a.name, marks=[slow] * a.term.joint) for m, a in chosen if a.exact]


EVERY = every_aspect()
EXACT = each((m, a) for m, a in EVERY if a.order is None)
OFF_DIAGONAL = each((m, a) for m, a in EVERY if a.order is None and not a.diagonal)
FORWARD = each(
    (m, a) for m, a in EVERY if a.order is None and not a.diagonal and not isinstance(a.term.law, FullSquare)
)
ANY_STEP = each(EVERY)
STOPPED = each((m, a) for m, a in EVERY if a.stopped)
JOINT = [pytest.param(m, a, id=a.name) for m, a in EVERY if a.exact and a.term.joint]
SETTINGS = [pytest.param(setting, id=setting.name) for setting in sample_settings()]
CONTROLS = [pytest.param(sampled(name), id=name) for name in ("linear system", "gaussian trigonometric")]
WITH_STOP_GRADIENT = {
    *(
        "pfmm",
        "pd",
        "regression",
        "ayf-emd",
        "ayf-lmd",
        "discrete-emd",
        "discrete-lmd",
        "cd",
        "ct",
        "ict",
        "ect",
        "ctm",
    ),
    *("cmt", "facm", "tcm", "imm"),
    *("scm", "lsd", "esd", "psd-u", "psd-m", "split-meanflow", "shortcut", "meanflow", "imf", "trapezoid"),
    *("alpha-flow", "f2d2"),
}
WITHOUT = {"fm", "fmm", "reflow", "contrastive-fm", "lmd", "emd"}
VARIANTS: tuple[dict[str, Any], ...] = (
    {"stop_gradient": False},
    {"stop_gradient": True, "normalize": 0.1},
    {"start": "pushforward"},
    {"ema_teacher": True},
    {"gamma": 0.3},
    {"K": 3},
    {"inverse": 0.5},
    {"derivatives": "central"},
    {"points": 3},
    {"p": 1.0},
    {"norm": "pseudo-huber"},
    {"norm": "l1"},
    {"weight": lambda s, t: (t - s).abs()},
)


def _has(method: Method, aspect: Aspect, options: dict[str, Any]) -> bool:
    """Whether these are options of the row that this aspect leaves open."""
    return set(options) <= {option.name for option in method.row.options} - set(aspect.options)


WITH_OPTIONS = [
    pytest.param(
        method,
        aspect,
        options,
        id="-".join((aspect.name, *map(str, options))),
        marks=[pytest.mark.slow] * aspect.term.joint,
    )
    for method, aspect in every_aspect()
    for options in VARIANTS
    if aspect.exact and aspect.order is None and _has(method, aspect, options)
]


def _skip_without_truth(aspect: Aspect, setting: Setting) -> None:
    if aspect.term.pairs == "teacher flow" and (setting.I.has_latent or "solved" in setting.name):
        pytest.skip("the straightened coupling has a closed form for affine flows and interpolants without a latent")


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_every_row_is_in_a_class(method: Method) -> None:
    for aspect in aspects(method):
        method.with_options(**aspect.options)


@pytest.mark.parametrize("name", sorted(WITH_STOP_GRADIENT | WITHOUT))
def test_stop_gradients_are_those_of_the_papers(name: str) -> None:
    method = METHODS[name]
    for terms in method.row.forms.values():
        stopped = terms[-1].stop_gradient and method.options.stop_gradient
        assert stopped == (name in WITH_STOP_GRADIENT)


def test_a_row_in_no_class_is_refused_and_a_new_row_enters_by_itself() -> None:
    new = row("new", Term(residual=compared.lagrangian, velocity=TEACHER), teacher="field", source="", summary="")
    (aspect,) = aspects(new)
    assert aspect.exact
    assert aspect.order is None
    strange = VelocitySource("strange", lambda k: k.X.velocity())
    elsewhere = Term(residual=compared.lagrangian, middle=lambda s, t, fraction: (s, torch.lerp(s, t, fraction**2), t))
    for term in (Term(residual=compared.lagrangian, velocity=strange), elsewhere):
        with pytest.raises(ValueError, match="in no class; say in method_cases"):
            aspects(row("new", term, source="", summary=""))
    assert "new" not in METHODS


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize(("method", "aspect"), EXACT)
def test_at_the_exact_map(check: Check, method: Method, aspect: Aspect, setting: Setting) -> None:
    _skip_without_truth(aspect, setting)
    hold(check, vanishes(method, aspect, setting))


@pytest.mark.parametrize(("method", "aspect", "options"), WITH_OPTIONS)
def test_with_every_option(check: Check, method: Method, aspect: Aspect, options: dict[str, Any]) -> None:
    setting = sampled("gaussian linear")
    loss = call(aspect.of(method, **options), aspect, setting, truth(setting, aspect)).loss
    bound = 1e-6 if options.get("norm") == "l1" else 1e-10  # the l1 norm of round-off is no square
    hold(check, [Measured("loss", float(loss), bound)])


@pytest.mark.parametrize(("method", "aspect"), FORWARD)
def test_the_inverse_term_looks_backward(check: Check, method: Method, aspect: Aspect) -> None:
    r"""A map that is off by 1 for $s>t$ alone is seen by it, as strongly as the option says, and by nothing else."""
    setting = sampled("gaussian linear")
    X = Forward(truth(setting, aspect))
    losses = [float(call(aspect.of(method, inverse=strength), aspect, setting, X).loss) for strength in (0.0, 0.5, 1.0)]
    size = setting.x0[0].numel()
    for strength, loss in zip((0.0, 0.5, 1.0), losses, strict=True):
        check.at_most(abs(loss - strength * size), 1e-10)


@pytest.mark.parametrize("setting", CONTROLS)
@pytest.mark.parametrize(("method", "aspect"), EXACT)
def test_the_excess_grows_like_delta_squared(check: Check, method: Method, aspect: Aspect, setting: Setting) -> None:
    hold(check, loss_grows(method, aspect, setting))


@pytest.mark.parametrize(("method", "aspect"), JOINT)
def test_a_wrong_rate_is_seen_beside_a_right_state(check: Check, method: Method, aspect: Aspect) -> None:
    setting = sampled("gaussian trigonometric")
    hold(check, vanishes(method, aspect, setting) + sees_the_rate(method, aspect, setting))


@pytest.mark.parametrize("setting", CONTROLS)
@pytest.mark.parametrize(("method", "aspect"), STOPPED)
def test_the_semigradient_grows_like_delta(check: Check, method: Method, aspect: Aspect, setting: Setting) -> None:
    hold(check, gradient_grows(method, aspect, setting))
    hold(check, is_semigradient(method, aspect, setting))


@pytest.mark.parametrize(("method", "aspect"), ANY_STEP)
def test_steps_of_length_zero(check: Check, method: Method, aspect: Aspect) -> None:
    setting = sampled("gaussian trigonometric")
    hold(check, vanishes(method.with_options(law=Diagonal()), aspect, setting))


@pytest.mark.parametrize(("method", "aspect"), OFF_DIAGONAL)
def test_times_in_any_order(check: Check, method: Method, aspect: Aspect) -> None:
    setting = sampled("gaussian trigonometric")
    hold(check, vanishes(method.with_options(law=FullSquare()), aspect, setting))


@pytest.mark.parametrize(("method", "aspect"), EXACT)
def test_a_batch_of_one(check: Check, method: Method, aspect: Aspect) -> None:
    setting = sampled("gaussian linear")
    hold(check, vanishes(method, aspect, replace(setting, x0=setting.x0[:1], x1=setting.x1[:1])))


@pytest.mark.parametrize(("method", "aspect"), EXACT)
def test_states_of_any_shape(check: Check, method: Method, aspect: Aspect) -> None:
    I = interpolants.linear()
    flat = random_gaussian(I, 8, seed=3)
    covariance = flat.b.mean_and_covariance(1.0)[1]
    image = problems.gaussian(normal(4, 2, 2, 2), covariance, I)
    scalar = problems.gaussian(0.7, 0.4, I)
    for problem, x in ((image, normal(5, 4, 2, 2, 2)), (scalar, normal(6, 4))):
        hold(check, vanishes(method, aspect, Setting("", problem.b, problem.X, I, x, x.flip(0))))


@pytest.mark.parametrize(("method", "aspect"), EXACT)
def test_single_precision(check: Check, method: Method, aspect: Aspect) -> None:
    setting = sampled("gaussian linear")
    single = replace(setting, x0=setting.x0.float(), x1=setting.x1.float())
    X = truth(single, aspect)
    with torch.no_grad():
        result = call(aspect.of(method), aspect, single, X)
    assert result.loss.dtype == torch.float32
    check.at_most(float(result.loss.sqrt()), SINGLE * (1 + float(setting.x1.abs().max())))

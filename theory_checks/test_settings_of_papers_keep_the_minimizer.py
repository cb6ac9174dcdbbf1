r"""The settings of a paper keep the minimizer where the norm is squared and the weight is of the times alone.

Read from the options that `paper=True` leaves, for every term of every row: a positive factor of the times, a learned
weight among them, moves no conditional mean, so that the expected gradient at the exact map stays zero and a loss that
vanishes there still does. A term without a conditional velocity keeps its zero under every norm, adaptive weight and
normalization. What remains moves the minimizer: an adaptive weight, another norm or a normalized tangent in a term with
a conditional velocity, and a warm-up that ends below the whole tangent in any: each is seen on a skew mixture.

Hypotheses: those of `test_methods_are_stationary.py`; terms that take a finite step are left to their orders.

Source: 2310.14189; 2410.11081; 2505.13447 (22); 2505.18825 (19); 2506.14603.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from flowops.methods import METHODS, Learned, Method, Squared
from theory_checks.method_cases import OTHER_MINIMIZER, Aspect, aspects
from theory_checks.method_measurements import PAIRS, at, by_theta, call, family, hold, is_stationary, truth, vanishes
from theory_checks.method_settings import Setting, quadrature_settings, sampled, skew_setting
from theory_checks.verdicts import Check


def as_in_the_paper(method: Method, aspect: Aspect) -> Method:
    """The term under the settings of the paper; the average is the map itself, as at the truth.

    The Euler steps of `shortcut` and its clip are left to `test_shortcut_models_are_guided_at_their_finest_steps.py`.
    """
    held = {"ema_teacher": False, "finest": None, "clip": None}
    return aspect.of(Method(method.row, paper=True), **{k: v for k, v in held.items() if k in method.row.paper})


def keeps(method: Method, aspect: Aspect) -> bool:
    """What the options say."""
    o = method.options
    if o.cap < 1 and not aspect.diagonal:
        return False
    return aspect.exact or (not o.p and isinstance(o.norm, Squared) and o.normalize is None)


CASES = [
    (method, aspect)
    for name, method in METHODS.items()
    if name not in OTHER_MINIMIZER and method.row.paper
    for aspect in aspects(method)
    if aspect.order is None and aspect.stopped == method.options.stop_gradient * aspect.term.stop_gradient
]
KEPT = [case for case in CASES if keeps(as_in_the_paper(*case), case[1])]
ALONE = {"facm-eta"}  # no weight reaches it, its cosine does: test_flow_anchored_models_vanish_under_their_clamp.py
MOVED = [case for case in CASES if case not in KEPT and case[1].name not in ALONE]
NODES = quadrature_settings()[0]


def each(cases: list[tuple[Method, Aspect]]) -> Any:
    """A test of each term."""
    return pytest.mark.parametrize(("method", "aspect"), [pytest.param(*case, id=case[1].name) for case in cases])


def excess(method: Method, aspect: Aspect, setting: Setting) -> float:
    """The largest part of the expected gradient at the exact map over that at another one."""
    gradients = []
    for delta in (0.0, 0.3):
        X = family(setting, aspect, delta)
        conditional = setting.weights is not None
        loss = at(method, setting, aspect, X, *PAIRS[0]) if conditional else call(method, aspect, setting, X).loss
        gradients.append(by_theta(loss, X).abs().max())
    return float(gradients[0] / gradients[1])


@each(KEPT)
def test_it_is_kept(check: Check, method: Method, aspect: Aspect) -> None:
    method = as_in_the_paper(method, aspect)
    if aspect.exact:
        hold(check, vanishes(method, aspect, sampled("gaussian trigonometric")))
    else:
        hold(check, is_stationary(method, aspect, NODES))


@each(MOVED)
def test_it_is_moved(method: Method, aspect: Aspect) -> None:
    setting = sampled("gaussian trigonometric") if aspect.exact else skew_setting(10)
    assert excess(as_in_the_paper(method, aspect), aspect, setting) > 1e-4


@each([case for case in KEPT if not case[1].exact])
def test_a_learned_weight_that_has_learned_keeps_it_too(check: Check, method: Method, aspect: Aspect) -> None:
    method = as_in_the_paper(method, aspect)
    if isinstance(method.weight, Learned):
        with torch.no_grad():
            for parameter in method.weight.parameters():
                parameter.add_(0.1)
        method = method.with_options(weight=method.weight)
    hold(check, is_stationary(method, aspect, NODES))


def test_negative_control(check: Check) -> None:
    r"""A weight that looks at the loss, $1+\delta|\Delta|^2$, is seen in proportion to $\delta$."""
    (aspect,) = aspects(METHODS["fm"])
    setting = skew_setting(10)

    def moved(p: float) -> Tensor:
        X = family(setting, aspect, 0.0)
        return by_theta(at(METHODS["fm"].with_options(p=p, c=1.0), setting, aspect, X, *PAIRS[0]), X)

    check.sees(moved(2e-2), moved(1e-2), setting.tolerance)


def test_both_kinds_are_there() -> None:
    names = [{method.name for method, _ in cases} for cases in (KEPT, MOVED)]
    assert {"lsd", "esd", "psd-u", "psd-m", "shortcut", "pfmm", "pd"} <= names[0]
    assert {"ayf-emd", "ayf-lmd", "meanflow", "imf"} <= names[1]
    assert truth(NODES, aspects(METHODS["lsd"])[0]) is NODES.X

r"""Methods with a finite step vanish at the exact flow map at the order of their step.

* A step of an explicit method of order $p$ along the teacher's or the map's own field misses the trajectory by
  $O(h^{p+1})$, and the map that follows keeps the order: the root mean square residual of `cd`, `discrete-emd`, `ctm`
  and `pd` is $O(h^{p+1})$, that of `discrete-lmd` (an Euler step at the end) $O(\varepsilon^2)$.
* With the next state on the same interpolant, $\mathbb E[X_{u,1}(I_u)-X_{s,1}(I_s)\mid I_s]=
  h(\partial_sX+\nabla X\,b_s)+O(h^2)=O(h^2)$, though the residual itself is only $O(h)$: so is the expected gradient of
  `ct`, `ict` and `ect`. That of `alpha-flow` is divided by $\alpha$: $O(\alpha)$.

Hypotheses: a smooth field and schedule. Slopes of the logarithms within 0.2.

Source: 2303.01469 Thms. 1, 2; 2310.02279; 2202.00512; 2510.20771; Hairer, Norsett, Wanner, §II.3.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from flowops.methods import METHODS, Method
from flowops.times import FullSquare
from theory_checks.method_cases import Aspect, defaults_of, every_aspect, solver_order, stepping
from theory_checks.method_measurements import (
    SLOPE,
    at,
    by_theta,
    family,
    gradient_grows,
    hold,
    is_semigradient,
    slope,
    vanishes_at_its_order,
)
from theory_checks.method_settings import Setting, quadrature_settings, sampled
from theory_checks.verdicts import Check

FINITE = [(m, a) for m, a in every_aspect() if a.order is not None]
EXACT = [pytest.param(m, a, id=a.name) for m, a in FINITE if a.exact]
STEPPED = [pytest.param(m, a, id=a.name) for m, a in FINITE if a.exact and stepping(defaults_of(m.row))]
AVERAGED = [pytest.param(m, a, id=a.name) for m, a in FINITE if a.exact and "ema_teacher" in defaults_of(m.row)]
CONDITIONAL = [pytest.param(m, a, id=a.name) for m, a in FINITE if not a.exact]
NAMES = ("linear system", "gaussian linear", "gaussian trigonometric", "gaussian variance_preserving", "mixture solved")
SETTINGS = [pytest.param(sampled(name), id=name) for name in NAMES]
NODES = [pytest.param(c, id=c.name) for c in quadrature_settings() if c.name != "gaussian encoding_decoding"]


def test_the_rows_with_a_finite_step_are_known() -> None:
    named = {"cmt", "cd", "ct", "ict", "ect", "ctm", "pd", "discrete-emd", "discrete-lmd", "alpha-flow", "tcm", "imm"}
    assert named <= {method.name for method, _ in FINITE}


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize(("method", "aspect"), EXACT)
def test_deterministic_steps(check: Check, method: Method, aspect: Aspect, setting: Setting) -> None:
    hold(check, vanishes_at_its_order(method, aspect, setting))


@pytest.mark.parametrize("solver", ["ddim", "euler", "midpoint", "heun", "heun3"])
@pytest.mark.parametrize(("method", "aspect"), STEPPED)
def test_steps_of_another_solver(check: Check, method: Method, aspect: Aspect, solver: str) -> None:
    other = replace(aspect, order=solver_order(defaults_of(method.row), solver))
    hold(check, vanishes_at_its_order(method.with_options(solver=solver), other, sampled("gaussian trigonometric")))


@pytest.mark.parametrize("setting", SETTINGS[:3])
@pytest.mark.parametrize(("method", "aspect"), AVERAGED)
def test_steps_towards_an_average(check: Check, method: Method, aspect: Aspect, setting: Setting) -> None:
    """The average, like the map, is the exact one; the step is the teacher's where there is one."""
    hold(check, vanishes_at_its_order(method.with_options(ema_teacher=True), aspect, setting))


@pytest.mark.parametrize("name", ["discrete-emd", "discrete-lmd", "ctm"])
def test_steps_backward_in_time(check: Check, name: str) -> None:
    method = METHODS[name].with_options(law=FullSquare())
    (aspect, *_) = [a for m, a in FINITE if m.name == name]
    hold(check, vanishes_at_its_order(method, aspect, sampled("gaussian linear")))


@pytest.mark.parametrize("setting", NODES)
@pytest.mark.parametrize(("method", "aspect"), CONDITIONAL)
def test_steps_along_the_interpolant(check: Check, method: Method, aspect: Aspect, setting: Setting) -> None:
    hold(check, vanishes_at_its_order(method, aspect, setting))


@pytest.mark.parametrize(("method", "aspect"), EXACT)
def test_semigradients(check: Check, method: Method, aspect: Aspect) -> None:
    for name in NAMES[:2]:
        hold(check, gradient_grows(method, aspect, sampled(name)))
        hold(check, is_semigradient(method, aspect, sampled(name)))


@pytest.mark.parametrize(("method", "aspect"), CONDITIONAL)
def test_negative_control_along_the_interpolant(method: Method, aspect: Aspect) -> None:
    """At a wrong map the expected gradient is of one order less."""
    setting, steps, sizes = quadrature_settings()[0], (0.04, 0.02, 0.01), []
    for step in steps:
        X = family(setting, aspect, 0.3)
        changed = {aspect.steps: step} if aspect.steps else {}
        pair = (0.2, 0.8) if changed else (0.3, 0.3 + step)
        sizes.append(float(by_theta(at(aspect.of(method, **changed), setting, aspect, X, *pair), X).norm()))
    assert aspect.order is not None
    assert slope(sizes, steps) < aspect.order - 3 * SLOPE


@pytest.mark.parametrize(("method", "aspect"), EXACT)
def test_negative_control(method: Method, aspect: Aspect) -> None:
    """At a wrong map the residual is of one order less, or does not vanish at all."""
    setting = sampled("gaussian linear")
    wrong = replace(setting, X=family(setting, aspect, 0.3))
    with torch.no_grad():
        (found,) = vanishes_at_its_order(method, aspect, wrong)
    assert not found.holds, str(found)

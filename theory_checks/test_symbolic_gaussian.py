r"""Symbolic: the identities of a Gaussian pair reduce to zero for any schedule.

All $\Sigma_t$ commute, so one eigendirection with variance $\lambda$ says everything: $m_t=\beta_tm$,
$\sigma_t^2=\alpha_t^2+ \beta_t^2\lambda$, $b_t(x)=\dot m_t+\frac{\dot\sigma_t}{\sigma_t}(x-m_t)$,
$X_{s,t}(x)=m_t+\frac{\sigma_t}{\sigma_s}(x-m_s)$ with unspecified functions $\alpha,\beta$. The proofs are printed as
LaTeX below the table, and the library's closed form is compared with the symbolic one on every named schedule.

Source: 2505.18825 Prop. 2.2.
"""

import pytest
import sympy
import torch
from sympy.printing import mathml as presentation

from flowops import Interpolant, problems
from theory_checks.cases import CLOSED_FORM, exact_map
from theory_checks.verdicts import Check

s, t, u, x, m = sympy.symbols("s t u x m", real=True)
variance = sympy.Symbol("lambda", positive=True)
alpha, beta = sympy.Function("alpha", real=True), sympy.Function("beta", real=True)


def sigma(time: sympy.Expr) -> sympy.Expr:
    return sympy.sqrt(alpha(time) ** 2 + beta(time) ** 2 * variance)


def field(time: sympy.Expr, state: sympy.Expr) -> sympy.Expr:
    tau = sympy.Symbol("tau", real=True)
    slope = sympy.diff(beta(tau) * m, tau) + sympy.diff(sympy.log(sigma(tau)), tau) * (state - beta(tau) * m)
    return slope.subs(tau, time).doit()


def flow(start: sympy.Expr, end: sympy.Expr, state: sympy.Expr) -> sympy.Expr:
    return beta(end) * m + sigma(end) / sigma(start) * (state - beta(start) * m)


IDENTITIES = {
    "Lagrangian": (
        r"\partial_tX_{s,t}(x)-b_t(X_{s,t}(x))",
        sympy.diff(flow(s, t, x), t),
        field(t, flow(s, t, x)),
    ),
    "Eulerian": (
        r"\partial_sX_{s,t}(x)+\partial_xX_{s,t}(x)\,b_s(x)",
        sympy.diff(flow(s, t, x), s),
        -sympy.diff(flow(s, t, x), x) * field(s, x),
    ),
    "semigroup": (r"X_{u,t}(X_{s,u}(x))-X_{s,t}(x)", flow(u, t, flow(s, u, x)), flow(s, t, x)),
    "inverse": (r"X_{t,s}(X_{s,t}(x))-x", flow(t, s, flow(s, t, x)), x),
    "tangent": (
        r"\partial_tX_{s,t}(x)|_{s=t}-b_t(x)",
        sympy.diff(flow(s, t, x), t).subs(s, t).doit(),
        field(t, x),
    ),
}


def mathml(expression: sympy.Expr) -> str:
    """An expression as a browser shows it."""
    told: str = presentation(sympy.sympify(expression), printer="presentation")
    return told.replace("<mi>alpha</mi>", "<mi>α</mi>").replace("<mi>beta</mi>", "<mi>β</mi>").replace("&dd;", "d")


@pytest.mark.parametrize("name", list(IDENTITIES))
def test_identity_reduces_to_zero(check: Check, name: str) -> None:
    formula, left, right = IDENTITIES[name]
    reduced = sympy.simplify(left - right)
    check.latex(rf"{formula} = \Big({sympy.latex(left)}\Big) - \Big({sympy.latex(right)}\Big) = {sympy.latex(reduced)}")
    check.formula(formula, f"{mathml(left)}<mo>-</mo><mo>(</mo>{mathml(right)}<mo>)</mo><mo>=</mo>{mathml(reduced)}")
    check.at_most(float(reduced != 0), 0.5, where=f"for the {name} identity: {reduced}")


def test_library_equals_the_symbolic_form(interpolant: Interpolant, check: Check) -> None:
    if interpolant.has_latent:
        pytest.skip("the symbolic form has two terms")
    problem = problems.gaussian([0.7], [[0.5]], interpolant)
    times = torch.tensor([0.2, 0.9], dtype=torch.float64)
    numbers = dict(zip((alpha(s), alpha(t)), interpolant.alpha(times).tolist(), strict=True))
    numbers |= dict(zip((beta(s), beta(t)), interpolant.beta(times).tolist(), strict=True))
    numbers |= {m: 0.7, variance: 0.5, x: 1.3}
    exact = float(flow(s, t, x).subs(numbers))
    value = exact_map(problem)(0.2, 0.9, torch.tensor([[1.3]], dtype=torch.float64))
    check.vanishes(value - exact, CLOSED_FORM, scale=1 + abs(exact))


def test_negative_control() -> None:
    wrong = sympy.diff(flow(s, t, x), t) - 2 * field(t, flow(s, t, x))
    assert sympy.simplify(wrong) != 0

r"""The semigroup residual tends to the Lagrangian one as u -> t, and to the Eulerian one as u -> s.

For every map that is the identity at $s=t$, with its own field $v_{t,t}$, on random networks at first order in $h$:
$\tfrac1h\big(X_{t-h,t}\circ X_{s,t-h}-X_{s,t}\big)\to-(\partial_tX_{s,t}-v_{t,t}(X_{s,t}))$ and
$\tfrac1h\big(X_{s+h,t}\circ X_{s,s+h}-X_{s,t}\big)\to\partial_sX_{s,t}+\nabla X_{s,t}\,v_{s,s}$. Likewise for
gradients: that of `psd-u` over $\gamma$ tends to that of `lsd` as $\gamma\to0$, and over $1-\gamma$ to that of `esd` as
$\gamma\to1$, in the form of velocities; in the form of maps with the weight $(t-s)^2$.

Source: 2505.18825 (93), F.1, F.2.
"""

import pytest
import torch

from flowops import Interpolant, interpolants, residuals
from flowops.methods import get_method
from flowops.methods.weights import TimePower
from theory_checks.gradients import ENDS, SEEN, STARTS, Fixed, batch, differ, gradient, random_map, tends
from theory_checks.strategies import normal
from theory_checks.verdicts import Check

LAW = Fixed()
S, T = (torch.tensor(times, dtype=torch.float64) for times in (STARTS, ENDS))
STEPS = [0.02, 0.01, 0.005]
LIMITS = {"lsd": lambda h: h, "esd": lambda h: 1 - h}  # the gamma at a distance h from the end


def test_residual_near_the_end_is_lagrangian(check: Check) -> None:
    X, x = random_map(), normal(1, len(S), 2)
    limit = -residuals.lagrangian(X, X.velocity(), S, T, x)
    tends(check, lambda h: residuals.semigroup(X, S, T - h, T, x) / h, limit, STEPS)


def test_residual_near_the_start_is_eulerian(check: Check) -> None:
    X, x = random_map(1), normal(2, len(S), 2)
    limit = residuals.eulerian(X, X.velocity(), S, T, x)
    tends(check, lambda h: residuals.semigroup(X, S, S + h, T, x) / h, limit, STEPS)


@pytest.mark.parametrize("form", ["velocity", "map"])
@pytest.mark.parametrize("name", list(LIMITS))
def test_gradient_of_progressive_self_distillation(
    interpolant: Interpolant, check: Check, name: str, form: str
) -> None:
    X, samples = random_map(2), batch(2)
    weight = TimePower(2 if form == "map" else 0)
    limit = gradient(get_method(name, form="velocity", eta=0.0, law=LAW, weight=weight), X, interpolant, samples)

    def at(h: float) -> torch.Tensor:
        psd = get_method("psd-u", form=form, gamma=LIMITS[name](h), eta=0.0, law=LAW)
        return gradient(psd, X, interpolant, samples) / h

    tends(check, at, limit, STEPS)


@pytest.mark.parametrize("name", list(LIMITS))
def test_negative_control(name: str) -> None:
    I, X, samples, h = interpolants.linear(), random_map(3), batch(3), STEPS[-1]
    wrong = {"lsd": "esd", "esd": "lsd"}[name]
    psd = gradient(get_method("psd-u", gamma=LIMITS[name](h), eta=0.0, law=LAW), X, I, samples) / h
    differ(psd, gradient(get_method(wrong, form="velocity", eta=0.0, law=LAW), X, I, samples))
    differ(psd, gradient(get_method(name, form="map", eta=0.0, law=LAW), X, I, samples))
    x = I(S, *samples)
    other = residuals.lagrangian(X, 1.1 * X.velocity(), S, T, x)
    near = residuals.semigroup(X, S, T - h, T, x) / h
    assert (near + other).norm() > SEEN * other.norm()

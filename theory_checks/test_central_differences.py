r"""Central differences of a flow map are its derivatives up to h^2/6 of the third, and so are the losses made of them.

With $f(a)=X_{s,t+a}(x)$, or $X_{s+a,t}(x+au)$, Taylor's formula gives
$$\frac{f(h)-f(-h)}{2h}=f'(0)+\frac{h^2}6f'''(0)+O(h^4),\qquad
\frac{4f(h)-f(2h)-3f(0)}{2h}=f'(0)-\frac{h^2}3f'''(0)+O(h^3)$$
inside $[0,1]$ and at its ends. Rounding adds $\epsilon|f|/h$; at the step $h=\epsilon^{1/3}$ both are $\epsilon^{2/3}$.
A loss whose two sides hold the derivatives, and its gradient, are off by $O(h^2)$ too: at the flow map, where one with
exact derivatives vanishes, a squared loss is $O(h^4)$.

Hypotheses: $X$ three times differentiable in times and state.

Source: Press et al., Numerical Recipes, §5.7 (the step); its use for flow maps: rCM 2510.08431 (`fd_type`).
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from flowops import FlowMap, interpolants, residuals
from flowops.maps import DifferencedMap
from flowops.methods import METHODS, get_method
from theory_checks.cases import gaussian
from theory_checks.gradients import Fixed, agree, batch, flat_gradient, random_map
from theory_checks.strategies import SmoothField, normal
from theory_checks.verdicts import Check

I = interpolants.trigonometric()
PROBLEM = gaussian(I)
STEPS = torch.tensor([0.02, 0.01, 0.005], dtype=torch.float64)
Member = Callable[[FlowMap, float, float, Tensor, Tensor], Tensor]
MEMBERS: dict[str, Member] = {
    "dt": lambda X, s, t, x, _u: X.dt(s, t, x),
    "ds": lambda X, s, t, x, _u: X.ds(s, t, x),
    "jvp": lambda X, s, t, x, u: X.jvp(s, t, x, u),
    "material_derivative": lambda X, s, t, x, u: X.material_derivative(s, t, x, u),
    "mean slope": lambda X, s, t, x, u: X.average_velocity_and_material_derivative(s, t, x, u)[1],
}
EVERY = pytest.mark.parametrize("name", MEMBERS)
PLACES = {"inside": (0.3, 0.8), "backward": (0.7, 0.2), "at the ends": (0.0, 1.0), "ends, backward": (1.0, 0.0)}
DIFFERENTIATED = [name for name, m in METHODS.items() if "derivatives" in {option.name for option in m.row.options}]


def operands(event: tuple[int, ...] = (2,), n: int = 5) -> tuple[Tensor, Tensor]:
    return normal(1, n, *event), normal(2, n, *event)


@EVERY
@pytest.mark.parametrize("place", PLACES)
def test_the_bias_is_of_second_order(check: Check, name: str, place: str) -> None:
    X, (x, u) = random_map(3), operands()
    exact = MEMBERS[name](X, *PLACES[place], x, u)
    off = [(MEMBERS[name](DifferencedMap(X, float(h)), *PLACES[place], x, u) - exact).norm() for h in STEPS]
    check.order(torch.stack(off).detach(), STEPS, 2.0)


def test_the_constant_of_the_bias(check: Check) -> None:
    """A sixth of the third derivative inside, minus a third of it at an end, of a map that is a cube in the time."""
    X = FlowMap.from_function(lambda s, t, x: x * (1 + t**3 - s**3)[:, None])
    x, h = torch.ones(3, 1, dtype=torch.float64), 0.01
    for t, constant in ((0.5, 1 / 6), (0.0, -1 / 3), (1.0, -1 / 3)):
        bias = DifferencedMap(X, h).dt(0.2, t, x) - X.dt(0.2, t, x)
        check.vanishes(bias / h**2 - 6 * constant, 1e-9)


@EVERY
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_at_the_step_of_the_precision(check: Check, name: str, dtype: torch.dtype) -> None:
    """Times inside and at the ends, a batch of one, image-shaped states, long and short directions."""
    bound = 40 * torch.finfo(dtype).eps ** (2 / 3)
    for event, n in (((2,), 5), ((2,), 1), ((1, 2, 2), 3)):
        X = random_map(4, event).to(dtype)
        x, u = (y.to(dtype) for y in operands(event, n))
        for scale in (1e-3, 1.0, 1e3):
            for s, t in (*PLACES.values(), (0.4, 0.4)):
                exact = MEMBERS[name](X, s, t, x, scale * u)
                found = MEMBERS[name](DifferencedMap(X), s, t, x, scale * u)
                assert found.dtype == dtype
                check.vanishes(found - exact, bound, scale=max(1.0, scale) * (1 + exact.abs().max() / max(1.0, scale)))


@pytest.mark.parametrize("name", DIFFERENTIATED)
def test_every_row_that_differentiates(check: Check, name: str) -> None:
    """Value and gradient on a random network are those of forward mode, to the accuracy of the step."""
    X, samples = random_map(5), batch(5)
    teacher = SmoothField((2,), seed=6) if "field" in METHODS[name].row.teacher else None
    options = {"eta": 0.5} if "eta" in {option.name for option in METHODS[name].row.options} else {}
    losses = [
        get_method(name, derivatives=backend, **options)(X, I, *samples, teacher=teacher, seed=3).loss
        for backend in ("forward", "central")
    ]
    check.vanishes(losses[0] - losses[1], 1e-7, scale=1 + losses[0].detach())
    agree(check, flat_gradient(losses[0], X), flat_gradient(losses[1], X), 1e-6)
    assert losses[0] != losses[1]


def test_a_loss_at_the_flow_map_is_of_fourth_order(check: Check) -> None:
    x = operands()[0]
    losses = [
        residuals.lagrangian(DifferencedMap(PROBLEM.X, float(h)), PROBLEM.b, 0.2, 0.7, x).square().sum() for h in STEPS
    ]
    check.order(torch.stack(losses), STEPS, 4.0)


def test_the_gradient_of_a_loss_is_off_by_second_order(check: Check) -> None:
    X, samples = random_map(7), batch(7)
    method = get_method("lsd", eta=0.0, law=Fixed())
    exact = flat_gradient(method(X, I, *samples, seed=3).loss, X)
    off = [
        (flat_gradient(method(DifferencedMap(X, float(h)), I, *samples, seed=3).loss, X) - exact).norm() for h in STEPS
    ]
    check.order(torch.stack(off), STEPS, 2.0)


def test_negative_control(check: Check) -> None:
    """A direction that is off by delta is seen through the differences, and grows like delta."""
    X, (x, u) = DifferencedMap(random_map(8)), operands()
    exact = random_map(8).jvp(0.2, 0.7, x, u)
    wrong, half = (X.jvp(0.2, 0.7, x, (1 + delta) * u) - exact for delta in (1e-2, 5e-3))
    check.sees(wrong, half, 1e-7)

r"""Why stop-gradients: along dI_s/ds the Eulerian loss without one pulls the exact map away from itself.

Since $\mathbb E[\dot I_s\mid I_s]=b_s(I_s)$, the naive direct loss splits into
$$\mathbb E|\partial_sX_{s,t}(I_s)+\nabla X_{s,t}(I_s)\,\dot I_s|^2=\mathbb E|\partial_sX+\nabla X\,b_s|^2
  +\mathbb E|\nabla X_{s,t}(I_s)\,(\dot I_s-b_s(I_s))|^2.$$
At the exact map the first part and its gradient vanish; the second is a penalty of $\nabla X$ and pulls on it: along
$X_{s,t}(x)+\theta(t-s)\,Mx$, with any matrix $M\in\mathbb R^{d\times d}$ (here the identity plus a random one), its
derivative at $\theta=0$ is $2(t-s)\,\mathbb E[M\eta\cdot\nabla X\,\eta]$ with $\eta=\dot I_s-b_s(I_s)$.
For a Gaussian pair $\nabla X=A=V_t^{1/2}V_s^{-1/2}$ and $\eta$ is independent of $I_s$ with covariance $C_s$, so the
penalty is $\mathrm{tr}(A^2C_s)$ and its pull $2(t-s)\,\mathrm{tr}(M^\top AC_s)$. For an
eigenvalue $\lambda$ of the data's covariance, $V=\alpha^2+\lambda\beta^2+\gamma^2$,
$P=\tfrac12\dot V$, $C=\dot\alpha^2+\lambda\dot\beta^2+\dot\gamma^2-P^2/V$, which for two terms is
$\lambda(\alpha\dot\beta-\beta\dot\alpha)^2/V$. With the stop-gradient (`meanflow`) the pull is zero, and so it is for
`fmm`, which has none: there $\dot I_t$ is compared with $\partial_tX$ at the point $I_t$ itself and multiplies no
derivative of the map. Means of 20,000 draws within 6 standard errors: false-alarm rate $2\cdot10^{-9}$ each.

Hypotheses: $\mathbb E|\dot I_s|^2<\infty$, $X$ once continuously differentiable in $(s,x)$ with a bounded $\nabla X$;
for the closed forms a Gaussian pair, whose covariances commute.

Source: 2406.07507 Prop. 3.11; 2505.18825 (40)-(42), (94).
"""

import pytest
import torch
from torch import Tensor, nn

from flowops import FlowMap, Interpolant, VelocityField, interpolants
from flowops._arguments import per_event
from flowops.methods import Method, get_method
from theory_checks.cases import exact_map, gaussian, gaussian_parameters
from theory_checks.gradients import Fixed
from theory_checks.strategies import normal
from theory_checks.verdicts import Check

DRAWS = 20_000
BOUND = 6.0
PAIRS = [(0.3, 0.8), (0.55, 0.9)]
M = torch.eye(2, dtype=torch.float64) + 0.5 * normal(5, 2, 2)


class Pushed(FlowMap):
    r"""$X_{s,t}(x)+\theta_i\,(t-s)\,Mx$ with one $\theta$ per sample, so that a gradient is one number per sample."""

    def __init__(self, X: FlowMap) -> None:
        super().__init__()
        self.X, self.theta = X, nn.Parameter(torch.zeros(DRAWS, dtype=torch.float64))

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return self.X(s, t, x) + per_event(self.theta * (t - s), x) * (x @ M.T)


def constant_law(s: float, t: float) -> Fixed:
    return Fixed((s,) * DRAWS, (t,) * DRAWS)


def pulls(method: Method, I: Interpolant, teacher: VelocityField | None = None) -> tuple[Tensor, Tensor]:
    r"""The loss of each sample at the exact map of a Gaussian pair, and its derivative by $\theta$ at zero."""
    problem = gaussian(I)
    X = Pushed(exact_map(problem))
    generator = torch.Generator().manual_seed(1)
    x0 = problem.sample_base(DRAWS, generator=generator, dtype=torch.float64)
    x1 = problem.sample_data(DRAWS, generator=generator, dtype=torch.float64)
    result = method(X, I, x0, x1, teacher=teacher, seed=2)
    return result.per_sample.detach(), torch.autograd.grad(result.per_sample.sum(), X.theta)[0]


def standardized(values: Tensor, mean: float) -> float:
    """Distance of the sample mean from `mean`, in standard errors."""
    return float((values.mean() - mean).abs() / (values.std() / DRAWS**0.5))


def prediction(I: Interpolant, s: float, t: float) -> tuple[float, float]:
    r"""$\mathrm{tr}(A^2C_s)$ and $2(t-s)\,\mathrm{tr}(M^\top AC_s)$."""
    eigenvalues, Q = torch.linalg.eigh(gaussian_parameters()[1])
    A = (variance(I, t, eigenvalues) / variance(I, s, eigenvalues)).sqrt()
    C = conditional_variance(I, s, eigenvalues)
    rotated = Q.mT @ M @ Q
    return float((A**2 * C).sum()), float(2 * (t - s) * (rotated.diagonal() * A * C).sum())


def variance(I: Interpolant, t: float, eigenvalues: Tensor) -> Tensor:
    time = torch.tensor(t, dtype=torch.float64)
    return I.alpha(time) ** 2 + eigenvalues * I.beta(time) ** 2 + I.gamma(time) ** 2


def conditional_variance(I: Interpolant, t: float, eigenvalues: Tensor) -> Tensor:
    """$C_t$ along the eigenvectors of the data's covariance."""
    time = torch.tensor(t, dtype=torch.float64)
    a, b, c = I.alpha(time), I.beta(time), I.gamma(time)
    da, db, dc = I.alpha_dot(time), I.beta_dot(time), I.gamma_dot(time)
    P = a * da + eigenvalues * b * db + c * dc
    return da**2 + eigenvalues * db**2 + dc**2 - P**2 / variance(I, t, eigenvalues)


@pytest.mark.parametrize(("s", "t"), PAIRS)
def test_the_naive_loss_pulls_as_predicted(interpolant: Interpolant, check: Check, s: float, t: float) -> None:
    naive = get_method("meanflow", eta=0.0, stop_gradient=False, law=constant_law(s, t))
    loss, pull = pulls(naive, interpolant)
    penalty, expected = prediction(interpolant, s, t)
    check.at_most(standardized(loss, penalty), BOUND, where="in the loss")
    check.at_most(standardized(pull, expected), BOUND, where="in the gradient")
    assert standardized(pull, 0.0) > BOUND, "the pull is not seen"


def test_two_terms_have_the_short_form() -> None:
    eigenvalues = torch.linalg.eigvalsh(gaussian_parameters()[1])
    for I in (interpolants.linear(), interpolants.trigonometric(), interpolants.variance_preserving()):
        s = torch.tensor(0.4, dtype=torch.float64)
        wronskian = I.alpha(s) * I.beta_dot(s) - I.beta(s) * I.alpha_dot(s)
        short = eigenvalues * wronskian**2 / variance(I, 0.4, eigenvalues)
        torch.testing.assert_close(conditional_variance(I, 0.4, eigenvalues), short)


@pytest.mark.parametrize(("s", "t"), PAIRS)
def test_with_the_stop_gradient_there_is_no_pull(interpolant: Interpolant, check: Check, s: float, t: float) -> None:
    for name in ("meanflow", "imf"):
        _, pull = pulls(get_method(name, eta=0.0, law=constant_law(s, t)), interpolant)
        check.at_most(standardized(pull, 0.0), BOUND, where=f"in {name}")


@pytest.mark.parametrize(("s", "t"), [*PAIRS, (0.8, 0.3)])
def test_flow_map_matching_needs_none(interpolant: Interpolant, check: Check, s: float, t: float) -> None:
    loss, pull = pulls(get_method("fmm", law=constant_law(s, t)), interpolant)
    least = float(conditional_variance(interpolant, t, torch.linalg.eigvalsh(gaussian_parameters()[1])).sum())
    check.at_most(standardized(pull, 0.0), BOUND, where="in the gradient")
    check.at_most(standardized(loss, least), BOUND, where="in the loss")


@pytest.mark.parametrize(("s", "t"), PAIRS)
def test_along_the_field_itself_there_is_nothing_to_stop(interpolant: Interpolant, s: float, t: float) -> None:
    _, pull = pulls(get_method("emd", law=constant_law(s, t)), interpolant, gaussian(interpolant).b)
    assert pull.abs().max() < torch.tensor(1e-8)


def test_negative_control() -> None:
    I, (s, t) = interpolants.linear(), PAIRS[0]
    _, pull = pulls(get_method("meanflow", eta=0.0, stop_gradient=False, law=constant_law(s, t)), I)
    penalty, expected = prediction(I, s, t)
    for wrong in (-expected, 0.5 * expected, expected / (t - s), penalty):
        assert standardized(pull, wrong) > BOUND, wrong

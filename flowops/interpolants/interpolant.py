r"""The stochastic interpolant $I_t(x_0,x_1)=\alpha_tx_0+\beta_tx_1+\gamma_tz$ as an operator."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from flowops._arguments import check_like, check_result, check_state, expand_time, number, per_event
from flowops._types import State, TimeLike, Times
from flowops.interpolants.coefficient import ENDS, Coefficient, FunctionCoefficient
from flowops.interpolants.formulas.formula import Formula

if TYPE_CHECKING:
    from flowops.interpolants.validation import ValidationReport

Schedule = Callable[[Tensor], Tensor]


class Interpolant(nn.Module):
    r"""$I_t(x_0,x_1)=\alpha_tx_0+\beta_tx_1+\gamma_tz$, base $x_0$ at $t=0$, data $x_1$ at $t=1$.

    Each of $\alpha,\beta,\gamma$ is a callable of a tensor of times, elementwise, of any shape; its derivative is taken
    by forward-mode differentiation. `from_expressions` takes formulas instead. A module among the callables keeps its
    parameters. The exact end laws want $\alpha_0=\beta_1=1$ and $\alpha_1=\beta_0=\gamma_0=\gamma_1=0$; nothing
    enforces it, `validate` and `endpoint_defects` say how far off a schedule is.

    >>> I = Interpolant.from_expressions(alpha="cos(pi*t/2)", beta="sin(pi*t/2)")
    >>> x0, x1 = torch.zeros(1, 2), torch.ones(1, 2)
    >>> I(0.5, x0, x1), I.velocity(0.0, x0, x1)
    (tensor([[0.7071, 0.7071]]), tensor([[1.5708, 1.5708]]))

    Args:
        alpha: coefficient of the base sample.
        beta: coefficient of the data sample.
        gamma: coefficient of the latent $z\sim N(0,I)$; none if not given.
        name: how it is called in messages.
        gaussian_base: whether $x_0\sim N(0,I)$ is independent of $x_1$, which `convert` relies on.

    Raises:
        TypeError: if `beta` is missing, or a coefficient is no callable.

    Source: Albergo, Boffi, Vanden-Eijnden 2303.08797; 2505.18825 eq. (1).
    """

    def __init__(
        self,
        alpha: Schedule,
        beta: Schedule | None = None,
        gamma: Schedule | None = None,
        *,
        name: str = "custom",
        gaussian_base: bool = True,
    ) -> None:
        super().__init__()
        _require_both(alpha, beta)
        self.name, self.gaussian_base = name, gaussian_base
        given = {"alpha": alpha, "beta": beta, "gamma": gamma}
        self.coefficients = nn.ModuleDict(
            {key: _coefficient(function, key) for key, function in given.items() if function is not None}
        )

    @classmethod
    def from_expressions(
        cls,
        alpha: str,
        beta: str | None = None,
        gamma: str | None = None,
        *,
        name: str = "custom",
        gaussian_base: bool = True,
    ) -> Interpolant:
        r"""The interpolant of formulas in `t` such as `alpha="cos(pi*t/2)"`, `beta="sin(pi*t/2)"`.

        A formula may hold numbers, `t`, `pi`, `+ - * / **` and `sin cos tan asin acos atan sinh cosh tanh exp expm1 log
        log1p sqrt abs`. Derivatives are symbolic. Nothing is evaluated as Python.

        Raises:
            TypeError: if `beta` is missing, or a formula is no string.
            ValueError: if a formula is outside this grammar, too large, or holds a constant that is not finite.
        """
        _require_both(alpha, beta)
        formulas = {"alpha": alpha, "beta": beta, "gamma": gamma}
        parts = {key: Formula(f, key) for key, f in formulas.items() if f is not None}
        return cls(**parts, name=name, gaussian_base=gaussian_base)

    @property
    def has_latent(self) -> bool:
        r"""Whether there is a term $\gamma_tz$."""
        return "gamma" in self.coefficients

    @property
    def expressions(self) -> dict[str, str | None]:
        """The formulas of alpha, beta and gamma; None for a callable and for a gamma that is not there."""
        parts = dict(self.coefficients.items())
        return {key: getattr(parts.get(key), "expression", None) for key in ENDS}

    def forward(self, t: Times, x0: State, x1: State, z: State | None = None) -> State:
        return self.combination("value", t, x0, x1, z)

    def __call__(self, t: TimeLike, x0: Tensor, x1: Tensor, z: Tensor | None = None) -> State:
        r"""$I_t(x_0,x_1)$, the shape and dtype of `x0`.

        Args:
            t: time.
            x0: base sample.
            x1: data sample.
            z: latent; given exactly when there is a gamma term.

        Raises:
            TypeError, ValueError: for samples that do not match, a wrong time, a latent missing or not wanted, and a
                coefficient that returns another shape or dtype than its times.
        """
        t = self._operands(t, x0, x1, z)
        return check_result(super().__call__(t, x0, x1, z), x0, t, name=type(self).__name__)

    def velocity(self, t: TimeLike, x0: Tensor, x1: Tensor, z: Tensor | None = None) -> State:
        r"""$\dot I_t=\dot\alpha_tx_0+\dot\beta_tx_1+\dot\gamma_tz$, arguments as in a call."""
        t = self._operands(t, x0, x1, z)
        return check_result(self.combination("derivative", t, x0, x1, z), x0, t, name=type(self).__name__)

    def alpha(self, t: TimeLike) -> Tensor:
        r"""$\alpha_t$, the shape and dtype of `t`; 0-d and of the default dtype for a number."""
        return self._evaluate("alpha", t)

    def beta(self, t: TimeLike) -> Tensor:
        r"""$\beta_t$."""
        return self._evaluate("beta", t)

    def gamma(self, t: TimeLike) -> Tensor:
        r"""$\gamma_t$, zero when there is no latent."""
        return self._evaluate("gamma", t)

    def alpha_dot(self, t: TimeLike) -> Tensor:
        r"""$\dot\alpha_t$."""
        return self._evaluate("alpha", t, "derivative")

    def beta_dot(self, t: TimeLike) -> Tensor:
        r"""$\dot\beta_t$."""
        return self._evaluate("beta", t, "derivative")

    def gamma_dot(self, t: TimeLike) -> Tensor:
        r"""$\dot\gamma_t$."""
        return self._evaluate("gamma", t, "derivative")

    def alpha_squared(self, t: TimeLike) -> Tensor:
        r"""$\alpha_t^2$; of a formula, differentiable where $\alpha_t$ vanishes like a square root."""
        return self._evaluate("alpha", t, "square")

    def beta_squared(self, t: TimeLike) -> Tensor:
        r"""$\beta_t^2$."""
        return self._evaluate("beta", t, "square")

    def gamma_squared(self, t: TimeLike) -> Tensor:
        r"""$\gamma_t^2$."""
        return self._evaluate("gamma", t, "square")

    def alpha_alpha_dot(self, t: TimeLike) -> Tensor:
        r"""$\alpha_t\dot\alpha_t=\tfrac12\tfrac d{dt}\alpha_t^2$; of a formula, finite where $\dot\alpha_t$ is not."""
        return self._evaluate("alpha", t, "half_square_derivative")

    def beta_beta_dot(self, t: TimeLike) -> Tensor:
        r"""$\beta_t\dot\beta_t$."""
        return self._evaluate("beta", t, "half_square_derivative")

    def gamma_gamma_dot(self, t: TimeLike) -> Tensor:
        r"""$\gamma_t\dot\gamma_t$."""
        return self._evaluate("gamma", t, "half_square_derivative")

    def convert(self, t: TimeLike, x: Tensor, value: Tensor, source: str, target: str) -> State:
        r"""One of velocity, score, denoiser, noise at $I_t=x$ from another; see `flowops.interpolants.convert`."""
        from flowops.interpolants.conversion import convert

        return convert(self, t, x, value, source, target)

    def validate(self) -> ValidationReport:
        """What holds of this schedule and what does not; see `flowops.interpolants.validate`."""
        from flowops.interpolants.validation import validate

        return validate(self)

    def endpoint_defects(self) -> dict[str, float]:
        r"""How far each coefficient is from its exact value at each end, e.g. `{"alpha(0)": 79.0, ...}`, in float64."""
        ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
        return {
            f"{key}({end})": self._evaluate(key, ends)[end].item() - ENDS[key][end]
            for key in self.coefficients
            for end in (0, 1)
        }

    def __repr__(self) -> str:
        """The name and the formulas."""
        formulas = ", ".join(f"{key} = {part.text}" for key, part in self.coefficients.items())
        return f"Interpolant({self.name}: {formulas})"

    def _evaluate(self, key: str, t: TimeLike, rule: str = "value") -> Tensor:
        t = _as_times(t)
        return self._rule(key, rule)(t) if key in self.coefficients else torch.zeros_like(t)

    def _rule(self, key: str, rule: str) -> Callable[[Tensor], Tensor]:
        return cast(Coefficient, self.coefficients[key]).rules[rule]

    def combination(self, rule: str, t: Times, x0: State, x1: State, z: State | None) -> State:
        """The coefficients by one of their rules times the samples, for operands that are checked.

        With wider times than samples it has their dtype; a call and `velocity` bring it back.
        """
        a, b = self._rule("alpha", rule)(t), self._rule("beta", rule)(t)
        value = per_event(a, x0) * x0 + per_event(b, x0) * x1
        return value if z is None else value + per_event(self._rule("gamma", rule)(t), x0) * z

    def _operands(self, t: TimeLike, x0: Tensor, x1: Tensor, z: Tensor | None) -> Tensor:
        check_state(x0, "x0")
        check_like(x1, x0, "x1", "x0")
        latent = "gamma" in self.coefficients
        if latent and z is None:
            raise ValueError(
                f"`z` must be given, since the {self.name} interpolant has a gamma term, got None; "
                f"pass z=torch.randn_like(x0)."
            )
        if not latent and z is not None:
            raise ValueError(
                f"`z` must not be given, since the {self.name} interpolant has no gamma term, got a latent; "
                f"leave it out, or build the interpolant with gamma."
            )
        if z is not None:
            check_like(z, x0, "z", "x0")
        return expand_time(t, x0)


def check_interpolant(I: object, name: str = "I") -> None:
    """Refuse anything but an interpolant.

    Raises:
        TypeError: for it.
    """
    if not isinstance(I, Interpolant):
        raise TypeError(f"`{name}` must be an Interpolant, got {type(I).__name__}; build one first.")


def _require_both(alpha: object, beta: object) -> None:
    for name, given, other in (("alpha", alpha, "beta"), ("beta", beta, "alpha")):
        if given is None:
            raise TypeError(f"`{name}` must be given together with `{other}`, got None; pass both coefficients.")


def _coefficient(function: Schedule, name: str) -> Coefficient:
    return function if isinstance(function, Coefficient) else FunctionCoefficient(function, name)


def _as_times(t: TimeLike) -> Tensor:
    if not isinstance(t, Tensor):
        return torch.tensor(number(t, "t"), dtype=torch.get_default_dtype())
    if not t.is_floating_point():
        raise TypeError(f"`t` must have a floating dtype, got {t.dtype}; pass t.float() or t.double().")
    return t

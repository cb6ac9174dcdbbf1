r"""The named interpolants, base at $t=0$ and data at $t=1$.

Formulas are written without cancellation, so that $\alpha$ keeps its digits in float32 as $t\to1$ and $\beta$ as
$t\to0$. Diffusion schedules run the other way in their sources: their time is $1-t$, and their noise level is our
$\alpha/\beta$.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from flowops._arguments import number
from flowops._named import Registry
from flowops.interpolants.formulas.grammar import MAX_EXPONENT
from flowops.interpolants.interpolant import Interpolant

Factory = TypeVar("Factory", bound=Callable[..., Interpolant])
NAMED: Registry[Interpolant] = Registry("interpolant", Interpolant, {})
"""The schedules of this file by name: `@_schedule` adds one, and every test and theory check runs over it."""


def _schedule(factory: Factory) -> Factory:
    NAMED.add(factory.__name__, factory)
    return factory


@_schedule
def linear() -> Interpolant:
    r"""$\alpha_t=1-t,\ \beta_t=t$. No endpoint defect.

    Source: Lipman et al. 2210.02747 with $\sigma_{\min}=0$; Liu et al. 2209.03003.
    """
    return Interpolant.from_expressions("1-t", "t", name="linear")


@_schedule
def trigonometric() -> Interpolant:
    r"""$\alpha_t=\cos\tfrac\pi2t,\ \beta_t=\sin\tfrac\pi2t$, so that $\alpha^2+\beta^2=1$. No endpoint defect.

    Source: Albergo, Vanden-Eijnden 2209.15571; Albergo, Boffi, Vanden-Eijnden 2303.08797.
    """
    return Interpolant.from_expressions("sin(pi*(1-t)/2)", "sin(pi*t/2)", name="trigonometric")


@_schedule
def cosine(s: float = 0.008) -> Interpolant:
    r"""$\beta_t=\cos B_t/\cos A,\ \alpha_t=\sqrt{1-\beta_t^2}$, the cosine schedule.

    $B_t=\tfrac\pi2\tfrac{1-t+s}{1+s}$ and $A=\tfrac\pi2\tfrac s{1+s}$; written as
    $\alpha_t=\sqrt{\sin(B_t-A)\sin(B_t+A)}/\cos A$. No endpoint defect; $\dot\alpha_1=-\infty$ for $s>0$, while
    $\alpha\dot\alpha$ is finite. There $\dot\alpha_t^2\approx\pi\tan(A)/(4(1+s)(1-t))$: the flow-matching loss with
    uniform times is infinite for $s>0$, by 0.0097 for each factor $e$ of $1-t$ at the default. The clipping of the
    discrete schedule is not applied.

    Args:
        s: offset, at least 0.

    Raises:
        ValueError: if `s` is negative.

    Source: Nichol, Dhariwal 2102.09672 eq. (17).
    """
    s = number(s, "s")
    if s < 0:
        raise ValueError(f"`s` must be at least 0, got {s}; pass an offset such as 0.008.")
    if s == 0:
        return Interpolant.from_expressions("sin(pi*(1-t)/2)", "sin(pi*t/2)", name="cosine")
    ends = f"cos(pi*{s!r}/(2*(1+{s!r})))"
    factors = f"sin(pi*(1-t)/(2*(1+{s!r})))*sin(pi*(1-t+2*{s!r})/(2*(1+{s!r})))"
    return Interpolant.from_expressions(f"sqrt({factors})/{ends}", f"sin(pi*t/(2*(1+{s!r})))/{ends}", name="cosine")


@_schedule
def variance_preserving(beta_min: float = 0.1, beta_max: float = 20.0) -> Interpolant:
    r"""$\beta_t=e^{-B_t/2},\ \alpha_t=\sqrt{1-e^{-B_t}}$, the schedule of the variance-preserving diffusion.

    $B_t=\tfrac12(1-t)^2(\beta_{\max}-\beta_{\min})+(1-t)\beta_{\min}$.

    Endpoint defects: $\beta_0=e^{-(\beta_{\min}+\beta_{\max})/4}$ (0.0066 by default) instead of 0, and
    $\alpha_0=\sqrt{1-\beta_0^2}$ instead of 1 ($2\cdot10^{-5}$ below it). $\dot\alpha_1=-\infty$, while
    $\alpha\dot\alpha=-\beta_{\min}/2$ there, and $\dot\alpha_t^2\approx\beta_{\min}/(4(1-t))$: the flow-matching loss
    with uniform times is infinite, by $\beta_{\min}/4$ for each factor $e$ of $1-t$.

    Args:
        beta_min: rate of the noising at the data, positive.
        beta_max: rate at the base, at least `beta_min`.

    Raises:
        ValueError: for other values.

    Source: Song et al. 2011.13456 eq. (33).
    """
    low, high = number(beta_min, "beta_min"), number(beta_max, "beta_max")
    _require_positive(low, "beta_min")
    if high < low:
        raise ValueError(f"`beta_max` must be at least `beta_min`, {low}, got {high}; raise it, or swap the two.")
    B = f"((1-t)**2*({high!r}-{low!r})/2+(1-t)*{low!r})"
    return Interpolant.from_expressions(f"sqrt(-expm1(-{B}))", f"exp(-{B}/2)", name="variance_preserving")


@_schedule
def variance_exploding(sigma_min: float = 0.01, sigma_max: float = 50.0) -> Interpolant:
    r"""$\alpha_t=\sigma_{\max}(\sigma_{\min}/\sigma_{\max})^t,\ \beta_t=1$.

    Endpoint defects: $\alpha_0=\sigma_{\max}$ instead of 1, $\beta_0=1$ instead of 0, $\alpha_1=\sigma_{\min}$ instead
    of 0.

    Args:
        sigma_min: noise level at the data, positive.
        sigma_max: noise level at the base, above `sigma_min`.

    Raises:
        ValueError: for other values.

    Source: Song et al. 2011.13456 eq. (30).
    """
    low, high = _noise_levels(sigma_min, sigma_max)
    return Interpolant.from_expressions(f"{high!r}*({low!r}/{high!r})**t", "1", name="variance_exploding")


@_schedule
def edm(sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0) -> Interpolant:
    r"""$\alpha_t=\big(\sigma_{\max}^{1/\rho}+t(\sigma_{\min}^{1/\rho}-\sigma_{\max}^{1/\rho})\big)^\rho,\ \beta_t=1$.

    The noise levels of EDM's sampler as a clock. Endpoint defects: $\alpha_0=\sigma_{\max}$ instead of 1, $\beta_0=1$
    instead of 0, $\alpha_1=\sigma_{\min}$ instead of 0.

    Args:
        sigma_min: noise level at the data, positive.
        sigma_max: noise level at the base, above `sigma_min`.
        rho: how strongly steps concentrate at low noise, in [1, 64].

    Raises:
        ValueError: for other values.

    Source: Karras et al. 2206.00364 eq. (5).
    """
    low, high = _noise_levels(sigma_min, sigma_max)
    rho = number(rho, "rho")
    if not 1 <= rho <= MAX_EXPONENT:
        raise ValueError(f"`rho` must lie in [1, {MAX_EXPONENT}], got {rho}; EDM uses 7.")
    start, end = f"{high!r}**(1/{rho!r})", f"{low!r}**(1/{rho!r})"
    return Interpolant.from_expressions(f"({start}+t*({end}-{start}))**{rho!r}", "1", name="edm")


@_schedule
def encoding_decoding() -> Interpolant:
    r"""$\alpha_t=\cos^2(\pi t)\,1_{t<1/2},\ \beta_t=\cos^2(\pi t)\,1_{t>1/2},\ \gamma_t=\sin^2(\pi t)$.

    The base is turned into pure noise at $t=\tfrac12$ and the noise into data. No endpoint defect; all three
    coefficients are continuously differentiable.

    Source: Albergo, Boffi, Vanden-Eijnden 2303.08797, encoding-decoding interpolants.
    """
    wave = "sin(pi*(1/2-t))"  # positive on the way to the noise, negative on the way from it
    return Interpolant.from_expressions(
        alpha=f"{wave}*({wave}+abs({wave}))/2",
        beta=f"{wave}*({wave}-abs({wave}))/2",
        gamma="(2*sin(pi*t/2)*sin(pi*(1-t)/2))**2",  # sin(pi*t)**2 with all digits at both ends
        name="encoding_decoding",
    )


def named(name: str | Interpolant, **parameters: float) -> Interpolant:
    """The interpolant of that name, one of `NAMED` or `package.module:factory`; an interpolant is returned as it is.

    Raises:
        ValueError: if there is none.
    """
    return NAMED.make(name, options=parameters)


def _noise_levels(sigma_min: float, sigma_max: float) -> tuple[float, float]:
    low, high = number(sigma_min, "sigma_min"), number(sigma_max, "sigma_max")
    _require_positive(low, "sigma_min")
    if high <= low:
        raise ValueError(f"`sigma_max` must exceed `sigma_min`, {low}, got {high}; raise it, or swap the two.")
    return low, high


def _require_positive(value: float, name: str) -> None:
    if value <= 0:
        raise ValueError(f"`{name}` must be positive, got {value}; pass a small positive number.")

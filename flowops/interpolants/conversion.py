r"""Velocity, score, denoiser and noise as readings of one pair $(\mathbb E[x_0\mid x],\mathbb E[x_1\mid x])$."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from flowops._arguments import check_like, check_result, check_state, expand_time, per_event
from flowops._derivatives import is_concrete
from flowops._types import State, TimeLike, Times

if TYPE_CHECKING:
    from flowops.interpolants.interpolant import Interpolant

QUANTITIES: Final = ("velocity", "score", "denoiser", "noise")


def convert(I: Interpolant, t: TimeLike, x: Tensor, value: Tensor, source: str, target: str) -> State:
    r"""The quantity `target` at $I_t=x$, given the quantity `source` there.

    With $\hat x_0=\mathbb E[x_0\mid I_t=x]$ (noise) and $\hat x_1=\mathbb E[x_1\mid I_t=x]$ (denoiser), every quantity
    is one linear equation beside the first, and the two are solved for $(\hat x_0,\hat x_1)$:

    $$ \alpha\hat x_0+\beta\hat x_1=x,\qquad \dot\alpha\hat x_0+\dot\beta\hat x_1=b_t(x),\qquad
       \hat x_0=-\alpha\,\nabla\log\rho_t(x) $$

    Finite at both ends wherever the limit is determined by `x` and `value`. It is not, and is refused:
    at $\beta_t=0$ from noise or score to denoiser or velocity; at $\alpha_t=0$ from the denoiser to anything else, and
    from velocity or noise to the score ($\hat x_0$ is known there, $\hat x_0/\alpha$ is not); where $\dot\alpha$ is
    infinite from noise to velocity. On a device, inside a transform and in a compiled graph, where values cannot be
    looked at, the result is not finite there.

    Where $\dot\alpha$ is infinite (variance preserving at $t=1$) the velocity's equation is multiplied by $\alpha$,
    where $\dot\beta$ is, by $\beta$; $\alpha\dot\alpha$ and $\beta\dot\beta$ are finite there, of callables by
    their limits.

    Args:
        I: two-term interpolant whose base $x_0\sim N(0,I)$ is independent of the data.
        t: time.
        x: state, the point at which both quantities are taken.
        value: the quantity `source` at `x`.
        source: "velocity", "score", "denoiser" or "noise".
        target: the same.

    Raises:
        ValueError: for an unknown quantity, a gamma term, a base that is not Gaussian, and a time at which `source`
            does not determine `target`.
        TypeError, ValueError: for a state, value or time that does not match.

    Source: Tweedie's formula; Albergo, Boffi, Vanden-Eijnden 2303.08797.
    """
    _check_quantities(I, source, target)
    check_state(x)
    check_like(value, x, "value")
    t = expand_time(t, x)
    if source == target:
        return value
    x0, x1 = _endpoints(I, t, x, value, source)
    result = check_result(_reading(I, t, x, value, x0, x1, source, target), x, t, name="convert")
    if is_concrete(result):
        _check_determined(I, t, x, value, result, source, target)
    return result


def _endpoints(I: Interpolant, t: Times, x: State, value: State, source: str) -> tuple[Tensor, Tensor]:
    r"""$(\hat x_0,\hat x_1)$: the solution of the 2×2 system whose second row is the source's.

    A row that names one of the two outright is substituted into the first, so that what it gives stays finite where the
    determinant vanishes.
    """
    alpha, beta = per_event(I.alpha(t), x), per_event(I.beta(t), x)
    if source == "denoiser":
        return (x - beta * value) / alpha, value
    if source in ("noise", "score"):
        noise = value if source == "noise" else -alpha * value
        return noise, (x - alpha * noise) / beta
    p, q, scale = (per_event(c, x) for c in _velocity_row(I, t))
    r = scale * value
    determinant = alpha * q - beta * p
    return (q * x - beta * r) / determinant, (alpha * r - p * x) / determinant


def _velocity_row(I: Interpolant, t: Times) -> tuple[Times, Times, Times]:
    r"""$(\dot\alpha,\dot\beta)\lambda$ and $\lambda$: one, or the coefficient whose derivative is infinite."""
    alpha, beta, alpha_dot, beta_dot = I.alpha(t), I.beta(t), I.alpha_dot(t), I.beta_dot(t)
    by_alpha, by_beta = ~alpha_dot.isfinite(), ~beta_dot.isfinite()
    scale = torch.where(by_alpha, alpha, torch.where(by_beta, beta, 1.0))
    p = torch.where(by_alpha, I.alpha_alpha_dot(t), scale * alpha_dot)
    q = torch.where(by_beta & ~by_alpha, I.beta_beta_dot(t), scale * beta_dot)
    return p, q, scale


def _reading(
    I: Interpolant, t: Times, x: State, value: State, x0: Tensor, x1: Tensor, source: str, target: str
) -> Tensor:
    if target == "denoiser":
        return x1
    if target == "noise":
        return x0
    if target == "score":
        return -x0 / per_event(I.alpha(t), x)
    beta_term = per_event(I.beta_dot(t), x) * x1
    if source == "score":  # alpha_dot x0 = -(alpha alpha_dot) score, finite where alpha_dot is not
        return beta_term - per_event(I.alpha_alpha_dot(t), x) * value
    return beta_term + per_event(I.alpha_dot(t), x) * x0


def _check_determined(
    I: Interpolant, t: Times, x: State, value: State, result: State, source: str, target: str
) -> None:
    """Refuse the first time at which finite operands gave no finite result, or one of rounding alone."""
    lost = (x.isfinite() & value.isfinite() & ~result.isfinite()).reshape(len(x), -1).any(1)
    if source == "denoiser" or (target == "score" and source != "score"):
        lost = lost | _vanishes(I.alpha(t))
    if source in ("noise", "score") and target in ("denoiser", "velocity"):
        lost = lost | _vanishes(I.beta(t))
    if lost.any():
        time = t[lost][:1]
        alpha, beta, alpha_dot = (f(time).item() for f in (I.alpha, I.beta, I.alpha_dot))
        raise ValueError(
            f"`t` must be a time at which {source} determines {target}, got {time.item():.9g}, where alpha = "
            f"{alpha:.3g}, beta = {beta:.3g} and alpha_dot = {alpha_dot:.3g}; take a time inside (0, 1)."
        )


def _vanishes(coefficient: Tensor) -> Tensor:
    """Where a coefficient is zero, or the rounding of zero: nearer to it than the last time before an end."""
    return coefficient.abs() < torch.finfo(coefficient.dtype).eps / 2


def _check_quantities(I: Interpolant, source: str, target: str) -> None:
    for name, given in (("source", source), ("target", target)):
        if given not in QUANTITIES:
            raise ValueError(
                f"`{name}` must be one of {', '.join(QUANTITIES)}, got {given!r}; pass one of these names."
            )
    if I.has_latent:
        raise ValueError(
            f"`convert` must have a two-term interpolant, got {I.name} with a gamma term, where one quantity does not "
            f"determine the others; use an interpolant without gamma, or learn each quantity."
        )
    if not I.gaussian_base:
        raise ValueError(
            f"`convert` must have a Gaussian base, since noise and score are tied only there, got {I.name} with "
            f"gaussian_base=False; learn each quantity, or start from N(0, I)."
        )

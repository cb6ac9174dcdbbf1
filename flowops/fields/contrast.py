"""Undoing the bias of a method whose minimizer is not the velocity field."""

from __future__ import annotations

from torch import Tensor

from flowops._arguments import number, per_event
from flowops.fields.velocity_field import VelocityField
from flowops.interpolants import Interpolant


def uncontrasted(b: VelocityField, interpolant: Interpolant, mean0: Tensor, mean1: Tensor, lam: float) -> VelocityField:
    r"""$(1-\lambda)\,b_t(x)+\lambda\,\mathbb E\dot I_t$: the velocity field behind a contrastive minimizer $b$.

    Args:
        b: the minimizer of `contrastive-fm`, $(b^\star_t-\lambda\,\mathbb E\dot I_t)/(1-\lambda)$.
        interpolant: $I$.
        mean0: $\mathbb Ex_0$, the shape of one state.
        mean1: $\mathbb Ex_1$, the shape of one state.
        lam: $\lambda$ of the training.

    Raises:
        ValueError: unless $0\le\lambda<1$.

    Cost: one call of `b`. Source: 2506.05350; checked by `theory_checks/test_contrastive_minimizer.py`.
    """
    if not 0 <= number(lam, "lam") < 1:
        raise ValueError(f"`lam` must lie in [0, 1), got {lam}; pass the one of the training.")
    return Uncontrasted(b, interpolant, mean0, mean1, lam)


class Uncontrasted(VelocityField):
    """The field of `uncontrasted`."""

    mean0: Tensor
    mean1: Tensor

    def __init__(self, b: VelocityField, interpolant: Interpolant, mean0: Tensor, mean1: Tensor, lam: float) -> None:
        super().__init__()
        self.b, self.interpolant, self.lam = b, interpolant, lam
        self.register_buffer("mean0", mean0)
        self.register_buffer("mean1", mean1)

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        I = self.interpolant
        mean = per_event(I.alpha_dot(t), x) * self.mean0 + per_event(I.beta_dot(t), x) * self.mean1
        return ((1 - self.lam) * self.b(t, x) + self.lam * mean).to(x.dtype)

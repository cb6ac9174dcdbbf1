r"""The equation of a state and of the logarithm of the determinant that its flow has gathered, as one velocity field.

Its states are flat: $y=(x,\ell)$ of shape `[batch, d+1]`, with the $d$ entries of an event and then $\ell$.
"""

from __future__ import annotations

import torch
from torch import Tensor

from flowops._types import PerSample, State, Times
from flowops.fields.divergence import inner
from flowops.fields.velocity_field import VelocityField, check_velocity_field


class AugmentedField(VelocityField):
    r"""$(b_t(x),\ \nabla\!\cdot b_t(x))$ at $y=(x,\ell)$; its flow is $(X_{s,t}(x),\ell+\log|\det\nabla X_{s,t}(x)|)$.

    Args:
        b: the field.
        event: shape of an event of its states.
        expands: the field whose divergence is taken; `b` if not given.
        probes: signs $e$, `[batch, n, *event]`, for the mean of $e^\top\nabla b_t\,e$ in place of the divergence.

    >>> b = VelocityField.from_function(lambda t, x: -x)
    >>> AugmentedField(b, torch.Size([2]))(0.0, torch.tensor([[1.0, 2.0, 0.0]]))
    tensor([[-1., -2., -2.]])

    Cost: one call, and one directional derivative per coordinate of the event, or per probe. Source: Chen et al.
    1806.07366. Checked by `theory_checks/test_joint_map.py`.
    """

    def __init__(
        self,
        b: VelocityField,
        event: torch.Size,
        *,
        expands: VelocityField | None = None,
        probes: Tensor | None = None,
    ) -> None:
        super().__init__()
        check_velocity_field(b)
        self.b, self.event, self.expands, self.probes = b, event, expands, probes

    def forward(self, t: Times, y: State) -> State:
        x, _ = separated(y, self.event)
        if self.probes is None:
            b, value = self.expands or self.b, self.b(t, x)
            return joined(value, b.divergence(t, x))
        if self.expands is None:  # the first probe brings the value along
            draws = [self.b.value_and_jvp(t, x, e) for e in self.probes.unbind(1)]
            value, pushed = draws[0][0], [tangent for _, tangent in draws]
        else:
            value, pushed = self.b(t, x), [self.expands.jvp(t, x, e) for e in self.probes.unbind(1)]
        estimates = [inner(e, tangent) for e, tangent in zip(self.probes.unbind(1), pushed, strict=True)]
        return joined(value, torch.stack(estimates).mean(0))


def joined(x: State, log_det: PerSample | None = None) -> Tensor:
    r"""The flat state $(x,\ell)$, with $\ell=0$ if none is given."""
    flat = x.reshape(len(x), x.shape[1:].numel())
    last = x.new_zeros(len(x)) if log_det is None else log_det
    return torch.cat([flat, last[:, None].to(x.dtype)], 1)


def separated(y: Tensor, event: torch.Size) -> tuple[Tensor, PerSample]:
    r"""The state $x$ and $\ell$ of a flat state."""
    return y[:, :-1].reshape(len(y), *event), y[:, -1]

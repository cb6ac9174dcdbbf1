"""The rules by which densities are had, on a joint map that is true and known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from experiments.joint_density import DENSITIES, PUBLIC, by_rule
from flowops.maps import LearnedJointMap

GROWTH = 0.7
X = torch.linspace(-1, 1, 10, dtype=torch.float64).reshape(5, 2)


class Growth(nn.Module):
    r"""$v_{s,t}$ and $D_{s,t}$ of the flow of $ax$ in the plane: $X_{s,t}(x)=e^{a(t-s)}x$, $D_{s,t}=2a$."""

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return self.value_and_log_det_rate(s, t, x)[0]

    def value_and_log_det_rate(self, s: Tensor, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        length = (GROWTH * (t - s))[:, None]
        quotient = torch.where(length == 0, 1.0, torch.expm1(length) / torch.where(length == 0, 1.0, length))
        return GROWTH * quotient * x, torch.full_like(s, 2 * GROWTH)


def exact() -> Tensor:
    """The density of the normal law that has grown."""
    return -0.5 * (X * math.exp(-GROWTH)).square().sum(1) - math.log(2 * math.pi) - 2 * GROWTH


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("name", DENSITIES)
def test_the_densities_of_a_true_map_are_exact(name: str, steps: int) -> None:
    torch.testing.assert_close(DENSITIES[name](LearnedJointMap(Growth()), X, steps), exact())


def test_the_rule_with_the_step_itself_is_the_claim_and_the_public_ones_are_not() -> None:
    joint = LearnedJointMap(Growth())
    torch.testing.assert_close(by_rule(joint, X, 3, ahead=-1.0), exact())
    for density in PUBLIC.values():
        coarse, fine = ((density(joint, X, steps) - exact()).abs().max() for steps in (20, 40))
        assert 1e-3 < fine < 0.6 * coarse

r"""MeanFlow is frozen Eulerian distillation along dI_s/ds: `meanflow` = `emd`, b := dI_s/ds.

Gradients on random networks. On the diagonal both are flow matching. With $v_{s,s}=\dot I_s$ on the batch, improved
MeanFlow has the same gradient too.

Source: 2505.18825 (39), (42); 2505.13447 (10); 2512.02012.
"""

import pytest
import torch

from flowops import Interpolant, LearnedMap, interpolants
from flowops.maps import SecondOrder
from flowops.methods import Draw, Method, get_method
from flowops.methods.point import ConditionalVelocity
from theory_checks.gradients import Batch, Fixed, Network, agree, batch, differ, gradient, random_map
from theory_checks.verdicts import Check

LAW = Fixed()
MEANFLOW = get_method("meanflow", eta=0.0, law=LAW)
IMPROVED = get_method("imf", eta=0.0, law=LAW)
FROZEN = get_method("emd", form="velocity", stop_gradient=True, law=LAW)


def conditional(I: Interpolant, samples: Batch, seed: int = 3) -> ConditionalVelocity:
    """The conditional velocity of the samples, with the latent that this seed draws."""
    return ConditionalVelocity(I, *samples, drawn(MEANFLOW, I, samples, seed).terms[-1].z)  # type: ignore[union-attr]


def drawn(method: Method, I: Interpolant, samples: Batch, seed: int = 3) -> Draw:
    """What a call with this seed draws."""
    return method.draw(random_map(), I, *samples, seed=seed)


@pytest.mark.parametrize("seed", [0, 10])
def test_same_gradient(interpolant: Interpolant, check: Check, seed: int) -> None:
    X, samples = random_map(seed), batch(seed)
    b = conditional(interpolant, samples)
    agree(check, gradient(MEANFLOW, X, interpolant, samples), gradient(FROZEN, X, interpolant, samples, teacher=b))


def test_the_share_on_the_diagonal_is_the_same_identity_there(interpolant: Interpolant, check: Check) -> None:
    X, samples, meanflow = random_map(20), batch(20), get_method("meanflow", eta=0.5)
    terms = [term for term in drawn(meanflow, interpolant, samples).terms if term is not None]
    law = Fixed(*(tuple(torch.cat(times).tolist()) for times in zip(*((k.s, k.t) for k in terms), strict=True)))
    frozen, b = FROZEN.with_options(law=law), conditional(interpolant, samples)
    ours = gradient(meanflow, X, interpolant, samples)
    agree(check, ours, gradient(frozen, X, interpolant, samples, teacher=b))


def test_improved_meanflow_agrees_where_the_field_is_the_conditional_velocity(
    interpolant: Interpolant, check: Check
) -> None:
    samples = batch(30)
    X = LearnedMap(Network(30), SecondOrder(conditional(interpolant, samples)))
    agree(check, gradient(IMPROVED, X, interpolant, samples), gradient(MEANFLOW, X, interpolant, samples))


def test_negative_control() -> None:
    I, X, samples = interpolants.linear(), random_map(40), batch(40)
    b = conditional(I, samples)
    ours = gradient(MEANFLOW, X, I, samples)
    differ(ours, gradient(FROZEN.with_options(stop_gradient=False), X, I, samples, teacher=b))
    differ(ours, gradient(FROZEN.with_options(form="map"), X, I, samples, teacher=b))
    differ(ours, gradient(FROZEN, X, I, samples, teacher=1.1 * b))
    differ(ours, gradient(IMPROVED, X, I, samples))

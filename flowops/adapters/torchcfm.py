r"""Models, paths and couplings of torchcfm, whose clock is ours: the base at 0, the data at 1."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from flowops._named import require
from flowops.couplings import Coupling, Independent, OptimalTransport
from flowops.fields import VelocityField
from flowops.interpolants import Interpolant
from flowops.maps import LearnedMap
from flowops.networks import OneTime

EXTRA = "benchmarks"
TOLERANCE = 1e-5  # their rates have 1e-8 in a denominator, ours have not


def network(model: nn.Module) -> OneTime:
    r"""A model of torchcfm as the network of a `LearnedMap`, sharing its weights.

    Its `UNetModel` and `UNetModelWrapper` are called as `(t, x, y)`, with `y` the label if they know classes; its `MLP`
    and the `torch_wrapper` around one as one matrix of $(x,t)$. Another module is wrapped by hand, `OneTime(module,
    "tx")`.

    The U-Net computes its norms and the features of the time in float32 whatever the dtype, so that it takes states of
    float32 alone, and the audit for rows with derivatives, which compares in float64, refuses it; that for `fm` finds
    it sound, and a teacher is not audited. With `use_checkpoint=True` it has no forward derivative at all.

    Raises:
        ImportError: without torchcfm.
        TypeError: for another model.
        ValueError: for an `MLP` that sees no time.
    """
    unet, models = require("torchcfm.models.unet", EXTRA), require("torchcfm.models.models", EXTRA)
    model = model.model if isinstance(model, require("torchcfm.utils", EXTRA).torch_wrapper) else model
    if isinstance(model, unet.UNetModel):
        return OneTime(model, "tx", label=None if model.num_classes is None else "y")
    if isinstance(model, models.MLP):
        if not model.time_varying:
            raise ValueError("`model` must see the time, got an MLP without; build MLP(..., time_varying=True).")
        return OneTime(model, "cat")
    raise TypeError(
        f"`model` must be a UNetModel or an MLP of torchcfm, got {type(model).__name__}; wrap it as "
        f'networks.OneTime(model, "tx"), if it is called as model(t, x).'
    )


def velocity_field(model: nn.Module) -> VelocityField:
    """A model of torchcfm as a velocity field: a copy, in evaluation mode; its condition is the `label`.

    The copy does without `use_checkpoint`, whose backward pass wants weights that learn. Values are the same.

    Raises:
        ImportError, TypeError, ValueError: as `network`.
    """
    own = network(copy.deepcopy(model))
    for module in own.modules():
        if getattr(module, "use_checkpoint", False):
            module.use_checkpoint = False  # type: ignore[assignment]
    return LearnedMap(own).velocity().eval()


def interpolant(matcher: Any) -> Interpolant:
    r"""The path of a `ConditionalFlowMatcher` or of a class under it, with its conditional velocity as $\dot I_t$.

    * `ConditionalFlowMatcher`, `ExactOptimalTransport...`: $(1-t)x_0+tx_1+\sigma z$
    * `VariancePreserving...`: $\cos(\tfrac\pi2t)x_0+\sin(\tfrac\pi2t)x_1+\sigma z$
    * `SchrodingerBridge...`: $(1-t)x_0+tx_1+\sigma\sqrt{t(1-t)}z$
    * `Target...`: $(1-(1-\sigma)t)x_0+tx_1$, where $x_0$ is the noise that it draws, not the base that it is given

    With $\sigma=0$ there is no latent. A constant $\sigma$ blurs both ends, which `validate()` says. A matcher that
    pairs its samples has `gaussian_base=False`; the pairing is `coupling(matcher)`. What is returned was compared with
    the matcher, at nine times: a class that changes one of its functions is refused.

    Raises:
        ImportError: without torchcfm.
        TypeError: for another object.
        ValueError: for a matcher whose path or velocity is another one.
    """
    theirs = require("torchcfm.conditional_flow_matching", EXTRA)
    if not isinstance(matcher, theirs.ConditionalFlowMatcher):
        raise TypeError(f"`matcher` must be a ConditionalFlowMatcher of torchcfm, got {type(matcher).__name__}.")
    sigma = float(matcher.sigma)
    alpha, beta, gamma = "1-t", "t", f"{sigma!r}" if sigma else None
    if isinstance(matcher, theirs.VariancePreservingConditionalFlowMatcher):
        alpha, beta = "cos(pi*t/2)", "sin(pi*t/2)"
    if isinstance(matcher, theirs.SchrodingerBridgeConditionalFlowMatcher):
        gamma = f"{sigma!r}*sqrt(t*(1-t))"
    if isinstance(matcher, theirs.TargetConditionalFlowMatcher):
        alpha, gamma = f"1-{1 - sigma!r}*t", None
    gaussian = not hasattr(matcher, "ot_sampler")
    made = Interpolant.from_expressions(alpha, beta, gamma, name=type(matcher).__name__, gaussian_base=gaussian)
    _compare(made, matcher, target=isinstance(matcher, theirs.TargetConditionalFlowMatcher))
    return made


def coupling(matcher: Any) -> Coupling:
    """How a matcher pairs the samples of a batch: `OptimalTransport()` where its plan is exact, else `Independent()`.

    The exact plan of two batches of one size is a permutation. torchcfm draws pairs of it with replacement, so that
    some are left out and some come twice; ours takes each of them once.

    Raises:
        TypeError: for an object that is no matcher.
        ValueError: for an entropic, partial or unbalanced plan. `couplings.Sinkhorn` is the nearest to the entropic
            one, whose `epsilon` counts in units of the mean cost.
    """
    if not isinstance(matcher, require("torchcfm.conditional_flow_matching", EXTRA).ConditionalFlowMatcher):
        raise TypeError(f"`matcher` must be a ConditionalFlowMatcher of torchcfm, got {type(matcher).__name__}.")
    if not hasattr(matcher, "ot_sampler"):
        return Independent()
    plan = matcher.ot_sampler.ot_fn
    if (name := getattr(plan, "func", plan).__name__) != "emd":
        raise ValueError(
            f"`matcher` must pair by the exact plan or not at all, got {name}; take couplings.Sinkhorn(epsilon), whose "
            f"epsilon is in units of the mean cost."
        )
    return OptimalTransport()


def _compare(I: Interpolant, matcher: Any, *, target: bool) -> None:
    """Refuse a matcher whose states or velocities are not those of the interpolant."""
    t = torch.linspace(0.1, 0.9, 9, dtype=torch.float64)
    x0, x1, noise = torch.randn(3, 9, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = matcher.sample_xt(x0, x1, t, noise)
    base, z = (noise, None) if target else (x0, noise if I.has_latent else None)
    pairs = {
        "path": (x, I(t, base, x1, z)),
        "velocity": (matcher.compute_conditional_flow(x0, x1, t, x), I.velocity(t, base, x1, z)),
    }
    for name, (given, own) in pairs.items():
        if not torch.allclose(given, own, rtol=TOLERANCE, atol=TOLERANCE):
            raise ValueError(
                f"`matcher` must have the {name} of the class of torchcfm that it comes from, got another one in "
                f"{type(matcher).__name__}; build the Interpolant of its coefficients."
            )

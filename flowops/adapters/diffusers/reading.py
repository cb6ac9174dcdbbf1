r"""What a model of diffusers says, read on any schedule: its timestep, its pair of noise and data, its velocity."""

from __future__ import annotations

import copy
import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import torch
from torch import Tensor, nn

from flowops._arguments import number, per_event
from flowops._types import State, Times
from flowops.interpolants import Interpolant, linear
from flowops.interpolants.interpolant import check_interpolant

Model: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""The output at timesteps `[batch]` and states `[batch, *event]`."""

PREDICTIONS: Final = ("epsilon", "sample", "v_prediction")
CONSISTENCY: Final = ("LCMScheduler", "TCDScheduler", "CMStochasticIterativeScheduler")


class Reading(nn.Module):
    r"""The velocity $\dot{\bar\alpha}_s\,\hat x_0+\dot{\bar\beta}_s\,\hat x_1$ on any schedule, of one call of a model.

    A model knows a noise level as a timestep, and its output is linear in the pair $\hat x_0=\mathbb E[x_0\mid x]$
    (noise), $\hat x_1=\mathbb E[x_1\mid x]$ (data). At time $s$ of a schedule $(\bar\alpha,\bar\beta)$ it is asked at
    the timestep where its own $\beta/\alpha$ is $\bar\beta_s/\bar\alpha_s$, and at $y=x/c$ with
    $\bar\alpha_s=c\,\alpha$, $\bar\beta_s=c\,\beta$; the pair there is that of $x$, whatever the scale. Where the
    schedule reaches beyond the model's, the model is asked at its own end; the pair stays finite there, and so does the
    velocity.

    Args:
        own: the schedule of the model, base at time 0.
        last: the timestep of time 0.
        ends: least and greatest angle $\mathrm{atan2}(\beta,\alpha)$ at which the model is asked.
    """

    def __init__(self, own: Interpolant, last: float, ends: tuple[float, float] = (0.0, math.pi / 2)) -> None:
        super().__init__()
        self.own, self.last, self.ends = own, last, ends

    def hold(self, signal: float) -> None:
        r"""Ask the model at no less than $\beta/\alpha$ = `signal`, which one of flow matching has no need of.

        Raises:
            ValueError: for another signal than 0 here.
        """
        if number(signal, "signal"):
            raise ValueError(
                f"`signal` must be 0 for a model of flow matching, which tells the data everywhere, got {signal}; drop "
                f"it."
            )

    @abstractmethod
    def place(self, alpha: Tensor, beta: Tensor) -> tuple[Times, Tensor, Tensor, Tensor]:
        r"""The timestep, the scale $c$, and the model's own $\alpha,\beta$, where the schedule has `alpha`, `beta`."""

    @abstractmethod
    def pair(self, alpha: Tensor, beta: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        r"""$(p,q)$ and $(u,w)$ with $\hat x_0=py+qo$ and $\hat x_1=uy+wo$ for the output $o$ at $y$."""

    def velocity(self, schedule: Interpolant, s: Times, x: State, model: Model) -> State:
        r"""The velocity at $(s,x)$ on a schedule, the shape and dtype of `x`. Cost: one call of `model`."""
        timestep, scale, alpha, beta = self.place(schedule.alpha(s), schedule.beta(s))
        (p, q), (u, w) = self.pair(alpha, beta)
        noise, data = schedule.alpha_dot(s), schedule.beta_dot(s)
        y = (x / per_event(scale, x)).to(x.dtype)
        output = model(timestep, y)
        kept, told = noise * p + data * u, noise * q + data * w
        return (per_event(kept, x) * y + per_event(told, x) * output).to(x.dtype)


class FlowReading(Reading):
    r"""Of a flow-matching model: $o=\hat x_0-\hat x_1$ on the linear schedule at the timestep $N(1-t)$."""

    def __init__(self, steps: int) -> None:
        super().__init__(linear(), float(steps))

    def place(self, alpha: Tensor, beta: Tensor) -> tuple[Times, Tensor, Tensor, Tensor]:
        scale = alpha + beta
        alpha, beta = alpha / scale, beta / scale
        return self.last * alpha, scale, alpha, beta

    def pair(self, alpha: Tensor, beta: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        one = torch.ones_like(alpha)
        return (one, beta), (one, -alpha)


class DiffusionReading(Reading):
    r"""Of a model of $N$ noise levels $\bar\alpha_k$: $\beta_k^2=\bar\alpha_k$, $\alpha_k^2=1-\bar\alpha_k$.

    They are points on the circle $(\cos\theta,\sin\theta)$ at the angles $\theta_k=\arctan(\beta_k/\alpha_k)$, which
    fall in $k$. The schedule goes along the circle at constant speed from $\theta_{N-1}$ at $t=0$ to $\theta_0$ at
    $t=1$, smooth and exact at every $k$. Between them, the timestep is the monotone cubic of Fritsch and Carlson
    through the points $(\theta_k,k)$, which is once differentiable. The angle is $\arctan e^\lambda$ for the logarithm
    $\lambda$ of $\beta/\alpha$, and unlike it finite at a terminal signal of zero.

    Args:
        levels: $\bar\alpha_k$, falling.
        prediction: what the model returns, one of `PREDICTIONS`.
    """

    def __init__(self, levels: Tensor, prediction: str) -> None:
        from scipy.interpolate import PchipInterpolator

        levels = levels.detach().double().cpu()
        angles = torch.atan2(levels.sqrt(), (1 - levels).sqrt()).flip(0)
        low, high = angles[[0, -1]].tolist()
        turn = f"{low!r}+{high - low!r}*t"
        own = Interpolant.from_expressions(f"cos({turn})", f"sin({turn})", name="diffusion model")
        super().__init__(own, float(len(levels) - 1), (low, high))
        self.prediction = prediction
        cubic = PchipInterpolator(angles.numpy(), range(len(levels) - 1, -1, -1))
        self.register_buffer("knots", angles[:-1].clone(), persistent=False)
        self.register_buffer("cubics", torch.from_numpy(cubic.c.T.copy()), persistent=False)
        self.knots: Tensor
        self.cubics: Tensor

    def place(self, alpha: Tensor, beta: Tensor) -> tuple[Times, Tensor, Tensor, Tensor]:
        theta = torch.atan2(beta, alpha).clamp(*self.ends)
        return self.timestep(theta), torch.hypot(alpha, beta), theta.cos(), theta.sin()

    def hold(self, signal: float) -> None:
        r"""Ask the model at no less than $\beta/\alpha$ = `signal`, if its own levels begin below.

        Raises:
            ValueError: if that leaves none of its levels.
        """
        low, high = self.ends
        if not 0 <= number(signal, "signal") < math.tan(high):
            raise ValueError(
                f"`signal` must be at least 0 and below the greatest beta/alpha of the model, {math.tan(high):.4g}, "
                f"got {signal}; pass 0.05, say."
            )
        self.ends = max(low, math.atan(signal)), high

    def timestep(self, theta: Tensor) -> Times:
        r"""$k$ at the angle $\theta$, which lies within the ends."""
        knots, cubics = self.knots.to(theta.dtype), self.cubics.to(theta.dtype)
        piece = (knots <= theta.detach()[..., None]).sum(-1).clamp(min=1) - 1  # vmap knows no searchsorted
        a, b, c, d = cubics[piece].unbind(-1)
        h = theta - knots[piece]
        return ((a * h + b) * h + c) * h + d

    def pair(self, alpha: Tensor, beta: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        zero, one = torch.zeros_like(alpha), torch.ones_like(alpha)
        if self.prediction == "epsilon":
            return (zero, one), (1 / beta, -alpha / beta)
        if self.prediction == "sample":
            return (1 / alpha, -beta / alpha), (zero, one)
        return (alpha, beta), (beta, -alpha)


def reading_of(scheduler: Any) -> Reading:
    r"""How the output of a model is read that was trained with this scheduler of diffusers.

    Flow-matching schedulers say $o=\hat x_0-\hat x_1$ at the timestep $N(1-t)$; their `shift` moves the times at which
    they step, not the model, so it is in `times` and not here. Every scheduler with `alphas_cumprod` says its
    `prediction_type` at whole timesteps. What a scheduler does when it samples (clipping, thresholds, noise, other
    spacings) belongs to the sampler and not to the field, and is left out.

    Raises:
        TypeError: if it is no scheduler.
        ValueError: if it has no velocity that is known: a consistency model's, one without `alphas_cumprod`, an unknown
            prediction, reversed noise levels, or noise predicted where there is no signal.
    """
    config, name = getattr(scheduler, "config", None), type(scheduler).__name__
    if not isinstance(config, Mapping) or not hasattr(scheduler, "set_timesteps"):
        raise TypeError(f"`scheduler` must be a scheduler of diffusers, got {name}; load it with from_pretrained.")
    prediction = config.get("prediction_type")
    if name in CONSISTENCY:
        raise ValueError(
            f"`scheduler` must be that of a velocity, got {name} of a consistency model; pass its teacher."
        )
    if config.get("invert_sigmas"):
        raise ValueError("`scheduler` must have its noise fall, got invert_sigmas=True; pass one without.")
    if name.startswith("FlowMatch") or prediction == "flow_prediction":
        return FlowReading(config["num_train_timesteps"])
    levels = getattr(scheduler, "alphas_cumprod", None)
    if not isinstance(levels, Tensor) or levels.ndim != 1 or len(levels) < 2 or not bool((levels.diff() < 0).all()):
        raise ValueError(
            f"`scheduler` must have falling `alphas_cumprod`, as DDPMScheduler and DDIMScheduler, or match flows, got "
            f"{name}; pass the scheduler of the training."
        )
    if prediction not in PREDICTIONS:
        raise ValueError(
            f"`prediction_type` must be one of {', '.join(PREDICTIONS)}, got {prediction!r} of {name}; pass the "
            f"scheduler of the training."
        )
    if prediction == "epsilon" and not levels[-1] > 0:
        raise ValueError(
            f"`prediction_type` must be sample or v_prediction where the last of `alphas_cumprod` is zero, got epsilon "
            f"of {name}, which says nothing of the data there; pass the scheduler of the training."
        )
    return DiffusionReading(levels, str(prediction))


def times(scheduler: Any, steps: int) -> list[float]:
    r"""The times at which a scheduler steps, rising to 1, on the schedule that its model was trained on.

    For a flow-matching scheduler $1-\sigma_i$ with its `shift`, its last one 1. For the others the angles of its
    timesteps on the model's own schedule, and 1 behind the last.

    Args:
        scheduler: of diffusers; it is not changed.
        steps: how many.

    Raises:
        TypeError, ValueError: as `reading_of`.
    """
    reading, own = reading_of(scheduler), copy.deepcopy(scheduler)
    own.set_timesteps(steps)
    if isinstance(reading, FlowReading):
        found = (1 - own.sigmas.double()).tolist()
    else:
        levels = scheduler.alphas_cumprod.double()[own.timesteps.long()]
        low, high = reading.ends
        angles = torch.atan2(levels.sqrt(), (1 - levels).sqrt())
        found = [*((angles - low) / (high - low)).clamp(0, 1).tolist(), 1.0]
    return [time for time, after in zip(found, [*found[1:], math.inf], strict=True) if time < after]


def check_schedule(schedule: Interpolant) -> Interpolant:
    """The schedule on which velocities are read: two terms, rates finite at both ends.

    Raises:
        TypeError, ValueError: for another one.
    """
    check_interpolant(schedule, "interpolant")
    ends = torch.arange(2, dtype=torch.float64)
    if schedule.has_latent or not bool(
        schedule.alpha_dot(ends).isfinite().all() & schedule.beta_dot(ends).isfinite().all()
    ):
        raise ValueError(
            f"`interpolant` must have two terms with finite rates at both ends for a model of diffusers, got "
            f"{schedule.name}; take linear, or reschedule the field."
        )
    return schedule

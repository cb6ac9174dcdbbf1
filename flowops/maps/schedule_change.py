r"""The change of clock and scale between two interpolants, $\bar I_{t'}=c_{t'}\,I_{\tau(t')}$."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from flowops._arguments import fits, number, per_event, whole
from flowops._derivatives import is_tracked, value_and_jvp
from flowops._types import State, Times
from flowops.interpolants import Interpolant
from flowops.interpolants.interpolant import check_interpolant
from flowops.interpolants.noise_level import increasing_root
from flowops.interpolants.validation import in_float64


class ScheduleChange(nn.Module):
    r"""$\tau(t')$ and $c_{t'}$ with $\bar\alpha_{t'}=c\,\alpha_\tau$, $\bar\beta_{t'}=c\,\beta_\tau$, and their rates.

    $\tau$ solves $\theta(\tau)=\bar\theta(t')$ for the angle $\theta=\mathrm{atan2}(\beta,\alpha)$, which unlike
    $\beta/\alpha$ is finite at both ends;
    $c=\mathrm{hypot}(\bar\alpha,\bar\beta)/\mathrm{hypot}(\alpha,\beta)\circ\tau$. Gradients pass through the root.
    Source: theory of Kingma et al. 2107.00630 §5; Karras et al. 2206.00364.

    Args:
        old: the interpolant that is left.
        new: the interpolant wanted.
        truncate: hold $\tau$ at 0 or 1 where $\bar\theta(t')$ lies outside the angles of `old`; see `defect`.

    Attributes:
        steep: whether $\dot\tau$ is infinite at an end.
        truncated: whether $\tau$ is held anywhere.

    Raises:
        TypeError: if either is no interpolant, or `truncate` is neither True nor False.
        ValueError: if either has a gamma term, the old angle does not increase, or, unless it may be cut, the new
            signal-to-noise range does not lie inside the old one.
    """

    def __init__(self, old: Interpolant, new: Interpolant, truncate: bool = False) -> None:
        super().__init__()
        for name, interpolant in (("old", old), ("new", new)):
            check_interpolant(interpolant, name)
            if interpolant.has_latent:
                raise ValueError(
                    f"`{name}` must have two terms, got one with a gamma term; a schedule change is defined for "
                    f"alpha and beta alone."
                )
        if not fits(bool, truncate):
            raise TypeError(f"`truncate` must be True or False, got {truncate!r}; pass True to hold the clock.")
        self._bounds = _check_ranges(old, new, truncate)
        self.truncated = self._bounds != (-math.inf, math.inf)
        ends = torch.arange(2, dtype=torch.float64)
        self.old, self.new = in_float64(old), in_float64(new)
        self._square_root = not bool(self.old.alpha_dot(ends[1]).isfinite())
        infinite = ~self.tau_dot(ends, ends).isfinite()
        self.steep = bool(infinite.any())
        self._inward = bool((infinite & ~self._turn(ends, ends).isfinite()).any())
        self.old, self.new = old, new

    def tau(self, t: Times) -> Times:
        r"""$\tau(t')$: bisection and Newton on the detached root, then two differentiable Newton steps.

        They are left out where the rate is infinite, or would lead out of the interval: at the start of an old $\beta$
        that grows like a square root, whose angle is so met to $2\cdot10^{-9}$, the square root of the least $\tau$.
        """
        target = angle(self.new, t)
        root = increasing_root(lambda q: angle(self.old, q), lambda q: angle_dot(self.old, q), target.detach())
        if self.truncated:
            root = torch.where(target.detach() < self._bounds[0], 0, root)
            root = torch.where(target.detach() > self._bounds[1], 1, root)
        rate = angle_dot(self.old, root)
        ahead = root - (angle(self.old, root) - target.detach()) / rate
        regular = rate.isfinite() & (rate > 0) & (ahead > -root / 2) & self._inside(t)
        inner = torch.where(regular, root, 0.5)
        target = torch.where(regular, target, angle(self.old, inner).detach())  # elsewhere they stay where they are
        for _ in range(2):
            inner = inner - (angle(self.old, inner) - target) / angle_dot(self.old, inner)
        return torch.where(regular, inner, root)

    def place(self, t: Times) -> tuple[Times, Times]:
        r"""$\tau(t')$ and $c_{t'}$."""
        tau = self.tau(t)
        return tau, self.scale(t, tau)

    def tau_dot(self, t: Times, tau: Times) -> Times:
        r"""$\dot\tau=\dot{\bar\theta}(t')/\dot\theta(\tau)$, 0 where $\tau$ is held.

        Where the old $\alpha$ vanishes like a square root, $\dot\alpha_\tau$ is infinite, and close to it would magnify
        the rounding of $\tau$ without bound. There both rates are multiplied by their $\alpha$, which are matched:
        $\alpha\dot\theta=(\alpha^2\dot\beta-\beta\,\alpha\dot\alpha)/(\alpha^2+\beta^2)$ is finite and not zero.
        """
        if not self._square_root:
            rate = angle_dot(self.new, t) / angle_dot(self.old, tau)
        else:
            c, alpha, beta = self.scale(t, tau), self.new.alpha(t), self.new.beta(t)
            new = alpha.square() * self.new.beta_dot(t) - beta * self.new.alpha_alpha_dot(t)
            old = alpha.square() * self.old.beta_dot(tau) - c * beta * self.old.alpha_alpha_dot(tau)
            rate = new / (c * old)
        return torch.where(self._inside(t), rate, 0) if self.truncated else rate

    def scale(self, t: Times, tau: Times) -> Times:
        r"""$c_{t'}$.

        Where a rate of the old schedule is infinite $\tau$ stands still, if the new rates are finite there. The old
        radius is held with it, which a derivative would pass as zero times infinity.
        """
        if not is_tracked(tau):
            return radius(self.new, t) / radius(self.old, tau)
        held = tau.detach()
        ended = ~(self.old.alpha_dot(held).isfinite() & self.old.beta_dot(held).isfinite())
        still, moving = (radius(self.old, torch.where(own, q, 0.5)) for own, q in ((ended, held), (~ended, tau)))
        return radius(self.new, t) / torch.where(ended, still, moving)

    def along(self, t: Times, tau: Times, slope: Callable[[Times], State]) -> State:
        r"""$\dot\tau\,G(\tau)$ for $G$ = `slope`, with its limit where $\dot\tau$ is infinite.

        There $\tau-\tau_e$ vanishes like a square root at the end $\tau_e$. If $G(\tau_e)=0$, as for every smooth law,
        the limit is $\lim\dot\tau(\tau-\tau_e)\,G'(\tau_e)$; if not, this is the finite part.
        """
        rate = self.tau_dot(t, tau)
        if not self.steep:
            value = slope(tau)
            return per_event(rate, value) * value
        value, change = value_and_jvp(slope, (tau,), (torch.ones_like(tau),))
        ended = ~rate.isfinite()
        here = per_event(rate.masked_fill(ended, 0), value) * value
        return torch.where(per_event(ended, value), per_event(self._turn(t, tau), value) * change, here)

    def regular(self, t: Times) -> Times:
        r"""`t`, moved inward by $\epsilon^{2/3}$ where $\dot\tau$ is infinite and $\alpha\dot\alpha$ is not known.

        That is so for callables whose derivative is infinite at an end. What they give there is met to about
        $\epsilon^{2/3}$ of the second derivative in time; formulas are not moved, see `along`.
        """
        if not self._inward:
            return t
        step = torch.finfo(t.dtype).eps ** (2 / 3)
        tau = self.tau(t)
        known = self.tau_dot(t, tau).isfinite() | self._turn(t, tau).isfinite()
        return torch.where(known.detach(), t, torch.where(t < 0.5, t + step, t - step))

    def defect(self, size: int, second_moment: float) -> tuple[float, float]:
        r"""Bounds on $W_2$ between the laws at the truncated ends and the right ones; 0 where nothing is cut.

        Where $\bar\theta(t')$ is less than the least angle $\theta_0$ of `old`, states are only rescaled, so that at
        $\bar\theta(t^*)=\theta_0$ the law is that of $\bar r(\cos\bar\theta_0\,x_0+\sin\bar\theta_0\,x_1)$ instead of
        $\bar r(\cos\theta_0\,x_0+\sin\theta_0\,x_1)$, $\bar r=\mathrm{hypot}(\bar\alpha,\bar\beta)$ at $t^*$:

        $$W_2^2\le\bar r^2\big((\cos\theta_0-\cos\bar\theta_0)^2\,d+
        (\sin\theta_0-\sin\bar\theta_0)^2\,\mathbb E|x_1|^2\big)$$

        for independent $x_0\sim N(0,I_d)$; likewise at $t'=1$, with the angles there. The distance at $t'=1$ is at most
        the second bound and the Lipschitz constant of $\bar X_{t^*,1}$ times the first.

        Args:
            size: $d$.
            second_moment: $\mathbb E|x_1|^2$.

        Raises:
            TypeError, ValueError: unless `size` is a whole number of at least 1 and `second_moment` not negative.
        """
        whole(size, "size", 1)
        if number(second_moment, "second_moment") < 0:
            raise ValueError(f"`second_moment` must not be negative, got {second_moment}; pass the mean of |x1|^2.")
        ends = torch.arange(2, dtype=torch.float64)
        new = in_float64(self.new)
        angles = angle(new, ends).detach()
        held = angles.clamp(*self._bounds)
        first = increasing_root(lambda q: angle(new, q), lambda q: angle_dot(new, q), held[:1])
        place = torch.cat([torch.where(held[:1] > angles[:1], first, 0), ends[1:]])
        apart = (held.cos() - angles.cos()).square() * size + (held.sin() - angles.sin()).square() * second_moment
        start, end = (radius(new, place).detach() * apart.sqrt()).tolist()
        return start, end

    def _inside(self, t: Times) -> Tensor:
        """Where the angle is one of `old`."""
        target = angle(self.new, t).detach()
        return (target >= self._bounds[0]) & (target <= self._bounds[1])

    def _turn(self, t: Times, tau: Times) -> Times:
        r"""$\lim\dot\tau(\tau-\tau_e)$ at an end where $\bar\alpha$ or $\bar\beta$ vanishes like a square root."""
        late = ~self.new.alpha_dot(t).isfinite()
        square = torch.where(late, self.new.alpha_alpha_dot(t), self.new.beta_beta_dot(t))
        return square / radius(self.new, t).square() / angle_dot(self.old, tau).square()


def angle(I: Interpolant, t: Tensor) -> Tensor:
    r"""$\theta_t=\mathrm{atan2}(\beta_t,\alpha_t)$, increasing from noise to data."""
    return torch.atan2(I.beta(t), I.alpha(t))


def angle_dot(I: Interpolant, t: Tensor) -> Tensor:
    r"""$\dot\theta_t=(\alpha\dot\beta-\beta\dot\alpha)/(\alpha^2+\beta^2)$."""
    alpha, beta = I.alpha(t), I.beta(t)
    return (alpha * I.beta_dot(t) - beta * I.alpha_dot(t)) / (alpha**2 + beta**2)


def radius(I: Interpolant, t: Tensor) -> Tensor:
    r"""$\mathrm{hypot}(\alpha_t,\beta_t)$."""
    return torch.hypot(I.alpha(t), I.beta(t))


def radius_rate(I: Interpolant, t: Tensor) -> Tensor:
    r"""$\tfrac{d}{dt}\log\mathrm{hypot}(\alpha_t,\beta_t)$."""
    return (I.alpha_alpha_dot(t) + I.beta_beta_dot(t)) / (I.alpha(t) ** 2 + I.beta(t) ** 2)


def _check_ranges(old: Interpolant, new: Interpolant, truncate: bool) -> tuple[float, float]:
    """The angles beyond which the clock is held; infinite where nothing is cut."""
    old, new = in_float64(old), in_float64(new)
    t = torch.linspace(0, 1, 257, dtype=torch.float64)
    angles = angle(old, t).detach()
    rising = angles.diff() > 0
    if not rising.all():
        where = t[int((~rising).int().argmax())].item()
        raise ValueError(
            f"`old` must have an increasing signal-to-noise ratio, it does not increase at t = {where:.4g}; run "
            f"old.validate()."
        )
    low, high = angles[[0, -1]].tolist()
    start, end = angle(new, t[[0, -1]]).tolist()
    early, late = start < low - 1e-9, end > high + 1e-9
    if (early or late) and not truncate:
        ratios = [f"{math.tan(a):.4g}" for a in (start, end, low, high)]
        raise ValueError(
            f"`new` must have its signal-to-noise ratios beta/alpha inside those of `old`, got [{ratios[0]}, "
            f"{ratios[1]}] outside [{ratios[2]}, {ratios[3]}]; take an old schedule that reaches further, or pass "
            f"truncate=True to hold the clock there."
        )
    return low if early else -math.inf, high if late else math.inf

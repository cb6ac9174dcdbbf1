r"""The certificate of a map at some states."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from flowops import residuals
from flowops._arguments import check_state, expand_time, expand_times, whole
from flowops._types import State, TimeLike
from flowops.certificates.bounds import lower_bound, remainder, upper_bounds
from flowops.certificates.certificate import Certificate, Profile, ResidualGrid
from flowops.certificates.constant import Constant
from flowops.certificates.course import Course, follow
from flowops.certificates.quadrature import ELEMENTS, rule
from flowops.certificates.representation import check_operators
from flowops.fields import VelocityField
from flowops.maps import FlowMap

_SEEN = 64  # samples of the residuals over (s, t)
_AT_ONCE = 1024  # samples, at most


@torch.no_grad()
def certify(
    X: FlowMap,
    b: VelocityField,
    x: Tensor,
    s: TimeLike = 0.0,
    t: TimeLike = 1.0,
    *,
    times: Sequence[TimeLike] | Tensor | None = None,
    flow: FlowMap | None = None,
    truth: bool = True,
    nodes: int = 16,
    grid: int = 8,
    chunk: int | None = None,
    progress: Callable[[int], object] | None = None,
) -> Certificate:
    r"""How far $\hat X_{s,t}(x)$ is from the flow $X_{s,t}(x)$ of `b`: an estimate, bounds, where the error is made.

    The estimate is that of `tangent_error`, right to first order in the error. Bounds are those of
    `flowops.certificates.bounds`, of the size of the error at `t`. They are proofs as far as their constants are.

    Args:
        X: the map $\hat X$.
        b: the field that it should solve.
        x: states at `s`.
        s: start time.
        t: end time, before or after `s`.
        times: those of a sampler of several steps, from `s` to `t` included; one step if None.
        flow: the flow map of `b` where it is known; solved for if None.
        truth: whether the true path may be solved for. Without it there is no `error`, and the bounds look at the
            field between the learned path and where the estimate puts the true one.
        nodes: of the quadrature on every step, and half as many to tell its error.
        grid: times a side of the residuals over $(s,t)$, at the first 64 samples; 0 for none.
        chunk: samples at once; by default as many as hold $2^{18}$ numbers.
        progress: called with the number of samples that are done.

    >>> from flowops import problems
    >>> problem = problems.logistic(1.5)
    >>> X = FlowMap.from_function(lambda s, t, x: problem.X(s, t, x) + 0.01 * ((t - s) * t)[:, None])
    >>> found = certify(X, problem.b, torch.tensor([[0.2], [0.7]]).double(), flow=problem.X)
    >>> found.effectivity.round(decimals=2)
    tensor([1., 1.], dtype=torch.float64)
    >>> bool((found.bound >= found.error_size).all()), found.rigorous
    (True, True)

    Raises:
        TypeError, ValueError: for operators, states, times or counts that do not fit, and for a map or a field that is
            not finite at the states.

    Cost: a linear solve whose slopes take a call and a forward-mode pass of `X` and of `b`, a solve for the truth, and
    on every step $1.5$ `nodes` residuals and five times as many Jacobians of `b`. Source: 2406.07507, 2505.18825;
    Dahlquist 1959. Checked by `theory_checks/test_error_bounds_of_a_certificate.py`.
    """
    grid_of_times = checked_times(X, b, x, s, t, times)
    whole(grid, "grid", 0)
    if flow is not None and not truth:
        raise ValueError("`flow` must be left out where `truth` is False, since it is the truth; drop one of the two.")
    Y = (b.flow_map() if flow is None else flow) if truth else None
    size = at_once(x) if chunk is None else whole(chunk, "chunk")
    parts, done = [], 0
    for own in torch.arange(len(x), device=x.device).split(size):
        flows = None if Y is None else Y.subset(own)
        parts.append(follow(X.subset(own), b.subset(own), grid_of_times[:, own], x[own], flows, nodes))
        done += len(own)
        if progress is not None:
            progress(done)
    seen = torch.arange(min(len(x), _SEEN), device=x.device)
    over = residual_grid(X.subset(seen), b.subset(seen), grid_of_times[:, seen], x[seen], grid) if grid else None
    return _certificate(Course.joined(parts), grid_of_times, x, over)


def checked_times(
    X: FlowMap, b: VelocityField, x: Tensor, s: TimeLike, t: TimeLike, times: Sequence[TimeLike] | Tensor | None
) -> Tensor:
    """The times of the sampler, `[k + 1, n]`; what does not fit is refused."""
    check_operators(X, b)
    check_state(x)
    if not len(x):
        raise ValueError("`x` must hold at least one state, got none; pass [n, *event].")
    if times is not None and len(times) < 2:
        raise ValueError(f"`times` must hold at least two times, got {len(times)}; pass [s, ..., t].")
    s, t = expand_times(s, t, x)
    found = torch.stack([s, t] if times is None else [expand_time(u, x, "times").to(s.dtype) for u in times])
    if times is not None and not (len(found) > 1 and bool((found[0] == s).all() and (found[-1] == t).all())):
        raise ValueError("`times` must go from `s` to `t`, both included; pass [s, ..., t].")
    if not bool((found.diff(dim=0) * (t - s) >= 0).all()):
        raise ValueError("`times` must not turn back on the way from `s` to `t`; sort them.")
    for own in torch.arange(len(x), device=x.device).split(at_once(x)):
        _finite("X", lambda own=own: X.subset(own)(s[own], t[own], x[own]), x, own)  # type: ignore[misc]
        _finite("b", lambda own=own: b.subset(own)(s[own], x[own]), x, own)  # type: ignore[misc]
    return found


def sampler_times(X: FlowMap, b: VelocityField, x: Tensor, times: Sequence[TimeLike] | Tensor) -> Tensor:
    """As `checked_times`, from the first of the times to the last."""
    ends = (times[0], times[-1]) if len(times) else (0.0, 1.0)
    return checked_times(X, b, x, *ends, times)


def at_once(x: State) -> int:
    """How many samples are looked at together."""
    return max(1, min(_AT_ONCE, ELEMENTS // max(1, x[:1].numel())))


def _finite(name: str, call: Callable[[], Tensor], x: State, own: Tensor) -> None:
    """Refuse an operator that fails at some of the states, or is not finite there."""
    try:
        value = call()
    except RuntimeError as error:
        said = str(error).strip().splitlines()[0]
        raise ValueError(
            f"`{name}` must take states {x.dtype} of shape {list(x.shape)}, it failed ({said}); check dtype and shapes."
        ) from error
    wrong = ~value.isfinite().reshape(len(own), -1).all(1)
    if bool(wrong.any()):
        first = int(own[wrong][0])
        raise ValueError(
            f"`{name}` must be finite at the states, it is not at {int(wrong.sum())} of {len(own)}, the first of them "
            f"number {first}; leave them out or look at {name} there."
        )


def residual_grid(X: FlowMap, b: VelocityField, times: Tensor, x: State, count: int) -> ResidualGrid:
    r"""The residuals of $\hat X_{\tau_i,\tau_j}$ at the states $\hat X_{s,\tau_i}(x)$, over a grid of `count` times.

    Cost: `count` squared residuals of either kind of every sample.
    """
    s, t = times[0], times[-1]
    shares = torch.linspace(0, 1, count, dtype=s.dtype, device=s.device)
    first, last = torch.triu_indices(count, count, device=s.device)
    tau = torch.lerp(s, t, shares[:, None])

    def both(pairs: Tensor) -> Tensor:
        own, i, j = pairs % len(x), first[pairs // len(x)], last[pairs // len(x)]
        start, end = tau[i, own], tau[j, own]
        map_, field = X.subset(own), b.subset(own)
        y = map_(s[own], start, x[own])
        return torch.stack(
            [residuals.lagrangian(map_, field, start, end, y), residuals.eulerian(map_, field, start, end, y)], 1
        )

    pairs = torch.arange(len(first) * len(x), device=x.device)
    sizes = [
        both(some).double().reshape(len(some), 2, -1).square().mean(2)
        for some in pairs.split(max(1, ELEMENTS // max(1, x[0].numel())))
    ]
    squares = torch.cat(sizes).reshape(len(first), len(x), 2).mean(1).sqrt()
    found = squares.new_full((2, count, count), torch.nan)
    found[:, first, last] = squares.mT
    return ResidualGrid(tau[:, 0], found[0], found[1])


def _certificate(course: Course, times: Tensor, x: State, grid: ResidualGrid | None) -> Certificate:
    """What a course amounts to."""
    bounds, along = upper_bounds(course)
    dtype = x.dtype
    nodes = course.nodes
    profile = Profile(
        course.times[:, :nodes].flatten(0, 1),
        course.residual[:, :nodes].flatten(0, 1).to(dtype),
        course.estimate.flatten(0, 1).to(dtype),
        along.to(dtype),
        None if course.off is None else course.off.flatten(0, 1).to(dtype),
    )
    return Certificate(
        times[0],
        times[-1],
        course.steps.sum(0),
        remainder(course).to(dtype),
        bounds["logarithmic norm"].to(dtype),
        {name: value.to(dtype) for name, value in bounds.items()},
        lower_bound(course).to(dtype),
        course.error,
        course.steps,
        _constants(course),
        profile,
        grid,
    )


def _constants(course: Course) -> tuple[Constant, ...]:
    _, weights, _ = rule(course.nodes, course.length)
    rates = course.rates
    grown = (course.length * torch.einsum("m,kmn->kn", weights, rates.growth[:, : course.nodes])).sum(0)
    found = {
        "integral of the logarithmic norm": grown,
        "one-sided Lipschitz constant": rates.growth,
        "Lipschitz constant": rates.norm,
    }
    return tuple(Constant(name, float(value.max()), course.status, course.how) for name, value in found.items())

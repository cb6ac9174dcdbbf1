r"""A point that a flow map carries to a given one, where the map is not its own inverse."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from flowops._arguments import check_state, expand_time, number, per_event, whole
from flowops._derivatives import inside_vmap, is_tracked
from flowops._types import PerSample, State, TimeLike, Times
from flowops.fields.divergence import inner
from flowops.fields.strain import matrices
from flowops.maps.flow_map import FlowMap, grid_of

_METHODS = ("newton", "fixed-point")
_HALVINGS = 8
_ORDER = 2  # derivatives are right up to this one


def preimage(
    X: FlowMap,
    times: Sequence[TimeLike] | Tensor,
    y: Tensor,
    *,
    method: str = "newton",
    tolerance: float | None = None,
    iterations: int = 50,
    on_failure: str = "raise",
) -> State:
    r"""A state $x$ with $X_{t_{k-1},t_k}\circ\dots\circ X_{t_0,t_1}(x)=y$, step by step from the last.

    A learned map is its own inverse only as far as $X_{t,s}\circ X_{s,t}=\mathrm{id}$ was learned. The search starts at
    $X_{t,s}(y)$ or $y$; a step that does not bring $X_{s,t}(x)$ nearer to $y$ is halved. A map that folds has several
    preimages of some points, of which this is one, and none of others.

    Args:
        X: the map.
        times: the grid along which $y$ was reached.
        y: states at the last of the times.
        method: `"newton"`, for small events, or `"fixed-point"`, $x\leftarrow x-(X_{s,t}(x)-y)$, for large ones: it
            converges where $\|\nabla X_{s,t}-I\|<1$, hence for short steps.
        tolerance: of the root mean square of $X_{s,t}(x)-y$, relative to $1+$ that of $y$; $\epsilon^{0.7}$ if not
            given.
        iterations: at most as many, for every step of the grid.
        on_failure: `"raise"`, or `"nan"` for samples of which no preimage is found.

    >>> X = FlowMap.from_function(lambda s, t, x: x + (t - s)[:, None] * torch.sin(x) / 2)
    >>> x = torch.tensor([[0.5, 2.0]]).double()
    >>> y = X(0.0, 1.0, x)
    >>> X(1.0, 0.0, y), preimage(X, [0.0, 1.0], y)
    (tensor([[0.4027, 2.1376]], dtype=torch.float64), tensor([[0.5000, 2.0000]], dtype=torch.float64))

    Raises:
        ValueError: for an option that is none, and for samples of which no preimage is found.
        TypeError: if a derivative through `"fixed-point"` is wanted; one through `"newton"` is right to second order.

    Cost: three calls, then a Jacobian and at least one call an iteration for the samples that are not there yet; one
    call by `"fixed-point"`. Checked by `theory_checks/test_likelihood_of_a_map.py`.
    """
    check_state(y, "y")
    if method not in _METHODS:
        raise ValueError(f'`method` must be "newton" or "fixed-point", got {method!r}; pass one of the two.')
    if on_failure not in ("raise", "nan"):
        raise ValueError(f'`on_failure` must be "raise" or "nan", got {on_failure!r}; pass one of the two.')
    if inside_vmap(y):
        raise RuntimeError("A search looks at its errors, so it works in no `vmap`; make the axis a part of the batch.")
    least = torch.finfo(y.dtype).eps ** 0.7 if tolerance is None else number(tolerance, "tolerance")
    grid = [expand_time(t, y, "times") for t in grid_of(times)]
    for s, t in zip(grid[-2::-1], grid[:0:-1], strict=True):
        y = _Search(X, s, t, y, method, least, whole(iterations, "iterations", 1)).found(on_failure)
    return y


class _Search:
    """The search for one step of the grid."""

    def __init__(self, X: FlowMap, s: Times, t: Times, y: State, method: str, least: float, iterations: int) -> None:
        self.X, self.s, self.t, self.y, self.method, self.iterations = X, s, t, y, method, iterations
        self.least = least * (1 + _size(y.detach()))

    def found(self, on_failure: str) -> State:
        """The preimages, with their derivatives."""
        x, error = self._search()
        lost = ~(error <= self.least)
        if bool(lost.any()) and on_failure == "raise":
            first = int(lost.nonzero()[0, 0])
            raise ValueError(
                f"`y` must be in the image of the map, and no preimage of {int(lost.sum())} of {len(lost)} samples was "
                f"found: sample {first} stopped {error[first]:.2g} from it; take shorter steps, more iterations, or "
                f"pass on_failure='nan'."
            )
        return torch.where(per_event(lost, x), torch.nan, self._tracked(x))

    @torch.no_grad()
    def _search(self) -> tuple[State, PerSample]:
        """The preimages and how far from `y` their images are."""
        s, t, y = self.s.detach(), self.t.detach(), self.y.detach()
        x, left = y.clone(), self.X(s, t, y) - y
        back = self.X(t, s, y)
        off = self.X(s, t, back) - y
        nearer = _size(off) < _size(left).nan_to_num(nan=torch.inf)
        x[nearer], left[nearer] = back[nearer], off[nearer]
        error = _size(left)
        for _ in range(self.iterations):
            rows = (~(error <= self.least)).nonzero()[:, 0]
            if not len(rows):
                break
            X, at, start, best = self.X.subset(rows), (s[rows], t[rows]), x[rows], error[rows]
            step, share = self._step(X, *at, start, left[rows]), torch.ones_like(best)
            for _ in range(_HALVINGS):
                trial = start - per_event(share, start) * step
                off = X(*at, trial) - y[rows]
                better = _size(off) < best
                if bool(better.all()):
                    break
                share = torch.where(better, share, share / 2)
            nearer = rows[better]
            x[nearer], left[nearer], error[nearer] = trial[better], off[better], _size(off)[better]
        return x, error

    def _step(self, X: FlowMap, s: Times, t: Times, x: State, left: State) -> State:
        """What is taken from `x`."""
        if self.method == "fixed-point":
            return left
        return _solved(matrices(X.jacobian(s, t, x), x), left)

    def _tracked(self, x: State) -> State:
        """The same state; each step of Newton that leaves it where it is gives it derivatives of one order more."""
        left = self.X(self.s, self.t, x) - self.y
        if not is_tracked(left):
            return x
        if self.method == "fixed-point":
            raise TypeError(
                "`method` must be 'newton' for a derivative of the preimage, got 'fixed-point'; call it under no_grad."
            )
        J = matrices(self.X.jacobian(self.s, self.t, x), x).detach()
        for _ in range(_ORDER):
            x = x - _solved(J, left)
            left = self.X(self.s, self.t, x) - self.y
        return x


def _solved(J: Tensor, left: State) -> State:
    """$J^{-1}$ `left`; not finite where $J$ is singular."""
    return torch.linalg.solve_ex(J, left.reshape(*J.shape[:2], 1))[0].reshape(left.shape)


def _size(x: Tensor) -> PerSample:
    """Root mean square of the entries of each sample, `[batch]`."""
    return (inner(x, x) / max(x.shape[1:].numel(), 1)).sqrt()

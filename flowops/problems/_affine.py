r"""Flow maps that are affine in the state: their derivative in $x$ is a linear map that does not depend on $x$."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from flowops._arguments import check_like
from flowops._derivatives import push_basis
from flowops._types import Jacobian, State, TimeLike, Times
from flowops.maps import FlowMap


class AffineMap(FlowMap):
    r"""$X_{s,t}(x)=L_{s,t}x+c_{s,t}$; a subclass supplies `forward` and `_linear`.

    The derivatives in time stay those of `FlowMap`, taken from `forward` itself and not from the field, so that
    checking the Lagrangian equation on such a map is a check.
    """

    @abstractmethod
    def _linear(self, s: Times, t: Times, u: Tensor) -> Tensor:
        r"""$L_{s,t}u$, in the dtype of the times or the state, whichever is wider."""

    def jvp(self, s: TimeLike, t: TimeLike, x: Tensor, u: Tensor) -> State:
        r"""$\nabla X_{s,t}(x)\,u=L_{s,t}u$. Cost: as one call, without differentiation."""
        s, t = self._operands(s, t, x)
        check_like(u, x, "u")
        return self._linear(s, t, u).to(x.dtype)

    def jacobian(self, s: TimeLike, t: TimeLike, x: Tensor) -> Jacobian:
        r"""$\nabla X_{s,t}(x)=L_{s,t}$, `[batch, *event, *event]`."""
        s, t = self._operands(s, t, x)
        return push_basis(lambda e: self._linear(s, t, e), x).to(x.dtype)

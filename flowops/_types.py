"""The tensor shapes of flowops, named once.

`State` is a batch of states, `Times` one time per sample (what every `forward` receives), `PerSample` one number per
sample, `Jacobian` one matrix per sample. `TimeLike` is what a caller may pass as a time. The shapes are jaxtyping
annotations; they are checked at run time by the test suite only, so jaxtyping is not needed to use the library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from torch import Tensor

if TYPE_CHECKING:
    State: TypeAlias = Tensor
    Times: TypeAlias = Tensor
    PerSample: TypeAlias = Tensor
    Jacobian: TypeAlias = Tensor
else:
    try:
        from jaxtyping import Float
    except ImportError:  # jaxtyping belongs to the `test` extra
        State = Times = PerSample = Jacobian = Tensor
    else:
        State = Float[Tensor, "batch *event"]
        Times = Float[Tensor, "batch"]
        PerSample = Float[Tensor, "batch"]
        Jacobian = Float[Tensor, "batch *columns"]

TimeLike: TypeAlias = float | int | Tensor

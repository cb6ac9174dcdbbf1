r"""Rosenbrock-Wanner methods, linearly implicit ones for stiff equations, with their coefficients as exact fractions.

With $W=I-\gamma hJ$ and $J=\partial_yf(\tau,y)$, a step from $y$ solves
$$W u_i=\gamma\Bigl(h f\bigl(\tau+c_ih,\,y+\sum_ja_{ij}u_j\bigr)+\sum_jg_{ij}u_j+d_ih^2\,\partial_\tau f(\tau,y)\Bigr)$$
for one $u_i$ after the other. The last row of `a` are the weights of its end, whose slope starts the next step.
Source: Hairer, Wanner, Solving ODEs II, §IV.7.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import torch
from torch import Tensor

from flowops._solvers.tableaus import Adaptive, Row, row_of, rows_of


@dataclass(frozen=True)
class Weights:
    """The numbers of a method as tensors of one dtype and device.

    Attributes:
        c: times of the stages and of the end, `[stages + 1, 1]`.
        rows: rows `i` of `a` and of `gamma g`, `[2, i]`; for the end that of `a` and the weights of the error.
        gamma: the diagonal.
        drift: factors of the derivative in time.
    """

    c: Tensor
    rows: tuple[Tensor, ...]
    gamma: float
    drift: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Rosenbrock(Adaptive):
    """A linearly implicit method.

    Attributes:
        gamma: the diagonal.
        a: weights of the stages, row `i` holds `i` entries; the last row are the weights of the end.
        g: weights of the stages in the equations, row `i` holds `i` entries.
        c: times of the stages; that of the end is 1.
        drift: factors of the derivative in time.
        errors: weights of the error estimate.
    """

    gamma: Fraction
    a: tuple[Row, ...]
    g: tuple[Row, ...]
    c: Row
    drift: Row
    errors: Row

    boundary = math.inf
    """The whole negative real axis is stable."""

    @property
    def stages(self) -> int:
        """How many linear equations a step solves."""
        return len(self.g)

    def weights(self, like: Tensor) -> Weights:
        """The numbers in the dtype and on the device of a tensor."""
        return _weights(self.name, like.dtype, like.device)


@lru_cache
def _weights(name: str, dtype: torch.dtype, device: torch.device) -> Weights:
    method = ROSENBROCK[name]
    scaled = [tuple(method.gamma * w for w in row) for row in method.g]
    pairs = zip(method.a, (*scaled, method.errors), strict=True)
    with torch.inference_mode(False):
        rows = [torch.tensor([[float(w) for w in row] for row in pair], dtype=dtype, device=device) for pair in pairs]
        c = torch.tensor([[float(w)] for w in (*method.c, 1)], dtype=dtype, device=device)
    return Weights(c, tuple(rows), float(method.gamma), tuple(map(float, method.drift)))


_LAST = "-7.502846399306121 2.561846144803919 -11.627539656261098 -0.18268767659942256 0.030198172008377946"

ROSENBROCK = {
    method.name: method
    for method in (
        # Steinebach 2023, BIT 63:27: L-stable; the last two stages lie at the end, their arguments add up to it.
        Rosenbrock(
            name="rodas5p",
            order=5,
            rate=5,
            gamma=Fraction("0.21193756319429014"),
            a=rows_of(
                "3",
                "2.849394379747939 0.45842242204463923",
                "-6.954028509809101 2.489845061869568 -10.358996098473584",
                "2.8029986275628964 0.5072464736228206 -0.3988312541770524 -0.04721187230404641",
                _LAST,
                f"{_LAST} 1",
                f"{_LAST} 1 1",
                f"{_LAST} 1 1 1",
            ),
            g=rows_of(
                "-14.155112264123755",
                "-17.97296035885952 -2.859693295451294",
                "147.12150275711716 -1.41221402718213 71.68940251302358",
                "165.43517024871676 -0.4592823456491126 42.90938336958603 -5.961986721573306",
                "24.854864614690072 -3.0009227002832186 47.4931110020768 5.5814197821558125 -0.6610691825249471",
                "30.91273214028599 -3.1208243349937974 77.79954646070892 34.28646028294783 -19.097331116725623 "
                "-28.087943162872662",
                "37.80277123390563 -3.2571969029072276 112.26918849496327 66.9347231244047 -40.06618937091002 "
                "-54.66780262877968 -9.48861652309627",
            ),
            c=row_of("0 0.6358126895828704 0.4095798393397535 0.9769306725060716 0.4288403609558664 1 1 1"),
            drift=row_of(
                "0.21193756319429014 -0.42387512638858027 -0.3384627126235924 1.8046452872882734 2.325825639765069 "
                "0 0 0"
            ),
            errors=row_of("0 0 0 0 0 0 0 1"),
        ),
    )
}

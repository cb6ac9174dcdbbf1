"""Standard normal to the uniform law on the dark squares of a board: field, score and density in closed form."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flowops._arguments import whole
from flowops.interpolants import Interpolant
from flowops.problems._marginal import MarginalField, Posterior, check_interpolant
from flowops.problems._truncated_normal import cut_normal
from flowops.problems.problem import Problem, standard_normal


def checkerboard(interpolant: Interpolant, squares: int = 4) -> Problem[CheckerboardField, None]:
    r"""$x_0\sim N(0,I)$ to $x_1$ uniform on the dark squares of a board over $[-1,1]^2$, no closed-form $X$.

    The board has `squares` × `squares` squares of side 2 / `squares`; square $(i,j)$, counted from the corner
    $(-1,-1)$, is dark if $i+j$ is even.

    Args:
        interpolant: from a Gaussian base, with or without a latent.
        squares: squares per side, an even number.

    Raises:
        TypeError: if `interpolant` is none.
        ValueError: if `squares` is not a positive even number.

    Source: 2505.18825 §G.1 (the target of its two-dimensional experiment).
    """
    check_interpolant(interpolant)
    if whole(squares, "squares", 2) % 2:
        raise ValueError(f"`squares` must be an even number of squares per side, at least 2, got {squares!r}.")
    b, event = CheckerboardField(interpolant, squares), torch.Size([2])
    return Problem(
        "checkerboard",
        b,
        None,
        interpolant,
        event,
        base=standard_normal(event),
        data=b.draw,
    )


class CheckerboardField(MarginalField):
    r"""The field of the uniform law on the dark squares.

    Given the square, the coordinates of $x_1$ are independent normal laws cut to intervals, so masses and means are
    those of $2n$ intervals; the responsibilities of the $n^2/2$ squares are products of masses, formed in logarithms.
    """

    def __init__(self, interpolant: Interpolant, squares: int) -> None:
        super().__init__(interpolant, torch.Size([2]))
        self.half_width = 1 / squares
        column, row = torch.meshgrid(torch.arange(squares), torch.arange(squares), indexing="ij")
        dark = (column + row) % 2 == 0
        self.register_buffer("centers", (2 * torch.arange(squares, dtype=torch.float64) + 1) / squares - 1)
        self.register_buffer("columns", column[dark])
        self.register_buffer("rows", row[dark])
        self.centers: Tensor
        self.columns: Tensor
        self.rows: Tensor

    def draw(self, n: int, generator: torch.Generator | None, dtype: torch.dtype, device: torch.device) -> Tensor:
        """`n` draws of the uniform law, `[n, 2]`."""
        k = torch.randint(len(self.columns), (n,), generator=generator, device=device)
        corners = torch.stack([self.centers[self.columns], self.centers[self.rows]], 1) - self.half_width
        inside = torch.rand((n, 2), generator=generator, dtype=dtype, device=device)
        return corners.to(device, dtype)[k] + 2 * self.half_width * inside

    def _posterior(self, beta: Tensor, sigma: Tensor, y: Tensor) -> Posterior:
        cut = cut_normal(y[:, None], beta, sigma, self.centers.to(y.dtype)[:, None], self.half_width)
        logits = self._pairs(cut.log_mass)
        logits = logits[0] + logits[1]
        r = torch.softmax(logits, 0)
        noise, data = -(r * self._pairs(cut.mean)).sum(1), (r * self._pairs(cut.position)).sum(1)
        return Posterior(noise, data, torch.logsumexp(logits, 0) - math.log(2))

    def _pairs(self, values: Tensor) -> Tensor:
        """What belongs to the intervals, `[2, n, batch]`, spread over the dark squares, `[2, n*n/2, batch]`."""
        return torch.stack([values[0][self.columns], values[1][self.rows]])

"""Whether a method teaches a map to go back in time, by the laws of the times at which it looks."""

from __future__ import annotations

import torch

from flowops.interpolants import Interpolant
from flowops.methods.draw import law_of
from flowops.methods.method import Method
from flowops.methods.rows.matching import direct
from flowops.times import as_drawn

_PAIRS = 4096  # of which a law that goes back now and then has one


def goes_back(method: Method, interpolant: Interpolant | None = None) -> bool:
    r"""Whether some term sees $X_{s,t}$ with $s>t$, at the end of the training.

    A map that has never seen such times is defined there by its network alone, and $X_{t,s}$ is not the inverse of
    $X_{s,t}$. Laws are asked for pairs, not read: `law=FullSquare()` goes back, sorted pairs do not. Flow map matching
    (`fmm`) compares $X_{s,t}(X_{t,s}(I_t))$ with $I_t$, and goes back under every law off the diagonal.

    Args:
        method: the row with its options.
        interpolant: the schedule, for laws in noise levels; on the CPU.

    Raises:
        ValueError: for a law in noise levels without a schedule.
    """
    source, last = torch.Generator().manual_seed(0), method.terms[-1]
    for term in method.terms:
        s, t = law_of(term, last, method.options)(_PAIRS, interpolant=interpolant, generator=source)
        if term.middle is not as_drawn:
            s, _, t = term.middle(s, t, 0.5)
        if bool((s > t).any()) or (term.residual is direct and bool((s != t).any())):
            return True
    return False

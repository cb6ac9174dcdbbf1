r"""The average of the map that a row asks for itself, whose decay may follow the row's curriculum."""

from __future__ import annotations

from collections.abc import Callable

from flowops.methods.method import Method
from flowops.times import Ladder


def decay_of(method: Method) -> Callable[[int], float] | None:
    r"""$k\mapsto\mu^{N(0)/N(k)}$, the decay at step $k$ of the average of a row's own; None for that of the run.

    $\mu$ is the option `decay` and $N(k)$ the number of rungs of the law of the times where that is a `Ladder`; under
    another law the decay is $\mu$. After step $k$, counted from 0, the average is
    $\mu_k\bar\theta+(1-\mu_k)\theta_{k+1}$.

    >>> from flowops.methods import get_method
    >>> decay = decay_of(get_method("ct", paper=True))
    >>> [round(decay(k), 4) for k in (0, 10_000, 800_000)]
    [0.9, 0.9877, 0.9986]

    Source: Song et al. 2303.01469, App. C, $\mu(k)=\exp(s_0\log\mu_0/N(k))$: $N(0)=s_0$.
    """
    o = method.options
    if not o.ema_teacher or o.decay is None:
        return None
    law = o.law or method.terms[-1].law

    def decay(step: int) -> float:
        growth = law.count(0) / law.count(step) if isinstance(law, Ladder) else 1.0
        return float(o.decay) ** growth

    return decay

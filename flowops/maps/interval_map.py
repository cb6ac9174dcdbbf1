r"""A flow that is another one in an interval of times: three parts, put together."""

from __future__ import annotations

import torch
from torch import Tensor

from flowops._arguments import number, per_event
from flowops._types import State, Times
from flowops.maps.flow_map import FlowMap


class IntervalMap(FlowMap):
    r"""The flow of the field that is $b^1_t$ for $l\le t\le h$ and $b_t$ at the other times, from the flows of both.

    $X_{s,t}=X_{h,t}\circ X^1_{l,h}\circ X_{s,l}$ for $s\le l$ and $h\le t$, with the parts of the interval between $s$
    and $t$ in general, and in the other order for $t<s$. Guidance in an interval of a map that knows the guided flow
    for all times is one.

    Args:
        inside: $X^1$.
        outside: $X$.
        interval: $(l,h)$.

    >>> outside = FlowMap.from_function(lambda s, t, x: x)
    >>> X = IntervalMap(FlowMap.from_function(lambda s, t, x: x + (t - s)[:, None]), outside, (0.25, 0.5))
    >>> X(0.0, 1.0, torch.zeros(1, 1))  # it moves for a quarter of the time
    tensor([[0.2500]])

    Raises:
        ValueError: unless the interval increases.

    Cost: two calls of `outside` and one of `inside`. Source: Kynkäänniemi et al. 2404.07724. Checked by
    `theory_checks/test_guidance_in_an_interval_is_a_flow_in_three_parts.py`.
    """

    def __init__(self, inside: FlowMap, outside: FlowMap, interval: tuple[float, float]) -> None:
        super().__init__()
        if number(interval[0], "interval") >= number(interval[1], "interval"):
            raise ValueError(f"`interval` must be two increasing times, got {interval}; pass (0.1, 0.9), say.")
        self.before, self.inside, self.after, self.interval = outside, inside, outside, interval

    def forward(self, s: Times, t: Times, x: State) -> State:
        forward = s <= t

        def met(first: float, second: float) -> Tensor:
            """Where samples that go forward meet the one end and others the other one, else where they start or end."""
            end = torch.where(forward, torch.full_like(s, first), torch.full_like(s, second))
            passed, ahead = torch.where(forward, end <= s, end >= s), torch.where(forward, end < t, end > t)
            return torch.where(passed, s, torch.where(ahead, end, t))

        low, high = self.interval
        entered, left = met(low, high), met(high, low)
        return self.after(left, t, self.inside(entered, left, self.before(s, entered, x)))

    def _diagonal(self, t: Times, x: State) -> State:
        low, high = self.interval
        guided, plain = self.inside.velocity()(t, x), self.after.velocity()(t, x)
        return torch.where(per_event((t >= low) & (t <= high), x), guided, plain)

r"""What holds of a learned map exactly, and how far it is from what does not."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from flowops.checks.draws import draw, tolerance_of
from flowops.checks.examination import examine
from flowops.checks.flow_map import Subject, statements
from flowops.checks.report import Report
from flowops.fields import VelocityField
from flowops.maps import FlowMap

SIZES = ("Lagrangian", "Eulerian", "Semigroup", "Inverse", "Liouville")
"""What no training makes exact."""


def check_learned_map(
    X: FlowMap,
    x: Tensor,
    b: VelocityField | None = None,
    *,
    horizon: tuple[float, float] = (0.0, 1.0),
    tolerance: float | None = None,
    n: int | None = None,
    seconds: float = 40.0,
    seed: int = 0,
    name: str = "the learned map",
) -> Report:
    r"""What a parameterization promises, which holds or fails, and the equations of a flow, each as a size.

    Samples that do not interact, digits, identity, tangent, average velocity, forward mode and derivative rules are
    exact for any weights. Lagrangian, Eulerian, semigroup, inverse and Liouville's formula are measured against the
    map's own field $v_{t,t}$: the root mean square of the difference of the sides over that of the larger one, at
    states $x_s=X_{0,s}(x_0)$ that the map itself visits.

    Args:
        X: the map.
        x: states at the start of the horizon, `[n, *event]`.
        b: its own field; that of its diagonal if None.
        horizon: the first and the last time.
        tolerance: what counts as zero where something is exact; 1e-9 in float64, 4e-4 in float32.
        n: number of samples; 24, or 8 of states of more than 64 numbers.
        seconds: of processor time; a statement that is not decided by then stays so.
        seed: of times and directions.
        name: of the map in the report.

    Raises:
        ValueError: for a horizon, states or a tolerance that are none.

    >>> from flowops import problems
    >>> b = problems.rotation(2.0).b
    >>> euler = FlowMap.from_function(lambda s, t, x: x + (t - s)[:, None] * b(s, x))
    >>> report = check_learned_map(euler, problems.rotation(2.0).sample_base(24))
    >>> report.holds, [verdict.name for verdict in report.verdicts if verdict.outcome == "measured"][:3]
    (True, ['Lagrangian', 'Eulerian', 'Semigroup'])

    Cost: that of `check_flow_map`. Source: 2505.18825, Lemma 2.1, Prop. 2.2.
    """
    draws = draw([X], horizon, x, (), n, seed)
    draws = replace(draws, x=X(draws.horizon[0], draws.s, draws.x).detach())
    limit = tolerance_of(tolerance, draws.x)
    told = [
        replace(one, measured=one.text.partition(":")[0] in SIZES)
        for one in statements(Subject(X, X.velocity() if b is None else b, draws, limit))
    ]
    d = draws.first(2)
    return examine(name, told, limit, seconds, lambda: X(d.s, d.t, d.x))

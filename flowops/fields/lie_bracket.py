r"""The Lie bracket of two fields."""

from __future__ import annotations

from flowops._types import State, Times
from flowops.fields.velocity_field import VelocityField, check_velocity_field


def lie_bracket(a: VelocityField, b: VelocityField) -> VelocityField:
    r"""$[a,b]_t(x)=\nabla b_t(x)\,a_t(x)-\nabla a_t(x)\,b_t(x)$, both fields at one time.

    At a fixed time the flows of $a$ and $b$ commute if and only if it vanishes, and following $a$, $b$, $-a$, $-b$ for
    a time $h$ each ends at $x+h^2[a,b]+O(h^3)$. For $a=Ax,\ b=Bx$ it is $(BA-AB)x$.

    Raises:
        TypeError: for anything but fields.

    Cost: one forward-mode pass and one call of each. Source: Hairer, Lubich, Wanner, Geometric Numerical Integration,
    §III.5. Checked by `theory_checks/test_lie_bracket.py`.
    """
    check_velocity_field(a, "a")
    check_velocity_field(b)
    return LieBracket(a, b)


class LieBracket(VelocityField):
    """The field of `lie_bracket`."""

    def __init__(self, a: VelocityField, b: VelocityField) -> None:
        super().__init__()
        self.a, self.b = a, b

    def forward(self, t: Times, x: State) -> State:
        return self.b.jvp(t, x, self.a(t, x)) - self.a.jvp(t, x, self.b(t, x))

r"""What the columns of a row say of each of its terms at the exact flow map.

An `Aspect` is one term of a row with one kind of teacher. Its velocity source says whether it vanishes at the exact map
(a teacher's or the map's own velocity) or only in expectation (the conditional velocity); its `middle` and its solver
say whether it takes a finite step. What the columns cannot say stands in the small tables below.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from flowops.methods import CONDITIONAL, METHODS, OWN, TEACHER, Method, Row, Term, compared
from flowops.methods.point import TEACHER_OR_CONDITIONAL, TEACHER_OR_OWN
from flowops.methods.rows.anchored import anchor, until
from flowops.methods.rows.joint import joint_tangent
from flowops.methods.rows.mean_velocity import FOLLOWED
from flowops.times import Halving, Ladder, Step, ahead, as_drawn, behind, on_diagonal, to_end

REGRESSIONS = {compared.tangent, anchor, joint_tangent}  # residuals on the diagonal
MINIMUM = {"fmm"}  # a regression on the conditional velocity off it
OTHER_MINIMIZER = {"contrastive-fm"}  # see test_contrastive_minimizer.py
MIDDLES = {  # with the options that say where the time between is
    (as_drawn, ""),
    (on_diagonal, ""),
    (to_end, ""),
    (until, "transition"),
    (ahead, "epsilon"),
    (ahead, "alpha"),
    (behind, "epsilon"),
    (behind, "gamma"),
}
LOCAL_ORDER = {  # of one step; of DPM-Solver's several, which remember each other, one above that of all
    **{"ddim": 2.0, "euler": 2.0, "midpoint": 3.0, "heun": 3.0, "heun3": 4.0, "rk4": 5.0},
    "dpm-solver": 3.0,
}


class UnclassifiedError(ValueError):
    """A row whose columns say too little."""


@dataclass(frozen=True)
class Aspect:
    """One term of a row, with what the columns say of it.

    Attributes:
        name: identifier in test names.
        term: the term.
        options: the options that leave only this term, and choose its source.
        teacher: `""`, `"field"` or `"map"`.
        exact: whether its residual vanishes at the exact map, and not only its conditional mean.
        minimum: whether its minimum is the conditional variance, reached at the exact map.
        order: order of the step at which it vanishes, None if it takes none.
        stopped: whether its right side is a constant of the gradient.
    """

    name: str
    term: Term
    options: dict[str, Any] = field(compare=False)
    teacher: str
    exact: bool
    minimum: bool
    order: float | None
    stopped: bool

    @property
    def steps(self) -> str:
        """The option that is the length of the step, empty where the pair of times says it."""
        return self.term.fraction if self.term.fraction in ("alpha", "epsilon") else ""

    @property
    def diagonal(self) -> bool:
        """Whether it looks at $s=t$ only."""
        return self.term.middle is on_diagonal

    def regresses_at(self, s: float, t: float) -> float:
        """The time of the conditional velocity that a regression predicts."""
        return s if self.term.residual is compared.mean_velocity else t

    def of(self, method: Method, **options: Any) -> Method:
        """The method with only this term."""
        return Method(method.row, **{**method.given, **self.options, **options})


def defaults_of(row: Row) -> dict[str, Any]:
    """The options that a row offers, with the values that they have where nothing is passed."""
    return {option.name: option.default for option in row.options}


def aspects(method: Method) -> list[Aspect]:
    """The terms of the row of this name in the table, with each teacher and source they can have."""
    row = METHODS.get(method.name, method).row
    defaults = defaults_of(row)
    return [
        _classify(row.name, form, term, teacher, choice, defaults)
        for form, terms in row.forms.items()
        for term in terms
        for teacher in _teachers(row.teacher, term)
        for choice in _choices(term, defaults)
    ]


def _choices(term: Term, defaults: dict[str, Any]) -> list[dict[str, Any]]:
    """The options that change what a term is: the velocity followed, the step or its limit, a tangent, a constant."""
    if term.joint:
        return [{"probes": 0}]  # random ones are right in the mean, see test_joint_map.py
    if term.velocity is FOLLOWED:
        return [{"follow": follow, "alpha": alpha} for follow in ("conditional", "own") for alpha in (0.0, 0.5)]
    if term.residual is compared.mean_velocity:
        return [{"tangent": defaults["tangent"]}, {"tangent": 0.5}, {"tangent": 0.5, "auxiliary": True}]
    if term.stop_gradient and not defaults.get("stop_gradient", True):
        return [{"stop_gradient": False}, {"stop_gradient": True}]
    return [{}]


def _teachers(kind: str, term: Term) -> tuple[str, ...]:
    kinds = tuple(kind.removeprefix("optional ").split(" or "))
    if kind.startswith("optional "):
        return ("",) if term.velocity in (CONDITIONAL, OWN, None) else ("", *kinds)
    return kinds


def _classify(
    name: str, form: str, term: Term, teacher: str, choice: dict[str, Any], defaults: dict[str, Any]
) -> Aspect:
    options = ({"form": form} if form else {}) | choice
    if "particles" in defaults:  # each sample by itself: of groups see test_moment_matching_compares_laws.py
        options |= {"particles": None, "norm": "squared"}
    if "eta" in defaults:
        options["eta"] = {"eta": 1.0, "rest": 0.0}[term.share]
    conditional = _is_conditional(name, term, teacher, options.get("follow"))
    exact = not conditional or term.pairs == "teacher flow"
    chosen = (f"{key}={value}" for key, value in choice.items())
    label = "-".join(part for part in (name, form, term.share.replace("all", ""), teacher, *chosen) if part)
    regression = term.residual in REGRESSIONS or name in MINIMUM or choice.get("tangent") == 0
    minimum = not exact and regression
    order = _order(name, term, teacher, exact, {**defaults, **choice})
    stopped = term.stop_gradient and {**defaults, **choice}.get("stop_gradient", True)
    return Aspect(label, term, options, teacher, exact, minimum, order, stopped)


def _is_conditional(name: str, term: Term, teacher: str, follow: str | None) -> bool:
    """Whether the conditional velocity stands in a term."""
    source = term.velocity
    if source in (None, TEACHER, OWN, TEACHER_OR_OWN):
        return False
    if source is CONDITIONAL:
        return True
    if source is TEACHER_OR_CONDITIONAL:
        return not teacher
    if source is FOLLOWED:
        return follow != "own"
    raise UnclassifiedError(
        f"The velocity source {source} of {name} is in no class; say in method_cases.py what it gives."
    )


def _order(name: str, term: Term, teacher: str, exact: bool, defaults: dict[str, Any]) -> float | None:
    r"""The order at which a finite step vanishes at the exact map.

    * A step of an explicit method of order p has the local error $h^{p+1}$, which the later map carries on.
    * $\mathbb E[X_{u,1}(I_u)-X_{s,1}(I_s)\mid I_s]=h(\partial_sX+\nabla X\,b_s)+O(h^2)$, whose first term vanishes.
    * `alpha-flow`: with $y=x+(u-s)\dot I_s$ its difference is $(X_{s,t}(x)-X_{u,t}(y))/(t-s)$, again $O(\alpha^2)$ in
      the mean, over $\alpha$; along the map's own $v_{s,u}$ it is the semigroup property, exact for every step.
    """
    if (term.middle, term.fraction) not in MIDDLES:
        raise UnclassifiedError(
            f"The `middle` of {name} is in no class; say in method_cases.py at which order it vanishes."
        )
    if term.fraction == "alpha":
        return None if exact or not defaults["alpha"] else 1.0
    if not exact:
        return 2.0 if term.middle in (to_end, until) or term.fraction == "epsilon" else None
    if (term.middle, term.fraction) == (behind, "epsilon"):
        return LOCAL_ORDER["euler"]
    return solver_order(defaults, defaults["solver"]) if stepping(defaults) and teacher != "map" else None


def stepping(defaults: dict[str, Any]) -> bool:
    """Whether a solver takes finite steps: where it may be adaptive, a number of steps must be given."""
    return "solver" in defaults and defaults.get("steps", 1) is not None


def solver_order(defaults: dict[str, Any], solver: str) -> float:
    """The order in the length of the steps: of a single one, or of a number of steps that grows."""
    return LOCAL_ORDER[solver] - bool(defaults.get("steps"))


def step_options(term: Term, step: float) -> dict[str, Any]:
    """The options that make the finite step of a deterministic term this long; those of a ladder get random starts."""
    if isinstance(term.law, Halving | Ladder):
        return {"law": Step(epsilon=step)}
    if not term.fraction:
        return {"steps": round(1 / step)}
    return {term.fraction: step}


def every_aspect() -> list[tuple[Method, Aspect]]:
    """All aspects of all rows that are in a class; `test_every_row_is_in_a_class` fails for the others."""
    found = []
    for method in METHODS.values():
        with suppress(UnclassifiedError):
            found += [(method, aspect) for aspect in aspects(method)]
    return found

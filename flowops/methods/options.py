"""The options that rows share: what each means, what it may be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType, SimpleNamespace
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from flowops._operator import Operator
from flowops._solvers.fixed import TABLEAUS
from flowops.couplings.coupling import check_labels as check_rows
from flowops.fields import VelocityField
from flowops.maps import FlowMap
from flowops.methods.norms import as_norm
from flowops.methods.weights import Adaptive, as_weight
from flowops.times import TimeLaw

if TYPE_CHECKING:
    from flowops.methods.method import Method

SHARED: Mapping[str, Any] = MappingProxyType(
    {
        "law": None,
        "weight": 1.0,
        "norm": "squared",
        "p": 0.0,
        "c": 1e-3,
        "label_dropout": 0.0,
        "null_label": None,
        "guidance": 1.0,
    }
)
FROZEN: Mapping[str, Any] = MappingProxyType({"stop_gradient": True, "normalize": None})
"""The options of a term under a stop-gradient."""
MEANING: Mapping[str, str] = MappingProxyType(
    {
        "law": "law of the pair of times of the last term; None for the row's own",
        "weight": "a number, a function of (s, t) or a Weight such as `Learned(network)`",
        "norm": '"squared", "pseudo-huber", "l1" or a Norm',
        "p": "exponent of the adaptive weight sg(|D|^2 + c)^-p",
        "c": "constant of the adaptive weight",
        "label_dropout": "probability of replacing a label by the null label",
        "null_label": "the label that stands for none; taken from the network if it has a `null_label`",
        "guidance": "scale of classifier-free guidance of the velocity source, 1 for none; a pair (low, high) for one "
        "drawn per sample, which the map is given as the condition `guidance`",
        "eta": "fraction of the batch on the diagonal",
        "form": "whether the residual is written for the map or for its average velocity",
        "stop_gradient": "whether the side named in the table is a constant",
        "normalize": "constant of the tangent normalization D / (|D| + normalize); None for none",
        "warmup": "steps over which the tangent is switched on linearly; 0 for none",
        "start": '"interpolant" or "pushforward" (the start point is X_{0,s}(x0): no data is used)',
        "ema_teacher": "whether `teacher` is an exponential average of the map, used on the frozen side",
        "epsilon": "the step as a fraction of t - s; None for a uniform one",
        "gamma": "position of the time between s and t; None for a uniform one",
        "solver": "one-step method that follows the velocity: " + ", ".join(sorted(TABLEAUS)),
        "K": "steps of the teacher map between s and t",
        "points": "number of times along the trajectory",
        "alpha": "step of alpha-flow as a fraction of t - s; None for its annealing from 1 to 0",
        "anneal": "steps (start, end) between which alpha falls from 1 to 0 along a sigmoid",
        "follow": '"conditional" or "own": the velocity that is followed; along the own one alpha = 1 trains nothing',
        "lam": "strength of the contrast, in [0, 1)",
    }
)


def _between(low: float, high: float, *, open_low: bool = False, open_high: bool = False) -> Callable[[Any], bool]:
    def holds(value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return (low < value if open_low else low <= value) and (value < high if open_high else value <= high)

    return holds


def _among(*values: Any) -> Callable[[Any], bool]:
    return lambda value: any(value is v or (type(value) is type(v) and value == v) for v in values)


def _optional(test: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or test(value)


def _count(least: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= least


def _scales(value: Any) -> bool:
    finite = _between(-INFINITY, INFINITY, open_low=True, open_high=True)
    if isinstance(value, tuple):
        return len(value) == 2 and all(map(finite, value)) and value[0] <= value[1]
    return finite(value)


INFINITY = float("inf")
ALLOWED: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "law": ("None or a TimeLaw", _optional(lambda value: isinstance(value, TimeLaw))),
    "p": ("a number, at least 0", _between(0.0, INFINITY)),
    "c": ("a positive number", _between(0.0, INFINITY, open_low=True)),
    "label_dropout": ("a probability", _between(0.0, 1.0)),
    "guidance": ("a finite number or a pair (low, high) of them", _scales),
    "null_label": ("None or an integer label", _optional(_count(0))),
    "eta": ("a fraction in [0, 1]", _between(0.0, 1.0)),
    "stop_gradient": ("True or False", _among(True, False)),
    "normalize": ("None or a positive number", _optional(_between(0.0, INFINITY, open_low=True))),
    "warmup": ("a number of steps", _count(0)),
    "start": ('"interpolant" or "pushforward"', _among("interpolant", "pushforward")),
    "ema_teacher": ("True or False", _among(True, False)),
    "epsilon": ("None or a fraction in (0, 1]", _optional(_between(0.0, 1.0, open_low=True))),
    "gamma": ("None or a fraction in [0, 1]", _optional(_between(0.0, 1.0))),
    "solver": ("one of " + ", ".join(sorted(TABLEAUS)), _among(*TABLEAUS)),
    "K": ("a number of steps, at least 1", _count(1)),
    "points": ("a number of times, at least 1", _count(1)),
    "alpha": ("None or a number in [0, 1]", _optional(_between(0.0, 1.0))),
    "anneal": (
        "two increasing numbers of steps",
        lambda value: isinstance(value, tuple) and len(value) == 2 and 0 <= value[0] < value[1],
    ),
    "follow": ('"conditional" or "own"', _among("conditional", "own")),
    "lam": ("a number in [0, 1)", _between(0.0, 1.0, open_high=True)),
}


def check_options(options: Mapping[str, Any], forms: Mapping[str, Any]) -> SimpleNamespace:
    """The options with their values checked, norms and weights made from their names."""
    for name, value in options.items():
        wanted, holds = ALLOWED.get(name, ("", lambda _: True))
        if name == "form":
            wanted, holds = "one of " + ", ".join(forms), _among(*forms)
        if not holds(value):
            raise ValueError(f"`{name}` must be {wanted}, got {value!r}; the option is {MEANING[name]}.")
    if options["guidance"] != 1 and not any(t.guided and t.velocity for terms in forms.values() for t in terms):
        raise ValueError(
            "`guidance` must be 1 for a method without a velocity to guide; distil a guided field instead."
        )
    namespace = SimpleNamespace(**options)
    for name, default in (("ema_teacher", False), ("stop_gradient", True), ("normalize", None), ("warmup", 0)):
        if not hasattr(namespace, name):
            setattr(namespace, name, default)
    namespace.norm, namespace.weight = as_norm(namespace.norm), as_weight(namespace.weight)
    namespace.adaptive = Adaptive(namespace.p, namespace.c)
    if namespace.normalize is not None and not namespace.stop_gradient:
        raise ValueError("`normalize` must be None without a stop-gradient, got a number; pass stop_gradient=True.")
    return namespace


def check_labels(method: Method, labels: Tensor | None, teacher: object, x: Tensor) -> None:
    """Refuse labels of another size, and options that need labels without any."""
    if labels is None:
        for name, plain in (("guidance", 1.0), ("label_dropout", 0.0)):
            if (value := getattr(method.options, name)) != plain:
                raise ValueError(f"`labels` must be given with {name}={value}, got None; pass one label per sample.")
        return
    check_rows(labels, x, "labels")
    guided = method.options.guidance != 1 and method.row.teacher != ""
    if guided and isinstance(teacher, VelocityField) and not takes_condition(teacher, "label"):
        raise ValueError("`teacher` must take a `label` to be guided, this one takes none; distil a guided field.")


def check_guidance(method: Method, X: FlowMap) -> None:
    """Refuse a range of scales for a map that cannot be told which one it is."""
    if isinstance(method.options.guidance, tuple) and not takes_condition(X, "guidance"):
        raise ValueError(
            f"`X` must take a condition `guidance` with guidance={method.options.guidance}, and its network has none; "
            f"build it with guidance=True, or pass one number."
        )


def takes_condition(operator: nn.Module, name: str) -> bool:
    """Whether an operator, or one inside it, has a condition of this name."""
    return any(isinstance(m, Operator) and m._takes(name) for m in operator.modules())


def check_teacher(method: Method, teacher: object) -> None:
    """Refuse a teacher that is missing or of the wrong kind."""
    kinds = {"field": VelocityField, "map": FlowMap, "field or map": (VelocityField, FlowMap)}
    if method.options.ema_teacher and not isinstance(teacher, FlowMap):
        raise TypeError(
            f"`teacher` must be a FlowMap with ema_teacher=True, got {type(teacher).__name__}; pass the average of X."
        )
    wanted = method.row.teacher.removeprefix("optional ")
    if wanted not in kinds or (teacher is None and method.row.teacher.startswith("optional ")):
        return
    if not isinstance(teacher, kinds[wanted]):  # type: ignore[arg-type]
        names = {"field": "a VelocityField", "map": "a FlowMap", "field or map": "a VelocityField or a FlowMap"}
        got = "none" if teacher is None else type(teacher).__name__
        hints = {
            "field": "teacher=b, or teacher=X.velocity() of a map X",
            "map": "teacher=X, or b.flow_map() of a field b",
        }
        hint = hints.get(wanted, "teacher=b")
        raise TypeError(f"`teacher` must be {names[wanted]} for {method.name}, got {got}; pass {hint}.")

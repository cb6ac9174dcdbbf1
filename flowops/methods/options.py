"""Options of training methods: what each is called, its default, what it means, and which values it may have.

A row lists the options that it offers; `ETA(0.5)` is the option `ETA` with another default. What only one row has
stands beside that row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, make_dataclass, replace
from functools import cache
from typing import Any

from flowops._named import check_options
from flowops._solvers.fixed import TABLEAUS
from flowops.methods.guidance import PowerLaw, RandomInterval
from flowops.methods.norms import as_norm
from flowops.methods.weights import InverseGuidance, as_weight
from flowops.times import OneTime, TimeLaw

Test = Callable[[Any], bool]
INFINITY = float("inf")


@dataclass(frozen=True)
class Option:
    """One option of a row.

    Attributes:
        name: as it is passed.
        default: its value where nothing is passed.
        meaning: what it does, for a reader of the table.
        wanted: the values it may have, in words.
        holds: whether a value is one of them.
        convert: what a value becomes, such as a norm of that name.
    """

    name: str
    default: Any
    meaning: str
    wanted: str
    holds: Test
    convert: Callable[[Any], Any] = lambda value: value

    def __call__(self, default: Any) -> Option:
        """The same option with another default."""
        return replace(self, default=default)

    def checked(self, value: Any) -> Any:
        """`value`, converted.

        Raises:
            ValueError: if it is none that the option may have.
        """
        if not self.holds(value):
            raise ValueError(f"`{self.name}` must be {self.wanted}, got {value!r}; the option is {self.meaning}.")
        return self.convert(value)


def between(low: float, high: float, *, open_low: bool = False, open_high: bool = False) -> Test:
    """Numbers of an interval."""

    def holds(value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return (low < value if open_low else low <= value) and (value < high if open_high else value <= high)

    return holds


def among(*values: Any) -> Test:
    """Some values, each of its own type."""
    return lambda value: any(value is v or (type(value) is type(v) and value == v) for v in values)


def optional(test: Test) -> Test:
    """None, or what passes the test."""
    return lambda value: value is None or test(value)


def count(least: int) -> Test:
    """Whole numbers of at least `least`."""
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= least


def _scales(value: Any) -> bool:
    if isinstance(value, PowerLaw):
        return True
    finite = between(-INFINITY, INFINITY, open_low=True, open_high=True)
    if isinstance(value, tuple):
        return len(value) == 2 and all(map(finite, value)) and value[0] <= value[1]
    return finite(value)


def _times(value: Any) -> bool:
    return isinstance(value, tuple) and _scales(value) and 0 <= value[0] < value[1] <= 1


def anything(_: Any) -> bool:
    """Every value; `convert` refuses those that are none."""
    return True


# ------------------------------------------------------------------------------------------- of every row
LAW = Option(
    "law",
    None,
    "law of the pair of times of the last term, such as UpperTriangle(LogitNormal(-0.4, 1.0)); None for the row's own",
    "None or a TimeLaw",
    optional(lambda value: isinstance(value, TimeLaw)),
)
WEIGHT = Option(
    "weight",
    1.0,
    'a number, a weight such as InverseSpeed(), a function of (s, t), or "learned": a network beside the map',
    "a weight",
    anything,
    convert=lambda value: None if isinstance(value, int | float) and value == 1 else as_weight(value),
)
NORM = Option(
    "norm",
    "squared",
    "squared, mean-squared, pseudo-huber, l1, laplace, lpips, or a norm such as Lp(2.0)",
    "a norm",
    anything,
    convert=as_norm,
)
P = Option("p", 0.0, "exponent of the adaptive weight sg(|D|^2 + c)^-p", "a number, at least 0", between(0.0, INFINITY))
C = Option("c", 1e-3, "constant of the adaptive weight", "a positive number", between(0.0, INFINITY, open_low=True))
LABEL_DROPOUT = Option(
    "label_dropout", 0.0, "probability of replacing a label by the null label", "a probability", between(0.0, 1.0)
)
NULL_LABEL = Option(
    "null_label",
    None,
    "the label that stands for none; taken from the network if it has a `null_label`",
    "None or an integer label",
    optional(count(0)),
)
GUIDANCE = Option(
    "guidance",
    1.0,
    "scale of classifier-free guidance of the velocity source, 1 for none; a pair (low, high) or a PowerLaw(low, high, "
    "power) for one drawn per sample, which the map is given as the condition `guidance`",
    "a finite number, a pair (low, high) of them or a PowerLaw",
    _scales,
    convert=lambda value: PowerLaw(*value) if isinstance(value, tuple) else value,
)
GUIDANCE_INTERVAL = Option(
    "guidance_interval",
    None,
    "times (low, high) at which the velocity is guided, at the others its scale is 1; None for all times; "
    "RandomInterval(middle) for an interval drawn per sample, which the map is given as the condition `interval`",
    "None, two increasing times in [0, 1] or a RandomInterval",
    optional(lambda value: isinstance(value, RandomInterval) or _times(value)),
)
INVERSE = Option(
    "inverse",
    0.0,
    "strength of the additional term |X_ts(X_st(x)) - x|^2 on the samples of the last term",
    "a finite number, at least 0",
    between(0.0, INFINITY, open_high=True),
)
PAPER = Option(
    "paper",
    False,
    "whether what is not given is as in the paper of the row, instead of the defaults",
    "True or False",
    among(True, False),
)
SHARED = (LAW, WEIGHT, NORM, P, C, LABEL_DROPOUT, NULL_LABEL, GUIDANCE, GUIDANCE_INTERVAL, INVERSE, PAPER)
"""The options that every row offers."""

# ------------------------------------------------------------------- of some rows; the others keep the default
ETA = Option("eta", 1.0, "fraction of the batch on the diagonal", "a fraction in [0, 1]", between(0.0, 1.0))
STOP_GRADIENT = Option(
    "stop_gradient", True, "whether the side named in the table is a constant", "True or False", among(True, False)
)
NORMALIZE = Option(
    "normalize",
    None,
    "constant of the tangent normalization D / (|D| + normalize); None for none",
    "None or a positive number",
    optional(between(0.0, INFINITY, open_low=True)),
)
WARMUP = Option(
    "warmup", 0, "steps over which the tangent is switched on linearly; 0 for none", "a number of steps", count(0)
)
START = Option(
    "start",
    "interpolant",
    'the state that a term starts from: "interpolant", or without data "pushforward" (X_{0,s}(x0)) or, with a teacher, '
    '"trajectory" (its solution from x0)',
    '"interpolant", "pushforward" or "trajectory"',
    among("interpolant", "pushforward", "trajectory"),
)
EMA_TEACHER = Option(
    "ema_teacher",
    False,
    "whether the constant side is that of the exponential average of the map, passed as `average`",
    "True or False",
    among(True, False),
)
DECAY = Option(
    "decay",
    None,
    "decay mu of an average of the row's own, in place of the first average of the run; on a ladder that grows it is "
    "mu^(N(0)/N(k)) with N(k) rungs at step k",
    "None or a number in [0, 1)",
    optional(between(0.0, 1.0, open_high=True)),
)
OF_AVERAGES = (DECAY,)
"""Offered by every row with a constant side that may be that of the average."""
ONE_MASK = Option(
    "one_mask",
    False,
    "whether the map has one mask of dropout on both sides",
    "True or False",
    among(True, False),
)
DROPOUT = Option(
    "dropout",
    "all",
    'which terms see the dropout of the map: "all" of them, or the "diagonal" alone, while it is at rest off it',
    '"all" or "diagonal"',
    among("all", "diagonal"),
)
GUIDES = Option(
    "guides",
    "target",
    'what guidance replaces: "target", the conditional velocity on the diagonal, or "own", the velocity of the map off '
    "it, while the diagonal stays that of scale 1",
    '"target" or "own"',
    among("target", "own"),
)
DERIVATIVES = Option(
    "derivatives",
    "forward",
    '"forward" or "central": derivatives of the map in forward mode, exact, or by central differences of its values, '
    "off by O(h^2), for networks that forward mode refuses",
    '"forward" or "central"',
    among("forward", "central"),
)
"""Offered by every row that differentiates the map."""
DIAGONAL = Option(
    "diagonal",
    None,
    "law of the time of the diagonal term, such as UniformAngle() or Uniform(0.0, 0.999); None for the row's own",
    "None or a law of one time",
    optional(lambda value: isinstance(value, OneTime)),
)
BALANCE = Option(
    "balance",
    "rows",
    'what the loss is the mean of: "rows", so that the terms weigh eta : 1 - eta, or "terms", each the mean over its '
    'own rows, so that they weigh 1 : 1; "gradients" then scales the diagonal so that both pull the last layer of the '
    "network alike",
    '"rows", "terms" or "gradients"',
    among("rows", "terms", "gradients"),
)
OF_SHARES = (DIAGONAL, BALANCE)
"""Offered by every row with a term on the part `eta` of the batch."""
PROBES = Option(
    "probes",
    0,
    "random signs per coordinate and sample with which a divergence is estimated; 0 for the exact one, at one "
    "directional derivative per coordinate",
    "a number, at least 0",
    count(0),
)

CAP = Option(
    "cap",
    1.0,
    "how much of the tangent the warm-up ends with; below 1 the minimizer is another map",
    "a number in (0, 1]",
    between(0.0, 1.0, open_low=True),
)
MIX = Option(
    "mix",
    0.0,
    "kappa, the share of the map's own velocity on the label in a guided target, which keeps its minimizer; "
    '"unit" for 1 - 1/guidance, with which the conditional velocity counts once',
    'a number in [0, 1) or "unit"',
    lambda value: value == "unit" or between(0.0, 1.0, open_high=True)(value),
)
AUXILIARY = Option(
    "auxiliary",
    False,
    "whether the map's own velocity is that of a second output of its network, X.auxiliary(), which flow matching "
    "trains beside the map",
    "True or False",
    among(True, False),
)
FINEST = Option(
    "finest",
    None,
    "length up to which a step is met by two Euler steps along the diagonal, guided with guides=own, in place of two "
    "steps of the map; None for no such steps",
    "None or a number in (0, 1]",
    optional(between(0.0, 1.0, open_low=True)),
)
SOLVERS = ("ddim", *sorted(TABLEAUS))
SOLVER = Option(
    "solver",
    "euler",
    "one-step method that follows the velocity: " + ", ".join(SOLVERS),
    "one of " + ", ".join(SOLVERS),
    among(*SOLVERS),
)


SOLVERS_OF_STEPS = (*SOLVERS[:1], "dpm-solver", *SOLVERS[1:])
SOLVER_OF_STEPS = replace(
    SOLVER,
    meaning="method that follows the velocity step by step: " + ", ".join(SOLVERS_OF_STEPS),
    wanted="one of " + ", ".join(SOLVERS_OF_STEPS),
    holds=among(*SOLVERS_OF_STEPS),
)
"""`SOLVER` of a row that takes several steps, which a multistep method remembers."""
STEPS = Option(
    "steps",
    None,
    "steps of `solver` from x0 to the start, and from each of the points to the next; None for an adaptive solution",
    "None or a number of steps, at least 1",
    optional(count(1)),
)
PARTICLES = Option(
    "particles",
    None,
    "samples in a group, which share their times and of which the laws are compared; None to compare each with itself",
    "None or a number of samples, at least 1",
    optional(count(1)),
)
NEUTRAL = (
    *(ETA, STOP_GRADIENT, NORMALIZE, WARMUP, CAP, START, EMA_TEACHER, GUIDES, MIX, AUXILIARY, FINEST, DERIVATIVES),
    *(*OF_SHARES, SOLVER, STEPS, PARTICLES, PROBES, DECAY, ONE_MASK, DROPOUT),
)
"""What a call asks of every row; one that does not offer it has the default."""


def form_option(forms: Mapping[str, Any]) -> Option:
    """The choice between forms of a row, the first being the default."""
    return Option(
        "form",
        next(iter(forms)),
        "what the residual is written for: the map, its average velocity, or the network of TrigFlow; of `f2d2` which "
        "identity it is",
        "one of " + ", ".join(forms),
        among(*forms),
    )


def values_of(offered: tuple[Option, ...], given: Mapping[str, Any], owner: str) -> Any:
    """The options of a row as one frozen object, with the values given and the defaults of the rest.

    Raises:
        TypeError: for an option that the row does not offer.
        ValueError: for a value that an option cannot have.
    """
    known = {option.name: option for option in offered}
    check_options(given, dict(sorted(known.items())), owner)
    every = {option.name: option for option in NEUTRAL} | known
    values = {name: option.checked(given.get(name, option.default)) for name, option in every.items()}
    return _record(tuple(values))(**values)


@cache
def _record(names: tuple[str, ...]) -> type:
    """A frozen class with these fields; making one takes longer than all that a method does besides."""
    return make_dataclass("Options", [(name, Any) for name in names], frozen=True)


def check_together(o: Any, owner: str, *, guided: bool, taught: bool, joint: bool, bootstrapped: bool) -> None:
    """Refuse options that exclude each other.

    Args:
        o: the options.
        owner: name of the row.
        guided: whether guidance can reach a velocity of the row.
        taught: whether the row must have a teacher.
        joint: whether it compares rates of log-determinants too.
        bootstrapped: whether off the diagonal it follows a velocity at its finest steps alone.

    Raises:
        ValueError: for the first two that do.
    """
    if o.guidance != 1 and not guided:
        raise ValueError(
            "`guidance` must be 1 for a method without a velocity to guide; distil a guided field instead."
        )
    _check_guidance(o)
    if bootstrapped and o.guides == "own" and o.finest is None:
        raise ValueError(
            f'`finest` must be a length with guides="own" for {owner}, got None: only its finest steps follow a guided '
            f"velocity; pass finest=1 / 64, say."
        )
    if o.one_mask and o.ema_teacher:
        raise ValueError(
            "`one_mask` must be False with ema_teacher=True, got True: the average drops nothing; pass one of the two."
        )
    if o.start == "trajectory" and not taught:
        raise ValueError(
            f'`start` must be "interpolant" or "pushforward" for {owner}, which has no teacher to start from, got '
            f'"trajectory"; distil with lmd, emd or regression.'
        )
    if o.normalize is not None and o.norm.of_sides:
        raise ValueError(f"`norm` must be of a difference with normalize, got {type(o.norm).__name__}; pass squared.")
    if o.normalize is not None and o.particles is not None:
        raise ValueError(
            f"`normalize` must be None where groups are compared, got {o.normalize} beside particles={o.particles}; "
            f"pass particles=None."
        )
    if o.norm.of_sides and joint:
        raise ValueError(
            f"`norm` must be of a difference for {owner}, one of whose sides is a number per sample, got "
            f"{type(o.norm).__name__}; pass squared."
        )
    if o.normalize is not None and not o.stop_gradient:
        raise ValueError("`normalize` must be None without a stop-gradient, got a number; pass stop_gradient=True.")


def _check_guidance(o: Any) -> None:
    """Refuse options about guidance that exclude each other.

    Raises:
        ValueError: for the first two that do.
    """
    law = o.guidance if isinstance(o.guidance, PowerLaw) else None
    if o.guidance_interval is not None and o.guidance == 1:
        raise ValueError(
            f"`guidance_interval` must be None where nothing is guided, got {o.guidance_interval}; pass a scale too, "
            f"guidance=2.0 say."
        )
    if isinstance(o.guidance_interval, RandomInterval) and law is None:
        raise ValueError(
            f"`guidance` must be a pair (low, high) or a PowerLaw with a RandomInterval, got {o.guidance}: a map that "
            f"is told intervals is told the scale too; pass (2.0, 2.0) for a single one."
        )
    if o.mix and o.guidance == 1:
        raise ValueError(f"`mix` must be 0 where nothing is guided, got {o.mix!r}; pass a scale too, guidance=2.0 say.")
    if o.mix == "unit" and (o.guidance if law is None else law.low) <= 0:
        raise ValueError(
            f'`guidance` must be positive with mix="unit", which divides by it, got {o.guidance}; pass another mix.'
        )
    low, high = (o.guidance, o.guidance) if law is None else (law.low, law.high)
    if isinstance(o.weight, InverseGuidance) and low <= 0 <= high:
        raise ValueError(
            f"`guidance` must keep away from 0 with InverseGuidance, which divides by it, got {o.guidance}; pass "
            f"another weight."
        )
    if o.guides == "own" and law is None and o.finest is None:
        raise ValueError(
            f'`guidance` must be a pair (low, high) with guides="own", got {o.guidance}: the diagonal stays unguided, '
            f"so that the map must be told the scale; pass (2.0, 2.0) for a single one."
        )

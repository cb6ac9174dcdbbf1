r"""A training method: a few terms, the options they share, and one call for all.

A call first draws everything random (`draw`), then evaluates the loss (`evaluate`), which is a function of tensors and
operators that `torch.compile` takes whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from flowops._arguments import check_labels, check_like, check_state, whole
from flowops._compile import compile_loss
from flowops._operator import condition_of
from flowops.fields import VelocityField
from flowops.interpolants import Interpolant
from flowops.maps import DifferencedMap, FlowMap, JointMap
from flowops.methods.balance import balanced
from flowops.methods.compared import invertibility
from flowops.methods.draw import Draw, TermDraw, draw_terms
from flowops.methods.groups import between_groups
from flowops.methods.guidance import PowerLaw, RandomInterval
from flowops.methods.norms import Norm, Squared
from flowops.methods.options import check_together, values_of
from flowops.methods.point import (
    TEACHER,
    Difference,
    Operators,
    Teacher,
    TermPoint,
    augmented,
    conditioned,
    null_label_of,
    stepped,
    teacher_solution,
)
from flowops.methods.result import MethodResult
from flowops.methods.row import TEACHERS, Row
from flowops.methods.term import Term
from flowops.methods.weights import Adaptive, Constant, InverseGuidance, Weight
from flowops.networks.masks import at_rest
from flowops.times import Ladder, Trajectory, on_diagonal


class Method(nn.Module):
    r"""A training method of flow maps, called as `method(X, interpolant, x0, x1)`.

    Attributes:
        row: what it is; `row.source` and `row.summary` say where it comes from.
        terms: its terms, chosen by the option `form` where there is a choice.
        options: every option with its value, frozen.
        joint: whether it trains the rate of a log-determinant too, and so wants a `JointMap`.
        wanted: what the network of its map must be built with: by name, whether the options want it.

    The parameters of a learned weight, if there is one, are those of the module.

    >>> from flowops import LearnedMap, interpolants
    >>> from flowops.methods import get_method
    >>> from flowops.networks import MLP
    >>> x0, x1 = torch.randn(2, 64, 2, generator=torch.Generator().manual_seed(0))
    >>> result = get_method("lsd", eta=0.5)(LearnedMap(MLP(2)), interpolants.linear(), x0, x1)
    >>> list(result.terms), result.per_sample.shape
    (['diagonal', 'lagrangian'], torch.Size([64]))

    Raises:
        TypeError: for an option that the row does not have.
        ValueError: for a value that an option cannot have.
    """

    def __init__(self, row: Row, **options: Any) -> None:
        super().__init__()
        self.row, self.name, self.given = row, row.name, options
        self.__doc__ = f"{row.summary}\n\nSource: {row.source}."
        self.options = values_of(row.options, self.asked(options), row.name)
        every = [term for terms in row.forms.values() for term in terms]
        check_together(
            self.options,
            row.name,
            guided=any(term.guided and term.velocity for term in every),
            taught=bool(row.teacher) and not row.teacher.startswith("optional "),
            joint=any(term.joint for term in every),
            bootstrapped="finest" in {option.name for option in row.options},
        )
        if options.get("decay") is not None and not self.options.ema_teacher:
            raise ValueError(
                f"`decay` must be None where no average is looked at, got {options['decay']}; pass ema_teacher=True."
            )
        self.weight: Weight | None = self.options.weight
        self._weights: list[Weight] = []
        if self.options.p:
            self._weights.append(Adaptive(self.options.p, self.options.c))
        if self.weight is not None:
            self._weights.append(self.weight)
        self.terms = row.forms[self.options.form if len(row.forms) > 1 else ""]
        self._check_trajectory()
        self.joint = any(term.joint for term in self.terms)
        self.wanted = {
            "guidance": isinstance(self.options.guidance, PowerLaw),
            "interval": isinstance(self.options.guidance_interval, RandomInterval),
            "log_det": self.joint,
            "auxiliary": bool(self.options.auxiliary),
        }

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Method:
        """Moves the network of a norm along, which is no part of the state that is saved."""
        network = getattr(self.options.norm, "network", None)
        if isinstance(network, nn.Module):
            network._apply(fn, recurse)
        return super()._apply(fn, recurse)

    @property
    def solves(self) -> bool:
        """Whether its loss solves an ODE, so that it is no single graph to a compiler."""
        o = self.options
        return o.steps is None and (o.start == "trajectory" or any(term.solves for term in self.terms))

    def asked(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The options given, and where `paper` is among them those of the paper that are not."""
        return {**(self.row.paper if given.get("paper") is True else {}), **given}

    @property
    def diagonal(self) -> bool:
        r"""Whether its terms look at $v_{t,t}$ alone, of which they take no derivative; then one time is enough."""
        return all(term.middle is on_diagonal for term in self.terms)

    @property
    def differentiates(self) -> bool:
        """Whether its loss asks for gradients of its terms, which a compiler must be told."""
        return bool(self.options.balance == "gradients")

    def with_options(self, **options: Any) -> Method:
        """The same row with further options."""
        return Method(self.row, **{**self.given, **options})

    def forward(
        self,
        X: FlowMap,
        interpolant: Interpolant | None,
        x0: Tensor | None = None,
        x1: Tensor | None = None,
        *,
        states: Tensor | None = None,
        teacher: VelocityField | FlowMap | None = None,
        average: FlowMap | None = None,
        labels: Tensor | None = None,
        augment: Tensor | None = None,
        step: int | None = None,
        generator: torch.Generator | None = None,
        seed: int | None = None,
    ) -> MethodResult:
        r"""The loss of one batch.

        Args:
            X: the map that is trained.
            interpolant: $I$; a latent is drawn where it has one. None with `states`.
            x0: base samples `[batch, *event]`.
            x1: data samples, coupled with `x0` row by row.
            states: in place of these three, states $x$ of the user, which stand for every start time $s$; for the rows
                that follow a teacher alone, such as `lmd` and `emd`: `method(X, None, states=x, teacher=b)`.
            teacher: the field or map that is distilled, for `pfmm` the map of the previous round; methods that need
                none do not look at it.
            average: the exponential average of `X`, which is the constant side with `ema_teacher=True`.
            labels: one per sample, given to `X` (and the teacher, if it takes one) as the condition `label`; floating
                ones of any shape `[batch, ...]` as `condition` to a network that takes it.
            augment: what was done to each of the data samples `[batch, n]`, likewise as the condition `augment`.
            step: number of training steps done; drives warm-up, curricula and annealing. None means their end.
            generator: source of the draws, which all follow from one number taken from it; on the CPU it costs no
                synchronization, wherever the states are.
            seed: that number itself, to repeat a call exactly; no generator is used then.

        Raises:
            TypeError, ValueError: for operators or samples of a wrong kind, and for a teacher, an average or a label
                that is missing.
        """
        draw = self.draw(
            X, interpolant, x0, x1, states=states, teacher=teacher, average=average, labels=labels, augment=augment,
            step=step, generator=generator, seed=seed,
        )  # fmt: skip
        return self.evaluate(X, interpolant, draw, teacher=teacher, average=average)

    def draw(
        self,
        X: FlowMap,
        interpolant: Interpolant | None,
        x0: Tensor | None = None,
        x1: Tensor | None = None,
        *,
        states: Tensor | None = None,
        teacher: VelocityField | FlowMap | None = None,
        average: FlowMap | None = None,
        labels: Tensor | None = None,
        augment: Tensor | None = None,
        step: int | None = None,
        generator: torch.Generator | None = None,
        seed: int | None = None,
        part: tuple[int, int] = (0, 1),
    ) -> Draw:
        r"""Check the arguments, and draw times, latents and dropped labels; arguments as in a call.

        With `part` $=(k,W)$ the samples are the rows $k,k+W,k+2W,\dots$ of a joint batch of $W$ times as many, the
        share of one of $W$ processes with one `seed`, and what is drawn for them is `.part(k, W)` of the joint draw.

        Raises:
            TypeError, ValueError: as a call, and unless $0\le k<W$.
        """
        if not isinstance(X, FlowMap):
            raise TypeError(f"`X` must be of type FlowMap, got {type(X).__name__}; wrap or build one.")
        if states is not None:
            x0 = x1 = self._states(interpolant, x0, x1, states)
        elif not isinstance(interpolant, Interpolant):
            raise TypeError(
                f"`interpolant` must be of type Interpolant, got {type(interpolant).__name__}; wrap or build one."
            )
        else:
            check_state(x0, "x0")  # type: ignore[arg-type]
            check_like(x1, x0, "x1", "x0")  # type: ignore[arg-type]
        assert x0 is not None
        assert x1 is not None
        self._check_operators(X, teacher, average, labels)
        if labels is not None:
            check_labels(labels, x0, "labels")
        if step is not None:
            whole(step, "step", 0)
        if seed is None:
            seed = int(torch.randint(2**62, (), generator=generator, device=generator.device if generator else None))
        alpha = None if self.row.alpha is None else self.row.alpha(self.options, step) or 0.0
        o, null_label = self.options, None
        if labels is not None and (o.guidance != 1 or o.label_dropout):
            null_label = null_label_of(X, o.null_label)
        return draw_terms(
            self.terms, o, interpolant, x0, x1, labels=labels, null_label=null_label, augment=augment, alpha=alpha,
            step=step, seed=seed, part=part,
        )  # fmt: skip

    def evaluate(
        self,
        X: FlowMap,
        interpolant: Interpolant | None,
        draw: Draw,
        *,
        teacher: VelocityField | FlowMap | None = None,
        average: FlowMap | None = None,
    ) -> MethodResult:
        """The loss of what `draw` drew: a pure function, the part to compile."""
        n = draw.size
        if self.options.derivatives == "central":
            X, average = DifferencedMap(X), None if average is None else DifferencedMap(average)
        per_term: dict[str, Tensor] = {}
        starts: dict[int, Tensor] = {}  # of the last of several terms on the same rows
        ends: dict[int, Tensor] = {}
        diagonal: list[str] = []
        for i, (term, drawn) in enumerate(zip(self.terms, draw.terms, strict=True)):
            if drawn is None:
                continue
            k = self._point(term, drawn, draw, X, interpolant, teacher, average)
            resting = self.options.dropout == "diagonal" and term.share != "eta"
            with at_rest(X) if resting else nullcontext():
                differences = [*term.residual(k).items()]
                if self.options.inverse and term is self.terms[-1]:
                    differences.append(("inverse", invertibility(k)))
            norm = self.options.norm
            if term.share == "eta":  # a norm of features looks at states, not at the velocities there
                diagonal += dict(differences)
                norm = Squared() if norm.of_sides else norm
            for name, difference in differences:
                values = self._per_sample(k, difference, norm)
                if draw.factors is not None:
                    values = draw.factors[i] * values
                values = nn.functional.pad(values, (drawn.rows.start, n - drawn.rows.stop))
                per_term[name] = per_term[name] + values if name in per_term else values
            starts[drawn.rows.start], ends[drawn.rows.start] = k.s, k.t
        if self.options.balance == "gradients" and 0 < len(diagonal) < len(per_term):
            per_term = balanced(per_term, diagonal, X)
        per_sample = torch.stack(list(per_term.values())).sum(0)
        terms: dict[str, Tensor] = {}
        for name, values in per_term.items():
            terms[name] = values.mean()
        return MethodResult(
            loss=per_sample.mean(),
            terms=terms,
            per_sample=per_sample,
            s=torch.cat(list(starts.values())),
            t=torch.cat(list(ends.values())),
            per_term=per_term,
            seed=draw.seed,
        )

    def compiled(self, **options: Any) -> Callable[..., MethodResult]:
        """`evaluate` inside `torch.compile`, whose `options` these are, without the products with zero tangents.

        One compilation serves one batch size: keep it constant.
        """
        return compile_loss(self.evaluate, differentiates=self.differentiates, **options)

    def extra_repr(self) -> str:
        """The name, and the options given."""
        return ", ".join([self.name, *(f"{key}={value!r}" for key, value in self.given.items())])

    def _point(
        self,
        term: Term,
        drawn: TermDraw,
        draw: Draw,
        X: FlowMap,
        interpolant: Interpolant | None,
        teacher: Teacher,
        average: FlowMap | None,
    ) -> TermPoint:
        """The operators conditioned on the term's labels, and the state that the term starts from."""
        o, s, x0, x1 = self.options, drawn.s, drawn.x0, drawn.x1
        held = (
            Operators(X, teacher, average) if drawn.augment is None else augmented(X, teacher, average, drawn.augment)
        )
        if drawn.labels is not None:
            held = conditioned(held, o, term.velocity, drawn.labels, drawn.told, drawn.kept, x0.dtype)
        if term.pairs == "teacher flow":
            zero, one = torch.zeros_like(s), torch.ones_like(s)
            x1 = teacher_solution(held, zero, one, x0)
        if interpolant is None or (term.whole and drawn.path is not None):
            x = x0
        elif o.start == "interpolant" or term.share == "eta":
            x = interpolant.combination("value", s, x0, x1, drawn.z).to(x0.dtype)
        else:
            x = self._without_data(held, interpolant, s, x0)
        return TermPoint(
            **held._asdict(),
            schedule=interpolant,
            s=s,
            u=drawn.u,
            t=drawn.t,
            path=drawn.path,
            x=x,
            x0=x0,
            x1=x1,
            z=drawn.z,
            probes=drawn.probes,
            source=term.velocity,
            frozen=term.stop_gradient and o.stop_gradient,
            warmup=draw.warmup,
            alpha=draw.alpha,
            options=o,
        )

    @torch.no_grad()
    def _without_data(self, held: Operators, interpolant: Interpolant, s: Tensor, x0: Tensor) -> Tensor:
        """The state at `s` that a base sample leads to, by the map itself or by the teacher."""
        o, zero = self.options, torch.zeros_like(s)
        if o.start == "pushforward":
            return held.X(zero, s, x0)
        return teacher_solution(held, zero, s, x0) if o.steps is None else stepped(held, o, interpolant)(zero, s, x0)

    def _per_sample(self, k: TermPoint, difference: Difference, norm: Norm) -> Tensor:
        """Norm and weight of one difference, `[batch]`."""
        if difference.norm is not None:
            return difference.factor * difference.norm.between(difference.left, difference.right)
        o, left = self.options, difference.left
        right = difference.right.detach() if k.frozen else difference.right
        delta = left - right
        if k.frozen and o.normalize is not None:
            held = delta.detach()
            length = Squared()(held).sqrt().reshape(-1, *[1] * (held.ndim - 1))
            delta = delta - held + held / (length + o.normalize)
        if o.particles is not None:
            loss = between_groups(norm, k, difference)
        elif left.ndim > k.x.ndim and type(norm) is not Squared:
            loss = over_points(norm, left, right, delta)
        else:
            loss = norm.between(left, right) if norm.of_sides else norm(delta)
        if self._weights and difference.weighted:
            plain = isinstance(norm, Squared) and o.particles is None  # in a group a sample may add less than nothing
            squared = loss if plain else Squared()(delta)
            for weight in self._weights:
                loss = weight(loss, squared, k.s, k.t, **{name: getattr(k, name) for name in weight.wants})
        return difference.factor * loss

    def _check_trajectory(self) -> None:
        """Refuse what a whole trajectory leaves without effect: it says where it starts, and all its points."""
        o = self.options
        if not (isinstance(o.law, Trajectory) and any(term.whole for term in self.terms)):
            return
        for option in self.row.options:
            value = getattr(o, option.name)
            if option.name in ("points", "steps", "start") and value != option.default:
                raise ValueError(
                    f"`{option.name}` must be {option.default!r} with {o.law}, which says every point, got {value!r}; "
                    f"leave it out, or take another law."
                )
        if not (o.weight is None or isinstance(o.weight, Constant | Adaptive | InverseGuidance)):
            raise ValueError(
                f"`weight` must look at no times with {o.law}, whose points have many, got {o.weight}; pass 1.0, or "
                f"take another law."
            )

    def _states(self, interpolant: object, x0: object, x1: object, states: Tensor) -> Tensor:
        """The states in place of an interpolant and samples; refused beside them, and where a row needs those."""
        for name, value in (("interpolant", interpolant), ("x0", x0), ("x1", x1)):
            if value is not None:
                raise TypeError(
                    f"`{name}` must be None beside `states`, got {type(value).__name__}; the states stand for it."
                )
        if not follows_a_teacher_alone(self):
            raise ValueError(
                f"`states` must be given to a row that follows a teacher alone, such as lmd or emd, and starts where "
                f'they are, got {self.name} with start="{self.options.start}"; pass an interpolant and samples.'
            )
        check_state(states, "states")
        return states

    def _check_operators(self, X: FlowMap, teacher: object, average: object, labels: Tensor | None) -> None:
        """Refuse a teacher or an average that is missing or of the wrong kind, and labels that are missing."""
        o, wanted = self.options, self.row.teacher.removeprefix("optional ")
        if self.joint and not isinstance(X, JointMap):
            raise TypeError(
                f"`X` must be a JointMap for {self.name}, got {type(X).__name__}; build LearnedJointMap(network) of a "
                f"network with log_det=True."
            )
        kind = JointMap if self.joint else FlowMap
        if o.ema_teacher and not isinstance(average, kind):
            raise TypeError(
                f"`average` must be a {kind.__name__} with ema_teacher=True, got {type(average).__name__}; pass the "
                f"average of X."
            )
        optional = teacher is None and self.row.teacher.startswith("optional ")
        if optional and o.eta == 0 and o.paper and "eta" not in self.given:
            raise ValueError(
                f"`teacher` must be given to {self.name} with paper=True, which learns from it alone, got none; pass "
                f"teacher=b, or eta=0.75 to learn from the data too."
            )
        if wanted and not optional and not isinstance(teacher, TEACHERS[wanted]):
            names = {"field": "a VelocityField", "map": "a FlowMap", "field or map": "a VelocityField or a FlowMap"}
            hints = {"field": "teacher=b, or X.velocity() of a map X", "map": "teacher=X, or b.flow_map() of a field b"}
            got = "none" if teacher is None else type(teacher).__name__
            hint = hints.get(wanted, "teacher=b")
            raise TypeError(f"`teacher` must be {names[wanted]} for {self.name}, got {got}; pass {hint}.")
        for name, option, fixed in (("guidance", "guidance", "number"), ("interval", "guidance_interval", "pair")):
            if self.wanted[name] and not X.takes(name):
                raise ValueError(
                    f"`X` must take a condition `{name}` with {option}={getattr(o, option)}, and its network has none; "
                    f"build it with {name}=True, or pass one {fixed}."
                )
        known = self.wanted["interval"] and isinstance(teacher, FlowMap) and teacher.takes("interval")
        if wanted and o.guidance_interval is not None and isinstance(teacher, FlowMap) and not known:
            raise ValueError(
                f"`guidance_interval` must be None with a map as teacher that is not told it, got "
                f"{o.guidance_interval}; pass a field as teacher, such as teacher.velocity()."
            )
        if o.auxiliary:
            X.auxiliary()
        if labels is None:
            for name, plain in (("guidance", 1.0), ("label_dropout", 0.0)):
                if (value := getattr(o, name)) != plain:
                    raise ValueError(
                        f"`labels` must be given with {name}={value}, got None; pass one label per sample."
                    )
        elif (
            o.guidance != 1
            and wanted
            and isinstance(teacher, VelocityField)
            and not teacher.takes(condition_of(teacher, labels))
        ):
            raise ValueError("`teacher` must take a `label` to be guided, this one takes none; distil a guided field.")


def over_points(norm: Norm, left: Tensor, right: Tensor, delta: Tensor) -> Tensor:
    """The norm of two sides, or of their difference, at each of the points in their second axis, summed over these."""
    if norm.of_sides:
        each = norm.between(left.flatten(0, 1), right.flatten(0, 1))
    else:
        each = norm(delta.flatten(0, 1))
    return each.unflatten(0, left.shape[:2]).sum(1)


def follows_a_teacher_alone(method: Method) -> bool:
    """Whether no term asks for an interpolant: its velocity is the teacher's, and its states are any."""
    return (
        bool(method.row.teacher)
        and not method.row.teacher.startswith("optional ")
        and method.options.start == "interpolant"
        and all(term.velocity in (TEACHER, None) and term.pairs == "given" for term in method.terms)
    )


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

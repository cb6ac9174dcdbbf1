r"""A training method: a few terms, the options they share, and one call for all.

A call first draws everything random (`draw`), then evaluates the loss (`evaluate`), which is a function of tensors and
operators that `torch.compile` takes whole.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from flowops._arguments import check_like, check_state
from flowops._compile import compile_loss
from flowops.fields import VelocityField
from flowops.interpolants import Interpolant
from flowops.maps import FlowMap
from flowops.methods.draws import draw_terms
from flowops.methods.evaluation import evaluate_terms
from flowops.methods.options import SHARED, check_guidance, check_labels, check_options, check_teacher
from flowops.methods.point import Draw
from flowops.methods.result import MethodResult
from flowops.methods.term import Term


@dataclass(frozen=True)
class Row:
    """What a method is, without the values of its options.

    Attributes:
        name: as in `METHODS`.
        forms: its terms, one entry for each value of the option `form`; a single one under the empty name.
        defaults: its own options with their defaults, beside those that all rows share.
        paper: the options under which the paper ran it, where they differ from the defaults.
        teacher: `""`, or the kind of teacher: `"field"`, `"map"`, `"field or map"`, each also as `"optional ..."`.
        source: papers and equations.
        summary: what it does, with the translation of the paper's clock and letters.
    """

    name: str
    forms: Mapping[str, tuple[Term, ...]]
    defaults: Mapping[str, Any]
    paper: Mapping[str, Any]
    teacher: str
    source: str
    summary: str


class Method(nn.Module):
    r"""A training method of flow maps, called as `method(X, interpolant, x0, x1)`.

    Attributes:
        row: what it is; `row.source` and `row.summary` say where it comes from.
        terms: its terms, chosen by the option `form` where there is a choice.
        options: every option with its value.

    The parameters of a learned weight, if there is one, are those of the module.

    Raises:
        TypeError: for an option that the row does not have.
        ValueError: for a value that an option cannot have.
    """

    def __init__(self, row: Row, **options: Any) -> None:
        super().__init__()
        defaults = {**SHARED, **row.defaults}
        for key in options:
            if key not in defaults:
                close = difflib.get_close_matches(key, defaults, 1)
                hint = f"; did you mean `{close[0]}`?" if close else "."
                known = ", ".join(sorted(defaults))
                raise TypeError(f"`{key}` must be an option of {row.name}, which has {known}{hint}")
        self.row, self.name, self.given = row, row.name, options
        self.__doc__ = f"{row.summary}\n\nSource: {row.source}."
        self.options = check_options({**defaults, **options}, row.forms)
        self.weight: nn.Module = self.options.weight
        self.terms = row.forms[getattr(self.options, "form", "")]

    def with_options(self, **options: Any) -> Method:
        """The same row with further options."""
        return Method(self.row, **{**self.given, **options})

    def forward(
        self,
        X: FlowMap,
        interpolant: Interpolant,
        x0: Tensor,
        x1: Tensor,
        *,
        teacher: VelocityField | FlowMap | None = None,
        labels: Tensor | None = None,
        step: int | None = None,
        generator: torch.Generator | None = None,
        seed: int | None = None,
    ) -> MethodResult:
        r"""The loss of one batch.

        Args:
            X: the map that is trained.
            interpolant: $I$; a latent is drawn where it has one.
            x0: base samples `[batch, *event]`.
            x1: data samples, coupled with `x0` row by row.
            teacher: the field to distil, for `pfmm` the map of the previous round, with `ema_teacher` the average of
                `X`; ignored by methods that need none.
            labels: one per sample, given to `X` (and the teacher, if it takes one) as the condition `label`.
            step: number of training steps done; drives warm-up, curricula and annealing. None means their end.
            generator: source of the draws, which all follow from one number taken from it; on the CPU it costs no
                synchronization, wherever the states are.
            seed: that number itself, to repeat a call exactly; no generator is used then.

        Raises:
            TypeError, ValueError: for operators or samples of a wrong kind, and for a teacher or a label that is
                missing.
        """
        given: dict[str, Any] = {"labels": labels, "step": step, "generator": generator, "seed": seed}
        draw = self.draw(X, interpolant, x0, x1, teacher=teacher, **given)
        return self.evaluate(X, interpolant, draw, teacher=teacher)

    def draw(
        self,
        X: FlowMap,
        interpolant: Interpolant,
        x0: Tensor,
        x1: Tensor,
        *,
        teacher: VelocityField | FlowMap | None = None,
        labels: Tensor | None = None,
        step: int | None = None,
        generator: torch.Generator | None = None,
        seed: int | None = None,
    ) -> Draw:
        """Check the arguments, and draw times, latents and dropped labels; arguments as in a call."""
        for name, value, kind in (("X", X, FlowMap), ("interpolant", interpolant, Interpolant)):
            if not isinstance(value, kind):
                raise TypeError(
                    f"`{name}` must be of type {kind.__name__}, got {type(value).__name__}; wrap or build one."
                )
        check_state(x0, "x0")
        check_like(x1, x0, "x1", "x0")
        check_teacher(self, teacher)
        check_guidance(self, X)
        check_labels(self, labels, teacher, x0)
        if seed is None:
            seed = int(torch.randint(2**62, (), generator=generator, device=generator.device if generator else None))
        return draw_terms(self, X, interpolant, x0, x1, labels, step, seed)

    def evaluate(
        self, X: FlowMap, interpolant: Interpolant, draw: Draw, *, teacher: VelocityField | FlowMap | None = None
    ) -> MethodResult:
        """The loss of what `draw` drew: a pure function, the part to compile."""
        return evaluate_terms(self, X, interpolant, draw, teacher)

    def compiled(self, **options: Any) -> Callable[..., MethodResult]:
        """`evaluate` inside `torch.compile`, whose `options` these are, without the products with zero tangents.

        One compilation serves one batch size: keep it constant.
        """
        return compile_loss(self.evaluate, **options)

    def extra_repr(self) -> str:
        """The name, and the options given."""
        return ", ".join([self.name, *(f"{key}={value!r}" for key, value in self.given.items())])

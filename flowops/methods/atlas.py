r"""The atlas: what the methods of the literature are to each other, every relation executed by a theory check.

A preset of the table is another row. Beside these stand names that are in no table, since they are a row under another
clock and other letters, and rows that tend to each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flowops.methods.table import METHODS

PRESETS = "presets_are_other_rows_with_other_options"


@dataclass(frozen=True, kw_only=True)
class Relation:
    r"""A method that is another one, or tends to it, as gradients on random networks show.

    Attributes:
        name: a row, or a name of the literature that is none.
        of: the row that it is.
        options: the options of that row, where they are values.
        how: what is set besides, with the translation of clock and letters.
        order: order in the step at which its gradient tends to that of the row; None where they are equal.
        lacking: what of the published method the row leaves out; empty if nothing.
        source: paper.
        check: the theory check that executes it, without `test_`.
    """

    name: str
    of: str
    options: Mapping[str, Any] = field(default_factory=dict)
    how: str
    order: float | None = None
    lacking: str = ""
    source: str
    check: str

    @property
    def verb(self) -> str:
        """What it does: it is the row, or it tends to it."""
        return "is" if self.order is None else f"tends to (order {self.order:g})"


NAMES = (
    Relation(
        name="reflow",
        of="fm",
        how="on the coupling of a base sample and its image under the flow of the teacher",
        source="2209.03003",
        check="names_of_the_literature_are_rows",
    ),
    Relation(
        name="knowledge distillation",
        of="regression",
        how="s = 0, t = 1: one step regresses on the end of the teacher's solution",
        source="Luhman, Luhman 2101.02388",
        check="names_of_the_literature_are_rows",
    ),
    Relation(
        name="FreeFlow (prediction)",
        of="lmd",
        options={"form": "velocity", "start": "pushforward", "stop_gradient": True},
        how="s = 0: the velocity that the map generates against the teacher's, from the prior alone; F(z, d) is "
        "v_0d(z)",
        lacking="its correction half, which trains a second network; read from its abstract and page",
        source="Tong et al. 2511.19428",
        check="names_of_the_literature_are_rows",
    ),
    Relation(
        name="TVM",
        of="lsd",
        options={"ema_teacher": True, "balance": "terms"},
        how="F(x, t, t - s) is -v_1-t,1-s(x), the noise being at 1; the diagonal has times of its own; with labels its "
        "scale is an input, guidance=(low, high), and weight=InverseGuidance()",
        lacking="its law of the times, and a network whose output is multiplied by the scale",
        source="Zhou et al. 2511.19797",
        check="names_of_the_literature_are_rows",
    ),
    Relation(
        name="lsd",
        of="ayf-lmd",
        options={},
        how="in the form of velocities and off the diagonal: the map's own field v_tt is the teacher",
        source="2505.18825 (94), (95)",
        check="align_your_flow_is_the_semigradient",
    ),
    Relation(
        name="esd",
        of="ayf-emd",
        options={},
        how="in the form of velocities and off the diagonal: the map's own field v_ss is the teacher",
        source="2505.18825 (94), (96)",
        check="align_your_flow_is_the_semigradient",
    ),
    Relation(
        name="sCD",
        of="scm",
        how="with a teacher; its clock runs over angles, from the data",
        source="Lu, Song 2410.11081",
        check="consistency_models_are_the_maps_to_time_one",
    ),
    Relation(
        name="sCT",
        of="scm",
        how="without a teacher; its clock runs over angles, from the data",
        source="Lu, Song 2410.11081",
        check="peer_formulas",
    ),
    Relation(
        name="ctm",
        of="cd",
        how="at t = 1, where its outer map is the identity",
        source="2310.02279",
        check="consistency_models_are_the_maps_to_time_one",
    ),
    Relation(
        name="Decoupled MeanFlow",
        of="meanflow",
        options={"p": 1.0},
        how="c = d eps exp(l): the gradient of its loss log(exp(-l) mean|D|^2 + eps) + l at a held l, in d numbers; "
        "its late layers alone see the second time",
        lacking="the learned l, which is trained beside the map",
        source="2510.24474",
        check="names_of_the_literature_are_rows",
    ),
    Relation(
        name="RCGM (first order)",
        of="alpha-flow",
        how="alpha = D/(t-s) for its fixed step D, the conditional velocity followed",
        lacking="its clamp of the difference to [-1, 1]; order N > 1 composes N steps of the map after the first",
        source="Sun, Lin, ICLR 2026; read in the code of TwinFlow",
        check="names_of_the_literature_are_rows",
    ),
    Relation(
        name="SoFlow",
        of="alpha-flow",
        options={"follow": "conditional"},
        how="N(x, t, s) is -v_1-t,1-s(x), the noise being at 1: half its gradient as released; the squared quotient of "
        "the paper has weight=1/alpha",
        lacking="its trigonometric coefficients; the shared noise of dropout",
        source="2512.15657",
        check="soflow_is_alpha_flow",
    ),
    Relation(
        name="trajectory flow matching",
        of="alpha-flow",
        options={"alpha": 1.0},
        how="v_st(I_s) against I'_s at once",
        source="2510.20771",
        check="alpha_flow_joins_trajectory_matching_and_meanflow",
    ),
    Relation(
        name="alpha-flow",
        of="psd-m",
        how="alpha = 1/2 along its own velocity: twice its gradient",
        source="2510.20771",
        check="alpha_flow_joins_trajectory_matching_and_meanflow",
    ),
    Relation(
        name="alpha-flow",
        of="meanflow",
        how="alpha to 0 along the conditional velocity",
        order=1.0,
        source="2510.20771",
        check="alpha_flow_joins_trajectory_matching_and_meanflow",
    ),
    Relation(
        name="ct",
        of="scm",
        how="u = s + e(1-s), gradient over e, scm weighed by (1-s)^2",
        order=1.0,
        source="2505.18825 (35), (40)-(42)",
        check="consistency_training_tends_to_the_eulerian_semigradient",
    ),
    Relation(
        name="facm",
        of="ayf-emd",
        how="off the diagonal, at t = 1: weighed by (1 - s^p) cos(pi s / 2)",
        source="2507.03738",
        check="flow_anchored_models_vanish_under_their_clamp",
    ),
    Relation(
        name="tcm",
        of="ct",
        how="on times before the transition, the map itself being the first stage",
        source="2410.14895",
        check="truncated_models_are_one_map_with_their_first_stage",
    ),
    Relation(
        name="imm",
        of="ct",
        how="of one particle at t = 1, ct in the norm 1 - k",
        source="2503.07565",
        check="moment_matching_compares_laws",
    ),
    Relation(
        name="discrete-emd",
        of="ayf-emd",
        how="gradient over epsilon, weighed by (t-s)^2",
        order=1.0,
        source="2506.14603, Theorem 3.2",
        check="discrete_steps_tend_to_the_semigradients",
    ),
    Relation(
        name="discrete-lmd",
        of="ayf-lmd",
        how="gradient over epsilon, weighed by (t-s)^2",
        order=1.0,
        source="2506.14603, Theorem 3.3",
        check="discrete_steps_tend_to_the_semigradients",
    ),
    Relation(
        name="psd-u",
        of="lsd",
        how="gamma to 0, gradient over gamma",
        order=1.0,
        source="2505.18825 (93), F.1",
        check="semigroup_tends_to_the_differential_equations",
    ),
    Relation(
        name="psd-u",
        of="esd",
        how="gamma to 1, gradient over 1 - gamma",
        order=1.0,
        source="2505.18825 (93), F.1",
        check="semigroup_tends_to_the_differential_equations",
    ),
)
"""The relations that no preset declares."""


def atlas() -> tuple[Relation, ...]:
    """Every relation, sorted by the row that it leads to: presets first, then `NAMES`."""
    presets = tuple(
        Relation(name=name, of=row.preset_of, how=row.settings, source=row.source, check=PRESETS)
        for name, row in ((name, method.row) for name, method in METHODS.items())
        if row.preset_of
    )
    order = list(METHODS)
    return tuple(sorted((*presets, *NAMES), key=lambda relation: order.index(relation.of)))

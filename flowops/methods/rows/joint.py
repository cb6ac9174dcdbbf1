r"""Rows that learn a state and the logarithm of the determinant of its flow together, for densities in few steps.

$(X_{s,t},L_{s,t})$ with $L=(t-s)D$ is a flow map of its own, of $(b,\nabla\!\cdot b)$, so that its terms are those of
other rows on that map: the state's part is theirs, and the last entry is the part of the rate $D$.
"""

from dataclasses import replace

import torch
from torch import Tensor

from flowops.fields import AugmentedField
from flowops.fields.augmented import joined
from flowops.maps import JointMap
from flowops.methods import compared
from flowops.methods.declare import replaced, row
from flowops.methods.options import (
    EMA_TEACHER,
    ETA,
    INFINITY,
    PROBES,
    START,
    STOP_GRADIENT,
    Option,
    between,
    optional,
)
from flowops.methods.point import (
    CONDITIONAL,
    OWN,
    TEACHER_OR_CONDITIONAL,
    Difference,
    Differences,
    TermPoint,
    VelocitySource,
)
from flowops.methods.rows.matching import FLOW_MATCHING_PART
from flowops.methods.rows.self_distillation import GAMMA, esd, lsd, psd_u
from flowops.times import FullSquare

SCALE = Option(
    "scale",
    None,
    "what the rate of the log-determinant is divided by in the loss; None for the number of coordinates",
    "None or a positive number",
    optional(between(0.0, INFINITY, open_low=True)),
)


def joint_tangent(k: TermPoint) -> Differences:
    r"""$(v,D)_{t,t}(I_t)$ against $(b_t,\nabla\!\cdot b_t)(I_t)$, or against $\dot I_t$ and $\nabla\!\cdot v_{t,t}$."""
    left, right = compared.tangent(augmented(k))["diagonal"][:2]
    return parted(k, ("diagonal", "divergence"), left, right)


def joint_lagrangian(k: TermPoint) -> Differences:
    r"""$\partial_tX_{s,t}$ against $b_t(X_{s,t})$, $D_{s,t}$ against $(\nabla\cdot b_t)(X_{s,t})-(t-s)\partial_tD$."""
    j = augmented(k)
    left, right = compared.lagrangian(j)["lagrangian"][:2]
    rate = j.X.average_velocity(j.s, j.t, j.x)[:, -1:]
    moved = right[:, -1:] - (left[:, -1:] - rate)  # of the last entry, D + (t - s) d_t D, the rate alone stays left
    left, right = torch.cat([left[:, :-1], rate], 1), torch.cat([right[:, :-1], moved], 1)
    return parted(k, ("lagrangian", "log-det"), left, right)


def joint_eulerian(k: TermPoint) -> Differences:
    r"""$(v,D)_{s,t}(x)$ against $(b_s,\nabla\!\cdot b_s)(x)+(t-s)(\partial_s+b_s\cdot\nabla)(v,D)_{s,t}(x)$."""
    left, right = compared.eulerian_velocity(augmented(k))["eulerian"][:2]
    return parted(k, ("eulerian", "log-det"), left, right)


def joint_semigroup(k: TermPoint) -> Differences:
    r"""$(v,D)_{s,t}(x)$ against $(1-\gamma)(v,D)_{s,u}(x)+\gamma(v,D)_{u,t}(X_{s,u}(x))$."""
    left, right = compared.semigroup_velocity(augmented(k))["semigroup"][:2]
    return parted(k, ("semigroup", "log-det"), left, right)


def augmented(k: TermPoint) -> TermPoint:
    r"""The point of the augmented map: $(x,0)$ and $(b,\nabla\!\cdot b)$, beside $\dot I$ the map's own divergence."""
    event = k.x.shape[1:]

    def field(_: TermPoint) -> AugmentedField:
        conditional = k.source is CONDITIONAL or (k.source is TEACHER_OR_CONDITIONAL and k.teacher is None)
        return AugmentedField(k.b, event, expands=OWN.field(k) if conditional else None, probes=k.probes)

    assert isinstance(k.X, JointMap)
    average = k.average.augmented(event) if isinstance(k.average, JointMap) else None
    source = VelocitySource("augmented", field)
    return replace(k, X=k.X.augmented(event), average=average, x=joined(k.x), source=source)


def parted(k: TermPoint, names: tuple[str, str], left: Tensor, right: Tensor) -> Differences:
    """Two sides as the state's part and that of the rate, which is scaled."""
    scale = k.options.scale or k.x.shape[1:].numel()
    state = Difference(left[:, :-1], right[:, :-1])
    return dict(zip(names, (state, Difference(left[:, -1:] / scale, right[:, -1:] / scale)), strict=True))


JOINT_DIAGONAL = replace(
    FLOW_MATCHING_PART,
    residual=joint_tangent,
    velocity=TEACHER_OR_CONDITIONAL,
    stop_gradient=True,
    constant="b_t or I'_t, div b_t or div v_tt",
    joint=True,
)
TERMS = {
    "lagrangian": replaced(
        lsd, form="map", residual=joint_lagrangian, constant="v_tt(X_st), div v_tt(X_st) - (t-s) d_t D"
    ),
    "eulerian": replaced(esd, form="velocity", residual=joint_eulerian, constant="(v_ss, div v_ss) + (t-s) D_s (v, D)"),
    "meanflow": replaced(
        esd,
        form="velocity",
        residual=joint_eulerian,
        velocity=CONDITIONAL,
        constant="(I'_s, div v_ss) + (t-s)(d_s + I'_s grad)(v, D)",
    ),
    "semigroup": replaced(
        psd_u, form="velocity", residual=joint_semigroup, constant="(1-g) (v, D)_su + g (v, D)_ut(X_su)"
    ),
}
FORMS = {form: (JOINT_DIAGONAL, replace(term, law=FullSquare(), joint=True)) for form, term in TERMS.items()}

f2d2 = row(
    "f2d2",
    forms=FORMS,
    teacher="optional field",
    options=(PROBES(1), SCALE, GAMMA, ETA(0.5), STOP_GRADIENT, START, EMA_TEACHER),
    paper={"scale": 1e4},
    lacking="its networks of images; of the paper the abstract and its parametrization were read, the settings are "
    "those of its code for CelebA",
    source="Ai et al. 2512.02636; code Keely-Ai/JAX-F2D2, Keely-Ai/F2D2",
    summary=r"Joint distillation of a state and its log-determinant, $\log|\det\nabla X_{s,t}|=(t-s)D_{s,t}$, with $D$ "
    r"a second output of the network of a `JointMap`. The diagonal is that of a teacher, or of the data and the map's "
    r"own divergence; both orders of the times are drawn, since a density is had by going from 1 to 0. Written after "
    r"the authors' code: its LSD is `form=lagrangian`, its shortcut model "
    r"`form=semigroup, law=Dyadic(7), gamma=0.5`; it divides the rate by $10^4$ (CelebA), $2\cdot10^4$ (CIFAR-10), 10 "
    r"(in the plane).",
)

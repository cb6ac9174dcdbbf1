"""Every setting of the golden runs, written out: no value here is taken from a default of the library.

A row is evaluated with all of its options given, and its law with all of its own. Tests read the signatures and refuse
a setting that is missing here.
"""

from __future__ import annotations

from typing import Any

from flowops.methods import Laplace, Lp, PseudoHuber, Sigmoid, Squared
from flowops.times import (
    Diagonal,
    Doubling,
    Dyadic,
    EndpointFixed,
    FullSquare,
    Halving,
    Karras,
    Ladder,
    LogitNormal,
    LogNoise,
    Shrinking,
    Uniform,
    UpperTriangle,
)

EVENT = (3,)
BATCH = 8
CLASSES = 3
NETWORK: dict[str, Any] = {
    "event": EVENT,
    "width": 6,
    "depth": 2,
    "activation": "gelu",
    "octaves": 1,
    "frequencies": (),
    "harmonics": 2,
    "labels": CLASSES,
    "guidance": True,
    "interval": False,
    "condition": None,
    "log_det": False,
    "auxiliary": False,
}
UNET: dict[str, Any] = {
    "event": (2, 4, 4),
    "channels": 4,
    "multipliers": (1, 2),
    "blocks": 1,
    "attention": (2,),
    "heads_width": 4,
    "labels": CLASSES,
    "dropout": 0.0,
    "guidance": True,
    "interval": False,
    "condition": None,
    "log_det": False,
    "auxiliary": False,
    "embedding_layers": 2,
    "conditions_width": None,
    "forced_normalization": False,
    "embedding": "positional",
    "time_scale": 8.0,
    "one_time": False,
}
WEIGHT: dict[str, Any] = {"width": 5, "harmonics": 2}
INTERPOLANT: dict[str, Any] = {
    "alpha": "cos(pi*t/2)",
    "beta": "sin(pi*t/2)",
    "gamma": None,
    "name": "golden",
    "gaussian_base": True,
}
OPTIMIZER: dict[str, Any] = {
    "kind": "adam",
    "rate": 0.02,
    "matrix_rate": 0.02,
    "schedule": "constant",
    "warmup": 0,
    "decay_start": 1000,
    "beta1": 0.9,
    "beta2": 0.95,
    "weight_decay": 0.0,
    "clip": 1.0,
    "clip_unit": "one",
}
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "adam": OPTIMIZER,
    "adamw": {**OPTIMIZER, "kind": "adamw", "weight_decay": 0.1},
    "radam": {**OPTIMIZER, "kind": "radam", "clip": 0.0},
    "muon": {**OPTIMIZER, "kind": "muon"},
}
STEPS = 3
SAMPLES = 4
GRID = [0.0, 0.3, 1.0]
CHUNK = 3

TRIANGLE = UpperTriangle(law=Uniform(low=0.0, high=1.0))
LOGIT = UpperTriangle(law=LogitNormal(mean=0.4, std=1.0))
DIAGONAL = Diagonal(law=Uniform(low=0.0, high=1.0))
KARRAS = Karras(rho=7.0, sigma_min=0.002, sigma_max=80.0)
LADDER = Ladder(rungs=18, spacing="uniform", law="uniform")

# What every row offers.
SHARED: dict[str, Any] = {
    "law": TRIANGLE,
    "weight": 1.0,
    "norm": Squared(),
    "p": 0.0,
    "c": 0.001,
    "label_dropout": 0.0,
    "null_label": CLASSES,
    "guidance": 1.0,
    "guidance_interval": None,
    "inverse": 0.0,
    "paper": False,
}
DISTILLED: dict[str, Any] = {
    "stop_gradient": False,
    "normalize": None,
    "start": "interpolant",
    "derivatives": "forward",
}
TANGENT: dict[str, Any] = {
    "stop_gradient": True,
    "normalize": None,
    "warmup": 0,
    "cap": 1.0,
    "start": "interpolant",
    "derivatives": "forward",
}
OWN: dict[str, Any] = {
    "stop_gradient": True,
    "normalize": None,
    "eta": 0.75,
    "diagonal": None,
    "balance": "rows",
    "start": "interpolant",
    "ema_teacher": False,
    "decay": None,
    "dropout": "all",
}
MEAN: dict[str, Any] = {
    "stop_gradient": True,
    "normalize": None,
    "eta": 0.75,
    "diagonal": None,
    "balance": "rows",
    "derivatives": "forward",
}
MIXED: dict[str, Any] = {**MEAN, "mix": 0.0}
TWO_OUTPUTS: dict[str, Any] = {**MIXED, "auxiliary": False}
SCM: dict[str, Any] = {
    "law": EndpointFixed(law=LogNoise(mean=-1.0, std=1.4), end=1.0),
    "stop_gradient": True,
    "normalize": 0.1,
    "warmup": 100,
    "derivatives": "forward",
}
JOINT: dict[str, Any] = {
    "law": FullSquare(law=Uniform(low=0.0, high=1.0)),
    "form": "lagrangian",
    "probes": 2,
    "scale": 10.0,
    "gamma": None,
    "eta": 0.5,
    "diagonal": None,
    "balance": "rows",
    "stop_gradient": True,
    "start": "interpolant",
    "ema_teacher": False,
    "decay": None,
}

ROWS: dict[str, dict[str, Any]] = {
    "fm": {"law": DIAGONAL},
    "fmm": {"law": FullSquare(law=Uniform(low=0.0, high=1.0)), "derivatives": "forward"},
    "reflow": {"law": DIAGONAL},
    "contrastive-fm": {"law": DIAGONAL, "lam": 0.05},
    "lmd": {**DISTILLED, "form": "map"},
    "emd": {**DISTILLED, "form": "map"},
    "ayf-emd": TANGENT,
    "ayf-lmd": TANGENT,
    "pfmm": {"K": 2},
    "pd": {"law": Halving(levels=6, round_length=50), "K": 2, "solver": "euler"},
    "regression": {"points": 2, "start": "interpolant", "solver": "heun", "steps": None},
    "cmt": {"points": 2, "start": "trajectory", "solver": "heun", "steps": 3},
    "discrete-emd": {"epsilon": 0.01, "solver": "euler", "stop_gradient": True, "normalize": None},
    "discrete-lmd": {"epsilon": 0.01, "stop_gradient": True, "normalize": None},
    "ctm": {
        "eta": 0.5,
        "diagonal": None,
        "balance": "rows",
        "epsilon": None,
        "solver": "heun",
        "stop_gradient": True,
        "ema_teacher": False,
        "decay": None,
    },
    "cd": {"law": LADDER, "solver": "heun", "stop_gradient": True, "ema_teacher": True, "decay": None},
    "ct": {"law": LADDER, "stop_gradient": True, "ema_teacher": True, "decay": None, "one_mask": False},
    "ict": {
        "law": Ladder(
            rungs=Doubling(start=10, end=1280, steps=400_000), spacing=KARRAS, law=LogNoise(mean=-1.1, std=2.0)
        ),
        "norm": PseudoHuber(c=0.01),
        "stop_gradient": True,
        "one_mask": False,
    },
    "ect": {
        "law": Shrinking(law=LogNoise(mean=-1.1, std=2.0), q=2.0, k=8.0, b=1.0, steps_per_stage=10, stages=8),
        "p": 0.5,
        "c": 1e-8,
        "stop_gradient": True,
        "one_mask": False,
    },
    "scm": {**SCM, "form": "velocity"},
    "facm": {
        "law": EndpointFixed(law=Uniform(low=0.0, high=1.0), end=1.0),
        "eta": 0.5,
        "diagonal": None,
        "balance": "rows",
        "relaxation": 0.5,
        "clamp": 1.0,
        "cosine": 1.0,
        "p": 0.5,
        "stop_gradient": True,
        "derivatives": "forward",
    },
    "tcm": {
        "law": Shrinking(law=Uniform(low=0.0, high=0.55), q=2.0, k=8.0, b=1.0, steps_per_stage=10, stages=8),
        "transition": 0.5,
        "stop_gradient": True,
    },
    "imm": {
        "norm": Laplace(width=1.0),
        "particles": 3,
        "epsilon": 0.1,
        "narrows": False,
        "stop_gradient": True,
    },
    "lsd": {**OWN, "guides": "target", "derivatives": "forward", "form": "map"},
    "esd": {**OWN, "guides": "target", "derivatives": "forward", "form": "map"},
    "psd-u": {**OWN, "gamma": None, "form": "velocity"},
    "psd-m": {**OWN, "gamma": 0.5, "form": "velocity"},
    "split-meanflow": {**OWN, "gamma": None},
    "shortcut": {
        "law": Dyadic(levels=7),
        "gamma": 0.5,
        "eta": 0.75,
        "diagonal": None,
        "balance": "rows",
        "stop_gradient": True,
        "ema_teacher": True,
        "guides": "target",
        "finest": None,
        "clip": None,
        "decay": None,
    },
    "meanflow": {**TWO_OUTPUTS, "law": LOGIT, "p": 1.0, "warmup": 0, "tangent": 1.0},
    "imf": {**TWO_OUTPUTS, "law": LOGIT, "tangent": 0.0},
    "trapezoid": MEAN,
    "alpha-flow": {**MIXED, "law": LOGIT, "alpha": 0.25, "anneal": Sigmoid(start=0, end=100), "follow": "conditional"},
    "f2d2": JOINT,
}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "lmd, form velocity": ("lmd", {**DISTILLED, "form": "velocity", "start": "pushforward"}),
    "emd, form velocity": ("emd", {**DISTILLED, "form": "velocity", "stop_gradient": True, "normalize": 0.1}),
    "scm, form trigflow": ("scm", {**SCM, "form": "trigflow"}),
    "lsd, form velocity": (
        "lsd",
        {**OWN, "guides": "target", "derivatives": "forward", "form": "velocity", "eta": 0.5},
    ),
    "esd, form velocity": (
        "esd",
        {**OWN, "guides": "target", "derivatives": "forward", "form": "velocity", "norm": Lp(p=1.0)},
    ),
    "psd-u, form map": ("psd-u", {**OWN, "gamma": 0.3, "form": "map", "ema_teacher": True}),
    "lsd, learned weight": (
        "lsd",
        {**OWN, "guides": "target", "derivatives": "forward", "form": "map", "weight": "learned"},
    ),
    "lsd, guided": (
        "lsd",
        {**OWN, "guides": "target", "derivatives": "forward", "form": "map", "guidance": 2.0, "label_dropout": 0.25},
    ),
    "meanflow, a range of guidance": (
        "meanflow",
        {**TWO_OUTPUTS, "law": LOGIT, "warmup": 10, "tangent": 1.0, "guidance": (1.0, 4.0)},
    ),
    "meanflow, a mixed target": (
        "meanflow",
        {**TWO_OUTPUTS, "law": LOGIT, "warmup": 0, "tangent": 1.0, "guidance": 2.0, "mix": 0.5},
    ),
    "meanflow, a mixed tangent": ("meanflow", {**TWO_OUTPUTS, "law": LOGIT, "warmup": 0, "tangent": 0.9}),
    "lmd, with the inverse": ("lmd", {**DISTILLED, "form": "map", "inverse": 0.5}),
    "esd, central differences": ("esd", {**OWN, "guides": "target", "form": "map", "derivatives": "central"}),
    "alpha-flow, own": ("alpha-flow", {**MIXED, "alpha": 0.25, "anneal": Sigmoid(start=0, end=100), "follow": "own"}),
    "f2d2, form eulerian": ("f2d2", {**JOINT, "form": "eulerian", "probes": 0}),
    "f2d2, form meanflow": ("f2d2", {**JOINT, "form": "meanflow", "stop_gradient": False}),
    "f2d2, form semigroup": ("f2d2", {**JOINT, "form": "semigroup", "gamma": 0.5, "ema_teacher": True}),
}


def row_of(name: str) -> tuple[str, dict[str, Any]]:
    """The row of a golden run and all of its options."""
    row, options = VARIANTS.get(name) or (name, ROWS[name])
    return row, {**SHARED, **options}

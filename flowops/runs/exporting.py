"""A run as a folder of diffusers: what of its settings the model there is made of, and which have no place there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowops._named import parse_values
from flowops.methods.point import null_label_of
from flowops.runs.assembly import method_of
from flowops.runs.facts import read_facts
from flowops.runs.settings import refuse_given

if TYPE_CHECKING:
    from flowops.adapters.diffusers.export import ExportedPipeline
    from flowops.runs.run import Run


def to_diffusers(run: Run, path: Path | str, *, truncate: bool = False) -> ExportedPipeline:
    r"""Write the map of a run, with the weights it was loaded with, as the folder of a `FlowMapPipeline`.

    From the same noise its pipeline gives the samples of the run to rounding, by any number of steps, with labels and
    guidance. A run on another schedule is moved to the linear one, exactly: equal steps of the pipeline are then equal
    in the noise level $\sigma$, and not in the clock of the run.

    Args:
        run: of images.
        path: the folder, new or an earlier export.
        truncate: whether the clock is held where the run's schedule reaches less far than the linear one, at the defect
            that `reschedule` states.

    Raises:
        ValueError: for a run of points, from paired data, on a schedule of three terms, with a network that was an
            object, or with a second-order parameterization, and a schedule that reaches less far without `truncate`.
        FileExistsError: if something else is in the folder.
    """
    config, network, facts = run.config, run.config.network, read_facts(run.folder.facts)
    _check(run)
    options = parse_values(network.options, "network.options")
    formulas = {name: value for name in ("alpha", "beta", "gamma") if (value := getattr(config, name)) is not None}
    from flowops.adapters.diffusers.export import export_pipeline

    return export_pipeline(
        run.X,
        run.interpolant,
        path,
        {
            "event": list(run.event),
            "network": network.kind,
            "network_options": options,
            "inputs": facts.wanted,
            "parameterization": network.parameterization,
            "parameterization_options": parse_values(
                network.parameterization_options, "network.parameterization_options"
            ),
            "interpolant": formulas or config.interpolant or "linear",
            "truncate": truncate,
            "classes": list(run.classes),
            "null_label": _null_label(run),
        },
    )


def _check(run: Run) -> None:
    """Refuse what has no place in a pipeline of images."""
    refuse_given(run.config.network.kind, "network")
    if run.condition is not None:
        raise ValueError(f"`run` must take no condition to be exported, got {run.folder.path}; sample it instead.")
    if len(run.event) != 3:
        raise ValueError(
            f"`run` must be of images for diffusers, [channels, height, width], got samples of shape "
            f"{list(run.event)}; export it to a program."
        )
    if run.paired:
        raise ValueError(
            f"`run` must start from normal noise for diffusers, and {run.folder.path} starts from base samples of its "
            f"data; export it to a program."
        )
    if run.interpolant.has_latent:
        raise ValueError(
            f"`run` must be on a schedule of two terms for diffusers, whose noise levels have no third, and "
            f"{run.folder.path} has a gamma; export it to a program."
        )
    if run.config.network.parameterization == "second-order":
        raise ValueError(
            f"`run` must be a map of its own network for diffusers, and {run.folder.path} adds one to its teacher's "
            f"field; export it to a program."
        )


def _null_label(run: Run) -> int | None:
    if not run.classes or run.X.takes("guidance"):
        return None
    given: Any = method_of(run.config).options.null_label
    try:
        return int(null_label_of(run.X, given))
    except ValueError:
        return None

"""The card of a run: what a reader of its repository wants to know, all of it from the record of the run."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

from flowops._named import require
from flowops.data.registry import NAMES
from flowops.interpolants import Interpolant
from flowops.maps import LearnedMap
from flowops.runs.assembly import method_of
from flowops.runs.folder import RunFolder
from flowops.runs.provenance import flowops_version
from flowops.runs.settings import TrainConfig

TASK = "unconditional-image-generation"


class Saved(Protocol):
    """What is told and written of a run."""

    @property
    def folder(self) -> RunFolder: ...
    @property
    def config(self) -> TrainConfig: ...
    @property
    def step(self) -> int: ...
    @property
    def event(self) -> torch.Size: ...
    @property
    def classes(self) -> tuple[str, ...]: ...
    @property
    def paired(self) -> bool: ...
    @property
    def X(self) -> LearnedMap: ...
    @property
    def interpolant(self) -> Interpolant: ...


def model_card(
    run: Saved,
    name: str,
    weights: str,
    *,
    license: str | None = None,
    evaluation: Path | None = None,
    picture: str | None = None,
) -> str:
    """The text of `README.md`, metadata first.

    Args:
        run: what it tells of.
        name: repository or folder, by which it is opened.
        weights: which weights lie there, in words.
        license: identifier of a licence; None leaves it to be chosen.
        evaluation: `evaluation.json` of these weights, and `evaluation.md` beside it; None without scores.
        picture: file name of a picture of samples.
    """
    hub = require("huggingface_hub", "hub")
    short = name.rstrip("/").rpartition("/")[2]
    scores = None if evaluation is None else json.loads(evaluation.read_text(encoding="utf-8"))
    table = "" if evaluation is None else evaluation.with_suffix(".md").read_text(encoding="utf-8").strip()
    images = len(run.event) == 3
    results = _results(hub, run, scores)
    data = hub.ModelCardData(
        library_name="flowops",
        tags=["flow-map", "flow-matching", "few-step-generation", run.config.method],
        datasets=[run.config.dataset] if run.config.dataset in NAMES else None,
        license=license,
        pipeline_tag=TASK if images and not run.classes else None,
        model_name=short if results else None,
        eval_results=results or None,
    )
    row = method_of(run.config).row
    parts = [
        f"# {short}",
        f"A flow map of {run.config.dataset}: $X_{{s,t}}(x)$ carries a sample from time $s$ to time $t$, from noise at "
        f"0 to data at 1, in any number of steps. It was learned by `{row.name}` with the Python library flowops.",
        *([f"![samples by number of steps]({picture})"] if picture else []),
        "## Sample it",
        f"```python\n{_how_to_sample(run, name)}\n```",
        *(["## How good it is", table] if table else []),
        "## How it was trained",
        _settings(run, weights),
        f"Method: {row.summary} Source: {row.source}.",
        "Every setting is in `config.yaml`, versions and data in `run.json`. The weights are safetensors, verified by "
        "the hashes of their manifest when they are read.",
    ]
    card = hub.ModelCard(f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(parts) + "\n")
    return str(card)


def _how_to_sample(run: Saved, name: str) -> str:
    label = ", label=0" if run.classes else ""
    shape = ", ".join(map(str, (64, *run.event)))
    return (
        f"from flowops import Run  # with the extras train and hub\n\n"
        f'run = Run.from_pretrained("{name}")\n'
        f"x = run.sample(64, steps=2{label})  # [{shape}]"
    )


def _results(hub: Any, run: Saved, scores: Mapping[str, Any] | None) -> list[Any]:
    """The first score of each of the map's own samplers as the metadata want it; the others stand in the table."""
    if scores is None:
        return []
    protocol = {"samples": scores["n"], "seed": scores["seed"], "guidance": scores.get("guidance")}
    column, task = scores["columns"][0], TASK if len(run.event) == 3 else "other"
    letters = unicodedata.normalize("NFKD", column.lower()).encode("ascii", "ignore").decode()
    return [
        hub.EvalResult(
            task_type=task,
            dataset_type=run.config.dataset,
            dataset_name=run.config.dataset,
            metric_type="-".join(re.findall(r"[a-z0-9]+", letters)),
            metric_name=f"{column}, {row['sampler']}",
            metric_value=row["values"][0],
            metric_args={"sampler": row["sampler"], **protocol},
            dataset_args={"reference": scores["reference"]},
        )
        for row in scores["rows"]
        if str(row["sampler"]).startswith("map,") and row["values"][0] is not None
    ]


def _settings(run: Saved, weights: str) -> str:
    config, facts = run.config, json.loads(run.folder.facts.read_text(encoding="utf-8"))
    commit = (facts.get("flowops_commit") or {}).get("commit")
    schedule = config.interpolant or ", ".join(
        f"{name} = {formula}"
        for name in ("alpha", "beta", "gamma")
        if (formula := getattr(config, name)) is not None
    )  # fmt: skip
    lines = {
        "data": facts.get("data") or config.dataset,
        "classes": len(run.classes) or "none",
        "method": " ".join((config.method, *config.options)),
        "schedule": schedule or "linear",
        "network": " ".join((config.network.kind, *config.network.options)),
        "parameters": f"{sum(p.numel() for p in run.X.network.parameters()):,}",
        "parameterization": " ".join((config.network.parameterization or "", *config.network.parameterization_options)),
        "steps": f"{run.step:,} of {config.batch} samples, seed {config.seed}",
        "optimizer": f"{config.optimizer.kind}, rate {config.optimizer.rate:g}, {config.optimizer.schedule}",
        "weights": weights,
        "written by": f"flowops {(facts.get('versions') or {}).get('flowops') or flowops_version()}"
        + (f", commit {commit}" if commit else ""),
    }
    rows = "\n".join(f"| {name} | {str(value).replace('|', chr(92) + '|')} |" for name, value in lines.items())
    return f"| setting | value |\n|---|---|\n{rows}"

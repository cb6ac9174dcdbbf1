"""The figures of the stages as tables, from their JSON files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from flowops._files import write_text

HEAD = """# Figures of a GPU

Written by `python -m experiments.gpu`, which measures what is missing here; the JSON files hold the spreads, the
commits and the commands. A step is that of the engine on the recipe of CIFAR-10 in bfloat16: batch, draw, loss,
gradient, update, averages, telemetry; medians, warm-up excluded.
"""


def write_summary(folder: Path) -> None:
    """Write README.md beside the JSON files of the stages."""
    names = ("tests", "steps", "compiled", "ceiling", "profile", "sampling", "training")
    found = {name: json.loads(path.read_text()) for name in names if (path := folder / f"{name}.json").is_file()}
    write_text(folder / "README.md", summary(found))


def summary(found: dict[str, Any]) -> str:
    """The page."""
    if not found:
        return f"{HEAD}\nNothing has been measured yet.\n"
    made = next(iter(found.values()))["calls"][-1]
    where = f"{made['device']}, torch {made['versions']['torch']}, {made['date'][:10]}"
    tiny = "**Tiny networks, to try the stages out: none of this is a figure.** " * any(
        s["tiny"] for s in found.values()
    )
    parts = [HEAD, f"{tiny}{where}.", _state(found)]
    writers = {"tests": _tests, "ceiling": _ceiling, "profile": _profile, "sampling": _sampling, "training": _training}
    if "steps" in found or "compiled" in found:
        parts.append(_steps(found))
    parts += [write(found[name]["results"]) for name, write in writers.items() if name in found]
    return "\n\n".join(part.strip() for part in parts if part.strip()) + "\n"


def _state(found: dict[str, Any]) -> str:
    lines = []
    for name, stage in found.items():
        if not stage["finished"]:
            lines.append(f"* `{name}` is not finished.")
        lines += [f"* `{name}`, {each}: {why.splitlines()[0]}" for each, why in stage["failed"].items()]
    return "\n".join(lines)


def _table(head: str, rows: list[list[Any]]) -> str:
    columns = head.count("|") - 1
    lines = [head, "|---" * columns + "|", *("| " + " | ".join(map(str, row)) + " |" for row in rows)]
    return "\n".join(lines)


def _tests(results: dict[str, Any]) -> str:
    rows = [[name, r["passed"], len(r["failed"]), r["skipped"], r["seconds"]] for name, r in results.items()]
    failed = [f"* {line}" for r in results.values() for line in r["failed"]]
    table = _table("| tests | passed | failed | skipped | s |", rows)
    return f"## Tests\n\n{table}" + ("\n\n" + "\n".join(failed) if failed else "")


def _steps(found: dict[str, Any]) -> str:
    """Of each loss both ways, with the fraction of the ceiling where it is known."""
    ceiling = found.get("ceiling", {}).get("results", {})
    most = ceiling.get("product bf16", {}).get("tflops")
    rows = []
    for name, way in (("steps", ""), ("compiled", ", compiled")):
        for loss, r in found.get(name, {}).get("results", {}).items():
            work = ceiling.get(f"operations {loss}", {}).get("gflop_per_image")
            rate = work * r["images_per_second"] / 1000 if work else None
            memory = r.get("allocated_gb", r.get("process_gb"))
            rows.append([
                f"`{loss}`{way}", r["batch"], r["ms"], f"{r['p10']} to {r['p90']}", r["images_per_second"], memory,
                "" if rate is None else f"{rate:.4g}", "" if rate is None or not most else f"{100 * rate / most:.0f} %",
            ])  # fmt: skip
    return "## A step\n\n" + _table(
        "| loss | batch | ms | 10 % to 90 % | images/s | peak GB | TFLOP/s | of the product in bf16 |", rows
    )


def _ceiling(results: dict[str, Any]) -> str:
    rows = [
        [name, r["ms"], r.get("tflops", ""), r.get("gb_per_second", "")] for name, r in results.items() if "ms" in r
    ]
    work = [
        [f"`{n.removeprefix('operations ')}`", r["gflop_per_image"]] for n, r in results.items() if "parameters" in r
    ]
    parts = ["## Ceilings", _table("| | ms | TFLOP/s | GB/s |", rows)]
    return "\n\n".join([*parts, _table("| loss and gradient | GFLOP per image |", work)] if work else parts)


def _profile(results: dict[str, Any]) -> str:
    parts = ["## Where the time goes"]
    for name, r in results.items():
        shares = "; ".join(f"{kind} {ms}" for kind, ms in r["kinds_ms"].items())
        idle = f"no kernel in {100 * r['idle_share']:.0f} % of it"
        parts.append(f"`{name}`: {r['ms']} ms a step under the profiler, {idle}. ms: {shares}.")
        shown = [(k["name"][:80].replace("|", "/"), k["ms"], k["calls"]) for k in r["kernels"][:8]]
        parts.append(_table("| kernel | ms a step | calls |", [[f"`{name}`", *rest] for name, *rest in shown]))
    return "\n\n".join(parts)


def _sampling(results: dict[str, Any]) -> str:
    rows = [
        [name, r["chunk"], *(value["images_per_second"] for key, value in r.items() if "step" in key)]
        for name, r in results.items()
    ]
    return "## Samples\n\n" + _table("| precision | chunk | 1 step, images/s | 2 | 4 | 8 |", rows)


def _training(results: dict[str, Any]) -> str:
    last = results.get("further") or results.get("first steps")
    if last is None:
        return ""
    losses = "; ".join(f"{step}: {loss}" for step, loss in last["loss"])
    waiting = f"{100 * last['waiting_share']:.1f} % of the time waiting for data"
    used = last.get("utilization")
    speed = f"{last['images_per_second']} images/s" + (f" ({100 * used:.1f} % of the peak)" if used else "")
    return (
        f"## Training\n\n{last['step']} steps on {last['data']}, {speed}, {waiting}, "
        f"{last['skipped']} steps skipped. Mean loss up to a step: {losses}."
    )

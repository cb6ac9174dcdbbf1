"""The layers of flowops: imports point one way, optional packages load late, `import flowops` has no side effects."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import jaxtyping
import pytest
import torch

import flowops
from flowops.fields.divergence import exact_divergence

ROOT = Path(flowops.__file__).parent
# From the bottom up, one name a line. What a package imports stands above it.
ORDER = [
    "_types",
    "_files",
    "_named",
    "_keys",
    "_arguments",
    "_zero_tangents",
    "_derivatives",
    "_compile",
    "_operator",
    "interpolants",
    "_solvers",
    "fields",
    "maps",
    "residuals",
    "problems",
    "checks",
    "networks",
    "times",
    "couplings",
    "data",
    "pictures",
    "metrics",
    "methods",
    "certificates",
    "sampling",
    "adapters",  # of other people's libraries
    "runs",
    "evaluation",
    "training",
    "comparison",  # it trains and measures, and a command is made of it
    "cli",
]
RANK = {name: rank for rank, name in enumerate(ORDER)}
# The two classes that offer what is built on them, with imports inside the functions that need them.
FACADES = {
    "fields/velocity_field.py": (
        "fields/algebra.py",
        "fields/clock.py",
        "fields/likelihood.py",
        "maps/solution_operator.py",
    ),
    "interpolants/interpolant.py": ("interpolants/conversion.py", "interpolants/validation.py"),
}
OUTSIDE = {"theory_checks", "tests", "experiments"}
LATE = {"sympy", "scipy", "torchdiffeq", "matplotlib", "jaxtyping", "ot", "torchvision", "PIL", "sklearn", "lightning"}
LATE |= {"tyro", "yaml", "jinja2", "safetensors", "rich", "tensorboard", "torchmetrics", "torch_fidelity", "filelock"}
LATE |= {"bokeh", "tornado", "wandb", "trackio", "datasets", "webdataset", "diffusers", "huggingface_hub"}
LATE |= {"torchcfm", "flow_matching", "peft", "timm"}
TORCH_FUNC: dict[str, tuple[str, ...]] = {
    "_derivatives.py": ("torch.func", "torch.autograd.forward_ad"),
    "fields/divergence.py": ("torch.func.vmap",),
}
FILES = sorted(ROOT.rglob("*.py"))


def imports(node: ast.AST, package: str, late: bool = False) -> Iterator[tuple[str, bool]]:
    """Dotted names imported below `node`, each with whether the import waits inside a function."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from ((alias.name, late) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) + 1 - child.level] if child.level else []
            origin = ".".join([*parents, *filter(None, [child.module])])
            yield from ((f"{origin}.{alias.name}", late) for alias in child.names)
        elif isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            yield from imports(child, package, late=True)
        else:
            function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from imports(child, package, late or function)


@cache
def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


@cache
def imports_of(file: Path) -> tuple[tuple[str, bool], ...]:
    package = ".".join(("flowops", *file.relative_to(ROOT).parent.parts))
    return tuple(imports(tree_of(file), package))


def layer_of(file: Path) -> str:
    return file.relative_to(ROOT).parts[0].removesuffix(".py")


def fault(name: str, late: bool, importer: str) -> str | None:
    """What is wrong with `importer` importing `name`, as a sentence."""
    top, _, rest = name.partition(".")
    if top in OUTSIDE:
        return f"imports {name}: the library never imports {top}."
    if top in LATE and not late:
        return f"imports {top} when it is loaded: import it inside the function that needs it."
    if top != "flowops" or importer == "__init__":
        return None
    target = rest.partition(".")[0]
    if target not in RANK:
        return f"imports {name}, which is no package of ORDER: import from the module that defines it."
    if RANK[target] > RANK[importer] and not (late and (importer, target) == ("fields", "maps")):
        return f"imports {name} from a higher layer: imports point from {target} to {importer}, never back."
    return None


@cache
def defined_in(name: str) -> str | None:
    """The file that defines what is imported by a dotted name, seen through the packages that pass it on."""
    parts = name.split(".")[1:]
    for k in range(len(parts), -1, -1):
        path = ROOT.joinpath(*parts[:k])
        if k and path.with_suffix(".py").is_file():
            return path.with_suffix(".py").relative_to(ROOT).as_posix()
        if (path / "__init__.py").is_file():
            passed = {other.rpartition(".")[2]: other for other, _ in imports_of(path / "__init__.py")}
            wanted = parts[k] if k < len(parts) else ""
            return (
                defined_in(passed[wanted]) if wanted in passed else (path / "__init__.py").relative_to(ROOT).as_posix()
            )
    return None


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Files that are reached from themselves, each circle once."""
    reached: dict[str, set[str]] = {}
    for start in graph:
        seen, waiting = set(), list(graph[start])
        while waiting:
            if (file := waiting.pop()) not in seen:
                seen.add(file)
                waiting += graph.get(file, ())
        reached[start] = seen
    found = {tuple(sorted(b for b in reached[a] if a in reached.get(b, ()))) for a in graph if a in reached[a]}
    return [list(circle) for circle in sorted(found)]


def file_graph() -> dict[str, set[str]]:
    """Which file of the library uses which, imports inside functions and for types included."""
    graph = {}
    for file in FILES:
        here = file.relative_to(ROOT).as_posix()
        if file.name != "__init__.py":
            names = [name for name, _ in imports_of(file) if name.partition(".")[0] == "flowops"]
            graph[here] = {found for name in names if (found := defined_in(name)) is not None} - {here}
    return graph


def test_the_order_names_every_package() -> None:
    assert sorted(RANK) == sorted({layer_of(file) for file in FILES} - {"__init__"})


def test_no_circle_of_files_but_the_two_facades() -> None:
    graph = file_graph()
    for facade, offered in FACADES.items():
        assert set(offered) <= graph[facade], f"{facade} does not use all of {offered}: shorten FACADES."
        graph[facade] -= set(offered)
    assert circles(graph) == []


def test_a_circle_is_seen() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]
    assert circles(file_graph())  # the facades


def test_imports_point_one_way() -> None:
    for file in FILES:
        importer = layer_of(file)
        assert importer == "__init__" or importer in RANK, f"flowops/{importer} is in no layer: add it to ORDER."
    faults = []
    for file in FILES:
        importer, allowed = layer_of(file), {"jaxtyping"} if layer_of(file) == "_types" else set()
        found = [
            fault(name, late, importer) for name, late in imports_of(file) if name.partition(".")[0] not in allowed
        ]
        faults += [f"{file.relative_to(ROOT)} {sentence}" for sentence in found if sentence is not None]
    assert not faults, "\n".join(faults)


def test_derivatives_are_taken_in_one_place() -> None:
    elsewhere = ("torch.func", "functorch", "torch.autograd.functional", "torch.autograd.forward_ad")
    faults = []
    for file in FILES:
        used = {ast.unparse(node) for node in ast.walk(tree_of(file)) if isinstance(node, ast.Attribute)}
        used |= {name for name, _ in imports_of(file)}
        permitted = TORCH_FUNC.get(file.relative_to(ROOT).as_posix(), ())
        for name in used - {"torch.func" if permitted else ""}:
            if name.startswith(elsewhere) and not name.startswith(permitted):
                faults.append(f"{file.relative_to(ROOT)} uses {name}: go through _derivatives.py.")
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    ("line", "importer", "wrong"),
    [
        ("from flowops.maps import FlowMap", "fields", True),
        ("def f():\n    from flowops.maps import FlowMap", "fields", False),
        ("def f():\n    from flowops.maps import FlowMap", "interpolants", True),
        ("def f():\n    from flowops.pictures import save_pictures", "fields", True),
        ("from flowops.runs import Run", "training", False),
        ("from flowops.training import train", "evaluation", True),
        ("from flowops.training import train", "runs", True),
        ("from flowops.fields import VelocityField", "maps", False),
        ("from flowops import VelocityField", "maps", True),
        ("from ..maps import FlowMap", "fields", True),
        ("from .algebra import Sum", "fields", False),
        ("if TYPE_CHECKING:\n    from flowops.training import train", "runs", True),
        ("class C:\n    import sympy", "interpolants", True),
        ("def f():\n    import sympy", "interpolants", False),
        ("def f():\n    import theory_checks", "maps", True),
    ],
)
def test_the_rules_see_what_they_forbid(line: str, importer: str, wrong: bool) -> None:
    found = [fault(name, late, importer) for name, late in imports(ast.parse(line), f"flowops.{importer}")]
    assert any(found) == wrong


def test_importing_flowops_is_light_and_has_no_side_effects() -> None:
    program = """
import json, random, sys, warnings
import numpy, torch
def state():
    return [str(x) for x in (torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled(),
        torch.get_num_threads(), torch.get_float32_matmul_precision(), torch.get_rng_state().sum(), warnings.filters,
        random.getstate(), numpy.random.get_state())]
before, loaded = state(), set(sys.modules)
import flowops
print(json.dumps([before == state(), sorted(set(sys.modules) - loaded)]))
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    unchanged, loaded = json.loads(run.stdout)  # also fails when the import prints something
    assert unchanged
    assert not run.stderr
    assert not (LATE - {"jaxtyping"}) & {name.partition(".")[0] for name in loaded}


def test_shapes_are_checked_in_the_tests() -> None:
    with pytest.raises(jaxtyping.TypeCheckError):
        exact_divergence(lambda x: x, torch.ones(3, 2, dtype=torch.int64))

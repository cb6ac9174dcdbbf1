"""The pages say what is true: their tables are those of the library, their Python runs, their links lead somewhere."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from flowops.cli.train import settings
from tests.programs import run

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
EXAMPLES = sorted((ROOT / "docs" / "examples").glob("[0-9]*.py"))


def tables() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tables", ROOT / "docs" / "tables.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["README.md", "docs/methods.md", "docs/statements.md", "docs/which_method.md"])
def test_the_tables_are_those_that_the_library_and_its_records_print(name: str) -> None:
    assert tables().rewritten(name) == (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_a_file(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        made_later = (
            target.startswith("_examples/") and (page.parent / "examples" / f"{Path(target).name}.py").is_file()
        )
        assert "://" in target or made_later or (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.slow
def test_the_python_of_the_readme_runs(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    quick = [block for block in blocks if "flowops.train" not in block]
    assert len(quick) >= 2
    run(tmp_path, "\n".join(quick).replace("range(2000)", "range(3)"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_the_pages_import_is_there(page: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    for line in re.findall(r"^(?:from|import) flowops.*$", "\n".join(blocks), re.MULTILINE):
        exec(line, {})  # the line of a page, as a reader types it


def test_the_commands_of_the_pages_parse() -> None:
    found = 0
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        for line in re.findall(r"^\$? ?flowops train ([^#\n]*)", text, re.MULTILINE):
            if "..." not in line and "lds" not in line:
                words = [word.strip("\"'") for word in re.findall(r'"[^"]*"|\S+', line)]
                settings([word for word in words if word != "--resume"], "train")
                found += 1
    assert found > 5


@pytest.mark.slow
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.stem)
def test_the_examples_run(example: Path, tmp_path: Path) -> None:
    run(tmp_path, f"import matplotlib\n\nmatplotlib.use('agg')\n{example.read_text(encoding='utf-8')}")


def test_the_examples_are_numbered_as_they_are_told() -> None:
    assert [int(path.name.partition("_")[0]) for path in EXAMPLES] == list(range(1, 12))

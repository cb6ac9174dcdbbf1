"""The tables of the methods in README.md, docs/methods.md and docs/atlas.md, those of the statements and comparisons.

The table of statements is written from the files of theory_checks/ and two records of what they found: that of
`make statements`, and that of `python -m experiments.mutation --report`. The page of comparisons is written from what
`python -m experiments.compare` measured.

python docs/tables.py           # writes them between their marks
python docs/tables.py --check   # fails where they are not what the library prints, or a statement was not recorded
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from flowops._named import written
from flowops.comparison import Comparison
from flowops.comparison.findings import lowest
from flowops.methods import METHODS, Method, Row, atlas, table
from flowops.methods.options import SHARED
from flowops.methods.rows import FAMILIES

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "experiments" / "results"


def families() -> str:
    """Each family with its ideas, and the rows in it that are another one with other settings."""
    lines, seen = ["| what they are | ideas | presets of these |", "|---|---|---|"], set[str]()
    for family in FAMILIES:
        own = [m for m in vars(family).values() if isinstance(m, Method) and m.name not in seen]
        seen |= {method.name for method in own}
        about = (family.__doc__ or "").splitlines()[0].rstrip(".")
        ideas = ", ".join(f"`{method.name}`" for method in own if not method.row.preset_of)
        presets = ", ".join(f"`{method.name}`" for method in own if method.row.preset_of)
        lines.append(f"| {about} | {ideas} | {presets} |")
    return "\n".join(lines)


def summaries() -> str:
    """What each row is, where it comes from, the settings of its paper, and what these lack."""

    def told(row: Row) -> str:
        settings = ", ".join(f"{name}={written(value)}" for name, value in row.paper.items())
        paper = f" As in its paper: `{settings}`." if settings else ""
        return row.summary + paper + (f" Lacking: {row.lacking}." if row.lacking else "")

    return "\n".join(f"`{name}`\n: {told(method.row)} *{method.row.source}.*\n" for name, method in METHODS.items())


def relations() -> str:
    """The atlas, a line a relation."""
    lines = ["| method | | row | with | left out | source | executed by |", "|---|---|---|---|---|---|---|"]
    for relation in atlas():
        named = f"`{relation.name}`" if relation.name in METHODS else relation.name
        set_to = [f"`{key}={value!r}`" for key, value in relation.options.items()]
        with_ = "; ".join([*([", ".join(set_to)] if set_to else []), relation.how]).replace("|", "\\|")
        cells = (named, relation.verb, f"`{relation.of}`", with_, relation.lacking, relation.source)
        lines.append("| " + " | ".join((*cells, f"`{relation.check}`")) + " |")
    return "\n".join(lines)


def options() -> str:
    """Every option, what it means, and which rows have it."""
    known = {option.name: option for method in METHODS.values() for option in method.row.options}
    lines = ["| option | meaning | rows |", "|---|---|---|"]
    for name, option in known.items():
        having = [f"`{key}`" for key, method in METHODS.items() if name in {o.name for o in method.row.options}]
        rows = "all" if option.name in {shared.name for shared in SHARED} else ", ".join(having)
        meaning = option.meaning.replace("|", "\\|")
        lines.append(f"| `{name}` | {meaning} | {rows} |")
    return "\n".join(lines)


def statements() -> str:
    """Each file of theory: what it states, what its checks found, and the mutants it caught."""
    record, mutants = (json.loads((RESULTS / name).read_text("utf-8")) for name in ("statements.json", "mutation.json"))
    head = "| statement | file | worst residual | tolerance | checks | mutants caught |"
    lines = [head, "|---|---|---|---|---|---|"]
    for path in sorted((ROOT / "theory_checks").glob("test_*.py")):
        if path.name == "test_your_object.py":  # it states nothing of ours
            continue
        document = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or path.stem
        statement = document.splitlines()[0].rstrip(".")
        if statement not in record:
            raise SystemExit(f"theory_checks/{path.name} must be in the record of statements; run make statements.")
        line, seen = record[statement], mutants.get(path.name, {"caught": 0, "asked": 0})
        numbers = ["" if line[key] is None else f"{line[key]:.1e}" for key in ("residual", "tolerance")]
        found = " | ".join([*numbers, str(line["checks"])])
        share = f"{seen['caught']} of {seen['asked']}" if seen["asked"] else ""
        told = statement.replace("|", "\\|")
        lines.append(f"| {told} | `{path.stem.removeprefix('test_')}` | {found} | {share} |")
    return "\n".join(lines)


def measured(name: str) -> Comparison | None:
    """What the table of a protocol of `experiments/compare.py` holds; None where it is not measured yet."""
    path = RESULTS / f"compare_{name}.json"
    return Comparison.load(path) if path.is_file() else None


def in_short() -> str:
    """The lowest row of every protocol by number of calls, of all rows and of those without a teacher."""
    calls, lines = (1, 2, 4, 8), list[str]()
    for name in PROTOCOLS:
        if (found := measured(name)) is None:
            continue
        alone = [row for row in found.rows if not row.distils]
        for rows, told in ((found.rows, name), (alone, f"{name}, without a teacher")):
            best = [low.best if (low := lowest(rows, k)) else None for k in calls]
            cells = [f"`{row.label}` {row.spread(k)}" if row else "" for row, k in zip(best, calls, strict=True)]
            lines.append(f"| {' | '.join([told, *cells])} |")
    if not lines:
        return "Nothing is measured yet."
    return "\n".join(["| lowest distance | 1 call | 2 calls | 4 calls | 8 calls |", "|---|---|---|---|---|", *lines])


def compared(name: str) -> Callable[[], str]:
    """What a protocol found: what follows, the figure, the distances."""

    def written_out() -> str:
        if (found := measured(name)) is None:
            return f"Not measured yet: `python -m experiments.compare {name}`."
        place = f"../experiments/results/compare_{name}"
        figure = f"![distance by number of calls]({place}.png)"
        parts = (found.head(), found.findings(), figure, found.table(), f"Every number: `{place[3:]}.md`.")
        return "\n\n".join(parts)

    return written_out


PROTOCOLS = ("digits", "checkerboard", "cifar10-16", "cifar10-32")
BLOCKS: Mapping[str, Mapping[str, Callable[[], str]]] = {
    "README.md": {"families": families},
    "docs/methods.md": {"table": table, "summaries": summaries, "options": options},
    "docs/atlas.md": {"atlas": relations},
    "docs/statements.md": {"statements": statements},
    "docs/which_method.md": {"in short": in_short, **{name: compared(name) for name in PROTOCOLS}},
}


def rewritten(name: str) -> str:
    """The text of a page with its tables as they should be."""
    text = (ROOT / name).read_text(encoding="utf-8")
    for block, write in BLOCKS[name].items():
        begin, end = f"<!-- {block}: written by docs/tables.py -->\n", f"<!-- end of {block} -->"
        before, _, rest = text.partition(begin)
        if end not in rest:
            raise SystemExit(f"{name} must hold the marks {begin.strip()} and {end}; put them where the table belongs.")
        text = f"{before}{begin}\n{write().strip()}\n\n{end}{rest.partition(end)[2]}"
    return text


def main() -> int:
    """Write, or compare; the exit status."""
    old = [name for name in BLOCKS if rewritten(name) != (ROOT / name).read_text(encoding="utf-8")]
    for name in old:
        if "--check" in sys.argv[1:]:
            sys.stderr.write(f"{name} holds a table that is not what the library prints; run python docs/tables.py.\n")
        else:
            (ROOT / name).write_text(rewritten(name), encoding="utf-8")
    return int("--check" in sys.argv[1:] and bool(old))


if __name__ == "__main__":
    sys.exit(main())

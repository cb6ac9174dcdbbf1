"""What was found of each mutant: a file of JSON lines to which every run adds, so that it can be stopped and go on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Found:
    """What the files said of a mutant.

    Attributes:
        key, name, package: which mutant it is.
        said: "caught", "time" or "passed" by the file that judged it, or "caught" by "import".
        where: the check that failed first, by file.
        light: whether every check ran over a few of its cases only.
        seconds: processor time.
    """

    key: str
    name: str
    package: str
    said: Mapping[str, str]
    where: Mapping[str, str] = field(default_factory=dict)
    light: bool = True
    seconds: float = 0.0

    @property
    def stillborn(self) -> bool:
        """Whether it cannot be imported, so that nobody would write it."""
        return "import" in self.said

    def by(self, folder: str) -> list[str]:
        """The files of a folder that caught it."""
        return [file for file, word in self.said.items() if file.startswith(folder) and word != "passed"]

    @property
    def caught(self) -> bool:
        """Whether any did."""
        return bool(self.by(""))


def read(path: Path) -> dict[str, Found]:
    """The records by mutant; where there are two of one, what either of them caught counts."""
    found: dict[str, Found] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        new = Found(**json.loads(line))
        old = found.get(new.key)
        if old is not None:
            said = {**new.said, **{file: word for file, word in old.said.items() if word != "passed"}}
            where = {**new.where, **old.where}
            new = Found(new.key, new.name, new.package, said, where, new.light, old.seconds + new.seconds)
        found[new.key] = new
    return found


def append(path: Path, found: Found) -> None:
    """Add one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(asdict(found), ensure_ascii=False) + "\n")

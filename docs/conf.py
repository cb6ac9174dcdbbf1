"""Sphinx settings: Markdown pages with mathematics."""

import importlib.metadata
from pathlib import Path

from flowops.methods import MEANING, METHODS, table

project = "flowops"
author = copyright = "The flowops developers"
release = version = importlib.metadata.version("flowops")

extensions = ["myst_parser", "sphinx.ext.mathjax"]
myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]

# The pages include the table of methods as the library prints it.
generated = Path(__file__).parent / "_build"
generated.mkdir(exist_ok=True)
(generated / "methods_table.md").write_text(table() + "\n")
(generated / "methods_summaries.md").write_text(
    "\n".join(f"`{name}`\n: {method.row.summary} *{method.row.source}.*\n" for name, method in METHODS.items())
)
(generated / "methods_options.md").write_text(
    "| option | meaning |\n|---|---|\n" + "\n".join(f"| `{name}` | {text} |" for name, text in MEANING.items()) + "\n"
)

html_theme = "furo"
html_title = "flowops"

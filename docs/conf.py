"""Sphinx settings: Markdown pages, examples that are executed, and the reference from the docstrings."""

import importlib.metadata
import re
import warnings

project = "flowops"
author = copyright = "The flowops developers"
release = version = importlib.metadata.version("flowops")

extensions = [
    "myst_parser",
    "sphinx.ext.mathjax",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "examples"]
myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = "flowops"

# ------------------------------------------------------------------------------------------------- the examples
warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated")  # of torch about itself
sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "_examples",
    "filename_pattern": r"/\d\d_",
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "min_reported_time": 10**6,
}

# ------------------------------------------------------------------------------------------------ the reference
autodoc_member_order = "bysource"  # the order of __all__
autodoc_typehints = "none"  # shapes and types are told in the text
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_attr_annotations = False
default_role = "literal"  # `name` in a docstring


def _mathematics(_app: object, _what: str, _name: str, _object: object, _options: object, lines: list[str]) -> None:
    """Docstrings write mathematics between dollars, as the pages do."""
    text = "\n".join(lines)

    def display(found: re.Match[str]) -> str:
        body = found[2].strip("\n").replace("\n", f"\n{found[1]}   ")
        return f"{found[1]}.. math::\n\n{found[1]}   {body.strip()}\n"

    text = re.sub(r"^([ ]*)\$\$(.+?)\$\$", display, text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"\$([^$]+?)\$", lambda found: f":math:`{' '.join(found[1].split())}`\\ ", text)
    lines[:] = text.split("\n")


def setup(app: object) -> None:
    """Before the sections of a docstring are read."""
    app.connect("autodoc-process-docstring", _mathematics, priority=400)  # type: ignore[attr-defined]

"""Sphinx settings: Markdown pages with mathematics."""

import importlib.metadata

project = "flowops"
author = copyright = "The flowops developers"
release = version = importlib.metadata.version("flowops")

extensions = ["myst_parser", "sphinx.ext.mathjax"]
myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = "flowops"

"""Sphinx settings; `make docs` builds into docs/_build/html."""

from typing import Any

from aegean import __version__

project = "Aegean"
author = "The Aegean developers"
copyright = "The Aegean developers"
release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = "Aegean"

# Docstrings are Google style and hold plain single backticks for code.
default_role = "code"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"


def _escape_bars(app: object, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Let |z| in a docstring be mathematics, where reStructuredText would see a substitution."""
    lines[:] = [line.replace("|", r"\|") for line in lines]


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", _escape_bars, priority=400)  # before napoleon, which has 500

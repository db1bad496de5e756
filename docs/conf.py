"""Configuration of the documentation: ``sphinx-build -W -b html docs docs/_build``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]
os.environ["OPTIMBUILD_PLUGINS"] = "none"  # the reference lists our own rules, whatever else is installed

import optimbuild  # noqa: E402

project = "optimbuild"
author = "the optimbuild authors"
copyright = author  # noqa: A001  # the name that Sphinx reads
version = release = optimbuild.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "registered",
    "versions",
]
exclude_patterns = ["_build", "_ext"]

myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_preserve_defaults = True
napoleon_use_rtype = False

# A reference of ours that leads nowhere is an error. Other projects' references stay plain text, so
# that the build needs no network.
nitpicky = True
nitpick_ignore_regex = [
    (r"py:.*", r"(?!optimbuild\b).*"),
    (r"py:class", r"optimbuild\.registry\.register\.T"),  # a type variable
    (r"py:class", r"optimbuild\.report\.interfaces\..*"),  # what a text reads of a plan
]

html_theme = "furo"
html_title = f"optimbuild {release}"
html_static_path = ["_static"]
html_css_files = ["optimbuild.css"]
html_copy_source = False
html_show_sourcelink = False

"""How Sphinx builds the documentation: `make docs`. What needs thought is in tools/docs_site.py.

The source folder is the root of the project, so that links between pages, results and the README are
the same on a disk, in a repository and on the site. Nothing is fetched: no fonts, no scripts of others.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))
SITE = runpy.run_path(str(ROOT / "tools" / "docs_site.py"))

project = "OCD"
author = "The OCD authors"
release = version = runpy.run_path(str(ROOT / "src" / "ocd" / "_version.py"))["__version__"]
copyright = author

root_doc = "docs/README"
extensions = ["myst_nb", "sphinx.ext.autodoc"]
include_patterns = SITE["PATTERNS"]
exclude_patterns = SITE["LEFT_OUT"]
templates_path = ["_templates"]

myst_heading_anchors = 4
nb_execution_mode = "off"  # tests run the notebooks; their outputs are stored in them
highlight_language = "text"
toc_object_entries = False  # the navigation of all pages would be made of them: a third of the time

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 90

html_theme = "furo"
html_title = f"OCD {release}"
html_additional_pages = {"index": "redirect.html"}
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
html_static_path = ["_static"]
html_css_files = ["site.css"]


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("source-read", SITE["add_structure"])
    app.connect("autodoc-process-docstring", SITE["docstring_to_rst"])

"""What the book needs beside Sphinx's own extensions: its chapters, links to names that packages hand on."""

from __future__ import annotations

import filecmp
import importlib
import inspect
import os
import pkgutil
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import itables.options
from docutils import nodes
from itables.javascript import generate_init_offline_itables_html
from plotly.offline import get_plotlyjs
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.ext.autosummary import ImportExceptionGroup, import_by_name

import sdclib
import study
from study.chapters import your_run

ROOT = Path(__file__).resolve().parents[2]


def lay_chapters(source: Path) -> None:
    """Lay the notebooks beside the pages of the book, and take away what an earlier build made there.

    The variable SDC_NOTEBOOKS names another folder, such as that of the notebooks which `make book` has executed.
    """
    shutil.rmtree(source / "api", ignore_errors=True)
    notebooks = sorted(Path(os.environ.get("SDC_NOTEBOOKS") or ROOT / "notebooks").glob("*.ipynb"))
    for left in {path.name for path in source.glob("*.ipynb")} - {path.name for path in notebooks}:
        (source / left).unlink()
    for notebook in notebooks:
        target = source / notebook.name
        if not target.is_file() or not filecmp.cmp(notebook, target, shallow=False):
            shutil.copyfile(notebook, target)


def public_names() -> dict[str, dict[str, Any]]:
    """For each module, its constants with their values where these are short, and what it hands on from others."""
    found = {}
    for root in (sdclib, study):
        for name in (
            root.__name__,
            *(m.name for m in pkgutil.walk_packages(root.__path__, f"{root.__name__}.")),
        ):
            module = importlib.import_module(name)
            members = {n: getattr(module, n) for n in getattr(module, "__all__", ())}
            values = {n: repr(value) for n, value in members.items() if home(value) is None}
            found[name] = {
                "constants": {n: v if len(v) < 100 and v[0] not in "<P" else "" for n, v in values.items()},
                "handed_on": [n for n, value in members.items() if home(value) not in (None, name)],
            }
    return found


def is_code(member: Any) -> bool:
    """Whether a member knows the module that defines it."""
    return inspect.isclass(member) or inspect.isroutine(member)


def home(member: Any) -> str | None:
    """Name the module of a class or function of this project; None for anything else."""
    module = getattr(member, "__module__", None) if is_code(member) else None
    return module if module and module.startswith(("sdclib", "study")) else None


def skip(app: Sphinx, what: str, name: str, member: Any, skipped: bool, options: Any) -> bool | None:
    """Leave out of a module what another one defines, and of a class what scikit-learn adds."""
    if what == "class":
        return True if name.endswith("_request") else None
    elsewhere = is_code(member) and member.__module__ != app.env.temp_data.get("autodoc:module")
    return True if what == "module" and elsewhere else None


def name_base(app: Sphinx, what: str, name: str, member: Any, options: Any, lines: list[str]) -> None:
    """Say below the first sentence of a class from which public class it inherits; autodoc would name private ones."""
    bases = member.__mro__[1:] if what == "class" else ()
    for base in (
        base for base in bases if home(base) and base.__name__ in sys.modules[base.__module__].__all__
    ):
        end = lines.index("") if "" in lines else len(lines)
        lines[end:end] = ["", f"Has what `{home(base)}.{base.__name__}` has.", ""]
        return


def find_home(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, shown: nodes.Element
) -> nodes.Element | None:
    """Link a name of this project, as it is known where it is written, to the page that describes it."""
    if node["refdomain"] != "py":
        return None
    try:
        _, found, _, _ = import_by_name(node["reftarget"], [None, node.get("py:module")])
        home = f"{found.__module__}.{found.__qualname__}"
    except (ImportExceptionGroup, AttributeError):
        return None
    return env.domains["py"].resolve_xref(env, node["refdoc"], app.builder, "obj", home, node, shown)


def write_your_run(app: Sphinx, name: str, source: list[str]) -> None:
    """Fill the page on the reader's own run of the main job."""
    if name == "your_run":
        source[0] = your_run.page()


def bind_percent(app: Sphinx, page: nodes.document, name: str) -> None:
    """Keep a number and its percent sign on one line, but in code."""
    for text in list(page.findall(nodes.Text)):
        bound = re.sub(r"(?<=\d) (?=%)", "\N{NO-BREAK SPACE}", text)
        if bound != text and not isinstance(text.parent, nodes.literal | nodes.literal_block):
            text.parent.replace(text, nodes.Text(bound))


def share_scripts(app: Sphinx) -> None:
    """Make the scripts of itables and Plotly files of the book, one for all pages, which load them with no network."""
    static = Path(app.outdir) / "_static"
    static.mkdir(parents=True, exist_ok=True)
    loader = generate_init_offline_itables_html(itables.options.dt_bundle)
    (static / "itables.js").write_text(loader.split("<script>")[1].split("</script>")[0], encoding="utf-8")
    (static / "plotly.min.js").write_text(get_plotlyjs(), encoding="utf-8")


def load_scripts(
    app: Sphinx, page: str, template: str, context: dict[str, Any], tree: nodes.document
) -> None:
    """Load what a page shows: tables and explorers."""
    body = context.get("body", "")
    if "sdc-explorer" in body:
        app.add_js_file("plotly.min.js")
    if 'class="dataframe' in body:
        app.add_js_file("itables.js")


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to Sphinx."""
    lay_chapters(Path(app.srcdir))
    app.connect("config-inited", lambda _, config: config.autosummary_context.update(public=public_names()))
    app.connect("autodoc-skip-member", skip)
    app.connect("autodoc-process-docstring", name_base, priority=100)  # before napoleon
    app.connect("missing-reference", find_home)
    app.connect("source-read", write_your_run)
    app.connect("env-get-outdated", lambda *_: ["your_run"])
    app.connect("doctree-resolved", bind_percent)
    app.connect("builder-inited", share_scripts)
    app.connect("html-page-context", load_scripts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

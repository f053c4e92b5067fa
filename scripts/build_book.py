"""Execute the chapters with papermill, then render the book; prints the path of its first page.

python scripts/build_book.py
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import yaml

from study.chapters import your_run

ROOT = Path(__file__).resolve().parents[1]


def chapters(book: Path) -> list[str]:
    """Names of all pages in `_toc.yml`, without the root.

    Raises
    ------
    ValueError
        If a page has the name of one that Sphinx makes.
    """
    toc = yaml.safe_load((book / "_toc.yml").read_text(encoding="utf-8"))
    listed = [chapter for part in toc["parts"] for chapter in part["chapters"]]
    names = [page["file"] for chapter in listed for page in (chapter, *chapter.get("sections", []))]
    if taken := {"search", "genindex", "index"} & set(names):  # Sphinx would write its own page over it
        raise ValueError(
            f"_toc.yml: expected names other than those of Sphinx's own pages, got {sorted(taken)}"
        )
    return names


def api_pages(layout: Path) -> dict[str, tuple[str, list[str]]]:
    """Title and modules of each page of the API reference, as the page on the layout has them.

    A section of that page with a link to ``api_...`` is a page of the reference; the modules that it names, in its
    order, are what the page describes.
    """
    pages = {}
    for section in layout.read_text(encoding="utf-8").split("\n## ")[1:]:
        if name := re.search(r"\{doc\}`[^`]*\b(api_\w+)>?`", section):
            modules = dict.fromkeys(re.findall(r"\{py:mod\}`~?((?:sdclib|study)\b[\w.]*)`", section))
            pages[name[1]] = section.partition("\n")[0].strip(), list(modules)
    return pages


def notebook_names(book: Path) -> list[str]:
    """Pages in `_toc.yml` that are notebooks: neither files of the book nor pages of the API reference."""
    made = api_pages(book / "layout.md")
    made |= {"your_run": ("", [])}
    return [name for name in chapters(book) if name not in made and not (book / f"{name}.md").is_file()]


def write_api(layout: Path, source: Path) -> None:
    """Write the pages of the API reference; autodoc fills them from the docstrings (`scripts.docstrings`)."""
    for name, (title, modules) in api_pages(layout).items():
        text = [f"# API: {title[:1].lower() + title[1:]}\n"]
        for module in modules:
            text.append(f"## {module}\n\n```{{eval-rst}}\n.. automodule:: {module}\n```\n")
        (source / f"{name}.md").write_text("\n".join(text), encoding="utf-8")


def stage(book: Path, notebooks: Path, source: Path) -> None:
    """Lay the book's own pages and the notebooks that its table of contents names into one folder.

    Raises
    ------
    FileNotFoundError
        If a page is neither a file of the book nor a notebook.
    """
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(book, source, ignore=shutil.ignore_patterns("_build"))
    # What pages offer for download: the tables and the configurations that made them.
    shutil.copytree(ROOT / "results", source / "results", ignore=shutil.ignore_patterns("local"))
    shutil.copytree(ROOT / "config", source / "config")
    write_api(book / "layout.md", source)
    (source / "your_run.md").write_text(your_run.page(), encoding="utf-8")
    for name in chapters(book):
        if (source / f"{name}.md").is_file():
            continue
        notebook = notebooks / f"{name}.ipynb"
        if not notebook.is_file():
            raise FileNotFoundError(f"_toc.yml: expected {name}.md in {book} or {notebook}, found neither")
        shutil.copy(notebook, source)


def execute(notebooks: Path, executed: Path, names: list[str]) -> None:
    """Run the named notebooks with papermill, two at a time, in their own folder.

    Raises
    ------
    SystemExit
        If one fails: its name and its error. Those that have not begun are left.
    """
    executed.mkdir(parents=True, exist_ok=True)
    jobs = min(2, os.cpu_count() or 1)
    # Kernels share the cores; each would take all of them.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // jobs)))
    with ProcessPoolExecutor(jobs) as pool:
        running = [pool.submit(execute_one, notebooks / f"{n}.ipynb", executed / f"{n}.ipynb") for n in names]
        for done in as_completed(running):
            if error := done.result():
                pool.shutdown(wait=False, cancel_futures=True)
                raise SystemExit(error)


def execute_one(notebook: Path, target: Path) -> str | None:
    """Run one notebook; return what went wrong, as text, since papermill's errors cannot leave a process."""
    import papermill

    try:
        papermill.execute_notebook(notebook, target, cwd=str(notebook.parent), progress_bar=False)
    except Exception as error:
        return f"{notebook}: {type(error).__name__}: {error}"
    return None


def render(source: Path, out: Path) -> Path:
    """Run jupyter-book with warnings as errors; return the path of the first page."""
    tool = Path(sys.executable).with_name("jupyter-book")
    if not tool.is_file():
        raise SystemExit(f"jupyter-book: expected {tool}, found none; install the extra 'book'")
    command = [str(tool), "build", str(source), "--path-output", str(out)]
    # The extension `scripts.docstrings` is found from the root of the checkout.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [*command, "-W", "-n", "--keep-going", "-q"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.stderr.write(done.stdout + done.stderr)
        raise SystemExit(f"jupyter-book failed with exit code {done.returncode}")
    first = out / "_build" / "html" / "intro.html"
    if not first.is_file():
        raise SystemExit(f"jupyter-book: expected {first}, found none")
    return first


def main() -> None:
    """Parse the command line and build."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "book", help="the book goes to OUT/_build/html")
    parser.add_argument(
        "--no-execute", action="store_true", help="take the notebooks with the outputs they have"
    )
    arguments = parser.parse_args()
    book, notebooks, build = ROOT / "book", ROOT / "notebooks", arguments.out.resolve() / "_build"
    if not arguments.no_execute:
        execute(notebooks, build / "notebooks", notebook_names(book))
        notebooks = build / "notebooks"
    stage(book, notebooks, build / "src")
    print(f"The book's first page: {render(build / 'src', arguments.out.resolve())}")


if __name__ == "__main__":
    main()

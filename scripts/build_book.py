"""Execute the chapters with papermill, then render the book; prints the path of its first page.

python scripts/build_book.py
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]


def chapters(book: Path) -> list[str]:
    """Names of all pages in `_toc.yml`, without the root."""
    toc = yaml.safe_load((book / "_toc.yml").read_text(encoding="utf-8"))
    return [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]


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
    shutil.copytree(ROOT / "results", source / "results", ignore=shutil.ignore_patterns("runs"))
    shutil.copytree(ROOT / "config", source / "config")
    for name in chapters(book):
        if (book / f"{name}.md").is_file():
            continue
        notebook = notebooks / f"{name}.ipynb"
        if not notebook.is_file():
            raise FileNotFoundError(f"_toc.yml: expected {name}.md in {book} or {notebook}, found neither")
        shutil.copy(notebook, source)


def execute(notebooks: Path, executed: Path, names: list[str]) -> None:
    """Run the named notebooks with papermill, in their own folder; the error of one ends the build."""
    import papermill

    executed.mkdir(parents=True, exist_ok=True)
    for name in names:
        papermill.execute_notebook(
            notebooks / f"{name}.ipynb", executed / f"{name}.ipynb", cwd=str(notebooks), progress_bar=False
        )


def render(source: Path, out: Path) -> Path:
    """Run jupyter-book with warnings as errors; return the path of the first page."""
    tool = Path(sys.executable).with_name("jupyter-book")
    if not tool.is_file():
        raise SystemExit(f"jupyter-book: expected {tool}, found none; install the extra 'book'")
    command = [str(tool), "build", str(source), "--path-output", str(out)]
    done = subprocess.run(
        [*command, "-W", "-n", "--keep-going", "-q"], capture_output=True, text=True, check=False
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
        execute(
            notebooks, build / "notebooks", [n for n in chapters(book) if not (book / f"{n}.md").is_file()]
        )
        notebooks = build / "notebooks"
    stage(book, notebooks, build / "src")
    print(f"The book's first page: {render(build / 'src', arguments.out.resolve())}")


if __name__ == "__main__":
    main()

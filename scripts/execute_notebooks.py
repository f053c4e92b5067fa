"""Execute the notebooks in place, with nothing in them but cells and outputs, so that they can be reviewed.

python scripts/execute_notebooks.py [notebooks/train.ipynb ...]

The figure of the first page, notebooks/intro.ipynb, also becomes the README's picture.
"""

from __future__ import annotations

import argparse
import base64
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from sdclib.files import write_bytes, write_text

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "notebooks"
PICTURE = ROOT / "book" / "_static" / "collapse.png"


def first_picture(notebook: nbformat.NotebookNode) -> bytes:
    """Find the first figure among a notebook's outputs, a PNG file."""
    outputs = (output for cell in notebook.cells for output in cell.get("outputs", ()))
    pictures = (output["data"]["image/png"] for output in outputs if "image/png" in output.get("data", ()))
    return base64.b64decode(next(pictures))


def main() -> None:
    """Execute the notebooks named on the command line, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("notebooks", nargs="*", type=Path, default=sorted(NOTEBOOKS.glob("*.ipynb")))
    for path in parser.parse_args().notebooks:
        notebook = nbformat.read(path, as_version=4)
        NotebookClient(
            notebook, resources={"metadata": {"path": str(path.parent)}}, record_timing=False
        ).execute()
        notebook.metadata = {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
        write_text(path, nbformat.writes(notebook) + "\n")
        if path.resolve() == NOTEBOOKS / "intro.ipynb":
            write_bytes(PICTURE, first_picture(notebook))
        print(path)


if __name__ == "__main__":
    main()

"""Execute the notebooks in place, with nothing in them but cells and outputs, so that they can be reviewed.

python scripts/execute_notebooks.py [notebooks/train.ipynb ...]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from sdclib.files import write_text

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"


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
        print(path)


if __name__ == "__main__":
    main()

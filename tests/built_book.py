"""The book, built once for all tests of its pages."""

import functools
import subprocess
import sys

import pytest

from sdclib.provenance import PROJECT_ROOT

BOOK = PROJECT_ROOT / "book"


@functools.cache
def built_book(out):
    """Build the real book from the committed notebooks and their outputs, once a folder."""
    pytest.importorskip("jupyter_book", reason="needs the extra 'book'")
    out.mkdir(exist_ok=True)
    command = [sys.executable, "scripts/build_book.py", "--no-execute", "--out", str(out)]
    done = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip().endswith("intro.html")
    return out / "_build" / "html"

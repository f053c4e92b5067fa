"""Files that are never half-written: write to a temporary name, then rename."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["cache_dir", "file_sha256", "new_folder", "read_json", "write_bytes", "write_json", "write_text"]


def write_bytes(path: str | os.PathLike[str], data: bytes) -> Path:
    """Write `data` to `path` at once: readers see the old file or the new one, never a part.

    Missing parent folders are made. OSError names the file if the folder is read-only or the disk is full; an old file
    is then still there, untouched.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, 0o644)
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        reason = f"{error.strerror or error}; what was there is untouched, make room or choose another place"
        raise OSError(error.errno, reason, str(path)) from error
    return path


@contextlib.contextmanager
def new_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Fill a folder under a temporary name, renamed once it is whole; ValueError if there is something at `path`."""
    path = Path(path)
    if path.exists():
        raise ValueError(f"{path}: expected the name of a new folder, got one that is there")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent) as temporary:
        made = Path(temporary) / path.name
        made.mkdir()
        yield made
        made.rename(path)


def write_text(path: str | os.PathLike[str], text: str) -> Path:
    """Write `text` as UTF-8, see `write_bytes`."""
    return write_bytes(path, text.encode("utf-8"))


def write_json(path: str | os.PathLike[str], value: Any) -> Path:
    """Write `value` as indented JSON with sorted keys, see `write_bytes`; NaN and infinity are refused."""
    return write_text(path, json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read a JSON file; ValueError that names it if it is none."""
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # of JSON, of UTF-8, of too deep a nesting
        raise ValueError(f"{path}: damaged or not JSON ({error})") from error


def file_sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's content, as 64 hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cache_dir() -> Path:
    """Folder for what can be made or downloaded again, which may not exist yet.

    ``$SDC_CACHE`` if set, else ``$XDG_CACHE_HOME/sdclib``, else ``~/.cache/sdclib``.
    """
    if os.environ.get("SDC_CACHE"):
        return Path(os.environ["SDC_CACHE"])
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "sdclib"

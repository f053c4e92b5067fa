"""results/manifest.json: where the published tables come from, and their SHA-256."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sdclib.files import file_sha256, read_json, write_json
from study.provenance import PROJECT_ROOT, RESULTS, git_commit, machine, versions

__all__ = ["MANIFEST", "table_hashes", "write_manifest"]

MANIFEST = RESULTS / "manifest.json"


def table_hashes() -> dict[str, str]:
    """SHA-256 by name of all published tables."""
    return {path.name: file_sha256(path) for path in sorted(RESULTS.glob("*.csv"))}


def write_manifest(verified: dict[str, Any] | None = None) -> Path:
    """Write the manifest of the tables as they are; `verified` is what a verification found, else the last stays."""
    last = read_json(MANIFEST).get("verified") if MANIFEST.is_file() else None
    return write_json(
        MANIFEST,
        {
            "commit": git_commit(),
            "lock_sha256": file_sha256(PROJECT_ROOT / "requirements.lock"),
            "machine": machine(),
            "versions": versions(),
            "tables": table_hashes(),
            "verified": verified or last,
        },
    )

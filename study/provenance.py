"""Where results come from: commit, versions, machine; their folders, and the manifest of the published tables."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

from sdclib.files import file_sha256, read_json, write_json
from sdclib.kernels import kernels_in_use

__all__ = [
    "MANIFEST",
    "OWN_RESULTS",
    "PROJECT_ROOT",
    "RESULTS",
    "git_commit",
    "machine",
    "peak_memory_mb",
    "table_hashes",
    "uncommitted",
    "versions",
    "write_manifest",
]

PACKAGE = Path(__file__).parent
PROJECT_ROOT = PACKAGE.parent if (PACKAGE.parent / "pyproject.toml").is_file() else Path.cwd()
# Published tables: of the checkout; of the working folder where the package is installed alone.
RESULTS = PROJECT_ROOT / "results"
MANIFEST = RESULTS / "manifest.json"
# Run records and tables of the user, where the variable says.
OWN_RESULTS = Path(os.environ.get("SDC_RESULTS") or RESULTS / "local").resolve()
PACKAGES = ("numpy", "scipy", "scikit-learn", "torch", "faiss-cpu", "pandas")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that compute."""
    return {"python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in ("sdclib", *PACKAGES)
    }


def git_commit() -> str | None:
    """Commit of the checkout, with ``-dirty`` where files other than results differ; None outside a checkout."""
    commit = _git("rev-parse", "--short=12", "HEAD")
    if commit is None:
        return None
    return commit.strip() + ("-dirty" if uncommitted() else "")


def uncommitted() -> list[str]:
    """Tracked files outside results that differ from the commit; none outside a checkout."""
    listed = _git("diff", "--name-only", "-z", "HEAD", "--", ".", ":(exclude)results")
    return [name for name in (listed or "").split("\0") if name]


def _git(*arguments: str) -> str | None:
    """Run git and give what it prints; None where it fails."""
    try:
        return subprocess.run(
            ["git", *arguments], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return None


def machine() -> dict[str, Any]:
    """Describe the machine: processor, cores, threads that torch uses, kernels, memory (GiB), accelerator."""
    import torch

    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "kernels": kernels_in_use(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


def peak_memory_mb() -> float:
    """Peak resident memory of this process so far, in MB.

    Linux says it of the program alone; elsewhere the figure begins with what the process had that started it.
    """
    status = Path("/proc/self/status")
    found = re.search(r"^VmHWM:\s+(\d+) kB", status.read_text(), re.MULTILINE) if status.is_file() else None
    if found:
        return int(found[1]) * 1024 / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def table_hashes() -> dict[str, str]:
    """SHA-256 by name of all published tables."""
    paths = [path for path in RESULTS.iterdir() if path.suffix in (".csv", ".parquet")]
    return {path.name: file_sha256(path) for path in sorted(paths)}


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

"""Where a result comes from: code, versions, machine."""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import os
import platform
import re
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

__all__ = ["PROJECT_ROOT", "RESULTS", "code_sha256", "git_commit", "machine", "peak_memory_mb", "versions"]

PACKAGE = Path(__file__).parent
PROJECT_ROOT = PACKAGE.parent if (PACKAGE.parent / "pyproject.toml").is_file() else Path.cwd()
# Of the checkout; of the working folder where the package is installed alone; or where the variable says.
RESULTS = Path(os.environ.get("SDC_RESULTS") or PROJECT_ROOT / "results").resolve()
# Modules whose code has no part in results: bars, and names for settings that a record spells out.
NOT_COMPUTING = ("sdclib.presets", "sdclib.progress")
PACKAGES = ("numpy", "scipy", "scikit-learn", "torch", "faiss-cpu", "pandas")


def code_sha256(*modules: str) -> str:
    """Hash the code that the named modules and all `sdclib` modules they import consist of.

    Comments, docstrings of modules, classes and functions, and layout do not count, nor do the modules
    `NOT_COMPUTING`, so that only a change of what is computed makes results stale.

    Parameters
    ----------
    *modules : str
        Such as ``"sdclib.methods.itq"``.

    Returns
    -------
    str
        SHA-256, 64 hexadecimal digits, the same with Python 3.11, 3.12 and 3.13.
    """
    wanted, sources = list(modules), {}
    while wanted:
        module = wanted.pop()
        path = None if module in NOT_COMPUTING else _module_path(module)
        if path is None or path in sources:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        wanted += _imports(tree)
        sources[path] = _without_docstrings(tree)
    text = "\n".join(f"{path.relative_to(PACKAGE)} {sources[path]}" for path in sorted(sources))
    return hashlib.sha256(text.encode()).hexdigest()


def _module_path(module: str) -> Path | None:
    stem = PACKAGE.joinpath(*module.split(".")[1:])
    for path in (stem.with_suffix(".py"), stem / "__init__.py"):
        if path.is_file():
            return path
    return None


def _imports(tree: ast.Module) -> list[str]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "sdclib":
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] == "sdclib"]
    return [name for name in found if name != "sdclib"]


def _without_docstrings(tree: ast.Module) -> str:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(
            node, clean=False
        ):
            node.body = node.body[1:]
    # As Python 3.11 writes it: later ones also have type parameters, and leave empty lists out.
    for node in ast.walk(tree):
        if getattr(node, "type_params", None) == []:
            del node.type_params  # type: ignore[attr-defined]
    return ast.dump(tree, **({"show_empty": True} if sys.version_info >= (3, 13) else {}))


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that compute."""
    return {"python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in ("sdclib", *PACKAGES)
    }


def git_commit() -> str | None:
    """Commit of the checkout, with ``-dirty`` where tracked files differ from it; None outside a checkout."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            cwd=PROJECT_ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return described.stdout.strip() or None


def machine() -> dict[str, Any]:
    """Describe the machine: processor, cores, threads that torch uses, memory (GiB), accelerator."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
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

"""Numerical kernels of every x86-64 processor with AVX2: with them, a run gives the same bits on all of these."""

from __future__ import annotations

import os
import sys

__all__ = ["NATIVE", "PORTABLE", "kernels_in_use", "use_portable_kernels"]

# Libraries choose their kernels by the processor, unless these variables say which when the libraries are loaded.
PORTABLE = {
    "MKL_CBWR": "COMPATIBLE",
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "OPENBLAS_CORETYPE": "Haswell",
    "FAISS_OPT_LEVEL": "avx2",
    # Sums are split by the number of threads.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}
NATIVE = "native"  # value of SDC_KERNELS that leaves the choice to the libraries, which is faster


def use_portable_kernels() -> None:
    """Ask all libraries for portable kernels; before NumPy or torch is loaded, in this process and those it starts.

    Variables that are set already are left as they are, and ``SDC_KERNELS=native`` leaves all of them.

    Raises
    ------
    RuntimeError
        If NumPy or torch is loaded already and has chosen other kernels.
    """
    if os.environ.get("SDC_KERNELS") == NATIVE:
        return
    missing = PORTABLE.keys() - os.environ.keys()
    loaded = sorted({"numpy", "torch"} & sys.modules.keys())
    if missing and loaded:
        raise RuntimeError(
            f"use_portable_kernels: expected to be called before {' and '.join(loaded)} is imported; restart Python, "
            f"or set SDC_KERNELS={NATIVE} to do without portable kernels"
        )
    for name in missing:
        os.environ[name] = PORTABLE[name]


def kernels_in_use() -> str:
    """Say ``"portable"``, or what the variables are instead; ``"native"`` where they name threads at most."""
    chosen = {name: os.environ[name] for name in PORTABLE if name in os.environ}
    if chosen == PORTABLE:
        return "portable"
    kernels = [f"{name}={value}" for name, value in chosen.items() if not name.endswith("_NUM_THREADS")]
    return " ".join(kernels) or NATIVE

"""What runs a network: eager PyTorch, or ONNX Runtime on an export that is kept in the cache."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sdclib.extract.backbones.networks import FeatureNetwork
from sdclib.extract.backbones.weights import require
from sdclib.files import cache_dir, read_json, write_bytes, write_json

__all__ = ["OUTPUTS", "RUNTIMES", "onnx_runner", "torch_runner"]

RUNTIMES = ("onnx", "torch")
"""How a backbone is run: ONNX Runtime (the default, faster on CPUs) or eager PyTorch."""

OUTPUTS = ("features", "tokens")
"""What a network computes; not all have tokens."""

Runner = Callable[[NDArray[np.float32], str], NDArray[np.float32]]
"""``run(batch, output)`` with a batch of shape (n, 3, size, size) and one of `OUTPUTS` the network has."""


def torch_runner(network: FeatureNetwork) -> Runner:
    """Run the network eagerly."""

    def run(batch: NDArray[np.float32], output: str) -> NDArray[np.float32]:
        with torch.inference_mode():
            result: NDArray[np.float32] = network(torch.from_numpy(batch))[OUTPUTS.index(output)].numpy()
        return np.ascontiguousarray(result)

    return run


def onnx_runner(
    name: str, build: Callable[[], FeatureNetwork], weights_sha256: str, image_size: int, n_threads: int
) -> tuple[Runner, bool]:
    """Run the network with ONNX Runtime on the CPU; also says whether it has tokens."""
    onnxruntime = require("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = n_threads
    data = onnx_bytes(name, build, weights_sha256, image_size)
    session: Any = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])

    def run(batch: NDArray[np.float32], output: str) -> NDArray[np.float32]:
        result: NDArray[np.float32] = session.run([output], {"images": batch})[0]
        return result

    return run, "tokens" in {output.name for output in session.get_outputs()}


def onnx_bytes(name: str, build: Callable[[], FeatureNetwork], weights_sha256: str, image_size: int) -> bytes:
    """Read the exported network from the cache if its hash is right, else export it (and keep it if possible)."""
    key = hashlib.sha256(f"{weights_sha256} {image_size} {torch.__version__} v1".encode()).hexdigest()
    path = cache_dir() / "onnx" / f"{name.replace('/', '-')}-{key[:16]}.onnx"
    manifest = path.with_suffix(".json")
    try:
        data = path.read_bytes()
        if read_json(manifest)["sha256"] == hashlib.sha256(data).hexdigest():
            return data
    except (OSError, ValueError, KeyError, TypeError):
        pass  # nothing there yet, or damaged: make it again
    data = export(name, build(), image_size)
    try:
        write_bytes(path, data)
        write_json(manifest, {"sha256": hashlib.sha256(data).hexdigest(), "torch": torch.__version__})
    except OSError:
        pass  # a read-only or full cache costs the next call another export, nothing else
    return data


def export(name: str, network: FeatureNetwork, image_size: int) -> bytes:
    """Export to ONNX with a free batch size, input ``images``, outputs as in `OUTPUTS`.

    Raises
    ------
    RuntimeError
        If the exporter cannot do this network; the message says so.
    """
    for package in ("onnx", "onnxscript"):
        require(package)
    example = torch.zeros(2, 3, image_size, image_size)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        try:
            torch.onnx.export(
                network,
                (example,),
                path,
                input_names=["images"],
                output_names=list(OUTPUTS if network.has_tokens else OUTPUTS[:1]),
                dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
                external_data=False,
                dynamo=True,
                verbose=False,
            )
            return path.read_bytes()
        except Exception as error:
            raise RuntimeError(
                f"runtime: {name} could not be exported to ONNX; pass runtime='torch' ({type(error).__name__})"
            ) from error

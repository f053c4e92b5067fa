"""Fitted methods for other programs: the hash head as an ONNX model, codes as a faiss index.

The graph is made by hand: `torch.onnx.export` gives the same results, but takes ten times as long (2.5 s for the head
of the paper, and the package onnxscript), and writes operators of 2022 only by way of a conversion that it warns of.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted
from torch import nn

from sdclib import __version__
from sdclib.checks import check_int, check_name, check_package
from sdclib.codes import packed_codes
from sdclib.files import write_bytes
from sdclib.methods.base import BaseHasher
from sdclib.methods.closed_form import LinearHasher, SHHasher, SignHasher
from sdclib.methods.trained import HashHead, TrainedHasher
from sdclib.search.defaults import OPSET
from sdclib.search.encoding import PRECISIONS, encode, pack_precision

__all__ = ["onnx_model", "to_faiss", "to_onnx"]


def to_onnx(
    hasher: BaseHasher, path: str | os.PathLike[str], *, opset: int = OPSET, packed: str | None = None
) -> Path:
    """Write what `onnx_model` makes into a file, such as ``"head.onnx"``; an older one stays where that fails."""
    return write_bytes(path, onnx_model(hasher, opset=opset, packed=packed).SerializeToString())


def onnx_model(hasher: BaseHasher, *, opset: int = OPSET, packed: str | None = None) -> Any:
    """Make an ONNX model that computes what `decision_function` does, checked by ONNX's own checker.

    Its input ``features`` is float32 of shape (n, d) with any n; unlike `decision_function` it checks no values. Its
    output ``continuous_codes`` is float32 of shape (n, n_bits), equal up to rounding: a bit may differ where the
    continuous code is next to 0. ImportError if the package onnx is not installed, ValueError if an argument is not as
    described, NotFittedError if the method is not fitted.

    Parameters
    ----------
    hasher : BaseHasher
        Fitted; any method.
    opset : int
        Version of ONNX's operators, 17 or more. Runtimes read old ones.
    packed : {"sdc", "ubinary", "binary"}, optional
        Adds the output ``packed_codes``, shape (n, ceil(n_bits / 8)), as `sdclib.search.encoding.pack_precision` packs.
    """
    check_package("onnx", "writing ONNX models")
    import onnx
    from onnx import TensorProto, helper

    if not isinstance(hasher, BaseHasher):
        raise ValueError(f"hasher: expected a fitted method, got {type(hasher).__name__}")
    check_is_fitted(hasher, "n_features_in_")
    check_int(opset, "opset", minimum=OPSET, maximum=onnx.defs.onnx_opset_version())
    graph, n_bits = _Graph(), hasher._n_features_out
    codes = graph.add("Identity", _continuous_codes(graph, hasher, "features"), output="continuous_codes")
    outputs = [("continuous_codes", TensorProto.FLOAT, n_bits)]
    if packed is not None:
        kind = TensorProto.INT8 if check_name(packed, "packed", PRECISIONS) == "binary" else TensorProto.UINT8
        _pack(graph, codes, n_bits, packed, kind)
        outputs.append(("packed_codes", kind, -(-n_bits // 8)))
    version = helper.make_operatorsetid("", opset)
    info = helper.make_tensor_value_info
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            f"{hasher.method}_{n_bits}_bits",
            [info("features", TensorProto.FLOAT, ["n", hasher.n_features_in_])],
            [info(name, kind, ["n", width]) for name, kind, width in outputs],
            graph.constants,
        ),
        opset_imports=[version],
        ir_version=helper.find_min_ir_version_for([version]),
        producer_name="sdclib",
        producer_version=__version__,
    )
    helper.set_model_props(model, {"method": hasher.method, "n_bits": str(n_bits)})
    onnx.checker.check_model(model, full_check=True)
    return model


def to_faiss(
    source: BaseHasher | ArrayLike,
    database: ArrayLike | None = None,
    path: str | os.PathLike[str] | None = None,
    *,
    n_bits: int | None = None,
    name: str = "database",
    progress: bool = False,
) -> Any:
    """Make a faiss index of codes, for programs that search by faiss alone.

    Packed codes of queries (`BaseHasher.pack`, or `sdclib.search.encoding.encode`) are what it searches for;
    distances are those of `sdclib.search.index.HammingIndex`, which has also approximate search and re-scoring.
    ValueError if an argument is not as described.

    Parameters
    ----------
    source : BaseHasher or array-like
        A fitted method, which encodes `database`; or codes as `HammingIndex` takes them, packed ones with `n_bits`.
    database, name, progress : optional
        Vectors, with a method, how messages name them, and a bar, as in `sdclib.search.encoding.encode`.
    path : path-like, optional
        Write the index there, at once (temporary name, then rename), as ``faiss.write_index_binary`` does.
    n_bits : int, optional
        Code length; says that codes are packed.

    Returns
    -------
    faiss.IndexBinaryFlat
        Of 8 ceil(n_bits / 8) bits; those that no code has are 0.
    """
    import faiss

    codes: NDArray[np.uint8]
    if isinstance(source, BaseHasher):
        if database is None or n_bits is not None:
            raise ValueError("database: expected vectors beside a method, and no n_bits")
        codes = encode(source, database, name=name, progress=progress)
    elif database is not None:
        raise ValueError("database: expected none beside codes, which take its place")
    else:
        codes, _ = packed_codes(source, "source", n_bits)
    index = faiss.IndexBinaryFlat(8 * codes.shape[1])
    index.add(codes)
    if path is not None:
        write_bytes(path, faiss.serialize_index_binary(index).tobytes())
    return index


class _Graph:
    """Nodes and constants of a model that is being made; names are numbered."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def add(
        self, operator: str, *inputs: str | ArrayLike, output: str | None = None, **attributes: Any
    ) -> str:
        """Add a node; what is not the name of a value becomes a constant. Returns the name of its output."""
        from onnx import helper, numpy_helper

        names = []
        for value in inputs:
            if not isinstance(value, str):
                array, value = np.ascontiguousarray(value), f"constant_{len(self.constants)}"
                self.constants.append(numpy_helper.from_array(array, value))
            names.append(value)
        name = output or f"value_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, names, [name], **attributes))
        return name

    def cast(self, value: str, dtype: Any) -> str:
        from onnx import helper

        return self.add("Cast", value, to=int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype))))


def _continuous_codes(graph: _Graph, hasher: BaseHasher, x: str) -> str:
    if isinstance(hasher, TrainedHasher):
        for layer in _layers(hasher.head_):
            x = _layer(graph, layer, x)
        return x
    if not isinstance(hasher, LinearHasher | SignHasher | SHHasher):
        raise ValueError(f"hasher: expected a method of sdclib, got {type(hasher).__name__}")
    x = graph.add("Sub", x, hasher.mean_) if hasher.mean_.any() else x
    if isinstance(hasher, LinearHasher):
        return graph.add("MatMul", x, hasher.projection_)
    if isinstance(hasher, SignHasher):
        return graph.add("Gather", x, np.arange(hasher._n_features_out), axis=1)
    columns = hasher.projection_[:, hasher.component_].astype(np.float64)  # in double precision, as there
    projected = graph.add("Sub", graph.add("MatMul", graph.cast(x, np.float64), columns), hasher.origin_)
    phase = graph.add("Add", graph.add("Mul", projected, hasher.omega_), np.float64(np.pi / 2))
    return graph.cast(graph.add("Sin", phase), np.float32)


def _layers(head: nn.Module) -> list[nn.Module]:
    """Layers of a head in the order in which they are computed."""
    if isinstance(head, HashHead):
        return _layers(head.layers)
    return [each for part in head for each in _layers(part)] if isinstance(head, nn.Sequential) else [head]


def _layer(graph: _Graph, layer: nn.Module, x: str) -> str:
    weights = [tensor.detach().numpy() for tensor in layer.parameters()]
    if isinstance(layer, nn.Linear):
        return graph.add("Gemm", x, *weights, transB=1)
    if isinstance(layer, nn.ReLU):
        return graph.add("Relu", x)
    if isinstance(layer, nn.GELU) and layer.approximate == "none":
        erf = graph.add("Erf", graph.add("Div", x, np.float32(math.sqrt(2))))
        half = graph.add("Mul", x, np.float32(0.5))
        return graph.add("Mul", half, graph.add("Add", erf, np.float32(1)))
    if isinstance(layer, nn.LayerNorm):
        return graph.add("LayerNormalization", x, *weights, epsilon=layer.eps)
    if isinstance(layer, nn.BatchNorm1d):
        mean, variance = layer.running_mean.numpy(), layer.running_var.numpy()  # type: ignore[union-attr]
        scale_and_shift = weights or [np.ones_like(mean), np.zeros_like(mean)]
        return graph.add("BatchNormalization", x, *scale_and_shift, mean, variance, epsilon=layer.eps)
    raise ValueError(f"hasher: expected a head of layers that ONNX has here, got {layer}")


def _pack(graph: _Graph, codes: str, n_bits: int, precision: str, kind: int) -> None:
    """Add packed codes: each bit gives its byte what `pack_precision` says that it is worth, so a product packs."""
    zeros = pack_precision(np.zeros((1, n_bits)), precision).astype(np.float32)
    worth = pack_precision(np.eye(n_bits), precision).astype(np.float32) - zeros
    bits = graph.cast(graph.add("GreaterOrEqual", codes, np.float32(0)), np.float32)
    packed = graph.add("Add", graph.add("MatMul", bits, worth), zeros)
    graph.add("Cast", packed, to=kind, output="packed_codes")

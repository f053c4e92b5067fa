"""Hashing methods by name, all with one contract (`sdclib.methods.base.BaseHasher`)."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from sdclib.checks import check_name
from sdclib.methods.presets import BEST

if TYPE_CHECKING:
    from sdclib.methods.base import BaseHasher
    from sdclib.methods.closed_form import (
        ITQHasher,
        LSHHasher,
        PCAHHasher,
        RotationHasher,
        SHHasher,
        SignHasher,
    )
    from sdclib.methods.contrastive import CIBHashHasher, CroVCAHasher, NSHHasher, WCHHasher
    from sdclib.methods.pairwise import BiHalfHasher, GreedyHashHasher, SSDHHasher, TBHHasher
    from sdclib.methods.sdc import MatchingHasher, NeighbourSDCHasher, SDCHasher, SupervisedSDCHasher
    from sdclib.methods.supervised import LogitHasher, OrthoHashHasher, SupervisedHasher

__all__ = [
    "METHODS",
    "METHOD_LABELS",
    "BaseHasher",
    "BiHalfHasher",
    "CIBHashHasher",
    "CroVCAHasher",
    "GreedyHashHasher",
    "ITQHasher",
    "LSHHasher",
    "LogitHasher",
    "MatchingHasher",
    "NSHHasher",
    "NeighbourSDCHasher",
    "OrthoHashHasher",
    "PCAHHasher",
    "RotationHasher",
    "SDCHasher",
    "SHHasher",
    "SSDHHasher",
    "SignHasher",
    "SupervisedHasher",
    "SupervisedSDCHasher",
    "TBHHasher",
    "WCHHasher",
    "make_hasher",
]

_CLASSES = {  # module, class and label of a method, so that these are known without an import of torch
    "sdc": ("sdc", "SDCHasher", "SDC"),
    "sign": ("closed_form", "SignHasher", "Sign of features"),
    "rotation": ("closed_form", "RotationHasher", "Random rotation"),
    "lsh": ("closed_form", "LSHHasher", "LSH"),
    "pcah": ("closed_form", "PCAHHasher", "PCAH"),
    "sh": ("closed_form", "SHHasher", "SH"),
    "itq": ("closed_form", "ITQHasher", "ITQ"),
    "greedyhash": ("pairwise", "GreedyHashHasher", "GreedyHash"),
    "bihalf": ("pairwise", "BiHalfHasher", "BiHalf"),
    "ssdh": ("pairwise", "SSDHHasher", "SSDH"),
    "tbh": ("pairwise", "TBHHasher", "TBH"),
    "cibhash": ("contrastive", "CIBHashHasher", "CIBHash"),
    "nsh": ("contrastive", "NSHHasher", "NSH"),
    "wch": ("contrastive", "WCHHasher", "WCH"),
    "crovca": ("contrastive", "CroVCAHasher", "CroVCA"),
    "neighbour-sdc": ("sdc", "NeighbourSDCHasher", "SDC by neighbours"),
    "matching": ("sdc", "MatchingHasher", "Similarity matching"),
    "supervised-sdc": ("sdc", "SupervisedSDCHasher", "Supervised SDC"),
    "orthohash": ("supervised", "OrthoHashHasher", "OrthoHash"),
    "logits": ("supervised", "LogitHasher", "Hashed logits"),
}
METHOD_LABELS = {"cosine": "Float cosine"} | {method: label for method, (_, _, label) in _CLASSES.items()}
"""What readers know a method by; ``"cosine"`` is the ranking of the float features themselves."""

_HOME = {
    name: module
    for module, name, *_ in [("base", "BaseHasher"), ("supervised", "SupervisedHasher"), *_CLASSES.values()]
}


def __getattr__(name: str) -> Any:
    """Import a class, and with it torch, at first use."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Methods(Mapping[str, "type[BaseHasher]"]):
    """Classes by the names of their methods, imported when they are asked for."""

    def __getitem__(self, method: str) -> type[BaseHasher]:
        return __getattr__(_CLASSES[method][1])

    def __contains__(self, method: object) -> bool:
        return method in _CLASSES

    def __iter__(self) -> Iterator[str]:
        return iter(_CLASSES)

    def __len__(self) -> int:
        return len(_CLASSES)


METHODS: Mapping[str, type[BaseHasher]] = _Methods()


def make_hasher(method: str, n_bits: int, *, seed: int = 0, **parameters: Any) -> BaseHasher:
    """Make a hasher by name.

    Parameters
    ----------
    method : str
        One of `METHODS`. ``"sdc"`` with ``preset="best"`` is ``"neighbour-sdc"``, this study's variant.
    n_bits : int
        Code length.
    seed : int
        Given as `random_state` to methods that draw anything.
    **parameters
        Further parameters of the method.

    Returns
    -------
    BaseHasher
        Not yet fitted.

    Raises
    ------
    ValueError
        If the method or a parameter is unknown.
    """
    if "random_state" in parameters:
        raise ValueError(
            f"seed: expected the start of what is random, got random_state={parameters['random_state']!r}"
        )
    if method == "sdc" and parameters.get("preset") == BEST:
        method = "neighbour-sdc"
        del parameters["preset"]
    kind = METHODS[check_name(method, "method", METHODS)]
    known = set(inspect.signature(kind).parameters) - {"n_bits", "random_state"}
    for name in parameters:
        check_name(name, f"parameters of method {method!r}", known)
    if "random_state" in inspect.signature(kind).parameters:
        parameters["random_state"] = seed
    return kind(n_bits=n_bits, **parameters)

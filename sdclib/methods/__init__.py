"""Hashing methods by name, all with one contract (`sdclib.methods.base.BaseHasher`)."""

from __future__ import annotations

import inspect
from typing import Any

from sdclib.checks import check_name
from sdclib.methods.base import BaseHasher
from sdclib.methods.bihalf import BiHalfHasher
from sdclib.methods.cibhash import CIBHashHasher
from sdclib.methods.crovca import CroVCAHasher
from sdclib.methods.greedyhash import GreedyHashHasher
from sdclib.methods.itq import ITQHasher
from sdclib.methods.linear import LSHHasher, SignHasher
from sdclib.methods.logits import LogitHasher
from sdclib.methods.matching import MatchingHasher
from sdclib.methods.neighbour_sdc import NeighbourSDCHasher
from sdclib.methods.nsh import NSHHasher
from sdclib.methods.orthohash import OrthoHashHasher
from sdclib.methods.pcah import PCAHHasher
from sdclib.methods.rotation import RotationHasher
from sdclib.methods.sdc import SDCHasher
from sdclib.methods.sh import SHHasher
from sdclib.methods.ssdh import SSDHHasher
from sdclib.methods.supervised import SupervisedHasher
from sdclib.methods.supervised_sdc import SupervisedSDCHasher
from sdclib.methods.tbh import TBHHasher
from sdclib.methods.wch import WCHHasher
from sdclib.presets import BEST

__all__ = [
    "METHODS",
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

METHODS: dict[str, type[BaseHasher]] = {
    hasher.method: hasher
    for hasher in (
        SDCHasher,
        SignHasher,
        RotationHasher,
        LSHHasher,
        PCAHHasher,
        SHHasher,
        ITQHasher,
        GreedyHashHasher,
        BiHalfHasher,
        SSDHHasher,
        TBHHasher,
        CIBHashHasher,
        NSHHasher,
        WCHHasher,
        CroVCAHasher,
        NeighbourSDCHasher,
        MatchingHasher,
        SupervisedSDCHasher,
        OrthoHashHasher,
        LogitHasher,
    )
}


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
    if method == SDCHasher.method and parameters.get("preset") == BEST:
        method = NeighbourSDCHasher.method
        del parameters["preset"]
    kind = METHODS[check_name(method, "method", METHODS)]
    known = set(inspect.signature(kind).parameters) - {"n_bits", "random_state"}
    for name in parameters:
        check_name(name, f"parameters of method {method!r}", known)
    if "random_state" in inspect.signature(kind).parameters:
        parameters["random_state"] = seed
    return kind(n_bits=n_bits, **parameters)

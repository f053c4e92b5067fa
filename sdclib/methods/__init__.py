"""Hashing methods by name, all with one contract (`sdclib.methods.base.BaseHasher`)."""

from __future__ import annotations

import ast
import inspect
import warnings
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdclib.checks import check_name
from sdclib.methods.presets import BEST

if TYPE_CHECKING:
    from sdclib.methods.base import BaseHasher

FAMILIES = ("sdc", "closed_form", "pairwise", "contrastive", "supervised")
"""Modules of the methods, in the order in which readers see them."""
METHOD_LABELS = {"cosine": "Float cosine"}
"""What readers know a method by; ``"cosine"`` is the ranking of the float features themselves."""
METHOD_COLORS = {"cosine": "#000000"}
"""One a method through the whole book, colour-blind-safe; methods of one colour differ by marker and line."""
_HOME = {"BaseHasher": "base", "SupervisedHasher": "supervised"}  # module of each class
_CLASSES: dict[str, str | type[BaseHasher]] = {}  # of each method: its name, or itself once it is imported


def _declare() -> None:
    """Read from the source what the methods of each family are called, so that this is known without torch."""
    for family in FAMILIES:
        for node in ast.parse(Path(__file__).with_name(f"{family}.py").read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef):
                values: dict[str, Any] = {
                    target.id: line.value.value
                    for line in node.body
                    if isinstance(line, ast.Assign) and isinstance(line.value, ast.Constant)
                    for target in line.targets
                    if isinstance(target, ast.Name)
                }
                if method := values.get("method"):
                    _HOME[node.name], _CLASSES[method] = family, node.name
                    METHOD_LABELS[method], METHOD_COLORS[method] = values["label"], values["color"]


_declare()
GOALS: dict[str, tuple[str, dict[str, Any]]] = {"classes": ("neighbour-sdc", {}), "neighbours": ("itq", {})}
"""Method and parameters to take without labels, to find items of the same class or the nearest float vectors.

They are the best of ``results/goal_tuning.csv``, which compares on held-out training rows.
"""
__all__ = [
    "GOALS",
    "METHODS",
    "METHOD_COLORS",
    "METHOD_LABELS",
    "hasher_for",
    "make_hasher",
    "register",
    *_HOME,
]


def register(kind: type[BaseHasher]) -> None:
    """Make a method known by its `method`, `label` and `color`; a class that has these is registered when it is made.

    ValueError if another class has the same name.
    """
    known = _CLASSES.setdefault(kind.method, kind.__name__)
    name = known if isinstance(known, str) else known.__name__
    if name != kind.__name__:
        raise ValueError(
            f"method: expected a name of its own for {kind.__name__}, got {kind.method!r} of {name}"
        )
    _CLASSES[kind.method] = kind
    METHOD_LABELS[kind.method], METHOD_COLORS[kind.method] = kind.label, kind.color


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
        kind = _CLASSES[method]
        return __getattr__(kind) if isinstance(kind, str) else kind

    def __contains__(self, method: object) -> bool:
        return method in _CLASSES

    def __iter__(self) -> Iterator[str]:
        return iter(_CLASSES)

    def __len__(self) -> int:
        return len(_CLASSES)


METHODS: Mapping[str, type[BaseHasher]] = _Methods()


def make_hasher(method: str, n_bits: int, *, seed: int = 0, **parameters: Any) -> BaseHasher:
    """Make a hasher, not yet fitted, by name.

    Parameters
    ----------
    method : str
        One of `METHODS`.
    n_bits : int
        Code length.
    seed : int
        Given as `random_state` to methods that draw anything.
    **parameters
        Further parameters of the method; ValueError if one, or the method, is unknown.
    """
    if "random_state" in parameters:
        raise ValueError(
            f"seed: expected the start of what is random, got random_state={parameters['random_state']!r}"
        )
    if method == "sdc" and parameters.get("preset") == BEST:
        warnings.warn(
            "preset: 'best' is now hasher_for('classes', n_bits), in a command --goal classes",
            FutureWarning,
            stacklevel=2,
        )
        del parameters["preset"]
        return hasher_for("classes", n_bits, seed=seed, **parameters)
    kind = METHODS[check_name(method, "method", METHODS)]
    known = set(inspect.signature(kind).parameters) - {"n_bits", "random_state"}
    for name in parameters:
        check_name(name, f"parameters of method {method!r}", known)
    if "random_state" in inspect.signature(kind).parameters:
        parameters["random_state"] = seed
    return kind(n_bits=n_bits, **parameters)


def hasher_for(goal: str, n_bits: int, *, seed: int = 0, **parameters: Any) -> BaseHasher:
    """Make the hasher that this study recommends for a goal, see `GOALS`; else as `make_hasher`.

    Parameters
    ----------
    goal : {"classes", "neighbours"}
        To find items of the same class, though no labels are known; or the vectors that are nearest by float cosine.
        What is best for one goal is not for the other.
    n_bits, seed, parameters
        As in `make_hasher`.
    """
    method, chosen = GOALS[check_name(goal, "goal", GOALS)]
    return make_hasher(method, n_bits, seed=seed, **(chosen | parameters))

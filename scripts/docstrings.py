"""Sphinx extension of the book's API reference: every public name once, its docstring with links to the others.

Public is what a module's ``__all__`` names. A name that a package hands on from one of its modules is described with
the package, where one imports it from. In a docstring, text in single backticks becomes a link if it is a public name
(or a member of one) as seen from where it is written, otherwise it is set as code. A name that starts with
``sdclib.`` or ``study.`` and does not exist is a warning, which ends the build.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
import re
from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

from sphinx.pycode import ModuleAnalyzer
from sphinx.util import logging

import sdclib
import study

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.config import Config

__all__ = ["Names", "modules", "setup"]

PACKAGES = ("sdclib", "study")
logger = logging.getLogger(__name__)
# Roles, literals and hyperlinks, or what stands in single backticks; the types that napoleon sets in italics.
_BACKTICKS = re.compile(r"(:[\w:]+:`[^`]*`|``.*?``|`[^`]*`_)|`([^`<>]+)`", flags=re.S)
_TYPES = re.compile(r"\(\*(.+?)\*\)|^(:returns: )\*(.+?)\*(?=$| --)", flags=re.M)
# Stands for a colon in what describes a property: napoleon would take what is before it for a type.
_COLON = "\ue000"
_NAME = re.compile(r"(?<![\w.`*])[A-Za-z_][\w.]*")
# What names for types of this library stand for; autodoc would link it.
_FOREIGN = (
    "collections.abc.Callable",
    "numpy.dtype",
    "numpy.float32",
    "numpy.ndarray",
    "torch.Tensor",
    "tqdm.asyncio.tqdm_asyncio",
)


@functools.cache
def modules() -> tuple[str, ...]:
    """Names of all modules of `sdclib` and `study`, packages among them; these two, which only hand on, first."""
    walks = (pkgutil.walk_packages(package.__path__, f"{package.__name__}.") for package in (sdclib, study))
    return (*PACKAGES, *sorted(module.name for walk in walks for module in walk))


class Names:
    """Where each public name is described.

    Attributes
    ----------
    home : dict of str to str
        Module to which a public name belongs, by ``module.name``, for every module whose ``__all__`` has it.
    """

    def __init__(self) -> None:
        self.home: dict[str, str] = {}
        self._objects: dict[int, str] = {}
        # Packages before their modules, so that the shortest path wins.
        for module_name in sorted(modules()[len(PACKAGES) :], key=lambda name: (name.count("."), name)):
            module = importlib.import_module(module_name)
            for name in module.__all__:
                value, path = getattr(module, name), f"{module_name}.{name}"
                # Equal texts and numbers may be one object, so they go by their path alone.
                if isinstance(value, str | int | float):
                    self.home[path] = module_name
                else:
                    self.home[path] = self._objects.setdefault(id(value), path).rpartition(".")[0]

    def resolve(self, text: str, module: ModuleType, owner: type | None = None) -> tuple[str, str] | None:
        """Find what a name means where it is written.

        Parameters
        ----------
        text : str
            Such as ``"fit"``, ``"ImageSet.disjoint"`` or ``"sdclib.codes.binarize"``.
        module : module
        owner : type, optional
            The class in whose docstring it is written.

        Returns
        -------
        (role, path) or None
            The role of the link and what it points to; None if it is no public name.
        """
        if text.startswith(("sdclib.", "study.")):
            return self._absolute(text)
        if owner is not None and (member := self._member(owner, text)):
            return member
        return self._walk(f"{module.__name__}.", module, text)

    def _absolute(self, text: str) -> tuple[str, str] | None:
        known = modules()
        if text in known:
            return "py:mod", text
        module_name = max((m for m in known if text.startswith(f"{m}.")), key=len)
        return self._walk(
            f"{module_name}.", importlib.import_module(module_name), text[len(module_name) + 1 :]
        )

    def _walk(self, prefix: str, module: ModuleType, text: str) -> tuple[str, str] | None:
        first, *rest = text.split(".")
        value: Any = getattr(module, first, None)
        path = self._objects.get(id(value)) or (prefix + first if prefix + first in self.home else None)
        if path is None or (rest and not isinstance(value, type)) or len(rest) > 1:
            return None
        return self._member(value, rest[0]) if rest else ("py:obj", path)

    def _member(self, owner: type, name: str) -> tuple[str, str] | None:
        """Find a method or property in the public class that describes it."""
        for base in owner.__mro__:
            value = vars(base).get(name)
            described = getattr(value, "__func__", value)
            if value is not None and id(base) in self._objects:
                documented = inspect.isfunction(described) or isinstance(described, property)
                if documented and described.__doc__ and not name.startswith("_"):
                    return "py:obj", f"{self._objects[id(base)]}.{name}"
        return None


def _linked(names: Names, lines: list[str], module: ModuleType, owner: type | None) -> list[str]:
    """Lines with links in the place of names."""

    def linked(match: re.Match[str]) -> str:
        if match[1]:
            return match[1]
        text = " ".join(match[2].split())
        found = names.resolve(text, module, owner)
        if found is None:
            if text.startswith(("sdclib.", "study.")):
                logger.warning("%s: a docstring names %s, which is not public", module.__name__, text)
            return f"``{text}``"
        return f":{found[0]}:`{text} <{found[1]}>`"

    def typed(match: re.Match[str]) -> str:
        def name(part: re.Match[str]) -> str:
            found = names.resolve(part[0], module)
            return f":{found[0]}:`{part[0]} <{found[1]}>`\\ " if found else part[0]

        spelled = _NAME.sub(name, match[1] or match[3])
        return f"({spelled})" if match[1] else f"{match[2]}{spelled}"

    return _TYPES.sub(typed, _BACKTICKS.sub(linked, "\n".join(lines))).split("\n")


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to autodoc."""
    names = Names()
    _describe_constants(names)

    def where(what: str, obj: object, name: str) -> tuple[ModuleType, type | None]:
        """Find the module and the class in which a docstring is written."""
        if isinstance(obj, ModuleType):
            return obj, None
        owner = obj if isinstance(obj, type) else None
        if what in ("method", "property", "attribute"):
            module_name, _, class_name = name.rpartition(".")[0].rpartition(".")
            owner = getattr(importlib.import_module(module_name), class_name)
        origin = getattr(owner or obj, "__module__", None) or name.rpartition(".")[0]
        return importlib.import_module(origin), owner

    def skip(_: Sphinx, what: str, name: str, obj: object, skipped: bool, __: object) -> bool | None:
        module_name = app.env.temp_data.get("autodoc:module")
        if what == "module":
            return names.home.get(f"{module_name}.{name}") != module_name
        # scikit-learn gives its estimators methods that route metadata; this library uses none of them.
        return True if re.fullmatch("set_[a-z_]+_request", name) else None

    def keep_colon(_: Sphinx, what: str, __: str, ___: object, ____: object, lines: list[str]) -> None:
        if what in ("data", "property", "attribute"):
            lines[:] = [line.replace(":", _COLON) for line in lines]

    def write(_: Sphinx, what: str, name: str, obj: object, __: object, lines: list[str]) -> None:
        module, owner = where(what, obj, name)
        if what == "class" and owner is not None:
            bases = [base for base in owner.__bases__ if id(base) in names._objects]
            for base in bases:
                lines += ["", f"Has what `{base.__name__}` has.", ""]
        lines[:] = _linked(names, [line.replace(_COLON, ":") for line in lines], module, owner)

    def ignore(_: Sphinx, config: Config) -> None:
        config.nitpick_ignore = {*config.nitpick_ignore, *(("py:class", name) for name in _FOREIGN)}

    app.connect("config-inited", ignore)
    app.setup_extension("sphinx.ext.autodoc")
    app.setup_extension("sphinx.ext.napoleon")
    app.connect("autodoc-skip-member", skip)
    app.connect("autodoc-process-docstring", keep_colon, priority=100)  # before napoleon
    app.connect("autodoc-process-docstring", write, priority=900)  # after napoleon
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _describe_constants(names: Names) -> None:
    """Let autodoc find constants: it leaves out those without a comment, and those that a package hands on.

    What is written below or above a constant stays; the value follows, of a dictionary the keys.
    """
    comments = {name: ModuleAnalyzer.for_module(name).find_attr_docs() for name in modules()}
    for path, home in names.home.items():
        module_name, _, name = path.rpartition(".")
        value = getattr(importlib.import_module(module_name), name)
        if module_name != home or inspect.isclass(value) or inspect.isroutine(value):
            continue
        lines = next(
            (c["", name] for m, c in comments.items() if ("", name) in c and _is(m, name, value)), []
        )
        lines = [line for line in lines if line]
        if isinstance(value, Mapping):
            lines += ["", "Keys: " + ", ".join(f"``{key}``" for key in value) + "."]
        elif isinstance(value, str | int | float | tuple) and len(repr(value)) < 400:
            lines += ["", f"``{value!r}``"]
        comments[module_name]["", name] = lines or [""]


def _is(module_name: str, name: str, value: object) -> bool:
    return getattr(importlib.import_module(module_name), name, None) is value

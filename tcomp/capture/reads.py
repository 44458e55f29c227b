"""What Python a module reads while it is recorded: attributes of modules, and globals of the functions that it calls.

A recording burns them in, so a program serves only as long as they are what they were. Reads are seen by exchanging
`nn.Module.__getattribute__` for the recording's duration; globals are found in the code of the methods that are read.
"""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import CodeType, FunctionType, MethodType
from typing import Any

from torch import nn

from tcomp.capture.state import find_class_attributes, find_globals, is_users

ALL = "__dict__"
"""Stands for all attributes, of modules that look at their dictionary."""
_OWN = (frozenset(vars(nn.Module)) | frozenset(vars(nn.Module()))) - {"forward", ALL}
"""What every module has: its tree, hooks and modes, which are watched in other ways."""
_MACHINERY = nn.Module.__getattr__.__code__.co_filename


@dataclass(frozen=True, slots=True)
class Reads:
    """The names of attributes read, by the module that has them, and of globals and of classes' attributes, by what they are in."""

    attributes: Mapping[nn.Module, tuple[str, ...]]
    globals: tuple[tuple[Mapping[str, Any], str], ...]


class ReadTracker:
    """Notes what this thread reads of modules, and what other threads write to them meanwhile."""

    def __init__(self) -> None:
        self._names: dict[nn.Module, dict[str, None]] = {}
        self.foreign: set[tuple[int, str]] = set()
        """What other threads wrote: numbers of modules, and names of attributes."""

    @contextmanager
    def following(self) -> Iterator[None]:
        """Note reads until left; only one tracker may do so at a time."""
        thread, names = threading.get_ident(), self._names

        def read(module: nn.Module, name: str) -> Any:
            if name not in _OWN and threading.get_ident() == thread and (name != ALL or _is_users(sys._getframe(1).f_code)):
                names.setdefault(module, {})[name] = None
            return object.__getattribute__(module, name)

        nn.Module.__getattribute__ = read  # type: ignore[assignment, method-assign]
        try:
            yield
        finally:
            del nn.Module.__getattribute__

    @contextmanager
    def guarding(self) -> Iterator[None]:
        """Note what other threads write until left; only one tracker may do so at a time."""
        thread, foreign = threading.get_ident(), self.foreign
        set_attribute, delete_attribute = nn.Module.__setattr__, nn.Module.__delattr__

        def write(module: nn.Module, name: str, value: Any) -> None:
            if threading.get_ident() != thread:
                foreign.add((id(module), name))
            set_attribute(module, name, value)

        def delete(module: nn.Module, name: str) -> None:
            if threading.get_ident() != thread:
                foreign.add((id(module), name))
            delete_attribute(module, name)

        nn.Module.__setattr__, nn.Module.__delattr__ = write, delete  # type: ignore[assignment, method-assign]
        try:
            yield
        finally:
            nn.Module.__setattr__, nn.Module.__delattr__ = set_attribute, delete_attribute  # type: ignore[method-assign]

    def find(self, classes: Collection[tuple[type, str]] = ()) -> Reads:
        """What has been read, in the order of the first reads, and these attributes of classes."""
        return make_reads({module: tuple(names) for module, names in self._names.items()}, classes)


def make_reads(attributes: Mapping[nn.Module, tuple[str, ...]], classes: Collection[tuple[type, str]] = ()) -> Reads:
    """Reads of attributes, of modules and of classes, and of the globals that the functions among them name."""
    found: dict[tuple[int, str], tuple[Mapping[str, Any], str]] = {}
    seen: set[CodeType] = set()
    for kind, name in classes:
        bases = [base for base in kind.__mro__ if is_users(base.__module__)]
        # A class may get what one that it inherits from has.
        found.update({(id(base), name): (vars(base), name) for base in bases})
        _find_globals(next((vars(base)[name] for base in bases if name in vars(base)), None), found, seen)
    for module, names in attributes.items():
        for name in names:
            if name != ALL:
                _find_globals(find_attribute(module, name), found, seen)
    return Reads(attributes, tuple(found.values()))


def find_attribute(module: nn.Module, name: str) -> Any:
    """An attribute as it is stored, on the module or its class; None if it is computed or there is none."""
    if name in module.__dict__:
        return module.__dict__[name]
    return next((vars(kind)[name] for kind in type(module).__mro__ if name in vars(kind)), None)


def _is_users(code: CodeType) -> bool:
    """Whether code is not that of `nn.Module` itself, which looks parameters and submodules up in the dictionary."""
    return code.co_filename != _MACHINERY


def _find_globals(value: Any, found: dict[tuple[int, str], tuple[Mapping[str, Any], str]], seen: set[CodeType]) -> None:
    """Collect the globals that a function's code names, and those of the functions that it names."""
    if isinstance(value, functools._lru_cache_wrapper):
        value = value.__wrapped__
    if isinstance(value, MethodType):
        value = value.__func__
    elif isinstance(value, property):
        value = value.fget
    if not isinstance(value, FunctionType) or value.__code__ in seen or not is_users(value.__module__):
        return
    seen.add(value.__code__)
    space = value.__globals__
    for name, item in find_globals(value):
        _find_globals(item, found, seen)
        found.setdefault((id(space), name), (space, name))
    for kind, name in find_class_attributes(value):
        found.setdefault((id(kind), name), (vars(kind), name))

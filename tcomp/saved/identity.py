"""What a module is, as text that another process can compare: its structure, the attributes its forward may read, and its code.

    NAME: CLASS            each submodule
    NAME.ATTRIBUTE = VALUE what is in its `__dict__`: numbers, text, containers, functions, objects with what they hold
    NAME code HASH         the bytecode of its classes' methods, constants and defaults included

Parameters and buffers are not part of it (their sizes are checked by the program), nor are modes and hooks, nor PyTorch's own code, whose
version is compared instead.
"""

from __future__ import annotations

import enum
import functools
import hashlib
import types
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

DEEPEST = 6
"""How many objects within objects are looked into."""
LONGEST = 200
"""Characters of a value that are written out; of a longer one its hash."""


def describe_module(module: nn.Module) -> list[str]:
    """The lines of a module."""
    lines: list[str] = []
    for name, part in module.named_modules():
        spelled = name or "the module"
        lines.append(f"{spelled}: {_name(type(part))}")
        attributes = sorted((key, value) for key, value in vars(part).items() if key not in _INTERNAL)
        lines += [f"{spelled}.{key} = {_shorten(_describe(value, ()))}" for key, value in attributes]
        code = _describe_class(type(part))
        if code:
            lines.append(f"{spelled} code {_hash(code)}")
    return lines


_INTERNAL = frozenset((*vars(nn.Module()), "training"))
"""Attributes that every module has: parameters, buffers, submodules, hooks, modes."""


def _describe(value: Any, outer: tuple[int, ...]) -> str:
    if id(value) in outer or len(outer) > DEEPEST:
        return _name(type(value))
    inner = (*outer, id(value))
    match value:
        case enum.Enum():
            return f"{_name(type(value))}.{value.name}"
        case None | bool() | int() | float() | complex() | str() | bytes() | slice() | range():
            return repr(value)
        case torch.dtype() | torch.device() | torch.layout() | torch.memory_format() | torch.Size():
            return str(value)
        case Tensor():
            return _describe_tensor(value)
        case nn.Module():
            return f"module {_hash(chr(10).join(describe_module(value)))}" if len(outer) < 2 else _name(type(value))
        case list() | tuple():
            return f"{_name(type(value))}[{', '.join(_describe(part, inner) for part in value)}]"
        case set() | frozenset():
            return f"{_name(type(value))}[{', '.join(sorted(_describe(part, inner) for part in value))}]"
        case Mapping():
            return f"{{{', '.join(f'{_describe(key, inner)}: {_describe(part, inner)}' for key, part in value.items())}}}"
        case functools.partial():
            return f"partial {_describe([value.func, value.args, value.keywords], inner)}"
        case types.FunctionType():
            return _describe_function(value, inner)
        case types.MethodType():
            return f"method {_describe(value.__func__, inner)}"
        case type() | types.BuiltinFunctionType():
            return f"{value.__module__}.{value.__qualname__}"
    held = getattr(value, "__dict__", {})
    return f"{_name(type(value))}{_describe({key: part for key, part in sorted(held.items()) if not key.startswith('_')}, inner)}"


def _describe_tensor(value: Tensor) -> str:
    kind = f"tensor {value.dtype} {list(value.shape)}"
    if value.device.type == "meta" or value.layout != torch.strided:
        return kind
    flat = value.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
    return f"{kind} {hashlib.sha256(flat.view(torch.uint8).numpy().tobytes()).hexdigest()[:32]}"


def _describe_class(kind: type) -> str:
    """The methods of a class and of those it is derived from, PyTorch's left out."""
    own = [base for base in kind.__mro__ if not _is_torch(base.__module__)]
    parts = [(f"{_name(base)}.{key}", getattr(value, "__func__", value)) for base in own for key, value in vars(base).items()]
    return "\n".join(f"{name} {_describe(value, ())}" for name, value in parts if _is_read(name, value))


def _is_read(name: str, value: object) -> bool:
    kinds = (types.FunctionType, int, float, str, tuple, list)
    return isinstance(value, kinds) and name.rpartition(".")[2] not in ("__module__", "__doc__", "__firstlineno__", "__qualname__")


def _describe_function(function: types.FunctionType, inner: tuple[int, ...]) -> str:
    if _is_torch(function.__module__ or ""):
        return f"{function.__module__}.{function.__qualname__}"
    cells = [cell.cell_contents for cell in function.__closure__ or () if not _is_empty(cell)]
    # A method that calls super() holds its class, and functions the modules that they close over.
    held = [_describe(part, inner) for part in (function.__defaults__, function.__kwdefaults__, *cells)]
    known = {name: function.__globals__[name] for name in _names(function.__code__) if name in function.__globals__}
    read = {
        name: value
        for name, value in known.items()
        if isinstance(value, (int, float, str, tuple, Tensor))
        or (isinstance(value, types.FunctionType) and value.__module__ == function.__module__)
    }
    return f"function {_describe_code(function.__code__)} {held} {_describe(read, inner)}"


def _names(code: types.CodeType) -> list[str]:
    within = [name for part in code.co_consts if isinstance(part, types.CodeType) for name in _names(part)]
    return sorted({*code.co_names, *within})


def _describe_code(code: types.CodeType) -> str:
    constants = [_describe_code(c) if isinstance(c, types.CodeType) else _describe(c, ()) for c in code.co_consts]
    return _hash(f"{code.co_code.hex()} {code.co_names} {code.co_varnames} {constants}")


def _is_empty(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018 (raises)
    except ValueError:
        return True
    return False


def _is_torch(name: str) -> bool:
    return name == "builtins" or name.partition(".")[0] == "torch"


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _shorten(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST // 2]}... {_hash(text)}"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()[:32]

"""Models by name, as the command line takes them.

zoo:NAME                  a model of tcomp.zoo
package.module:factory    a function that returns (module, example inputs)
FILE.pt2                  a program from torch.export.save, with the inputs it was exported with
"""

import importlib
import traceback
from pathlib import Path
from typing import cast

import torch
from torch import nn
from torch.utils._pytree import tree_map

from tcomp import zoo
from tcomp.ir.errors import TcompError

Model = tuple[nn.Module, tuple[object, ...]]

SPELLINGS = "zoo:NAME, package.module:factory, or a .pt2 file"


def load_model(spec: str, dtype: torch.dtype | None = None) -> Model:
    """Return the module a specification names, and example inputs for it.

    `dtype` asks for weights and inputs of another floating-point type. Modules come in the mode their factory left
    them in; those of the zoo are in eval mode. Raises TcompError for a specification that names nothing usable.
    """
    if spec.endswith(".pt2"):
        return _convert(_load_exported(Path(spec)), dtype)
    kind, colon, name = spec.partition(":")
    if not colon:
        raise TcompError(f"{spec!r} names no model", help=f"a model is {SPELLINGS}")
    if kind == "zoo":
        name, _, size = name.partition(":")
        return zoo.build(name, dtype or torch.float32, size=cast(zoo.Size, size or "full"))
    return _convert(_call_factory(kind, name, spec), dtype)


def move_model(model: Model, device: str | None) -> Model:
    """Move a module and the tensors among its inputs to a kind of device, if one is named.

    Raises TcompError for "cuda" where there is no CUDA device.
    """
    if device is None:
        return model
    if device == "cuda" and not torch.cuda.is_available():
        raise TcompError("this machine shows no CUDA device", where="--device cuda", help="run `tcomp doctor`, which tells what is missing")
    module, inputs = model
    moved: tuple[object, ...] = tree_map(lambda leaf: leaf.to(device) if isinstance(leaf, torch.Tensor) else leaf, inputs)
    return module.to(device), moved


def expand_specs(text: str) -> tuple[str, ...]:
    """Split a comma-separated list of specifications; `zoo:all` stands for each model of the zoo.

    Raises TcompError if nothing is named.
    """
    specs: list[str] = []
    for part in (part.strip() for part in text.split(",")):
        specs += [f"zoo:{name}" for name in zoo.NAMES] if part == "zoo:all" else [part] if part else []
    if not specs:
        raise TcompError("no model was named", help=f"a model is {SPELLINGS}")
    return tuple(dict.fromkeys(specs))


def _load_exported(path: Path) -> Model:
    if not path.is_file():
        raise TcompError(f"there is no file {path}", help="write one with torch.export.save(program, path)")
    try:
        program = torch.export.load(path)
    except Exception as error:
        # torch raises whatever its readers raise: zipfile.BadZipFile, RuntimeError, KeyError, ...
        raise TcompError(
            "the file does not hold an exported program that this torch can read",
            where=f"{path}: {error}",
            help="write it again with torch.export.save, with the same version of torch",
        ) from error
    if program.example_inputs is None:
        raise TcompError(
            "the exported program holds no example inputs", where=str(path), help="export it with torch.export.export"
        )
    arguments, keywords = program.example_inputs
    if keywords:
        raise TcompError(
            f"the program was exported with keyword inputs {', '.join(keywords)}",
            where=str(path),
            help="export it with positional inputs",
        )
    return program.module(), tuple(arguments)


def _call_factory(package: str, name: str, spec: str) -> Model:
    try:
        module = importlib.import_module(package)
    except ImportError as error:
        raise TcompError(
            f"cannot import {package}",
            where=f"{spec}: {error}",
            help="run from the folder that holds it, or put that folder on PYTHONPATH",
        ) from error
    except Exception as error:
        raise TcompError(f"importing {package} failed: {error!r}", where=_find_line(error)) from error
    factory = getattr(module, name, None)
    if not callable(factory):
        raise TcompError(f"{package} has no function {name!r}", where=spec, help="a factory returns (module, example inputs)")
    try:
        result = factory()
    except TcompError:
        raise
    except Exception as error:
        raise TcompError(f"the factory {spec} failed: {error!r}", where=_find_line(error)) from error
    if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[0], nn.Module)):
        raise TcompError(
            f"the factory returned {type(result).__name__}, not (module, example inputs)",
            where=spec,
            help="return a torch.nn.Module and a tuple of example inputs",
        )
    inputs = result[1]
    return result[0], tuple(inputs) if isinstance(inputs, tuple | list) else (inputs,)


def _find_line(error: Exception) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{frame.filename}:{frame.lineno}: {frame.line}"


def _convert(model: Model, dtype: torch.dtype | None) -> Model:
    if dtype is None:
        return model
    module, inputs = model
    return module.to(dtype), tuple(
        value.to(dtype) if isinstance(value, torch.Tensor) and value.is_floating_point() else value for value in inputs
    )

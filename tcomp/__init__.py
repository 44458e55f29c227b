"""tcomp: a tensor compiler from PyTorch modules over cascades of einsums to fused kernels."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

# In a source checkout the lower folders (ir, passes, codegen) lie beside this one: let `tcomp.ir` be found there.
_root = Path(__file__).resolve().parent.parent
if (_root / "pyproject.toml").is_file():
    __path__.append(str(_root))

from tcomp.ir.errors import (  # noqa: E402 (needs the path above)
    BudgetError,
    Illegal,
    IndexOutOfRange,
    ParseError,
    RecordError,
    TcompError,
    ToolchainError,
    Unsupported,
    VerifyError,
)
from tcomp.version import __version__ as __version__  # noqa: E402 (as above)

if TYPE_CHECKING:
    from torch import nn

    from tcomp.module.compiled_module import CompiledModule

if (_root / "pyproject.toml").is_file():
    from tcomp.module.registration import register_checkout

    register_checkout(__version__)

# PyTorch looks for backends while it is being imported itself, and finds this package: so torch is imported when it is needed.


def compile(module: "nn.Module", example_inputs: Any = None, **options: Any) -> "CompiledModule":
    """Compile a module to fused kernels; the result is called like the module.

    With `example_inputs` (the positional arguments of one call, as a tuple) it is compiled at once, else at the first call.
    `options` are the fields of `tcomp.options.Options`: backend, interpret, target, precision, scatter, tune, cuda_graphs,
    dynamic, numerics, memory_budget, schedule, fallback, cache, threads. Raises TcompError for what cannot be compiled; operators without a
    lowering, and stages that tcomp itself fails to compile, run in PyTorch, with a warning.
    """
    from tcomp.module.compiler import compile_module  # noqa: PLC0415 (imports torch)

    return compile_module(module, example_inputs, options)


def load(path: str | Path, module: "nn.Module") -> "CompiledModule":
    """Load what `CompiledModule.save` wrote, for a module of the same kind, without compiling.

    A saved program is code, which loading runs: load only what you would run. Nothing in it is unpickled. The module has to have the same
    classes, code and attributes as the one it was made from, and PyTorch and Python the same versions.

    Raises RecordError for a file that is damaged, of another version or machine, or made for another kind of module.
    """
    from tcomp.module.compiler import load_module  # noqa: PLC0415 (imports torch)

    return load_module(Path(path), module)


def refresh(compiled: "CompiledModule") -> None:
    """Forget what was compiled, so that the next call starts from the module as it is then.

    A call sees by itself what docs/options.md lists; this is for the rest: a few elements of a large weight written through `.data` or
    numpy, values in closures, state kept outside Python. Raises TcompError for anything but what `tcomp.compile` returns.
    """
    from tcomp.module.compiler import refresh_module  # noqa: PLC0415 (imports torch)

    refresh_module(compiled)


def explain(compiled: "CompiledModule", *, sources: bool = False) -> str:
    """Tell what a compiled module became: cascade, kernels and what each fused, memory, operators left to PyTorch.

    With `sources` the source of every kernel is included.
    """
    from tcomp.module.explanation import explain_module  # noqa: PLC0415 (imports torch)

    return explain_module(compiled, sources=sources)


__all__ = [
    "BudgetError",
    "Illegal",
    "IndexOutOfRange",
    "ParseError",
    "RecordError",
    "TcompError",
    "ToolchainError",
    "Unsupported",
    "VerifyError",
    "compile",
    "explain",
    "load",
    "refresh",
]

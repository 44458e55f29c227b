"""tcomp: a tensor compiler from PyTorch modules over cascades of einsums to fused kernels."""

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

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
from tcomp.options import (  # noqa: E402 (as above)
    Backend,
    Fallback,
    Numerics,
    Options,
    Precision,
    Scatter,
    check_names,
)
from tcomp.version import __version__ as __version__  # noqa: E402 (as above)

P = ParamSpec("P")
R = TypeVar("R")

if TYPE_CHECKING:
    from torch import nn

    from tcomp.module.compiled_module import CompiledModule

if (_root / "pyproject.toml").is_file():
    from tcomp.module.registration import register_checkout

    register_checkout(__version__)

# PyTorch looks for backends while it is being imported itself, and finds this package: so torch is imported when it is needed.


def _refuse_unknown_options(function: Callable[P, R]) -> Callable[P, R]:
    """The same function, whose error for a keyword argument that there is not names the nearest one."""
    known = [name for name in inspect.signature(function).parameters if name not in ("module", "example_inputs")]

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        check_names([name for name in kwargs if name not in ("module", "example_inputs")], known)
        return function(*args, **kwargs)

    return call


@_refuse_unknown_options
def compile(
    module: "nn.Module",
    example_inputs: Any = None,
    *,
    backend: Backend = "auto",
    interpret: bool = False,
    target: str | None = None,
    precision: Precision = "auto",
    scatter: Scatter = "deterministic",
    cuda_graphs: bool | None = None,
    dynamic: bool | None = None,
    tune: bool = False,
    numerics: Numerics = "default",
    memory_budget: int | None = None,
    schedule: str | None = None,
    fallback: Fallback = "warn",
    cache: bool = True,
    threads: int | None = None,
) -> "CompiledModule":
    """Compile a module to fused kernels; the result is called like the module.

    With `example_inputs` (the positional arguments of one call as a tuple or list, one tensor, or keyword arguments as a dictionary) it
    is compiled at once, else at the first call. Operators without a lowering, and stages that tcomp itself fails to compile, run in
    PyTorch, with a warning. Raises TcompError for what cannot be compiled, and for options that there are not.

    Options, which `torch.compile(module, backend="tcomp", options={...})` takes as well:
      backend: Which printer makes the kernels: "auto" takes C for tensors on the CPU and Triton for those on a GPU. "triton" for a
        module on the CPU compiles for the GPU that `target` names, to look at what comes out; to run it, move the module or set
        `interpret`.
      interpret: With "triton": run kernels in Triton's interpreter, on the CPU. To debug them: thousands of times slower than
        compiled ones.
      target: With "triton": the GPU to compile for, as in "sm_80"; None for the one that is there, or else "sm_90".
      precision: How Triton kernels multiply f32 matrices: "ieee" without tensor cores; "tf32x3" with them, nearly as exact; "tf32"
        with ten bits of mantissa. "auto" is "tf32" where PyTorch has been told to use that (torch.set_float32_matmul_precision),
        else "tf32x3".
      scatter: How Triton kernels add up what several elements store in one place: in a fixed order, or atomically, which is faster
        and rounds floats differently from run to run.
      cuda_graphs: Whether the kernels of a program with fixed sizes are recorded once and replayed; None: where it saves time.
      dynamic: True: sizes are symbols; False: one program a shape; None: static first, symbols when a size changes.
      tune: Time several kernels for each part where they are to run, on a GPU PyTorch's matrix products among them, and take the
        fastest. Compiling then takes minutes, and another time may choose otherwise.
      numerics: "default" skips bf16 and f16 roundings between fused einsums and flushes denormals inside kernels; "strict" does
        neither.
      memory_budget: The most bytes the arena of intermediate tensors may take, of each stage of its own; None for no limit. What
        would take more is computed in another order, or in place.
      schedule: The text of a schedule to compile by, instead of the heuristics: `str(compiled.schedule)`, edited or not
        (docs/schedules.md).
      fallback: What to do about operators left to eager, for want of a lowering or because tcomp failed on them, and about calls
        that could not be recorded and go through torch.compile: warn once, raise, or nothing.
      cache: Whether compiled kernels are read from and kept in the cache directory.
      threads: How many threads kernels use; None for as many as torch uses.
    """
    from tcomp.module.compiler import compile_module  # noqa: PLC0415 (imports torch)

    return compile_module(
        module,
        example_inputs,
        Options(
            backend=backend,
            interpret=interpret,
            target=target,
            precision=precision,
            scatter=scatter,
            cuda_graphs=cuda_graphs,
            dynamic=dynamic,
            tune=tune,
            numerics=numerics,
            memory_budget=memory_budget,
            schedule=schedule,
            fallback=fallback,
            cache=cache,
            threads=threads,
        ),
    )


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

"""How a module is to be compiled: the keyword arguments of `tcomp.compile` as one frozen value."""

import difflib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Literal, get_args

from tcomp.ir.errors import TcompError

Backend = Literal["auto", "c", "triton"]
Precision = Literal["auto", "ieee", "tf32", "tf32x3"]
Scatter = Literal["deterministic", "atomic"]
Numerics = Literal["default", "strict"]
Fallback = Literal["warn", "error", "silent"]


@dataclass(frozen=True, slots=True)
class Options:
    """The choices of one compilation; each is validated when the value is made.

    Raises TcompError for a value outside its choices.
    """

    backend: Backend = "auto"
    """Which printer makes the kernels: "auto" takes C for tensors on the CPU and Triton for those on a GPU. "triton" for a module
    on the CPU compiles for the GPU that `target` names, to look at what comes out; to run it, move the module or set `interpret`."""
    interpret: bool = False
    """With "triton": run kernels in Triton's interpreter, on the CPU. To debug them: thousands of times slower than compiled ones."""
    target: str | None = None
    """With "triton": the GPU to compile for, as in "sm_80"; None for the one that is there, or else "sm_90"."""
    precision: Precision = "auto"
    """How Triton kernels multiply f32 matrices: "ieee" without tensor cores; "tf32x3" with them, nearly as exact; "tf32" with ten
    bits of mantissa. "auto" is "tf32" where PyTorch has been told to use that (torch.set_float32_matmul_precision), else "tf32x3"."""
    scatter: Scatter = "deterministic"
    """How Triton kernels add up what several elements store in one place: in a fixed order, or atomically, which is faster and
    rounds floats differently from run to run."""
    cuda_graphs: bool | None = None
    """Whether the kernels of a program with fixed sizes are recorded once and replayed; None: where it saves time."""
    dynamic: bool | None = None
    """True: sizes are symbols; False: one program a shape; None: static first, symbols when a size changes."""
    tune: bool = False
    """Time several kernels for each part where they are to run, on a GPU PyTorch's matrix products among them, and take the fastest.
    Compiling then takes minutes, and another time may choose otherwise."""
    numerics: Numerics = "default"
    """"default" skips bf16 and f16 roundings between fused einsums and flushes denormals inside kernels; "strict" does
    neither."""
    memory_budget: int | None = None
    """The most bytes the arena of intermediate tensors may take, of each stage of its own; None for no limit. What would take more is
    computed in another order, or in place."""
    schedule: str | None = None
    """The text of a schedule to compile by, instead of the heuristics: `str(compiled.schedule)`, edited or not (docs/schedules.md)."""
    fallback: Fallback = "warn"
    """What to do about operators left to eager, for want of a lowering or because tcomp failed on them, and about calls that could not
    be recorded and go through torch.compile: warn once, raise, or nothing."""
    cache: bool = True
    """Whether compiled kernels are read from and kept in the cache directory."""
    threads: int | None = None
    """How many threads kernels use; None for as many as torch uses."""

    def __post_init__(self) -> None:
        _check_choice("backend", self.backend, get_args(Backend))
        _check_choice("interpret", self.interpret, (True, False))
        _check_choice("precision", self.precision, get_args(Precision))
        _check_choice("scatter", self.scatter, get_args(Scatter))
        _check_choice("tune", self.tune, (True, False))
        _check_choice("cuda_graphs", self.cuda_graphs, (None, True, False))
        _check_choice("numerics", self.numerics, get_args(Numerics))
        _check_choice("fallback", self.fallback, get_args(Fallback))
        _check_choice("dynamic", self.dynamic, (None, True, False))
        _check_choice("cache", self.cache, (True, False))
        _check_positive("memory_budget", self.memory_budget, "a number of bytes")
        _check_positive("threads", self.threads, "a number of threads")
        if self.threads is not None and self.threads > MOST_THREADS:
            raise TcompError(
                f"threads must be at most {MOST_THREADS}, not {self.threads}",
                where=_WHERE,
                help="more threads than processors make each wait for the others; leave threads out for as many as torch uses",
            )
        _check_architecture(self.target)
        for name in ("interpret", "target"):
            if getattr(self, name) and self.backend != "triton":
                raise TcompError(
                    f"{name} is about Triton kernels, and backend is {self.backend!r}", where=_WHERE, help='pass backend="triton" as well'
                )
        if self.schedule is not None and not isinstance(self.schedule, str):
            raise TcompError(
                f"schedule must be the text of a schedule, not {self.schedule!r}",
                where=_WHERE,
                help="pass str(f.schedule) of a compiled program, edited or not",
            )


def make_options(arguments: Mapping[str, object]) -> Options:
    """Make Options from the `options` dictionary of torch.compile.

    Raises TcompError for a name that is no option, with the one it is nearest to.
    """
    check_names(list(arguments), [field.name for field in fields(Options)])
    # The types are checked value by value when Options is made.
    return Options(**arguments)  # type: ignore[arg-type]


def check_names(names: Sequence[str], known: Sequence[str]) -> None:
    """Check that all names are those of options; raises TcompError for one that is not, with the nearest name and all known ones."""
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            guess = f"did you mean {near[0]!r}? " if near else ""
            raise TcompError(f"there is no option {name!r}", where=_WHERE, help=f"{guess}options are: {', '.join(known)}")


_WHERE = "options of tcomp.compile"

MOST_THREADS = max(1024, os.cpu_count() or 1)
"""OpenMP ends a process for which it cannot start as many threads as it is asked for."""


def _check_choice(name: str, value: object, choices: tuple[object, ...]) -> None:
    # `1 == True`, so compare types as well: dynamic=1 is a mistake worth naming.
    if not any(type(value) is type(choice) and value == choice for choice in choices):
        spelled = " or ".join(repr(choice) for choice in choices)
        raise TcompError(
            f"{name} must be {spelled}, not {value!r}", where=_WHERE, help=f"the default is {_default(name)!r}"
        )


def _check_positive(name: str, value: object, meaning: str) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise TcompError(
            f"{name} must be {meaning} above zero or None, not {value!r}",
            where=_WHERE,
            help=f"leave {name} out for the default, {_default(name)!r}",
        )


def _check_architecture(value: object) -> None:
    if value is not None and (not isinstance(value, str) or re.fullmatch(r"sm_[1-9][0-9]+", value) is None):
        raise TcompError(
            f"target must be a GPU's architecture or None, not {value!r}",
            where=_WHERE,
            help='write its compute capability without the dot: "sm_90" is 9.0, that of an H100; "sm_80" that of an A100',
        )


def _default(name: str) -> object:
    return next(field.default for field in fields(Options) if field.name == name)

"""The ways of a call that no program serves: the original module, or Dynamo, which splits a module where the recorder cannot go on."""

from __future__ import annotations

import contextlib
import copy
import functools
import itertools
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import Enum
from types import CodeType, FunctionType
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from tcomp.capture.arguments import flatten_arguments
from tcomp.capture.capture import ForeignInput, ModuleFailed
from tcomp.capture.refusals import EagerOnly
from tcomp.ir.errors import TcompError
from tcomp.module.graphs import compile_graph
from tcomp.options import Options
from tcomp.program.program import Program
from tcomp.settings import read_settings

MOST_GRAPHS = 64
"""Times that Dynamo compiles a module; for more kinds of inputs it runs in eager."""


class DynamoFailed(Exception):  # noqa: N818 (says what happened)
    """torch.compile fails on a module; nothing has been written by then."""


class Way(Enum):
    """Who serves a call that no program serves."""

    ORIGINAL = "to the original module"
    SPLIT = "through torch.compile, which splits the module there"
    TORCH = "through torch.compile"


@dataclass(frozen=True, slots=True)
class Detour:
    """Why no program serves a kind of inputs, and who does."""

    reason: str
    way: Way = Way.ORIGINAL

    @property
    def text(self) -> str:
        """The reason, and where calls go."""
        return f"{self.reason}, so the call goes {self.way.value}"


def find_detour(error: TcompError, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Detour:
    """Where a call goes that could not be recorded: to Dynamo, unless eager is the only one to know these inputs, or fails as well."""
    where = f" at {error.where}" if error.where else ""
    stays = isinstance(error, (ForeignInput, EagerOnly)) or (isinstance(error, ModuleFailed) and not runs_in_eager(module, args, kwargs))
    return Detour(f"{error.what!s}{where}", Way.ORIGINAL if stays else Way.SPLIT)


def runs_in_eager(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether a module runs on these arguments; tried on copies of everything but the parameters, with random numbers of its own."""
    parameters = {id(parameter): parameter for parameter in module.parameters()}
    with torch.no_grad(), torch.random.fork_rng():
        try:
            trial, given, named = copy.deepcopy((module, args, dict(kwargs)), parameters)
            trial(*given, **named)
        # What the user's module raises may be anything.
        except Exception:  # noqa: BLE001
            return False
    return True


class Backend:
    """The backend of one compiled module, which remembers the programs that Dynamo's graphs became."""

    def __init__(self, options: Options) -> None:
        self.programs: list[Program] = []
        self._options = options

    def __call__(self, gm: GraphModule, example_inputs: Sequence[Any]) -> Callable[..., Any]:
        """Compile a graph of Dynamo's."""
        from tcomp.module.dynamo import compile_with  # noqa: PLC0415 (imports Dynamo, which takes a second)
        from tcomp.module.dynamo_errors import let_through  # noqa: PLC0415 (so does this)

        with let_through(self.__call__):
            return compile_with(functools.partial(compile_graph, note=self.programs.append), gm, example_inputs, self._options)


class ThroughDynamo:
    """A module under torch.compile, from its first call on."""

    def __init__(self, module: nn.Module, options: Options) -> None:
        self._module = module
        # Dynamo keeps backends with the code of modules: they must not keep the module.
        self._backend = Backend(options)
        self._options = options
        self._lock = threading.Lock()
        self._configured: AbstractContextManager[Any] = contextlib.nullcontext()
        self._compiled: Callable[..., Any] | None = None

    @property
    def programs(self) -> tuple[Program, ...]:
        """What the graphs became, in the order they were compiled."""
        return tuple(self._backend.programs)

    def __call__(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """The module's result."""
        if self._compiled is None:
            with self._lock:
                if self._compiled is None:
                    call = _make_call(self._module, next(_NUMBERS))
                    # Else hooks that come or go after a graph was made are not seen. Made once: each patch stays in its thread's context.
                    self._configured = torch._dynamo.config.patch(skip_nnmodule_hook_guards=False, recompile_limit=MOST_GRAPHS)
                    self._compiled = torch.compile(call, backend=self._backend, dynamic=self._options.dynamic)
        with self._configured:
            return self._compiled(*args, **kwargs)

    def try_call(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """The module's result; raises DynamoFailed if Dynamo fails before anything has been written."""
        written = [*self._module.buffers(), *(leaf for leaf in flatten_arguments(args, dict(kwargs))[0] if isinstance(leaf, Tensor))]
        versions = [tensor._version for tensor in written if not tensor.is_inference()]
        try:
            return self(args, kwargs)
        except Exception as error:
            if not _is_of_dynamo(error) or versions != [tensor._version for tensor in written if not tensor.is_inference()]:
                raise
            raise DynamoFailed(f"torch.compile fails ({type(error).__name__}: {_first_line(error)})") from error


_NUMBERS = itertools.count()


def _make_call(module: nn.Module, number: int) -> Callable[..., Any]:
    """A function that calls a module, with code and a name of its own.

    By code Dynamo counts what it has compiled, and leaves more than its limit to eager; by names it knows what sizes have changed.
    """

    def call(*args: Any, **kwargs: Any) -> Any:
        return module(*args, **kwargs)

    code = call.__code__.replace(co_name=f"call_{type(module).__name__}_{number}")
    return FunctionType(code, call.__globals__, call.__name__, None, call.__closure__)


def _is_of_dynamo(error: Exception) -> bool:
    from torch._dynamo.exc import BackendCompilerFailed, TorchDynamoException  # noqa: PLC0415 (imported by Dynamo already)

    is_ours = isinstance(error, BackendCompilerFailed) and read_settings().raise_faults and _passes_through(error, compile_graph.__code__)
    return isinstance(error, TorchDynamoException) and not is_ours


def _passes_through(error: BaseException, code: CodeType) -> bool:
    """Whether an error, or one that it came from, was raised below a function."""
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    origins = (error.__cause__, error.__context__, getattr(error, "inner_exception", None))
    return any(frame.f_code is code for frame in frames) or any(_passes_through(origin, code) for origin in origins if origin is not None)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]

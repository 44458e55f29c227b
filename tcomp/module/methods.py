"""Methods of a compiled module's original, such as `generate`: calls of the module within them take the compiled way.

PyTorch asks at every call of a module whether the module has a `_compiled_call_impl`, which is what `nn.Module.compile` sets. While a
method runs that was taken from the compiled module, the original has ours; while that itself runs, the original is as it was.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import MethodType
from typing import Any

import torch
from torch import nn

Call = Callable[[tuple[Any, ...], dict[str, Any]], Any]
_IMPLEMENTATION = "_compiled_call_impl"


def bind_method(method: MethodType, call: Call) -> MethodType:
    """The same method of the same module, within which calls of the module itself are `call`'s, until it returns.

    Calls of `forward`, of submodules, and those of a generator that outlives the method, stay the original's.
    """
    function = method.__func__

    @functools.wraps(function)
    def run(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        scope = module.__dict__
        # Within another such method, or under nn.Module.compile, somebody serves calls already.
        if torch.compiler.is_dynamo_compiling() or getattr(module, _IMPLEMENTATION, None) is not None:
            return function(module, *args, **kwargs)

        def serve(*args: Any, **kwargs: Any) -> Any:
            scope.pop(_IMPLEMENTATION, None)
            try:
                return call(args, kwargs)
            finally:
                scope[_IMPLEMENTATION] = serve

        scope[_IMPLEMENTATION] = serve
        try:
            return function(module, *args, **kwargs)
        finally:
            scope.pop(_IMPLEMENTATION, None)

    return MethodType(run, method.__self__)

"""What surrounds a call: the state of PyTorch that a program takes for granted, and those who watch operators as they run.

Capture reads the default dtype, autocast, the flags of determinism and the default device, as the module does while it is recorded,
so a program serves calls in the state it was captured in. Who watches operators (tracers, modes, transforms of functions, forward-mode
differentiation) would see none of a compiled program, so such a call goes to the original module.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from types import CodeType
from typing import Any

import torch
from torch import nn
from torch._C._dynamo.guards import GlobalStateGuard
from torch.autograd import forward_ad
from torch.overrides import _get_current_function_mode_stack
from torch.utils._device import DeviceContext
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from tcomp.machine.devices import SERVED

_count_dispatch_modes = torch._C._len_torch_dispatch_stack
count_function_modes = torch._C._len_torch_function_stack
_find_jit_tracer = torch._C._get_tracing_state
_find_transform = torch._C._functorch.peek_interpreter_stack

_list_function_modes: Any = _get_current_function_mode_stack

GlobalState = tuple[Hashable, ...]


class Ambient:
    """The state of PyTorch at one moment, and a quick way to tell whether it still holds in the thread that asks."""

    __slots__ = ("autocast", "holds", "number", "state")

    def __init__(self) -> None:
        self.holds: Callable[[], bool] = GlobalStateGuard().check
        """Whether nothing has changed; it may say that something did although nothing here has. Asked at every call."""
        enabled = [kind for kind in SERVED if torch.is_autocast_enabled(kind)]
        self.autocast = {kind: torch.get_autocast_dtype(kind) for kind in enabled}
        """The types to which autocast converts, by the kind of device, where it is on."""
        self.state: GlobalState = (
            torch.get_default_dtype(),
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
            torch.get_float32_matmul_precision(),
        )
        self.number = _NUMBERS.setdefault(self.state, len(_NUMBERS))
        """Stands for the state in keys, as it is quicker to hash."""


_NUMBERS: dict[GlobalState, int] = {}


def find_default_device() -> str | None:
    """Where tensors are made that are not told where, if it is not the CPU."""
    if not count_function_modes():
        return None
    device = torch.get_default_device()
    return None if device.type == "cpu" else str(device)


ENCLOSED = ""


def find_watcher() -> str | None:
    """Who watches the operators of this thread, in words; None if nobody does, or only who says that it `only_measures`.

    Of who `compiles_inner` modules as part of the enclosing one, nobody needs to be told: ENCLOSED.
    """
    if _count_dispatch_modes():
        modes = _get_current_dispatch_mode_stack()
        if any(getattr(mode, "compiles_inner", False) for mode in modes):
            return ENCLOSED
        if not all(getattr(mode, "only_measures", False) for mode in modes):
            return "a mode intercepts operators (a tracer, a counter, fake tensors)"
    if _find_jit_tracer() is not None:
        return "torch.jit.trace is tracing"
    if _find_transform() is not None:
        return "a transform of torch.func is active"
    if forward_ad._current_level >= 0:
        return "forward-mode differentiation is active"
    if count_function_modes() and not all(type(mode) is DeviceContext for mode in _list_function_modes()):
        return "a mode intercepts functions of torch"
    return None


def reads_grad_mode(module: nn.Module) -> bool:
    """Whether the Python of a module or submodule asks if gradients are enabled. Those of torch.nn do to choose among equal ways."""
    kinds = {type(m) for m in module.modules() if not type(m).__module__.startswith("torch.nn.")}
    return any(_names(code, _ASKS) for kind in kinds if isinstance(code := getattr(kind.forward, "__code__", None), CodeType))


_ASKS = frozenset({"is_grad_enabled", "is_inference_mode_enabled"})


def _names(code: CodeType, wanted: frozenset[str]) -> bool:
    return not wanted.isdisjoint(code.co_names) or any(_names(part, wanted) for part in code.co_consts if isinstance(part, CodeType))

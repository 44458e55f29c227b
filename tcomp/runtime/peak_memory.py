"""How much memory a call takes at its peak, beyond what is there before and what it returns.

Two meters, which agree where operators need no memory of their own:

    measure_extra           a call as it is, by the notes of PyTorch's allocator: scratch of operators included
    estimate_eager_extra    a module by what its operators return, without computing anything: only such tensors count

Memory that a library allocates past PyTorch's allocator, as oneDNN does for some products, is seen by neither. What tcomp keeps
between calls, an arena and folded weights, is allocated before the call and has to be added: `CompiledModule.memory`.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from tcomp.ir.errors import Unsupported
from tcomp.program.program import Given, Program
from tcomp.runtime.binding.call import Allocator
from tcomp.settings import override_environment

_ALLOCATION = "[memory]"
"""What PyTorch's profiler calls the note of an allocation, or of memory given back."""
_QUIET = {"KINETO_LOG_LEVEL": "99"}


def measure_extra(call: Callable[..., object], inputs: Sequence[Any], kind: str = "cpu") -> int:
    """Bytes that a call holds at its peak, above what was held before and what it returns; `kind` is that of the device.

    What a first call allocates and keeps would count as returned: measure a later one.
    """
    if kind == "cuda":
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        results = call(*inputs)
        torch.cuda.synchronize()
        peak, held = torch.cuda.max_memory_allocated() - before, torch.cuda.memory_allocated() - before
    else:
        with override_environment(_QUIET), torch.autograd.profiler.profile(profile_memory=True) as profile:
            results = call(*inputs)
        assert profile.kineto_results is not None
        notes = [event for event in profile.kineto_results.events() if event.name() == _ALLOCATION]
        peak = held = 0
        for note in sorted(notes, key=lambda event: event.start_ns()):
            held += note.nbytes()
            peak = max(peak, held)
    del results
    return peak - held


def estimate_eager_extra(module: nn.Module, program: Program, autocast: torch.dtype | None = None) -> int:
    """Bytes that eager holds at its peak for inputs as a program was compiled for, above those, the weights and the results.

    Nothing is computed: operators run on tensors without data. Raises Unsupported where sizes are symbols, or depend on data.
    """
    if program.symbols:
        raise Unsupported("the sizes of inputs are symbols")
    assert program.in_spec is not None
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with torch.no_grad(), mode:
        leaves = [i.value if isinstance(i, Given) else Allocator(i, (), program.device).make(()) for i in program.inputs]
        args, kwargs = program.in_spec.unflatten(leaves)
        meter = _Meter(mode, [leaf for leaf in leaves if isinstance(leaf, Tensor)])
        kind = program.device.type
        with torch.autocast(kind, autocast) if autocast is not None else contextlib.nullcontext(), meter:
            try:
                results = module(*args, **kwargs)
            except RuntimeError as error:
                raise Unsupported(f"eager cannot be followed without data: {_first_line(error)}") from error
        return meter.peak - meter.count_held(results)


class _Meter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the storages that operators make, as long as they live."""

    def __init__(self, mode: FakeTensorMode, given: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._mode = mode
        self._live = 0
        self._kept: dict[int, Tensor] = {}
        self._sizes: weakref.WeakKeyDictionary[torch.UntypedStorage, int] = weakref.WeakKeyDictionary()
        for tensor in given:
            self._note(tensor, is_given=True)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args, kwargs = tree_map(self._stand_in, (args, kwargs or {}))
        results = func(*args, **kwargs)
        for leaf in tree_leaves(results):
            if isinstance(leaf, Tensor):
                self._note(leaf, is_given=False)
        return results

    def count_held(self, results: object) -> int:
        """Bytes of the storages among those that are returned."""
        storages = {tensor.untyped_storage() for tensor in tree_leaves(results) if isinstance(tensor, Tensor)}
        return sum(self._sizes.get(storage, 0) for storage in storages)

    def _stand_in(self, leaf: Any) -> Any:
        """What is given for a tensor with data, the same every time: numbers among buffers would be computed with, and written."""
        if not isinstance(leaf, Tensor):
            return leaf
        fake = leaf if isinstance(leaf, FakeTensor) else self._kept.setdefault(id(leaf), self._mode.from_tensor(leaf))
        self._note(fake, is_given=True)
        return fake

    def _note(self, tensor: Tensor, *, is_given: bool) -> None:
        storage = tensor.untyped_storage()
        if storage in self._sizes:
            return
        size = 0 if is_given else storage.nbytes()
        self._sizes[storage] = size
        self._live += size
        self.peak = max(self.peak, self._live)
        weakref.finalize(storage, self._release, size)

    def _release(self, size: int) -> None:
        self._live -= size


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]

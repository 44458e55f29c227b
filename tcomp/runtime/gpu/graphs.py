"""Recordings of a frame's kernels, which the GPU replays without the host starting each.

A recording holds addresses: those of weights and arena, which the frame keeps as they are, and those of the inputs and results of the
call it was made in. It is replayed in a call whose tensors lie at the same addresses, and these tensors are then what is read and
written, whoever owned that memory before. Programs called in a loop mostly get the same few addresses back from PyTorch's allocator.

Where they do not, a frame would record without end. So once it has a few recordings, inputs and results whose addresses change get
memory of the frame's own, which what is recorded from then on uses: inputs are copied there before a replay, results copied out after
it, on the same stream. Thus every address in a recording is that of a weight or the arena, of a tensor of this very call, or of the
frame's own memory, filled in this call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

Bound: TypeAlias = Sequence[tuple[int, Tensor]]
"""Externals by number."""
Replay: TypeAlias = Callable[[], None]

MOST_RECORDINGS = 4
"""Recordings of one frame before tensors that move get memory of their own."""


class Recordings:
    """The recordings of one frame; `record` makes one for externals that are as given."""

    def __init__(self, record: Callable[[Bound], Replay]) -> None:
        self._record = record
        self._replays: dict[tuple[int, ...], Replay] = {}
        self._own: dict[int, Tensor] = {}

    @property
    def count(self) -> int:
        """How many there are at present."""
        return len(self._replays)

    @property
    def own(self) -> Mapping[int, Tensor]:
        """The frame's own memory for externals that move."""
        return self._own

    def run(self, inputs: Bound, results: Bound) -> None:
        """Compute the results on the current stream."""
        given = (*inputs, *results)
        key = self._find_key(given)
        replay = self._replays.get(key)
        if replay is None:
            if len(self._replays) >= MOST_RECORDINGS:
                self._adopt(given, key)
                key = self._find_key(given)
            replay = self._replays[key] = self._record([(number, self._own.get(number, tensor)) for number, tensor in given])
        for number, tensor in inputs:
            if number in self._own:
                self._own[number].copy_(view_span(tensor))
        replay()
        for number, tensor in results:
            if number in self._own:
                view_span(tensor).copy_(self._own[number])

    def _find_key(self, given: Bound) -> tuple[int, ...]:
        return tuple([tensor.data_ptr() for number, tensor in given if number not in self._own])

    def _adopt(self, given: Bound, key: tuple[int, ...]) -> None:
        """Give memory of the frame's own to what was at several addresses, and forget what was recorded with those."""
        moving = [len(set(addresses)) > 1 for addresses in zip(*self._replays, key)]
        free = [(number, tensor) for number, tensor in given if number not in self._own]
        for (number, tensor), moves in zip(free, moving, strict=True):
            if moves:
                self._own[number] = torch.empty_like(view_span(tensor))
        self._replays.clear()


def view_span(tensor: Tensor) -> Tensor:
    """All elements from the first to the last of a tensor, as they lie in memory; those of expanded tensors once."""
    reach = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride()))
    return tensor.detach().as_strided((reach + 1 if tensor.numel() else 0,), (1,))

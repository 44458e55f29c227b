"""A program of a compiled module, with what it was compiled for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch.utils._pytree import TreeSpec

from tcomp.capture.reads import Reads
from tcomp.module.keys import Hidden
from tcomp.program.program import Program
from tcomp.runtime.binding.ambient import GlobalState
from tcomp.runtime.binding.attributes import Values
from tcomp.runtime.execution import Execution
from tcomp.structure import Structure

Mode: TypeAlias = tuple[bytes, torch.dtype | None, str | None, GlobalState]
"""Burnt in at capture: the training flags of all modules, the type to which autocast converts if it is on, the default device, and
the rest of PyTorch's state."""


@dataclass(frozen=True, slots=True)
class Variant:
    """The program for one kind of inputs, in one mode of the module."""

    mode: Mode
    is_dynamic: bool
    program: Program
    execution: Execution
    run: Callable[[Sequence[Any]], list[Any]]
    out_spec: TreeSpec | Structure
    reads: Reads
    """The Python that the module read when it was recorded."""
    values: Values
    """What that was."""
    hidden: Hidden = frozenset()
    """Inputs whose memory is not what they hold, when it was recorded: what views of them it shows depends on that."""
    is_single: bool = field(init=False)
    """Whether the result is one leaf, which needs no unflattening."""
    is_writing: bool = field(init=False)
    """Whether the program writes to inputs or constants."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "is_single", self.out_spec.is_leaf())
        object.__setattr__(self, "is_writing", bool(self.program.mutations))

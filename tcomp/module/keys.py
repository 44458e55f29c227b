"""What of a call's arguments decides which program serves it, hashable; made at every call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten

from tcomp.capture.capture import BURNT_IN


def flatten(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Sequence[Any], object]:
    """The leaves of a call's arguments, and a key for their structure."""
    if not kwargs and _TENSORS.issuperset(map(type, args)):
        return args, len(args)
    leaves, spec = tree_flatten((args, kwargs))
    return leaves, _Structure(spec)


_TENSORS = frozenset({Tensor, nn.Parameter})


class _Structure:
    """The structure of arguments, hashed once."""

    __slots__ = ("_hash", "spec")

    def __init__(self, spec: TreeSpec) -> None:
        self.spec = spec
        self._hash = hash(str(spec))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Structure) and self.spec == other.spec

    def __hash__(self) -> int:
        return self._hash


def describe_leaf(leaf: Any) -> object:
    """All that a program may depend on in a flattened input, hashable."""
    if isinstance(leaf, Tensor):
        dtype = leaf.dtype
        bits = (leaf.is_neg(), leaf.is_conj()) if dtype.is_complex else leaf.is_neg()
        return type(leaf), leaf.shape, leaf.stride(), dtype, leaf.device, bits
    # Other objects are never part of a program.
    return (type(leaf), repr(leaf)) if leaf is None or isinstance(leaf, BURNT_IN) else type(leaf)

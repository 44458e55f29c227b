"""What of a call's arguments decides which program serves it, and what served such arguments before; asked at every call."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, Generic, TypeAlias, TypeVar

from torch import Tensor, nn
from torch.utils._pytree import TreeSpec

from tcomp.capture.arguments import BURNT_IN, flatten_arguments
from tcomp.runtime.binding.guards import make_guards
from tcomp.structure import Structure

Hidden: TypeAlias = frozenset[tuple[int, bool, bool]]
"""Flattened inputs that are negated or conjugated when they are read, and by which of the two."""


def flatten(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Sequence[Any], Hashable, tuple[Any, ...]]:
    """The leaves of a call's arguments, a key for their structure, and the objects that leaves are in, by their numbers."""
    if not kwargs and _TENSORS.issuperset(map(type, args)) and (len(args) < 2 or len(set(map(id, args))) == len(args)):
        return args, len(args), ()
    leaves, spec, wholes = flatten_arguments(args, kwargs)
    return leaves, _Structure(spec), wholes


_TENSORS = frozenset({Tensor, nn.Parameter})


class _Structure:
    """The structure of arguments, hashed once."""

    __slots__ = ("_hash", "spec")

    def __init__(self, spec: TreeSpec | Structure) -> None:
        self.spec = spec
        self._hash = hash((str(spec.spec), len(spec.parts))) if isinstance(spec, Structure) else hash(str(spec))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Structure) and self.spec == other.spec

    def __hash__(self) -> int:
        return self._hash


Server = TypeVar("Server")


class Served(Generic[Server]):
    """What serves a call, by its kind: the state it is made in, the structure of its arguments, and their leaves."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._table: dict[Hashable, Server] = {}
        """Another one whenever it changes."""
        self._latest: Server | None = None
        self._again: tuple[object, Hashable, Callable[..., bool], Server] | None = None
        """What served two calls in turn: the table that says so, their state, and what tells leaves like theirs, as fast as it goes."""
        self._refused: dict[Hashable, tuple[int, Server]] = {}
        """By kinds that leave out sizes and values of Python: how many were tried without a program, and what served the last."""

    def find(self, state: Hashable, leaves: Sequence[Any]) -> Server | None:
        """What served a call like this one. Raises RuntimeError of tensors that have no strides."""
        table, again = self._table, self._again
        if again is not None and again[0] is table and again[1] == state and again[2](*leaves):
            return again[3]
        server = table.get(describe(state, leaves))
        if server is not None and server is self._latest and leaves and _TENSORS.issuperset(map(type, leaves)):
            self._again = table, state, make_guards(leaves), server
        self._latest = server
        return server

    def __contains__(self, key: Hashable) -> bool:
        return key in self._table

    def add(self, key: Hashable, server: Server) -> None:
        """Remember what serves calls of this kind; the number of kinds is limited."""
        self._table = {**(self._table if len(self._table) < self._most else {}), key: server}

    def refuse(self, state: Hashable, leaves: Sequence[Any], server: Server) -> None:
        """Count a call for which no program can be made."""
        key = generalise(state, leaves)
        count, _ = self._refused.get(key, (0, server))
        self._refused[key] = count + 1, server

    def find_refused(self, state: Hashable, leaves: Sequence[Any], most: int) -> Server | None:
        """What served calls like this but for sizes and values, if so many were tried: the next one would be no different."""
        count, server = self._refused.get(generalise(state, leaves), (0, None))
        return server if count >= most else None

    def clear(self) -> None:
        """Forget all."""
        self._table = {}
        self._again = self._latest = None
        self._refused.clear()


def generalise(state: Hashable, leaves: Sequence[Any]) -> Hashable:
    """The kind of a call, sizes and values of Python aside."""
    return state, *((leaf.dtype, leaf.dim(), leaf.device) if isinstance(leaf, Tensor) else type(leaf) for leaf in leaves)


def describe(state: Hashable, leaves: Sequence[Any]) -> Hashable:
    """The kind of a call: all that a program may depend on."""
    return state, *map(describe_leaf, leaves)


def describe_leaf(leaf: Any) -> object:
    """All that a program may depend on in a flattened input, hashable."""
    if isinstance(leaf, Tensor):
        dtype = leaf.dtype
        bits = (leaf.is_neg(), leaf.is_conj()) if dtype.is_complex else leaf.is_neg()
        return type(leaf), leaf.shape, leaf.stride(), dtype, leaf.device, bits
    # Other objects are never part of a program.
    return (type(leaf), repr(leaf)) if leaf is None or isinstance(leaf, BURNT_IN) else type(leaf)


def find_hidden(leaves: Sequence[Any]) -> Hidden:
    """The leaves whose memory is not what they hold."""
    tensors = [(number, leaf) for number, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
    return frozenset((number, leaf.is_neg(), leaf.is_conj()) for number, leaf in tensors if leaf.is_neg() or leaf.is_conj())

"""Operators that read memory and not values, after operators whose memory PyTorch's rules for shapes do not foretell.

`as_strided` names places in a storage. Where an operator lays its result out otherwise than its rule says (the roll of a tensor that
is laid out channels last), only eager knows what is there, so eager runs everything that the storage comes from.
"""

from __future__ import annotations

import torch
from torch.fx import Graph, Node

from tcomp.ir.errors import Unsupported
from tcomp.partition import is_size

aten = torch.ops.aten

UNFORETOLD = frozenset({aten.roll.default, aten.log_sigmoid_forward.default, aten._native_batch_norm_legit_no_training.default})
"""Operators whose results have other strides than their rules say, for inputs that are dense but not contiguous."""

READERS = (aten.as_strided.default, aten.as_strided_scatter.default)


class UnsureLayout(Unsupported):
    """What lies where in memory is known to eager alone."""


def find_unsure_layouts(graph: Graph) -> dict[Node, Unsupported]:
    """The operators that read memory laid out by eager, and those that it is computed by, in the graph's order."""
    readers = [node for node in graph.nodes if node.target in READERS]
    found: set[Node] = set()
    for reader in readers:
        sources = _find_sources(reader)
        if any(node.target in UNFORETOLD and not _is_contiguous(node) for node in sources):
            found |= sources
    return {
        node: UnsureLayout(
            "what is where in memory is known to eager alone",
            where=f"{node.meta.get('source', '')} ({node.format_node()})".lstrip(),
            help="call contiguous() before as_strided",
        )
        for node in graph.nodes
        if node in found
    }


def _find_sources(node: Node) -> set[Node]:
    """A node and all that it is computed from, inputs and sizes aside."""
    found: set[Node] = set()
    waiting = [node]
    while waiting:
        source = waiting.pop()
        if source.op == "call_function" and source not in found and not is_size(source):
            found.add(source)
            waiting.extend(source.all_input_nodes)
    return found


def _is_contiguous(node: Node) -> bool:
    """Whether all tensors that an operator reads are contiguous, for which all rules are right."""
    values = [source.meta.get("val") for source in node.all_input_nodes]
    return all(value.is_contiguous() for value in values if isinstance(value, torch.Tensor))

"""Operators that read memory and not values, after operators whose memory PyTorch's rules for shapes do not foretell.

`as_strided` names places in a storage. Where an operator lays its result out otherwise than its rule says (the roll of a tensor that
is laid out channels last), only eager knows what is there, so eager runs everything that the storage comes from.
"""

from __future__ import annotations

import torch
from torch._ops import OpOverload
from torch.fx import Graph, Node
from torch.utils._pytree import tree_leaves

from tcomp.capture.decompositions.laid_out import LAID_OUT, is_static
from tcomp.ir.errors import Unsupported
from tcomp.stages.faults import describe_node
from tcomp.stages.partition import is_size

aten = torch.ops.aten

UNFORETOLD = frozenset({aten.roll.default, aten.log_sigmoid_forward.default})
"""Operators whose results have other strides than their rules say, for inputs that are dense but not contiguous.

So have those of symbolic sizes that are laid out as in eager otherwise.
"""

READERS = (aten.as_strided.default, aten.as_strided_scatter.default)


class UnsureLayout(Unsupported):
    """What lies where in memory is known to eager alone."""


def find_unsure_layouts(graph: Graph, *, knows_offsets: bool = True) -> dict[Node, Unsupported]:
    """The operators that read memory laid out by eager, and those that it is computed by, in the graph's order.

    Unless `knows_offsets`, inputs may begin anywhere in their storage, so that eager reads at a place in the storage of one.
    """
    readers = [node for node in graph.nodes if node.target in READERS]
    found: set[Node] = set()
    for reader in readers:
        sources = _find_sources(reader)
        if any(_is_unforetold(node) and not _is_contiguous(node) for node in sources):
            found |= sources
        elif not knows_offsets and _names_place(reader):
            found |= _find_views_of_input(reader)
    return {
        node: UnsureLayout(
            "what is where in memory is known to eager alone",
            where=describe_node(node),
            help="call contiguous() before as_strided",
        )
        for node in graph.nodes
        if node in found
    }


def _is_unforetold(node: Node) -> bool:
    tensors = (leaf for leaf in tree_leaves(node.meta.get("val")) if isinstance(leaf, torch.Tensor))
    return node.target in UNFORETOLD or (node.target in LAID_OUT and not all(map(is_static, tensors)))


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


def _names_place(reader: Node) -> bool:
    """Whether a reader says where in the storage it begins, rather than where its tensor does."""
    place = 3 if reader.target is aten.as_strided.default else 4
    given = reader.args[place] if len(reader.args) > place else reader.kwargs.get("storage_offset")
    return given is not None


def _find_views_of_input(reader: Node) -> set[Node]:
    """A reader and the views of an input that it reads through; nothing if it reads other memory."""
    found = {reader}
    source = reader.args[0]
    while isinstance(source, Node) and isinstance(source.target, OpOverload) and source.target.is_view:
        found.add(source)
        source = source.args[0]
    return found if isinstance(source, Node) and source.op == "placeholder" else set()


def _is_contiguous(node: Node) -> bool:
    """Whether all tensors that an operator reads are contiguous, for which all rules are right."""
    values = [source.meta.get("val") for source in node.all_input_nodes]
    return all(value.is_contiguous() for value in values if isinstance(value, torch.Tensor))

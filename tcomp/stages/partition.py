"""Split a graph around operators that are left to eager, into as few compiled parts as its dependencies allow.

Every node gets a level: the largest number of changes between compiled and eager on any path that leads to it. All nodes of one
level form a part; edges never lead to a lower level, so the parts run in order without cycles, and no partition has fewer parts,
since the nodes of a longest path alternate that often. Random operators keep their order, which decides what each draws.
"""

from __future__ import annotations

import operator
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch.fx import Graph, GraphModule, Node

from tcomp.capture.assertions import is_assertion


@dataclass(frozen=True, slots=True)
class Part:
    """Nodes that run together, in the graph's order, after the parts before."""

    is_eager: bool
    nodes: tuple[Node, ...]


def partition_graph(graph: Graph, refused: Collection[Node]) -> tuple[Part, ...]:
    """Split the call_function nodes with tensor results into parts; those in `refused` run in eager.

    Sizes (nodes whose value is a number) belong to no part: they are computed from the inputs' shapes.
    """
    levels: dict[Node, int] = {}
    members: dict[int, list[Node]] = {}
    last_random = 0
    for node in graph.nodes:
        if node.op != "call_function" or is_assertion(node) or (is_size(node) and node not in refused):
            continue
        if is_part_of_result(node) and node.args[0] in levels:
            level = levels[node.args[0]]
        else:
            # Compiled levels are even, eager ones odd.
            is_eager = node in refused
            level = max([levels[source] for source in node.all_input_nodes if source in levels], default=0)
            if is_random(node):
                level = max(level, last_random)
            level += (level % 2 == 1) != is_eager
            if is_random(node):
                last_random = level
        levels[node] = level
        members.setdefault(level, []).append(node)
    return tuple(Part(level % 2 == 1, tuple(members[level])) for level in sorted(members))


def is_size(node: Node) -> bool:
    """Whether a node's value is a number and not a tensor."""
    return isinstance(node.meta.get("val"), (int, float, bool, torch.SymInt, torch.SymFloat, torch.SymBool))


def is_part_of_result(node: Node) -> bool:
    """Whether a node only picks one of the results of another."""
    return node.target is operator.getitem


def is_random(node: Node) -> bool:
    """Whether a node draws from the random state."""
    return torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())


def find_crossing(graph: Graph, part: Part) -> tuple[Node, ...]:
    """The nodes of a part whose tensors are read outside it."""
    inside = set(part.nodes)
    return tuple(
        node
        for node in part.nodes
        if isinstance(node.meta.get("val"), torch.Tensor) and any(user not in inside for user in node.users)
    )


def find_freed(part: Part) -> dict[Node, list[Node]]:
    """For each node of a part, in its order, the nodes of the part whose values nothing reads after it."""
    inside = set(part.nodes)
    last = {node: node for node in part.nodes}
    last.update((source, node) for node in part.nodes for source in node.all_input_nodes if source in inside)
    found: dict[Node, list[Node]] = {}
    for node, reader in last.items():
        if all(user in inside or is_size(user) for user in node.users):
            found.setdefault(reader, []).append(node)
    return found


def extract_part(root: GraphModule, part: Part, outputs: Sequence[Node]) -> tuple[GraphModule, Mapping[str, Node]]:
    """Copy a part into a graph of its own, with a placeholder for each node it reads; returns those by placeholder name."""
    graph = Graph()
    copies: dict[Node, Node] = {}
    sources: dict[str, Node] = {}
    inside = set(part.nodes)
    for node in part.nodes:
        for source in node.all_input_nodes:
            if source not in inside and source not in copies:
                copies[source] = graph.placeholder(source.name)
                copies[source].meta = source.meta
                sources[copies[source].name] = source
    for node in part.nodes:
        copies[node] = graph.node_copy(node, copies.__getitem__)
    graph.output(tuple(copies[node] for node in outputs))
    return GraphModule(root, graph), sources

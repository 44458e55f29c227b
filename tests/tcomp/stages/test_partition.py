"""Graphs split around eager operators into few parts that run in order."""

import operator

import pytest
import torch
from torch.fx import Graph, GraphModule, Node

from tcomp.stages.partition import extract_part, find_crossing, partition_graph

aten = torch.ops.aten


def make_graph(text: str) -> tuple[Graph, dict[str, Node], set[Node]]:
    """A graph from lines `name = argument argument`; names with `!` are refused, those with `?` draw random numbers."""
    graph = Graph()
    nodes: dict[str, Node] = {}
    refused = set()
    for line in text.split(";"):
        name, _, arguments = (part.strip() for part in line.partition("="))
        bare = name.strip("!?")
        if not arguments:
            nodes[bare] = graph.placeholder(bare)
        else:
            target = aten.bernoulli.default if "?" in name else aten.add.Tensor
            nodes[bare] = graph.create_node("call_function", target, tuple(nodes[a] for a in arguments.split()), {}, bare)
        nodes[bare].meta["val"] = torch.empty(2)
        if "!" in name:
            refused.add(nodes[bare])
    graph.output(tuple(nodes.values()))
    return graph, nodes, refused


def split(text: str) -> list[str]:
    graph, _, refused = make_graph(text)
    parts = partition_graph(graph, refused)
    done = {node for node in graph.nodes if node.op == "placeholder"}
    for part in parts:
        for node in part.nodes:
            assert all(source in done for source in node.all_input_nodes), f"{node} runs before what it reads"
            done.add(node)
    return [("!" if part.is_eager else "") + "".join(node.name for node in part.nodes) for part in parts]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("x; a = x; b = a", ["ab"]),
        ("x; a! = x", ["!a"]),
        ("x; a = x; b! = a; c = b", ["a", "!b", "c"]),
        ("x; a! = x; b = a; c = x; d = b c", ["c", "!a", "bd"]),
        ("x; a = x; b! = a; c = a; d = b c", ["ac", "!b", "d"]),
        ("x; a = x; b! = a; c! = x; d = b c", ["a", "!bc", "d"]),
        ("x; a = x; b! = a; c = b; d! = c; e = a; f = d e", ["ae", "!b", "c", "!d", "f"]),
    ],
)
def test_parts_are_as_few_as_paths_allow(text, parts):
    assert split(text) == parts


def test_a_diamond_does_not_become_a_cycle():
    # Fusing a with d would need b between them, which needs a first.
    assert split("x; a = x; b! = a; d = a b") == ["a", "!b", "d"]


def test_random_operators_keep_their_order():
    # By its level alone q would run with the first eager part, before p.
    assert split("x; a! = x; b = a; p?! = b; q?! = x") == ["!a", "b", "!pq"]


def test_parts_of_a_result_go_with_their_operator():
    graph = Graph()
    x = graph.placeholder("x")
    pair = graph.call_function(aten.topk.default, (x, 2))
    pair.meta["val"] = (torch.empty(2), torch.empty(2))
    first = graph.call_function(operator.getitem, (pair, 0))
    last = graph.call_function(aten.exp.default, (first,))
    for node in (x, first, last):
        node.meta["val"] = torch.empty(2)
    graph.output((last,))
    assert [part.nodes for part in partition_graph(graph, {pair})] == [(pair, first), (last,)]


def test_an_extracted_part_computes_the_same():
    graph, nodes, refused = make_graph("x; a = x x; b! = a a; c = b a; d = c x")
    root = GraphModule({}, graph)
    parts = partition_graph(graph, refused)
    outputs = find_crossing(graph, parts[2])
    part, sources = extract_part(root, parts[2], outputs)
    assert [node.name for node in sources.values()] == ["b", "a", "x"]
    assert outputs == (nodes["c"], nodes["d"])
    x = torch.ones(2)
    torch.testing.assert_close(part(4 * x, 2 * x, x), (6 * x, 7 * x))

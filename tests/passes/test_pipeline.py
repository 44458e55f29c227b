"""Whole compilations: what the tile programs compute along the plan is what the cascade means."""

import numpy
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.nn import functional

from tcomp.ir.check.cascade import check_cascade
from tcomp.ir.check.schedule import check_schedule
from tcomp.ir.expressions import as_index
from tcomp.ir.parse.cascade import parse_cascade
from tcomp.ir.parse.plan import parse_plan
from tcomp.ir.parse.schedule import parse_schedule
from tcomp.passes import pipeline
from tcomp.passes.pipeline import compile_cascade
from tcomp.stages.lower_graph import lower_graph
from tests.cascade_strategies import machines, pairs, products, programs, scatters
from tests.lowering_support import bind_inputs, capture
from tests.program_runner import check_compiled, random_inputs, run_compiled, small_target


def randn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def indices(high, *shape):
    return torch.randint(0, high, shape, generator=torch.Generator().manual_seed(high))


def attention(q, k, v):
    return torch.softmax(q @ k.transpose(-1, -2) / 4, -1) @ v


def heads(x, w):
    return (x @ w).view(1, 10, 4, 8).transpose(1, 2).reshape(4, 10, 8).softmax(-1)


FUNCTIONS = {
    "elementwise": (lambda x, y: torch.relu(x + y) * 2, randn(5, 7), randn(7)),
    "softmax": (lambda x: torch.softmax(x, -1), randn(6, 70)),
    "softmax over the first dimension": (lambda x: torch.softmax(x, 0), randn(6, 10)),
    "log softmax": (lambda x: torch.log_softmax(x, -1), randn(3, 19)),
    "layer norm": (lambda x, w, b: torch.layer_norm(x, (100,), w, b), randn(6, 100), randn(100), randn(100)),
    "linear and gelu": (lambda x, w, b: functional.gelu(functional.linear(x, w, b)), randn(9, 33), randn(35, 33), randn(35)),
    "two linears and a residual": (lambda x, v, w: x + (x @ v).relu() @ w, randn(5, 8), randn(8, 20), randn(20, 8)),
    "attention": (attention, randn(2, 3, 10, 8), randn(2, 3, 12, 8), randn(2, 3, 12, 8)),
    "heads": (heads, randn(1, 10, 32), randn(32, 32)),
    "convolution": (lambda x, w: torch.conv2d(x, w, padding=1, stride=2), randn(1, 4, 9, 9), randn(20, 4, 3, 3)),
    "convolution in one dimension": (lambda x, w, b: torch.conv1d(x, w, b, dilation=2), randn(2, 3, 12), randn(5, 3, 3), randn(5)),
    "pointwise convolution": (lambda x, w: torch.conv2d(x, w), randn(1, 8, 5, 5), randn(12, 8, 1, 1)),
    "grouped convolution": (lambda x, w: torch.conv2d(x, w, padding=1, groups=2), randn(1, 4, 6, 6), randn(6, 2, 3, 3)),
    "depthwise convolution": (lambda x, w: torch.conv2d(x, w, padding=1, groups=10), randn(1, 10, 7, 7), randn(10, 1, 3, 3)),
    "transposed convolution": (lambda x, w: torch.conv_transpose2d(x, w, stride=2), randn(1, 3, 4, 4), randn(3, 5, 3, 3)),
    "max pooling": (lambda x: torch.max_pool2d(x, 3, 2, 1), randn(1, 10, 9, 9)),
    "average pooling": (lambda x: functional.avg_pool2d(x, 2), randn(1, 10, 8, 8)),
    "argmax": (lambda x: x.argmax(-1), randn(4, 37)),
    "maximum and its place": (lambda x: torch.max(x, 0), randn(7, 5)),
    "cumulative sum": (lambda x: x.cumsum(1), randn(4, 17)),
    "embedding": (lambda i, w: torch.embedding(w, i), indices(10, 3, 4), randn(10, 32)),
    "embedding and positions": (lambda i, w, p: torch.embedding(w, i) + p, indices(10, 3, 4), randn(10, 8), randn(4, 8)),
    "scattered sum": (lambda x, i, s: x.scatter_add(0, i, s), randn(5, 8), indices(5, 6, 8), randn(6, 8)),
    "gather": (lambda x, i: x.gather(1, i), randn(4, 6), indices(6, 4, 3)),
    "batch norm in training": (lambda x, w, b: functional.batch_norm(x, None, None, w, b, True), randn(2, 5, 7, 7), randn(5), randn(5)),
    "group norm": (lambda x, w, b: torch.group_norm(x, 2, w, b), randn(2, 6, 5, 5), randn(6), randn(6)),
    "sum of everything": (lambda x: x.sum(), randn(40, 33)),
    "variance": (lambda x: x.var((0, 2)), randn(3, 4, 5)),
    "concatenation": (lambda x, y: torch.cat([x, y * 2], 1), randn(3, 4), randn(3, 5)),
    "flip, roll and slice": (lambda x: x.flip(1).roll(2, 0)[:, 1:5:2] + 1, randn(5, 7)),
    "padding": (lambda x: functional.pad(x, (1, 2)).exp(), randn(3, 5)),
    "causal mask": (lambda x: torch.where(torch.ones(8, 8).tril() > 0, x, -1e9).softmax(-1), randn(2, 8, 8)),
    "several outputs": (lambda x: (x.sum(1), x.mean(0), x.exp()), randn(6, 9)),
    "integers and bools": (lambda x: (x % 3 == 1).sum(0), indices(50, 8, 5)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_aten_functions(name):
    function, *arguments = FUNCTIONS[name]
    graph = capture(function, *arguments)
    cascade = lower_graph(graph)
    check_compiled(cascade, bind_inputs(cascade, graph, arguments), shuffle=1)


@pytest.mark.parametrize("name", ["linear and gelu", "convolution", "depthwise convolution", "two linears and a residual"])
def test_weights_are_packed_in_the_prelude(name):
    function, x, *weights = FUNCTIONS[name]
    graph = capture(function, x, *weights)
    names = [node.name for node in graph.graph.nodes if node.op == "placeholder"]
    cascade = lower_graph(graph, weights=names[1:])
    compiled = check_compiled(cascade, bind_inputs(cascade, graph, (x, *weights)))
    read = {name for e in compiled.main.cascade.einsums() for name in e.reads()}
    matrices = {t.name for t in cascade.inputs if t.weight and len(t.shape) > 1}
    assert matrices and not matrices & read


SYMBOLIC = {
    "elementwise": (lambda x, y: torch.relu(x + y) * 2, randn(5, 7), randn(5, 7)),
    "softmax": (lambda x: torch.softmax(x, -1), randn(6, 11)),
    "layer norm": (lambda x: functional.layer_norm(x, (x.shape[-1],)), randn(6, 11)),
    "linear": (lambda x, w: (x @ w).relu(), randn(9, 6), randn(6, 5)),
    "attention": (attention, randn(2, 3, 10, 8), randn(2, 3, 12, 8), randn(2, 3, 12, 8)),
    "sum": (lambda x: x.sum(0), randn(6, 11)),
}


@pytest.mark.parametrize("name", SYMBOLIC)
def test_symbolic_sizes(name):
    function, *arguments = SYMBOLIC[name]
    graph = capture(function, *arguments, dynamic=True)
    cascade = lower_graph(graph)
    assert cascade.symbols
    check_compiled(cascade, bind_inputs(cascade, graph, arguments))


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("name", ["linear and gelu", "softmax", "layer norm"])
def test_narrow_floats(name, strict):
    function, *arguments = FUNCTIONS[name]
    arguments = [a.bfloat16() for a in arguments]
    graph = capture(function, *arguments)
    cascade = lower_graph(graph)
    inputs = bind_inputs(cascade, graph, arguments)
    check_compiled(cascade, inputs, strict=strict)
    compiled = compile_cascade(cascade, {}, small_target(), strict=strict)
    (got,) = run_compiled(compiled, inputs, float64=False).values()
    want = function(*[a.double() for a in arguments]).numpy()
    eager = function(*arguments).double().numpy()
    # A result may be one rounding to bf16 further off than eager's, which rounds in more places.
    assert numpy.abs(got - want).max() <= numpy.abs(eager - want).max() + 2.0**-8 * numpy.abs(want).max()


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(programs(), st.booleans(), st.integers(0, 3), machines())
def test_random_programs(cascade, strict, seed, target):
    check_cascade(cascade)
    compiled = check_compiled(cascade, random_inputs(cascade, seed=seed), strict=strict, shuffle=seed, target=target)
    for program in (compiled.prelude, compiled.main):
        check_schedule(program.schedule)
        assert parse_schedule(str(program.schedule)) == program.schedule
        assert parse_plan(str(program.plan)) == program.plan


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(products(), machines())
def test_random_products(cascade, target):
    check_cascade(cascade)
    check_compiled(cascade, random_inputs(cascade), shuffle=1, target=target)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(programs(2, (scatters, scatters, pairs)), st.booleans(), st.integers(0, 3))
def test_random_scatters_and_pairs(cascade, strict, seed):
    check_cascade(cascade)
    check_compiled(cascade, random_inputs(cascade, seed=seed), strict=strict, shuffle=seed)


def test_strides_of_inputs_and_outputs():
    text = "cascade c(X: f32[4, 6], Y: f32[6]) -> (Z) { Z: f32[j:6, i:4] = exp(X[i, j]) * Y[j] }"
    cascade = parse_cascade(text)
    steps = {"X": (1, 5), "Y": (3,), "Z": (7, 1)}
    strides = {name: tuple(as_index(step) for step in found) for name, found in steps.items()}
    check_compiled(cascade, random_inputs(cascade), strides=strides)


def test_what_is_folded_for_a_result_has_the_results_order_and_not_its_gaps():
    text = "cascade c(weight W: f32[4, 6]) -> (Y) { Y: f32[i:4, j:6] = exp(W[i, j]) }"
    cascade = parse_cascade(text)
    strides = {"Y": (as_index(1), as_index(80))}
    compiled = check_compiled(cascade, random_inputs(cascade), strides=strides)
    folded, result = (dict(part.memories)[name] for part, name in ((compiled.prelude, "Y"), (compiled.main, "Y.out")))
    assert (tuple(map(str, folded.strides)), str(folded.bytes)) == (("1", "4"), "96")
    assert dict(compiled.main.memories)["Y"] == folded
    assert (result.strides, str(result.bytes)) == (strides["Y"], str(4 * (3 * 1 + 5 * 80 + 1)))


def test_equal_kernels_are_emitted_once():
    text = "cascade c(X: f32[4, 6]) -> (B_2) {\n" + "\n".join(
        f"A_{k}: f32[i:4, j:6] = exp({source}[i, j])\nS_{k}: f32[i:4] = sum(j:6) A_{k}[i, j]\n"
        f"B_{k}: f32[i:4, j:6] = A_{k}[i, j] * S_{k}[3 - i]"
        for k, source in enumerate(["X", "B_0", "B_1"])
    )
    compiled = check_compiled(parse_cascade(text + "}"), random_inputs(parse_cascade(text + "}")))
    first, second, third, last = compiled.main.steps
    assert second == third
    assert [name for name, _ in compiled.main.kernels] == [first, second, last]


def test_an_observer_sees_every_stage():
    stages = []
    cascade = parse_cascade("cascade c(X: f32[4], weight W: f32[4]) -> (Y) { E: f32[i:4] = exp(W[i]) Y: f32[i:4] = X[i] * E[i] }")
    compile_cascade(cascade, {}, small_target(), lambda stage, result: stages.append(stage))
    rewritten, prepared = ([row.name for row in pipeline.find_passes(on, small_target(), strict=False)] for on in ("cascade", "operands"))
    build = ["fuse", "chain_groups", "open_windows", "choose_kernels", "kernel", "schedule", "plan", "memory"]
    assert prepared == ["normalise_ranks", "expand_positions", "prepare_operands"]
    assert stages == ["cascade", *rewritten, *prepared, "prelude", "main", *build, *build, "schedule"]


def test_the_text_of_two_compilations_is_the_same():
    function, *arguments = FUNCTIONS["attention"]
    cascade = lower_graph(capture(function, *arguments))
    texts = [
        [str(kernel) for _, kernel in program.kernels] + [str(program.plan), str(program.schedule)]
        for program in (compile_cascade(cascade, {}, small_target()).main for _ in range(2))
    ]
    assert texts[0] == texts[1]

"""Programs run as the plan says; drivers and the arena agree with the plan's own evaluator."""

from dataclasses import replace

import numpy
import pytest
import torch
from compiled import Function, make_linear, random
from torch import nn
from torch.utils._pytree import tree_leaves

import tcomp
from tcomp.capture.capture import capture
from tcomp.ir.evaluate.plan import evaluate_plan
from tcomp.ir.expressions import as_index
from tcomp.machine.devices import CPU
from tcomp.machine.toolchains import find_machine
from tcomp.passes.pipeline import compile_cascade
from tcomp.program.program import Given
from tcomp.program.sizes import spec_of
from tcomp.runtime.binding.call import ALIGNMENT
from tcomp.runtime.execution import make_matcher
from tcomp.settings import read_settings
from tcomp.stages.lower_graph import lower_graph


def run_plan(module, *inputs):
    """Compute a module's results kernel by kernel through the evaluator, on the memory that the plan says."""
    captured = capture(module, inputs)
    _, target = find_machine(read_settings().compiler)
    compiled = compile_cascade(lower_graph(captured.graph), {}, target)
    memory = {}
    nodes = [node for node in captured.graph.graph.nodes if node.op in ("placeholder", "get_attr")]
    given = iter(inputs)
    for node, tensor in zip(nodes, compiled.source.inputs, strict=True):
        value = next(given) if node.op == "placeholder" else captured.constants[node.target]
        memory[tensor.name] = value.detach().contiguous().view(-1).view(torch.uint8).numpy()
    for part in (compiled.prelude, compiled.main):
        tensors = part.cascade.tensors()
        for name in part.cascade.outputs:
            size = tensors[name].dtype.bytes
            for extent in tensors[name].shape:
                size *= extent.constant
            memory[name] = numpy.zeros(size, numpy.uint8)
        evaluate_plan(part.plan, dict(part.kernels), memory)
    names = compiled.main.cascade.outputs
    outputs = [output for output in captured.outputs if hasattr(output, "node")]
    return [
        torch.from_numpy(memory[name]).view(output.val.dtype).view(output.val.shape) for name, output in zip(names, outputs, strict=True)
    ]


CASES = {
    "linear": (make_linear(), (random(4, 8),)),
    "norms": (nn.Sequential(nn.Linear(8, 24), nn.GELU(), nn.LayerNorm(24), nn.Linear(24, 3), nn.Softmax(-1)), (random(5, 8),)),
    "convolution": (nn.Sequential(nn.Conv2d(2, 5, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2)), (random(2, 2, 6, 6),)),
    "attention": (Function(lambda q, k: ((q @ k.mT).softmax(-1) @ k, k.sum(0))), (random(2, 5, 4), random(2, 5, 4, seed=1))),
    "bfloat16": (Function(lambda x: (x @ x).relu() + x), (random(9, 9).bfloat16(),)),
}


@pytest.mark.parametrize("name", CASES)
def test_libraries_agree_with_the_plan(name):
    module, inputs = CASES[name]
    module.requires_grad_(False)
    got = tree_leaves(tcomp.compile(module, inputs)(*inputs))
    want = run_plan(module, *inputs)
    for ours, theirs in zip(got, want, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_the_evaluator_of_plans_sees_overlapping_tensors():
    """Placing all intermediates at the start of the arena must show, or the oracle is blind."""
    captured = capture(Function(lambda x: (x @ x @ x).relu() @ x + (x @ x)), (random(6, 6),))
    _, target = find_machine(read_settings().compiler)
    main = compile_cascade(lower_graph(captured.graph), {}, target).main
    places = {place for step in main.plan.steps for place in step.places if place.base == "arena"}
    assert len(places) > 1
    steps = tuple(
        replace(step, places=tuple(replace(p, offset=as_index(0)) if p.base == "arena" else p for p in step.places))
        for step in main.plan.steps
    )
    results = []
    for plan in (main.plan, replace(main.plan, steps=steps)):
        numbers = numpy.random.default_rng(0)
        memory = {name: numbers.standard_normal(1 << 12, numpy.float32).view(numpy.uint8) for name in plan.externals}
        evaluate_plan(plan, dict(main.kernels), memory)
        results.append(memory[main.cascade.outputs[0]])
    assert not numpy.array_equal(*results)


def test_the_arena_is_aligned_and_reused():
    module, inputs = CASES["norms"]
    compiled = tcomp.compile(module.requires_grad_(False), inputs)
    assert compiled.memory.arena > 0
    compiled(*inputs)
    (runner,) = compiled.variants[0].execution._stages
    (frame,) = runner._pool
    assert frame.address % ALIGNMENT == 0
    compiled(*inputs)
    assert runner._pool == [frame]
    assert frame.arena.numel() == compiled.memory.arena + ALIGNMENT


def test_matchers_ignore_strides_that_are_never_used():
    matches = make_matcher(spec_of(torch.empty(1, 4)), (), CPU)
    assert matches(torch.empty(1, 4), ())
    assert matches(torch.empty(3, 4)[1:2], ())
    assert matches(torch.empty_strided((1, 4), (9, 1)), ())
    assert not matches(torch.empty(1, 8)[:, ::2], ())
    assert not matches(torch.empty(1, 4, dtype=torch.float64), ())
    assert not matches(torch.empty(4), ())
    assert not matches(3, ())
    assert make_matcher(spec_of(torch.empty(0, 4)), (), CPU)(torch.empty(4, 0).t(), ())


def test_matchers_tell_values_by_type():
    assert make_matcher(Given(1.0), (), CPU)(1.0, ())
    assert not make_matcher(Given(1.0), (), CPU)(1, ())
    assert make_matcher(Given(float("nan")), (), CPU)(float("nan"), ())


def make_negated() -> torch.Tensor:
    x = torch.complex(random(4), random(4, seed=1)).conj().imag
    assert x.is_neg()
    return x


def test_an_input_that_is_negated_when_it_is_read():
    compiled = tcomp.compile(Function(lambda x: (x.exp(), x[1:], x.mul_(2).sum())))
    for x in (make_negated(), make_negated().resolve_neg().as_strided((3,), (1,)), make_negated()[::2]):
        other = x.clone()
        exponential, part, total = compiled(x)
        torch.testing.assert_close(exponential, other.exp())
        torch.testing.assert_close(total, (other * 2).sum())
        torch.testing.assert_close(x, other * 2)
        x.zero_()
        assert not part.any()


def test_buffers_that_are_negated_when_they_are_read():
    module = make_linear()
    module.register_buffer("scale", make_negated())
    module.register_buffer("state", make_negated())
    module.forward = lambda x: (x * module.scale, module.state.add_(x), module.scale.exp())
    compiled = tcomp.compile(module, (random(4),), fallback="error")
    state = module.state.clone()
    with torch.no_grad():
        for _ in range(2):
            product, sums, folded = compiled(random(4))
            state += random(4)
            torch.testing.assert_close(product, random(4) * module.scale)
            torch.testing.assert_close(sums, state)
            torch.testing.assert_close(folded, module.scale.exp())
            module.scale.add_(1)

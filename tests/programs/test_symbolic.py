"""Programs with symbolic sizes serve batches and lengths that they were not traced with."""

import pytest
import torch
from torch import nn

import tcomp
from tcomp.ir.errors import TcompError
from tcomp.module.dynamo import tcomp_backend
from tcomp.reference import is_right, list_tensors, measure_error, run_reference
from tcomp.zoo import build


def check(module, function, inputs):
    with torch.no_grad():
        got, eager = list_tensors(function(*inputs)), list_tensors(module(*inputs))
    assert [(t.shape, t.dtype, t.stride()) for t in got] == [(t.shape, t.dtype, t.stride()) for t in eager]
    exact = run_reference(module, inputs)
    error, eager_error = measure_error(got, exact), measure_error(eager, exact)
    assert is_right(error, eager_error, eager), f"sizes {[tuple(i.shape) for i in inputs]}: error {error:.3g}, eager's {eager_error:.3g}"


def draw_words(*shape):
    return torch.randint(101, shape, generator=torch.Generator().manual_seed(sum(shape)))


def draw(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def make_convnet():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, stride=2),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1, groups=16),
        nn.AvgPool2d(2),
        nn.Flatten(2),
    ).eval()


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama"])
def test_a_language_model_serves_other_batches_and_lengths(name):
    module, _ = build(name, size="small")
    compiled = tcomp.compile(module, (draw_words(2, 12),), dynamic=True, fallback="error")
    for shape in ((2, 12), (3, 7), (5, 31), (2, 2)):
        check(module, compiled, (draw_words(*shape),))
    assert len(compiled.programs) == 1
    assert compiled.fixed_sizes == ()


def test_an_mlp_serves_any_batch():
    module, _ = build("mlp", size="small")
    compiled = tcomp.compile(module, (draw(4, 32),), dynamic=True, fallback="error")
    for batch in (4, 2, 3, 17, 64, 129):
        check(module, compiled, (draw(batch, 32),))
    assert len(compiled.programs) == 1


def test_a_convnet_serves_other_batches_and_pictures():
    module = make_convnet()
    compiled = tcomp.compile(module, (draw(2, 3, 32, 40),), dynamic=True, fallback="error")
    for shape in ((2, 3, 32, 40), (3, 3, 33, 23), (5, 3, 31, 38), (2, 3, 57, 57)):
        check(module, compiled, (draw(*shape),))
    assert len(compiled.programs) == 1


def test_bfloat16_and_several_inputs_share_their_symbols():
    class Product(nn.Module):
        def forward(self, x, y):
            return torch.softmax(x @ y, -1) @ y.transpose(-1, -2), x.sum(-1), torch.cat([x, x.flip(-1)], -1)

    module = Product()
    for dtype in (torch.float32, torch.bfloat16):
        compiled = tcomp.compile(module, (draw(3, 5, 8).to(dtype), draw(3, 8, 6).to(dtype)), dynamic=True, fallback="error")
        for b, m, k, n in ((3, 5, 8, 6), (2, 9, 7, 11), (4, 33, 65, 17)):
            check(module, compiled, (draw(b, m, k).to(dtype), draw(b, k, n).to(dtype)))
        assert len(compiled.programs) == 1


def test_a_size_of_one_is_another_program():
    """One broadcasts, so that it is never a symbol: such inputs are compiled for when they are met, and then served."""
    module, _ = build("bert", size="small")
    compiled = tcomp.compile(module, (draw_words(2, 12),), dynamic=True, fallback="error")
    for count, shape in ((2, (1, 9)), (2, (1, 14)), (3, (2, 1)), (3, (3, 1)), (4, (1, 1)), (4, (3, 5))):
        check(module, compiled, (draw_words(*shape),))
        assert len(compiled.programs) == count


def test_a_size_that_python_branches_on_is_compiled_for_both_ways():
    class Branching(nn.Module):
        def forward(self, x):
            return x.exp() if x.shape[0] > 8 else x.sin()

    module = Branching()
    compiled = tcomp.compile(module, (draw(4, 6),), dynamic=True, fallback="error")
    for count, rows in ((1, 3), (1, 8), (2, 9), (2, 40), (2, 5)):
        check(module, compiled, (draw(rows, 6),))
        assert len(compiled.programs) == count


def test_sizes_become_symbols_when_they_change():
    module, _ = build("mlp", size="small")
    compiled = tcomp.compile(module, (draw(4, 32),), fallback="error")
    for count, batch in ((1, 4), (2, 6), (2, 9), (2, 13), (2, 4)):
        check(module, compiled, (draw(batch, 32),))
        assert len(compiled.programs) == count


def test_static_sizes_compile_once_a_shape():
    module, _ = build("mlp", size="small")
    compiled = tcomp.compile(module, dynamic=False, fallback="error")
    for count, batch in ((1, 4), (2, 6), (3, 9), (3, 4)):
        check(module, compiled, (draw(batch, 32),))
        assert len(compiled.programs) == count


def test_sizes_that_the_module_refuses():
    module, _ = build("mlp", size="small")
    compiled = tcomp.compile(module, (draw(4, 32),), dynamic=True, fallback="silent")
    with torch.no_grad(), pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        compiled(draw(4, 31))
    with pytest.raises(TcompError, match="the module failed while it was recorded") as error:
        compiled.prepare(draw(4, 31))
    assert "eager" in error.value.help
    check(module, compiled, (draw(4, 32),))


@pytest.mark.parametrize("dynamic", [True, None])
def test_torch_compile_serves_other_sizes(dynamic):
    torch._dynamo.reset()
    module, _ = build("gpt2", size="small")
    counts = []

    def backend(graph, inputs):
        counts.append(1)
        return tcomp_backend(graph, inputs, options={"fallback": "error"})

    compiled = torch.compile(module, backend=backend, dynamic=dynamic)
    for shape in ((2, 12), (3, 7), (5, 31), (1, 9)):
        check(module, compiled, (draw_words(*shape),))
    assert len(counts) < 4


def test_torch_compile_trains_with_symbolic_sizes():
    torch._dynamo.reset()
    module = nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 3))
    compiled = torch.compile(module, backend="tcomp", dynamic=True, options={"fallback": "error"})
    for batch, length in ((2, 5), (3, 4), (7, 1), (1, 9)):
        x = draw(batch, length, 6).requires_grad_()
        grads = [torch.autograd.grad(f(x).square().mean(), (x, *module.parameters())) for f in (compiled, module)]
        torch.testing.assert_close(*grads)


def test_numbers_that_change_become_inputs():
    """Dynamo hands a float that changed over as a tensor without dimensions, and computes with it by operators."""

    class Scaled(nn.Module):
        def forward(self, x):
            return x * (2.0 / self.scale)

    torch._dynamo.reset()
    module = Scaled()
    compiled = torch.compile(module, backend="tcomp", options={"fallback": "error"})
    for module.scale in (0.5, 0.25, 3.0):
        check(module, compiled, (draw(3, 5),))


RESAMPLINGS = {
    "by 1.3": ({"scale_factor": 1.3}, True),
    "twice, nearest": ({"scale_factor": 2.0}, True),
    "twice, bilinear": ({"scale_factor": 2.0, "mode": "bilinear"}, False),
}


@pytest.mark.parametrize("name", RESAMPLINGS)
def test_resampling_fixes_sizes_where_it_has_to(name):
    """Its operators take symbolic sizes through Python's dispatcher alone, and some compute with their quotients."""
    options, is_fixed = RESAMPLINGS[name]

    class Resampled(nn.Module):
        def forward(self, x):
            return nn.functional.interpolate(x.exp(), **options)

    module = Resampled()
    compiled = tcomp.compile(module, (draw(2, 3, 9, 10),), dynamic=True, fallback="silent")
    for shape in ((2, 3, 9, 10), (3, 3, 8, 5), (2, 3, 9, 10)):
        check(module, compiled, (draw(*shape),))
    assert len(compiled.programs) == (2 if is_fixed else 1)
    assert bool(compiled.fixed_sizes) == is_fixed


class Part(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


@pytest.mark.parametrize("function", [lambda x: x.argmax(1), lambda x: x[:, :0].argmax(0), lambda x: x.mT.contiguous()])
def test_a_stride_that_follows_from_no_extent_is_a_number(function):
    """Calls tell the values of symbols by extents, so nothing else may have one: not the row of what a slice is of, nor its offset."""
    wide, wider = torch.rand(6, 88), torch.rand(100, 97)
    inputs = [wide[:, :7], wide[:5, :9], wide, wide[:4, 3:11], wider[:6, :9], wider[2:5, 1:77]]
    compiled = tcomp.compile(Part(function), (inputs[0],), fallback="error")
    for x in inputs:
        assert torch.equal(compiled(x), function(x))

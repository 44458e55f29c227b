"""What people pass and get: numbers that change, tensors of other layouts, results that share memory, modules within modules, tracers."""

import copy
import math
import warnings

import pytest
import torch
from compiled import Function, check, check_same, make_linear, random
from torch import nn
from torch.func import functional_call, grad, vmap
from torch.fx.experimental.proxy_tensor import make_fx

import tcomp

WAYS = pytest.mark.parametrize("way", ["tcomp.compile", "torch.compile"])
INF, NAN = math.inf, math.nan


def compile_as(way: str, module: nn.Module):
    torch._dynamo.reset()
    return tcomp.compile(module) if way == "tcomp.compile" else torch.compile(module, backend="tcomp")


class Decoder(nn.Module):
    """Keeps what it has seen, and looks back at it."""

    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(2, 16, 4))

    def forward(self, x, position):
        self.seen[:, position] = x
        return (self.seen[:, : position + 2] * position).sum(1)


NUMBERS = {
    "factor": (lambda x, n: x * n + n, range(12)),
    "rows": (lambda x, n: x[n:], range(3)),
    "columns": (lambda x, n: x[:, :n].sum(1), range(1, 9)),
    "column": (lambda x, n: x[:, n] + x[..., None, n].sum(), range(8)),
    "positions": (lambda x, n: x * torch.arange(n, n + 8), range(12)),
    "mask": (lambda x, n: torch.where(torch.arange(8) < n, x, 0.0), range(9)),
    "branch": (lambda x, n: x * n if n % 2 else x - n, range(12)),
    "written column": (lambda x, n: (x[:, n].mul_(2), x)[1], range(8)),
    "returned": (lambda x, n: (x, n + 1), range(12)),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_become_symbols(name):
    function, values = NUMBERS[name]
    compiled = tcomp.compile(Function(function))
    for value in values:
        check(Function(function), random(4, 8), value, compiled=compiled)
    assert len(compiled.programs) <= 4


def test_a_position_that_grows_makes_few_programs():
    eager = Decoder()
    compiled = tcomp.compile(copy.deepcopy(eager))
    with torch.no_grad():
        for position in range(14):
            x = random(2, 4, seed=position)
            torch.testing.assert_close(compiled(x, position), eager(x, position))
    assert len(compiled.programs) <= 3
    torch.testing.assert_close(compiled.original.seen, eager.seen)


def test_numbers_and_sizes_change_together():
    compiled = tcomp.compile(Function(lambda x, n: x[:, :n] * n))
    for value in range(1, 8):
        check(compiled.original, random(2 + value % 3, 8), value, compiled=compiled)
    assert len(compiled.programs) <= 4


NOT_SYMBOLS = {
    "text": lambda x, n: x * len(f"{n}"),
    "type": lambda x, n: x * 2 if isinstance(n, int) else x,
    "table": lambda x, n: x + {1: 5, 2: 7}.get(n, 0),
    "loop": lambda x, n: sum((x for _ in range(n)), x),
}


@pytest.mark.parametrize("name", NOT_SYMBOLS)
def test_what_python_does_with_a_number_is_never_stale(name):
    compiled = tcomp.compile(Function(NOT_SYMBOLS[name]))
    for value in (1, 2, 3, 11, 12):
        check(compiled.original, random(3), value, compiled=compiled)


@pytest.mark.parametrize("values", [[n + 0.5 for n in range(11)], [f"{n:b}" for n in range(11)], list(range(-11, 0))])
def test_values_that_are_no_symbols_are_limited_with_a_warning(values):
    function = Function(lambda x, value: x * (len(value) if isinstance(value, str) else value))
    compiled = tcomp.compile(function)
    with warnings.catch_warnings(record=True) as said, torch.no_grad():
        warnings.simplefilter("always")
        for value in values:
            torch.testing.assert_close(compiled(random(3), value), function(random(3), value))
    ours = [str(warning.message) for warning in said if "has had 8 values" in str(warning.message)]
    assert len(compiled.programs) == 8
    assert len(ours) == 1
    assert ("goes to the original module" if isinstance(values[0], str) else "pass it as a tensor") in ours[0]


def test_too_many_values_are_an_error_without_fallback():
    compiled = tcomp.compile(Function(lambda x, *, scale: x * scale), fallback="error")
    for n in range(8):
        compiled(random(3), scale=n + 0.5)
    with pytest.raises(tcomp.TcompError, match="the argument scale has had 8 values"):
        compiled(random(3), scale=9.5)


def test_numbers_of_a_saved_program_stay_symbols(tmp_path):
    module = Function(lambda x, n: x * n)
    compiled = tcomp.compile(module)
    for value in (2, 3):
        compiled(random(3), value)
    compiled.save(tmp_path / "numbers.tcomp")
    loaded = tcomp.load(tmp_path / "numbers.tcomp", module)
    torch.testing.assert_close(loaded(random(3), 7), random(3) * 7)
    assert len(loaded.programs) == 2


@WAYS
@pytest.mark.parametrize("exponent", [INF, -INF, NAN])
def test_powers_without_end(way, exponent):
    compiled = compile_as(way, Function(lambda x, y: (x**exponent, y**exponent)))
    x, y = torch.tensor([0.5, 1.0, -1.0, 2.0, 0.0, INF, -INF, NAN]), torch.tensor([0, 1, 2, -3])
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("error")
        for got, want in zip(compiled(x, y), (x**exponent, y**exponent), strict=True):
            torch.testing.assert_close(got, want, equal_nan=True)


@WAYS
@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
def test_grids_that_lead_nowhere(way, mode, padding):
    points = torch.tensor([[NAN, 0.0], [0.1, NAN], [INF, 0.2], [0.3, -INF], [1e30, 0.0], [2.5, -3.7]]).reshape(1, 1, 6, 2)
    sample = Function(lambda x, grid: nn.functional.grid_sample(x, grid, mode=mode, padding_mode=padding, align_corners=False))
    with torch.no_grad():
        flat = torch.arange(30.0).reshape(1, 1, 5, 6)
        torch.testing.assert_close(compile_as(way, sample)(flat, points), sample(flat, points), equal_nan=True)
        # What a reflection makes of 1e30 is a matter of rounding.
        deep, points = torch.arange(60.0).reshape(1, 1, 3, 4, 5), points.clamp(max=3).reshape(1, 1, 2, 2, 3)
        torch.testing.assert_close(compile_as(way, sample)(deep, points), sample(deep, points), equal_nan=True)


def describe_sharing(inputs, results):
    objects = [*inputs, *results]
    return [[(a is b, a.untyped_storage()._cdata == b.untyped_storage()._cdata) for b in objects] for a in results]


SHARING = {
    "views that change nothing": lambda x: (x.detach(), x[:], x.squeeze(), x.view(2, 3), x, x.contiguous()),
    "one tensor twice": lambda x: next((y, y, y.detach(), y[:]) for y in [x * 2]),
    "one view twice": lambda x: next((y, y, z, z) for y, z in [(x.t(), (x * 2).t())]),
    "views of views": lambda x: next((y, y[0], y[0][1:], y.t()[1]) for y in [x * 2]),
    "written": lambda x: (x.add_(1), x, x.detach()),
}


@WAYS
@pytest.mark.parametrize("name", SHARING)
def test_results_share_objects_and_memory_as_in_eager(way, name):
    function = SHARING[name]
    compiled = compile_as(way, Function(function))
    with torch.no_grad():
        for _ in range(2):
            ours, theirs = torch.ones(2, 3), torch.ones(2, 3)
            assert describe_sharing([ours], compiled(ours)) == describe_sharing([theirs], function(theirs))


def test_a_detached_parameter_is_not_the_parameter():
    module = nn.Linear(3, 3).requires_grad_(False)
    module.forward = lambda x: (module.weight, module.weight.detach())
    with torch.no_grad():
        same, other = tcomp.compile(module)(torch.ones(3))
    assert same is module.weight
    other.requires_grad_()
    assert not module.weight.requires_grad


class Marked(nn.Module):
    """Marks a region of time for the profiler."""

    def forward(self, x):
        with torch.profiler.record_function("mine"):
            return x * 2


@WAYS
def test_regions_of_time_are_no_operators(way):
    compiled = compile_as(way, Marked())
    with torch.no_grad():
        for rows in (2, 3, 5):
            torch.testing.assert_close(compiled(random(rows, 4)), random(rows, 4) * 2)


FOREIGN = {
    "coordinates": lambda x: x.to_sparse(),
    "compressed rows": lambda x: x.to_sparse_csr(),
    "blocks": lambda x: x.to_sparse_bsr((2, 2)),
    "nested": lambda x: torch.nested.nested_tensor([x, x[:2]]),
    "jagged": lambda x: torch.nested.nested_tensor([x, x[:2]], layout=torch.jagged),
    "quantised": lambda x: torch.quantize_per_tensor(x, 0.1, 0, torch.qint8),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_tensors_go_to_the_original_or_are_refused(name):
    given, module = FOREIGN[name](random(4, 4)), nn.Tanh()
    for compiled in (tcomp.compile(module), tcomp.compile(module, (random(4, 4),))):
        assert type(compiled(given)) is type(module(given))
        assert compiled(given).layout == module(given).layout
    with pytest.raises(tcomp.Unsupported, match="an input tensor of type"):
        tcomp.compile(module, (given,))
    with pytest.raises(tcomp.Unsupported, match="an input tensor of type"):
        tcomp.compile(module, fallback="error")(given)


WRITES = {
    "key": (lambda given, result: given.update(result=result), lambda: {"x": random(4)}),
    "equal key": (lambda given, result: given.update(x=given["x"]), lambda: {"x": random(4)}),
    "item": (lambda given, result: given.append(result), lambda: [random(4)]),
    "number": (lambda given, result: given.insert(0, given.pop() + 1), lambda: [1]),
    "item within": (lambda given, result: given["seen"].append(result), lambda: {"seen": []}),
    "nothing left": (lambda given, result: given.clear(), lambda: [random(4), 2]),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("name", WRITES)
def test_what_is_written_to_containers_among_arguments_is_seen(name, named):
    write, make = WRITES[name]

    class Writing(nn.Module):
        def forward(self, x, given):
            result = x * 2
            write(given, result)
            return result

    module, x = Writing(), random(4)
    compiled = tcomp.compile(module)
    with torch.no_grad():
        for _ in range(3):
            found, expected = make(), make()
            results = [run(x, given=into) if named else run(x, into) for run, into in ((compiled, found), (module, expected))]
            check_same((results[0], found), (results[1], expected))


def test_inputs_without_data_go_to_the_original():
    compiled, given = tcomp.compile(nn.Tanh()), torch.empty(2, 3, device="meta")
    with pytest.warns(UserWarning, match="on the device meta"):
        found = compiled(given)
    assert found.is_meta
    assert found.shape == given.shape
    with pytest.raises(tcomp.Unsupported, match="device meta"):
        tcomp.compile(nn.Tanh(), fallback="error")(given)


def test_modules_that_cannot_be_compiled_are_refused():
    with pytest.raises(tcomp.Unsupported, match="no size is known yet"):
        tcomp.compile(nn.LazyLinear(4), (random(2, 4),))
    with pytest.raises(tcomp.Unsupported, match="TorchScript"):
        tcomp.compile(nn.Sequential(torch.jit.script(nn.Linear(4, 4))))


@pytest.mark.parametrize("inner", ["tcomp.compile", "torch.compile"])
@pytest.mark.parametrize("outer", ["tcomp.compile", "torch.compile"])
def test_compiled_inside_compiled(inner, outer):
    module = make_linear()
    part = compile_as(inner, module)
    whole = nn.Sequential(part, nn.Tanh())
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("error")
        compiled = tcomp.compile(whole) if outer == "tcomp.compile" else torch.compile(whole, backend="tcomp", fullgraph=True)
        torch.testing.assert_close(compiled(random(4, 8)), module(random(4, 8)).tanh())
        module.eval()
        torch.testing.assert_close(compiled(random(3, 8)), module(random(3, 8)).tanh())


TRACERS = {
    "torch.jit.trace": lambda f: torch.jit.trace(f, (random(4, 8),), check_trace=False),
    "torch.jit.script": torch.jit.script,
    "make_fx": lambda f: make_fx(f)(random(4, 8)),
    "torch.export": lambda f: torch.export.export(f, (random(4, 8),)).module(),
    "torch.fx": torch.fx.symbolic_trace,
    "torch.fx, as a part": lambda f: torch.fx.symbolic_trace(nn.Sequential(f)),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", TRACERS)
def test_tracers_see_the_original(name):
    module = make_linear()
    for compiled in (tcomp.compile(module), tcomp.compile(module, (random(4, 8),))):
        torch.testing.assert_close(TRACERS[name](compiled)(random(4, 8, seed=1)), module(random(4, 8, seed=1)))


@pytest.mark.filterwarnings("ignore:tcomp")
def test_transforms_with_parameters_of_their_own():
    module = make_linear()
    compiled = tcomp.compile(module, (random(4, 8),))
    x = random(4, 8)
    pairs = {name: random(2, *parameter.shape) for name, parameter in module.named_parameters()}

    def differentiate(f):
        return grad(lambda p: functional_call(f, p, (x,)).sum())({name: pair[0] for name, pair in pairs.items()})

    def stack(f):
        return vmap(lambda p: functional_call(f, p, (x,)))(pairs)

    for use in (differentiate, stack):
        torch.testing.assert_close(use(compiled), use(module))
    torch.testing.assert_close(compiled(random(4, 8)), module(random(4, 8)))

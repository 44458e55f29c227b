"""Programs with complex tensors: rotary embeddings, spectral layers, state spaces, complex weights; forward and backward."""

import copy
import warnings
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

import tcomp
from tcomp.program.program import CompiledStage, EagerStage
from tcomp.reference import is_right, list_tensors, measure_error, run_reference
from tests.compiled import Function, check, random
from tests.machines import ALL, find_few, on_machine


class Rotary(nn.Module):
    """Scores of queries and keys that are turned, in pairs of features, by angles that grow with the position."""

    def __init__(self, heads=2, features=8, positions=12):
        super().__init__()
        self.heads = heads
        self.query, self.key = nn.Linear(heads * features, heads * features), nn.Linear(heads * features, heads * features)
        angles = torch.outer(torch.arange(positions).float(), 10000 ** -(torch.arange(0, features, 2) / features))
        self.register_buffer("turns", torch.polar(torch.ones_like(angles), angles))

    def turn(self, x, turns):
        pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
        return torch.view_as_real(pairs * turns).flatten(3)

    def forward(self, x):
        shape = (*x.shape[:2], self.heads, -1)
        turns = self.turns[: x.shape[1]].view(1, x.shape[1], 1, -1)
        query, key = (self.turn(layer(x).view(shape), turns) for layer in (self.query, self.key))
        return torch.einsum("bqhd,bkhd->bhqk", query, key).softmax(-1)


class Spectral(nn.Module):
    """Low modes mixed by complex weights between a Fourier transform and its inverse."""

    def __init__(self, channels=3, modes=4):
        super().__init__()
        self.modes = modes
        self.low = nn.Parameter(torch.randn(channels, channels, modes, modes, dtype=torch.cfloat) / channels)
        self.high = nn.Parameter(torch.randn(channels, channels, modes, modes, dtype=torch.cfloat) / channels)

    def forward(self, x):
        spectrum = torch.fft.rfft2(x)
        out = torch.zeros_like(spectrum)
        m = self.modes
        out[:, :, :m, :m] = torch.einsum("bixy,ioxy->boxy", spectrum[:, :, :m, :m], self.low)
        out[:, :, -m:, :m] = torch.einsum("bixy,ioxy->boxy", spectrum[:, :, -m:, :m], self.high)
        return functional.gelu(torch.fft.irfft2(out, s=x.shape[-2:]) + x)


class StateSpace(nn.Module):
    """A long convolution whose kernel is that of a linear recurrence with a complex diagonal."""

    def __init__(self, features=3, states=4):
        super().__init__()
        self.step = nn.Parameter(torch.rand(features) * -2 - 2)
        self.out = nn.Parameter(torch.randn(features, states, 2))
        self.decay = nn.Parameter(torch.randn(features, states))
        self.frequency = nn.Parameter(torch.arange(states).float().repeat(features, 1))

    def forward(self, u):
        length = u.shape[-1]
        diagonal = -self.decay.exp() + 1j * self.frequency
        scaled = diagonal * self.step.exp().unsqueeze(-1)
        powers = torch.exp(scaled.unsqueeze(-1) * torch.arange(length))
        weight = torch.view_as_complex(self.out) * (scaled.exp() - 1.0) / diagonal
        kernel = 2 * torch.einsum("hn,hnl->hl", weight, powers).real
        modes = torch.fft.rfft(u, n=2 * length) * torch.fft.rfft(kernel, n=2 * length)
        return functional.gelu(torch.fft.irfft(modes, n=2 * length)[..., :length])


class ComplexLayers(nn.Module):
    """Linear layers with complex weights, and a nonlinearity of the magnitude."""

    def __init__(self, features=6, hidden=5, dtype=torch.cfloat):
        super().__init__()
        self.first = nn.Linear(features, hidden, dtype=dtype)
        self.weight = nn.Parameter(torch.randn(hidden, 4, dtype=dtype) / hidden)
        self.shift = nn.Parameter(torch.randn(hidden))

    def forward(self, z):
        z = self.first(z)
        z = z / (z.abs() + 1e-3) * functional.relu(z.abs() + self.shift)
        return z @ self.weight, (z.conj() * z).real.sum(-1)


MODULES = {
    "rotary embeddings": (Rotary, (2, 12, 16), torch.float32),
    "spectral layer": (Spectral, (2, 3, 12, 10), torch.float32),
    "state space": (StateSpace, (2, 3, 20), torch.float32),
    "complex layers": (ComplexLayers, (7, 6), torch.complex64),
}


def make(name):
    kind, shape, dtype = MODULES[name]
    torch.manual_seed(0)
    return kind().eval(), torch.randn(shape, dtype=dtype)


@pytest.mark.parametrize("name", MODULES)
def test_modules(name):
    module, x = make(name)
    with torch.no_grad():
        exact, eager = run_reference(module, (x,)), list_tensors(module(x))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compiled = tcomp.compile(module, (x,))
            for got in (compiled(x), torch.compile(module, backend="tcomp")(x)):
                error, allowed = (measure_error(list_tensors(values), exact) for values in (got, eager))
                assert is_right(error, allowed, eager), (error, allowed)
    left = [f.operator for f in compiled.fallbacks]
    assert all("_fft" in operator for operator in left), left


@pytest.mark.parametrize("name", MODULES)
def test_gradients(name):
    module, x = make(name)

    def find_gradients(module, run, x):
        x = x.clone().requires_grad_()
        total = 0
        for result in list_live(run(x)):
            weights = torch.linspace(0.5, 1.5, result.numel(), dtype=torch.float64).view(result.shape)
            total = total + ((result.real + result.imag if result.is_complex() else result) * weights).sum()
        return torch.autograd.grad(total, [*module.parameters(), x])

    wide = copy.deepcopy(module)._apply(lambda t: t.to(torch.complex128 if t.is_complex() else torch.float64))
    previous = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        exact = find_gradients(wide, wide, x.to(torch.complex128 if x.is_complex() else torch.float64))
    finally:
        torch.set_default_dtype(previous)
    eager = find_gradients(module, module, x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        got = find_gradients(module, torch.compile(module, backend="tcomp"), x)
    for ours, theirs, want in zip(got, eager, exact, strict=True):
        error, allowed = measure_error((ours,), (want,)), measure_error((theirs,), (want,))
        # Sums in another order round differently: both are sums of some dozens of terms.
        assert error <= max(2 * allowed, 64 * torch.finfo(theirs.dtype).eps), (error, allowed)


def list_live(outputs):
    return [leaf for leaf in torch.utils._pytree.tree_leaves(outputs) if isinstance(leaf, torch.Tensor)]


def test_transforms_run_between_compiled_stages():
    module, x = make("spectral layer")
    with pytest.warns(UserWarning, match="leaves 2 operators"):
        compiled = tcomp.compile(module, (x,))
    program = compiled._tcomp.variants[0].program
    assert [len(stage.calls) for stage in program.stages if isinstance(stage, EagerStage)] == [1, 1]
    assert isinstance(program.stages[-1], CompiledStage)


def compile_exactly(function, *inputs):
    """Compile without fallback, and compare with eager."""
    with torch.no_grad():
        compiled = tcomp.compile(Function(function), inputs, fallback="error")
        want, got = list_tensors(function(*inputs)), list_tensors(compiled(*inputs))
        for ours, theirs in zip(got, want, strict=True):
            assert (ours.shape, ours.stride(), ours.dtype) == (theirs.shape, theirs.stride(), theirs.dtype)
            torch.testing.assert_close(ours, theirs)
    return compiled


def complexes(*shape, seed=0):
    return torch.complex(random(*shape, seed=seed), random(*shape, seed=seed + 1))


def test_inputs_that_are_conjugated_when_they_are_read():
    x = complexes(3, 4)
    functions = (
        *(lambda x: x * 2j, lambda x: x.imag + 1, lambda x: (x.real, x.imag), lambda x: x.conj() @ x.t()),
        lambda x: (x.conj().imag, x.mH.imag.sum(0) + x.real.sum()),
    )
    for function in functions:
        compiled = compile_exactly(function, x)
        for given in (x.conj(), torch.conj(x.t()).t(), x):
            for ours, theirs in zip(list_tensors(compiled(given)), list_tensors(function(given)), strict=True):
                torch.testing.assert_close(ours, theirs)
        compile_exactly(function, x.conj())


def test_weights_that_are_conjugated_when_they_are_read():
    module = nn.Module()
    module.register_buffer("weight", complexes(4, 3).conj())
    module.forward = lambda x: x @ module.weight
    x = complexes(2, 4)
    with torch.no_grad():
        torch.testing.assert_close(tcomp.compile(module, (x,), fallback="error")(x), module(x))


def test_inputs_of_any_strides():
    x = complexes(6, 8)
    for given in (x.t(), x[::2, 1:5], x[:, None].expand(6, 3, 8), x[0, 0]):
        compile_exactly(lambda x: x * (1 + 1j) + x.abs(), given)


def test_results_are_views_of_inputs():
    x = complexes(3, 4)
    compiled = tcomp.compile(Function(lambda x: (torch.view_as_real(x), x.real, x.conj())), (x,), fallback="error")
    real, part, conjugate = compiled(x)
    assert real.data_ptr() == part.data_ptr() == conjugate.data_ptr() == x.data_ptr()
    assert conjugate.is_conj()


def test_writes_to_inputs_through_their_parts():
    def write(x):
        torch.view_as_real(x)[..., 1].mul_(3)
        x.real.add_(1)
        x[0] = x[1] * 1j
        return x.sum()

    x = complexes(3, 4)
    ours, theirs = x.clone(), x.clone()
    with torch.no_grad():
        compiled = tcomp.compile(Function(write), (x.clone(),), fallback="error")
        torch.testing.assert_close(compiled(ours), write(theirs))
    torch.testing.assert_close(ours, theirs)


def test_python_numbers_among_the_inputs():
    function = lambda x, factor: x * factor  # noqa: E731
    x = complexes(3)
    for compiled in (tcomp.compile(Function(function), (x, 2j)), torch.compile(function, backend="tcomp")):
        for factor in (2j, 1 - 3j, 2.0):
            torch.testing.assert_close(compiled(x, factor), x * factor)


def test_half_precision_pairs():
    x = complexes(3, 4).to(torch.complex32)
    with torch.no_grad():
        got = tcomp.compile(Function(lambda x: torch.view_as_real(x) * 2), (x,), fallback="error")(x)
    assert torch.equal(got, torch.view_as_real(x) * 2)


def test_sizes_that_change():
    compiled = tcomp.compile(Function(lambda x: (x * 1j).sum(1)), (complexes(3, 4),), fallback="error", dynamic=True)
    for rows, columns in ((3, 4), (5, 7), (2, 9)):
        x = complexes(rows, columns)
        torch.testing.assert_close(compiled(x), (x * 1j).sum(1))


def test_saved_programs(tmp_path):
    module, x = make("complex layers")
    with torch.no_grad():
        compiled = tcomp.compile(module, (x,), fallback="error")
        compiled.save(tmp_path / "program")
        for ours, theirs in zip(tcomp.load(tmp_path / "program", module)(x), compiled(x), strict=True):
            assert torch.equal(ours, theirs)


@pytest.mark.parametrize("function", [lambda x: x * (2 - 1j) + x.abs(), lambda x: x @ x.t(), lambda x: x.exp().sum(0)])
def test_triton(function):
    x = complexes(4, 8)
    with torch.no_grad():
        compiled = tcomp.compile(Function(function), (x,), fallback="error", backend="triton", interpret=True)
        torch.testing.assert_close(compiled(x), function(x))


SIZES = {"odd": 37, "one": 1}

ELEMENTWISE = {
    "product": lambda a, b: a * b,
    "chain": lambda a, b: (a * b + a) * 2 - b.conj(),
    "cube": lambda a, b: (a * b) * a * (b + a),
    "broadcast": lambda a, b: a * b[-1],
    "slices": lambda a, b: a[:, 1:] * b[:, :-1],
    "every other": lambda a, b: a[:, ::2] * b[:, ::2].conj(),
    "turned": lambda a, b: ((a.t() * 2j).reshape(-1), a.t().reshape(-1) * b.t().reshape(-1)),
    "backwards": lambda a, b: a.flip(-1) - b,
    "joined": lambda a, b: torch.cat((a, b, a[:, :1]), -1),
    "chosen": lambda a, b: torch.where(a.real > 0, a, b),
    "parts": lambda a, b: (a.real + b.imag, a.imag),
    "polar": lambda a, b: torch.polar(a.abs(), b.angle()),
    "as real": lambda a, b: torch.view_as_real(a * b).flatten(-2),
    "sums": lambda a, b: (a.sum(-1), b.sum(0), (a * b).mean()),
    "product of matrices": lambda a, b: a @ b.t(),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ELEMENTWISE)
@pytest.mark.parametrize("machine", [*find_few(), "neither AVX2 nor AVX-512"])
def test_pairs_on_every_machine(machine, name, size):
    cpu = find_few().get(machine) or replace(ALL[0], isa="x86_64", vector_bits=128)
    a, b = complexes(3, SIZES[size]), complexes(3, SIZES[size])
    with on_machine(cpu):
        check(ELEMENTWISE[name], a, b)
        # What lies at the end of its memory.
        check(ELEMENTWISE[name], torch.cat((a, a))[3:], complexes(3, SIZES[size] + 1)[:, 1:])


def test_a_product_is_one_kernel_that_gathers_nothing():
    for shapes in (((40, 64), (40, 64)), ((40, 64), (64,)), ((3, 40, 64), (40, 1))):
        compiled = tcomp.compile(Function(torch.mul), tuple(complexes(*shape) for shape in shapes))
        (kernel,) = compiled.kernels
        assert "tcomp_store_both" in kernel.source
        assert "gather" not in kernel.source


def test_products_of_rows_that_are_pages_long_are_left_to_pytorch():
    def left(rows, length):
        a, b = complexes(rows, length), complexes(length, 2)
        compiled = tcomp.compile(Function(torch.mm), (a, b), fallback="silent")
        torch.testing.assert_close(compiled(a, b), a @ b, rtol=1e-4, atol=1e-4)
        return [fallback.operator for fallback in compiled.fallbacks]

    assert left(64, 512) == ["aten.mm.default"]
    assert left(63, 512) == left(64, 511) == []

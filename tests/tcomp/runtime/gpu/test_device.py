"""What runs on a GPU, run at the addresses it would use there: frames, streams, alignment, recordings, faults.

The kernels are interpreted on the CPU (tests/fake_cuda.py); all else is the code that drives a GPU.
"""

import threading

import pytest
import torch
from compiled import Function, check_same, make_linear, random
from fake_cuda import FakeDevice
from torch import nn

import tcomp
from tcomp.machine.cuda import RecordingError
from tcomp.runtime.gpu import runner as triton_runtime


@pytest.fixture
def device(monkeypatch):
    device = FakeDevice()
    monkeypatch.setattr(triton_runtime, "load_program", device)
    return device


def compile(module, *inputs, **options):
    module = module if isinstance(module, nn.Module) else Function(module)
    return tcomp.compile(module, inputs, backend="triton", interpret=True, fallback="error", **options)


def make_deep():
    """A module of several kernels, with intermediate tensors."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 24), nn.GELU(), nn.LayerNorm(24), nn.Linear(24, 3), nn.Softmax(-1)).requires_grad_(False)


def frames(device):
    """All frames that wait for a call, of the program that runs at every call."""
    return [frame for pool in device.programs[0]._pools.values() for frame in pool]


@pytest.mark.parametrize("cuda_graphs", [False, True])
@pytest.mark.parametrize("make", [make_linear, make_deep])
def test_calls_compute_what_eager_does(device, make, cuda_graphs):
    module = make()
    compiled = compile(module, random(4, 8), cuda_graphs=cuda_graphs)
    for seed in range(8):
        x = random(4, 8, seed=seed)
        check_same(compiled(x), module(x))
    assert bool(device.cuda.replayed) is (cuda_graphs and len(device.programs[0].library.steps) > 1)


def test_weights_are_followed(device):
    module = make_deep()
    compiled = compile(module, random(4, 8))
    for _ in range(4):
        for parameter in module.parameters():
            parameter.mul_(1.5)
        check_same(compiled(random(4, 8)), module(random(4, 8)))


def test_one_frame_serves_calls_of_a_stream_and_another_stream_has_its_own(device):
    compiled = compile(make_deep(), random(4, 8))
    for _ in range(3):
        compiled(random(4, 8))
    (first,) = frames(device)
    device.cuda.stream = 2
    compiled(random(4, 8))
    second = [frame for frame in frames(device) if frame is not first]
    assert len(second) == 1
    assert first.memory.data_ptr() != second[0].memory.data_ptr()


def test_what_was_folded_on_one_stream_is_not_freed_under_another(device):
    table = random(8)
    module = Function(lambda x: x * table.exp().sum())
    compiled = compile(module, random(4, 8))
    folded = {buffer.data_ptr() for buffers in compiled.variants[0].execution.weights.current().folded for buffer in buffers.values()}
    assert folded
    for device.cuda.stream in (1, 2):
        check_same(compiled(random(4, 8)), module(random(4, 8)))
    assert set(device.cuda.kept) == {(stream, address) for stream in (1, 2) for address in folded}


def test_overlapping_calls_take_different_frames(device):
    module = make_deep()
    compiled = compile(module, random(4, 8), cuda_graphs=False)
    wrong = []

    def work(seed):
        x = random(4, 8, seed=seed)
        want = module(x)
        for _ in range(5):
            if not torch.allclose(compiled(x), want, atol=1e-5):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_frames_keep_no_tensors_of_the_caller(device):
    compiled = compile(make_deep(), random(4, 8))
    for _ in range(3):
        compiled(random(4, 8))
    (frame,) = frames(device)
    external = device.programs[0].library.externals
    kept = {external[number] for number, tensor in enumerate(frame.tensors) if tensor is not None}
    assert not any(name.startswith(("input", "softmax")) for name in kept)


def test_tensors_that_are_not_aligned_get_kernels_of_their_own(device):
    module = Function(lambda x: (x.sin() @ x).exp())
    compiled = compile(module, random(6, 6), cuda_graphs=False)
    (loader,) = device.loaders
    aligned = len(loader.variants)
    assert all(not unaligned for _, unaligned in loader.variants)
    compiled(random(6, 6))
    assert len(loader.variants) == aligned
    x = torch.empty(37)[1:].view(6, 6).copy_(random(6, 6))
    assert x.data_ptr() % 16
    check_same(compiled(x), module(x))
    assert any(unaligned for _, unaligned in loader.variants[aligned:])
    count = len(loader.variants)
    check_same(compiled(x), module(x))
    assert len(loader.variants) == count


def test_places_of_tensors_that_are_not_aligned_are_known_beforehand(device):
    module = Function(lambda x: (x[1:] * 2, x[:-1].exp()))
    compiled = compile(module, random(6))
    check_same(compiled(random(6)), module(random(6)))


def test_symbolic_sizes_use_one_program(device):
    module = make_deep()
    compiled = compile(module, random(4, 8), dynamic=True, cuda_graphs=True)
    for rows in (4, 9, 4, 2, 9):
        check_same(compiled(random(rows, 8)), module(random(rows, 8)))
    assert device.cuda.recorded == 0
    assert len(compiled.programs) == 1
    (frame,) = frames(device)
    assert frame.memory.numel() >= compiled.memory.arena


def test_a_call_that_the_user_records_has_memory_of_its_own(device):
    module = make_deep()
    compiled = compile(module, random(4, 8))
    compiled(random(4, 8))
    (frame,) = frames(device)
    device.cuda.is_recorded_by_user = True
    for _ in range(3):
        check_same(compiled(random(4, 8)), module(random(4, 8)))
    assert device.cuda.recorded == 0
    assert frames(device) == [frame]
    assert len(device.programs[0]._captured) == 1


def test_what_cannot_be_recorded_is_started_one_by_one(device, monkeypatch):
    def refuse(launch):
        raise RecordingError("operation not permitted when stream is capturing")

    monkeypatch.setattr(device.cuda, "record", refuse)
    module = make_deep()
    compiled = compile(module, random(4, 8))
    check_same(compiled(random(4, 8)), module(random(4, 8)))
    with pytest.warns(UserWarning, match="cannot be recorded: operation not permitted"):
        check_same(compiled(random(4, 8)), module(random(4, 8)))
    for _ in range(3):
        check_same(compiled(random(4, 8)), module(random(4, 8)))


EMBEDDING = nn.Embedding(10, 4).requires_grad_(False)


@pytest.mark.parametrize("cuda_graphs", [False, True])
def test_an_index_outside_is_told_at_the_next_call(device, cuda_graphs):
    module = nn.Sequential(EMBEDDING, nn.Linear(4, 3), nn.Softmax(-1)).requires_grad_(False)
    right, wrong = torch.tensor([1, 9]), torch.tensor([1, 10])
    compiled = compile(module, right, cuda_graphs=cuda_graphs)
    for _ in range(3):
        check_same(compiled(right), module(right))
    compiled(wrong)
    with pytest.raises(tcomp.IndexOutOfRange, match=r"an index into 0\.weight is outside the range 0 to 9"):
        compiled(right)
    # It is told once.
    check_same(compiled(right), module(right))
    check_same(compiled(right), module(right))


def test_a_fault_is_not_lost_while_it_travels(device):
    right, wrong = torch.tensor([1, 9]), torch.tensor([-11, 1])
    compiled = compile(EMBEDDING, right)
    device.cuda.is_slow = True
    compiled(wrong)
    compiled(right)
    compiled(right)
    device.cuda.is_slow = False
    with pytest.raises(tcomp.IndexOutOfRange):
        compiled(right)
    compiled(right)


def test_a_fault_in_folding_weights_is_told_at_once(device):
    module = Function(lambda x: x + table[position].exp().sum())
    table, position = random(5), torch.tensor([7, 1])
    with pytest.raises(tcomp.IndexOutOfRange):
        compile(module, random(1))


def test_a_stage_of_pytorch_may_stand_between(device):
    module = Function(lambda x: torch.linalg.matrix_exp(x @ x).exp() + 1)
    compiled = tcomp.compile(module, (random(3, 3),), backend="triton", interpret=True, fallback="silent")
    for seed in range(3):
        check_same(compiled(random(3, 3, seed=seed)), module(random(3, 3, seed=seed)))


def test_mutations_and_views_are_as_on_the_cpu(device):
    def step(x, y):
        x.add_(y)
        return x[1:], (x * y).t()

    compiled = compile(step, random(3, 4), random(3, 4, seed=1))
    for _ in range(3):
        ours, theirs = random(3, 4), random(3, 4)
        got, want = compiled(ours, random(3, 4, seed=1)), step(theirs, random(3, 4, seed=1))
        check_same(got, want)
        check_same(ours, theirs)

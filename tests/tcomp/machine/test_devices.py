"""All tensors of a program are in one place, and errors say which is not. Devices that are not here are played by fake tensors."""

import pytest
import torch
from compiled import Function, make_linear, random
from torch._subclasses.fake_tensor import FakeTensorMode

import tcomp
from tcomp.capture.capture import capture
from tcomp.machine import devices
from tcomp.machine.devices import CPU, check_device, choose_backend, find_device, find_obstacle, is_number, list_tensors
from tcomp.options import make_options
from tcomp.program.program import EagerStage
from tcomp.stages.graph import _find_place, compile_captured

CUDA = torch.device("cuda", 0)


def on(device, *shape):
    with FakeTensorMode():
        return torch.empty(shape, device=device)


def test_the_device_of_tensors_is_found():
    assert find_device([]) == CPU
    assert find_device([("x", torch.ones(2))]) == CPU
    assert find_device([("x", on("cuda:0", 2)), ("y", on("cuda:0", 3))]) == CUDA


def test_a_single_number_on_the_cpu_goes_with_any_device():
    assert find_device([("scale", torch.tensor(1.0)), ("x", on("cuda:0", 2))]) == CUDA
    assert find_device([("scale", torch.tensor(1.0))]) == CPU
    assert is_number(torch.tensor(1))
    assert not is_number(torch.ones(1))
    assert not is_number(on("cuda:0"))


@pytest.mark.parametrize("other", ["cpu", "cuda:1"])
def test_several_devices_are_refused_with_a_tensor_of_each(other):
    with pytest.raises(tcomp.Unsupported) as caught:
        find_device([("fc.weight", on("cuda:0", 2)), ("fc.bias", on("cuda:0", 2)), ("flattened input 0", on(other, 2))])
    assert f"fc.weight on cuda:0, flattened input 0 on {other}" in str(caught.value)
    assert "module.to(device)" in caught.value.help


@pytest.mark.parametrize("kind", ["meta", "mps", "xpu"])
def test_other_kinds_of_devices_are_refused(kind):
    tensor = torch.empty(2, device="meta") if kind == "meta" else on(kind, 2)
    with pytest.raises(tcomp.Unsupported, match=f"a tensor on device {kind}") as caught:
        check_device(tensor, "x")
    assert (caught.value.where, "CUDA" in caught.value.help) == ("x", True)


def test_tensors_of_a_call_have_names():
    module = make_linear()
    module.register_buffer("table", torch.ones(2))
    names = [name for name, _ in list_tensors(module, (random(1, 8), 3))]
    assert names == ["0.weight", "0.bias", "table", "flattened input 0"]


@pytest.mark.parametrize(
    ("options", "device", "backend"),
    [
        ({}, CPU, "c"),
        ({"backend": "c"}, CPU, "c"),
        ({"backend": "triton"}, CPU, "triton"),
        ({"backend": "triton", "interpret": True}, CPU, "triton"),
        ({}, CUDA, "triton"),
        ({"backend": "triton"}, CUDA, "triton"),
        ({"tune": True}, CUDA, "triton"),
        ({"tune": True}, CPU, "c"),
    ],
)
def test_the_backend_follows_the_device(options, device, backend):
    assert choose_backend(make_options(options), device) == backend


@pytest.mark.parametrize(
    ("options", "device", "what"),
    [
        ({"backend": "c"}, CUDA, "backend is 'c', and the tensors are on cuda:0"),
        ({"backend": "triton", "interpret": True}, CUDA, "interpret is for tensors on the CPU"),
        ({"tune": True, "backend": "triton"}, CPU, "tune measures kernels where they run, and Triton kernels do not run"),
    ],
)
def test_choices_that_do_not_fit_the_device_are_refused(options, device, what):
    with pytest.raises(tcomp.TcompError, match=what) as caught:
        choose_backend(make_options(options), device)
    assert caught.value.help


def test_what_keeps_kernels_from_running(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert find_obstacle(CPU, interpret=True) is None
    assert find_obstacle(CUDA, interpret=False) is None
    obstacle = find_obstacle(CPU, interpret=False)
    assert "no CUDA device" in str(obstacle)
    assert "interpret=True" in obstacle.help
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert "module.cuda()" in find_obstacle(CPU, interpret=False).help
    monkeypatch.setattr(devices, "find_triton_version", lambda: None)
    assert "pip install 'tcomp[gpu]'" in find_obstacle(CUDA, interpret=False).help


def test_compiling_for_a_gpu_works_without_one_and_running_says_what_is_missing(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    compiled = tcomp.compile(make_linear(), (random(4, 8),), backend="triton", target="sm_80")
    assert "def " in compiled.kernels[0].source
    assert compiled.memory.weights == 4 * 72
    for _ in range(2):
        with pytest.raises(tcomp.TcompError, match="this machine shows no CUDA device") as caught:
            compiled(random(4, 8))
        assert caught.value.where
    with pytest.raises(tcomp.TcompError, match="no CUDA device"):
        compiled.measure_fallbacks(random(4, 8))


def test_compiling_works_without_triton(monkeypatch):
    monkeypatch.setattr(devices, "find_triton_version", lambda: None)
    compiled = tcomp.compile(make_linear(), (random(4, 8),), backend="triton")
    with pytest.raises(tcomp.ToolchainError, match="Triton is not installed"):
        compiled(random(4, 8))


def test_results_somewhere_else_are_moved_by_pytorch_or_refused():
    captured = capture(Function(lambda x: (x * 2, x + 1)), (torch.ones(2),))
    output = captured.outputs[0]
    output.node.meta["val"] = on("cuda:0", 2)
    with pytest.raises(tcomp.Unsupported, match="a result on cuda:0 of a program on cpu") as caught:
        compile_captured(captured, make_options({"fallback": "error"}))
    assert caught.value.where
    assert caught.value.help
    program = compile_captured(captured, make_options({"fallback": "silent"}))
    (eager,) = [stage for stage in program.stages if isinstance(stage, EagerStage)]
    assert [(call.target, call.reason) for call in eager.calls] == [
        (torch.ops.aten.mul.Tensor, "a result on cuda:0 of a program on cpu"),
    ]


def test_constants_on_the_cpu_of_a_program_on_a_gpu_are_copied():
    device, moved = _find_place([("x", on("cuda:0", 2))], {"table": torch.ones(3), "weight": on("cuda:0", 2), "scale": torch.tensor(1.0)})
    assert (device, moved) == (CUDA, {"table", "scale"})
    assert _find_place([("x", torch.ones(2))], {"table": torch.ones(3)}) == (CPU, frozenset())
    with pytest.raises(tcomp.Unsupported, match="several devices"):
        _find_place([("x", on("cuda:0", 2))], {"weight": on("cuda:1", 2)})


def test_autocast_is_that_of_the_device_of_the_call():
    programs = tcomp.compile(make_linear())._tcomp
    before = torch.is_autocast_enabled("cuda")
    torch.set_autocast_enabled("cuda", True)
    try:
        chosen = torch.get_autocast_dtype("cuda")
        assert programs._read_mode([3, on("cuda:0", 2)])[1] == chosen
        assert programs._read_mode([torch.tensor(1.0), on("cuda:0", 2)])[1] == chosen
        # The module's weights are on the CPU, where autocast is off.
        for leaves in ([torch.ones(2)], [], [on("meta", 2)]):
            assert programs._read_mode(leaves)[1] is None
    finally:
        torch.set_autocast_enabled("cuda", before)
    assert programs._read_mode([on("cuda:0", 2)])[1] is None

"""Makers print and build kernels for the target that device and options ask for."""

import pytest
import torch
from compiled import make_linear, random
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from triton_libraries import SCALE

import tcomp
from tcomp.capture.decompositions.table import decompositions
from tcomp.ir.parse.tile import parse_kernel
from tcomp.ir.target import Cpu
from tcomp.machine.devices import CPU
from tcomp.machine.gpus import describe_gpu
from tcomp.options import make_options
from tcomp.program.kernels import TritonLibrary
from tcomp.program.program import CompiledStage, EagerStage
from tcomp.settings import read_settings
from tcomp.stages import makers
from tcomp.stages import stage as compile_stage
from tcomp.stages.graph import compile_functional
from tcomp.stages.makers import CMaker, TritonMaker, _find_folder


def test_c_is_made_for_this_machine():
    maker = CMaker(make_options({}), read_settings())
    assert isinstance(maker.target, Cpu)
    assert (maker.suffix, maker.measure) == (".c", None)
    plain = parse_kernel(SCALE.replace("warps 4 stages 2 ", ""))
    assert "void scale" in maker.print_kernel(plain)


@pytest.mark.parametrize(("options", "precision"), [({}, "tf32x3"), ({"precision": "ieee"}, "ieee")])
def test_triton_is_made_for_a_gpu_that_need_not_be_here(options, precision):
    maker = TritonMaker(CPU, make_options({"backend": "triton", "target": "sm_80", **options}), read_settings())
    assert maker.target == describe_gpu("sm_80")
    assert (maker.suffix, maker.measure) == (".py", None)
    assert "def scale" in maker.print_kernel(parse_kernel(SCALE))
    assert maker._printing.precision == precision


def test_programs_are_kept_with_others_or_in_a_folder_of_their_own(tmp_path):
    settings = read_settings({"TCOMP_CACHE_DIR": str(tmp_path)})
    assert _find_folder(make_options({}), settings) == tmp_path / "kernels"
    first, second = (_find_folder(make_options({"cache": False}), settings) for _ in range(2))
    assert first != second
    assert first.parent == second.parent
    assert tmp_path not in first.parents


def test_the_scatter_option_reaches_the_pipeline(monkeypatch):
    asked = []
    compile_cascade = compile_stage.compile_cascade

    def note(*arguments, **options):
        asked.append(options["atomic"])
        return compile_cascade(*arguments, **options)

    monkeypatch.setattr(compile_stage, "compile_cascade", note)
    for scatter in ("deterministic", "atomic"):
        tcomp.compile(make_linear(), (random(4, 8),), backend="triton", scatter=scatter)
    assert asked == [False, True]


def test_stages_are_dumped_with_their_source(monkeypatch, tmp_path):
    monkeypatch.setenv("TCOMP_DEBUG", str(tmp_path))
    tcomp.compile(make_linear(), (random(4, 8),), backend="triton")
    (source,) = tmp_path.rglob("*.py")
    assert "def " in source.read_text()


def test_a_module_on_a_gpu_is_compiled_for_it(monkeypatch):
    """Fake tensors stand for a GPU: the program is compiled for their device, single numbers on the CPU with it."""
    monkeypatch.setattr(makers, "find_gpu", lambda architecture, device: describe_gpu("sm_90"))

    def function(x, w, s):
        return [torch.relu(x @ w) * s + torch.arange(8, device=x.device), torch.linalg.matrix_exp(w).exp()]

    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        inputs = torch.empty(4, 8, device="cuda"), torch.empty(8, 8, device="cuda"), mode.from_tensor(torch.tensor(2.0))
        graph = make_fx(function, decomposition_table=dict(decompositions()))(*inputs)
    program, _ = compile_functional(graph, make_options({"fallback": "silent"}))
    assert program.device == torch.device("cuda", 0)
    assert {type(stage) for stage in program.stages} == {CompiledStage, EagerStage}
    assert all(isinstance(stage.main, TritonLibrary) for stage in program.stages if isinstance(stage, CompiledStage))

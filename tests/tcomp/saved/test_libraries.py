"""Saved Triton programs load without tracing, on a GPU like the one they were made for, and carry their kernels."""

import copy
import json
import zipfile

import pytest
import torch
from compiled import check, make_linear, random
from saved_files import forbid_compiling, rewrite
from torch import nn

import tcomp
from tcomp.codegen.triton.kernel import TritonOptions
from tcomp.ir.dtypes import f32
from tcomp.ir.expressions import ZERO, as_index
from tcomp.ir.parse.tile import parse_kernel
from tcomp.ir.plan import Matrix, MatrixProduct, Place, Plan, Step
from tcomp.machine.devices import CPU
from tcomp.machine.gpus import describe_gpu
from tcomp.module.compiled_module import CompiledModule
from tcomp.program.kernels import Check
from tcomp.saved import archive as saved
from tcomp.saved.libraries import LibraryReader, LibraryWriter
from tcomp.stages.gpu_plan import plan_library

CUDA = torch.device("cuda", 0)
KERNEL = """
kernel product(in X: f32[n, 4], in I: i64[4], out Y: f32[n, 4]) for n in 1..9 warps 4 stages 2 {
  parallel i in 0 .. n {
    Y[i, j.0] over (j.0:4) = X[i, value(I[j.0])]
  }
}
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "program.tcomp"


def save(path, module=None, inputs=None, **options):
    module = module or make_linear()
    compiled = tcomp.compile(module, inputs or (random(4, 8),), backend="triton", interpret=True, **options)
    compiled.save(path)
    return compiled


@pytest.mark.parametrize("dynamic", [False, True])
def test_a_loaded_program_computes_the_same(path, monkeypatch, tmp_path, dynamic):
    module = nn.Sequential(nn.Embedding(10, 8), nn.Linear(8, 3), nn.Softmax(-1)).requires_grad_(False)
    inputs = (torch.tensor([1, 9, 3]),)
    save(path, module, inputs, dynamic=dynamic)
    forbid_compiling(monkeypatch)
    monkeypatch.setenv("TCOMP_CACHE_DIR", str(tmp_path / "elsewhere"))
    other = copy.deepcopy(module)
    loaded = tcomp.load(path, other)
    check(other, *inputs, compiled=loaded)
    with pytest.raises(tcomp.IndexOutOfRange, match=r"an index into 0\.weight"):
        loaded(torch.tensor([1, 10, 3]))


def test_a_loaded_program_explains_itself(path):
    compiled = save(path)
    loaded = tcomp.load(path, make_linear())
    assert loaded.options == compiled.options
    assert tcomp.explain(loaded, sources=True) == tcomp.explain(compiled, sources=True)


def test_a_library_survives_a_round_trip(tmp_path):
    kernel = parse_kernel(KERNEL)
    place = Place("arena", as_index("n") * 64 + 16)
    matrix = [Matrix(number, tuple(map(as_index, ("n", 4, 4))), (ZERO, as_index(4), as_index(1))) for number in (0, 0, 2)]
    steps = tuple(Step(name, (Place("X", ZERO), Place("I", as_index(8)), place)) for name in ("product", "again", "library"))
    plan = Plan(("X", "I"), as_index("n") * 128, steps, kernel.symbols)
    checks = tuple(Check("X", f"line {number}", as_index("n")) for number in range(2))
    products = {"library": MatrixProduct(f32, *matrix)}
    kernels = dict.fromkeys(("product", "again", "library"), kernel)
    library = plan_library(plan, kernels, products, checks, describe_gpu("sm_80"), TritonOptions("ieee"), tmp_path / "one")
    assert [(known.names, known.unit.kernel) for known in library.kernels] == [(("product", "again"), kernel)]
    writer = LibraryWriter()
    text = json.dumps(writer.write(library))
    with zipfile.ZipFile(tmp_path / "archive", "w") as archive:
        for name, data in writer.files.items():
            archive.writestr(name, data)
    with zipfile.ZipFile(tmp_path / "archive") as archive:
        # In a folder of the same name the module has the same path.
        assert LibraryReader(archive, tmp_path / "one").read(json.loads(text)) == library
        read = LibraryReader(archive, tmp_path / "two").read(json.loads(text))
    assert read.kernels[0].path.read_text() == library.kernels[0].path.read_text()
    assert read.kernels[0].path != library.kernels[0].path


def set_kind(manifest, files):
    manifest["programs"][0]["stages"][0]["main"]["kind"] = "wasm"


def set_step(manifest, files):
    manifest["programs"][0]["stages"][0]["main"]["steps"][0][0] = "jump"


def set_target(manifest, files):
    cpu = 'target "c" { isa "x86_64" vector 128 bits 16 registers cores 1 cache 0, 0, 0 compiler "cc" }'
    manifest["programs"][0]["stages"][0]["main"]["target"] = cpu


def spoil_kernel(manifest, files):
    for name in files:
        if name.endswith(".py"):
            files[name] += b"import os\n"


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (set_kind, "no library is of kind 'wasm'"),
        (set_step, "no step is written as"),
        (set_target, "can be read"),
        (spoil_kernel, "can be read"),
    ],
)
def test_files_that_do_not_fit_are_refused(change, what, path, monkeypatch, tmp_path):
    save(path)
    monkeypatch.setenv("TCOMP_CACHE_DIR", str(tmp_path / "empty"))
    rewrite(path, change)
    with pytest.raises(tcomp.RecordError, match=what):
        tcomp.load(path, make_linear())


def set_cuda(manifest, files):
    manifest["programs"][0]["device"] = "cuda"


def test_a_program_for_a_gpu_needs_its_module_there(path, monkeypatch):
    save(path)
    rewrite(path, set_cuda)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    what = "tensors on cuda, the module's are on cpu, and this machine shows no CUDA device"
    with pytest.raises(tcomp.RecordError, match=what) as caught:
        tcomp.load(path, make_linear())
    assert "module.to('cuda')" in caught.value.help


def test_a_module_without_tensors_runs_where_the_program_does(monkeypatch, path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    assert saved._find_device("cuda", nn.ReLU(), path) == CUDA
    assert saved._find_device("cpu", nn.ReLU(), path) == CPU


def test_kernels_for_another_gpu_are_refused(path, monkeypatch):
    compiled = save(path, target="sm_80")
    (program,) = compiled.programs
    saved._check_gpu(program, path)
    monkeypatch.setattr(saved, "detect_gpu", lambda device: describe_gpu("sm_90"))
    object.__setattr__(program, "device", CUDA)
    with pytest.raises(tcomp.RecordError, match="compiled for sm_80, cuda:0 is sm_90") as caught:
        saved._check_gpu(program, path)
    assert caught.value.help == "compile it on this machine"


def test_programs_without_machine_code_ask_for_no_instructions(path):
    save(path)
    with zipfile.ZipFile(path) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        assert manifest["isa"] == ""
        assert not [name for name in archive.namelist() if name.endswith(".so")]
    assert isinstance(tcomp.load(path, make_linear()), CompiledModule)

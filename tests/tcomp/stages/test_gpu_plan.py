"""Plans become steps over kernels that programs share."""

import pytest
import torch
from triton_libraries import GATHER, SCALE, make_library

from tcomp.codegen.triton.kernel import TritonOptions
from tcomp.ir.dtypes import f32
from tcomp.ir.expressions import ONE, ZERO, as_index
from tcomp.ir.parse.tile import parse_kernel
from tcomp.ir.plan import Matrix, MatrixProduct, Place, Plan, Step
from tcomp.machine.gpus import describe_gpu
from tcomp.program.kernels import KernelStep, LibraryStep
from tcomp.stages.gpu_plan import choose_options, plan_library

N = as_index("n")


def test_kernels_that_do_the_same_share_one_module(tmp_path):
    kernels = {name: parse_kernel(SCALE.replace("kernel scale", f"kernel {name}")) for name in ("first", "second")}
    places = Place("X", ZERO), Place("Y", ZERO)
    plan = Plan(("X", "Y"), ZERO, tuple(Step(name, places) for name in ("first", "second", "first")))
    library = plan_library(plan, kernels, {}, (), describe_gpu("sm_90"), TritonOptions(), tmp_path)
    assert [kernel.names for kernel in library.kernels] == [("first", "second")]
    assert [step.kernel for step in library.steps] == [0, 0, 0]
    assert library.kernels[0].unit.source in library.kernels[0].path.read_text()


def test_checks_are_counted_from_step_to_step(tmp_path):
    library = make_library(GATHER, tmp_path, (0, 0, 0), (0, 0, 0), (0, 0, 0))
    assert [(step.first_check, step.grid) for step in library.steps] == [(0, N), (1, N), (2, N)]


@pytest.mark.parametrize(("batch", "operation"), [(1, "mm"), (5, "bmm"), ("b", "bmm")])
def test_products_of_the_library_take_the_place_of_kernels(tmp_path, batch, operation):
    def matrix(argument, rows, columns):
        return Matrix(argument, tuple(map(as_index, (batch, rows, columns))), (as_index(rows * columns), as_index(columns), ONE))

    product = MatrixProduct(f32, matrix(1, 3, 4), matrix(0, 4, 2), matrix(2, 3, 2))
    places = tuple(Place(name, as_index(offset)) for name, offset in (("W", 0), ("X", 8), ("arena", 64)))
    plan = Plan(("W", "X"), as_index(1024), (Step("product", places),))
    kernels, products = {"product": parse_kernel(SCALE)}, {"product": product}
    library = plan_library(plan, kernels, products, (), describe_gpu("sm_90"), TritonOptions(), tmp_path)
    assert library.kernels == ()
    (step,) = library.steps
    assert isinstance(step, LibraryStep)
    assert (step.name, step.operation, step.out.place) == ("product", operation, places[2])
    first = 0 if operation == "bmm" else 1
    assert [operand.place for operand in step.operands] == [places[1], places[0]]
    assert step.operands[0].shape == tuple(map(as_index, (batch, 3, 4)))[first:]
    assert step.operands[1].strides == tuple(map(as_index, (8, 2, 1)))[first:]


def test_steps_of_kernels_have_places_and_instances(tmp_path):
    library = make_library(SCALE, tmp_path, (0, 32))
    assert library.steps == (KernelStep(0, (Place("X", ZERO), Place("Y", as_index(32))), as_index(2), 0),)
    assert (library.externals, library.symbols, library.precision) == (("X", "Y"), (), "tf32x3")


def test_auto_does_what_pytorch_was_told(monkeypatch):
    assert choose_options("ieee").precision == "ieee"
    told = {"value": "highest"}
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: told["value"])
    assert choose_options("auto").precision == "tf32x3"
    told["value"] = "high"
    assert choose_options("auto").precision == "tf32"
    assert choose_options("tf32x3").precision == "tf32x3"


def test_auto_knows_pytorchs_newer_switch():
    """PyTorch raises when asked the old way after it was told the new way."""
    before = torch.backends.cuda.matmul.fp32_precision
    try:
        torch.backends.cuda.matmul.fp32_precision = "tf32"
        assert choose_options("auto").precision == "tf32"
        torch.backends.cuda.matmul.fp32_precision = "ieee"
        assert choose_options("auto").precision == "tf32x3"
    finally:
        torch.backends.cuda.matmul.fp32_precision = before

"""What kernels use is found once for each, under all their names; what cannot be found is said."""

from dataclasses import replace

import pytest
from compiled import make_linear, random
from triton_libraries import GATHER, SCALE, make_library

import tcomp
from tcomp.module import compiled_module
from tcomp.program.reports import KernelUse
from tcomp.runtime.gpu import resources as kernel_resources
from tcomp.runtime.gpu.resources import find_uses


@pytest.fixture(autouse=True)
def _forget():
    find_uses.cache_clear()


def test_each_name_has_what_its_kernel_uses(tmp_path):
    library = make_library(GATHER, tmp_path)
    library = replace(library, kernels=(replace(library.kernels[0], names=("gather", "other")),))
    uses = find_uses(library)
    assert uses["gather"] == uses["other"]
    use = uses["gather"]
    assert (use.instances, use.warps, use.stages) == ("n", 1, 2)
    assert use.resources.registers > 0
    assert 0 < use.occupancy <= 1


def test_the_widest_variant_stands_for_all(tmp_path, monkeypatch):
    asked = []
    compile_variants = kernel_resources.compile_variants
    monkeypatch.setattr(kernel_resources, "compile_variants", lambda *given: asked.append(given[2]) or compile_variants(*given))
    find_uses(make_library(SCALE, tmp_path, (4, 4), (0, 4), (8, 0), (0, 0)))
    assert asked == [[(0, frozenset())]]


def test_a_kernel_that_is_never_aligned_is_told_as_it_is(tmp_path):
    assert isinstance(find_uses(make_library(SCALE, tmp_path, (4, 4)))["scale"], KernelUse)


def test_uses_are_found_once(tmp_path, monkeypatch):
    library = make_library(SCALE, tmp_path)
    first = find_uses(library)
    monkeypatch.setattr(kernel_resources, "compile_variants", None)
    assert find_uses(library) is first


@pytest.mark.parametrize("place", ["compile_variants", "read_resources"])
def test_what_cannot_be_found_is_an_error_in_its_place(tmp_path, monkeypatch, place):
    error = tcomp.ToolchainError("Triton does not compile the kernel scale")

    def fail(*arguments):
        if place == "read_resources":
            raise error
        return [error]

    monkeypatch.setattr(kernel_resources, place, fail)
    assert find_uses(make_library(SCALE, tmp_path)) == {"scale": error}


def test_explanations_tell_what_kernels_use():
    compiled = tcomp.compile(make_linear(), (random(4, 8),), backend="triton", target="sm_80")
    (line,) = [line for line in tcomp.explain(compiled).splitlines() if line.startswith("  uses")]
    assert "registers, none spilled" in line
    assert "mma; 1 instance of" in line
    assert "wgmma" not in line
    assert "occupancy" in line


def test_explanations_say_why_it_is_not_known(monkeypatch):
    compiled = tcomp.compile(make_linear(), (random(4, 8),), backend="triton")
    monkeypatch.setattr(compiled_module, "find_triton_version", lambda: None)
    assert "  uses  unknown: Triton is not installed" in tcomp.explain(compiled)


def test_c_kernels_use_no_gpu():
    compiled = tcomp.compile(make_linear(), (random(4, 8),))
    assert compiled.uses == {}
    assert "  uses" not in tcomp.explain(compiled)

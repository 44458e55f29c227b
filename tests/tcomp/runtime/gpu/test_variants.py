"""Kernels come in a variant for each set of pointers that may be unaligned."""

from triton_libraries import GATHER, SCALE, make_library

from tcomp import ToolchainError
from tcomp.codegen.triton.module import load_functions
from tcomp.progress import watch_progress
from tcomp.runtime.gpu import variants as triton_variants
from tcomp.runtime.gpu.variants import compile_variants, list_variants, make_variant


def test_variants_name_parameters(tmp_path):
    library = make_library(SCALE, tmp_path)
    x, y = (parameter.name for parameter in library.kernels[0].unit.parameters)
    assert make_variant(library, 0, []) == (0, frozenset())
    assert make_variant(library, 0, [1]) == (0, {y})
    assert make_variant(library, 0, [1, 0]) == (0, {x, y})


def test_steps_ask_for_what_their_offsets_need_each_once(tmp_path):
    library = make_library(SCALE, tmp_path, (0, 64), (4, 0), (16, 0), (8, 0))
    (x, _) = (parameter.name for parameter in library.kernels[0].unit.parameters)
    assert list_variants(library) == [(0, frozenset()), (0, {x})]


def test_variants_are_compiled_and_told(tmp_path):
    library = make_library(GATHER, tmp_path)
    function = load_functions(library.kernels[0].path, "jit")[library.kernels[0].unit.symbol]
    told = []
    with watch_progress(lambda *report: told.append(report)):
        (compiled,) = compile_variants(library, [function], list_variants(library))
    assert compiled.metadata.name == library.kernels[0].unit.symbol
    assert told == [("compiled gather", 1, 1)]
    assert list((tmp_path / "triton").rglob("*.cubin"))
    assert compile_variants(library, [function], []) == []


def test_errors_stand_among_the_results(tmp_path, monkeypatch):
    error = ToolchainError("no")
    monkeypatch.setattr(triton_variants, "compile_all", lambda *arguments: [error])
    assert compile_variants(make_library(SCALE, tmp_path), [None], [(0, frozenset())]) == [error]

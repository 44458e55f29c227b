"""The explanation tells what was compiled, from where, and what was left."""

import pytest
import torch
from compiled import Function, make_linear, random
from torch import nn

import tcomp
from tcomp.module.summary import format_bytes


def test_it_tells_kernels_memory_and_sources():
    compiled = tcomp.compile(make_linear(), (random(4, 8),))
    text = tcomp.explain(compiled)
    summary, table, *details = text.split("\n\n")
    assert summary.startswith("einsums   4 captured, 4 after the passes\nkernels   1 call of 1; 1 call of 1 when weights change\n")
    assert "weights   288 bytes, packed or folded from them" in summary
    assert summary.endswith("fallbacks none")
    assert len(table.splitlines()) == 1 + len(compiled.kernels)
    for line, kernel, detail in zip(table.splitlines()[1:], compiled.kernels, details, strict=True):
        assert line.split()[:3] == ["1", kernel.name, kernel.kind]
        assert detail.startswith(f"{kernel.name}, called once" + (" when weights change" if kernel.is_prelude else "") + "\n  # 0 ")
        assert f"why   {kernel.why}" in detail
        assert f"loops {kernel.loops}" in detail
        for name, einsum in kernel.einsums:
            assert einsum.startswith(f"{name}: ")
            assert f"\n  {einsum}\n" in detail
    assert "never reach memory" in text
    assert "#include" not in text


def test_layers_that_are_alike_are_explained_once():
    layers = nn.Sequential(*(make_linear() for _ in range(3)))
    compiled = tcomp.compile(layers, (random(4, 8),))
    text = tcomp.explain(compiled)
    assert "kernels   3 calls of 1; 3 calls of 1 when weights change" in text
    assert text.count("called 3 times") == 2


def test_it_shows_generated_code_on_request():
    compiled = tcomp.compile(make_linear(), (random(4, 8),))
    text = tcomp.explain(compiled, sources=True)
    for kernel in compiled.kernels:
        for line in kernel.source.splitlines():
            assert line.strip() in text


def test_it_tells_programs_stages_and_fallbacks_apart():
    module = Function(lambda x: torch.linalg.matrix_exp(x.exp()).sin())
    compiled = tcomp.compile(module, (random(3, 3),), fallback="silent", dynamic=False)
    compiled(random(4, 4))
    text = tcomp.explain(compiled)
    assert "program 2 of 2: float32[4, 4]" in text
    assert "compiled stage 2 of 2" in text
    assert "fallbacks 2 calls, listed at the end\n" in text
    assert "left to PyTorch\n  aten.linalg_matrix_exp.default, 1 calls" in text


def test_it_explains_compiled_modules_only():
    with pytest.raises(tcomp.TcompError, match="not a compiled module"):
        tcomp.explain(make_linear())


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 bytes"), (1023, "1023 bytes"), (2048, "2.0 KiB"), (3 << 20, "3.0 MiB"), (1 << 30, "1.0 GiB")]
)
def test_bytes_are_readable(count, text):
    assert format_bytes(count) == text

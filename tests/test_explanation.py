"""The explanation tells what was compiled, from where, and what was left."""

import pytest
import torch
from compiled import Function, make_linear, random

import tcomp
from tcomp.explanation import format_bytes


def test_it_tells_cascade_kernels_memory_and_sources():
    compiled = tcomp.compile(make_linear(), (random(4, 8),))
    text = tcomp.explain(compiled)
    assert text.startswith(compiled.cascade)
    assert "where it comes from\n  0 (linear.py:" in text.replace("0 linear.py", "0 (linear.py")
    assert "2 kernels, 2 calls" in text
    for kernel in compiled.kernels:
        assert f"{kernel.name}, called once" in text
        assert kernel.why in text
    assert "never reach memory" in text
    assert "runs when weights change" in text
    assert "weights 288 bytes" in text
    assert "nothing is left to PyTorch" in text
    assert "#include" not in text


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
    assert "left to PyTorch\n  aten.linalg_matrix_exp.default, 1 calls" in text


def test_it_explains_compiled_modules_only():
    with pytest.raises(tcomp.TcompError, match="not a compiled module"):
        tcomp.explain(make_linear())


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 bytes"), (1023, "1023 bytes"), (2048, "2.0 KiB"), (3 << 20, "3.0 MiB"), (1 << 30, "1.0 GiB")]
)
def test_bytes_are_readable(count, text):
    assert format_bytes(count) == text

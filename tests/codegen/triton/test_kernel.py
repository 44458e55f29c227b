"""Kernels as Triton functions: their texts, interfaces and names, and what Triton's compiler makes of them."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest
from conftest import GOLDENS
from tile_programs import NAMES, read_kernel

from tcomp.codegen.triton.kernel import TritonOptions, TritonParameter, module_source, triton_unit
from tcomp.ir.errors import Unsupported
from tcomp.ir.parse.tile import parse_kernel
from tests.triton_programs import compile_ahead

LINEAR = """kernel linear(in X: bf16[512, 768], in W: bf16[1024, 768], in b: f32[1024], out Y: bf16[512, 1024]) warps 8 stages 3 {
  parallel tile in 0 .. 32 {
    block acc: f32[m.0:128, n.0:128]
    acc[m.0, n.0] over (m.0:128, n.0:128) = 0.0
    for k in 0 .. 24 {
      acc[m.0, n.0] over (m.0:128, n.0:128) sum= sum(k.0:32)
        f32(X[128*(tile % 4) + m.0, 32*k + k.0]) * f32(W[128*(tile // 4) + n.0, 32*k + k.0])
    }
    Y[128*(tile % 4) + m.0, 128*(tile // 4) + n.0] over (m.0:128, n.0:128) = bf16(maximum(acc[m.0, n.0] + b[128*(tile // 4) + n.0], 0.0))
  }
}"""

ATTENTION = """kernel attention(in Q: bf16[8, S, 64], in K: bf16[8, S, 64], in V: bf16[8, S, 64], out O: bf16[8, S, 64])
for S in 1..65536 warps 8 stages 2 {
  parallel h in 0 .. 8 {
    parallel p in 0 .. S step 128 {
      block top: f32[p.0:128]
      block total: f32[p.0:128]
      block acc: f32[p.0:128, f.0:64]
      top[p.0] over (p.0:128) = -inf
      total[p.0] over (p.0:128) = 0.0
      acc[p.0, f.0] over (p.0:128, f.0:64) = 0.0
      for m in 0 .. p + 128 step 64 {
        block s: f32[p.0:128, m.0:64]
        block new: f32[p.0:128]
        block scale: f32[p.0:128]
        s[p.0, m.0] over (p.0:128 < S - p, m.0:64 < S - m) = sum(e.0:64) f32(Q[h, p + p.0, e.0]) * f32(K[h, m + m.0, e.0])
        s[p.0, m.0] over (p.0:128 < S - p, m.0:64 < S - m) = select(i64[m + m.0] <= i64[p + p.0], s[p.0, m.0] * 0.125, -inf)
        new[p.0] over (p.0:128) = top[p.0]
        new[p.0] over (p.0:128 < S - p) max= max(m.0:64 < S - m) s[p.0, m.0]
        scale[p.0] over (p.0:128) = exp(top[p.0] - new[p.0])
        s[p.0, m.0] over (p.0:128 < S - p, m.0:64 < S - m) = exp(s[p.0, m.0] - new[p.0])
        total[p.0] over (p.0:128) = total[p.0] * scale[p.0]
        total[p.0] over (p.0:128 < S - p) sum= sum(m.0:64 < S - m) s[p.0, m.0]
        acc[p.0, f.0] over (p.0:128, f.0:64) = acc[p.0, f.0] * scale[p.0]
        acc[p.0, f.0] over (p.0:128 < S - p, f.0:64) sum= sum(m.0:64 < S - m) f32(bf16(s[p.0, m.0])) * f32(V[h, m + m.0, f.0])
        top[p.0] over (p.0:128) = new[p.0]
      }
      O[h, p + p.0, f.0] over (p.0:128 < S - p, f.0:64) = bf16(acc[p.0, f.0] / total[p.0])
    }
  }
}"""

NOTES = ("einsums: Y", "schedule: contract tile (m:128)")


def source(text, **options):
    return triton_unit(parse_kernel(text), TritonOptions(**options)).source


def test_texts(golden):
    linear = replace(parse_kernel(LINEAR), notes=NOTES)
    golden.check("triton_linear.txt", triton_unit(linear, TritonOptions()).source)
    golden.check("triton_attention.txt", source(ATTENTION))
    for name in ("softmax", "scatter"):
        golden.check(f"triton_{name}.txt", triton_unit(read_kernel(f"tile_{name}.txt"), TritonOptions()).source)


@pytest.mark.parametrize("architecture", [90, 80])
@pytest.mark.parametrize("name", [*NAMES, "linear", "attention"])
def test_programs_compile(name, architecture, tmp_path):
    texts = {"linear": LINEAR, "attention": ATTENTION}
    kernel = parse_kernel(texts[name]) if name in texts else read_kernel(name)
    text = compile_ahead(kernel, tmp_path, architecture).asm["ptx"]
    if name in texts:
        assert ("wgmma" if architecture == 90 else "mma.sync") in text


INTERFACE = """kernel k.1(in X: bf16[N, 4], in I: i64[N], inout Y: bool[4, M], out Z: e4m3[4]) for N in 1.., M in 1..9 {
  buffer b: f32[5, 3]
  buffer c: i8[70]
  b[i, j] over (i:5, j:3) = 1.0
  c[i] over (i:70) = i8(b[0, 0])
  Z[i] over (i:4) = e4m3(X[I[0], i]) where Y[i, 0] & c[0] > 0:i8
}"""


def test_the_interface_of_a_unit():
    unit = triton_unit(parse_kernel(INTERFACE), TritonOptions())
    assert unit.parameters == (
        TritonParameter("X", "*bf16"), TritonParameter("I", "*i64"), TritonParameter("Y", "*i1"), TritonParameter("Z", "*fp8e4nv"),
        TritonParameter("N", "i64"), TritonParameter("M", "i32"), TritonParameter("scratch", "*i8"), TritonParameter("faults", "*i32"),
    )  # fmt: skip
    assert (unit.scratch, unit.checks) == (64 + 128, 1)
    assert unit.symbol.startswith("k_1_") and len(unit.symbol) == len("k_1_") + 12 and unit.source.startswith("# k.1\n")
    assert f"def {unit.symbol}(" in unit.source
    assert "    Y,  # inout bool[4, M]\n" in unit.source and "    N,  # N in 1 ..\n" in unit.source


def test_a_symbol_names_what_a_kernel_does():
    unit = triton_unit(parse_kernel(LINEAR), TritonOptions())
    assert triton_unit(replace(parse_kernel(LINEAR), notes=NOTES), TritonOptions()).symbol == unit.symbol
    renamed = triton_unit(replace(parse_kernel(LINEAR), name="other"), TritonOptions()).symbol
    assert renamed.split("_")[0] == "other" and renamed[-12:] == unit.symbol[-12:]
    assert triton_unit(parse_kernel(LINEAR.replace("0.0))", "1.0))")), TritonOptions()).symbol[-12:] != unit.symbol[-12:]


def test_precision_is_that_of_products_of_f32():
    text = LINEAR.replace("bf16[512, 768]", "f32[512, 768]").replace(
        "f32(X[128*(tile % 4) + m.0, 32*k + k.0])", "X[128*(tile % 4) + m.0, 32*k + k.0]"
    )
    for precision in ("ieee", "tf32", "tf32x3"):
        assert f'input_precision="{precision}"' in source(text, precision=precision)
    assert "input_precision" not in source(LINEAR, precision="ieee")


def test_names_of_python_of_triton_and_of_ours_are_left_to_them():
    text = """kernel k(in def: f32[8], in tl: f32[8], in maximum: f32[8], in range: f32[8], out scratch: f32[8], inout pid: f32[8]) {
      parallel lambda in 0 .. 1 {
        parallel faults in 0 .. 2 {
          scratch[faults*4 + i] over (i:4) = maximum(def[i], tl[i]) + maximum[i] + range[i] + pid[4*faults + i]
        }
      }
    }"""
    unit = triton_unit(parse_kernel(text), TritonOptions())
    names = {parameter.name for parameter in unit.parameters}
    assert len(names) == 6 and not names & {"def", "tl", "maximum", "range", "scratch", "pid", "faults"}
    compile(unit.source, "kernel", "exec")


def test_single_loops_are_the_program_and_others_are_decoded_last_fastest():
    one = source("kernel k(out Y: f32[9]) { parallel r in 0 .. 9 { Y[r] over () = 1.0 } }")
    assert "r = tl.program_id(0)" in one and "pid" not in one
    nest = "parallel a in 0 .. 9 { parallel b in 1 .. 8 step 2 { parallel c in 0 .. 4 { Y[a, b, c] over () = 1.0 } } }"
    more = source(f"kernel k(out Y: f32[9, 8, 4]) {{ {nest} }}")
    lines = [line.strip() for line in more.splitlines()]
    assert lines[lines.index("pid = tl.program_id(0)") + 1 :][:3] == ["a = pid // 4 // 4", "b = 1 + pid // 4 % 4 * 2", "c = pid % 4"]
    assert "program_id" not in source("kernel k(out Y: f32[9]) { Y[i] over (i:9) = 1.0 }")


def test_parallel_loops_span_a_box():
    text = "kernel k(out Y: f32[9, 9]) { parallel a in 0 .. 9 { parallel b in 0 .. a { Y[a, b] over () = 1.0 } } }"
    with pytest.raises(Unsupported, match="depends on a loop around it"):
        source(text)


def test_what_is_the_same_in_all_steps_stands_before_the_loop():
    lines = [line for line in source(LINEAR).splitlines() if line.startswith("    ")]
    loop = next(position for position, line in enumerate(lines) if line.startswith("    for "))
    inside = [line.strip() for line in lines[loop + 1 :] if line.startswith("        ")]
    assert [line.split(" = ")[0] for line in inside] == ["X_1", "W_1", "acc"]
    attention = source(ATTENTION)
    assert attention.index("Q_1 = tl.load") < attention.index("for m in") < attention.index("K_1 = tl.load")


def test_loads_are_not_taken_out_of_loops_that_may_not_run(tmp_path):
    text = """kernel k(in X: f32[N], out Y: f32[8]) for N in 0..9 {
      block b: f32[]
      b[] over () = 0.0
      for n in 0 .. N { b[] over () sum= X[0] }
      Y[i] over (i:8) = b[]
    }"""
    written = source(text)
    assert written.index("for n in") < written.index("tl.load(X")
    certain = source(text.replace("N in 0..9", "N in 1..9"))
    assert certain.index("for n in") > certain.index("tl.load(X")


PRINT = """
import sys
from pathlib import Path
from tcomp.codegen.triton.kernel import TritonOptions, triton_unit
from tcomp.ir.parse.tile import parse_kernel
for path in sys.argv[1:]:
    print(triton_unit(parse_kernel(Path(path).read_text()), TritonOptions()).source)
"""


def test_texts_do_not_depend_on_the_order_of_sets(tmp_path):
    (tmp_path / "attention.txt").write_text(ATTENTION)
    (tmp_path / "interface.txt").write_text(INTERFACE)
    paths = [*(GOLDENS / name for name in NAMES), *tmp_path.glob("*.txt")]
    texts = {
        subprocess.run(
            [sys.executable, "-c", PRINT, *map(str, paths)], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("0", "1", "2", "3")
    }
    assert len(texts) == 1


def test_a_module_is_the_texts_of_its_units():
    units = [triton_unit(parse_kernel(text), TritonOptions()) for text in (LINEAR, ATTENTION, LINEAR)]
    text = module_source(units)
    assert text.count(f"def {units[0].symbol}(") == 1 and units[1].source in text
    compile(text, "module", "exec")

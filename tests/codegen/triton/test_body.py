"""Loops, buffers and blocks in Triton."""

import re

from triton_statements import check

from tcomp.codegen.triton.body import buffer_offsets
from tcomp.codegen.triton.kernel import TritonOptions, triton_unit
from tcomp.ir.parse.tile import parse_kernel


def lines(text):
    return [line.strip() for line in triton_unit(parse_kernel(text), TritonOptions()).source.splitlines() if line.startswith("    ")]


def test_blocks_have_values_before_loops_that_change_them(tmp_path):
    text = """kernel k(in X: f32[6, 4], out Y: f32[4], out B: bool[4]) {
      block s: f32[i.0:4]
      block b: bool[i.0:4]
      for t in 0 .. 6 {
        block fresh: f32[i.0:4]
        fresh[i.0] over (i.0:4) = X[t, i.0]
        s[i.0] over (i.0:4) = fresh[i.0] + 1.0
        b[i.0] over (i.0:4) = s[i.0] > 0.0
      }
      Y[i.0] over (i.0:4) = s[i.0]
      B[i.0] over (i.0:4) = b[i.0]
    }"""
    found = lines(text)
    loop = next(position for position, line in enumerate(found) if line.startswith("for t"))
    assert "s = tl.full((4,), 0.0, tl.float32)" in found[:loop] and "b = tl.full((4,), False, tl.int1)" in found[:loop]
    assert not any(line.startswith("fresh") for line in found[:loop])
    check(text, tmp_path)


def test_a_block_that_is_merged_before_it_was_set_starts_at_zero():
    """Nobody should; but a name without a value would not compile."""
    text = "kernel k(in X: f32[4], out Y: f32[4]) { block s: f32[i:4] s[i] over (i:4) sum= X[i] Y[i] over (i:4) = s[i] }"
    assert "s = tl.full((4,), 0.0, tl.float32)" in lines(text)


def test_each_block_and_loop_has_a_name_of_its_own(tmp_path):
    text = """kernel k(in X: f32[6, 4], out Y: f32[6, 4], out Z: f32[6]) {
      for t in 0 .. 6 {
        block s: f32[i.0:4]
        s[i.0] over (i.0:4) = X[t, i.0]
        Y[t, i.0] over (i.0:4) = s[i.0]
      }
      for t in 0 .. 6 {
        block s: f32[]
        s[] over () = X[t, 0]
        Z[t] over () = s[]
      }
    }"""
    found = lines(text)
    assert [line for line in found if line.startswith("for")] == ["for t in range(0, 6):", "for t_1 in range(0, 6):"]
    assert len({line.split(" = ")[0] for line in found if re.match(r"s(_\d+)? = ", line)}) == 2
    check(text, tmp_path)


def test_equal_buffers_share_their_place_and_others_follow_each_other():
    text = """kernel k(in X: f32[4], out Y: f32[4]) {
      for t in 0 .. 2 { buffer b: f32[17] b[i] over (i:4) = X[i] Y[i] over (i:4) = b[i] }
      for t in 0 .. 2 { buffer b: f32[17] b[i] over (i:4) = X[i] Y[i] over (i:4) = b[i] }
      buffer c: i8[3]
      c[i] over (i:3) = 1:i8
    }"""
    offsets, total = buffer_offsets(parse_kernel(text))
    assert sorted((buffer.name, offset) for buffer, offset in offsets.items()) == [("b", 0), ("c", 128)] and total == 192
    pointers = [line for line in lines(text) if "pointer_type" in line]
    assert len(pointers) == 3 and pointers[2] == "c = tl.cast(scratch + tl.cast(pid, tl.int64) * 192 + 128, tl.pointer_type(tl.int8))"


def test_hints_are_left_out():
    assert not any("X" in line for line in lines("kernel k(in X: f32[4], out Y: f32[4]) { prefetch X[0] Y[i] over (i:4) = 1.0 }")[2:])

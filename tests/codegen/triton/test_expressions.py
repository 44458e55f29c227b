"""What expressions look like in Triton: masks where they are needed, loads and operations that are shared, names for long ones."""

import re

import pytest
from triton_statements import check

from tcomp.codegen.triton.kernel import TritonOptions, triton_unit
from tcomp.ir.parse.tile import parse_kernel


def body(text):
    source = triton_unit(parse_kernel(text), TritonOptions()).source
    return [line.strip() for line in source.split("):\n", 1)[1].splitlines()]


def loads(text, name="X"):
    return [line for line in body(text) if f"tl.load({name}" in line]


def test_sizes_that_divide_need_no_masks():
    text = """kernel k(in X: f32[64, 32], out Y: f32[64, 32]) {
      parallel m in 0 .. 64 step 16 { Y[m + i, j] over (i:16, j:32) = X[m + i, j] * 2.0 }
    }"""
    assert not any("mask" in line for line in body(text))


def test_only_axes_with_a_limit_or_padding_are_masked():
    text = """kernel k(in X: f32[60, 32], out Y: f32[60, 32]) {
      parallel m in 0 .. 60 step 16 { Y[m + i, j] over (i:16 < 60 - m, j:32) = X[m + i, j] * 2.0 }
    }"""
    assert [line for line in body(text) if line.startswith(("i_mask", "j_mask"))] == ["i_mask_1 = i[:, None] < 60 - m"]
    padded = "kernel k(in X: f32[5, 8], out Y: f32[5, 8]) { Y[i, j] over (i:5, j:8) = X[i, j] }"
    assert [line for line in body(padded) if "_mask" in line and "<" in line] == ["i_mask_1 = i[:, None] < 5"]


def test_a_load_is_not_masked_where_it_stays_inside_beyond_the_limit():
    text = "kernel k(in X: f32[{size}], out Y: f32[64]) {{ for t in 0 .. 3 {{ Y[i] over (i:16 < 10 - t) = X[i + 16*t] }} }}"
    assert "mask" not in loads(text.format(size=48))[0]
    assert "mask" in loads(text.format(size=47))[0]


def test_masked_elements_are_what_the_fold_ignores():
    for monoid, fill in (("sum", "0.0"), ("max", 'float("-inf")'), ("min", 'float("inf")'), ("prod", "1.0")):
        text = f"kernel k(in X: f32[4, 20], out Y: f32[4]) {{ Y[i] over (i:4) = {monoid}(j:20) X[i, j] }}"
        assert loads(text)[0].endswith(f"other={fill})") and not any("tl.where" in line for line in body(text))
    squares = "kernel k(in X: f32[4, 20], out Y: f32[4]) { Y[i] over (i:4) = sum(j:20) X[i, j] * X[i, j] }"
    assert not any("tl.where" in line for line in body(squares))
    exponentials = "kernel k(in X: f32[4, 20], out Y: f32[4]) { Y[i] over (i:4) = sum(j:20) exp(X[i, j]) }"
    assert any("tl.where" in line for line in body(exponentials))


def test_infinity_is_filled_in_through_conversions_that_keep_it():
    text = "kernel k(in X: {dtype}[4, 20], out Y: f32[4]) {{ Y[i] over (i:4) = max(j:20) f32(X[i, j]) }}"
    assert 'other=float("-inf")' in loads(text.format(dtype="bf16"))[0]
    assert "other=0.0" in loads(text.format(dtype="e4m3"))[0]


def test_elements_are_loaded_once_for_several_statements(tmp_path):
    text = """kernel k(in X: f32[4, 20], out Y: f32[4, 20], out S: f32[4]) {
      block s: f32[i:4]
      s[i] over (i:4) = sum(j:20) X[i, j]
      Y[i, j] over (i:4, j:20) = X[i, j] - s[i]
      S[i] over (i:4) = sum(j:20) X[i, j] * X[i, j]
    }"""
    assert len(loads(text)) == 1
    check(text, tmp_path, rounding=16)


@pytest.mark.parametrize(
    "second",
    [
        "Y[i, j] over (i:4, j:16) = X[i, j]",
        "Y[i, j] over (i:4, j:16 < 9) = X[i, j]",
        "S[i] over (i:4) = max(j:16 < 7) X[i, j]",
        "Y[i, j] over (i:4, j:16 < 7) = (X[i, j + 10] else 0.0)",
    ],
)
def test_elements_are_loaded_again_where_others_exist_or_another_number_is_wanted(second, tmp_path):
    text = f"""kernel k(in X: f32[4, 16], inout Y: f32[4, 16], inout S: f32[4]) {{
      S[i] over (i:4) = sum(j:16 < 7) X[i, j] * X[i, j]
      {second}
    }}"""
    assert len(loads(text)) == 2
    check(text, tmp_path)


def test_memory_that_was_written_is_loaded_again(tmp_path):
    text = """kernel k(in X: f32[8], inout Y: f32[8], out Z: f32[8]) {
      Z[i] over (i:8) = Y[i]
      Y[i] over (i:8) = X[i] + Y[i]
      Z[i] over (i:8) = Y[i]
    }"""
    assert len(loads(text, "Y")) == 2
    check(text, tmp_path)


def test_operations_that_are_used_twice_and_long_ones_have_names(tmp_path):
    text = """kernel k(in X: f32[8], out Y: f32[8]) {
      Y[i] over (i:8) = exp(X[i]) * exp(X[i]) + ((((X[i] * 2.0 + 1.0) * 3.0 + 2.0) * 4.0 + 3.0) * 5.0 + 4.0) * 6.0
    }"""
    found = body(text)
    assert sum("tl.exp" in line for line in found) == 1 and any(re.match(r"exp_1 = ", line) for line in found)
    assert any(re.match(r"(add|mul)_1 = ", line) for line in found)
    check(text, tmp_path)


def test_what_is_the_same_in_all_steps_is_computed_before_the_loop(tmp_path):
    text = """kernel k(in X: f32[8], in W: f32[6, 8], out Y: f32[6, 8]) {
      for t in 0 .. 6 { Y[t, i] over (i:8) = exp(X[i]) * W[t, i] }
    }"""
    found = body(text)
    loop = next(position for position, line in enumerate(found) if line.startswith("for"))
    assert any("tl.exp" in line for line in found[:loop]) and not any("tl.exp" in line for line in found[loop:])
    check(text, tmp_path)


def test_indices_are_compared_in_their_own_width():
    text = "kernel k(out Y: bool[8, 8]) { Y[i, j] over (i:8, j:8) = i64[i] <= i64[j + 3] }"
    assert any("i[:, None] <= j[None, :] + 3" in line for line in body(text))
    wide = "kernel k(out Y: bool[8]) { Y[i] over (i:8) = i64[i] <= 9223372036854775807 }"
    assert any("tl.int64" in line for line in body(wide))

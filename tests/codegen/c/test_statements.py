"""Statements of every shape, compiled and compared with the evaluator: tails, limits, gathers, scatters, reductions, buffers."""

import numpy
import pytest
from c_programs import Run, run_compiled

from tcomp.ir.check.tile import check_kernel
from tcomp.ir.evaluate.arrays import round_float, storage
from tcomp.ir.evaluate.expressions import Environment, evaluate_index
from tcomp.ir.evaluate.tile import evaluate_kernel
from tcomp.ir.parse.tile import parse_kernel

SIZES = {"N": (1, 15, 16, 17, 70)}

KERNELS = {
    "map_tail": "in X: f32[37], out Y: f32[37] { Y[i.0] over (i.0:37) = X[i.0] * 2.0 + 1.0 }",
    "map_small": "in X: f32[3], out Y: f32[3] { Y[i.0] over (i.0:3) = X[i.0] * 2.0 }",
    "map_symbolic": """in X: f32[N], out Y: f32[N] for N in 1.. {
        parallel i in 0 .. N step 64 { Y[i + i.0] over (i.0:64 < N - i) = exp(X[i + i.0]) } }""",
    "map_static_tail": """in X: f32[70, 5], out Y: f32[70, 5] {
        parallel i in 0 .. 70 step 32 { parallel j in 0 .. 5 step 2 {
          Y[i + i.0, j + j.0] over (i.0:32 < 70 - i, j.0:2 < 5 - j) = X[i + i.0, j + j.0] + 1.0 } } }""",
    "counted_tail": """in X: f32[9, 100], out Y: f32[9, 100] { parallel r in 0 .. 3 { parallel i in 0 .. 4 {
        Y[4*r + r.0, 32*i + i.0] over (r.0:4 < 9 - 4*r, i.0:32 < 100 - 32*i) = X[4*r + r.0, 32*i + i.0] * 2.0 } } }""",
    "two_limits": """in X: f32[N, M], out Y: f32[N, M] for N in 1.., M in 1.. {
        parallel i in 0 .. N step 4 { parallel j in 0 .. M step 32 {
          block t: f32[i.0:4, j.0:32]
          t[i.0, j.0] over (i.0:4 < N - i, j.0:32 < M - j) = X[i + i.0, j + j.0] * 3.0
          Y[i + i.0, j + j.0] over (i.0:4 < N - i, j.0:32 < M - j) = t[i.0, j.0] - 1.0 } } }""",
    "tail_or_constant": """in X: f32[5, 70], in C: bool[5], out Y: f32[5, 70] { parallel k in 0 .. 5 { parallel i in 0 .. 70 step 48 {
        block t: f32[i.0:48]
        t[i.0] over (i.0:48 < 70 - i) = X[k, i + i.0] * 2.0
        Y[k, i + i.0] over (i.0:48 < 70 - i) = select(C[k], -inf, t[i.0]) } } }""",
    "transpose": """in X: f32[19, 21], out Y: f32[21, 19] {
        parallel i in 0 .. 19 { Y[j.0, i] over (j.0:21) = X[i, j.0] } }""",
    "transpose_read": """in X: f32[19, 21], out Y: f32[21, 19] {
        parallel j in 0 .. 21 { Y[j, i.0] over (i.0:19) = X[i.0, j] } }""",
    "strided_narrow": "in X: bf16[19, 3], out Y: i8[19] { Y[i.0] over (i.0:19) = i8(f32(X[i.0, 1]) * 10.0) }",
    "pairs_taken_apart": """in X: f32[37, 2], out Y: f32[37], out Z: f32[37] {
        Y[i.0] over (i.0:37) = X[i.0, 0] * 2.0 Z[i.0] over (i.0:37) = X[i.0, 1] }""",
    "pairs_put_together": """in X: f64[37], in I: i32[37], out Y: f64[37, 2], out Z: i32[37, 2] {
        Y[i.0, c.0] over (c.0:2, i.0:37) = select(i64[c.0] == 0, X[i.0], -X[i.0])
        Z[i.0, c.0] over (c.0:2, i.0:37) = select(i64[c.0] > 0, I[i.0], 7:i32) }""",
    "pairs_multiplied": """in X: f32[N, 2], in Y: f32[3, N, 2], out Z: f32[3, N, 2] for N in 1.. {
        parallel k in 0 .. 3 { parallel i in 0 .. N step 64 {
          Z[k, i + i.0, c.0] over (c.0:2, i.0:64 < N - i) = select(i64[c.0] == 0,
            X[i + i.0, 0] * Y[k, i + i.0, 0] - X[i + i.0, 1] * Y[k, i + i.0, 1],
            X[i + i.0, 0] * Y[k, i + i.0, 1] + X[i + i.0, 1] * Y[k, i + i.0, 0]) } } }""",
    "pairs_in_place": """inout X: f32[53, 2] {
        X[i.0, c.0] over (c.0:2, i.0:53) = select(i64[c.0] == 0, X[i.0, 1], X[i.0, 0] * 2.0) }""",
    "pairs_summed": """in X: f32[5, 71, 2], out Y: f32[5, 2] { parallel k in 0 .. 5 {
        block t: f32[c.0:2, i.0:32]
        t[c.0, i.0] over (c.0:2, i.0:32) = 0.0
        for i in 0 .. 71 step 32 {
          t[c.0, i.0] over (c.0:2, i.0:32 < 71 - i) sum= X[k, i + i.0, c.0] }
        Y[k, c.0] over (c.0:2) = sum(i.0:32) t[c.0, i.0] } }""",
    "pairs_turned": """in X: f32[21, 19, 2], out Y: f32[19, 21, 2] { parallel i in 0 .. 19 {
        Y[i, j.0, c.0] over (c.0:2, j.0:21) = X[j.0, i, c.0] } }""",
    "pairs_of_every_other": "in X: f64[40, 2], out Y: f64[20, 2] { Y[i.0, c.0] over (c.0:2, i.0:20) = X[2*i.0 + 1, c.0] }",
    "pairs_backwards": "in X: i32[40, 2], out Y: i32[40, 2] { Y[i.0, c.0] over (c.0:2, i.0:40) = X[39 - i.0, c.0] }",
    "pairs_gathered": """in I: i64[35], in X: f32[5, 2], out Y: f32[35, 2] {
        Y[i.0, c.0] over (c.0:2, i.0:35) = X[I[i.0], c.0] }""",
    "pairs_outside": """in X: f32[30, 2], out Y: f32[37, 2] {
        Y[i.0, c.0] over (c.0:2, i.0:37) = (X[i.0 - 3, c.0] else 5.0) }""",
    "pairs_of_narrow": "in X: bf16[37, 2], out Y: bf16[37, 2] { Y[i.0, c.0] over (c.0:2, i.0:37) = X[i.0, 1 - c.0] }",
    "pairs_where": """in X: f32[37, 2], inout Y: f32[37, 2] {
        Y[i.0, c.0] over (c.0:2, i.0:37) = X[i.0, c.0] where X[i.0, 0] > 0.0 }""",
    "reverse": "in X: f32[40], out Y: f32[40] { Y[i.0] over (i.0:40) = X[39 - i.0] }",
    "quotients": """in X: f32[7, 6], out Y: f32[42] { parallel i in 0 .. 42 step 21 {
        Y[i + i.0] over (i.0:21) = X[(i + i.0) // 6, (i + i.0) % 6] } }""",
    "quotients_symbolic": """in X: f32[N, 6], out Y: f32[6*N] for N in 1.. { parallel i in 0 .. 6*N step 16 {
        Y[i + i.0] over (i.0:16 < 6*N - i) = X[(i + i.0) % N, (i + i.0) // N] } }""",
    "diagonal": "in X: f32[20, 20], out Y: f32[20] { Y[i.0] over (i.0:20) = X[i.0, i.0] }",
    "symbolic_stride": """in X: f32[20, N], out Y: f32[20] for N in 1.. { Y[i.0] over (i.0:20) = X[i.0, N - 1] }""",
    "outside": """in X: f32[30], out Y: f32[34] { Y[i.0] over (i.0:34) = (X[i.0 - 2] else 5.0) }""",
    "outside_zero": """in X: f32[30], out Y: f32[34] { Y[i.0] over (i.0:34) = (X[i.0 - 2] else 0.0) }""",
    "outside_rows": """in X: f32[4, 40], out Y: f32[6, 44] { parallel r in 0 .. 6 {
        Y[r, i.0] over (i.0:44) = (X[r - 1, i.0 - 2] else -inf) } }""",
    "outside_symbolic": """in X: f32[N], out Y: f32[N + 5] for N in 1.. { parallel i in 0 .. N + 5 step 16 {
        Y[i + i.0] over (i.0:16 < N + 5 - i) = (X[i + i.0 - 3] else 1.0) } }""",
    "outside_strided": """in X: f32[9, 11], out Y: f32[9, 6] { parallel p in 0 .. 9 {
        Y[p, q.0] over (q.0:6) = sum(r.0:3, s.0:3) (X[p + r.0 - 1, 2*q.0 + s.0 - 1] else 0.0) } }""",
    "outside_narrow": "in X: bf16[20], out Y: bf16[25] { Y[i.0] over (i.0:25) = (X[i.0 - 3] else 2.0) }",
    "outside_bool": "in X: bool[20], out Y: bool[25] { Y[i.0] over (i.0:25) = (X[i.0 - 3] else true) }",
    "outside_scalar": """in X: i32[5], out Y: i32[9] { parallel i in 0 .. 9 { Y[i] over () = (X[i - 2] else 7) } }""",
    "outside_periodic": """in X: f32[3], out Y: f32[40] { Y[i.0] over (i.0:40) = (X[i.0 % 5] else 9.0) }""",
    "gather_rows": """in I: i64[9], in X: f32[5, 33], out Y: f32[9, 33] { parallel r in 0 .. 9 {
        Y[r, i.0] over (i.0:33) = X[I[r], i.0] } }""",
    "gather_lanes": "in I: i64[35], in X: f32[5], out Y: f32[35] { Y[i.0] over (i.0:35) = X[I[i.0]] }",
    "gather_lanes_i32": "in I: i32[35], in X: f64[5, 2], out Y: f64[35] { Y[i.0] over (i.0:35) = X[I[i.0], i.0 % 2] }",
    "gather_narrow": "in I: i64[35], in X: bf16[5], out Y: f32[35] { Y[i.0] over (i.0:35) = f32(X[I[i.0]]) }",
    "gather_outside": "in I: i64[35], in X: f32[3], out Y: f32[35] { Y[i.0] over (i.0:35) = (X[I[i.0]] else 4.0) }",
    "gather_computed": "in I: i64[35], in X: f32[9], out Y: f32[35] { Y[i.0] over (i.0:35) = X[2*(I[i.0] % 3) + 1] }",
    "scatter_add": "in I: i64[35], in X: f32[35], inout Y: f32[5] { Y[I[i.0]] over (i.0:35) sum= X[i.0] }",
    "scatter_rows": "in I: i64[9], in X: f32[9, 20], inout Y: f32[5, 20] { Y[I[i.0], j.0] over (i.0:9, j.0:20) sum= X[i.0, j.0] }",
    "scatter_max_bf16": "in I: i64[35], in X: bf16[35], inout Y: bf16[5] { Y[I[i.0]] over (i.0:35) max= X[i.0] }",
    "scatter_set": "in P: i64[35], in X: f32[35], inout Y: f32[35] { Y[P[i.0]] over (i.0:35) = X[i.0] }",
    "collide": "in X: f32[4, 35], inout Y: f32[4] { Y[r.0] over (r.0:4, i.0:35) sum= X[r.0, i.0] }",
    "where_lanes": "in X: f32[35], in M: bool[35], inout Y: f32[35] { Y[i.0] over (i.0:35) = X[i.0] where M[i.0] }",
    "where_all": "in X: f32[35], in M: bool[1], inout Y: f32[35] { Y[i.0] over (i.0:35) sum= X[i.0] where M[0] }",
    "where_reduce": "in X: f32[9, 35], in M: bool[35], out Y: f32[9] { parallel r in 0 .. 9 {\n"
    "Y[r] over () = max(i.0:35) X[r, i.0] where M[i.0] } }",
    "where_block": """in X: f32[35], in M: bool[35], out Y: f32[35] { block t: f32[i.0:35]
        t[i.0] over (i.0:35) = 1.0
        t[i.0] over (i.0:35) sum= X[i.0] where M[i.0]
        Y[i.0] over (i.0:35) = t[i.0] }""",
    "rows": """in X: f32[9, 100], out Y: f32[9] { parallel r in 0 .. 9 {
        block s: f32[]
        s[] over () = 0.0
        for k in 0 .. 100 step 32 { s[] over () sum= sum(k.0:32 < 100 - k) X[r, k + k.0] }
        Y[r] over () = s[] / 100.0 } }""",
    "rows_symbolic": """in X: f32[9, N], out Y: f32[9] for N in 1.. { parallel r in 0 .. 9 {
        block s: f32[k.0:32]
        s[k.0] over (k.0:32) = 0.0
        for k in 0 .. N step 32 { s[k.0] over (k.0:32 < N - k) sum= X[r, k + k.0] }
        Y[r] over () = sum(k.0:32) s[k.0] } }""",
    "columns": "in X: f32[9, 35], out Y: f32[35] { Y[i.0] over (i.0:35) = prod(r.0:9) X[r.0, i.0] }",
    "long_reduction": "in X: f32[3000], out Y: f32[1] { Y[0] over () = max(i.0:3000) X[i.0] }",
    "many_points": "in X: f32[700, 3], out Y: f32[700, 3] { Y[i.0, j.0] over (i.0:700, j.0:3) = X[i.0, j.0] + 1.0 }",
    "many_reduced": "in X: f32[700, 20], out Y: f32[20] { Y[j.0] over (j.0:20) = sum(i.0:700) X[i.0, j.0] }",
    "row_block": """in X: f32[8, 20], out Y: f32[8, 20] {
        block s: f32[r.0:8, i.0:20]
        block g: f32[r.0:8]
        s[r.0, i.0] over (r.0:8, i.0:20) = X[r.0, i.0]
        g[r.0] over (r.0:8) = max(i.0:20) s[r.0, i.0]
        g[r.0] over (r.0:8) = g[r.0] * 2.0
        Y[r.0, i.0] over (r.0:8, i.0:20) = s[r.0, i.0] - g[r.0] }""",
    "mask_block": """in X: f32[5, 20], out Y: bool[5, 20], out Z: bool[5] {
        block p: bool[r.0:5, i.0:20]
        block q: bool[r.0:5]
        p[r.0, i.0] over (r.0:5, i.0:20) = X[r.0, i.0] > 0.0
        q[r.0] over (r.0:5) = X[r.0, 0] > X[r.0, 1]
        Y[r.0, i.0] over (r.0:5, i.0:20) = select(q[r.0], p[r.0, i.0], !p[r.0, i.0])
        q[r.0] over (r.0:5) xor= xor(i.0:20) p[r.0, i.0]
        Z[r.0] over (r.0:5) = q[r.0] }""",
    "bool_folds": """in M: bool[5, 35], out A: bool[5], out B: bool[5], out C: bool[5] { parallel r in 0 .. 5 {
        A[r] over () = any(i.0:35) M[r, i.0]
        B[r] over () = all(i.0:35) M[r, i.0]
        C[r] over () = xor(i.0:35) M[r, i.0] } }""",
    "transposed_block": """in X: f32[8, 32], out Y: f32[32, 8] {
        block t: f32[r.0:8, i.0:32]
        t[r.0, i.0] over (r.0:8, i.0:32) = X[r.0, i.0]
        Y[i.0, r.0] over (i.0:32, r.0:8) = t[r.0, i.0] }""",
    "staged": """in X: f32[40, 50], out Y: f32[50, 40] { parallel b in 0 .. 40 step 8 {
        buffer t: f32[50, 8]
        for j in 0 .. 50 { t[j, i.0] over (i.0:8) = X[b + i.0, j] }
        for j in 0 .. 50 step 25 { Y[j + j.0, b + i.0] over (j.0:25, i.0:8) = t[j + j.0, i.0] } } }""",
    "large_buffer": """in X: f32[2, 100000], out Y: f32[2, 100000] { parallel b in 0 .. 2 {
        buffer t: f32[100000]
        for i in 0 .. 100000 step 16 { t[i + i.0] over (i.0:16) = X[b, i + i.0] * 2.0 }
        for i in 0 .. 100000 step 16 { Y[b, i + i.0] over (i.0:16) = t[99999 - i - i.0] } } }""",
    "shift": "inout Y: f32[40] { Y[i.0] over (i.0:39) = Y[i.0 + 1] }",
    "running": "in X: f32[40], out Y: f32[40] { block s: f32[]\n s[] over () = 0.0\n"
    "for i in 0 .. 40 { s[] over () sum= X[i]\n Y[i] over () = s[] } }",
    "ordinals": """in X: f32[40], out Y: f32[40], out Z: i64[40] { parallel i in 0 .. 40 step 20 {
        Y[i + i.0] over (i.0:20) = select(i64[i + i.0] >= i64[7], X[i + i.0], f32[i + i.0])
        Z[i + i.0] over (i.0:20) = i64[(i + i.0) % 3] * 2 } }""",
    "orders": """out A: bool[8, 20], out B: bool[8, 20], out C: bool[8, 20], out D: bool[8, 20] { parallel r in 0 .. 8 {
        A[r, i.0] over (i.0:20) = i64[i.0] < i64[r + 3]
        B[r, i.0] over (i.0:20) = i64[i.0] <= i64[r + 3]
        C[r, i.0] over (i.0:20) = i64[r + 3] > i64[i.0]
        D[r, i.0] over (i.0:20) = i64[r + 3] <= i64[i.0] } }""",
    "mixed_widths": """in X: f32[35], in I: i64[35], in H: f16[35], in U: u8[35], out Y: f64[35], out Z: i64[35] {
        Y[i.0] over (i.0:35) = f64(X[i.0]) + f64(I[i.0]) * f64(f32(H[i.0]))
        Z[i.0] over (i.0:35) = select(X[i.0] > f32(U[i.0]), I[i.0], i64(U[i.0])) }""",
    "wrapping": """in A: i8[35], in B: i8[35], out Y: i32[35], out Z: u8[35] {
        Y[i.0] over (i.0:35) = i32(A[i.0] * B[i.0] + A[i.0])
        Z[i.0] over (i.0:35) = u8(A[i.0]) - u8(B[i.0]) }""",
    "bf16_rounds_each_step": """in X: bf16[35], in W: bf16[35], out Y: bf16[35], out Z: f32[35] {
        Y[i.0] over (i.0:35) = (X[i.0] * W[i.0] + X[i.0]) / W[i.0]
        Z[i.0] over (i.0:35) = f32(X[i.0] * W[i.0]) + 1.0 }""",
    "bf16_matmul": """in X: bf16[12, 40], in W: bf16[40, 32], out Y: bf16[12, 32] { parallel m in 0 .. 12 step 6 {
        block acc: f32[m.0:6, n.0:32]
        acc[m.0, n.0] over (m.0:6, n.0:32) = 0.0
        for k in 0 .. 40 { acc[m.0, n.0] over (m.0:6, n.0:32) sum= f32(X[m + m.0, k]) * f32(W[k, n.0]) }
        Y[m + m.0, n.0] over (m.0:6, n.0:32) = bf16(acc[m.0, n.0]) } }""",
    "matmul_k_unrolled": """in X: f32[N, 35], in W: f32[35, 40], out Y: f32[N, 40] for N in 1.. { parallel m in 0 .. N step 4 {
        block acc: f32[m.0:4, n.0:40]
        acc[m.0, n.0] over (m.0:4, n.0:40) = 0.0
        for k in 0 .. 35 step 4 {
          acc[m.0, n.0] over (m.0:4 < N - m, n.0:40) sum= sum(k.0:4 < 35 - k) X[m + m.0, k + k.0] * W[k + k.0, n.0] }
        Y[m + m.0, n.0] over (m.0:4 < N - m, n.0:40) = maximum(acc[m.0, n.0], 0.0) } }""",
    "dot_products": """in X: f32[4, 64], in W: f32[4, 64], out Y: f32[4, 4] {
        Y[i.0, j.0] over (i.0:4, j.0:4) = sum(k.0:64) X[i.0, k.0] * W[j.0, k.0] }""",
    "triangle": """in X: f32[6, 6], out Y: f32[6] { parallel i in 0 .. 6 { block s: f32[]
        s[] over () = 0.0
        for j in 0 .. i + 1 { s[] over () sum= X[i, j] }
        Y[i] over () = s[] } }""",
    "names": """in float: f32[5], in begin: f32[5], in X.1: f32[5], in X_1: f32[5], out vf32: f32[5] {
        vf32[lane] over (lane:5) = float[lane] + begin[lane] * X.1[lane] + X_1[lane] }""",
}


def make_array(argument, shape, random):
    dtype, held = argument.dtype, storage(argument.dtype)
    if argument.name == "P":
        return random.permutation(shape[0]).astype(held)
    if argument.name == "I":
        return random.integers(0, 5, shape).astype(held)
    if dtype.kind == "bool":
        return random.random(shape) < 0.5
    if dtype.kind == "int":
        low, high = (-100, 100) if dtype.signed else (0, 200)
        return random.integers(low, high, shape).astype(held)
    return round_float(random.standard_normal(shape).astype(held), dtype) if dtype.bits < 32 else random.standard_normal(shape).astype(held)


def cases():
    for name, text in KERNELS.items():
        signature, body = text.split(" {", 1)
        parameters, _, symbols = signature.partition(" for ")
        kernel = parse_kernel(f"kernel {name}({parameters}){' for ' + symbols if symbols else ''} {{{body}")
        sizes = [{}] if not symbols else [{"N": n, "M": m} for n, m in ((1, 1), (15, 33), (16, 64), (17, 5), (70, 40))]
        for size in sizes:
            yield kernel, {symbol.name: size[symbol.name] for symbol in kernel.symbols}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize(("kernel", "symbols"), list(cases()), ids=lambda v: getattr(v, "name", None) or "-".join(map(str, v.values())))
def test_statements(kernel, symbols, folder):
    check_kernel(kernel)
    random = numpy.random.default_rng(0)
    arrays = {}
    for argument in kernel.arguments:
        shape = tuple(int(evaluate_index(e, Environment(symbols, {}, None))) for e in argument.shape)
        arrays[argument.name] = make_array(argument, shape, random)
    expected = {name: array.copy() for name, array in arrays.items()}
    evaluate_kernel(kernel, expected, symbols)
    assert run_compiled([Run(kernel, arrays, symbols)], folder) == 0
    for argument in kernel.arguments:
        # A sum of 100 terms of size 1 rounds by at most 2**-24 of its value at each addition.
        tolerance = 100 * 4 * 2.0**-24 if argument.dtype.is_float and argument.dtype.bits >= 32 else argument.dtype.epsilon
        numpy.testing.assert_allclose(
            arrays[argument.name].astype(float), expected[argument.name].astype(float), rtol=tolerance, atol=tolerance
        )

"""Cascades whose guessed schedules have, all together, every clause that there is, by fake measures where a GPU would be asked."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from tcomp.ir.cascade import Cascade
from tcomp.ir.parse.cascade import parse_cascade
from tcomp.ir.schedule import Schedule
from tcomp.ir.target import Cpu, Target
from tcomp.passes.pipeline import compile_cascade
from tcomp.passes.program import Compiled
from tests.gpu_groups import HOPPER
from tests.gpu_groups import SMALL as SMALL_GPU
from tests.program_runner import small_target

SMALL_CPU = small_target()
TINY = Cpu("tiny", "x86_64", 128, 16, 2, 32 << 10, 1 << 10, 8 << 20, "cc")
"""A CPU whose cache holds a few rows or steps of what follows."""


@dataclass(frozen=True)
class Case:
    """A cascade, the machine for which its schedule has the clauses, and how it is compiled."""

    text: str
    target: Target
    clauses: tuple[str, ...]
    """Texts in the schedule."""
    options: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def cascade(self) -> Cascade:
        return parse_cascade(self.text)

    @cached_property
    def compiled(self) -> Compiled:
        return compile_cascade(self.cascade, {}, self.target, **self.options)

    @property
    def schedule(self) -> Schedule:
        return self.compiled.schedule


def prefer_library(trials):
    """A library that takes no time, and maps that take none either; all else takes a second."""
    return [0.0 if product is not None or "sum=" not in str(kernel) else 1.0 for kernel, product in trials]


def prefer_turns(trials):
    """Kernels whose instances walk several tiles are the fastest."""
    return [0.0 if "for tile in instance" in str(kernel) else 1.0 for kernel, product in trials]


CHOSEN = """cascade c(E: i64[6], X: f32[6, 16, 40], weight W: f32[4, 64, 40]) -> (Z) {
  Z: f32[b:6, i:16, n:64] = sum(j:40) X[b, i, j] * W[E[b], n, j]
}"""
"""Each of six products takes one of four matrices."""

ATTENTION = """cascade c(Q: f32[3, 24, 16], K: f32[3, 42, 16], V: f32[3, 42, 20]) -> (Z) {
  S: f32[h:3, i:24, j:42] = sum(e:16) Q[h, i, e] * K[h, j, e]
  M: f32[h:3, i:24] = max(j:42) S[h, i, j]
  E: f32[h:3, i:24, j:42] = exp(S[h, i, j] - M[h, i])
  D: f32[h:3, i:24] = sum(j:42) E[h, i, j]
  A: f32[h:3, i:24, j:42] = E[h, i, j] / D[h, i]
  Z: f32[h:3, i:24, d:20] = sum(j:42) A[h, i, j] * V[h, j, d]
}"""
LINEAR = """cascade c(X: f32[16, 20], weight W: f32[64, 20], C: f32[64]) -> (Z) {
  Y: f32[m:16, n:64] = sum(k:20) X[m, k] * W[n, k]
  Z: f32[m:16, n:64] = maximum(Y[m, n] + C[n], 0.0)
}"""
PRODUCT = """cascade c(X: f32[3, 150, 40], W: f32[3, 40, 70], C: f32[70]) -> (Z) {
  Y: f32[b:3, m:150, n:70] = sum(k:40) X[b, m, k] * W[b, k, n]
  Z: f32[b:3, m:150, n:70] = maximum(Y[b, m, n] + C[n], 0.0)
}"""
TURNS = """cascade c(X: f32[512, 64], W: f32[64, 512]) -> (Z) {
  Z: f32[m:512, n:512] = sum(k:64) X[m, k] * W[k, n]
}"""
CONVOLUTION = """cascade c(X: f32[2, 5, 12, 11], W: f32[7, 5, 3, 3]) -> (Z) {
  Z: f32[n:2, k:7, p:12, q:11] = sum(c:5, r:3, s:3) (X[n, c, p + r - 1, q + s - 1] else 0.0) * W[k, c, r, s]
}"""
BACKWARD = """cascade c(G: f32[640, 8], K: f32[8, 640], P: f32[640, 640], V: f32[640, 8]) -> (Y, Z) {
  A: f32[i:640, j:640] = sum(k:8) G[i, k] * K[k, j]
  B: f32[i:640, j:640] = A[i, j] * P[i, j]
  S: f32[i:640] = sum(j:640) B[i, j]
  D: f32[i:640, j:640] = B[i, j] - P[i, j] * S[i]
  Y: f32[i:640, k:8] = sum(j:640) D[i, j] * V[j, k]
  Z: f32[i:640, k:8] = sum(j:640) D[j, i] * V[j, k]
}"""
NIBBLES = """cascade c(X: f32[6, 64], weight P: u8[8, 32], weight s: f32[8, 2]) -> (Z) {
  W: f32[n:8, k:64] = f32(and(shr(i32(P[n, k // 2]), i32[4*(k % 2)]), 15:i32)) * s[n, k // 32]
  Z: f32[m:6, n:8] = sum(k:64) X[m, k] * W[n, k]
}"""
DISTANCES = """cascade c(X: f32[24, 30]) -> (Z) {
  R: f32[i:24] = sum(k:5) f32(i64[i + k])
  D: f32[i:24, j:30] = f32(i64[i - j]) * R[i]
  Z: f32[i:24, j:30] = X[i, j] * D[i, j]
}"""
STRIDED = """cascade c(X: f32[6, 24], W: f32[8], V: f32[8]) -> (Z) {
  A: f32[i:6, j:8] = W[j] * X[i, 3*j]
  B: f32[i:6, j:8] = V[j] * X[i, 3*j + 1]
  Z: f32[i:6, j:8] = A[i, j] + B[i, j]
}"""
ROUNDED = """cascade c(X: bf16[24]) -> (Z) {
  A: bf16[i:24] = bf16(f32(X[i]) * 2.0)
  Z: bf16[i:24] = bf16(exp(f32(A[i])))
}"""
SOFTMAX = """cascade c(X: f32[6, 20]) -> (Z) {
  A: f32[p:6, m:20] = X[p, m] + 1.0
  S: f32[p:6] = sum(m:20) A[p, m]
  Z: f32[p:6, m:20] = A[p, m] * S[p]
}"""
TRANSPOSED = """cascade c(X: f32[12, 10], W: f32[10, 8]) -> (Z) {
  Y: f32[n:8, m:12] = sum(k:10) X[m, k] * W[k, n]
  E: f32[n:8, m:12] = exp(Y[n, 11 - m])
  Z: f32[n:8] = sum(m:12) E[7 - n, m]
}"""
STEPS = """cascade c(X: f32[48, 4, 16], W: f32[8, 16], H: f32[4, 8]) -> (Z) {
  P: f32[t:48, i:4, j:8] = sum(r:16) X[t, i, r] * W[j, r]
  iterate t:48 { S: f32[t + 1:49, i:4, j:8] = tanh(P[t, i, j] + 0.5 * S[t, i, 7 - j]) from H[i, j] }
  Z: f32[i:4, j:8] = S[48, i, j]
}"""
SCATTER = """cascade c(I: i64[30], V: f32[30, 6]) -> (Z) {
  Z: f32[I[i]:9, d:6] = sum(i:30) V[i, d] from 0.5
}"""

CASES = {
    "linear": Case(LINEAR, SMALL_CPU, ("pack Y (n:", "prelude {", "kernel", "contract(Y, Z)", "tile", "order", "parallel", "lanes")),
    "distances": Case(DISTANCES, TINY, ("expand (D)",)),
    "nibbles": Case(NIBBLES, HOPPER, ("prologue (W)", "contract(W, Z)")),
    "strided": Case(STRIDED, SMALL_CPU, ("group (A) sink",)),
    "long row": Case(
        "cascade c(X: f32[2, 1000000]) -> (Z) { Z: f32[p:2] = sum(m:1000000) X[p, m] }", SMALL_CPU, ("group (Z) parts (m:", "address")
    ),
    "long sum": Case("cascade c(X: f32[1048576]) -> (Z) { Z: f32[] = sum(m:1048576) X[m] }", HOPPER, ("group (Z) parts (m:", "address")),
    "sum": Case("cascade c(X: f32[256, 64]) -> (Z) { Z: f32[p:64] = sum(m:256) X[m, p] }", SMALL_CPU, ("partial (m:",)),
    "rounded": Case(ROUNDED, SMALL_CPU, ("wide (A)",)),
    "softmax": Case(SOFTMAX, SMALL_CPU, ("again (A)",)),
    "attention": Case(ATTENTION, replace(SMALL_CPU, l2=12000), ("chain(S | M, E, D, A | Z)",)),
    "attention on a GPU": Case(ATTENTION, HOPPER, ("chain(S | M, E, D, A | Z)", "warps", "stages")),
    "steps": Case(STEPS, TINY, ("steps 0 .. ", "hold (S)", "registers", "address")),
    "convolution": Case(CONVOLUTION, HOPPER, ("join n_p_q (n, p, q)", "join c_r_s (c, r, s)", "warps", "stages")),
    "product": Case(PRODUCT, HOPPER, ("group (Y, Z) apart", "library", "address"), {"measure": prefer_library}),
    "product in turns": Case(TURNS, SMALL_GPU, ("instances",), {"measure": prefer_turns}),
    "large product": Case(
        "cascade c(X: f32[4096, 64], W: f32[64, 4096]) -> (Z) { Z: f32[m:4096, n:4096] = sum(k:64) X[m, k] * W[k, n] }", HOPPER, ("group ",)
    ),
    "panels": Case(
        "cascade c(X: f32[6, 16, 40], W: f32[6, 64, 40]) -> (Z) { Z: f32[b:6, i:16, n:64] = sum(j:40) X[b, i, j] * W[b, n, j] }",
        replace(SMALL_CPU, vector_bits=256, l2=4096),
        ("prefetch (x1)",),
    ),
    "chosen by data": Case(CHOSEN, TINY, ("pack Z",)),
    "transposed": Case(TRANSPOSED, SMALL_CPU, ("layout Y (1, 0)", "address Y", "address E")),
    "backward": Case(BACKWARD, SMALL_CPU, ("address B 0", "address D 0", "arena")),
    "scatter": Case(SCATTER, SMALL_CPU, ("scatter(Z)",)),
    "scatter on a GPU": Case(SCATTER, HOPPER, ("fill(Z)", "scatter(Z)")),
}

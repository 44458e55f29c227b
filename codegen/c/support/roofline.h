/* Programs that measure what the machine can do, over the driver of program.h: one step, of which every thread gets an instance.
 *
 * TCOMP_PEAK of f32, f64 or bf16: multiply-adds on accumulators that stay in registers. symbols = {instances, rounds}; a round is
 * TCOMP_ACCUMULATORS vectors of them.
 * TCOMP_READ or TCOMP_COPY: read an array, or read one and write another. symbols = {instances, floats, walked}; a run goes on where the
 * one before has ended until so many floats are walked, each instance round and round its share of the array.
 */
#ifndef TCOMP_ROOFLINE_H
#define TCOMP_ROOFLINE_H

#include "program.h"

#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

#define TCOMP_F32 1
#define TCOMP_F64 2
#define TCOMP_BF16 3

/* Enough to hide the latency of a multiply-add on two ports; with both factors they fit 16 registers. */
#define TCOMP_ACCUMULATORS 12
#define TCOMP_EACH(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)

#define TCOMP_STEP_COUNT 1
#define TCOMP_MOST_PLACES 2
#define TCOMP_OFFSET_COUNT 0
#define TCOMP_SCRATCH_BYTES 1

static int64_t tcomp_count_instances(const int64_t *symbols) { return symbols[0]; }
static void tcomp_find_offsets(const int64_t *symbols, int64_t *offsets) { (void)symbols, (void)offsets; }
static void tcomp_measured(char *const *at, const int64_t *symbols, char *scratch, int32_t *fault, int64_t begin, int64_t end);

#if defined(TCOMP_PEAK)

#if TCOMP_PEAK == TCOMP_F64
typedef double tcomp_vector __attribute__((vector_size(4 * TCOMP_LANES)));
typedef double tcomp_element;
#else
typedef float tcomp_vector __attribute__((vector_size(4 * TCOMP_LANES)));
typedef float tcomp_element;
#endif

static void tcomp_measured(char *const *at, const int64_t *symbols, char *scratch, int32_t *fault, int64_t begin, int64_t end) {
  (void)scratch, (void)fault;
  /* Read from memory, so that no product is known before. */
  const tcomp_element scale = *(tcomp_element *)at[0], shift = ((tcomp_element *)at[0])[1];
#define TCOMP_BEGIN(k) tcomp_vector a##k = (tcomp_vector){0} + (tcomp_element)k;
  TCOMP_EACH(TCOMP_BEGIN)
#if TCOMP_PEAK == TCOMP_BF16
  const __m512bh x = (__m512bh)((tcomp_vector){0} + scale), y = (__m512bh)((tcomp_vector){0} + shift);
#define TCOMP_MULTIPLY(k) a##k = (tcomp_vector)_mm512_dpbf16_ps((__m512)a##k, x, y);
#else
  const tcomp_vector x = (tcomp_vector){0} + scale, y = (tcomp_vector){0} + shift;
#define TCOMP_MULTIPLY(k) a##k = a##k * x + y;
#endif
  for (int64_t i = begin; i < end; i++)
    for (int64_t round = 0; round < symbols[1]; round++) {
      TCOMP_EACH(TCOMP_MULTIPLY)
    }
  tcomp_vector total = {0};
#define TCOMP_ADD(k) total += a##k;
  TCOMP_EACH(TCOMP_ADD)
  tcomp_element sum = 0;
  for (unsigned lane = 0; lane < sizeof total / sizeof sum; lane++) sum += total[lane];
  ((tcomp_element *)at[1])[begin] = sum;
}

#else

typedef float tcomp_vector __attribute__((vector_size(4 * TCOMP_LANES)));

static void tcomp_measured(char *const *at, const int64_t *symbols, char *scratch, int32_t *fault, int64_t begin, int64_t end) {
  (void)scratch, (void)fault;
  const int64_t vectors = symbols[1] / TCOMP_LANES, first = vectors * begin / symbols[0], last = vectors * end / symbols[0];
  const tcomp_vector *from = (const tcomp_vector *)at[0];
  tcomp_vector *to = (tcomp_vector *)at[1];
#if !defined(TCOMP_COPY)
#define TCOMP_BEGIN(k) tcomp_vector a##k = {0};
  TCOMP_EACH(TCOMP_BEGIN)
#endif
  static _Thread_local int64_t next;
  if (next < first || next >= last) next = first;
  for (int64_t left = symbols[2] / TCOMP_LANES * (end - begin) / symbols[0]; left > 0 && first < last;) {
    /* What is walked again is read again, whatever the compiler knows of it. */
    __asm__ volatile("" : : : "memory");
    const int64_t stop = left < last - next ? next + left : last;
    int64_t i = next;
#if defined(TCOMP_COPY)
    /* Adding keeps it from becoming a call of memcpy, whose stores go past the caches, as those of kernels do not. */
    for (; i < stop; i++) to[i] = from[i] + 1.0f;
#else
#define TCOMP_TAKE(k) a##k += from[i + k];
    for (; i + TCOMP_ACCUMULATORS <= stop; i += TCOMP_ACCUMULATORS) {
      TCOMP_EACH(TCOMP_TAKE)
    }
    for (; i < stop; i++) a0 += from[i];
#endif
    left -= stop - next;
    next = stop < last ? stop : first;
  }
#if !defined(TCOMP_COPY)
  tcomp_vector total = {0};
#define TCOMP_ADD(k) total += a##k;
  TCOMP_EACH(TCOMP_ADD)
  to[begin] = total;
#endif
}

#endif

static const tcomp_place TCOMP_PLACES[] = {{0, -1, 0}, {1, -1, 0}};
static const tcomp_step TCOMP_STEPS[] = {{tcomp_measured, tcomp_count_instances, 0, 2, 0, 0}};
TCOMP_DEFINE_RUN

#endif

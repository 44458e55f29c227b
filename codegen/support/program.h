/* Runs a program: a table of steps over external tensors and an arena, in one parallel region.
 *
 * The source that includes this header defines the tables TCOMP_STEPS, TCOMP_PLACES and tcomp_find_offsets, the constants
 * TCOMP_STEP_COUNT, TCOMP_MOST_PLACES, TCOMP_OFFSET_COUNT and TCOMP_SCRATCH_BYTES, and then TCOMP_DEFINE_RUN.
 */
#ifndef TCOMP_PROGRAM_H
#define TCOMP_PROGRAM_H

#include <stdint.h>

#include "flush_to_zero.h"

#if defined(_OPENMP)
extern int omp_get_thread_num(void);
extern int omp_get_num_threads(void);
#else
static inline int omp_get_thread_num(void) { return 0; }
static inline int omp_get_num_threads(void) { return 1; }
#endif

/* Runs the instances [begin, end) of a kernel on the tensors `at`; `scratch` is memory of the calling thread. */
typedef void tcomp_call(char *const *at, const int64_t *symbols, char *scratch, int64_t begin, int64_t end);

/* How many instances a kernel has. */
typedef int64_t tcomp_count(const int64_t *symbols);

/* One kernel call. `first` is the place of its first argument; `waits` says that it touches what steps since the last barrier touch. */
typedef struct {
  tcomp_call *call;
  tcomp_count *count;
  int32_t first, places, waits;
} tcomp_step;

/* An address: `offset` bytes into an external tensor, or into the arena if `base` is -1. An offset that depends on symbols is
 * number `symbolic` of those that tcomp_find_offsets computes, else `symbolic` is -1. */
typedef struct {
  int32_t base, symbolic;
  int64_t offset;
} tcomp_place;

static inline char *tcomp_locate(const tcomp_place *place, void *const *externals, char *arena, const int64_t *offsets) {
  char *base = place->base < 0 ? arena : (char *)externals[place->base];
  return base + (place->symbolic < 0 ? place->offset : offsets[place->symbolic]);
}

/* Runs all steps on `threads` threads, each doing its share of every step. Steps that touch the same memory are kept apart by
 * barriers. Several calls may run at once, each with an arena of its own. Returns 0. */
#define TCOMP_DEFINE_RUN                                                                                                \
  static _Thread_local char tcomp_scratch[TCOMP_SCRATCH_BYTES] __attribute__((aligned(64)));                            \
  __attribute__((visibility("default"))) int tcomp_run(void *const *externals, char *arena, const int64_t *symbols,     \
                                                       int threads, int flush_denormals) {                              \
    int64_t offsets[TCOMP_OFFSET_COUNT + 1];                                                                            \
    tcomp_find_offsets(symbols, offsets);                                                                               \
    _Pragma("omp parallel num_threads(threads)") {                                                                      \
      const int64_t thread = omp_get_thread_num(), team = omp_get_num_threads();                                        \
      const uint64_t mode = flush_denormals ? tcomp_enter_flush_to_zero() : 0;                                          \
      for (int64_t i = 0; i < TCOMP_STEP_COUNT; i++) {                                                                  \
        const tcomp_step *step = &TCOMP_STEPS[i];                                                                       \
        const int64_t total = step->count(symbols);                                                                     \
        const int64_t begin = total * thread / team, end = total * (thread + 1) / team;                                 \
        if (step->waits) {                                                                                              \
          _Pragma("omp barrier")                                                                                        \
        }                                                                                                               \
        if (begin < end) {                                                                                              \
          char *at[TCOMP_MOST_PLACES];                                                                                  \
          for (int32_t p = 0; p < step->places; p++)                                                                    \
            at[p] = tcomp_locate(&TCOMP_PLACES[step->first + p], externals, arena, offsets);                            \
          step->call(at, symbols, tcomp_scratch, begin, end);                                                           \
        }                                                                                                               \
      }                                                                                                                 \
      if (flush_denormals) tcomp_leave_flush_to_zero(mode);                                                             \
    }                                                                                                                   \
    return 0;                                                                                                           \
  }

#endif

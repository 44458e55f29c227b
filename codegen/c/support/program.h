/* Runs a program: a table of steps over external tensors and an arena, in one parallel region.
 *
 * The source that includes this header defines the tables TCOMP_STEPS, TCOMP_PLACES and tcomp_find_offsets, the constants
 * TCOMP_STEP_COUNT, TCOMP_MOST_PLACES, TCOMP_OFFSET_COUNT and TCOMP_SCRATCH_BYTES, and then TCOMP_DEFINE_RUN.
 *
 * Threads are those of GNU OpenMP, which PyTorch runs on too, so that the two share one pool. It is called directly, which any
 * compiler can do; where it is not loaded the program runs on the calling thread.
 */
#ifndef TCOMP_PROGRAM_H
#define TCOMP_PROGRAM_H

#include <stdint.h>
#include <time.h>

#include "fingerprint.h"
#include "flush_to_zero.h"

extern void GOMP_parallel(void (*work)(void *), void *data, unsigned threads, unsigned flags) __attribute__((weak));
extern void GOMP_barrier(void) __attribute__((weak));
extern int omp_get_thread_num(void) __attribute__((weak));
extern int omp_get_num_threads(void) __attribute__((weak));

/* Runs the instances [begin, end) of a kernel on the tensors `at`; `scratch` is memory of the calling thread. A kernel that meets
 * an index outside its tensor notes the number of the check, from 1, in `fault`. */
typedef void tcomp_call(char *const *at, const int64_t *symbols, char *scratch, int32_t *fault, int64_t begin, int64_t end);

/* How many instances a kernel has. */
typedef int64_t tcomp_count(const int64_t *symbols);

/* One kernel call. `first` is the place of its first argument; `waits` says that it touches what steps since the last barrier touch;
 * `checks` counts the checks of the steps before. */
typedef struct {
  tcomp_call *call;
  tcomp_count *count;
  int32_t first, places, waits, checks;
} tcomp_step;

/* An address: `offset` bytes into an external tensor, or into the arena if `base` is -1. An offset that depends on symbols is
 * number `symbolic` of those that tcomp_find_offsets computes, else `symbolic` is -1. */
typedef struct {
  int32_t base, symbolic;
  int64_t offset;
} tcomp_place;

/* What all threads of a run share. `times`, where it is not null, gets the moment before each step, and that after the last. */
typedef struct {
  void *const *externals;
  char *arena;
  const int64_t *symbols, *offsets;
  int is_team, flush_denormals;
  int32_t *fault;
  int64_t first, last;
  int64_t *times;
} tcomp_run_state;

/* Nanoseconds since some moment. */
static inline int64_t tcomp_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Division of sizes, down, as in the kernels (vector_arithmetic.h); a divisor is positive where anything is counted. */
static inline int64_t tcomp_floor_divide_i64(int64_t a, int64_t b) { return b <= 0 ? 0 : a / b - (a % b < 0); }
static inline int64_t tcomp_remainder_i64(int64_t a, int64_t b) { return a - b * tcomp_floor_divide_i64(a, b); }

static inline char *tcomp_locate(const tcomp_place *place, const tcomp_run_state *run) {
  char *base = place->base < 0 ? run->arena : (char *)run->externals[place->base];
  return base + (place->symbolic < 0 ? place->offset : run->offsets[place->symbolic]);
}

/* Remembers a check that failed, unless there is one already. */
static inline void tcomp_note(const tcomp_run_state *run, int32_t number) {
  int32_t none = 0;
  __atomic_compare_exchange_n(run->fault, &none, number, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

/* tcomp_run runs all steps on `threads` threads, each doing its share of every step. Steps that touch the same memory are kept
 * apart by barriers. Several calls may run at once, each with an arena of its own. Returns 0, or the number of a check that
 * failed, counted from 1 over all steps. tcomp_run_part runs the steps from `first` to before `last`. tcomp_run_timed runs all with a
 * barrier between any two, so that each begins when the one before is done, and tells when that was. */
#define TCOMP_DEFINE_RUN                                                                                                  \
  static _Thread_local char tcomp_scratch[TCOMP_SCRATCH_BYTES] __attribute__((aligned(64)));                              \
  static void tcomp_work(void *state) {                                                                                   \
    const tcomp_run_state *run = state;                                                                                   \
    const int64_t thread = run->is_team ? omp_get_thread_num() : 0, team = run->is_team ? omp_get_num_threads() : 1;      \
    const uint64_t mode = run->flush_denormals ? tcomp_enter_flush_to_zero() : 0;                                         \
    for (int64_t i = run->first; i < run->last; i++) {                                                                    \
      const tcomp_step *step = &TCOMP_STEPS[i];                                                                           \
      const int64_t total = step->count(run->symbols);                                                                    \
      const int64_t begin = total * thread / team, end = total * (thread + 1) / team;                                     \
      if ((step->waits || run->times) && team > 1) GOMP_barrier();                                                        \
      if (run->times && !thread) run->times[i] = tcomp_now();                                                             \
      if (begin < end) {                                                                                                  \
        char *at[TCOMP_MOST_PLACES];                                                                                      \
        for (int32_t p = 0; p < step->places; p++) at[p] = tcomp_locate(&TCOMP_PLACES[step->first + p], run);             \
        int32_t fault = 0;                                                                                                \
        step->call(at, run->symbols, tcomp_scratch, &fault, begin, end);                                                  \
        if (fault) tcomp_note(run, step->checks + fault);                                                                 \
      }                                                                                                                   \
    }                                                                                                                     \
    if (run->times && team > 1) GOMP_barrier();                                                                           \
    if (run->times && !thread) run->times[run->last] = tcomp_now();                                                       \
    if (run->flush_denormals) tcomp_leave_flush_to_zero(mode);                                                            \
  }                                                                                                                       \
  static int tcomp_start(void *const *externals, char *arena, const int64_t *symbols, int threads, int flush_denormals,   \
                         int first, int last, int64_t *times) {                                                           \
    int64_t offsets[TCOMP_OFFSET_COUNT + 1];                                                                              \
    tcomp_find_offsets(symbols, offsets);                                                                                 \
    int32_t fault = 0;                                                                                                    \
    tcomp_run_state run = {externals, arena, symbols, offsets, threads > 1 && GOMP_parallel, flush_denormals, &fault,     \
                           first, last, times};                                                                           \
    if (run.is_team)                                                                                                      \
      GOMP_parallel(tcomp_work, &run, (unsigned)threads, 0);                                                              \
    else                                                                                                                  \
      tcomp_work(&run);                                                                                                   \
    return fault;                                                                                                         \
  }                                                                                                                       \
  __attribute__((visibility("default"))) int tcomp_run_part(void *const *externals, char *arena, const int64_t *symbols,  \
                                                            int threads, int flush_denormals, int first, int last) {      \
    return tcomp_start(externals, arena, symbols, threads, flush_denormals, first, last, 0);                              \
  }                                                                                                                       \
  __attribute__((visibility("default"))) int tcomp_run_timed(void *const *externals, char *arena, const int64_t *symbols, \
                                                             int threads, int flush_denormals, int64_t *times) {          \
    return tcomp_start(externals, arena, symbols, threads, flush_denormals, 0, TCOMP_STEP_COUNT, times);                  \
  }                                                                                                                       \
  __attribute__((visibility("default"))) int tcomp_run(void *const *externals, char *arena, const int64_t *symbols,       \
                                                       int threads, int flush_denormals) {                                \
    return tcomp_start(externals, arena, symbols, threads, flush_denormals, 0, TCOMP_STEP_COUNT, 0);                      \
  }

#endif

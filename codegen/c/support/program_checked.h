/* Runs a program as program.h does, and checks every kernel on the way: to find faults of kernels and compilers, not for speed.
 *
 * A step runs as it would, on one thread. Then it runs on copies of its arguments, each a heap allocation of no more than its bytes,
 * so that the address sanitizer sees what leaves them, and with other contents wherever results go:
 *   on one thread: what comes out must not depend on what was there before;
 *   with its instances dealt out to two threads that start at once, in several ways: what comes out must be the same, bit for bit.
 *
 * The source that includes this header defines what program.h asks for, TCOMP_EXTENTS and TCOMP_NAMES, and then
 * TCOMP_DEFINE_CHECKED_RUN.
 */
#ifndef TCOMP_PROGRAM_CHECKED_H
#define TCOMP_PROGRAM_CHECKED_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* for threads on processors of their own */
#endif
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "program.h"

#define TCOMP_NAME(symbol) #symbol

enum { TCOMP_IN, TCOMP_OUT, TCOMP_INOUT };

/* The memory of a place: bytes from its first element to the end of its last, `bytes` or number `symbolic` of the offsets. */
typedef struct {
  int32_t role, symbolic;
  int64_t bytes;
} tcomp_extent;

/* What is wrong with a step; tcomp_run returns -(4 * step + fault). */
enum { TCOMP_SOUND, TCOMP_RACES, TCOMP_READS_RESULTS, TCOMP_WRITES_INPUTS };

/* Memory of one place, or of several that overlap. */
typedef struct {
  char *from;      /* in the program's memory */
  int64_t bytes;
  int is_written;
  char *memory;    /* the allocation of the copy */
  char *copy;      /* where kernels that are checked work; the other two only if that is written: */
  char *before;    /* what it holds before each run */
  char *after;     /* what one thread made of that */
} tcomp_region;

/* How instances are dealt to two threads: below `cut` to the first and the rest to the other, or by turns, `size` at a time. */
typedef struct {
  int64_t cut, size;
} tcomp_deal;

/* What two threads share. */
typedef struct {
  const tcomp_step *step;
  char **at;
  const int64_t *symbols;
  int64_t total;
  tcomp_deal deal;
  char *scratch[2];
  int flush_denormals;
  int arrived, phase;
} tcomp_pair;

/* Waits for the other thread, in a loop so that both go on at the same moment. */
static void tcomp_meet(tcomp_pair *pair) {
  const int phase = __atomic_load_n(&pair->phase, __ATOMIC_ACQUIRE);
  if (__atomic_add_fetch(&pair->arrived, 1, __ATOMIC_ACQ_REL) == 2) {
    pair->arrived = 0;
    __atomic_store_n(&pair->phase, phase + 1, __ATOMIC_RELEASE);
    return;
  }
  for (int spins = 0; __atomic_load_n(&pair->phase, __ATOMIC_ACQUIRE) == phase; spins++)
    if (spins > 1 << 16) sched_yield();
}

#if defined(__linux__)
/* Keeps the two threads on processors of their own, so that they do run at once; returns what the first may run on otherwise. */
static cpu_set_t tcomp_part(pthread_t second) {
  cpu_set_t allowed, one;
  CPU_ZERO(&allowed);
  const int here = sched_getcpu();
  if (pthread_getaffinity_np(pthread_self(), sizeof allowed, &allowed) || here < 0 || CPU_COUNT(&allowed) < 2) return allowed;
  int other = (here + 1) % CPU_SETSIZE;
  while (!CPU_ISSET(other, &allowed)) other = (other + 1) % CPU_SETSIZE;
  CPU_ZERO(&one);
  CPU_SET(other, &one);
  pthread_setaffinity_np(second, sizeof one, &one);
  CPU_ZERO(&one);
  CPU_SET(here, &one);
  pthread_setaffinity_np(pthread_self(), sizeof one, &one);
  return allowed;
}

static void tcomp_unite(cpu_set_t allowed) {
  if (CPU_COUNT(&allowed)) pthread_setaffinity_np(pthread_self(), sizeof allowed, &allowed);
}
#else
static int tcomp_part(pthread_t second) { return (void)second, 0; }
static void tcomp_unite(int allowed) { (void)allowed; }
#endif

static void tcomp_run_share(const tcomp_pair *pair, int thread) {
  const int64_t cut = pair->deal.cut, size = cut ? pair->total : pair->deal.size;
  int32_t fault = 0;
  for (int64_t begin = cut ? thread * cut : thread * size; begin < pair->total; begin += 2 * size) {
    const int64_t stop = cut && !thread ? cut : begin + size;
    const int64_t end = stop < pair->total ? stop : pair->total;
    pair->step->call(pair->at, pair->symbols, pair->scratch[thread], &fault, begin, end);
  }
}

/* The second thread: its share whenever the first has set up a step, until there is none. */
static void *tcomp_follow(void *shared) {
  tcomp_pair *pair = shared;
  if (pair->flush_denormals) tcomp_enter_flush_to_zero();
  for (;;) {
    tcomp_meet(pair);
    if (!pair->step) return NULL;
    tcomp_run_share(pair, 1);
    tcomp_meet(pair);
  }
}

/* memcpy and memcmp, which no bytes of no memory are for: what is empty may lie nowhere. */
static void tcomp_copy(void *to, const void *from, size_t bytes) {
  if (bytes) memcpy(to, from, bytes);
}

static int tcomp_differ(const void *a, const void *b, size_t bytes) { return bytes && memcmp(a, b, bytes); }

static char *tcomp_allocate(int64_t bytes) {
  void *memory = NULL;
  if (posix_memalign(&memory, 64, bytes > 0 ? (size_t)bytes : 1)) abort();
  return memory;
}

static int64_t tcomp_bytes(const tcomp_extent *extent, const int64_t *offsets) {
  const int64_t bytes = extent->symbolic < 0 ? extent->bytes : offsets[extent->symbolic];
  return bytes > 0 ? bytes : 0;
}

/* Makes regions of the places of a step, the ones that overlap joined if one of them is written; returns how many there are. */
static int32_t tcomp_find_regions(const tcomp_extent *extents, const int64_t *offsets, int32_t places, char **at,
                                  tcomp_region *regions) {
  int32_t count = 0;
  for (int32_t p = 0; p < places; p++) {
    tcomp_region next = {.from = at[p], .bytes = tcomp_bytes(&extents[p], offsets), .is_written = extents[p].role != TCOMP_IN};
    for (int32_t r = 0; r < count; r++) {
      tcomp_region *other = &regions[r];
      const int meet = next.from < other->from + other->bytes && other->from < next.from + next.bytes;
      if (!meet || !(next.is_written || other->is_written)) continue;
      char *const low = next.from < other->from ? next.from : other->from;
      char *const next_end = next.from + next.bytes, *const other_end = other->from + other->bytes;
      next = (tcomp_region){.from = low, .bytes = (next_end > other_end ? next_end : other_end) - low, .is_written = 1};
      *other = regions[--count];
      r = -1; /* what has grown may overlap with others */
    }
    regions[count++] = next;
  }
  return count;
}

/* The region of a place: the smallest that holds it and is written if it is. */
static tcomp_region *tcomp_find_region(char *at, const tcomp_extent *extent, const int64_t *offsets, tcomp_region *regions,
                                       int32_t count) {
  tcomp_region *found = NULL;
  for (tcomp_region *r = regions; r < regions + count; r++)
    if (r->from <= at && at + tcomp_bytes(extent, offsets) <= r->from + r->bytes && (r->is_written || extent->role == TCOMP_IN))
      if (!found || r->bytes < found->bytes) found = r;
  return found;
}

/* Copies regions, with every bit turned over where nothing but results lie; `at` then points into the copies. */
static void tcomp_copy_regions(const tcomp_extent *extents, const int64_t *offsets, int32_t places, char **at,
                               tcomp_region *regions, int32_t count) {
  for (tcomp_region *r = regions; r < regions + count; r++) {
    const int64_t offset = (int64_t)((uintptr_t)r->from % 8); /* elements stay aligned, also in regions that were joined */
    r->memory = tcomp_allocate(offset + r->bytes);
    r->copy = r->memory + offset;
    tcomp_copy(r->copy, r->from, (size_t)r->bytes);
  }
  for (int is_kept = 0; is_kept < 2; is_kept++)
    for (int32_t p = 0; p < places; p++) {
      const tcomp_region *r = tcomp_find_region(at[p], &extents[p], offsets, regions, count);
      if (!r->is_written || is_kept != (extents[p].role != TCOMP_OUT)) continue;
      char *const copy = r->copy + (at[p] - r->from);
      for (int64_t i = 0; i < tcomp_bytes(&extents[p], offsets); i++) copy[i] = is_kept ? at[p][i] : ~at[p][i];
    }
  for (int32_t p = 0; p < places; p++) {
    const tcomp_region *r = tcomp_find_region(at[p], &extents[p], offsets, regions, count);
    at[p] = r->copy + (at[p] - r->from);
  }
  for (tcomp_region *r = regions; r < regions + count; r++) {
    if (!r->is_written) continue;
    r->before = tcomp_allocate(r->bytes);
    r->after = tcomp_allocate(r->bytes);
    tcomp_copy(r->before, r->copy, (size_t)r->bytes);
  }
}

/* Lays out what each run starts from. What scratch memory holds must not matter either. */
static void tcomp_reset(tcomp_region *regions, int32_t count, const tcomp_pair *pair, int64_t scratch, int garbage) {
  for (int32_t r = 0; r < count; r++)
    if (regions[r].is_written) tcomp_copy(regions[r].copy, regions[r].before, (size_t)regions[r].bytes);
  for (int thread = 0; thread < 2; thread++) memset(pair->scratch[thread], garbage, (size_t)scratch);
}

/* Whether the program's own run, and that on other contents, wrote the same; bytes that neither wrote are as they were before. */
static int tcomp_agrees(const tcomp_region *region) {
  for (int64_t i = 0; i < region->bytes; i++) {
    const unsigned char real = (unsigned char)region->from[i], after = (unsigned char)region->after[i];
    const unsigned char before = (unsigned char)region->before[i];
    if (real != after && !(after == before && (real ^ before) == 0xff)) return 0;
  }
  return 1;
}

static int tcomp_compare_threads(tcomp_pair *pair, tcomp_region *regions, int32_t count, int64_t scratch) {
  int64_t written = 0;
  for (int32_t r = 0; r < count; r++) written += regions[r].is_written ? regions[r].bytes : 0;
  const int64_t total = pair->total, cuts = total <= 9 ? total - 1 : 3;
  const int is_large = written > 1 << 20;
  const int repeats = written > 1 << 16 ? 1 : written > 1 << 12 ? 3 : 8;
  for (int64_t way = 0; way < cuts + 2; way++) {
    tcomp_deal deal = {0, way - cuts + 1};
    if (way < cuts) deal.cut = total <= 9 ? way + 1 : way == 0 ? 1 : way == 1 ? total / 2 : total - 1;
    /* By turns is one of the cuts if there are so few; a large kernel is cut in half, as it will be, and dealt one by one. */
    if (!deal.cut && total <= 2 * deal.size) continue;
    if (is_large && deal.cut != total / 2 && deal.size != 1) continue;
    pair->deal = deal;
    for (int repeat = 0; repeat < repeats; repeat++) {
      tcomp_reset(regions, count, pair, scratch, 0xA5);
      tcomp_meet(pair);
      tcomp_run_share(pair, 0);
      tcomp_meet(pair);
      for (int32_t r = 0; r < count; r++)
        if (regions[r].is_written && tcomp_differ(regions[r].copy, regions[r].after, (size_t)regions[r].bytes)) return TCOMP_RACES;
    }
  }
  return TCOMP_SOUND;
}

/* Runs one step and checks it; `at` are its places in the program's memory. */
static int tcomp_check_step(tcomp_pair *pair, const tcomp_extent *extents, const int64_t *offsets, char **at,
                            tcomp_region *regions, int64_t scratch, int32_t *fault) {
  const tcomp_step *step = pair->step;
  int32_t ignored = 0;
  const int32_t count = tcomp_find_regions(extents, offsets, step->places, at, regions);
  char *real[step->places + 1];
  tcomp_copy(real, at, sizeof(char *) * (size_t)step->places);
  tcomp_copy_regions(extents, offsets, step->places, at, regions, count);
  tcomp_reset(regions, count, pair, scratch, 0x5A);
  step->call(real, pair->symbols, pair->scratch[0], fault, 0, pair->total);
  tcomp_reset(regions, count, pair, scratch, 0xA5);
  step->call(at, pair->symbols, pair->scratch[0], &ignored, 0, pair->total);
  int found = TCOMP_SOUND;
  for (int32_t r = 0; r < count; r++) {
    tcomp_region *region = &regions[r];
    if (region->is_written) tcomp_copy(region->after, region->copy, (size_t)region->bytes);
    if (region->is_written && !tcomp_agrees(region)) found = TCOMP_READS_RESULTS;
  }
  if (!found && pair->total > 1) found = tcomp_compare_threads(pair, regions, count, scratch);
  for (int32_t r = 0; r < count; r++) {
    tcomp_region *region = &regions[r];
    if (!region->is_written && tcomp_differ(region->copy, region->from, (size_t)region->bytes)) found = TCOMP_WRITES_INPUTS;
    free(region->memory), free(region->before), free(region->after);
  }
  return found;
}

/* tcomp_run as program.h has it, on one thread, and with checks; a negative result is the fault of a step, whose kernel
 * tcomp_step_name tells. */
#define TCOMP_DEFINE_CHECKED_RUN                                                                                          \
  __attribute__((visibility("default"))) const char *tcomp_step_name(int step) { return TCOMP_NAMES[step]; }              \
  __attribute__((visibility("default"))) int tcomp_run(void *const *externals, char *arena, const int64_t *symbols,       \
                                                       int threads, int flush_denormals) {                                \
    int64_t offsets[TCOMP_OFFSET_COUNT + 1];                                                                              \
    tcomp_find_offsets(symbols, offsets);                                                                                 \
    const tcomp_run_state run = {externals, arena, symbols, offsets, 0, flush_denormals, NULL, 0, 0, NULL};               \
    const uint64_t mode = flush_denormals ? tcomp_enter_flush_to_zero() : 0;                                              \
    char *at[TCOMP_MOST_PLACES];                                                                                          \
    tcomp_region regions[TCOMP_MOST_PLACES];                                                                              \
    tcomp_pair pair = {NULL, at, symbols, 0, {0, 0}, {NULL, NULL}, flush_denormals, 0, 0};                                \
    for (int thread = 0; thread < 2; thread++) pair.scratch[thread] = tcomp_allocate(TCOMP_SCRATCH_BYTES);                \
    pthread_t second;                                                                                                     \
    if (pthread_create(&second, NULL, tcomp_follow, &pair)) abort();                                                      \
    const __typeof__(tcomp_part(second)) allowed = tcomp_part(second);                                                    \
    int result = 0;                                                                                                       \
    for (int i = 0; i < TCOMP_STEP_COUNT && result >= 0; i++) {                                                           \
      const tcomp_step *step = pair.step = &TCOMP_STEPS[i];                                                               \
      pair.total = step->count(symbols);                                                                                  \
      if (pair.total <= 0) continue;                                                                                      \
      for (int32_t p = 0; p < step->places; p++) at[p] = tcomp_locate(&TCOMP_PLACES[step->first + p], &run);              \
      int32_t fault = 0;                                                                                                  \
      const tcomp_extent *extents = &TCOMP_EXTENTS[step->first];                                                          \
      const int found = tcomp_check_step(&pair, extents, offsets, at, regions, TCOMP_SCRATCH_BYTES, &fault);              \
      if (fault && !result) result = step->checks + fault;                                                                \
      if (found) result = -(4 * i + found);                                                                               \
    }                                                                                                                     \
    pair.step = NULL;                                                                                                     \
    tcomp_meet(&pair);                                                                                                    \
    pthread_join(second, NULL);                                                                                           \
    tcomp_unite(allowed);                                                                                                 \
    for (int thread = 0; thread < 2; thread++) free(pair.scratch[thread]);                                                \
    if (flush_denormals) tcomp_leave_flush_to_zero(mode);                                                                 \
    return result;                                                                                                        \
  }

#endif

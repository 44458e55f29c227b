/* Treats denormal f32 and f64 numbers as zero between enter and leave, for the calling thread: arithmetic on them can be a
 * hundred times slower. Both operands (DAZ) and results (FTZ). Does nothing where the processor has no such mode. */
#ifndef TCOMP_FLUSH_TO_ZERO_H
#define TCOMP_FLUSH_TO_ZERO_H

#include <stdint.h>

/* Returns the mode to hand back to tcomp_leave_flush_to_zero. */
static inline uint64_t tcomp_enter_flush_to_zero(void) {
#if defined(__SSE__)
  uint32_t before = __builtin_ia32_stmxcsr();
  __builtin_ia32_ldmxcsr(before | 0x8040);
  return before;
#elif defined(__aarch64__)
  uint64_t before;
  __asm__ volatile("mrs %0, fpcr" : "=r"(before));
  __asm__ volatile("msr fpcr, %0" : : "r"(before | ((uint64_t)1 << 24)));
  return before;
#else
  return 0;
#endif
}

static inline void tcomp_leave_flush_to_zero(uint64_t before) {
#if defined(__SSE__)
  __builtin_ia32_ldmxcsr((uint32_t)before);
#elif defined(__aarch64__)
  __asm__ volatile("msr fpcr, %0" : : "r"(before));
#else
  (void)before;
#endif
}

#endif

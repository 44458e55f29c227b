/* A number that tells whether memory has been written: all of it if it is little, else a sample.
 *
 * Read once for each call of a program, over the weights that something was folded from, so it must cost next to nothing: up to
 * TCOMP_WHOLE bytes in all everything is read, otherwise cache lines spread over each tensor, the first and the last among them:
 * TCOMP_LINES in all, as each is likely a miss, but at least two and at most TCOMP_SPOTS of a tensor. */
#ifndef TCOMP_FINGERPRINT_H
#define TCOMP_FINGERPRINT_H

#include <stdint.h>
#include <string.h>

#define TCOMP_WHOLE (64 * 1024)
#define TCOMP_LINES 384
#define TCOMP_SPOTS 16
#define TCOMP_LINE 64

/* Multiplies by odd numbers lose nothing, so that no single change is lost; eight chains run side by side. */
static inline void tcomp_mix(uint64_t *state, const char *bytes, int64_t count) {
  for (; count >= TCOMP_LINE; bytes += TCOMP_LINE, count -= TCOMP_LINE) {
    uint64_t words[8];
    memcpy(words, bytes, TCOMP_LINE);
    for (int i = 0; i < 8; i++) state[i] = (state[i] ^ words[i]) * UINT64_C(0x9E3779B97F4A7C15);
  }
  if (count) {
    uint64_t words[8] = {0};
    memcpy(words, bytes, count);
    for (int i = 0; i < 8; i++) state[i] = (state[i] ^ words[i]) * UINT64_C(0x9E3779B97F4A7C15);
  }
}

/* Over `count` tensors; of each its address and its bytes. */
__attribute__((visibility("default"))) uint64_t tcomp_fingerprint(const int64_t *table) {
  const int64_t count = table[0];
  uint64_t state[8] = {1, 2, 3, 4, 5, 6, 7, 8}, result = 0;
  int64_t total = 0;
  for (int64_t t = 0; t < count; t++) total += table[2 * t + 2];
  int64_t spots = TCOMP_LINES / (count ? count : 1);
  spots = spots < 2 ? 2 : spots > TCOMP_SPOTS ? TCOMP_SPOTS : spots;
  for (int64_t t = 0; t < count; t++) {
    const char *memory = (const char *)(uintptr_t)table[2 * t + 1];
    const int64_t size = table[2 * t + 2];
    if (total <= TCOMP_WHOLE || size <= spots * TCOMP_LINE) {
      tcomp_mix(state, memory, size);
      continue;
    }
    for (int64_t spot = 0; spot < spots - 1; spot++)
      tcomp_mix(state, memory + (size - TCOMP_LINE) / (spots - 1) * spot, TCOMP_LINE);
    tcomp_mix(state, memory + size - TCOMP_LINE, TCOMP_LINE);
  }
  for (int i = 0; i < 8; i++) result = (result ^ state[i] ^ (state[i] >> 31)) * UINT64_C(0xBF58476D1CE4E5B9);
  return result;
}

#endif

// Instantiates kernels.c for the dtypes of training; exp, bf16 conversion; includes attention.

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef uint16_t bf16;

static inline float widened(bf16 x) {
  uint32_t bits = (uint32_t)x << 16;
  float out;
  memcpy(&out, &bits, sizeof out);
  return out;
}

// Rounds to nearest, ties to even; NaN stays NaN.
static inline bf16 narrowed(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  uint32_t round = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  return (bits & 0x7fffffff) > 0x7f800000 ? 0x7fc0 : (bf16)round;
}

static inline float same(float x) { return x; }

// exp(x) within 2 ulp: 2^n e^f, n an integer, |f| <= ln(2) / 2, e^f by its series up to f^7. x is
// clamped to -87 (1.6e-38) and 88; NaN stays NaN.
static inline float exponential(float x) {
  float in = x < -87.0f ? -87.0f : x;
  in = in > 88.0f ? 88.0f : in;
  float n = rintf(in * 1.44269504f);
  float f = (in - n * 0.693359375f) + n * 2.12194440e-4f;
  float e = 1.0f / 5040.0f;
  e = e * f + 1.0f / 720.0f;
  e = e * f + 1.0f / 120.0f;
  e = e * f + 1.0f / 24.0f;
  e = e * f + 1.0f / 6.0f;
  e = e * f + 0.5f;
  e = e * f + 1.0f;
  e = e * f + 1.0f;
  // The low bits of n + 1.5 2^23 are those of the integer n; no NaN is converted to an integer.
  float shifted = n + 12582912.0f, two_to_n;
  uint32_t power;
  memcpy(&power, &shifted, sizeof power);
  power = (power + 127) << 23;
  memcpy(&two_to_n, &power, sizeof two_to_n);
  return e * two_to_n;
}

static inline float sigmoid(float x) { return 1.0f / (1.0f + exponential(-x)); }

// A 32-bit hash of a position: two rounds of multiplications and xor-shifts, with the constants for
// which C. Wellons found the least bias (github.com/skeeto/hash-prospector).
static inline uint32_t scattered(uint32_t place, uint32_t seed, uint32_t seed_2) {
  uint32_t h = place ^ seed;
  h = (h ^ h >> 16) * 0x21f0aaad;
  h = (h ^ seed_2 ^ h >> 15) * 0xd35a2d97;
  h ^= h >> 15;
  h = (h ^ h >> 16) * 0x21f0aaad;
  h = (h ^ h >> 15) * 0xd35a2d97;
  return h ^ h >> 15;
}

// The ABI for vectors longer than the processor's differs from that of processors with such
// vectors; no function that takes one is called from outside.
#pragma GCC diagnostic ignored "-Wpsabi"

// A vector of LANES values, loaded from unaligned memory.
#define LANES 16
typedef float lanes __attribute__((vector_size(4 * LANES)));

static inline lanes float_lanes(const float *from) {
  lanes out;
  memcpy(&out, from, sizeof out);
  return out;
}

static inline lanes bf16_lanes(const bf16 *from) {
  typedef uint16_t half __attribute__((vector_size(2 * LANES)));
  typedef uint32_t full __attribute__((vector_size(4 * LANES)));
  half in;
  memcpy(&in, from, sizeof in);
  full bits = __builtin_convertvector(in, full) << 16;
  lanes out;
  memcpy(&out, &bits, sizeof out);
  return out;
}

#define ALWAYS static inline __attribute__((always_inline))

// Notes that a thread found no memory. Others may note it too, at the same time.
ALWAYS void fail(int *failed) {
#pragma omp atomic write
  *failed = 1;
}

#define X float
#define X_WIDE same
#define X_NARROW same
#define Y float
#define Y_WIDE same
#define Y_NARROW same
#define Y_LANES float_lanes
#define NAME(kernel) kernel##_float32_float32
#include "kernels.c"
#undef NAME
#undef Y
#undef Y_WIDE
#undef Y_NARROW
#undef Y_LANES

#define Y bf16
#define Y_WIDE widened
#define Y_NARROW narrowed
#define Y_LANES bf16_lanes
#define NAME(kernel) kernel##_float32_bfloat16
#include "kernels.c"
#undef NAME
#undef X
#undef X_WIDE
#undef X_NARROW

#define X bf16
#define X_WIDE widened
#define X_NARROW narrowed
#define NAME(kernel) kernel##_bfloat16_bfloat16
#include "kernels.c"
#undef NAME

#include "products.c"
#include "spans.c"

#include "attention.c"
#include "attention_fp32.c"

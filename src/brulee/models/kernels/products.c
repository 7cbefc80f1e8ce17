// Matrix products in fp32 in which each value is one sum over all terms in order, so that its bits
// do not depend on the other rows and columns or on the number of threads.

#if defined(__AVX512F__)
#define WIDE 16
#elif defined(__AVX__)
#define WIDE 8
#else
#define WIDE 4
#endif
typedef float wide __attribute__((vector_size(4 * WIDE)));

enum { STRIP = 2 * WIDE };  // columns of a product that are computed at a time

ALWAYS wide wide_at(const float *from) {
  wide out;
  memcpy(&out, from, sizeof out);
  return out;
}

// C (n, STRIP) = A (n, steps) B (steps, STRIP), or C += with `add`. `a_row` and `a_step` are the
// strides of A's rows and columns.
ALWAYS void strip(const int n, float *c, long c_row, const float *a, long a_row, long a_step,
                  const float *b, long b_row, long steps, int add) {
  wide sum[6][2];
#pragma GCC unroll 6
  for (int i = 0; i < n; i++)
#pragma GCC unroll 2
    for (int h = 0; h < 2; h++) sum[i][h] = add ? wide_at(c + i * c_row + h * WIDE) : (wide){0};
  for (long p = 0; p < steps; p++, a += a_step, b += b_row) {
    wide first = wide_at(b), second = wide_at(b + WIDE);
#pragma GCC unroll 6
    for (int i = 0; i < n; i++) {
      sum[i][0] += a[i * a_row] * first;
      sum[i][1] += a[i * a_row] * second;
    }
  }
#pragma GCC unroll 6
  for (int i = 0; i < n; i++) memcpy(c + i * c_row, sum[i], sizeof sum[i]);
}

// The same for any number of rows and any number of columns that is a multiple of STRIP.
static void product_fp32(long rows, long columns, float *c, long c_row, const float *a, long a_row,
                         long a_step, const float *b, long b_row, long steps, int add) {
  for (long j = 0; j < columns; j += STRIP)
    for (long r = 0; r < rows; r += 6) {
      float *to = c + r * c_row + j;
      const float *from = a + r * a_row;
#define OF_ROWS(n) strip(n, to, c_row, from, a_row, a_step, b + j, b_row, steps, add)
      switch (rows - r) {
        case 1: OF_ROWS(1); break;
        case 2: OF_ROWS(2); break;
        case 3: OF_ROWS(3); break;
        case 4: OF_ROWS(4); break;
        case 5: OF_ROWS(5); break;
        default: OF_ROWS(6);
      }
#undef OF_ROWS
    }
}

enum { TERMS = 256, CHUNK = 240 };  // terms of a packed panel; rows of a unit of work

typedef float four __attribute__((vector_size(16)));

// Transposes a (4, 4) block with row stride `from_row`.
ALWAYS void four_turned(const float *from, long from_row, float *to, long to_row) {
  four a, b, c, d;
  memcpy(&a, from, 16);
  memcpy(&b, from + from_row, 16);
  memcpy(&c, from + 2 * from_row, 16);
  memcpy(&d, from + 3 * from_row, 16);
  typedef int picks __attribute__((vector_size(16)));
  four ab = __builtin_shuffle(a, b, (picks){0, 4, 1, 5}), ab_2 = __builtin_shuffle(a, b, (picks){2, 6, 3, 7});
  four cd = __builtin_shuffle(c, d, (picks){0, 4, 1, 5}), cd_2 = __builtin_shuffle(c, d, (picks){2, 6, 3, 7});
  a = __builtin_shuffle(ab, cd, (picks){0, 1, 4, 5});
  b = __builtin_shuffle(ab, cd, (picks){2, 3, 6, 7});
  c = __builtin_shuffle(ab_2, cd_2, (picks){0, 1, 4, 5});
  d = __builtin_shuffle(ab_2, cd_2, (picks){2, 3, 6, 7});
  memcpy(to, &a, 16);
  memcpy(to + to_row, &b, 16);
  memcpy(to + 2 * to_row, &c, 16);
  memcpy(to + 3 * to_row, &d, 16);
}

// Packs `terms` inputs of a weight's `outputs` outputs into rows of STRIP outputs, padded with
// zeros. Prefetches explicitly: these are too many streams for the hardware prefetcher.
static void packed(const float *weight, long output, long term, long outputs, long terms,
                   float *to) {
  long o = 0;
  if (output == 1) {
    for (long k = 0; k < terms; k++) memcpy(to + k * STRIP, weight + k * term, 4 * outputs);
    o = outputs;
  } else if (term == 1)
    for (; o + 4 <= outputs; o += 4) {
      long k = 0;
      for (; k + 4 <= terms; k += 4) {
        if (k % 16 == 0)
          for (long i = o; i < o + 4; i++) __builtin_prefetch(weight + i * output + k + 128);
        four_turned(weight + o * output + k, output, to + k * STRIP + o, STRIP);
      }
      for (; k < terms; k++)
        for (long i = o; i < o + 4; i++) to[k * STRIP + i] = weight[i * output + k];
    }
  for (; o < outputs; o++)
    for (long k = 0; k < terms; k++) to[k * STRIP + o] = weight[o * output + k * term];
  for (; o < STRIP; o++)
    for (long k = 0; k < terms; k++) to[k * STRIP + o] = 0;
}

// y = x weight^T + bias: x (rows, inputs), y (rows, outputs); `output` and `input` are the strides
// of the weight (outputs, inputs). The bias may be NULL.
void linear_float32_float32(const float *x, const float *weight, const float *bias, float *y,
                            long rows, long inputs, long outputs, long output, long input,
                            int threads) {
  long panels = (outputs + STRIP - 1) / STRIP, chunks = (rows + CHUNK - 1) / CHUNK;
#pragma omp parallel num_threads(threads)
  {
    float panel[STRIP * TERMS] __attribute__((aligned(64)));  // both at most 32 KB
    float apart[STRIP * CHUNK] __attribute__((aligned(64)));
#pragma omp for schedule(static)
    for (long u = 0; u < panels * chunks; u++) {
      long o = u / chunks * STRIP, r = u % chunks * CHUNK;
      long many = rows - r < CHUNK ? rows - r : CHUNK;
      long wide = outputs - o < STRIP ? outputs - o : STRIP;
      // A last strip with fewer columns is computed in a buffer.
      float *c = wide < STRIP ? apart : y + r * outputs + o;
      long c_row = wide < STRIP ? STRIP : outputs;
      if (bias)
        for (long i = 0; i < many; i++) memcpy(c + i * c_row, bias + o, 4 * wide);
      for (long k = 0; k < inputs; k += TERMS) {
        long terms = inputs - k < TERMS ? inputs - k : TERMS;
        packed(weight + o * output + k * input, output, input, wide, terms, panel);
        product_fp32(many, STRIP, c, c_row, x + r * inputs + k, inputs, 1, panel, STRIP, terms,
                     bias || k);
      }
      if (wide < STRIP)
        for (long i = 0; i < many; i++) memcpy(y + (r + i) * outputs + o, c + i * STRIP, 4 * wide);
    }
  }
}

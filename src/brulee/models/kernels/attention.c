// Causal attention inside the documents of a pack in bf16, forward and backward, in 32 x 32 blocks.
//
// Scores and weights are stored transposed: a row per key, a column per query. The maximum and the
// sum over keys are then taken across rows, column by column, and two adjacent rows, interleaved,
// are the pairs that a bf16 product needs of its second matrix. Sums are in fp32. The backward pass
// recomputes weights from the logarithm of their sum, as FlashAttention does (Dao et al. 2022).
// Memory does not grow with queries times keys: a thread holds the scores of 32 queries with the
// keys of one document and head.

#ifdef __AVX512BF16__
#include <immintrin.h>

enum { PAIRS = SIDE / 2 };
typedef uint32_t pair;  // two bf16, the first in the lower half

#define LOG2_E 1.44269504f

// 2^x to a relative error of 3e-6, less than bf16 resolves: 2^n 2^f, n an integer, |f| <= 1/2.
static inline __m512 power_of_two(__m512 x) {
  __m512 n = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT);
  __m512 f = _mm512_sub_ps(x, n), e = _mm512_set1_ps(1.33335581e-3f);
  e = _mm512_fmadd_ps(e, f, _mm512_set1_ps(9.61812911e-3f));
  e = _mm512_fmadd_ps(e, f, _mm512_set1_ps(5.55041087e-2f));
  e = _mm512_fmadd_ps(e, f, _mm512_set1_ps(2.40226507e-1f));
  e = _mm512_fmadd_ps(e, f, _mm512_set1_ps(6.93147181e-1f));
  e = _mm512_fmadd_ps(e, f, _mm512_set1_ps(1.0f));
  return _mm512_scalef_ps(e, n);
}

// Mask of the columns 16 h to 16 h + 15 (queries) that see row j (a key): column i sees the rows up
// to first + i, only the last `window` of them if that is not 0.
static inline __mmask16 readers(long j, long first, long window, int h) {
  long hidden = j - first - 16 * h;
  __mmask16 found = hidden <= 0 ? 0xffff : hidden >= 16 ? 0 : (__mmask16)(0xffff << hidden);
  if (window && hidden + window < 16)
    found &= hidden + window <= 0 ? 0 : (__mmask16)((1 << (hidden + window)) - 1);
  return found;
}

static inline void put_narrow(bf16 *to, __m512 x) {
  _mm256_storeu_si256((void *)to, (__m256i)_mm512_cvtneps_pbh(x));
}

static inline pair paired(bf16 low, bf16 high) { return (pair)high << 16 | low; }

#if defined(__AMX_TILE__) && defined(__AMX_BF16__)
#define TILES
#include <sys/syscall.h>
#include <unistd.h>

// Eight tiles of 16 rows of 64 bytes; a process has to request permission for them from Linux.
typedef struct {
  uint8_t palette, start, reserved[14];
  uint16_t columns[16];
  uint8_t rows[16];
} tiles;

static int tiles_allowed(void) { return syscall(SYS_arch_prctl, 0x1023, 18) == 0; }

static void tiles_begin(tiles *before) {
  tiles own = {.palette = 1};
  for (int i = 0; i < 8; i++) own.rows[i] = 16, own.columns[i] = 64;
  _tile_storeconfig(before);
  _tile_loadconfig(&own);
}

// Restores the tile configuration of the library behind PyTorch's products, which may rely on it.
static void tiles_end(const tiles *before) { _tile_loadconfig(before); }

static void product_in_tiles(float *c, long c_row, const bf16 *a, long a_row, const pair *b,
                             long b_row, long steps, int add) {
  __asm__ volatile("" ::: "memory");  // what was written to a and b is in memory
  if (add) {
    _tile_loadd(0, c, 4 * c_row);
    _tile_loadd(1, c + 16, 4 * c_row);
    _tile_loadd(2, c + 16 * c_row, 4 * c_row);
    _tile_loadd(3, c + 16 * c_row + 16, 4 * c_row);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  for (long s = 0; s < steps; s++, a += SIDE, b += PAIRS * b_row) {
    _tile_loadd(4, a, 2 * a_row);
    _tile_loadd(5, a + 16 * a_row, 2 * a_row);
    _tile_loadd(6, b, 4 * b_row);
    _tile_loadd(7, b + 16, 4 * b_row);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_stored(0, c, 4 * c_row);
  _tile_stored(1, c + 16, 4 * c_row);
  _tile_stored(2, c + 16 * c_row, 4 * c_row);
  _tile_stored(3, c + 16 * c_row + 16, 4 * c_row);
  __asm__ volatile("" ::: "memory");
}
#else
typedef int tiles;
static int tiles_allowed(void) { return 0; }
static void tiles_begin(tiles *before) { *before = 0; }
static void tiles_end(const tiles *before) { (void)before; }
#endif

static int in_tiles;

// C (32, 32) = A (32, 32 steps) B, or C += with `add`. B has its rows in pairs: (16 steps, 32). Row
// strides count elements of the matrix's type.
static void product(float *c, long c_row, const bf16 *a, long a_row, const pair *b, long b_row,
                    long steps, int add) {
#ifdef TILES
  if (in_tiles) {
    product_in_tiles(c, c_row, a, a_row, b, b_row, steps, add);
    return;
  }
#endif
  for (long r = 0; r < SIDE; r += 8) {
    __m512 sum[8][2];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++)
#pragma GCC unroll 2
      for (int h = 0; h < 2; h++)
        sum[i][h] = add ? _mm512_loadu_ps(c + (r + i) * c_row + 16 * h) : _mm512_setzero_ps();
    for (long p = 0; p < PAIRS * steps; p++) {
      __m512bh low = (__m512bh)_mm512_loadu_si512(b + p * b_row);
      __m512bh high = (__m512bh)_mm512_loadu_si512(b + p * b_row + 16);
#pragma GCC unroll 8
      for (int i = 0; i < 8; i++) {
        pair both;
        memcpy(&both, a + (r + i) * a_row + 2 * p, sizeof both);
        __m512bh every = (__m512bh)_mm512_set1_epi32((int)both);
        sum[i][0] = _mm512_dpbf16_ps(sum[i][0], every, low);
        sum[i][1] = _mm512_dpbf16_ps(sum[i][1], every, high);
      }
    }
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++)
#pragma GCC unroll 2
      for (int h = 0; h < 2; h++) _mm512_storeu_ps(c + (r + i) * c_row + 16 * h, sum[i][h]);
  }
}

// Transposes a (16, 16) block.
static void turned_block(const pair *from, long from_row, pair *to, long to_row) {
  __m512i a[16], b[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; i++) a[i] = _mm512_loadu_si512(from + i * from_row);
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    __m512i low = _mm512_unpacklo_epi32(a[i], a[i + 1]);
    __m512i high = _mm512_unpackhi_epi32(a[i], a[i + 1]);
    __m512i low_2 = _mm512_unpacklo_epi32(a[i + 2], a[i + 3]);
    __m512i high_2 = _mm512_unpackhi_epi32(a[i + 2], a[i + 3]);
    b[i] = _mm512_unpacklo_epi64(low, low_2);
    b[i + 1] = _mm512_unpackhi_epi64(low, low_2);
    b[i + 2] = _mm512_unpacklo_epi64(high, high_2);
    b[i + 3] = _mm512_unpackhi_epi64(high, high_2);
  }
  // b[4 g + j] has columns j, 4 + j, 8 + j, 12 + j of rows 4 g to 4 g + 3.
#pragma GCC unroll 4
  for (int j = 0; j < 4; j++) {
    __m512i even = _mm512_shuffle_i32x4(b[j], b[4 + j], 0x88);
    __m512i odd = _mm512_shuffle_i32x4(b[j], b[4 + j], 0xdd);
    __m512i even_2 = _mm512_shuffle_i32x4(b[8 + j], b[12 + j], 0x88);
    __m512i odd_2 = _mm512_shuffle_i32x4(b[8 + j], b[12 + j], 0xdd);
    _mm512_storeu_si512(to + j * to_row, _mm512_shuffle_i32x4(even, even_2, 0x88));
    _mm512_storeu_si512(to + (4 + j) * to_row, _mm512_shuffle_i32x4(odd, odd_2, 0x88));
    _mm512_storeu_si512(to + (8 + j) * to_row, _mm512_shuffle_i32x4(even, even_2, 0xdd));
    _mm512_storeu_si512(to + (12 + j) * to_row, _mm512_shuffle_i32x4(odd, odd_2, 0xdd));
  }
}

// Transposes (rows, columns) -> (columns, rows), both multiples of 16.
static void turned(const pair *from, long rows, long columns, pair *to) {
  for (long r = 0; r < rows; r += 16)
    for (long c = 0; c < columns; c += 16)
      turned_block(from + r * columns + c, columns, to + c * rows + r, rows);
}

// (rows, columns) with row stride `row` -> (rows / 2, columns) pairs of a row and the next.
static void in_pairs(const bf16 *from, long row, long rows, long columns, pair *to) {
  for (long r = 0; r < rows; r += 2, from += 2 * row)
    for (long c = 0; c < columns; c++) to[r / 2 * columns + c] = paired(from[c], from[row + c]);
}

// Copies `many` rows of one head, with row stride `row`, and pads with zeros to `rows`. Prefetches
// the rows that follow, which are read next.
static void rows_of(const bf16 *from, long many, long rows, long row, long width, bf16 *to) {
  for (long r = 0; r < many; r++) {
    for (long d = 0; d < width; d += 32) __builtin_prefetch(from + (r + rows) * row + d);
    memcpy(to + r * width, from + r * row, 2 * width);
  }
  memset(to + many * width, 0, 2 * width * (rows - many));
}

// Copies the keys or values of one head that a document reads, (whole(read), width).
static void seen_rows(const bf16 *from, const span *s, long row, long width, bf16 *to) {
  rows_of(from, s->shared, s->shared, row, width, to);
  rows_of(from + s->key * row, s->own, whole(s->shared + s->own) - s->shared, row, width,
          to + s->shared * width);
}

// Writes queries' outputs or gradients, (width, 32) in fp32 times a factor per query, as `many`
// rows in bf16.
static void rows_from(float *from, const float *times, long many, long row, long width, pair *in,
                      pair *out, bf16 *to) {
  for (long d = 0; d < width; d += 2)
#pragma omp simd
    for (long i = 0; i < SIDE; i++)
      in[d / 2 * SIDE + i] = paired(narrowed(from[d * SIDE + i] * times[i]),
                                    narrowed(from[(d + 1) * SIDE + i] * times[i]));
  turned(in, width / 2, SIDE, out);
  for (long i = 0; i < many; i++) memcpy(to + i * row, out + i * width / 2, 2 * width);
}

// out, query (queries, query heads, width); key, value (keys, key heads, width); total (query
// heads, queries): the logarithm of the sum of exp(scale * score). width is a multiple of 32. A
// query sees the last `window` keys up to its own, all of them if `window` is 0.
int attend_forward_bfloat16_bfloat16(const bf16 *query, const bf16 *key, const bf16 *value,
                                      const span *spans, bf16 *out, float *total, long many,
                                      long queries, long query_heads, long key_heads, long width,
                                      long window, float scale, int threads) {
  long most = longest(spans, many), groups = query_heads / key_heads;
  in_tiles = tiles_allowed();
  int failed = 0;
#pragma omp parallel num_threads(threads)
  {
    tiles before;
    if (in_tiles) tiles_begin(&before);
    char *memory = aligned_alloc(64, 6 * most * width + 256 * most + 320 * width + 9 * 64);
    char *front = memory;
    bf16 *k = taken(&front, 2 * most * width), *v_turned = taken(&front, 2 * most * width);
    bf16 *rows = taken(&front, 2 * most * width);
    float *score = taken(&front, 4 * SIDE * most), *o = taken(&front, 4 * SIDE * width);
    bf16 *weight = taken(&front, 2 * SIDE * most);
    pair *weight_pairs = taken(&front, 2 * SIDE * most), *q_turned = taken(&front, 2 * SIDE * width);
    pair *scratch = taken(&front, 2 * SIDE * width), *scratch_2 = taken(&front, 2 * SIDE * width);
#pragma omp for schedule(dynamic, 1)
    for (long u = 0; u < many * key_heads; u++) {
      if (!memory) {
        fail(&failed);
        continue;
      }
      const span *s = spans + u / key_heads;
      long h = u % key_heads, read = s->shared + s->own, held = whole(read);
      seen_rows(value + h * width, s, key_heads * width, width, rows);
      in_pairs(rows, width, held, width, (pair *)k);
      turned((pair *)k, held / 2, width, (pair *)v_turned);
      seen_rows(key + h * width, s, key_heads * width, width, k);
      for (long b = 0; b < groups * whole(s->asked) / SIDE; b++) {
        long head = h * groups + b % groups, i0 = b / groups * SIDE;
        long here = s->asked - i0 < SIDE ? s->asked - i0 : SIDE;
        long at = ((s->query + i0) * query_heads + head) * width;
        long first = read - s->asked + i0;  // the last key that the first query sees
        long low = lowest(first, window), n = whole(first + here);
        float high[SIDE], sum[SIDE];
        rows_of(query + at, here, SIDE, query_heads * width, width, rows);
        turned((pair *)rows, SIDE, width / 2, q_turned);
        for (long j = low; j < n; j += SIDE)
          product(score + j * SIDE, SIDE, k + j * width, width, q_turned, SIDE, width / SIDE, 0);
        for (int half = 0; half < 2; half++) {
          __m512 most_here = _mm512_set1_ps(-INFINITY), all = _mm512_setzero_ps();
          for (long j = low; j < n; j++)
            most_here = _mm512_mask_max_ps(most_here, readers(j, first, window, half), most_here,
                                           _mm512_loadu_ps(score + j * SIDE + 16 * half));
          __m512 times = _mm512_set1_ps(scale * LOG2_E), less = _mm512_mul_ps(most_here, times);
          for (long j = low; j < n; j++) {
            __m512 x = _mm512_loadu_ps(score + j * SIDE + 16 * half);
            __m512 p = _mm512_maskz_mov_ps(readers(j, first, window, half),
                                           power_of_two(_mm512_fmsub_ps(x, times, less)));
            all = _mm512_add_ps(all, p);
            put_narrow(weight + j * SIDE + 16 * half, p);
          }
          _mm512_storeu_ps(high + 16 * half, most_here);
          _mm512_storeu_ps(sum + 16 * half, all);
        }
        in_pairs(weight + low * SIDE, SIDE, n - low, SIDE, weight_pairs);
        for (long i = 0; i < here; i++)
          total[head * queries + s->query + i0 + i] = high[i] * scale + logf(sum[i]);
        for (long d = 0; d < width; d += SIDE)
          product(o + d * SIDE, SIDE, v_turned + d * held + low, held, weight_pairs, SIDE,
                  (n - low) / SIDE, 0);
        for (long i = 0; i < SIDE; i++) sum[i] = 1.0f / sum[i];
        rows_from(o, sum, here, query_heads * width, width, scratch, scratch_2, out + at);
      }
    }
    free(memory);
    if (in_tiles) tiles_end(&before);
  }
  return failed;
}

// The gradients of query, key and value from that of out. The caller zeroes d_key and d_value; rows
// that no document reads stay zero. For the first `front_rows` rows, which documents share, each
// document's part goes to common_key and common_value (documents, front_rows, key heads, width),
// zeroed by the caller too.
int attend_backward_bfloat16_bfloat16(const bf16 *query, const bf16 *key, const bf16 *value,
                                       const bf16 *out, const bf16 *d_out, const float *total,
                                       const span *spans, bf16 *d_query, bf16 *d_key,
                                       bf16 *d_value, float *common_key, float *common_value,
                                       long many, long queries, long query_heads, long key_heads,
                                       long width, long window, long front_rows, float scale, int threads) {
  long most = longest(spans, many), groups = query_heads / key_heads;
  in_tiles = tiles_allowed();
  int failed = 0;
#pragma omp parallel num_threads(threads)
  {
    tiles before;
    if (in_tiles) tiles_begin(&before);
    // Weights and score gradients of the heads that share keys are side by side: (most, beside).
    long beside = groups * SIDE;
    char *memory = aligned_alloc(64, 14 * most * width + (320 + 128 * groups) * most +
                                         (512 + 128 * groups) * width + 20 * 64);
    char *front = memory;
    bf16 *k = taken(&front, 2 * most * width), *v = taken(&front, 2 * most * width);
    bf16 *k_turned = taken(&front, 2 * most * width);
    float *d_k = taken(&front, 4 * most * width), *d_v = taken(&front, 4 * most * width);
    float *score = taken(&front, 4 * SIDE * most), *d_weight = taken(&front, 4 * SIDE * most);
    bf16 *weights = taken(&front, 2 * beside * most), *d_scores = taken(&front, 2 * beside * most);
    pair *d_score_pairs = taken(&front, 2 * SIDE * most);
    pair *q_pairs = taken(&front, 2 * beside * width), *d_o_pairs = taken(&front, 2 * beside * width);
    bf16 *q = taken(&front, 2 * SIDE * width), *d_o = taken(&front, 2 * SIDE * width);
    pair *q_turned = taken(&front, 2 * SIDE * width), *d_o_turned = taken(&front, 2 * SIDE * width);
    float *d_q = taken(&front, 4 * SIDE * width);
    pair *scratch = taken(&front, 2 * SIDE * width), *scratch_2 = taken(&front, 2 * SIDE * width);
    bf16 *o = (bf16 *)scratch;
#pragma omp for schedule(dynamic, 1)
    for (long u = 0; u < many * key_heads; u++) {
      if (!memory) {
        fail(&failed);
        continue;
      }
      const span *s = spans + u / key_heads;
      long h = u % key_heads, read = s->shared + s->own, held = whole(read);
      seen_rows(key + h * width, s, key_heads * width, width, v);
      in_pairs(v, width, held, width, (pair *)k);
      turned((pair *)k, held / 2, width, (pair *)k_turned);
      memcpy(k, v, 2 * held * width);
      seen_rows(value + h * width, s, key_heads * width, width, v);
      memset(d_k, 0, 4 * held * width);
      memset(d_v, 0, 4 * held * width);
      for (long b = 0; b < groups * whole(s->asked) / SIDE; b++) {
        long g = b % groups, head = h * groups + g, i0 = b / groups * SIDE;
        long here = s->asked - i0 < SIDE ? s->asked - i0 : SIDE, row = query_heads * width;
        bf16 *weight = weights + g * SIDE, *d_score = d_scores + g * SIDE;
        long at = (s->query + i0) * row + head * width;
        long first = read - s->asked + i0, n = whole(first + here), low = lowest(first, window);
        float along[SIDE] = {0}, all[SIDE] = {0}, times[SIDE];
        rows_of(out + at, here, SIDE, row, width, o);
        rows_of(d_out + at, here, SIDE, row, width, d_o);
        rows_of(query + at, here, SIDE, row, width, q);
        for (long i = 0; i < here; i++) {
          float sum = 0;
#pragma omp simd reduction(+ : sum)
          for (long d = 0; d < width; d++)
            sum += widened(o[i * width + d]) * widened(d_o[i * width + d]);
          along[i] = sum;
          all[i] = total[head * queries + s->query + i0 + i];
        }
        turned((pair *)q, SIDE, width / 2, q_turned);
        turned((pair *)d_o, SIDE, width / 2, d_o_turned);
        in_pairs(q, width, SIDE, width, q_pairs + g * PAIRS * width);
        in_pairs(d_o, width, SIDE, width, d_o_pairs + g * PAIRS * width);
        for (long j = low; j < n; j += SIDE) {
          product(score + j * SIDE, SIDE, k + j * width, width, q_turned, SIDE, width / SIDE, 0);
          product(d_weight + j * SIDE, SIDE, v + j * width, width, d_o_turned, SIDE,
                  width / SIDE, 0);
        }
        for (int half = 0; half < 2; half++) {
          __m512 times = _mm512_set1_ps(scale * LOG2_E);
          __m512 less = _mm512_mul_ps(_mm512_loadu_ps(all + 16 * half), _mm512_set1_ps(LOG2_E));
          __m512 mean = _mm512_loadu_ps(along + 16 * half);
          for (long j = low; j < n; j++) {
            long to = j * SIDE + 16 * half;
            __m512 x = _mm512_fmsub_ps(_mm512_loadu_ps(score + to), times, less);
            __m512 p = _mm512_maskz_mov_ps(readers(j, first, window, half), power_of_two(x));
            put_narrow(weight + j * beside + 16 * half, p);
            __m512 d_p = _mm512_sub_ps(_mm512_loadu_ps(d_weight + to), mean);
            put_narrow(d_score + j * beside + 16 * half, _mm512_mul_ps(p, d_p));
          }
        }
        in_pairs(d_score + low * beside, beside, n - low, SIDE, d_score_pairs);
        for (long d = 0; d < width; d += SIDE)
          product(d_q + d * SIDE, SIDE, k_turned + d * held + low, held, d_score_pairs, SIDE,
                  (n - low) / SIDE, 0);
        for (long i = 0; i < SIDE; i++) times[i] = scale;
        rows_from(d_q, times, here, row, width, scratch, scratch_2, d_query + at);
        if (g < groups - 1) continue;
        for (long j = low; j < n; j += SIDE)
          for (long d = 0; d < width; d += SIDE) {
            long to = j * width + d;
            product(d_v + to, width, weights + j * beside, beside, d_o_pairs + d, width, groups, 1);
            product(d_k + to, width, d_scores + j * beside, beside, q_pairs + d, width, groups, 1);
          }
      }
      for (long j = 0; j < read; j++) {
        long from = j < s->shared ? j : s->key + j - s->shared;
        float *one = d_k + j * width, *two = d_v + j * width;
        for (long d = 0; d < width; d++) one[d] *= scale;
        if (from < front_rows) {
          long to = ((u / key_heads * front_rows + from) * key_heads + h) * width;
          memcpy(common_key + to, one, 4 * width);
          memcpy(common_value + to, two, 4 * width);
          continue;
        }
        bf16 *to = d_key + (from * key_heads + h) * width;
        bf16 *to_2 = d_value + (from * key_heads + h) * width;
#pragma omp simd
        for (long d = 0; d < width; d++) to[d] = narrowed(one[d]), to_2[d] = narrowed(two[d]);
      }
    }
    free(memory);
    if (in_tiles) tiles_end(&before);
  }
  return failed;
}
#endif

// Causal attention inside the documents of a pack in fp32, forward and backward, for any processor.
//
// The query heads that share keys are stacked: a block has some queries of a document for all these
// heads, and its scores with all keys that they see are one product. The backward pass recomputes
// weights from the logarithm of their sum, as FlashAttention does (Dao et al. 2022). A thread holds
// one block's scores; memory does not grow with queries times keys.

// Copies the keys or values of one head that a document reads, padded with zeros to (held, width).
static void seen_fp32(const float *from, const span *s, long row, long width, float *to) {
  long read = s->shared + s->own;
  for (long j = 0; j < read; j++)
    memcpy(to + j * width, from + (j < s->shared ? j : s->key + j - s->shared) * row, 4 * width);
  memset(to + read * width, 0, 4 * width * (whole(read) - read));
}

// Transposes (rows, columns) -> (columns, rows) with row stride `row`.
static void turned_fp32(const float *from, long rows, long columns, float *to, long row) {
  for (long c = 0; c < columns; c += SIDE)
    for (long r = 0; r < rows; r++)
#pragma GCC unroll 8
      for (long i = c; i < c + SIDE; i++) to[i * row + r] = from[r * columns + i];
}

// Copies `here` rows of each of `heads` heads, head after head.
static void stacked(const float *from, long here, long heads, long row, long width, float *to) {
  for (long g = 0; g < heads; g++)
    for (long i = 0; i < here; i++)
      memcpy(to + (g * here + i) * width, from + i * row + g * width, 4 * width);
}

// A block: queries i0 to i0 + here of a document, for all heads that share keys.
typedef struct {
  long here, first, low, columns, steps;
} block;

ALWAYS block block_of(const span *s, long i0, long rows, long window) {
  block b = {.here = s->asked - i0 < rows ? s->asked - i0 : rows};
  b.first = s->shared + s->own - s->asked + i0;  // the last key that the first query sees
  b.low = lowest(b.first, window);
  b.steps = b.first + b.here - b.low;
  b.columns = (b.steps + STRIP - 1) / STRIP * STRIP;
  return b;
}

// The keys that query i of a block sees, counted from the block's lowest key: from `*start` up to,
// but not including, the number returned.
ALWAYS long readable(const block *b, long i, long window, long *start) {
  long seen = b->first + i + 1;
  *start = (window && seen > window ? seen - window : 0) - b->low;
  *start = *start < 0 ? 0 : *start;
  return seen - b->low;
}

// Queries per head in a block, for about 48 rows: more would compute more masked scores, fewer
// would read keys and values more often.
ALWAYS long block_rows(long groups) { return groups > 24 ? 2 : 48 / groups; }

// Arguments as for attend_forward_bfloat16_bfloat16.
int attend_forward_float32_float32(const float *query, const float *key, const float *value,
                                    const span *spans, float *out, float *total, long many,
                                    long queries, long query_heads, long key_heads, long width,
                                    long window, float scale, int threads) {
  long most = longest(spans, many), groups = query_heads / key_heads;
  long rows = block_rows(groups), across = most + 16, row = query_heads * width;
  int failed = 0;
#pragma omp parallel num_threads(threads)
  {
    char *memory = aligned_alloc(64, 4 * (most * width + width * across +
                                          groups * rows * (across + 2 * width + 1)) + 6 * 64);
    char *front = memory;
    float *v = taken(&front, 4 * most * width), *k_turned = taken(&front, 4 * width * across);
    float *score = taken(&front, 4 * groups * rows * across);
    float *q = taken(&front, 4 * groups * rows * width);
    float *o = taken(&front, 4 * groups * rows * width);
    float *share = taken(&front, 4 * groups * rows);
#pragma omp for schedule(dynamic, 1)
    for (long u = 0; u < many * key_heads; u++) {
      if (!memory) {
        fail(&failed);
        continue;
      }
      const span *s = spans + u / key_heads;
      long h = u % key_heads, held = whole(s->shared + s->own);
      seen_fp32(key + h * width, s, key_heads * width, width, v);
      turned_fp32(v, held, width, k_turned, across);
      seen_fp32(value + h * width, s, key_heads * width, width, v);
      for (long i0 = 0; i0 < s->asked; i0 += rows) {
        block b = block_of(s, i0, rows, window);
        long at = (s->query + i0) * row + h * groups * width;
        stacked(query + at, b.here, groups, row, width, q);
        product_fp32(groups * b.here, b.columns, score, across, q, width, 1, k_turned + b.low,
                     across, width, 0);
        for (long r = 0; r < groups * b.here; r++) {
          long g = r / b.here, i = r % b.here, start, stop = readable(&b, i, window, &start);
          float *x = score + r * across, high = -INFINITY, sum = 0;
#pragma omp simd reduction(max : high)
          for (long j = start; j < stop; j++) high = x[j] > high ? x[j] : high;
#pragma omp simd reduction(+ : sum)
          for (long j = start; j < stop; j++) sum += x[j] = exponential((x[j] - high) * scale);
          for (long j = 0; j < start; j++) x[j] = 0;
          for (long j = stop; j < b.steps; j++) x[j] = 0;
          total[(h * groups + g) * queries + s->query + i0 + i] = high * scale + logf(sum);
          share[r] = 1.0f / sum;
        }
        product_fp32(groups * b.here, width, o, width, score, across, 1, v + b.low * width, width,
                     b.steps, 0);
        for (long r = 0; r < groups * b.here; r++) {
          float *to = out + at + r % b.here * row + r / b.here * width;
#pragma omp simd
          for (long d = 0; d < width; d++) to[d] = o[r * width + d] * share[r];
        }
      }
    }
    free(memory);
  }
  return failed;
}

// Arguments as for attend_backward_bfloat16_bfloat16.
int attend_backward_float32_float32(const float *query, const float *key, const float *value,
                                     const float *out, const float *d_out, const float *total,
                                     const span *spans, float *d_query, float *d_key,
                                     float *d_value, float *common_key, float *common_value,
                                     long many, long queries, long query_heads, long key_heads,
                                     long width, long window, long front_rows, float scale,
                                     int threads) {
  long most = longest(spans, many), groups = query_heads / key_heads;
  long rows = block_rows(groups), across = most + 16, row = query_heads * width;
  int failed = 0;
#pragma omp parallel num_threads(threads)
  {
    char *memory = aligned_alloc(64, 4 * (3 * most * width + 2 * width * across +
                                          groups * rows * (2 * across + 3 * width)) + 10 * 64);
    char *front = memory;
    float *k = taken(&front, 4 * most * width);
    float *k_turned = taken(&front, 4 * width * across);
    float *v_turned = taken(&front, 4 * width * across);
    float *d_k = taken(&front, 4 * most * width), *d_v = taken(&front, 4 * most * width);
    float *weight = taken(&front, 4 * groups * rows * across);
    float *d_score = taken(&front, 4 * groups * rows * across);
    float *q = taken(&front, 4 * groups * rows * width);
    float *d_o = taken(&front, 4 * groups * rows * width);
    float *d_q = taken(&front, 4 * groups * rows * width);
#pragma omp for schedule(dynamic, 1)
    for (long u = 0; u < many * key_heads; u++) {
      if (!memory) {
        fail(&failed);
        continue;
      }
      const span *s = spans + u / key_heads;
      long h = u % key_heads, read = s->shared + s->own, held = whole(read);
      seen_fp32(value + h * width, s, key_heads * width, width, k);
      turned_fp32(k, held, width, v_turned, across);
      seen_fp32(key + h * width, s, key_heads * width, width, k);
      turned_fp32(k, held, width, k_turned, across);
      memset(d_k, 0, 4 * held * width);
      memset(d_v, 0, 4 * held * width);
      for (long i0 = 0; i0 < s->asked; i0 += rows) {
        block b = block_of(s, i0, rows, window);
        long many_rows = groups * b.here, at = (s->query + i0) * row + h * groups * width;
        stacked(query + at, b.here, groups, row, width, q);
        stacked(d_out + at, b.here, groups, row, width, d_o);
        product_fp32(many_rows, b.columns, weight, across, q, width, 1, k_turned + b.low, across,
                     width, 0);
        product_fp32(many_rows, b.columns, d_score, across, d_o, width, 1, v_turned + b.low, across,
                     width, 0);
        for (long r = 0; r < many_rows; r++) {
          long g = r / b.here, i = r % b.here, start, stop = readable(&b, i, window, &start);
          const float *o = out + at + i * row + g * width;
          float *p = weight + r * across, *d_s = d_score + r * across, along = 0;
          float all = total[(h * groups + g) * queries + s->query + i0 + i];
#pragma omp simd reduction(+ : along)
          for (long d = 0; d < width; d++) along += o[d] * d_o[r * width + d];
#pragma omp simd
          for (long j = start; j < stop; j++) {
            p[j] = exponential(p[j] * scale - all);
            d_s[j] = p[j] * (d_s[j] - along) * scale;
          }
          for (long j = 0; j < start; j++) p[j] = d_s[j] = 0;
          for (long j = stop; j < b.steps; j++) p[j] = d_s[j] = 0;
        }
        product_fp32(many_rows, width, d_q, width, d_score, across, 1, k + b.low * width, width,
                     b.steps, 0);
        for (long r = 0; r < many_rows; r++)
          memcpy(d_query + at + r % b.here * row + r / b.here * width, d_q + r * width, 4 * width);
        product_fp32(b.steps, width, d_v + b.low * width, width, weight, 1, across, d_o, width,
                     many_rows, 1);
        product_fp32(b.steps, width, d_k + b.low * width, width, d_score, 1, across, q, width,
                     many_rows, 1);
      }
      for (long j = 0; j < read; j++) {
        long from = j < s->shared ? j : s->key + j - s->shared;
        int common = from < front_rows;
        long to = common ? ((u / key_heads * front_rows + from) * key_heads + h) * width
                         : (from * key_heads + h) * width;
        memcpy((common ? common_key : d_key) + to, d_k + j * width, 4 * width);
        memcpy((common ? common_value : d_value) + to, d_v + j * width, 4 * width);
      }
    }
    free(memory);
  }
  return failed;
}

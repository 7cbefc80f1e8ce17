// Fused kernels of a training step, each of which takes PyTorch three to eight passes over memory.
//
// Included once for every pair of dtypes (formats.c): X is that of the residual stream, Y that of
// the products. Sums are in fp32. Each thread computes whole rows, so that results do not depend on
// the number of threads. Kernels that allocate memory return 1 if there is none, 0 otherwise.

// y = x r gain, r = 1 / sqrt(mean(x^2) + eps): x (rows, width), gain (width), r (rows).
void NAME(norm_forward)(const X *x, const float *gain, Y *y, float *r, long rows, long width,
                        float eps, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
  for (long t = 0; t < rows; t++) {
    const X *in = x + t * width;
    Y *out = y + t * width;
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (long i = 0; i < width; i++) sum += X_WIDE(in[i]) * X_WIDE(in[i]);
    float scale = r[t] = 1.0f / sqrtf(sum / width + eps);
#pragma omp simd
    for (long i = 0; i < width; i++) out[i] = Y_NARROW(X_WIDE(in[i]) * scale * gain[i]);
  }
}

// dx = r (g - x r mean(g x r)), g = dy gain.
void NAME(norm_backward)(const X *x, const float *gain, const float *r, const Y *dy, X *dx,
                         long rows, long width, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
  for (long t = 0; t < rows; t++) {
    const X *in = x + t * width;
    const Y *grad = dy + t * width;
    X *out = dx + t * width;
    float sum = 0, scale = r[t];
#pragma omp simd reduction(+ : sum)
    for (long i = 0; i < width; i++) sum += Y_WIDE(grad[i]) * gain[i] * X_WIDE(in[i]);
    float along = sum * scale * scale * scale / width;
#pragma omp simd
    for (long i = 0; i < width; i++)
      out[i] = X_NARROW(Y_WIDE(grad[i]) * gain[i] * scale - X_WIDE(in[i]) * along);
  }
}

// The gradient of the gain in `parts` sums over consecutive rows, so that neither threads nor their
// number change its bits: sums[p] = sum of dy x r.
void NAME(norm_gain)(const X *x, const float *r, const Y *dy, float *sums, long rows, long width,
                     long parts, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
  for (long p = 0; p < parts; p++) {
    float *sum = sums + p * width;
    for (long i = 0; i < width; i++) sum[i] = 0;
    for (long t = p * rows / parts; t < (p + 1) * rows / parts; t++) {
      const X *in = x + t * width;
      const Y *grad = dy + t * width;
      float scale = r[t];
#pragma omp simd
      for (long i = 0; i < width; i++) sum[i] += Y_WIDE(grad[i]) * X_WIDE(in[i]) * scale;
    }
  }
}

// y = silu(gate) up, elementwise over `size` values.
void NAME(swiglu_forward)(const Y *gate, const Y *up, Y *y, long size, int threads) {
#pragma omp parallel for simd num_threads(threads) schedule(static)
  for (long i = 0; i < size; i++) {
    float g = Y_WIDE(gate[i]);
    y[i] = Y_NARROW(g * sigmoid(g) * Y_WIDE(up[i]));
  }
}

void NAME(swiglu_backward)(const Y *gate, const Y *up, const Y *dy, Y *dgate, Y *dup, long size,
                           int threads) {
#pragma omp parallel for simd num_threads(threads) schedule(static)
  for (long i = 0; i < size; i++) {
    float g = Y_WIDE(gate[i]), grad = Y_WIDE(dy[i]), s = sigmoid(g);
    dup[i] = Y_NARROW(grad * g * s);
    dgate[i] = Y_NARROW(grad * Y_WIDE(up[i]) * s * (1.0f + g * (1.0f - s)));
  }
}

// y = gelu(gate) up, with gelu(g) = g sigmoid(2 z), z = sqrt(2 / pi) (g + 0.044715 g^3), which
// equals g (1 + tanh(z)) / 2.
void NAME(geglu_forward)(const Y *gate, const Y *up, Y *y, long size, int threads) {
#pragma omp parallel for simd num_threads(threads) schedule(static)
  for (long i = 0; i < size; i++) {
    float g = Y_WIDE(gate[i]);
    float s = sigmoid(1.59576912f * (g + 0.044715f * g * g * g));
    y[i] = Y_NARROW(g * s * Y_WIDE(up[i]));
  }
}

void NAME(geglu_backward)(const Y *gate, const Y *up, const Y *dy, Y *dgate, Y *dup, long size,
                          int threads) {
#pragma omp parallel for simd num_threads(threads) schedule(static)
  for (long i = 0; i < size; i++) {
    float g = Y_WIDE(gate[i]), grad = Y_WIDE(dy[i]);
    float s = sigmoid(1.59576912f * (g + 0.044715f * g * g * g));
    float slope = 1.59576912f * (1.0f + 0.134145f * g * g);
    dup[i] = Y_NARROW(grad * g * s);
    dgate[i] = Y_NARROW(grad * Y_WIDE(up[i]) * s * (1.0f + g * (1.0f - s) * slope));
  }
}

// Dropout: y = x times a factor for kept values, 0 for others; y may be x. Whether a value is kept
// is a function of the two seeds and its position, so the backward pass needs no mask.
void NAME(drop)(const Y *x, Y *y, long size, long seed, long seed_2, long least, float times,
                int threads) {
#pragma omp parallel for simd num_threads(threads) schedule(static)
  for (long i = 0; i < size; i++) {
    float kept = scattered((uint32_t)i, (uint32_t)seed, (uint32_t)seed_2) >= (uint32_t)least;
    y[i] = Y_NARROW(kept * times * Y_WIDE(x[i]));
  }
}

// Rotary embedding that pairs a head's two halves, forward (turn = 1) or backward (-1).
// x, y (rows, heads, width); cos, sin (rows, width).
void NAME(rotate)(const Y *x, const Y *cos, const Y *sin, Y *y, long rows, long heads, long width,
                  float turn, int threads) {
  long half = width / 2;
#pragma omp parallel for num_threads(threads) schedule(static)
  for (long t = 0; t < rows; t++) {
    const Y *c = cos + t * width, *s = sin + t * width;
    // Backward: each half uses the sines of the other half.
    const Y *s1 = turn > 0 ? s : s + half, *s2 = turn > 0 ? s + half : s;
    for (long h = 0; h < heads; h++) {
      const Y *in = x + (t * heads + h) * width;
      Y *out = y + (t * heads + h) * width;
#pragma omp simd
      for (long i = 0; i < half; i++) {
        float a = Y_WIDE(in[i]), b = Y_WIDE(in[half + i]);
        out[i] = Y_NARROW(a * Y_WIDE(c[i]) - turn * b * Y_WIDE(s1[i]));
        out[half + i] = Y_NARROW(b * Y_WIDE(c[half + i]) + turn * a * Y_WIDE(s2[i]));
      }
    }
  }
}

// Scores to weights, in place: softmax(scale * score) over the keys that query i sees, which are
// the last `window` (all if it is 0) of the first `read - asked + i + 1`; zeros elsewhere, and in
// padding rows. score (blocks, rows, columns), of which `asked` rows and `read` columns are not
// padding.
void NAME(softmax_forward)(Y *score, long blocks, long rows, long columns, long asked, long read,
                           long window, float scale, int threads) {
#pragma omp parallel for num_threads(threads) schedule(dynamic, 16)
  for (long t = 0; t < blocks * rows; t++) {
    Y *p = score + t * columns;
    long i = t % rows, seen = i < asked ? read - asked + i + 1 : 0;
    long from = window && seen > window ? seen - window : 0;
    float most = -INFINITY, sum = 0, e[columns];
#pragma omp simd reduction(max : most)
    for (long j = from; j < seen; j++) {
      float s = Y_WIDE(p[j]);
      most = s > most ? s : most;
    }
#pragma omp simd reduction(+ : sum)
    for (long j = from; j < seen; j++) sum += e[j] = exponential((Y_WIDE(p[j]) - most) * scale);
    float share = 1.0f / sum;
#pragma omp simd
    for (long j = from; j < seen; j++) p[j] = Y_NARROW(e[j] * share);
    for (long j = 0; j < from; j++) p[j] = Y_NARROW(0.0f);
    for (long j = seen; j < columns; j++) p[j] = Y_NARROW(0.0f);
  }
}

// The gradient of the scores, in place of that of the weights p: scale p (dp - sum(dp p)).
void NAME(softmax_backward)(Y *grad, const Y *weight, long blocks, long rows, long columns,
                            long asked, long read, long window, float scale, int threads) {
#pragma omp parallel for num_threads(threads) schedule(dynamic, 16)
  for (long t = 0; t < blocks * rows; t++) {
    Y *dp = grad + t * columns;
    const Y *p = weight + t * columns;
    long i = t % rows, seen = i < asked ? read - asked + i + 1 : 0;
    long from = window && seen > window ? seen - window : 0;
    float along = 0;
#pragma omp simd reduction(+ : along)
    for (long j = from; j < seen; j++) along += Y_WIDE(dp[j]) * Y_WIDE(p[j]);
#pragma omp simd
    for (long j = from; j < seen; j++)
      dp[j] = Y_NARROW(scale * Y_WIDE(p[j]) * (Y_WIDE(dp[j]) - along));
    for (long j = 0; j < from; j++) dp[j] = Y_NARROW(0.0f);
    for (long j = seen; j < columns; j++) dp[j] = Y_NARROW(0.0f);
  }
}

// loss (rows) = log(sum(exp(logit))) - logit[target], and with `grad` the gradient of its sum,
// softmax - one-hot, in place of the logits (rows, columns). Both are 0 in rows with a negative
// target.
void NAME(cross_entropy)(Y *logit, const int64_t *target, float *loss, long rows, long columns,
                         long grad, int threads) {
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1)
  for (long t = 0; t < rows; t++) {
    Y *in = logit + t * columns;
    float most = -INFINITY, sum = 0;
    if (target[t] < 0) {
      loss[t] = 0;
      for (long j = 0; grad && j < columns; j++) in[j] = Y_NARROW(0.0f);
      continue;
    }
#pragma omp simd reduction(max : most)
    for (long j = 0; j < columns; j++) {
      float x = Y_WIDE(in[j]);
      most = x > most ? x : most;
    }
#pragma omp simd reduction(+ : sum)
    for (long j = 0; j < columns; j++) sum += exponential(Y_WIDE(in[j]) - most);
    float all = most + logf(sum), at = Y_WIDE(in[target[t]]);
    loss[t] = all - at;
    if (!grad) continue;
#pragma omp simd
    for (long j = 0; j < columns; j++) in[j] = Y_NARROW(exponential(Y_WIDE(in[j]) - all));
    in[target[t]] = Y_NARROW(exponential(at - all) - 1.0f);
  }
}

// Scores of `n` queries (n, width) with 2 LANES keys, stored transposed: `width` rows.
ALWAYS void NAME(scored)(const int n, const float *query, long width, const Y *keys, long stride,
                         float *score, long across) {
  lanes sum[4][2] = {0};
  for (long d = 0; d < width; d++) {
    lanes first = Y_LANES(keys + d * stride), second = Y_LANES(keys + d * stride + LANES);
#pragma GCC unroll 4
    for (int g = 0; g < n; g++) {
      sum[g][0] += query[g * width + d] * first;
      sum[g][1] += query[g * width + d] * second;
    }
  }
  for (int g = 0; g < n; g++) memcpy(score + g * across, sum[g], sizeof sum[g]);
}

// Adds weights times values, rows start to stop, to `n` sums, for `v` times LANES of the width.
ALWAYS void NAME(weighed)(const int n, const int v, const float *weight, long across,
                          const Y *values, long width, long start, long stop, float *out) {
  lanes sum[4][2];
  for (int g = 0; g < n; g++) memcpy(sum[g], out + g * width, v * sizeof(lanes));
  for (long s = start; s < stop; s++) {
    lanes value[2];
#pragma GCC unroll 2
    for (int i = 0; i < v; i++) value[i] = Y_LANES(values + s * width + i * LANES);
#pragma GCC unroll 4
    for (int g = 0; g < n; g++)
#pragma GCC unroll 2
      for (int i = 0; i < v; i++) sum[g][i] += weight[g * across + s] * value[i];
  }
  for (int g = 0; g < n; g++) memcpy(out + g * width, sum[g], v * sizeof(lanes));
}

// The same for any number of queries and any width that is a multiple of LANES.
static void NAME(score_keys)(long queries, const float *query, long width, const Y *keys,
                             long stride, long start, long stop, float *score, long across) {
  for (long s = start / (2 * LANES) * (2 * LANES); s < stop; s += 2 * LANES)
    for (long g = 0; g < queries; g += 4) {
      const float *q = query + g * width;
      float *to = score + g * across + s;
      switch (queries - g) {
        case 1: NAME(scored)(1, q, width, keys + s, stride, to, across); break;
        case 2: NAME(scored)(2, q, width, keys + s, stride, to, across); break;
        case 3: NAME(scored)(3, q, width, keys + s, stride, to, across); break;
        default: NAME(scored)(4, q, width, keys + s, stride, to, across);
      }
    }
}

static void NAME(weigh_values)(long queries, const float *weight, long across, const Y *values,
                               long width, long start, long stop, float *out) {
  for (long d = 0; d < width; d += 2 * LANES)
    for (long g = 0; g < queries; g += 4) {
      const float *w = weight + g * across;
      float *to = out + g * width + d;
      int n = queries - g < 4 ? queries - g : 4, v = width - d < 2 * LANES ? 1 : 2;
#define WEIGHED(n, v) NAME(weighed)(n, v, w, across, values + d, width, start, stop, to)
      switch (2 * n + v) {
        case 3: WEIGHED(1, 1); break;
        case 4: WEIGHED(1, 2); break;
        case 5: WEIGHED(2, 1); break;
        case 6: WEIGHED(2, 2); break;
        case 7: WEIGHED(3, 1); break;
        case 8: WEIGHED(3, 2); break;
        case 9: WEIGHED(4, 1); break;
        default: WEIGHED(4, 2);
      }
#undef WEIGHED
    }
}

// Attention of new tokens in generation to the keys before them: first those that their row shares
// with others, then the row's own, to which the new keys and values are appended. Sums are in the
// order of the keys, so that they do not depend on where the shared ones end.
//
// query, out (tokens, query heads, width); new_keys, new_values (tokens, key heads, width);
// keys (rows, key heads, width, room), values (rows, key heads, room, width);
// shared: per row the addresses of keys (key heads, width, stride) and values (key heads, length,
// width), length, stride; at: per token its row and its position among the row's own tokens.
// A token sees `window` keys, or all if it is 0. width is a multiple of LANES; room and stride are
// multiples of 2 LANES.
int NAME(attend_rows)(const Y *query, const Y *new_keys, const Y *new_values, Y *keys, Y *values,
                       const int64_t *shared, const int64_t *at, Y *out, long tokens,
                       long query_heads, long key_heads, long width, long room, long window,
                       float scale, int threads) {
  long queries = query_heads / key_heads;
  int failed = 0;
#pragma omp parallel num_threads(threads)
  {
#pragma omp for schedule(static)
    for (long u = 0; u < tokens * key_heads; u++) {
      long t = u / key_heads, block = at[2 * t] * key_heads + u % key_heads, p = at[2 * t + 1];
      for (long d = 0; d < width; d++) {
        keys[(block * width + d) * room + p] = new_keys[u * width + d];
        values[(block * room + p) * width + d] = new_values[u * width + d];
      }
    }
#pragma omp for schedule(dynamic, 1)
    for (long u = 0; u < tokens * key_heads; u++) {
      long k = u / tokens, t = u % tokens, p = at[2 * t + 1];
      const int64_t *row = shared + 4 * at[2 * t];
      long length = row[2], stride = row[3], stop = length + p + 1;
      long start = window && stop > window ? stop - window : 0;
      long block = at[2 * t] * key_heads + k, across = stop + 4 * LANES;
      float *score = malloc(sizeof(float) * queries * (across + 2 * width));
      if (!score) {
        fail(&failed);
        continue;
      }
      float *asked = score + queries * across, *sum = asked + queries * width;
      const Y *from = query + (t * query_heads + k * queries) * width;
      for (long i = 0; i < queries * width; i++) asked[i] = Y_WIDE(from[i]) * scale, sum[i] = 0;
      const Y *common = (const Y *)row[1] + k * length * width;
      const Y *own = values + block * room * width;
      if (start < length)
        NAME(score_keys)(queries, asked, width, (const Y *)row[0] + k * width * stride, stride,
                         start, length, score, across);
      long first = start > length ? start - length : 0;
      NAME(score_keys)(queries, asked, width, keys + block * width * room, room, first, p + 1,
                       score + length, across);
      for (long g = 0; g < queries; g++) {
        float *e = score + g * across, most = -INFINITY, total = 0;
#pragma omp simd reduction(max : most)
        for (long s = start; s < stop; s++) most = e[s] > most ? e[s] : most;
#pragma omp simd reduction(+ : total)
        for (long s = start; s < stop; s++) total += e[s] = exponential(e[s] - most);
        float share = 1.0f / total;
        for (long s = start; s < stop; s++) e[s] *= share;
      }
      NAME(weigh_values)(queries, score, across, common, width, start, length, sum);
      NAME(weigh_values)(queries, score + length, across, own, width, first, p + 1, sum);
      Y *to = out + (t * query_heads + k * queries) * width;
      for (long i = 0; i < queries * width; i++) to[i] = Y_NARROW(sum[i]);
      free(score);
    }
  }
  return failed;
}

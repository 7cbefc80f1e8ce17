// Loops over memory of a training step, each of which PyTorch would do in three to eight passes.
//
// Included once for every pair of number formats (formats.c): X is the format of the residual
// stream, Y that of the products. Sums are in fp32. Rows go to threads; a thread has whole rows, so
// that results do not depend on how many there are.

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

// A head's first half turned with its second, forward (turn = 1) or back (-1).
// x, y (rows, heads, width); cos, sin (rows, width).
void NAME(rotate)(const Y *x, const Y *cos, const Y *sin, Y *y, long rows, long heads, long width,
                  float turn, int threads) {
  long half = width / 2;
#pragma omp parallel for num_threads(threads) schedule(static)
  for (long t = 0; t < rows; t++) {
    const Y *c = cos + t * width, *s = sin + t * width;
    // Back: each output takes the angle of the input it came from.
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

// Scores to weights, in place: softmax(scale * score) over the keys that a query may read, which
// are the first `read - asked + i + 1` for query i; zeros for the rest, and in rows that fill up.
// score (blocks, rows, columns), of which `asked` rows and `read` columns are real.
void NAME(softmax_forward)(Y *score, long blocks, long rows, long columns, long asked, long read,
                           float scale, int threads) {
#pragma omp parallel for num_threads(threads) schedule(dynamic, 16)
  for (long t = 0; t < blocks * rows; t++) {
    Y *p = score + t * columns;
    long i = t % rows, seen = i < asked ? read - asked + i + 1 : 0;
    float most = -INFINITY, sum = 0, e[columns];
#pragma omp simd reduction(max : most)
    for (long j = 0; j < seen; j++) {
      float s = Y_WIDE(p[j]);
      most = s > most ? s : most;
    }
#pragma omp simd reduction(+ : sum)
    for (long j = 0; j < seen; j++) sum += e[j] = exponential((Y_WIDE(p[j]) - most) * scale);
    float share = 1.0f / sum;
#pragma omp simd
    for (long j = 0; j < seen; j++) p[j] = Y_NARROW(e[j] * share);
    for (long j = seen; j < columns; j++) p[j] = Y_NARROW(0.0f);
  }
}

// The gradient of the scores, in place of that of the weights p: scale p (dp - sum(dp p)).
void NAME(softmax_backward)(Y *grad, const Y *weight, long blocks, long rows, long columns,
                            long asked, long read, float scale, int threads) {
#pragma omp parallel for num_threads(threads) schedule(dynamic, 16)
  for (long t = 0; t < blocks * rows; t++) {
    Y *dp = grad + t * columns;
    const Y *p = weight + t * columns;
    long i = t % rows, seen = i < asked ? read - asked + i + 1 : 0;
    float along = 0;
#pragma omp simd reduction(+ : along)
    for (long j = 0; j < seen; j++) along += Y_WIDE(dp[j]) * Y_WIDE(p[j]);
#pragma omp simd
    for (long j = 0; j < seen; j++)
      dp[j] = Y_NARROW(scale * Y_WIDE(p[j]) * (Y_WIDE(dp[j]) - along));
    for (long j = seen; j < columns; j++) dp[j] = Y_NARROW(0.0f);
  }
}

// loss (rows) = log(sum(exp(logit))) - logit[target], and with `grad` the gradient of its sum,
// softmax - one-hot, in place of the logits (rows, columns).
void NAME(cross_entropy)(Y *logit, const int64_t *target, float *loss, long rows, long columns,
                         long grad, int threads) {
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1)
  for (long t = 0; t < rows; t++) {
    Y *in = logit + t * columns;
    float most = -INFINITY, sum = 0;
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

// What loops for attention (attention.c, attention_fp32.c) have in common.

enum { SIDE = 32 };  // of blocks

// What a document reads: `shared` rows at the pack's front, then `own` from `key` on. Its queries
// are the last `asked` of these positions; they begin at row `query`.
typedef struct {
  int64_t query, asked, key, own, shared;
} span;

ALWAYS long whole(long size) { return (size + SIDE - 1) / SIDE * SIDE; }

// The most positions that one of the documents reads, whole.
ALWAYS long longest(const span *spans, long many) {
  long most = 0;
  for (long i = 0; i < many; i++) {
    long read = whole(spans[i].shared + spans[i].own);
    most = read > most ? read : most;
  }
  return most;
}

// The first row, a multiple of SIDE, of those that a block reads whose first query reads up to row
// `first`.
ALWAYS long lowest(long first, long window) {
  return window && first >= window ? (first - window + 1) / SIDE * SIDE : 0;
}

// Memory of one thread, handed out from its front.
ALWAYS void *taken(char **front, long bytes) {
  char *found = *front;
  *front += (bytes + 63) / 64 * 64;
  return found;
}

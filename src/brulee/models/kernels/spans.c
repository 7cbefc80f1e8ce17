// Common code of the attention kernels (attention.c, attention_fp32.c).

enum { SIDE = 32 };  // block size

// The keys of a document: `shared` rows at the pack's front, then `own` rows from `key` on. Its
// queries are the last `asked` of these positions and begin at query row `query`.
typedef struct {
  int64_t query, asked, key, own, shared;
} span;

ALWAYS long whole(long size) { return (size + SIDE - 1) / SIDE * SIDE; }

// The most keys that a document reads, rounded up to a multiple of SIDE.
ALWAYS long longest(const span *spans, long many) {
  long most = 0;
  for (long i = 0; i < many; i++) {
    long read = whole(spans[i].shared + spans[i].own);
    most = read > most ? read : most;
  }
  return most;
}

// The first key, rounded down to a multiple of SIDE, that a block sees whose first query sees keys
// up to `first`.
ALWAYS long lowest(long first, long window) {
  return window && first >= window ? (first - window + 1) / SIDE * SIDE : 0;
}

// Bump allocation from a thread's memory, aligned to 64 bytes.
ALWAYS void *taken(char **front, long bytes) {
  char *found = *front;
  *front += (bytes + 63) / 64 * 64;
  return found;
}

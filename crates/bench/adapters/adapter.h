/* What a peer looks like to the bench: one table of functions, so that every peer pays for one
 * indirect call per operation, no more and no less.
 *
 * `alloc` returns the distance of the block from `base`, or 0 when there is no room. `base` is null for
 * an allocator without a file: then the distance is the address. `begin` and `commit` are null for a peer
 * without transactions; between them the bench calls `tx_alloc` and `tx_free` instead.
 * An operation that ought to have succeeded and did not leaves its reason in `why_full` or `begin`/`commit`'s
 * result (0 = fine). All functions but `close` may be called by several threads at once, a transaction
 * belongs to the thread that began it. */
#ifndef HEAPFILE_BENCH_ADAPTER_H
#define HEAPFILE_BENCH_ADAPTER_H
#include <stddef.h>
#include <stdint.h>

typedef struct adapter {
    void *ctx;
    char *base;
    uint64_t (*alloc)(void *ctx, uint64_t len);
    void (*free)(void *ctx, uint64_t at);
    uint64_t (*tx_alloc)(void *ctx, uint64_t len);
    void (*tx_free)(void *ctx, uint64_t at);
    int (*begin)(void *ctx);
    int (*commit)(void *ctx);
    int (*set_root)(void *ctx, uint64_t at);
    uint64_t (*root)(void *ctx);
    void (*close)(void *ctx);
} adapter;

/* A peer's constructor: creates a heap of `size` bytes in the file `path`, or opens what is there when `size`
 * is 0. Fills `out` and returns 0, or writes a text of at most `why_len` bytes with its NUL to `why` and returns 1. */
#ifdef __cplusplus
extern "C" {
#endif
int boost_adapter_open(adapter *out, const char *path, uint64_t size, char *why, size_t why_len);
int boost_one_lock_adapter_open(adapter *out, const char *path, uint64_t size, char *why, size_t why_len);
int pmdk_adapter_open(adapter *out, const char *path, uint64_t size, char *why, size_t why_len);

/* The peer's version, a static string. */
const char *boost_adapter_version(void);
const char *pmdk_adapter_version(void);
#ifdef __cplusplus
}
#endif
#endif

/* PMDK libpmemobj: each operation its own failure-atomic one (pmemobj_alloc, pmemobj_free), or many in a
 * pmemobj transaction.
 *
 * The object id is kept outside the pool, as an offset, so that the price is that of the allocator alone. The
 * pool file is made here as a sparse one of the wanted size: pmemobj_create would fill it. With PMEM_IS_PMEM_FORCE=1,
 * which the bench sets for the process, PMDK flushes cache lines instead of calling msync: safe against a
 * kill, on a file that is not on persistent memory not against a power cut. */
#include "adapter.h"

#include <libpmemobj.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LAYOUT "heapfile-bench"

struct opened {
    PMEMobjpool *pool;
    uint64_t pool_id;
    uint64_t *root;
};

static PMEMoid oid_of(const struct opened *o, uint64_t at) {
    PMEMoid oid = {o->pool_id, at};
    return oid;
}

static uint64_t pmdk_alloc(void *ctx, uint64_t len) {
    struct opened *o = ctx;
    PMEMoid oid;
    return pmemobj_alloc(o->pool, &oid, len, 0, NULL, NULL) ? 0 : oid.off;
}

static void pmdk_free(void *ctx, uint64_t at) {
    PMEMoid oid = oid_of(ctx, at);
    pmemobj_free(&oid);
}

static uint64_t pmdk_tx_alloc(void *ctx, uint64_t len) {
    (void)ctx;
    return pmemobj_tx_alloc(len, 0).off;
}

static void pmdk_tx_free(void *ctx, uint64_t at) { pmemobj_tx_free(oid_of(ctx, at)); }

static int pmdk_begin(void *ctx) {
    struct opened *o = ctx;
    return pmemobj_tx_begin(o->pool, NULL, TX_PARAM_NONE);
}

static int pmdk_commit(void *ctx) {
    (void)ctx;
    if (pmemobj_tx_stage() == TX_STAGE_WORK)
        pmemobj_tx_commit();
    return pmemobj_tx_end();
}

static int pmdk_set_root(void *ctx, uint64_t at) {
    struct opened *o = ctx;
    *o->root = at;
    pmemobj_persist(o->pool, o->root, sizeof *o->root);
    return 0;
}

static uint64_t pmdk_root(void *ctx) { return *((struct opened *)ctx)->root; }

static void pmdk_close(void *ctx) {
    struct opened *o = ctx;
    pmemobj_close(o->pool);
    free(o);
}

static int make_sparse(const char *path, uint64_t size) {
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return -1;
    int failed = ftruncate(fd, (off_t)size);
    close(fd);
    return failed;
}

int pmdk_adapter_open(adapter *out, const char *path, uint64_t size, char *why, size_t why_len) {
    if (size && make_sparse(path, size)) {
        snprintf(why, why_len, "%s: %s", path, strerror(errno));
        return 1;
    }
    PMEMobjpool *pool = size ? pmemobj_create(path, LAYOUT, 0, 0600) : pmemobj_open(path, LAYOUT);
    if (!pool) {
        snprintf(why, why_len, "%s", pmemobj_errormsg());
        return 1;
    }
    struct opened *o = malloc(sizeof *o);
    PMEMoid root = pmemobj_root(pool, sizeof(uint64_t));
    if (!o || OID_IS_NULL(root)) {
        snprintf(why, why_len, "no room for the root object");
        free(o);
        pmemobj_close(pool);
        return 1;
    }
    *o = (struct opened){pool, root.pool_uuid_lo, pmemobj_direct(root)};
    *out = (adapter){.ctx = o,
                     .base = (char *)pool,
                     .alloc = pmdk_alloc,
                     .free = pmdk_free,
                     .tx_alloc = pmdk_tx_alloc,
                     .tx_free = pmdk_tx_free,
                     .begin = pmdk_begin,
                     .commit = pmdk_commit,
                     .set_root = pmdk_set_root,
                     .root = pmdk_root,
                     .close = pmdk_close};
    return 0;
}

#define TEXT(x) TEXT_(x)
#define TEXT_(x) #x

const char *pmdk_adapter_version(void) {
    return "libpmemobj interface " TEXT(PMEMOBJ_MAJOR_VERSION) "." TEXT(PMEMOBJ_MINOR_VERSION);
}

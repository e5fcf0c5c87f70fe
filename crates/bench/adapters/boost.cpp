/* Boost.Interprocess: managed_mapped_file with its default algorithm, rbtree_best_fit.
 *
 * `boost` is the type as everybody uses it: its own recursive mutex in the file guards each allocation and
 * each free. `boost_one_lock` takes that mutex family away (null_mutex_family) and puts one process-shared
 * mutex of ours around what begin/commit enclose, so that a replacement costs one lock instead of two: the
 * best that can be made of Boost between processes. Neither survives a kill in the middle of an operation. */
#include "adapter.h"

#include <boost/interprocess/managed_mapped_file.hpp>
#include <boost/interprocess/mem_algo/rbtree_best_fit.hpp>
#include <boost/interprocess/sync/interprocess_mutex.hpp>
#include <boost/version.hpp>

#include <cstdio>
#include <exception>
#include <new>

namespace bip = boost::interprocess;

namespace {

using shared_segment = bip::managed_mapped_file;
using bare_segment =
    bip::basic_managed_mapped_file<char, bip::rbtree_best_fit<bip::null_mutex_family>, bip::iset_index>;

template <class Segment> struct opened {
    Segment segment;
    char *base;
    uint64_t *root;
    bip::interprocess_mutex *lock;

    opened(const char *path, uint64_t size)
        : segment(size ? Segment(bip::create_only, path, size) : Segment(bip::open_only, path)),
          base(static_cast<char *>(segment.get_address())),
          root(segment.template find_or_construct<uint64_t>("root")(uint64_t(0))),
          lock(segment.template find_or_construct<bip::interprocess_mutex>("lock")()) {}
};

template <class Segment> uint64_t alloc(void *ctx, uint64_t len) {
    auto *o = static_cast<opened<Segment> *>(ctx);
    char *p = static_cast<char *>(o->segment.allocate(len, std::nothrow));
    return p ? static_cast<uint64_t>(p - o->base) : 0;
}

template <class Segment> void dealloc(void *ctx, uint64_t at) {
    auto *o = static_cast<opened<Segment> *>(ctx);
    o->segment.deallocate(o->base + at);
}

int take_lock(void *ctx) {
    static_cast<opened<bare_segment> *>(ctx)->lock->lock();
    return 0;
}

int release_lock(void *ctx) {
    static_cast<opened<bare_segment> *>(ctx)->lock->unlock();
    return 0;
}

uint64_t locked_alloc(void *ctx, uint64_t len) {
    take_lock(ctx);
    uint64_t at = alloc<bare_segment>(ctx, len);
    release_lock(ctx);
    return at;
}

void locked_free(void *ctx, uint64_t at) {
    take_lock(ctx);
    dealloc<bare_segment>(ctx, at);
    release_lock(ctx);
}

template <class Segment> int set_root(void *ctx, uint64_t at) {
    *static_cast<opened<Segment> *>(ctx)->root = at;
    return 0;
}

template <class Segment> uint64_t root(void *ctx) { return *static_cast<opened<Segment> *>(ctx)->root; }

template <class Segment> void close(void *ctx) { delete static_cast<opened<Segment> *>(ctx); }

template <class Segment>
int open(adapter *out, const char *path, uint64_t size, char *why, size_t why_len) {
    try {
        auto *o = new opened<Segment>(path, size);
        *out = adapter{o,       o->base, alloc<Segment>,    dealloc<Segment>, nullptr,       nullptr,
                       nullptr, nullptr, set_root<Segment>, root<Segment>,    close<Segment>};
        return 0;
    } catch (const std::exception &e) {
        std::snprintf(why, why_len, "%s", e.what());
        return 1;
    }
}

} // namespace

extern "C" int boost_adapter_open(adapter *out, const char *path, uint64_t size, char *why, size_t why_len) {
    return open<shared_segment>(out, path, size, why, why_len);
}

extern "C" int boost_one_lock_adapter_open(adapter *out, const char *path, uint64_t size, char *why,
                                           size_t why_len) {
    if (open<bare_segment>(out, path, size, why, why_len))
        return 1;
    out->alloc = locked_alloc;
    out->free = locked_free;
    out->tx_alloc = alloc<bare_segment>;
    out->tx_free = dealloc<bare_segment>;
    out->begin = take_lock;
    out->commit = release_lock;
    return 0;
}

extern "C" const char *boost_adapter_version(void) { return BOOST_LIB_VERSION; }

#include "http/gzip.h"

#include "base/mem.h"

#include <limits.h>
#include <zlib.h>

enum { ROOM = 16 * 1024 };

struct gunzip {
    z_stream z;
    size_t left;       /* of output_max */
    bool is_in_member; /* a member has begun and not ended */
    bool has_member;
    enum err failed;
    unsigned char room[ROOM];
};

static voidpf z_alloc(voidpf opaque, uInt count, uInt size)
{
    (void)opaque;
    return mem_alloc((size_t)count * size); /* both have 32 bits: no overflow */
}

static void z_free(voidpf opaque, voidpf p)
{
    (void)opaque;
    mem_free(p);
}

struct gunzip *gunzip_new(size_t output_max)
{
    struct gunzip *g = mem_alloc(sizeof *g);
    if (!g)
        return NULL;
    g->z = (z_stream){.zalloc = z_alloc, .zfree = z_free};
    g->left = output_max;
    g->is_in_member = g->has_member = false;
    g->failed = ERR_OK;
    const int gzip_only = 16; /* added to the window bits; neither zlib's format nor a guess */
    if (inflateInit2(&g->z, gzip_only + MAX_WBITS) != Z_OK) {
        mem_free(g);
        return NULL;
    }
    return g;
}

void gunzip_free(struct gunzip *g)
{
    if (!g)
        return;
    inflateEnd(&g->z);
    mem_free(g);
}

/* One call of inflate, and what it gave to `out`. */
static enum err inflate_some(struct gunzip *g, struct builder *out)
{
    g->z.next_out = g->room;
    g->z.avail_out = ROOM;
    const int status = inflate(&g->z, Z_NO_FLUSH);
    const size_t n = ROOM - g->z.avail_out;
    if (status == Z_MEM_ERROR)
        return ERR_NO_MEMORY;
    if (status != Z_OK && status != Z_STREAM_END && status != Z_BUF_ERROR)
        return ERR_BAD_REQUEST;
    if (n > g->left)
        return ERR_TOO_LARGE;
    g->left -= n;
    builder_add_bytes(out, g->room, n);
    if (status == Z_STREAM_END)
        g->is_in_member = false;
    return builder_check(out);
}

static enum err feed(struct gunzip *g, struct builder *out)
{
    do {
        if (!g->is_in_member && g->z.avail_in == 0)
            return ERR_OK;
        if (!g->is_in_member) {
            if (g->has_member)
                inflateReset(&g->z);
            g->has_member = g->is_in_member = true;
        }
        TRY(inflate_some(g, out));
        /* A full room may mean that more is waiting, also when all input is taken. */
    } while (g->z.avail_in > 0 || g->z.avail_out == 0);
    return ERR_OK;
}

enum err gunzip_feed(struct gunzip *g, struct span piece, struct builder *out)
{
    TRY(g->failed);
    while (piece.n > 0 && g->failed == ERR_OK) {
        const size_t n = MIN(piece.n, (size_t)UINT_MAX);
        g->z.next_in = (z_const Bytef *)(uintptr_t)piece.p; /* zlib's type is not const */
        g->z.avail_in = (uInt)n;
        piece = span_from(piece, n);
        g->failed = feed(g, out);
    }
    return g->failed;
}

enum err gunzip_finish(const struct gunzip *g)
{
    TRY(g->failed);
    return g->has_member && !g->is_in_member ? ERR_OK : ERR_BAD_REQUEST;
}

/* h2_raw.h -- a caller made of bytes: frames as they are put together, answers as they come.
 *
 * Why: no library sends what an attacker sends.
 */
#ifndef PENSTOCK_TESTS_H2_RAW_H
#define PENSTOCK_TESTS_H2_RAW_H

#include "tests/unit/h2_world.h"

#include <nghttp2/nghttp2.h>

struct raw {
    struct stream stream;
    struct builder out, in;
    size_t at; /* of `in`: the next frame */
    nghttp2_hd_inflater *inflater;

    /* What came. */
    int status;          /* of the last HEADERS */
    int answers;         /* HEADERS */
    int64_t rst_code;    /* of the last RST_STREAM; -1: none */
    int64_t goaway_code; /* -1: none */
    size_t data_bytes, pings;
    bool is_closed;
};

static const char client_preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

static void put_frame(struct raw *r, uint8_t type, uint8_t flags, uint32_t id, const void *bytes,
                      size_t n)
{
    const uint8_t head[9] = {
        (uint8_t)(n >> 16),  (uint8_t)(n >> 8),   (uint8_t)n,         type,       flags,
        (uint8_t)(id >> 24), (uint8_t)(id >> 16), (uint8_t)(id >> 8), (uint8_t)id};
    builder_add_bytes(&r->out, head, sizeof head);
    builder_add_bytes(&r->out, bytes, n);
}

static void put_length(struct builder *b, size_t n)
{
    if (n < 127) {
        builder_add_char(b, (char)n);
        return;
    }
    builder_add_char(b, 127);
    for (n -= 127; n >= 128; n /= 128)
        builder_add_char(b, (char)(n % 128 + 128));
    builder_add_char(b, (char)n);
}

/* A literal without indexing, without Huffman. */
static void put_field(struct builder *b, struct span name, struct span value)
{
    builder_add_char(b, 0);
    put_length(b, name.n);
    builder_add(b, name);
    put_length(b, value.n);
    builder_add(b, value);
}

/* "name=value" each with a \1 behind it; a name may begin with ':'. */
static void put_lines(struct builder *b, const char *lines)
{
    struct span rest = span_of_cstr(lines), line;
    while (rest.n && span_cut(rest, '\1', &line, &rest)) {
        const size_t colon = 1 + span_find(span_from(line, 1), '=');
        put_field(b, span(line.p, colon), span_from(line, colon + 1));
    }
}

static void put_head(struct raw *r, uint32_t id, uint8_t flags, const char *lines)
{
    struct builder b;
    builder_init(&b, 1 << 20);
    put_lines(&b, lines);
    put_frame(r, NGHTTP2_HEADERS, flags, id, builder_span(&b).p, builder_span(&b).n);
    builder_deinit(&b);
}

enum { END_STREAM = 1, END_HEADERS = 4, WHOLE = END_STREAM | END_HEADERS };

#define GET(path) ":method=GET\1:scheme=http\1:path=" path "\1:authority=a\1"
#define POST(path) ":method=POST\1:scheme=http\1:path=" path "\1:authority=a\1"

static bool raw_open(struct raw *r, bool speak)
{
    memset(r, 0, sizeof *r);
    r->rst_code = r->goaway_code = -1;
    builder_init(&r->out, 64 << 20);
    builder_init(&r->in, 64 << 20);
    if (!connect_pair(&r->stream) || nghttp2_hd_inflate_new(&r->inflater) != 0)
        exit(1);
    if (speak) {
        builder_add_bytes(&r->out, client_preface, sizeof client_preface - 1);
        put_frame(r, NGHTTP2_SETTINGS, 0, 0, NULL, 0);
    }
    return true;
}

static void raw_close(struct raw *r)
{
    stream_close(&r->stream);
    nghttp2_hd_inflate_del(r->inflater);
    builder_deinit(&r->out);
    builder_deinit(&r->in);
    for (int i = 0; i < 10; i++)
        EXPECT(fiber_yield() == ERR_OK);
}

static uint32_t load32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void read_status(struct raw *r, const uint8_t *p, size_t n)
{
    nghttp2_nv nv;
    int flags = 0;
    r->answers++;
    while (!(flags & NGHTTP2_HD_INFLATE_FINAL)) {
        const ssize_t k = nghttp2_hd_inflate_hd2(r->inflater, &nv, &flags, p, n, 1);
        if (!EXPECT(k >= 0))
            return;
        p += k;
        n -= (size_t)k;
        if (flags & NGHTTP2_HD_INFLATE_EMIT && nv.namelen == 7 &&
            memcmp(nv.name, ":status", 7) == 0)
            r->status = atoi((const char *)nv.value);
    }
    nghttp2_hd_inflate_end_headers(r->inflater);
}

static void take_frames(struct raw *r)
{
    for (;;) {
        const struct span rest = span_from(builder_span(&r->in), r->at);
        const uint8_t *p = (const uint8_t *)rest.p;
        if (rest.n < 9)
            return;
        const size_t n = (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2];
        if (rest.n < 9 + n)
            return;
        r->at += 9 + n;
        if (p[3] == NGHTTP2_HEADERS)
            read_status(r, p + 9, n);
        else if (p[3] == NGHTTP2_DATA)
            r->data_bytes += n;
        else if (p[3] == NGHTTP2_RST_STREAM)
            r->rst_code = load32(p + 9);
        else if (p[3] == NGHTTP2_GOAWAY)
            r->goaway_code = load32(p + 13);
        else if (p[3] == NGHTTP2_PING)
            r->pings++;
    }
}

/* Sends what was put, reads what comes, for `rounds` of the loop without progress. */
static void raw_talk(struct raw *r, bool reads)
{
    size_t sent = 0;
    for (int idle = 0; idle < 12 && !r->is_closed; idle++) {
        static char bytes[16384];
        size_t n = 0;
        const struct span rest = span_from(builder_span(&r->out), sent);
        struct iovec part = {(void *)(uintptr_t)rest.p, rest.n};
        if (rest.n && stream_try_write(&r->stream, &part, 1, &n) == ERR_OK && n) {
            sent += n;
            idle = 0;
        }
        enum err e = reads ? stream_try_read(&r->stream, bytes, sizeof bytes, &n) : ERR_AGAIN;
        if (e == ERR_OK) {
            builder_add_bytes(&r->in, bytes, n);
            idle = 0;
        } else if (e != ERR_AGAIN) {
            r->is_closed = true;
        }
        EXPECT(fiber_yield() == ERR_OK);
    }
    builder_clear(&r->out);
    take_frames(r);
}

#endif

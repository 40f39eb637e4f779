/* HTTP/2: raw frames against the server: heads that must not pass, floods, deadlines. */
#include "tests/unit/h2_raw.h"

/* --- heads ------------------------------------------------------------------------------------ */

enum { RESET = -1, DEAD = -2 }; /* PROTOCOL_ERROR of the stream, of the connection */

static const struct {
    int expected; /* a status, or how it is refused */
    const char *lines, *seen;
} heads[] = {
    {200, GET("/"), "GET /? a"},
    {200, GET("/v1/chat?x=%41&y"), "GET /v1/chat?x=%41&y a"},
    {200, GET("/") "a=b\1", "GET /? a a=b"},
    {200, ":method=GET\1:scheme=https\1:path=/\1host=a.b:8080\1", "GET /? a.b:8080 host=a.b:8080"},
    {200, GET("/") "host=A\1", "GET /? a host=A"},
    {200, ":method=OPTIONS\1:scheme=http\1:path=*\1:authority=a\1", "OPTIONS *? a"},
    {200, GET("/") "te=trailers\1", "GET /? a te=trailers"},
    {200, GET("/") "cookie=a=1\1x=y\1cookie=b=2\1", "GET /? a cookie=a=1; b=2 x=y"},
    {200, GET("/") "expect=100-continue\1", NULL},
    {417, GET("/") "expect=200-ok\1", NULL},
    {400, GET("/") "host=b\1", NULL},
    {RESET, GET("/") "host=a\1host=a\1", NULL},
    {400, GET("/%zz"), NULL},
    {400, GET("/%00"), NULL},
    {400, GET("/a#b"), NULL},
    {RESET, GET("/\x7f"), NULL},
    {400, ":method=GET\1:scheme=ftp\1:path=/\1:authority=a\1", NULL},
    {RESET, ":method=GET\1:scheme=http\1:path=/\1:authority=a b\1", NULL},
    {400, ":method=GET\1:scheme=http\1:path=/\1:authority=u@a\1", NULL},
    {405, ":method=CONNECT\1:authority=a:1\1", NULL},
    /* What splits an HTTP/1 head upstream. */
    {RESET, GET("/ HTTP/1.1\r\nx: y"), NULL},
    {RESET, GET("/ b"), NULL},
    {RESET, GET("/") "a=b\r\nc: d\1", NULL},
    {RESET, GET("/") "a=b\n\1", NULL},
    {RESET, GET("/") "a\r\nc=b\1", NULL},
    {RESET, GET("/") "a:b=c\1", NULL},
    {RESET, GET("/") "a b=c\1", NULL},
    {RESET, GET("/") " a=c\1", NULL},
    {RESET, GET("/") "a= c\1", NULL},
    {RESET, GET("/") "a=c\t\1", NULL},
    {RESET, ":method=GET / HTTP/1.1\r\nx\1:scheme=http\1:path=/\1:authority=a\1", NULL},
    {RESET, ":method=G T\1:scheme=http\1:path=/\1:authority=a\1", NULL},
    {RESET, ":method=GET\1:scheme=http\1:path=/\1:authority=a\r\nb: c\1", NULL},
    {RESET, GET("/") "transfer-encoding=chunked\1", NULL},
    {RESET, GET("/") "connection=close\1", NULL},
    {RESET, GET("/") "keep-alive=1\1", NULL},
    {RESET, GET("/") "proxy-connection=close\1", NULL},
    {RESET, GET("/") "upgrade=h2c\1", NULL},
    {RESET, GET("/") "te=gzip\1", NULL},
    {RESET, GET("/") "Accept=x\1", NULL},
    {RESET, GET("/") "content-length=1\1content-length=2\1", NULL},
    {RESET, GET("/") "content-length=-1\1", NULL},
    {RESET, GET("/") "content-length=5\1", NULL}, /* and no DATA */
    {RESET, GET("/") ":path=/b\1", NULL},
    {RESET, GET("/") "a=b\1:x=y\1", NULL},
    {RESET, ":method=GET\1:scheme=http\1:authority=a\1", NULL},
    {RESET, ":method=GET\1:scheme=http\1:path=\1:authority=a\1", NULL},
    {RESET, ":method=GET\1:scheme=http\1:path=a\1:authority=a\1", NULL},
    {RESET, ":method=GET\1:path=/\1:authority=a\1", NULL},
    {RESET, ":scheme=http\1:path=/\1:authority=a\1", NULL},
    {RESET, ":method=GET\1:method=GET\1:scheme=http\1:path=/\1:authority=a\1", NULL},
    {RESET, GET("/") ":status=200\1", NULL},
    {RESET, ":method=GET\1:scheme=http\1:path=/\1", NULL},
    {RESET, "", NULL},
};

static void one_head(size_t i)
{
    struct raw r;
    EXPECT(raw_open(&r, true));
    world.seen[0] = 0;
    put_head(&r, 1, WHOLE, heads[i].lines);
    put_frame(&r, NGHTTP2_PING, 0, 0, "12345678", 8);
    raw_talk(&r, true);
    const int got = r.rst_code == NGHTTP2_PROTOCOL_ERROR ? RESET
                    : r.goaway_code >= 0                 ? DEAD
                                                         : r.status;
    const bool is_same =
        got == heads[i].expected && (!heads[i].seen || strcmp(heads[i].seen, world.seen) == 0);
    if (!EXPECT(is_same))
        printf("# head %zu \"%s\": %d, seen \"%s\"\n", i, heads[i].lines, got, world.seen);
    EXPECT(r.pings == 1); /* the connection goes on */
    EXPECT(got == 200 || world.seen[0] == 0);
    raw_close(&r);
}

static void all_heads(void *arg)
{
    (void)arg;
    for (size_t i = 0; i < ARRAY_LEN(heads); i++)
        one_head(i);
}

TEST(heads_are_judged_strictly)
{
    in_world(all_heads);
}

static void every_cut(void *arg)
{
    (void)arg;
    struct raw r;
    EXPECT(raw_open(&r, true));
    put_frame(&r, NGHTTP2_PRIORITY, 0, 3, "\0\0\0\1\0", 5);
    put_head(&r, 1, END_HEADERS, POST("/echo"));
    put_frame(&r, NGHTTP2_DATA, END_STREAM, 1, "hello", 5);
    const struct span all = builder_span(&r.out);
    char *bytes = malloc(all.n);
    memcpy(bytes, all.p, all.n);
    builder_clear(&r.out);
    for (size_t i = 0; i < all.n; i++) {
        struct iovec part = {bytes + i, 1};
        size_t n;
        EXPECT(stream_try_write(&r.stream, &part, 1, &n) == ERR_OK);
        EXPECT(fiber_yield() == ERR_OK);
    }
    raw_talk(&r, true);
    EXPECT(r.status == 200);
    EXPECT(r.data_bytes == 5);
    free(bytes);
    raw_close(&r);
}

TEST(bytes_may_come_one_by_one)
{
    in_world(every_cut);
}

static void big_heads(void *arg)
{
    (void)arg;
    struct raw r;
    struct builder b;
    builder_init(&b, 1 << 20);
    /* One field too many. */
    EXPECT(raw_open(&r, true));
    put_lines(&b, GET("/"));
    for (int i = 0; i <= HTTP_FIELDS_MAX + 1; i++)
        put_field(&b, SPAN("a"), SPAN("b"));
    put_frame(&r, NGHTTP2_HEADERS, WHOLE, 1, builder_span(&b).p, builder_span(&b).n);
    raw_talk(&r, true);
    EXPECT(r.status == 431);
    /* Too many bytes, in CONTINUATIONs; the connection goes on. */
    builder_clear(&b);
    put_lines(&b, GET("/"));
    char *value = malloc(10000);
    memset(value, 'v', 10000);
    for (int i = 0; i < 4; i++)
        put_field(&b, SPAN("a"), span(value, 10000));
    put_frame(&r, NGHTTP2_HEADERS, END_STREAM, 3, builder_span(&b).p, 16000);
    put_frame(&r, NGHTTP2_CONTINUATION, 0, 3, builder_span(&b).p + 16000, 16000);
    put_frame(&r, NGHTTP2_CONTINUATION, END_HEADERS, 3, builder_span(&b).p + 32000,
              builder_span(&b).n - 32000);
    r.status = 0;
    raw_talk(&r, true);
    EXPECT(r.status == 431);
    /* A long path. */
    builder_clear(&b);
    put_lines(&b, ":method=GET\1:scheme=http\1:authority=a\1");
    value[0] = '/';
    put_field(&b, SPAN(":path"), span(value, HTTP_TARGET_MAX + 1));
    put_frame(&r, NGHTTP2_HEADERS, WHOLE, 5, builder_span(&b).p, builder_span(&b).n);
    put_head(&r, 7, WHOLE, GET("/"));
    raw_talk(&r, true);
    EXPECT(r.answers == 4);
    EXPECT(world.started == 1);
    EXPECT(r.goaway_code == -1);
    free(value);
    builder_deinit(&b);
    raw_close(&r);
}

TEST(large_heads_are_refused_and_the_connection_lives)
{
    in_world(big_heads);
}

/* --- bodies ----------------------------------------------------------------------------------- */

static void lengths(void *arg)
{
    (void)arg;
    static const struct {
        const char *lines, *data;
        int expected;
    } cases[] = {
        {POST("/echo") "content-length=5\1", "hello", 200},
        {POST("/echo") "content-length=4\1", "hello", RESET},
        {POST("/echo") "content-length=6\1", "hello", RESET},
        {POST("/echo"), "hello", 200},
        {POST("/echo") "content-encoding=br\1", "hello", 415},
        {POST("/echo") "content-encoding=gzip\1", "hello", 400},
        {POST("/echo") "content-length=99999999\1", "", RESET},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct raw r;
        EXPECT(raw_open(&r, true));
        put_head(&r, 1, END_HEADERS, cases[i].lines);
        put_frame(&r, NGHTTP2_DATA, END_STREAM, 1, cases[i].data, strlen(cases[i].data));
        raw_talk(&r, true);
        const int got = r.rst_code == NGHTTP2_PROTOCOL_ERROR ? RESET : r.status;
        if (!EXPECT(got == cases[i].expected))
            printf("# body %zu: %d\n", i, got);
        raw_close(&r);
    }
}

TEST(lengths_must_agree)
{
    in_world(lengths);
}

static void continues(void *arg)
{
    (void)arg;
    struct raw r;
    EXPECT(raw_open(&r, true));
    put_head(&r, 1, END_HEADERS, POST("/echo") "expect=100-continue\1");
    raw_talk(&r, true);
    EXPECT(r.status == 100);
    put_frame(&r, NGHTTP2_DATA, END_STREAM, 1, "hello", 5);
    raw_talk(&r, true);
    EXPECT(r.status == 200);
    EXPECT(r.data_bytes == 5);
    /* Trailers end a body, and are dropped. */
    put_head(&r, 3, END_HEADERS, POST("/echo"));
    put_frame(&r, NGHTTP2_DATA, 0, 3, "hello", 5);
    put_head(&r, 3, WHOLE, "x-checksum=1\1");
    raw_talk(&r, true);
    EXPECT(r.answers == 3);
    EXPECT(r.data_bytes == 10);
    EXPECT(strstr(world.seen, "checksum") == NULL);
    raw_close(&r);
}

TEST(interim_answers_and_trailers)
{
    in_world(continues);
}

static void unsaid_length(void *arg)
{
    (void)arg;
    struct raw r;
    static const char bytes[2000];
    struct http_server_settings small = usual_settings;
    small.body_max = 1999;
    http_server_set(world.server, &small);
    EXPECT(raw_open(&r, true));
    put_head(&r, 1, END_HEADERS, POST("/echo"));
    put_frame(&r, NGHTTP2_DATA, END_STREAM, 1, bytes, 1999);
    raw_talk(&r, true);
    EXPECT(r.status == 200);
    put_head(&r, 3, END_HEADERS, POST("/echo"));
    put_frame(&r, NGHTTP2_DATA, 0, 3, bytes, 1000);
    put_frame(&r, NGHTTP2_DATA, END_STREAM, 3, bytes, 1000);
    raw_talk(&r, true);
    EXPECT(r.status == 413);
    EXPECT(r.goaway_code == -1);
    raw_close(&r);
}

TEST(a_length_that_was_not_said_is_bounded_too)
{
    in_world(unsaid_length);
}

/* RFC 9113 section 5.1: a stream that the caller ended is closed to it; one that we reset is not
 * its fault. */
static void closed_streams(void *arg)
{
    (void)arg;
    struct raw r;
    EXPECT(raw_open(&r, true));
    put_head(&r, 1, END_HEADERS, POST("/cut"));
    raw_talk(&r, true);
    EXPECT(r.rst_code == NGHTTP2_INTERNAL_ERROR);
    put_frame(&r, NGHTTP2_DATA, 0, 1, "late", 4);
    put_head(&r, 3, WHOLE, GET("/"));
    raw_talk(&r, true);
    EXPECT(r.status == 200);
    EXPECT(r.goaway_code == -1);
    put_frame(&r, NGHTTP2_DATA, END_STREAM, 3, "x", 1);
    raw_talk(&r, true);
    EXPECT(r.is_closed);
    EXPECT(r.goaway_code == NGHTTP2_STREAM_CLOSED);
    raw_close(&r);
}

TEST(closed_streams_stay_closed)
{
    in_world(closed_streams);
}

/* --- floods ----------------------------------------------------------------------------------- */

static void flood_ping(struct raw *r, int i)
{
    (void)i;
    put_frame(r, NGHTTP2_PING, 0, 0, "12345678", 8);
}

static void flood_settings(struct raw *r, int i)
{
    (void)i;
    put_frame(r, NGHTTP2_SETTINGS, 0, 0, NULL, 0);
}

static void flood_empty_data(struct raw *r, int i)
{
    if (i == 0)
        put_head(r, 1, END_HEADERS, POST("/echo"));
    put_frame(r, NGHTTP2_DATA, 0, 1, NULL, 0);
}

static void flood_padding(struct raw *r, int i)
{
    if (i == 0)
        put_head(r, 1, END_HEADERS, POST("/echo"));
    put_frame(r, NGHTTP2_DATA, NGHTTP2_FLAG_PADDED, 1, "\4\0\0\0\0", 5);
}

static void flood_priority(struct raw *r, int i)
{
    put_frame(r, NGHTTP2_PRIORITY, 0, (uint32_t)i * 2 + 1, "\0\0\0\0\0", 5);
}

static void flood_window(struct raw *r, int i)
{
    (void)i;
    put_frame(r, NGHTTP2_WINDOW_UPDATE, 0, 0, "\0\0\0\1", 4);
}

static void flood_unknown(struct raw *r, int i)
{
    put_frame(r, (uint8_t)(0x20 + i % 64), 0, 0, "x", 1);
}

static void flood_rapid_reset(struct raw *r, int i)
{
    put_head(r, (uint32_t)i * 2 + 1, WHOLE, GET("/hang"));
    put_frame(r, NGHTTP2_RST_STREAM, 0, (uint32_t)i * 2 + 1, "\0\0\0\10", 4);
}

/* The reset is ours: an increment of zero is an error of the stream. */
static void flood_made_you_reset(struct raw *r, int i)
{
    put_head(r, (uint32_t)i * 2 + 1, WHOLE, GET("/hang"));
    put_frame(r, NGHTTP2_WINDOW_UPDATE, 0, (uint32_t)i * 2 + 1, "\0\0\0\0", 4);
}

static void flood_window_overflow(struct raw *r, int i)
{
    put_head(r, (uint32_t)i * 2 + 1, WHOLE, GET("/hang"));
    put_frame(r, NGHTTP2_WINDOW_UPDATE, 0, (uint32_t)i * 2 + 1, "\x7f\xff\xff\xff", 4);
}

static void flood_bad_heads(struct raw *r, int i)
{
    put_head(r, (uint32_t)i * 2 + 1, WHOLE, GET("/") "connection=close\1");
}

static void flood_refused_heads(struct raw *r, int i)
{
    put_head(r, (uint32_t)i * 2 + 1, WHOLE, GET("/%zz"));
}

static void flood_short_bodies(struct raw *r, int i)
{
    put_head(r, (uint32_t)i * 2 + 1, END_HEADERS, POST("/hang") "content-length=5\1");
    put_frame(r, NGHTTP2_DATA, END_STREAM, (uint32_t)i * 2 + 1, "x", 1);
}

static void flood_empty_names(struct raw *r, int i)
{
    put_frame(r, NGHTTP2_HEADERS, WHOLE, (uint32_t)i * 2 + 1, "\0\0\0", 3);
}

static void flood_continuation(struct raw *r, int i)
{
    if (i == 0)
        put_head(r, 1, END_STREAM, GET("/"));
    put_frame(r, NGHTTP2_CONTINUATION, 0, 1, NULL, 0);
}

/* One large field in the table, then named by a byte as often as fits. */
static void flood_hpack(struct raw *r, int i)
{
    static char bomb[16000];
    if (i == 0) {
        struct builder b;
        builder_init(&b, 1 << 20);
        put_lines(&b, GET("/"));
        builder_add_bytes(&b, "\x40\1a", 3);
        put_length(&b, 3900);
        memset(bomb, 'v', 3900);
        builder_add_bytes(&b, bomb, 3900);
        put_frame(r, NGHTTP2_HEADERS, WHOLE, 1, builder_span(&b).p, builder_span(&b).n);
        builder_deinit(&b);
    }
    memset(bomb, 0xbe, sizeof bomb); /* index 62: the newest of the dynamic table */
    put_frame(r, NGHTTP2_HEADERS, WHOLE, (uint32_t)i * 2 + 3, bomb, sizeof bomb);
}

static void flood_streams(struct raw *r, int i)
{
    put_head(r, (uint32_t)i * 2 + 1, WHOLE, GET("/hang"));
}

static void flood_goaway(struct raw *r, int i)
{
    (void)i;
    put_frame(r, NGHTTP2_GOAWAY, 0, 0, "\0\0\0\0\0\0\0\0", 8);
}

enum { CALM = NGHTTP2_ENHANCE_YOUR_CALM };

static const struct {
    const char *name;
    void (*put)(struct raw *r, int i);
    int count;
    int started_max; /* handlers that may have begun */
    uint32_t code;   /* of GOAWAY */
} floods[] = {
    {"PING", flood_ping, 5000, 0, CALM},
    {"SETTINGS", flood_settings, 5000, 0, CALM},
    {"empty DATA", flood_empty_data, 5000, 1, CALM},
    {"padding", flood_padding, 5000, 1, CALM},
    {"PRIORITY", flood_priority, 5000, 0, CALM},
    {"WINDOW_UPDATE", flood_window, 5000, 0, CALM},
    {"unknown frames", flood_unknown, 5000, 0, CALM},
    {"rapid reset", flood_rapid_reset, 5000, 0, CALM},
    {"MadeYouReset by zero", flood_made_you_reset, 5000, 0, NGHTTP2_PROTOCOL_ERROR},
    {"MadeYouReset by overflow", flood_window_overflow, 5000, 0, CALM},
    {"malformed heads", flood_bad_heads, 5000, 0, CALM},
    {"refused heads", flood_refused_heads, 5000, 0, CALM},
    {"short bodies", flood_short_bodies, 5000, H2_STREAMS_MAX, CALM},
    {"empty names", flood_empty_names, 5000, 0, CALM},
    {"CONTINUATION", flood_continuation, 5000, 0, CALM},
    {"HPACK bomb", flood_hpack, 50, 1, CALM},
    {"streams", flood_streams, 5000, H2_STREAMS_MAX, CALM},
    {"GOAWAY", flood_goaway, 5000, 0, CALM},
};

static void one_flood(size_t i)
{
    struct raw r;
    EXPECT(raw_open(&r, true));
    world.started = world.ended = 0;
    for (int k = 0; k < floods[i].count; k++)
        floods[i].put(&r, k);
    raw_talk(&r, true);
    const bool is_calmed = r.goaway_code == floods[i].code || floods[i].put == flood_goaway;
    if (!EXPECT(r.is_closed && is_calmed && world.started <= floods[i].started_max))
        printf("# %s: %s, GOAWAY %lld, %d handlers\n", floods[i].name,
               r.is_closed ? "closed" : "open", (long long)r.goaway_code, world.started);
    EXPECT(world.started == world.ended);
    EXPECT(http_server_stats(world.server).connections == 0);
    EXPECT(http_server_stats(world.server).requests == 0);
    raw_close(&r);
}

static void all_floods(void *arg)
{
    (void)arg;
    for (size_t i = 0; i < ARRAY_LEN(floods); i++)
        one_flood(i);
}

TEST(floods_end_their_connection)
{
    in_world(all_floods);
}

/* The same resets, one by one, so that handlers do begin: each is cancelled, and it ends. */
static void slow_resets(void *arg)
{
    (void)arg;
    struct raw r;
    EXPECT(raw_open(&r, true));
    int i = 0;
    for (; i < 2000 && !r.is_closed; i++) {
        put_head(&r, (uint32_t)i * 2 + 1, WHOLE, GET("/hang"));
        raw_talk(&r, true);
        put_frame(&r, NGHTTP2_RST_STREAM, 0, (uint32_t)i * 2 + 1, "\0\0\0\10", 4);
        raw_talk(&r, true);
    }
    EXPECT(i <= H2_GLITCHES_MAX);
    EXPECT(r.goaway_code == NGHTTP2_ENHANCE_YOUR_CALM);
    EXPECT(world.reason == CANCEL_CLIENT_GONE);
    EXPECT(world.started == world.ended);
    raw_close(&r);
}

TEST(resets_of_running_requests_count_too)
{
    in_world(slow_resets);
}

/* What an eager, honest caller does: none of it may cost it the connection. */
static void honest(void *arg)
{
    (void)arg;
    struct raw r;
    EXPECT(raw_open(&r, true));
    for (int i = 0; i < 3000 && !r.is_closed; i++) {
        const uint32_t id = (uint32_t)i * 2 + 1;
        put_head(&r, id, WHOLE, GET("/pieces/3000"));
        raw_talk(&r, true);
        for (int k = 0; k < 3; k++) { /* an update of each window for each frame */
            put_frame(&r, NGHTTP2_WINDOW_UPDATE, 0, 0, "\0\0\3\xe8", 4);
            put_frame(&r, NGHTTP2_WINDOW_UPDATE, 0, id, "\0\0\3\xe8", 4);
        }
        if (i % 10 == 9) /* one of ten gives up */
            put_frame(&r, NGHTTP2_RST_STREAM, 0, id, "\0\0\0\10", 4);
        if (i % 10 == 0)
            put_frame(&r, NGHTTP2_PING, 0, 0, "12345678", 8);
    }
    raw_talk(&r, true);
    EXPECT(!r.is_closed);
    EXPECT(r.answers == 3000);
    EXPECT(r.data_bytes == 3000 * 3000);
    raw_close(&r);
}

TEST(an_eager_caller_is_no_flood)
{
    in_world(honest);
}

/* --- deadlines -------------------------------------------------------------------------------- */

static void deadlines(void *arg)
{
    (void)arg;
    struct raw r;
    /* Nothing at all. */
    EXPECT(raw_open(&r, false));
    raw_talk(&r, true);
    pass_time(9 * NS_PER_S);
    raw_talk(&r, true);
    EXPECT(!r.is_closed);
    pass_time(2 * NS_PER_S);
    raw_talk(&r, true);
    EXPECT(r.is_closed);
    raw_close(&r);
    /* A head without an end. */
    EXPECT(raw_open(&r, true));
    put_head(&r, 1, END_STREAM, GET("/"));
    raw_talk(&r, true);
    pass_time(11 * NS_PER_S);
    raw_talk(&r, true);
    EXPECT(r.is_closed);
    raw_close(&r);
    /* Idle: GOAWAY without an error, also when the caller pings. */
    EXPECT(raw_open(&r, true));
    put_head(&r, 1, WHOLE, GET("/"));
    raw_talk(&r, true);
    pass_time(59 * NS_PER_S);
    put_frame(&r, NGHTTP2_PING, 0, 0, "12345678", 8);
    raw_talk(&r, true);
    EXPECT(!r.is_closed);
    pass_time(2 * NS_PER_S);
    raw_talk(&r, true);
    EXPECT(r.is_closed);
    EXPECT(r.goaway_code == NGHTTP2_NO_ERROR);
    raw_close(&r);
    EXPECT(http_server_stats(world.server).timeouts == 2);
}

TEST(each_wait_has_its_deadline)
{
    in_world(deadlines);
}

static void slow_body(void *arg)
{
    (void)arg;
    struct raw r;
    EXPECT(raw_open(&r, true));
    put_head(&r, 1, END_HEADERS, POST("/echo"));
    raw_talk(&r, true);
    for (int i = 0; i < 5; i++) { /* it moves */
        put_frame(&r, NGHTTP2_DATA, 0, 1, "x", 1);
        raw_talk(&r, true);
        pass_time(15 * NS_PER_S);
    }
    EXPECT(r.status == 0);
    pass_time(10 * NS_PER_S);
    raw_talk(&r, true);
    EXPECT(r.status == 408);
    EXPECT(r.rst_code == NGHTTP2_NO_ERROR);
    EXPECT(!r.is_closed);
    raw_close(&r);
}

TEST(a_body_that_stops_is_given_up)
{
    in_world(slow_body);
}

static void no_reader(void *arg)
{
    (void)arg;
    struct raw r;
    /* The window of the stream is never opened: the stream goes, the connection stays. */
    EXPECT(raw_open(&r, true));
    put_head(&r, 1, WHOLE, GET("/pieces/1000000"));
    raw_talk(&r, true);
    EXPECT(world.written < 70000);
    pass_time(31 * NS_PER_S);
    raw_talk(&r, true);
    EXPECT(world.last == ERR_TIMEOUT);
    EXPECT(r.rst_code == NGHTTP2_INTERNAL_ERROR);
    EXPECT(!r.is_closed);
    raw_close(&r);
    /* The socket is never read: the connection goes. */
    EXPECT(raw_open(&r, true));
    put_frame(&r, NGHTTP2_SETTINGS, 0, 0, "\0\4\x7f\xff\xff\xff", 6);
    put_frame(&r, NGHTTP2_WINDOW_UPDATE, 0, 0, "\x7f\0\0\0", 4);
    put_head(&r, 1, WHOLE, GET("/pieces/100000000"));
    for (int i = 0; i < 50; i++) /* until all is full */
        raw_talk(&r, false);
    EXPECT(world.written < 2000000);
    EXPECT(buffers_in_use() < 40000);
    pass_time(31 * NS_PER_S);
    raw_talk(&r, false);
    EXPECT(http_server_stats(world.server).connections == 0);
    EXPECT(http_server_stats(world.server).requests == 0);
    raw_close(&r);
}

TEST(who_does_not_read_is_left)
{
    in_world(no_reader);
}

/* --- load ------------------------------------------------------------------------------------- */

static void shed(void *arg)
{
    (void)arg;
    struct raw r;
    struct http_server_settings few = usual_settings;
    few.requests_max = 1;
    http_server_set(world.server, &few);
    EXPECT(raw_open(&r, true));
    put_head(&r, 1, WHOLE, GET("/hang"));
    raw_talk(&r, true);
    put_head(&r, 3, END_HEADERS, POST("/echo"));
    raw_talk(&r, true);
    EXPECT(r.status == 503);
    EXPECT(r.rst_code == NGHTTP2_NO_ERROR); /* the body is not wanted */
    let_go_on();
    raw_talk(&r, true);
    EXPECT(r.status == 200);
    EXPECT(http_server_stats(world.server).shed == 1);
    raw_close(&r);
}

TEST(load_is_shed_stream_by_stream)
{
    in_world(shed);
}

int main(void)
{
    begin_tests();
    RUN(heads_are_judged_strictly);
    RUN(bytes_may_come_one_by_one);
    RUN(large_heads_are_refused_and_the_connection_lives);
    RUN(lengths_must_agree);
    RUN(interim_answers_and_trailers);
    RUN(a_length_that_was_not_said_is_bounded_too);
    RUN(closed_streams_stay_closed);
    RUN(floods_end_their_connection);
    RUN(resets_of_running_requests_count_too);
    RUN(an_eager_caller_is_no_flood);
    RUN(each_wait_has_its_deadline);
    RUN(a_body_that_stops_is_given_up);
    RUN(who_does_not_read_is_left);
    RUN(load_is_shed_stream_by_stream);
    return TESTS_DONE();
}

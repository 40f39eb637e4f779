/* fault [--long] [SCENARIO [ROW [N]]] -- the n-th call of a kind fails, for every n, over a script.
 *
 * Each case is a process of its own: a worker starts, the fault is armed, the script of the
 * scenario runs, the fault is disarmed, and then must hold: every answer that looked whole was
 * right; a clean call works; the worker's own gauges are back at zero; it stops; nothing leaked. A
 * fault that is never reached ends the row. Without --long a row that is longer than CASES_MAX is
 * sampled evenly. */
#include "tests/certificates.h"
#include "tests/fault/caller.h"
#include "tests/fault/doors.h"
#include "tests/fault/gateway.h"

#include "base/base.h"
#include "base/log.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

#if WITH_ASAN
#include <sanitizer/lsan_interface.h>
#else
#define __lsan_do_recoverable_leak_check() 0
#endif

enum { SESSIONS_KEPT = 8 }; /* of TLS, by the process: more or fewer after a failure */
enum { STEPS_MAX = 24, CASE_SECONDS_MAX = 60, CASES_MAX = 8, LARGE = 100 * 1024 };

/* --- what went wrong, in a case's own process ------------------------------------------------- */

static bool is_case_bad;

PRINTF_LIKE(1, 2) static void complain(const char *text, ...)
{
    va_list args;
    va_start(args, text);
    fputs("# ", stderr);
    vfprintf(stderr, text, args);
    fputs("\n", stderr);
    va_end(args);
    is_case_bad = true;
}

/* --- the steps of a script -------------------------------------------------------------------- */

struct step {
    const char *name;
    struct span parts[6];
    size_t part_count;
    bool leaves_early; /* the caller closes when the answer begins */
    bool varies;       /* only the status is the same each time */
};

struct outcome {
    int status;
    uint32_t body_sum;
};

static struct step steps[STEPS_MAX];
static size_t step_count;
static struct outcome expected[STEPS_MAX]; /* from the run in which nothing failed */

static char texts[1 << 20];
static size_t text_bytes;

PRINTF_LIKE(1, 2) static struct span text(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(texts + text_bytes, sizeof texts - text_bytes, format, args);
    va_end(args);
    ASSERT(n >= 0 && text_bytes + (size_t)n < sizeof texts);
    struct span s = span(texts + text_bytes, (size_t)n);
    text_bytes += s.n;
    return s;
}

static struct step *add_step(const char *name)
{
    ASSERT(step_count < STEPS_MAX);
    steps[step_count] = (struct step){.name = name};
    return &steps[step_count++];
}

static void add_part(struct step *s, struct span part)
{
    ASSERT(s->part_count < ARRAY_LEN(s->parts));
    s->parts[s->part_count++] = part;
}

static struct span post_head(const char *fields)
{
    return text("POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer %s\r\n"
                "Content-Type: application/json\r\n%s\r\n",
                GATEWAY_KEY, fields);
}

static struct span chat_body(const char *model, const char *more)
{
    return text("{\"model\":\"%s\",\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]%s}",
                model, more);
}

/* A whole call in one packet. */
static struct span post_of(struct span body)
{
    char length[64];
    snprintf(length, sizeof length, "Content-Length: %zu\r\n", body.n);
    struct span head = post_head(length);
    return text("%.*s%.*s", SPAN_ARG(head), SPAN_ARG(body));
}

static struct step *add_post(const char *name, struct span body)
{
    struct step *s = add_step(name);
    add_part(s, post_of(body));
    return s;
}

static void add_get(const char *name, const char *path, const char *key)
{
    struct step *s = add_step(name);
    add_part(s, text("GET %s HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer %s\r\n\r\n", path, key));
    s->varies = path[1] != 'v';
}

static void add_chat(const char *name, const char *model)
{
    add_post(name, chat_body(model, ""));
}

static struct step *add_stream(const char *name, const char *model)
{
    return add_post(name, chat_body(model, ",\"stream\":true"));
}

static void add_large(const char *model)
{
    static char filling[LARGE + 1];
    memset(filling, 'x', LARGE);
    add_post("large body", text("{\"model\":\"%s\",\"messages\":[{\"role\":\"user\",\"content\":"
                                "\"%s\"}]}",
                                model, filling));
}

static void add_chunked(void)
{
    struct step *s = add_step("chunked body");
    struct span body = chat_body("mock-ok", "");
    add_part(s, post_head("Transfer-Encoding: chunked\r\n"));
    add_part(s, text("%x\r\n%.*s\r\n", 20, 20, body.p));
    add_part(s, text("%zx\r\n%.*s", body.n - 20, 10, body.p + 20));
    add_part(s, text("%.*s\r\n0\r\n\r\n", (int)(body.n - 30), body.p + 30));
}

static void add_gzip(void)
{
    static unsigned char packed[1024];
    struct span body = chat_body("mock-ok", "");
    z_stream z = {.next_in = (unsigned char *)(uintptr_t)body.p,
                  .avail_in = (unsigned)body.n,
                  .next_out = packed,
                  .avail_out = sizeof packed};
    bool is_packed = deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK &&
                     deflate(&z, Z_FINISH) == Z_STREAM_END;
    ASSERT(is_packed);
    char fields[96];
    snprintf(fields, sizeof fields, "Content-Encoding: gzip\r\nContent-Length: %lu\r\n",
             z.total_out);
    struct step *s = add_step("gzip body");
    add_part(s, post_head(fields));
    add_part(s, span((const char *)packed, z.total_out));
    deflateEnd(&z);
}

static void run_steps(struct caller *c, struct outcome *outcomes, bool may_hang)
{
    for (size_t i = 0; i < step_count; i++) {
        const struct step *s = &steps[i];
        c->is_impatient = s->leaves_early;
        struct answer a = caller_ask(c, s->parts, s->part_count);
        struct outcome o = {.status = a.kind == ANSWER_WHOLE ? a.status : 0};
        if (o.status && !s->varies && !s->leaves_early)
            o.body_sum = (uint32_t)crc32(0, (const unsigned char *)a.body.p, (unsigned)a.body.n);
        if (s->leaves_early)
            o.status = 0, caller_leave(c);
        if (a.kind == ANSWER_NONE && !may_hang)
            complain("%s: no answer", s->name);
        if (outcomes != expected && o.status && o.status < 400 &&
            (o.status != expected[i].status || o.body_sum != expected[i].body_sum))
            complain("%s: a wrong answer that looks right: %d %.*s", s->name, o.status,
                     (int)MIN(a.body.n, 2000u), a.body.p);
        outcomes[i] = o;
    }
    c->is_impatient = false;
}

/* --- scenarios -------------------------------------------------------------------------------- */

static void make_plain_steps(void)
{
    add_chat("chat", "mock-ok");
    add_stream("stream", "mock-stream-5");
    add_post("bad JSON", SPAN("{\"model\": \"mock-ok\", oops}"));
    add_large("mock-ok");
    add_chunked();
    add_gzip();
    add_chat("second target", "second");
    add_chat("a provider's error", "mock-status-429");
    add_stream("broken stream", "mock-cut-after-2");
    add_get("models", "/v1/models", GATEWAY_KEY);
    add_get("unknown key", "/v1/models", "pk-nobody-knows-this-key");
    add_get("metrics", "/metrics", "");
    add_get("status", "/admin/v1/status", GATEWAY_ADMIN_KEY);
    add_get("fibers", "/debug/fibers", GATEWAY_ADMIN_KEY);
    add_stream("vanishing caller", "mock-stream-50x2ms")->leaves_early = true;
}

static void make_upstream_steps(void)
{
    add_chat("chat over TCP", "plain-ok");
    add_stream("stream over TCP", "plain-stream-5");
    add_chat("chat over TLS", "safe-ok");
    add_stream("stream over TLS", "safe-stream-5");
    add_stream("vanishing caller", "plain-stream-50x2ms")->leaves_early = true;
}

static void make_h2_steps(void)
{
    add_chat("chat over HTTP/2", "two-ok");
    add_stream("stream over HTTP/2", "two-stream-5");
    add_large("two-ok");
    add_stream("broken stream", "two-cut-after-2");
    add_stream("vanishing caller", "two-stream-50x2ms")->leaves_early = true;
}

/* --- what must hold afterwards ---------------------------------------------------------------- */

static void rest_ms(long ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

static long gauge(struct span all, const char *name)
{
    struct span rest = all, line;
    while (rest.n) {
        span_cut(rest, '\n', &line, &rest);
        const char *space = line.n ? memrchr(line.p, ' ', line.n) : NULL;
        if (space && span_starts(line, span_of_cstr(name)))
            return atol(space + 1);
    }
    return -1;
}

/* NULL, or the gauge that is too high. */
static const char *find_high_gauge(struct span all, long *value)
{
    static const struct {
        const char *name;
        long most; /* the call that asks counts */
    } gauges[] = {
        {"penstock_requests_in_flight", 1},
        {"penstock_upstream_connections_busy", 0},
        {"penstock_fibers", 1},
        {"penstock_buffer_bytes", 16384},
    };
    for (size_t i = 0; i < ARRAY_LEN(gauges); i++) {
        *value = gauge(all, gauges[i].name);
        if (*value < 0 || *value > gauges[i].most)
            return gauges[i].name;
    }
    return NULL;
}

/* What broken calls left behind ends within a moment. */
static void check_gauges(struct caller *c)
{
    struct span get = text("GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n");
    const char *what = "";
    long value = 0;
    for (int i = 0; i < 300 && what; i++) {
        struct answer a = caller_ask(c, &get, 1);
        what = a.kind == ANSWER_WHOLE && a.status == 200 ? find_high_gauge(a.body, &value) : "";
        if (what)
            rest_ms(10);
    }
    if (what)
        complain("left behind: %s is %ld", what[0] ? what : "(no metrics)", value);
}

static void check_clean_calls(struct caller *c)
{
    static const char *const models[] = {"mock-ok", "plain-ok", "two-ok", "safe-ok"};
    for (size_t i = 0; i < ARRAY_LEN(models); i++) {
        struct span call = post_of(chat_body(models[i], ""));
        struct answer a = caller_ask(c, &call, 1);
        if (a.kind != ANSWER_WHOLE || a.status != 200)
            complain("a clean call of %s: %s, %d %.*s", models[i],
                     a.kind == ANSWER_WHOLE ? "whole" : "no answer", a.status,
                     (int)(a.kind == ANSWER_WHOLE ? MIN(a.body.n, 500u) : 0), a.body.p);
    }
}

/* --- scenarios: each arms the fault where its row begins, and answers how many calls it saw ----
 */

static unsigned long run_start(const struct fault *fault, struct caller *c)
{
    (void)c;
    doors_arm(fault);
    bool serves = gateway_start();
    doors_disarm();
    if (!serves && fault->at == 0)
        complain("the worker does not start");
    if (!serves)
        return 0; /* it said why, and its process ends: what it held goes with it */
    return doors_count();
}

static unsigned long run_calls(const struct fault *fault, struct caller *c)
{
    static struct outcome outcomes[STEPS_MAX];
    if (!gateway_start())
        complain("the worker does not start");
    doors_arm(fault);
    run_steps(c, fault->at == 0 ? expected : outcomes, fault->is_for_ever);
    doors_disarm();
    return doors_count();
}

static unsigned long run_reload(const struct fault *fault, struct caller *c)
{
    if (!gateway_start())
        complain("the worker does not start");
    doors_arm(fault);
    bool loaded = gateway_reload();
    doors_disarm();
    if (!loaded && fault->at == 0)
        complain("the configuration is refused");
    struct span get = text("GET /v1/models/generation-%d HTTP/1.1\r\nHost: h\r\n"
                           "Authorization: Bearer %s\r\n\r\n",
                           loaded ? 2 : 1, GATEWAY_KEY);
    struct answer a = caller_ask(c, &get, 1);
    if (a.kind != ANSWER_WHOLE || a.status != 200)
        complain("what is served is not the configuration that was %s", loaded ? "loaded" : "kept");
    return doors_count();
}

/* The worker is told to stop while calls of all kinds are under way. */
static unsigned long run_stop(const struct fault *fault, struct caller *c)
{
    static const char *const models[] = {"mock-hang", "plain-stall-after-2", "two-hang",
                                         "safe-stream-9999x1ms"};
    (void)c;
    if (!gateway_start())
        complain("the worker does not start");
    for (size_t i = 0; i < ARRAY_LEN(models); i++) {
        struct caller leaver = {.fd = -1, .port = gateway_port()};
        struct span call = post_of(chat_body(models[i], ",\"stream\":true"));
        caller_send(&leaver, &call, 1); /* and stays connected until the process ends */
    }
    rest_ms(30);
    doors_arm(fault);
    if (gateway_end() != 0)
        complain("the worker does not end as it should");
    doors_disarm();
    return doors_count();
}

struct scenario {
    const char *name;
    void (*make)(void); /* its steps; NULL: none */
    unsigned long (*run)(const struct fault *fault, struct caller *c);
};

static const struct scenario scenarios[] = {
    {"start", NULL, run_start},
    {"plain", make_plain_steps, run_calls},
    {"upstream", make_upstream_steps, run_calls},
    {"http2", make_h2_steps, run_calls},
    {"reload", NULL, run_reload},
    {"stop", NULL, run_stop},
};

/* --- one case, in a process of its own ---------------------------------------------------------
 */

struct report {
    unsigned long calls;
    long live; /* allocations that were not given back */
    struct outcome expected[STEPS_MAX];
};

static NORETURN void run_case(const struct scenario *scenario, const struct fault *fault,
                              long live_max, int report_fd)
{
    struct report report = {0};
    struct caller c = {.fd = -1, .port = gateway_port()};
    doors_install();
    report.calls = scenario->run(fault, &c);
    caller_leave(&c);
    bool serves = gateway_serves();
    if (serves) {
        check_clean_calls(&c);
        check_gauges(&c);
        caller_leave(&c);
        if (gateway_end() != 0)
            complain("the worker does not end as it should");
    }
    report.live = doors_live();
    bool may_leak = !serves && scenario->run == run_start;
    if (!may_leak && report.live > live_max + SESSIONS_KEPT)
        complain("%ld allocations were not given back, %ld at most should be", report.live,
                 live_max);
    if (!may_leak && !is_case_bad && __lsan_do_recoverable_leak_check())
        is_case_bad = true;
    memcpy(report.expected, expected, sizeof expected);
    if (write(report_fd, &report, sizeof report) != (ssize_t)sizeof report)
        complain("no report");
    _exit(is_case_bad);
}

/* --- the cases ---------------------------------------------------------------------------------
 */

/* Of what a case says, this much is shown when it fails. */
static char said[16 * 1024];

static void read_said(int fd)
{
    size_t n = 0;
    ssize_t got;
    char rest[1024];
    while (n < sizeof said - 1 && (got = read(fd, said + n, sizeof said - 1 - n)) > 0)
        n += (size_t)got;
    while (read(fd, rest, sizeof rest) > 0) {
    }
    said[n] = '\0';
}

static void show_said(void)
{
    for (char *line = strtok(said, "\n"); line; line = strtok(NULL, "\n"))
        printf("# %s\n", line[0] == '#' ? line + 2 : line);
}

static bool fork_case(const struct scenario *scenario, const struct fault *fault, long live_max,
                      struct report *report)
{
    int reports[2], errors[2], status = 0;
    if (pipe(reports) != 0 || pipe(errors) != 0)
        return false;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(errors[1], STDERR_FILENO);
        dup2(errors[1], STDOUT_FILENO);
        close(errors[0]);
        close(reports[0]);
        alarm(CASE_SECONDS_MAX); /* a case that hangs is killed, and has failed */
        run_case(scenario, fault, live_max, reports[1]);
    }
    close(errors[1]);
    close(reports[1]);
    read_said(errors[0]);
    *report = (struct report){0};
    (void)!read(reports[0], report, sizeof *report);
    close(errors[0]);
    close(reports[0]);
    waitpid(pid, &status, 0);
    if (WIFSIGNALED(status))
        printf("# killed by signal %d\n", WTERMSIG(status));
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

struct row {
    const char *name;
    struct fault fault;
};

static const struct row rows[] = {
    {"alloc", {.door = DOOR_ALLOC, .how = ENOMEM}},
    {"alloc for ever", {.door = DOOR_ALLOC, .how = ENOMEM, .is_for_ever = true}},
    {"map", {.door = DOOR_MAP, .how = ENOMEM}},
    {"read reset", {.door = DOOR_READ, .how = ECONNRESET}},
    {"read end", {.door = DOOR_READ, .how = FAULT_EOF}},
    {"read again", {.door = DOOR_READ, .how = EAGAIN}},
    {"read interrupted", {.door = DOOR_READ, .how = EINTR}},
    {"read short", {.door = DOOR_READ, .how = FAULT_SHORT}},
    {"read short for ever", {.door = DOOR_READ, .how = FAULT_SHORT, .is_for_ever = true}},
    {"writev reset", {.door = DOOR_WRITEV, .how = ECONNRESET}},
    {"writev memory", {.door = DOOR_WRITEV, .how = ENOMEM}},
    {"writev again", {.door = DOOR_WRITEV, .how = EAGAIN}},
    {"writev interrupted", {.door = DOOR_WRITEV, .how = EINTR}},
    {"writev short", {.door = DOOR_WRITEV, .how = FAULT_SHORT}},
    {"writev short for ever", {.door = DOOR_WRITEV, .how = FAULT_SHORT, .is_for_ever = true}},
    {"accept full", {.door = DOOR_ACCEPT, .how = EMFILE}},
    {"accept aborted", {.door = DOOR_ACCEPT, .how = ECONNABORTED}},
    {"accept again", {.door = DOOR_ACCEPT, .how = EAGAIN}},
    {"connect refused", {.door = DOOR_CONNECT, .how = ECONNREFUSED}},
    {"socket full", {.door = DOOR_SOCKET, .how = EMFILE}},
    {"epoll_ctl memory", {.door = DOOR_EPOLL_CTL, .how = ENOMEM}},
    {"epoll_ctl for ever", {.door = DOOR_EPOLL_CTL, .how = ENOSPC, .is_for_ever = true}},
    {"epoll_wait interrupted", {.door = DOOR_EPOLL_WAIT, .how = EINTR}},
    {"open full", {.door = DOOR_OPEN, .how = EMFILE}},
    {"write full", {.door = DOOR_WRITE, .how = ENOSPC}},
    {"write short", {.door = DOOR_WRITE, .how = FAULT_SHORT}},
    {"cancelled", {.door = DOOR_PARK, .how = ECANCELED}},
};

static bool is_long;
static unsigned long only_at; /* to look at one case again */

/* Returns after how many cases; test_failed tells whether all were good. */
static unsigned long run_row(const struct scenario *scenario, const struct row *row)
{
    struct report report;
    struct fault fault = row->fault;
    unsigned long cases = 0;
    test_failed = !fork_case(scenario, &fault, LONG_MAX - SESSIONS_KEPT, &report);
    if (test_failed)
        show_said();
    memcpy(expected, report.expected, sizeof expected);
    unsigned long n = report.calls, step = is_long ? 1 : MAX(n / CASES_MAX, 1ul);
    long live = report.live;
    for (fault.at = only_at ? only_at : 1; fault.at <= MAX(n, only_at); fault.at += step) {
        cases++;
        if (!fork_case(scenario, &fault, live, &report)) {
            test_failed = true;
            printf("# %s, %s: call %lu of %lu\n", scenario->name, row->name, fault.at, n);
            show_said();
        }
        if (only_at)
            break;
    }
    return cases;
}

static bool is_wanted(const char *name, int argc, char **argv, int at)
{
    return argc <= at || strcmp(argv[at], "all") == 0 ||
           strncmp(name, argv[at], strlen(argv[at])) == 0;
}

static void prepare(void)
{
    struct certificate root =
        certificate_new((struct certificate_wish){.from_days = -1, .to_days = 30});
    struct certificate leaf = certificate_new((struct certificate_wish){
        .issuer = &root, .name = "IP:127.0.0.1", .from_days = -1, .to_days = 30});
    struct gateway_files files = {.certificate = certificate_save("leaf.pem", &leaf, NULL),
                                  .key = certificate_save_key("leaf.key", &leaf),
                                  .authority = certificate_save("root.pem", &root, NULL)};
    certificate_free(&leaf);
    certificate_free(&root);
    gateway_prepare(&files);
}

/* fault [--long] [SCENARIO [ROW [N]]] */
int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    if (argc > 1 && strcmp(argv[1], "--long") == 0) {
        is_long = true;
        argc--, argv++;
    }
    only_at = argc > 3 ? strtoul(argv[3], NULL, 10) : 0;
    prepare();
    for (size_t i = 0; i < ARRAY_LEN(scenarios); i++) {
        if (!is_wanted(scenarios[i].name, argc, argv, 1))
            continue;
        step_count = text_bytes = 0;
        if (scenarios[i].make)
            scenarios[i].make();
        for (size_t k = 0; k < ARRAY_LEN(rows); k++) {
            if (!is_wanted(rows[k].name, argc, argv, 2))
                continue;
            unsigned long cases = run_row(&scenarios[i], &rows[k]);
            test_failures += test_failed;
            printf("%sok %d - %s, %s: %lu cases\n", test_failed ? "not " : "", ++test_number,
                   scenarios[i].name, rows[k].name, cases);
        }
    }
    return TESTS_DONE();
}

#include "http/sse.h"

#include "http/scan.h"

/* How the line before ended. A stream that ends its lines by a bare CR gets its events at once;
 * after any other line end a CR waits for its LF, so that an event's raw bytes hold both. */
enum line_end { END_NONE, END_LF, END_CR, END_CRLF };

/* Memory that one long event needed is not kept for the short ones after it. */
enum { KEEP_MAX = 16 * 1024 };

void sse_reader_init(struct sse_reader *r, size_t event_max)
{
    *r = (struct sse_reader){.event_max = event_max, .is_first = true, .line_end = END_NONE};
    builder_init(&r->held, event_max);
    builder_init(&r->joined, event_max);
}

void sse_reader_deinit(struct sse_reader *r)
{
    builder_deinit(&r->held);
    builder_deinit(&r->joined);
}

static void forget(struct builder *b, size_t event_max)
{
    const size_t n = builder_span(b).n;
    if (n <= KEEP_MAX) {
        builder_clear(b);
        return;
    }
    builder_deinit(b);
    builder_init(b, event_max);
}

/* --- where an event ends -----------------------------------------------------------------------
 */

/* A line ended by the CR or LF before `p`. True when that ends the event. */
static bool end_line(struct sse_reader *r, char c)
{
    const bool is_empty = !r->in_line;
    r->in_line = false;
    if (c == '\n') {
        r->line_end = END_LF;
        return is_empty;
    }
    r->after_cr = true;
    r->block_done = is_empty && r->line_end != END_CR;
    return is_empty && r->line_end == END_CR;
}

/* The byte after a CR is here. True when it shows the end of the event. */
static bool settle_cr(struct sse_reader *r, const char **p)
{
    const bool was_done = r->block_done;
    const bool is_lf = **p == '\n';
    r->line_end = is_lf ? END_CRLF : END_CR;
    r->after_cr = r->block_done = false;
    *p += is_lf;
    return was_done;
}

/* The bytes up to and with the end of the event that begins or goes on at `bytes`; all of them,
 * and *found false, when its end is not there. */
static size_t find_end(struct sse_reader *r, struct span bytes, bool *found)
{
    const char *p = bytes.p, *end = bytes.p + bytes.n;
    *found = false;
    while (!*found && p < end) {
        if (r->after_cr) {
            *found = settle_cr(r, &p);
            continue;
        }
        const char *stop = scan_line(p, end);
        r->in_line |= stop > p;
        if (stop == end)
            return bytes.n;
        p = stop + 1;
        *found = end_line(r, *stop);
    }
    return (size_t)(p - bytes.p);
}

/* --- what it says ------------------------------------------------------------------------------
 */

static struct span next_line(struct span *rest)
{
    const char *end = rest->p + rest->n;
    const char *stop = scan_line(rest->p, end);
    const struct span line = span_between(rest->p, stop);
    const bool is_crlf = end - stop >= 2 && stop[0] == '\r' && stop[1] == '\n';
    stop += stop == end ? 0 : is_crlf ? 2 : 1;
    *rest = span_between(stop, end);
    return line;
}

/* The value when the line is the field `name`. One space after the colon is not part of it; a line
 * without a colon is a field with an empty value. */
static inline __attribute__((always_inline)) bool is_field(struct span line, struct span name,
                                                           struct span *value)
{
    if (!span_starts(line, name))
        return false;
    struct span rest = span_from(line, name.n);
    if (rest.n && rest.p[0] != ':')
        return false;
    rest = span_from(rest, rest.n ? 1 : 0);
    *value = rest.n && rest.p[0] == ' ' ? span_from(rest, 1) : rest;
    return true;
}

static void add_data(struct sse_reader *r, struct sse_event *event, struct span value,
                     unsigned line_count)
{
    if (line_count == 0) {
        event->data = value;
        return;
    }
    if (line_count == 1)
        builder_add(&r->joined, event->data);
    builder_add_char(&r->joined, '\n');
    builder_add(&r->joined, value);
}

static enum err read_event(struct sse_reader *r, struct span raw, struct sse_event *event)
{
    *event = (struct sse_event){.raw = raw};
    struct span rest = raw, value;
    if (r->is_first && span_starts(rest, SPAN("\xEF\xBB\xBF")))
        rest = span_from(rest, 3);
    r->is_first = false;
    unsigned data_lines = 0;
    while (rest.n) {
        const struct span line = next_line(&rest);
        if (is_field(line, SPAN("data"), &value))
            add_data(r, event, value, data_lines++);
        else if (is_field(line, SPAN("event"), &value))
            event->name = value;
    }
    event->has_data = data_lines > 0;
    if (data_lines > 1)
        event->data = builder_span(&r->joined);
    r->failed = builder_check(&r->joined);
    return r->failed;
}

/* --- the reader --------------------------------------------------------------------------------
 */

static enum err hold(struct sse_reader *r, struct span part)
{
    builder_add(&r->held, part);
    r->failed = builder_check(&r->held);
    return r->failed;
}

static void begin_call(struct sse_reader *r)
{
    if (r->lent_held)
        forget(&r->held, r->event_max);
    if (UNLIKELY(builder_span(&r->joined).n))
        forget(&r->joined, r->event_max);
    r->lent_held = false;
}

/* An event as nearly all are, that is here whole: lines ended by LF, at most one of them data. It
 * is read and its end found in one pass. False when it is anything else: then nothing was taken,
 * and the careful reader begins where this one did. */
static bool read_usual_event(struct sse_reader *r, struct span *bytes, struct sse_event *event)
{
    const char *p = bytes->p, *const end = bytes->p + bytes->n;
    struct sse_event e = {0};
    if (r->in_line || r->after_cr || builder_span(&r->held).n || (r->is_first && *p == '\xEF'))
        return false;
    for (;;) {
        const char *const stop = scan_line(p, end);
        if (stop == end || *stop != '\n')
            return false;
        const struct span line = span_between(p, stop);
        p = stop + 1;
        if (line.n == 0)
            break;
        if (is_field(line, SPAN("data"), &e.data)) {
            if (e.has_data)
                return false;
            e.has_data = true;
        } else {
            (void)is_field(line, SPAN("event"), &e.name);
        }
    }
    e.raw = span_between(bytes->p, p);
    if (e.raw.n > r->event_max)
        return false;
    r->line_end = END_LF;
    r->is_first = false;
    *bytes = span_between(p, end);
    *event = e;
    return true;
}

enum err sse_next(struct sse_reader *r, struct span *bytes, struct sse_event *event)
{
    TRY(r->failed);
    begin_call(r);
    if (bytes->n == 0)
        return ERR_AGAIN;
    if (read_usual_event(r, bytes, event))
        return ERR_OK;
    bool found;
    const size_t n = find_end(r, *bytes, &found);
    const struct span part = span(bytes->p, n);
    *bytes = span_from(*bytes, n);
    if (n > r->event_max) {
        r->failed = ERR_TOO_LARGE;
        return r->failed;
    }
    if (found && builder_span(&r->held).n == 0)
        return read_event(r, part, event);
    TRY(hold(r, part));
    if (!found)
        return ERR_AGAIN;
    r->lent_held = true;
    return read_event(r, builder_span(&r->held), event);
}

enum err sse_finish(struct sse_reader *r, struct sse_event *event)
{
    TRY(r->failed);
    begin_call(r);
    if (builder_span(&r->held).n == 0)
        return ERR_AGAIN;
    r->in_line = r->after_cr = r->block_done = false;
    r->lent_held = true;
    return read_event(r, builder_span(&r->held), event);
}

/* --- the writer --------------------------------------------------------------------------------
 */

enum err sse_write(struct builder *out, struct span name, struct span data)
{
    if (name.n && (span_find(name, '\n') < name.n || span_find(name, '\r') < name.n ||
                   span_find(name, '\0') < name.n))
        return ERR_PROTOCOL;
    if (name.n) {
        builder_add(out, SPAN("event: "));
        builder_add(out, name);
        builder_add_char(out, '\n');
    }
    struct span rest = data;
    bool more;
    do {
        const struct span before = rest;
        const struct span line = before.n ? next_line(&rest) : before;
        more = rest.n > 0 || (before.n && line.n < before.n); /* a line end is followed by a line */
        builder_add(out, SPAN("data: "));
        builder_add(out, line);
        builder_add_char(out, '\n');
    } while (more);
    builder_add_char(out, '\n');
    return builder_check(out);
}

void sse_write_comment(struct builder *out, struct span text)
{
    ASSERT(text.n == 0 || scan_line(text.p, text.p + text.n) == text.p + text.n);
    builder_add(out, SPAN(": "));
    builder_add(out, text);
    builder_add(out, SPAN("\n\n"));
}

#include "watch/record.h"

#include "base/sys.h"
#include "json/write.h"

static void write_text(struct json_writer *w, struct span quoted_name, struct span text)
{
    json_write_quoted_name(w, quoted_name);
    if (text.n)
        json_write_string(w, text);
    else
        json_write_null(w);
}

#define TEXT(w, name, text) write_text((w), SPAN("\"" name "\":"), (text))

/* Milliseconds with three places. */
#define MS(w, name, ns) JSON_MEMBER((w), name, decimal, (ns) / NS_PER_US, 3)

static void write_who(struct json_writer *w, const struct record *r)
{
    TEXT(w, "organisation", r->organisation);
    TEXT(w, "team", r->team);
    TEXT(w, "project", r->project);
    TEXT(w, "user", r->user);
    TEXT(w, "key", r->key);
    TEXT(w, "route", r->route);
    TEXT(w, "tags", r->tags);
}

static void write_attempts(struct json_writer *w, const struct record *r)
{
    JSON_NAME(w, "attempts");
    json_write_array(w);
    for (size_t i = 0; i < r->attempt_count; i++) {
        const struct record_attempt *a = &r->attempts[i];
        json_write_object(w);
        JSON_MEMBER(w, "target", string, a->target);
        JSON_MEMBER(w, "outcome", string, span_of_cstr(a->outcome));
        MS(w, "ms", a->took_ns);
        json_write_object_end(w);
    }
    json_write_array_end(w);
}

static void write_what(struct json_writer *w, const struct record *r)
{
    TEXT(w, "dialect", r->dialect);
    TEXT(w, "endpoint", r->endpoint);
    TEXT(w, "model", r->model);
    TEXT(w, "target", r->target);
    TEXT(w, "reason", r->reason ? span_of_cstr(r->reason) : (struct span){0});
    write_attempts(w, r);
    JSON_MEMBER(w, "stream", bool, r->stream);
    JSON_MEMBER(w, "status", i64, r->status);
    TEXT(w, "error", r->error ? span_of_cstr(r->error) : (struct span){0});
    JSON_MEMBER(w, "cache", string, SPAN("off"));
    JSON_NAME(w, "guard");
    json_write_array(w);
    json_write_array_end(w);
}

static void write_usage(struct json_writer *w, const struct record *r)
{
    JSON_MEMBER(w, "input_tokens", i64, r->input_tokens);
    JSON_MEMBER(w, "cached_tokens", i64, r->cached_tokens);
    JSON_MEMBER(w, "cache_write_tokens", i64, r->cache_write_tokens);
    JSON_MEMBER(w, "output_tokens", i64, r->output_tokens);
    JSON_MEMBER(w, "reasoning_tokens", i64, r->reasoning_tokens);
    JSON_MEMBER(w, "tokens_known", bool, r->has_tokens);
}

enum err record_write(struct builder *out, const struct record *r)
{
    struct json_writer w;
    char time[TIME_TEXT_BYTES];
    time_text(r->wall_ns, time);
    json_writer_init(&w, out);
    json_write_object(&w);
    JSON_MEMBER(&w, "id", string, r->id);
    JSON_MEMBER(&w, "time", string, span(time, sizeof time));
    write_who(&w, r);
    write_what(&w, r);
    write_usage(&w, r);
    MS(&w, "ms_total", r->total_ns);
    if (r->first_token_ns >= 0)
        MS(&w, "ms_first_token", r->first_token_ns);
    MS(&w, "ms_overhead", r->overhead_ns);
    json_write_object_end(&w);
    TRY(json_writer_end(&w));
    builder_add_char(out, '\n');
    return builder_check(out);
}

/* edit.c -- edits become cuts: runs of the body that are left out, and what stands there instead.
 *
 * The one difficulty are the commas. A removed member takes the comma behind it; when it is the
 * last, there is none, and the comma in front of the whole run of removed members goes instead:
 *
 *     {"a":1, "b":2, "c":3}     remove b       {"a":1, "c":3}
 *             ======                           the run is b and its comma
 *     {"a":1, "b":2, "c":3}     remove b, c    {"a":1}
 *           ==============                     the run ends the object: its comma is a's
 */
#include "json/edit.h"

#include "json/kernel.h"
#include "json/skip.h"

struct cut {
    const char *from, *to;
    const struct json_edit *edit;
};

struct plan {
    struct span body;
    struct cut cut[JSON_EDITS_MAX];
    size_t count;
};

static bool is_inside(struct span body, struct span part)
{
    const uintptr_t first = (uintptr_t)body.p, at = (uintptr_t)part.p;
    return part.n > 0 && at >= first && at - first < body.n && part.n <= body.n - (at - first);
}

/* The byte in front of p that is no white space; NULL at the beginning of the body. */
static const char *back_over_space(struct span body, const char *p)
{
    while (p > body.p && (p[-1] == ' ' || p[-1] == '\n' || p[-1] == '\r' || p[-1] == '\t'))
        p--;
    return p > body.p ? p - 1 : NULL;
}

/* The opening quote of the string that `quote` closes. A quote inside of it stands behind an odd
 * number of backslashes, the opening one behind none. */
static const char *back_over_string(const char *quote)
{
    for (;;) {
        do {
            quote--;
        } while (*quote != '"');
        if (quote[-1] != '\\')
            return quote;
        size_t n = 1;
        while (quote[-1 - (ptrdiff_t)n] == '\\')
            n++;
        if (n % 2 == 0)
            return quote;
    }
}

/* Where the member or element begins whose value is `value`; NULL for the root. */
static const char *member_begin(struct span body, struct span value)
{
    const char *before = back_over_space(body, value.p);
    if (!before)
        return NULL;
    if (*before != ':')
        return value.p;
    const char *const quote = back_over_space(body, before);
    return quote ? back_over_string(quote) : NULL;
}

static enum err plan_edit(const struct plan *plan, const struct json_edit *edit, struct cut *cut)
{
    if (!is_inside(plan->body, edit->at))
        return ERR_BAD_REQUEST;
    *cut = (struct cut){edit->at.p, edit->at.p + edit->at.n, edit};
    switch (edit->change) {
    case JSON_REPLACE:
        return edit->value.n ? ERR_OK : ERR_BAD_REQUEST;
    case JSON_REMOVE:
        cut->from = member_begin(plan->body, edit->at);
        return cut->from ? ERR_OK : ERR_BAD_REQUEST;
    case JSON_INSERT: {
        const char *const name_end = edit->name.p + edit->name.n;
        const bool is_plain =
            edit->name.n == 0 || json_kernel()->text(edit->name.p, name_end) == name_end;
        cut->from = cut->to = edit->at.p + 1;
        return *edit->at.p == '{' && is_plain && edit->value.n ? ERR_OK : ERR_BAD_REQUEST;
    }
    }
    return ERR_BAD_REQUEST;
}

static bool is_removal(const struct cut *cut)
{
    return cut->edit->change == JSON_REMOVE;
}

/* True when `a` stands behind `b`. Insertions come before a removal at the same place; equal ones
 * keep the order in which they were given. */
static bool is_behind(const struct cut *a, const struct cut *b)
{
    return a->from > b->from || (a->from == b->from && is_removal(a) && !is_removal(b));
}

static void add_in_order(struct plan *plan, struct cut cut)
{
    size_t i = plan->count++;
    for (; i > 0 && is_behind(&plan->cut[i - 1], &cut); i--)
        plan->cut[i] = plan->cut[i - 1];
    plan->cut[i] = cut;
}

static bool has_overlap(const struct plan *plan)
{
    for (size_t i = 1; i < plan->count; i++)
        if (plan->cut[i].from < plan->cut[i - 1].to)
            return true;
    return false;
}

/* Gives each removed member its comma. */
static void cut_commas(struct plan *plan)
{
    size_t run = 0; /* the first of the removed members that touch the one at hand */
    for (size_t i = 0; i < plan->count; i++) {
        struct cut *const cut = &plan->cut[i];
        if (!is_removal(cut))
            continue;
        if (i == 0 || !is_removal(cut - 1) || cut[-1].to != cut->from)
            run = i;
        const char *const behind = skip_space(cut->to);
        if (*behind == ',') {
            cut->to = skip_space(behind + 1);
            continue;
        }
        const char *const before = back_over_space(plan->body, plan->cut[run].from);
        if (*before == ',')
            plan->cut[run].from = before;
    }
}

/* True when a member is left behind the insertions at cut `i`. */
static bool has_survivor(const struct plan *plan, size_t i)
{
    const char *p = skip_space(plan->cut[i].to);
    for (i++; i < plan->count && plan->cut[i].from <= p; i++)
        if (is_removal(&plan->cut[i]))
            p = skip_space(plan->cut[i].to);
    return *p != '}';
}

static void put(struct json_pieces *out, struct span piece)
{
    if (piece.n == 0)
        return;
    out->piece[out->count++] = piece;
    out->bytes += piece.n;
}

static void put_member(struct json_pieces *out, const struct plan *plan, size_t i)
{
    const struct cut *const cut = &plan->cut[i];
    const bool is_followed =
        i + 1 < plan->count && cut[1].from == cut->from && cut[1].edit->change == JSON_INSERT;
    put(out, SPAN("\""));
    put(out, cut->edit->name);
    put(out, SPAN("\":"));
    put(out, cut->edit->value);
    if (is_followed || has_survivor(plan, i))
        put(out, SPAN(","));
}

enum err json_edit(struct span body, const struct json_edit *edits, size_t count,
                   struct json_pieces *pieces)
{
    struct plan plan = {.body = body};
    if (count > JSON_EDITS_MAX)
        return ERR_TOO_LARGE;
    for (size_t i = 0; i < count; i++) {
        struct cut cut;
        TRY(plan_edit(&plan, &edits[i], &cut));
        add_in_order(&plan, cut);
    }
    if (has_overlap(&plan))
        return ERR_BAD_REQUEST;
    cut_commas(&plan);
    pieces->count = pieces->bytes = 0;
    const char *at = body.p;
    for (size_t i = 0; i < plan.count; i++) {
        const struct cut *const cut = &plan.cut[i];
        put(pieces, span_between(at, cut->from));
        at = cut->to;
        if (cut->edit->change == JSON_REPLACE)
            put(pieces, cut->edit->value);
        else if (cut->edit->change == JSON_INSERT)
            put_member(pieces, &plan, i);
    }
    put(pieces, span_between(at, body.p + body.n));
    return ERR_OK;
}

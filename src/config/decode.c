#include "config/decode.h"

#include "config/scalar.h"
#include "config/suggest.h"

/* What a value is for: the word that messages begin with. */
struct purpose {
    const char *name;
    bool is_secret; /* its value is not shown */
};

static bool decode(const struct decoder *d, const struct shape *shape, struct node *n,
                   const struct purpose *purpose);

static bool is_scalar_shape(const struct shape *shape)
{
    return shape->kind < KIND_SCALARS;
}

static const char *shape_text(const struct decoder *d, const struct shape *shape)
{
    char room[400];
    struct builder b;
    builder_init_fixed(&b, room, sizeof room);
    shape_describe(shape, &b);
    const char *text = arena_cstr(d->arena, builder_span(&b));
    if (!text)
        d->report->no_memory = true;
    return text ? text : "something else";
}

/* --- scalars ------------------------------------------------------------------------------------
 */

static void tell_wrong(const struct decoder *d, const struct node *n, const struct purpose *purpose,
                       const char *wrong)
{
    if (purpose->is_secret)
        report_error(d->report, n->at, "%s: the value %s", purpose->name, wrong);
    else
        report_error(d->report, n->at, "%s: %s %s", purpose->name,
                     report_quote(d->report, n->written), wrong);
}

static void tell_unknown_choice(const struct decoder *d, const struct shape *shape,
                                const struct node *n, const struct purpose *purpose)
{
    struct suggestion s;
    suggest_init(&s, n->text);
    for (size_t i = 0; i < shape->choice_count; i++)
        suggest_offer(&s, span_of_cstr(shape->choices[i].name));
    const char *wrong =
        s.nearest.n > 0
            ? arena_printf(d->arena, "is not known; did you mean \"%.*s\"?", SPAN_ARG(s.nearest))
            : arena_printf(d->arena, "is not known; write %s", shape_text(d, shape));
    if (wrong)
        tell_wrong(d, n, purpose, wrong);
    else
        d->report->no_memory = true;
}

static bool decode_scalar(const struct decoder *d, const struct shape *shape, struct node *n,
                          const struct purpose *purpose)
{
    struct scalar s = {
        .arena = d->arena, .report = d->report, .folder = d->folder, .shape = shape, .node = n};
    if (n->is_broken)
        return false; /* told when it was read */
    if (node_is_null(n) && shape->kind != KIND_API_KEY) {
        report_error(d->report, n->at, "%s: a value is missing; write %s", purpose->name,
                     shape_text(d, shape));
        return false;
    }
    bool is_right = scalar_read(&s);
    if (!is_right && shape->kind == KIND_CHOICE)
        tell_unknown_choice(d, shape, n, purpose);
    else if (!is_right)
        tell_wrong(d, n, purpose, s.wrong);
    else if (shape->kind == KIND_CHOICE && shape->choices[n->number].is_later)
        report_warning(d->report, n->at, "%s: %s is read but not enforced by this version",
                       purpose->name, report_quote(d->report, n->written));
    return is_right;
}

/* --- lists and maps -----------------------------------------------------------------------------
 */

static bool decode_list(const struct decoder *d, const struct shape *shape, struct node *n,
                        const struct purpose *purpose)
{
    bool is_right = true;
    NODE_EACH(n, child)
    {
        is_right &= decode(d, shape->of, child, purpose);
    }
    return is_right;
}

/* A name is checked as a value would be that stands in its place. */
static bool decode_name(const struct decoder *d, enum kind kind, const struct node *child,
                        const struct purpose *purpose)
{
    struct node name = {
        .kind = NODE_SCALAR, .at = child->key_at, .text = child->key, .written = child->key};
    const struct shape shape = {.kind = kind};
    return decode_scalar(d, &shape, &name, purpose);
}

static bool decode_map(const struct decoder *d, const struct shape *shape, struct node *n,
                       const struct purpose *purpose)
{
    bool is_right = true;
    NODE_EACH(n, child)
    {
        is_right &= decode_name(d, shape->names, child, purpose);
        is_right &= decode(d, shape->of, child, purpose);
    }
    return is_right;
}

/* --- sections -----------------------------------------------------------------------------------
 */

static void tell_unknown_word(const struct decoder *d, const struct section *section,
                              const struct node *child)
{
    const char *quoted = report_quote(d->report, child->key);
    struct suggestion s;
    suggest_init(&s, child->key);
    for (size_t i = 0; i < section->word_count; i++)
        suggest_offer(&s, span_of_cstr(section->words[i].name));
    if (s.nearest.n > 0) {
        report_error(d->report, child->key_at, "unknown word %s in %s; did you mean \"%.*s\"?",
                     quoted, section->name, SPAN_ARG(s.nearest));
        return;
    }
    char room[400];
    struct builder words;
    builder_init_fixed(&words, room, sizeof room);
    for (size_t i = 0; i < section->word_count; i++)
        builder_printf(&words, "%s%s", i ? ", " : "", section->words[i].name);
    report_error(d->report, child->key_at, "unknown word %s in %s; its words are %.*s", quoted,
                 section->name, SPAN_ARG(builder_span(&words)));
}

/* A node for what the file leaves out. */
static struct node *add_standard(const struct decoder *d, struct node *parent,
                                 const struct word *word)
{
    struct node *n = ARENA_NEW(d->arena, struct node);
    if (!n) {
        d->report->no_memory = true;
        return NULL;
    }
    n->key = span_of_cstr(word->name);
    n->key_at = n->at = parent->at;
    n->kind = strcmp(word->standard, "{}") == 0 ? NODE_MAPPING : NODE_SCALAR;
    n->text = n->written = span_of_cstr(word->standard);
    node_append(parent, n);
    return n;
}

/* What the file does not say: required words are missed, others get their default. */
static bool complete_section(const struct decoder *d, const struct section *section,
                             struct node *parent)
{
    bool is_right = true;
    for (size_t i = 0; i < section->word_count; i++) {
        const struct word *word = &section->words[i];
        if (node_child(parent, span_of_cstr(word->name)))
            continue;
        if (word->is_required) {
            report_error(d->report, parent->at, "%s needs the word \"%s\"", section->name,
                         word->name);
            is_right = false;
        } else if (word->standard) {
            struct node *n = add_standard(d, parent, word);
            const struct purpose purpose = {.name = word->name};
            is_right &= n && decode(d, word->shape, n, &purpose);
        }
    }
    return is_right;
}

/* A word without a value is as good as left out, where that can be meant: "models:" with all its
 * lines commented out. Of a scalar it is more likely forgotten. */
static bool is_left_out(const struct word *word, const struct node *child)
{
    return node_is_null(child) && !is_scalar_shape(word->shape) && word->shape->kind != KIND_EITHER;
}

/* Something that nothing acts on yet is only worth a warning when it says something. */
static bool says_something(const struct node *child)
{
    return child->kind == NODE_SCALAR ? child->text.n > 0 : child->count > 0;
}

static bool decode_word(const struct decoder *d, const struct word *word, struct node *child)
{
    if (is_left_out(word, child))
        child->kind = word->shape->kind == KIND_LIST ? NODE_LIST : NODE_MAPPING;
    /* Empty by its own ${NAME:-} means: left out. It is the way to make a word optional. */
    if (child->kind == NODE_SCALAR && child->by_default && child->text.n == 0 &&
        !word->is_required) {
        if (!word->standard)
            return true;
        child->text = child->written = span_of_cstr(word->standard);
    }
    if (word->is_later && says_something(child))
        report_warning(d->report, child->key_at, "%s is read but not enforced by this version",
                       word->name);
    const struct purpose purpose = {.name = word->name, .is_secret = word->is_secret};
    return decode(d, word->shape, child, &purpose);
}

static bool decode_section(const struct decoder *d, const struct section *section, struct node *n)
{
    bool is_right = true;
    n->section = section;
    NODE_EACH(n, child)
    {
        const struct word *word = section_word(section, child->key);
        if (!word) {
            tell_unknown_word(d, section, child);
            is_right = false;
            continue;
        }
        is_right &= decode_word(d, word, child);
    }
    return complete_section(d, section, n) && is_right;
}

/* --- any shape ----------------------------------------------------------------------------------
 */

static bool fits(const struct shape *shape, enum node_kind kind)
{
    if (shape->kind == KIND_EITHER)
        return fits(shape->of, kind) || fits(shape->otherwise, kind);
    if (is_scalar_shape(shape))
        return kind == NODE_SCALAR;
    return kind == (shape->kind == KIND_LIST ? NODE_LIST : NODE_MAPPING);
}

/* The alternative that a value is meant to be: by its kind, then by its text. */
static const struct shape *choose(const struct shape *shape, const struct node *n)
{
    while (shape->kind == KIND_EITHER) {
        bool first = fits(shape->of, n->kind);
        bool is_ambiguous = first && fits(shape->otherwise, n->kind);
        if (is_ambiguous && shape->of->kind == KIND_CHOICE)
            first = choice_find(shape->of, n->text) < shape->of->choice_count;
        shape = first ? shape->of : shape->otherwise;
    }
    return shape;
}

static void tell_misfit(const struct decoder *d, const struct shape *shape, const struct node *n,
                        const struct purpose *purpose)
{
    static const char *const kinds[] = {
        [NODE_SCALAR] = "a single value", [NODE_LIST] = "a list", [NODE_MAPPING] = "a mapping"};
    const char *found = node_is_null(n) ? "nothing" : kinds[n->kind];
    report_error(d->report, n->at, "%s: %s stands here; write %s", purpose->name, found,
                 shape_text(d, shape));
}

static bool decode_as(const struct decoder *d, const struct shape *shape, struct node *n,
                      const struct purpose *purpose)
{
    if (shape->kind == KIND_LIST)
        return decode_list(d, shape, n, purpose);
    if (shape->kind == KIND_MAP)
        return decode_map(d, shape, n, purpose);
    if (shape->kind == KIND_SECTION)
        return decode_section(d, shape->section, n);
    return decode_scalar(d, shape, n, purpose);
}

/* A thing of a map without any words: "mock:" is as good as "mock: {}". */
static void open_empty_section(const struct shape *shape, struct node *n)
{
    if (shape->kind == KIND_SECTION && node_is_null(n))
        n->kind = NODE_MAPPING;
}

/* Of two kinds of scalars both are named when neither fits: "many" is not auto or a number. */
static bool is_hopeless(const struct decoder *d, const struct shape *shape, const struct node *n,
                        const struct purpose *purpose)
{
    if (shape->kind != KIND_EITHER || n->kind != NODE_SCALAR || n->is_broken ||
        shape->of->kind != KIND_CHOICE || !is_scalar_shape(shape->otherwise) ||
        choose(shape, n) == shape->of)
        return false;
    if (n->text.n > 0 && n->text.p[0] >= '0' && n->text.p[0] <= '9')
        return false; /* a number was meant: what is wrong with it can be said better */
    const char *wrong = arena_printf(d->arena, "is not %s", shape_text(d, shape));
    if (wrong)
        tell_wrong(d, n, purpose, wrong);
    else
        d->report->no_memory = true;
    return true;
}

static bool decode(const struct decoder *d, const struct shape *shape, struct node *n,
                   const struct purpose *purpose)
{
    open_empty_section(shape, n);
    if (!fits(shape, n->kind)) {
        tell_misfit(d, shape, n, purpose);
        return false;
    }
    if (is_hopeless(d, shape, n, purpose))
        return false;
    n->is_valid = decode_as(d, choose(shape, n), n, purpose);
    return n->is_valid;
}

void decode_config(const struct decoder *d, struct node *root)
{
    static const struct shape shape = {.kind = KIND_SECTION, .section = &config_section};
    const struct purpose purpose = {.name = config_section.name};
    decode(d, &shape, root, &purpose);
}

/* --- asking for values --------------------------------------------------------------------------
 */

const struct node *node_get(const struct node *section, const char *word)
{
    if (!section || section->kind != NODE_MAPPING || !section->section)
        return NULL;
    ASSERT(section_word(section->section, span_of_cstr(word)) != NULL);
    const struct node *n = node_child(section, span_of_cstr(word));
    /* Of a list or a mapping the right parts are still of use, to find further mistakes. */
    return n && (n->is_valid || n->kind != NODE_SCALAR) ? n : NULL;
}

struct span node_text(const struct node *section, const char *word)
{
    const struct node *n = node_get(section, word);
    return n && n->kind == NODE_SCALAR ? n->text : span(NULL, 0);
}

int64_t node_number(const struct node *section, const char *word)
{
    const struct node *n = node_get(section, word);
    return n && n->kind == NODE_SCALAR ? n->number : 0;
}

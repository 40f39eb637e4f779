/* schema.h -- every word of the configuration, in one table.
 *
 * Why: parsing, validation, defaults, the reference and the JSON Schema say the same because they
 * are made from the same rows. A new word is a row in schema.c and the line that uses its value.
 *
 * Owns:      nothing: it is constant data.
 * Suspends:  never.     Threads: any.
 */
#ifndef PENSTOCK_CONFIG_SCHEMA_H
#define PENSTOCK_CONFIG_SCHEMA_H

#include "base/builder.h"
#include "base/span.h"

/* How a value may look. What each scalar kind means is a row in scalar.c. */
enum kind {
    KIND_TEXT,     /* anything printable */
    KIND_NAME,     /* of a thing: no blanks, at most NAME_MAX_BYTES */
    KIND_PATTERN,  /* a name that may hold one '*' */
    KIND_TARGET,   /* PROVIDER/MODEL */
    KIND_TEAM,     /* ORGANISATION/TEAM */
    KIND_INTEGER,  /* number: itself */
    KIND_DECIMAL,  /* number: the value times 10 to the power of `digits`; never floating point */
    KIND_DURATION, /* number: nanoseconds */
    KIND_SIZE,     /* number: bytes */
    KIND_BOOL,     /* number: 0 or 1 */
    KIND_CHOICE,   /* number: the index into `choices` */
    KIND_TIME,     /* number: wall nanoseconds */
    KIND_ADDRESS,  /* to listen on */
    KIND_URL,      /* of a provider */
    KIND_PROXY,    /* of an egress proxy */
    KIND_STORE,    /* of a database */
    KIND_FLEET,    /* of a Redis or Valkey */
    KIND_LOG,      /* stdout, off, or a path */
    KIND_FILE,     /* that exists and can be read */
    KIND_SECRET,   /* of ours: long enough and no placeholder */
    KIND_API_KEY,  /* of a provider: may be empty, but no placeholder */
    KIND_SCALARS,  /* how many kinds of scalars there are */
    KIND_LIST = KIND_SCALARS,
    KIND_MAP,     /* from names to things */
    KIND_SECTION, /* a mapping with fixed words */
    KIND_EITHER,
};

/* One word of KIND_CHOICE. */
struct choice {
    const char *name;
    bool is_later; /* understood, but nothing acts on it yet: a warning */
};

struct shape {
    enum kind kind;
    int64_t min, max; /* of the number; 0, 0: no bounds */
    uint32_t digits;  /* of KIND_DECIMAL: behind the point */
    const struct choice *choices;
    size_t choice_count;
    enum kind names;               /* of KIND_MAP */
    const struct section *section; /* of KIND_SECTION */
    const struct shape *of;        /* of KIND_LIST, KIND_MAP; the first of KIND_EITHER, */
    const struct shape *otherwise; /* and the second */
};

struct word {
    const char *name;
    const struct shape *shape;
    const char *standard; /* its default, as it would be written; "{}": a section's own defaults */
    const char *absent;   /* without a default: what happens then, for the reference */
    bool is_required;
    bool is_secret;     /* messages never show its value */
    bool needs_restart; /* a reload does not change it */
    bool is_later;      /* checked, but nothing acts on it yet: a warning. Delete it when it does */
    const char *help;
};

struct section {
    const char *name;    /* "the configuration", "a provider": for messages */
    const char *title;   /* of its chapter in the reference */
    const char *path;    /* where it stands: "providers.NAME" */
    const char *help;    /* what it is for */
    const char *example; /* YAML, whole lines; NULL: none */
    const struct word *words;
    size_t word_count;
};

extern const struct section config_section;

/* Every section once, the root first, for the reference and the JSON Schema. */
extern const struct section *const schema_sections[];
extern const size_t schema_section_count;

/* NULL when there is no such word. */
const struct word *section_word(const struct section *s, struct span name);

/* What a value must be, to stand behind "write": "a duration such as 20s". */
void shape_describe(const struct shape *s, struct builder *out);

#endif

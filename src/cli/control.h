/* control.h -- what master and worker say to each other.
 *
 * Why: the master owns the sockets and the worker's life, the worker knows what is served. They
 * talk over a sequenced-packet socket pair: whole messages, descriptors along with them, and an
 * end of file when the other side died.
 *
 * Owns:      nothing.
 * Bounds:    CONTROL_TEXT_MAX of text; the configuration's text goes through a memory file.
 * Errors:    false when the other side is gone.
 * Suspends:  control_send and control_receive block the thread: never on a worker's loop.
 * Threads:   one reader a side; control_send may be called by any.
 */
#ifndef PENSTOCK_CLI_CONTROL_H
#define PENSTOCK_CLI_CONTROL_H

#include "base/span.h"

enum { CONTROL_TEXT_MAX = 8 * 1024, CONTROL_FDS_MAX = 250 };

enum control_type {
    /* master to worker */
    CONTROL_LISTENER, /* text: an address, fds: its sockets; precedes CONTROL_CONFIG */
    CONTROL_CONFIG,   /* fds: one memory file with the text; number: restarts so far */
    CONTROL_DRAIN,    /* finish what is under way, then exit */
    CONTROL_STOP,     /* exit now */
    /* worker to master */
    CONTROL_READY,    /* the first configuration is served */
    CONTROL_RELOADED, /* the new one is; text: warnings */
    CONTROL_REFUSED,  /* it is not; text: why. Master to worker: the file was, to be counted */
    CONTROL_ASK_RELOAD,
    CONTROL_ASK_DRAIN,
    /* master to worker */
    CONTROL_ANSWER, /* to ASK_RELOAD; number: 1 done, 0 refused; text: what was said */
};

struct control {
    enum control_type type;
    int64_t number;
    size_t text_bytes, fd_count;
    char text[CONTROL_TEXT_MAX];
    int fds[CONTROL_FDS_MAX];
};

/* Cuts what is too long. */
bool control_send(int fd, enum control_type type, int64_t number, struct span text, const int *fds,
                  size_t fd_count);

/* Waits for a message. The descriptors are the receiver's. */
bool control_receive(int fd, struct control *message);

#endif

/* thread.h -- the threads of a worker process, and what they are told.
 *
 * Why: each thread is a loop with everything a request needs; what all of them must do (a new
 * configuration, draining) is posted to each, and the main thread waits until all have done it.
 *
 * Owns:      the threads and all that lives on them, from threads_start to threads_stop.
 * Lends:     nothing: a plan is read while threads_apply runs.
 * Suspends:  never.     Threads: the main thread calls; letters run on the loops.
 */
#ifndef PENSTOCK_CLI_THREAD_H
#define PENSTOCK_CLI_THREAD_H

#include "admin/admin.h"
#include "cli/worker.h"
#include "fiber/loop.h"
#include "gate/gate.h"
#include "mock/mock.h"

#include <pthread.h>

enum { TAG_CALLERS, TAG_OPERATORS, TAG_MOCK };

/* An address and how it is served; the sockets are shared by all threads. */
struct place {
    struct listener_sockets *sockets;
    struct tls_server *tls;
    int tag;
};

struct plan {
    const struct config *config;
    struct place places[LISTENERS_MAX];
    size_t place_count;
    struct span admin_key;
    bool has_admin_listener;
};

struct process;

/* One that waits for the master's answer to its wish to reload. */
struct wish {
    struct list link;
    struct letter letter;
    struct loop *loop;
    struct fiber *fiber;
    struct builder *said;
    bool is_done, was_done;
};

struct thread {
    struct process *process;
    size_t index;
    pthread_t id;
    struct loop *loop;
    struct http_server *server;
    struct gate gate;
    struct metrics *metrics;
    struct admin_host host;
    char *admin_key; /* what host.admin_key lends */
    int *served;     /* descriptors that are listened on */
    size_t served_count;
    int *next; /* what is listened on by a plan that is being prepared */
    size_t next_count;
    char *next_key;
    enum err prepared;
    struct http_server *mock_server;
    int mock_fd;
    char mock_address[64];
    bool has_admin_listener, has_started;
    bool was_empty;          /* while stopping: nothing is left on its loop */
    struct timer idle_timer; /* while draining */
};

struct process {
    const struct worker_start *start;
    struct config *config;
    struct listener_sockets *listeners, *next;
    size_t listener_count, next_count;
    struct thread *threads;
    struct metrics **shards;
    struct access_log *log;
    struct mock *mock;
    int64_t started_wall_ns;
    uint64_t generation;
    _Atomic uint64_t reloads_failed;
    atomic_bool is_draining;
    bool start_control_closed;
    int idle_fd; /* readable when a thread has become idle while draining */
    pthread_mutex_t lock;
    struct list wishes;   /* struct wish; under lock */
    bool takes_no_wishes; /* under lock */
    _Atomic size_t empty; /* threads with nothing left, while stopping */
};

MUST_USE enum err threads_start(struct process *p, const struct config *c, struct failure *why);

/* All threads serve by the plan when it returns; or none does, and they go on as before:
 * ERR_NO_MEMORY, ERR_IO. */
MUST_USE enum err threads_apply(struct process *p, const struct plan *plan);

void threads_drain(struct process *p);
bool threads_are_idle(struct process *p);

/* Cancels what is under way and ends the threads. */
void threads_stop(struct process *p);

/* The master's answer to a wish to reload. */
void threads_answer(struct process *p, bool was_done, struct span said);

#endif

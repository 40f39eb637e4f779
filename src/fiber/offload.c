#include "fiber/offload.h"

#include "base/list.h"
#include "fiber/fiber_impl.h"

#include <pthread.h>
#include <signal.h>

/* Lies on the waiting fiber's stack, which stays until the job is done. */
struct job {
    struct letter letter; /* first sent back to the fiber's loop */
    struct list link;
    struct loop *loop;
    struct fiber *fiber;
    void (*fn)(void *arg);
    void *arg;
    bool is_done;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t has_work = PTHREAD_COND_INITIALIZER;
static struct list queue = {&queue, &queue};
static size_t queued, idle, threads;

static void on_done(struct letter *letter)
{
    struct job *job = CONTAINER_OF(letter, struct job, letter);
    job->is_done = true;
    fiber_wake(job->fiber);
}

static void *work(void *unused)
{
    (void)unused;
    pthread_mutex_lock(&lock);
    for (;;) {
        while (list_is_empty(&queue)) {
            idle++;
            pthread_cond_wait(&has_work, &lock);
            idle--;
        }
        struct job *job = CONTAINER_OF(queue.next, struct job, link);
        list_remove(&job->link);
        queued--;
        pthread_mutex_unlock(&lock);
        job->fn(job->arg);
        loop_post(job->loop, &job->letter);
        pthread_mutex_lock(&lock);
    }
    return NULL;
}

/* With the lock held. A thread that takes no signals: those are the main thread's. */
static bool start_thread(void)
{
    sigset_t all, old;
    pthread_t thread;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    bool started = pthread_create(&thread, NULL, work, NULL) == 0;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (started) {
        pthread_detach(thread);
        threads++;
    }
    return started || threads > 0;
}

static enum err enqueue(struct job *job)
{
    enum err e = ERR_OK;
    pthread_mutex_lock(&lock);
    if (queued >= OFFLOAD_QUEUE_MAX)
        e = ERR_FULL;
    else if (queued >= idle && threads < OFFLOAD_THREADS && !start_thread())
        e = ERR_NO_MEMORY;
    if (e == ERR_OK) {
        list_append(&queue, &job->link);
        queued++;
        pthread_cond_signal(&has_work);
    }
    pthread_mutex_unlock(&lock);
    return e;
}

enum err offload_call(void (*fn)(void *arg), void *arg)
{
    fiber_may_suspend();
    struct job job = {.loop = loop_self(), .fiber = fiber_self(), .fn = fn, .arg = arg};
    job.letter.fn = on_done;
    TRY(enqueue(&job));
    while (!job.is_done) /* the job has our stack: not even cancellation may end this wait */
        fiber_wait_uncancelled("offloaded work");
    return ERR_OK;
}

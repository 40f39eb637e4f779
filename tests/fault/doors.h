/* doors.h -- the doors to memory and the system, made to fail at the n-th call of a kind.
 *
 * Why: code for what hardly ever happens is only ever run by making it happen, at every place where
 * it can.
 *
 * Owns:      mem_door and sys, and fiber_on_park, from doors_install on.
 * Errors:    as the system's: errno as asked for.
 * Suspends:  never.     Threads: any; one fault at a time in a process.
 *
 * A fault tells no lie that the kernel could not tell: after an EAGAIN or a read of one byte that
 * were made up, the descriptor is registered again, so that the event which an edge-triggered loop
 * waits for comes. Taking a descriptor off the loop never fails: there is no reason it could.
 */
#ifndef PENSTOCK_TESTS_FAULT_DOORS_H
#define PENSTOCK_TESTS_FAULT_DOORS_H

#include <stdbool.h>
#include <stddef.h>

enum door {
    DOOR_ALLOC,
    DOOR_READ,
    DOOR_WRITEV,
    DOOR_ACCEPT,
    DOOR_CONNECT,
    DOOR_SOCKET,
    DOOR_EPOLL_CTL,
    DOOR_EPOLL_WAIT,
    DOOR_OPEN,
    DOOR_WRITE,
    DOOR_MAP,
    DOOR_PARK, /* not a door: the fiber that waits is cancelled */
    DOORS,
};

/* Beside an errno: what else can come out of a door. */
enum { FAULT_SHORT = -1, FAULT_EOF = -2 };

struct fault {
    enum door door;
    int how;
    unsigned long at; /* the first call is 1; 0: none */
    bool is_for_ever; /* that call and all that follow */
};

void doors_install(void);

/* Counts from here on, and fails as asked. */
void doors_arm(const struct fault *fault);
void doors_disarm(void);

/* Calls of the fault's kind since doors_arm. */
unsigned long doors_count(void);

/* Allocations that were not given back. */
long doors_live(void);

#endif

#include "cli/control.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

struct head {
    int32_t type;
    uint32_t text_bytes;
    int64_t number;
};

union ancillary {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(CONTROL_FDS_MAX * sizeof(int))];
};

bool control_send(int fd, enum control_type type, int64_t number, struct span text, const int *fds,
                  size_t fd_count)
{
    ASSERT(fd_count <= CONTROL_FDS_MAX);
    text.n = MIN(text.n, (size_t)CONTROL_TEXT_MAX);
    struct head head = {(int32_t)type, (uint32_t)text.n, number};
    struct iovec parts[2] = {{&head, sizeof head}, {(void *)(uintptr_t)text.p, text.n}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = text.n ? 2 : 1};
    union ancillary room;
    if (fd_count) {
        memset(&room, 0, sizeof room);
        message.msg_control = room.bytes;
        message.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&message);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
        memcpy(CMSG_DATA(c), fds, fd_count * sizeof(int));
    }
    ssize_t n;
    do {
        n = sendmsg(fd, &message, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    return n >= 0;
}

bool control_receive(int fd, struct control *m)
{
    struct head head;
    struct iovec parts[2] = {{&head, sizeof head}, {m->text, sizeof m->text}};
    union ancillary room;
    struct msghdr message = {.msg_iov = parts,
                             .msg_iovlen = 2,
                             .msg_control = room.bytes,
                             .msg_controllen = sizeof room.bytes};
    ssize_t n;
    do {
        n = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n < (ssize_t)sizeof head)
        return false;
    m->type = (enum control_type)head.type;
    m->number = head.number;
    m->text_bytes = (size_t)n - sizeof head;
    m->fd_count = 0;
    struct cmsghdr *c = CMSG_FIRSTHDR(&message);
    if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
        m->fd_count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        memcpy(m->fds, CMSG_DATA(c), m->fd_count * sizeof(int));
    }
    return true;
}

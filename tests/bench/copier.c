/*
 * The reference: one thread, level-triggered epoll, 16 KiB, no protocol, no policy, no log.
 *
 * Owner: the bench, which compiles it with `cc -O2` when it starts and runs it as a process of its own. What a
 * competent programmer would write in an afternoon; a forwarder that does more is judged by what the more costs.
 * Bytes that one side does not take at once are kept, and the other side is not read until they are gone.
 *
 *     copier ADDR:PORT=TTY...
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

enum { CHUNK = 16 * 1024, EVENTS = 256 };

/* What epoll hands back: a listener (no peer) or one end of a port. */
struct end {
    int fd;
    uint32_t wanted;
    struct end *peer;
    struct end *client; /* a listener's */
    char *pending;      /* not taken by `fd` yet: [from, to) of CHUNK bytes, none if NULL */
    size_t from, to;
};

static int epoll;
static char buffer[CHUNK];

static void watch(struct end *end, int operation, uint32_t wanted)
{
    struct epoll_event event = { .events = wanted, .data.ptr = end };

    if (operation == EPOLL_CTL_MOD && end->wanted == wanted)
        return;
    end->wanted = wanted;
    if (epoll_ctl(epoll, operation, end->fd, &event) < 0)
        err(1, "epoll_ctl");
}

static void forget(struct end *end)
{
    free(end->pending);
    end->pending = NULL;
}

static void hang_up(struct end *client)
{
    struct end *tty = client->peer;

    if (client->fd < 0)
        return;
    close(client->fd);
    client->fd = -1;
    forget(client);
    forget(tty);
    watch(tty, EPOLL_CTL_MOD, EPOLLIN);
}

static void welcome(struct end *listener)
{
    struct end *client = listener->client;
    int one = 1, fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd < 0)
        return;
    hang_up(client);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    client->fd = fd;
    watch(client, EPOLL_CTL_ADD, EPOLLIN);
}

/* Whether `end` has taken all that was pending. */
static int flushed(struct end *end)
{
    ssize_t written = write(end->fd, end->pending + end->from, end->to - end->from);

    if (written > 0)
        end->from += written;
    if (end->from < end->to)
        return 0;
    forget(end);
    return 1;
}

static void give(struct end *to, size_t length)
{
    ssize_t written;

    if (to->fd < 0)
        return; /* nobody is connected */
    written = write(to->fd, buffer, length);
    if (written < 0)
        written = 0;
    if ((size_t)written == length)
        return;
    to->pending = malloc(CHUNK);
    if (!to->pending)
        err(1, "malloc");
    to->from = 0;
    to->to = length - written;
    memcpy(to->pending, buffer + written, to->to);
    watch(to, EPOLL_CTL_MOD, to->wanted | EPOLLOUT);
    watch(to->peer, EPOLL_CTL_MOD, to->peer->wanted & ~EPOLLIN);
}

static void ready(struct end *end, uint32_t events, int is_tty)
{
    ssize_t length;

    if (end->fd < 0)
        return; /* hung up by an event before this one */
    if (events & EPOLLOUT && end->pending && flushed(end)) {
        watch(end, EPOLL_CTL_MOD, end->wanted & ~EPOLLOUT);
        if (end->peer->fd >= 0)
            watch(end->peer, EPOLL_CTL_MOD, end->peer->wanted | EPOLLIN);
    }
    if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
        return;
    length = read(end->fd, buffer, CHUNK);
    if (length > 0)
        return give(end->peer, length);
    if (length < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (is_tty)
        err(1, "the tty is gone");
    hang_up(end);
}

static struct end *serve(const char *pair)
{
    struct end *ends = calloc(3, sizeof *ends), *tty = ends, *client = ends + 1, *listener = ends + 2;
    struct sockaddr_in address = { .sin_family = AF_INET };
    struct termios termios;
    char *text = strdup(pair), *path, *port;
    int one = 1;

    if (!ends || !text || !(path = strchr(text, '=')) || !(port = strchr(text, ':')))
        errx(64, "usage: copier ADDR:PORT=TTY...");
    *path++ = *port++ = 0;
    if (inet_pton(AF_INET, text, &address.sin_addr) != 1)
        errx(64, "%s is no IPv4 address", text);
    address.sin_port = htons(atoi(port));

    tty->fd = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (tty->fd < 0 || tcgetattr(tty->fd, &termios) < 0)
        err(1, "%s", path);
    cfmakeraw(&termios);
    tcsetattr(tty->fd, TCSANOW, &termios);
    listener->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(listener->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener->fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener->fd, 128) < 0)
        err(1, "%s:%s", text, port);
    free(text);

    tty->peer = client;
    client->peer = tty;
    client->fd = -1;
    listener->client = client;
    watch(tty, EPOLL_CTL_ADD, EPOLLIN);
    watch(listener, EPOLL_CTL_ADD, EPOLLIN);
    return ends;
}

int main(int count, char **pairs)
{
    struct epoll_event events[EVENTS];

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_IGN);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    while (*++pairs)
        serve(*pairs);
    if (count < 2)
        errx(64, "usage: copier ADDR:PORT=TTY...");
    for (;;) {
        int at, found = epoll_wait(epoll, events, EVENTS, -1);

        if (found < 0 && errno != EINTR)
            err(1, "epoll_wait");
        for (at = 0; at < found; at++) {
            struct end *end = events[at].data.ptr;

            if (end->client)
                welcome(end);
            else
                ready(end, events[at].events, end < end->peer);
        }
    }
}

/* The yardstick: what the kernel charges for one `send` to each subscriber, and next to nothing else.
 *
 * One thread, one epoll, one listener. There is no parsing worth the name, no history, no limit and no policy:
 * a connection that begins with `G` is a subscriber, one that begins with `P` publishes; the topic is the
 * decimal number at the end of the request's target (0 if there is none). A subscriber that does not take a
 * whole frame at once is closed, because nothing here could keep the rest for it.
 * Answers are not collected either: each publish is answered by a `send` of its own.
 *
 * usage: bare PORT        environment: HEARTBEAT_MS (0 = none)
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { TOPIC_DIGITS_MAX = 7, REQUEST_BYTES_MAX = 1 << 20, EVENTS_MAX = 512, SEND = MSG_NOSIGNAL | MSG_DONTWAIT };
enum kind { CLOSED, NEW, SUBSCRIBER, PUBLISHER };

/* Indexed by descriptor, so a million subscribers cost 24 MB here and nothing on the heap. */
struct connection {
    char *bytes; /* publisher: what was read of requests that are not complete */
    uint32_t kind;
    uint32_t topic;
    uint32_t place; /* subscriber: where its topic lists it; publisher: number of bytes held */
};

struct topic {
    int *fds;
    uint32_t count, room;
};

static struct connection *connections;
static struct topic *topics;
static uint32_t topics_count;
static int poll_fd, listen_fd;
static char first[REQUEST_BYTES_MAX + 1], frame[REQUEST_BYTES_MAX + 64];

static const char HEAD[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
                           "Transfer-Encoding: chunked\r\n\r\n5\r\n:ok\n\n\r\n";
static const char ACCEPTED[] = "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n";
static const char HEARTBEAT[] = "2\r\n:\n\r\n";

static void die(const char *what) {
    perror(what);
    exit(1);
}

/* The topic that a request names; its struct exists afterwards. */
static uint32_t topic_of(const char *request) {
    const char *end = strchr(request, ' ');
    end = end ? strchr(end + 1, ' ') : NULL;
    uint32_t number = 0, unit = 1;
    for (int i = 0; end && i < TOPIC_DIGITS_MAX && end[-1] >= '0' && end[-1] <= '9'; i++) {
        number += unit * (uint32_t)(*--end - '0');
        unit *= 10;
    }
    if (number >= topics_count) {
        uint32_t count = (number + 1) * 2;
        topics = realloc(topics, count * sizeof *topics);
        if (!topics) die("topics");
        memset(topics + topics_count, 0, (count - topics_count) * sizeof *topics);
        topics_count = count;
    }
    return number;
}

static void drop(int fd) {
    struct connection *c = &connections[fd];
    if (c->kind == SUBSCRIBER) {
        struct topic *t = &topics[c->topic];
        int last = t->fds[--t->count];
        t->fds[c->place] = last;
        connections[last].place = c->place;
    }
    free(c->bytes);
    memset(c, 0, sizeof *c);
    close(fd);
}

static void subscribe(int fd, const char *request) {
    struct connection *c = &connections[fd];
    if (send(fd, HEAD, sizeof HEAD - 1, SEND) != sizeof HEAD - 1) {
        drop(fd);
        return;
    }
    c->topic = topic_of(request);
    struct topic *t = &topics[c->topic];
    if (t->count == t->room) {
        t->room = t->room ? t->room * 2 : 1;
        t->fds = realloc(t->fds, t->room * sizeof *t->fds);
        if (!t->fds) die("subscribers");
    }
    c->kind = SUBSCRIBER;
    c->place = t->count;
    t->fds[t->count++] = fd;
}

static void send_to_all(uint32_t number, const char *bytes, size_t length) {
    struct topic *t = &topics[number];
    for (uint32_t i = 0; i < t->count;) {
        int fd = t->fds[i];
        if (send(fd, bytes, length, SEND) == (ssize_t)length) i++;
        else drop(fd); /* the last one takes its place */
    }
}

/* The value of Content-Length in the head that ends at `end`; 0 if there is none. */
static size_t body_length_of(const char *head, const char *end) {
    for (const char *line = head; line && line < end; line = memchr(line, '\n', (size_t)(end - line))) {
        if (*line == '\n') line++;
        if ((*line | 32) == 'c' && !strncasecmp(line, "content-length:", 15)) return strtoul(line + 15, NULL, 10);
    }
    return 0;
}

/* Serves the publish at `request` if it is complete; returns its length, or 0. */
static size_t publish(int fd, const char *request, size_t length) {
    const char *body = memmem(request, length, "\r\n\r\n", 4);
    if (!body) return 0;
    body += 4;
    size_t body_length = body_length_of(request, body);
    size_t whole = (size_t)(body - request) + body_length;
    if (whole > length) return 0;
    int at = sprintf(frame, "%zx\r\ndata: ", body_length + 8);
    memcpy(frame + at, body, body_length);
    memcpy(frame + at + body_length, "\n\n\r\n", 4);
    send_to_all(topic_of(request), frame, (size_t)at + body_length + 4);
    send(fd, ACCEPTED, sizeof ACCEPTED - 1, SEND);
    return whole;
}

static void readable(int fd) {
    struct connection *c = &connections[fd];
    if (c->kind == CLOSED) return; /* by an earlier event of this batch */
    char *bytes = c->kind == PUBLISHER ? c->bytes : first;
    size_t held = c->kind == PUBLISHER ? c->place : 0;
    ssize_t got = recv(fd, bytes + held, REQUEST_BYTES_MAX - held, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) {
        drop(fd);
        return;
    }
    size_t length = held + (size_t)got, done = 0, whole;
    bytes[length] = 0;
    if (c->kind == SUBSCRIBER) return; /* nothing that it says matters */
    if (c->kind == NEW && bytes[0] == 'G') {
        subscribe(fd, bytes);
        return;
    }
    if (c->kind == NEW) {
        c->kind = PUBLISHER;
        c->bytes = malloc(REQUEST_BYTES_MAX + 1);
        if (!c->bytes) die("publisher");
        memcpy(c->bytes, bytes, length + 1);
    }
    while ((whole = publish(fd, c->bytes + done, length - done))) done += whole;
    memmove(c->bytes, c->bytes + done, length - done);
    c->place = (uint32_t)(length - done);
}

static void accept_all(void) {
    int fd;
    /* A request usually comes with its connection, so reading at once spares a round of epoll. */
    while ((fd = accept4(listen_fd, NULL, NULL, 0)) >= 0) {
        struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP, .data.fd = fd};
        if (epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &event)) die("epoll_ctl");
        connections[fd].kind = NEW;
        readable(fd);
    }
}

static void listen_on(const char *port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int on = 1;
    listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(listen_fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(listen_fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* accepted sockets inherit it */
    if (bind(listen_fd, (struct sockaddr *)&address, sizeof address)) die("bind");
    if (listen(listen_fd, 65535)) die("listen");
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listen_fd};
    poll_fd = epoll_create1(0);
    if (poll_fd < 0 || epoll_ctl(poll_fd, EPOLL_CTL_ADD, listen_fd, &event)) die("epoll");
}

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: bare PORT\n");
        return 2;
    }
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    connections = calloc(files.rlim_max, sizeof *connections);
    if (!connections) die("connections");
    listen_on(argv[1]);
    int64_t every_ms = getenv("HEARTBEAT_MS") ? atoll(getenv("HEARTBEAT_MS")) : 0, due_ms = now_ms() + every_ms;
    struct epoll_event events[EVENTS_MAX];
    for (;;) {
        int64_t wait_ms = every_ms ? due_ms - now_ms() : -1;
        if (every_ms && wait_ms <= 0) {
            for (uint32_t i = 0; i < topics_count; i++) send_to_all(i, HEARTBEAT, sizeof HEARTBEAT - 1);
            due_ms += every_ms;
            continue;
        }
        int count = epoll_wait(poll_fd, events, EVENTS_MAX, (int)wait_ms);
        for (int i = 0; i < count; i++) {
            if (events[i].data.fd == listen_fd) accept_all();
            else readable(events[i].data.fd);
        }
    }
}

/* A clock that runs FAST_CLOCK times as fast, for a program that is started with this in LD_PRELOAD: hours of
 * a server in seconds of a test, without a word about it in the server. The monotonic clock is read fast, and
 * what is waited for by it (epoll_wait, futexes with a deadline) comes as much earlier. The wall clock is left
 * alone. While the file LEAK_WHILE exists, LEAK_BYTES are lost in each second of that clock: a leak. Knows
 * nothing of the program. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <linux/futex.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SECOND_NS 1000000000LL

static int (*real_clock_gettime)(clockid_t, struct timespec *);
static int (*real_epoll_wait)(int, struct epoll_event *, int, int);
static long (*real_syscall)(long, ...);
static long long begun_ns;
static long long factor = 1;
static const char *leak_while;
static size_t leak_bytes;
static _Atomic long long leak_second;
/* Seen from outside, so that no compiler leaves out what nobody reads. */
void *volatile leak_last;

static long long ns_of(const struct timespec *at) { return at->tv_sec * SECOND_NS + at->tv_nsec; }

static struct timespec timespec_of(long long ns) {
    return (struct timespec){.tv_sec = ns / SECOND_NS, .tv_nsec = ns % SECOND_NS};
}

__attribute__((constructor)) static void begin(void) {
    const char *wanted = getenv("FAST_CLOCK");
    struct timespec now;
    real_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    real_epoll_wait = dlsym(RTLD_NEXT, "epoll_wait");
    real_syscall = dlsym(RTLD_NEXT, "syscall");
    real_clock_gettime(CLOCK_MONOTONIC, &now);
    begun_ns = ns_of(&now);
    if (wanted != NULL && atoll(wanted) > 0) factor = atoll(wanted);
    leak_while = getenv("LEAK_WHILE");
    if (leak_while != NULL && getenv("LEAK_BYTES") != NULL) leak_bytes = (size_t)atoll(getenv("LEAK_BYTES"));
}

/* Memory of one second, written to so that it is there, and forgotten. */
static void leak(long long second) {
    long long before = atomic_load(&leak_second);
    int error = errno;
    if (leak_bytes == 0 || second <= before) return;
    if (!atomic_compare_exchange_strong(&leak_second, &before, second)) return;
    if (access(leak_while, F_OK) == 0 && (leak_last = malloc(leak_bytes)) != NULL) memset(leak_last, 1, leak_bytes);
    errno = error;
}

int clock_gettime(clockid_t clock, struct timespec *at) {
    int code = real_clock_gettime(clock, at);
    if (code == 0 && clock == CLOCK_MONOTONIC) {
        *at = timespec_of(begun_ns + (ns_of(at) - begun_ns) * factor);
        leak(at->tv_sec);
    }
    return code;
}

int epoll_wait(int epoll, struct epoll_event *events, int most, int timeout_ms) {
    if (timeout_ms > 0) timeout_ms = (int)((timeout_ms + factor - 1) / factor);
    return real_epoll_wait(epoll, events, most, timeout_ms);
}

/* The standard library of Rust waits for futexes through syscall(2), until a moment of the monotonic clock. */
long syscall(long number, ...) {
    va_list list;
    long word[6];
    struct timespec due;
    va_start(list, number);
    for (int i = 0; i < 6; i++) word[i] = va_arg(list, long);
    va_end(list);
    if (number == SYS_futex && word[3] != 0) {
        long command = word[1] & FUTEX_CMD_MASK;
        if (command == FUTEX_WAIT_BITSET && !(word[1] & FUTEX_CLOCK_REALTIME)) {
            due = timespec_of(begun_ns + (ns_of((const struct timespec *)word[3]) - begun_ns) / factor);
            word[3] = (long)&due;
        }
    }
    return real_syscall(number, word[0], word[1], word[2], word[3], word[4], word[5]);
}

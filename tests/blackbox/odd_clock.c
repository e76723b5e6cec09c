/* Clocks of a machine that is not well, for a program that is started with this in LD_PRELOAD. ODD_CLOCK names
 * a file of two 64-bit numbers that a test writes at any time: the seconds by which the wall clock is off, and
 * the number, counted from 1, of the worker whose next look at the monotonic clock fails, once. Rust's standard
 * library panics then, in that thread. Knows of the program only what its workers' threads are called. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>

struct odd {
    long long wall_off_s;
    long long failing_worker;
};

static int (*real_clock_gettime)(clockid_t, struct timespec *);
static struct odd *odd;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("ODD_CLOCK");
    int file = path == NULL ? -1 : open(path, O_RDWR | O_CLOEXEC);
    real_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    if (file < 0) abort();
    odd = mmap(NULL, sizeof *odd, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (odd == MAP_FAILED) abort();
}

/* Whether this is the thread that is meant; it is told so once. */
static int fails_here(void) {
    long long worker = __atomic_load_n(&odd->failing_worker, __ATOMIC_RELAXED);
    char name[16] = "", wanted[32];
    if (worker == 0) return 0;
    prctl(PR_GET_NAME, name);
    snprintf(wanted, sizeof wanted, "worker-%lld", worker - 1);
    return strcmp(name, wanted) == 0 && __atomic_exchange_n(&odd->failing_worker, 0, __ATOMIC_RELAXED) != 0;
}

int clock_gettime(clockid_t clock, struct timespec *at) {
    if (odd == NULL || real_clock_gettime == NULL) return -1;
    if (clock == CLOCK_MONOTONIC && fails_here()) {
        errno = EINVAL;
        return -1;
    }
    int code = real_clock_gettime(clock, at);
    long long off_s = __atomic_load_n(&odd->wall_off_s, __ATOMIC_RELAXED);
    if (code == 0 && clock == CLOCK_REALTIME) at->tv_sec += off_s;
    return code;
}

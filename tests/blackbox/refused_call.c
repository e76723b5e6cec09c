/* Refuses one system call, as the filter of a container may: REFUSED_CALL=NUMBER:LEVEL:NAME:ERRNO. With a level
   of 0 or more only that option of setsockopt or getsockopt is refused. */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>

#define FIELD(offset) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (offset))
/* Goes on if the field is the value, else jumps over the rest to the last line. */
#define SAME(value, rest) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)(value), 0, (rest))
#define LOW_HALF(argument) (offsetof(struct seccomp_data, args) + 8 * (argument))

__attribute__((constructor)) static void refuse(void) {
    unsigned number, error;
    int level, name;
    const char *text = getenv("REFUSED_CALL");
    if (!text || sscanf(text, "%u:%d:%d:%u", &number, &level, &name, &error) != 4)
        abort();
    unsigned refusal = SECCOMP_RET_ERRNO | (error & SECCOMP_RET_DATA);
    struct sock_filter call[] = {
        FIELD(offsetof(struct seccomp_data, nr)),
        SAME(number, 1),
        BPF_STMT(BPF_RET | BPF_K, refusal),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_filter option[] = {
        FIELD(offsetof(struct seccomp_data, nr)),
        SAME(number, 5),
        FIELD(LOW_HALF(1)),
        SAME(level, 3),
        FIELD(LOW_HALF(2)),
        SAME(name, 1),
        BPF_STMT(BPF_RET | BPF_K, refusal),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog whole = {sizeof call / sizeof *call, call};
    if (level >= 0)
        whole = (struct sock_fprog){sizeof option / sizeof *option, option};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &whole))
        abort();
}

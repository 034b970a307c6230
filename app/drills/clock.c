/* Moves the wall clock of a process by the nanoseconds in the file that OPSLOOP_DRILL_CLOCK names, as they are now. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL

static volatile long long *offset;
static int (*real)(clockid_t, struct timespec *);

/* By its name alone pthread_cond_timedwait may be found as it was before 2003, with another layout. */
static void *next(const char *name) {
    void *found = dlvsym(RTLD_NEXT, name, "GLIBC_2.3.2");
    return found ? found : dlsym(RTLD_NEXT, name);
}

static void start(void) {
    static long long none;
    const char *path = getenv("OPSLOOP_DRILL_CLOCK");
    int file = path ? open(path, O_RDONLY) : -1;
    void *shared = file < 0 ? MAP_FAILED : mmap(0, sizeof *offset, PROT_READ, MAP_SHARED, file, 0);
    if (file >= 0) close(file);
    offset = shared == MAP_FAILED ? &none : shared;
    real = dlsym(RTLD_NEXT, "clock_gettime");
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    if (!real) start();
    int failed = real(clock, now);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        long long at = now->tv_sec * SECOND + now->tv_nsec + *offset;
        now->tv_sec = at / SECOND;
        now->tv_nsec = at % SECOND;
    }
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    (void)zone;
    struct timespec at;
    int failed = clock_gettime(CLOCK_REALTIME, &at);
    now->tv_sec = at.tv_sec;
    now->tv_usec = at.tv_nsec / 1000;
    return failed;
}

time_t time(time_t *now) {
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    if (now) *now = at.tv_sec;
    return at.tv_sec;
}

/* The kernel does not know of the moved clock: what waits until a time on it would wait for hours, or not at all. */
static struct timespec unmoved(const struct timespec *until) {
    struct timespec at = *until;
    if (!real) start();
    if (at.tv_sec > 1000000000) { /* a wall clock; a monotonic one begins with the machine */
        long long left = at.tv_sec * SECOND + at.tv_nsec - *offset;
        at.tv_sec = left / SECOND;
        at.tv_nsec = left % SECOND;
    }
    return at;
}

int pthread_cond_timedwait(pthread_cond_t *restrict cond, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict until) {
    static int (*wait)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
    if (!wait) wait = next("pthread_cond_timedwait");
    struct timespec at = unmoved(until);
    return wait(cond, mutex, &at);
}

int cnd_timedwait(cnd_t *restrict cond, mtx_t *restrict mutex, const struct timespec *restrict until) {
    static int (*wait)(cnd_t *, mtx_t *, const struct timespec *);
    if (!wait) wait = next("cnd_timedwait");
    struct timespec at = unmoved(until);
    return wait(cond, mutex, &at);
}

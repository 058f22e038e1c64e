/* What headers of glibc 2.29 to 2.36 call and glibc 2.28 has not. Linked into each library of a wheel, seen by none but it
 * (scripts/old_system.py). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* 2.32. Never: shared pointers then count atomically, as they did before it was there. */
char __libc_single_threaded = 0;

/* 2.33; before, these were inline calls of functions with the number of struct stat's layout. */
enum { kStatVersion = 1 };
int __xstat(int version, const char* path, struct stat* out);
int __lxstat(int version, const char* path, struct stat* out);
int __fxstat(int version, int file, struct stat* out);
int __fxstatat(int version, int folder, const char* path, struct stat* out, int flags);

int stat(const char* path, struct stat* out) { return __xstat(kStatVersion, path, out); }
int lstat(const char* path, struct stat* out) { return __lxstat(kStatVersion, path, out); }
int fstat(int file, struct stat* out) { return __fxstat(kStatVersion, file, out); }
int fstatat(int folder, const char* path, struct stat* out, int flags) {
  return __fxstatat(kStatVersion, folder, path, out, flags);
}

/* 2.30. */
pid_t gettid(void) { return (pid_t)syscall(SYS_gettid); }

/* 2.30. Where the system has it, that one; else a wait by the clock of the day for the time that is left, which may wake too
 * early when that clock is set: callers look at their condition again, as after any wake-up without a cause. */
typedef int (*ClockWait)(pthread_cond_t*, pthread_mutex_t*, clockid_t, const struct timespec*);

static struct timespec day_time_of(clockid_t clock, const struct timespec* until) {
  struct timespec now, day;
  clock_gettime(clock, &now);
  clock_gettime(CLOCK_REALTIME, &day);
  const long long billion = 1000000000;
  long long left = (until->tv_sec - now.tv_sec) * billion + (until->tv_nsec - now.tv_nsec);
  long long then = day.tv_sec * billion + day.tv_nsec + (left > 0 ? left : 0);
  return (struct timespec){.tv_sec = then / billion, .tv_nsec = then % billion};
}

static int has_come(clockid_t clock, const struct timespec* until) {
  struct timespec now;
  clock_gettime(clock, &now);
  return now.tv_sec > until->tv_sec || (now.tv_sec == until->tv_sec && now.tv_nsec >= until->tv_nsec);
}

int pthread_cond_clockwait(pthread_cond_t* condition, pthread_mutex_t* mutex, clockid_t clock,
                           const struct timespec* until) {
  static ClockWait theirs;
  static int looked;
  if (!__atomic_load_n(&looked, __ATOMIC_ACQUIRE)) {
    __atomic_store_n(&theirs, (ClockWait)dlsym(RTLD_DEFAULT, "pthread_cond_clockwait"), __ATOMIC_RELAXED);
    __atomic_store_n(&looked, 1, __ATOMIC_RELEASE);
  }
  ClockWait wait = __atomic_load_n(&theirs, __ATOMIC_RELAXED);
  if (wait) return wait(condition, mutex, clock, until);
  const struct timespec day = day_time_of(clock, until);
  const int result = pthread_cond_timedwait(condition, mutex, &day);
  return result == ETIMEDOUT && !has_come(clock, until) ? 0 : result;
}

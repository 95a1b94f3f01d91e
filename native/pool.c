/* Threads that help with jobs. They wait a short while for the next one before they sleep, so that calls that follow
 * each other find them awake and an idle engine costs nothing. A job never waits for a thread that has not come. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "internal.h"

#define AWAKE_TURNS 4000  /* pauses before sleep: some 50 to 100 microseconds */
#define PATIENT_TURNS 500 /* pauses before others are let run */

struct pool {
    pthread_mutex_t lock;
    pthread_cond_t more;
    struct job *jobs;
    atomic_int posted; /* changes with every job */
    int closing, workers;
    pthread_t *threads;
};

static inline void cpu_pause(void) {
#if defined(__x86_64__) || defined(_M_X64)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

void pool_pause(int *turns) {
    cpu_pause();
    if (++*turns >= PATIENT_TURNS) {
        *turns = 0;
        sched_yield();
    }
}

/* With the lock held: take part in a job that still has a slot. */
static struct job *take(struct pool *pool, int *slot) {
    for (struct job *job = pool->jobs; job; job = job->next)
        if (job->taken < job->slots) {
            *slot = job->taken++;
            job->inside++;
            return job;
        }
    return NULL;
}

static void *help(void *argument) {
    struct pool *pool = argument;
    pthread_mutex_lock(&pool->lock);
    while (!pool->closing) {
        int slot;
        struct job *job = take(pool, &slot);
        const int seen = atomic_load(&pool->posted);
        if (job) {
            pthread_mutex_unlock(&pool->lock);
            job->work(job, slot);
            pthread_mutex_lock(&pool->lock);
            job->inside--;
            continue;
        }
        pthread_mutex_unlock(&pool->lock);
        for (int turn = 0; turn < AWAKE_TURNS && atomic_load_explicit(&pool->posted, memory_order_relaxed) == seen; turn++)
            cpu_pause();
        pthread_mutex_lock(&pool->lock);
        while (!pool->closing && atomic_load(&pool->posted) == seen) pthread_cond_wait(&pool->more, &pool->lock);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

void pool_run(struct pool *pool, struct job *job) {
    job->taken = 1;
    job->inside = 0;
    if (!pool || job->slots == 1) {
        job->work(job, 0);
        return;
    }
    pthread_mutex_lock(&pool->lock);
    job->next = pool->jobs;
    pool->jobs = job;
    atomic_fetch_add(&pool->posted, 1);
    pthread_cond_broadcast(&pool->more);
    pthread_mutex_unlock(&pool->lock);
    job->work(job, 0);
    pthread_mutex_lock(&pool->lock);
    struct job **link = &pool->jobs;
    while (*link != job) link = &(*link)->next;
    *link = job->next;
    for (int turns = 0; job->inside;) { /* they find nothing left, and come back at once */
        pthread_mutex_unlock(&pool->lock);
        pool_pause(&turns);
        pthread_mutex_lock(&pool->lock);
    }
    pthread_mutex_unlock(&pool->lock);
}

struct pool *pool_open(int workers) {
    struct pool *pool = calloc(1, sizeof *pool);
    if (!pool) return NULL;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->more, NULL);
    pool->threads = calloc((size_t)workers, sizeof *pool->threads);
    while (pool->threads && pool->workers < workers &&
           pthread_create(pool->threads + pool->workers, NULL, help, pool) == 0)
        pool->workers++;
    if (pool->workers < workers) {
        pool_close(pool);
        return NULL;
    }
    return pool;
}

void pool_close(struct pool *pool) {
    if (!pool) return;
    pthread_mutex_lock(&pool->lock);
    pool->closing = 1;
    pthread_cond_broadcast(&pool->more);
    pthread_mutex_unlock(&pool->lock);
    for (int i = 0; i < pool->workers; i++) pthread_join(pool->threads[i], NULL);
    pthread_cond_destroy(&pool->more);
    pthread_mutex_destroy(&pool->lock);
    free(pool->threads);
    free(pool);
}

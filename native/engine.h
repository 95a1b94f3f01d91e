/* An engine, and what its calls need: engine.c opens it, batch.c reads a batch into frames and gives the outputs, run.c
 * runs the plan over the frames. */
#ifndef BERTC_ENGINE_H
#define BERTC_ENGINE_H

#include <pthread.h>
#include <stdlib.h>

#include "internal.h"

#define NO_MEMORY "there is not enough memory for this batch"

/* What one call needs beside the engine; kept for the next one. */
struct context {
    struct context *next;
    struct frame *frames;     /* [threads] */
    struct scratch *scratch;  /* [threads] */
    int32_t *id, *type, *position, *first; /* first: [texts + 1], a text's first token */
    int32_t *seen;                         /* [texts]: a text's tokens that others see */
    int64_t *place;
    int64_t most_tokens;
    int *pieces; /* [steps] */
};

struct bertc_engine {
    struct bertc_plan plan;
    const struct kernels *kernels;
    const struct bertc_step *embed;
    struct bertc_step *steps; /* the plan's, where weights are others; NULL: the plan's own */
    int8_t *dense;            /* those weights */
    uint8_t **sorted;         /* [plan.steps], see internal.h; in `order` */
    uint8_t *order;
    int threads;
    struct pool *pool;
    pthread_mutex_t lock;
    struct context *idle;
};

/* NULL: no memory. */
static inline void *aligned(size_t bytes) {
    void *memory;
#if defined(_WIN32)
    memory = _aligned_malloc(bytes, ALIGNMENT);
#else
    if (posix_memalign(&memory, ALIGNMENT, bytes)) memory = NULL;
#endif
    return memory;
}

static inline void aligned_free(void *memory) {
#if defined(_WIN32)
    _aligned_free(memory);
#else
    free(memory);
#endif
}

/* Take a context that no call has, give it back, free it; NULL: no memory. */
struct context *context_take(struct bertc_engine *engine);
void context_give(struct bertc_engine *engine, struct context *context);
void context_free(struct context *context, int threads);

/* Read the texts of a batch into a context; returns NULL, or what is wrong. */
const char *read_batch(const struct bertc_engine *engine, struct context *context, const struct bertc_batch *batch,
                       int64_t *tokens, int64_t *texts, int32_t *longest);
/* Let a frame hold the texts [first, last) of a context; 0: no memory. */
int frame_fill(const struct bertc_engine *engine, const struct context *context, struct frame *frame, int64_t first,
               int64_t last);
/* Copy what the plan gives of a frame's texts to their places in the batch. */
void give_outputs(const struct frame *frame, float *const *out);

#endif

/* What the files of the library share. */
#ifndef BERTC_INTERNAL_H
#define BERTC_INTERNAL_H

#include <stddef.h>

#include "bertc.h"

#define MOST_ROWS 32 /* rows of the largest tile; buffers have as many rows more than values, which a tile may read */
#define ALIGNMENT 64

/* Texts that run through the plan together, and the values on their way. */
struct frame {
    const struct bertc_plan *plan;
    int32_t tokens, texts;
    int32_t *start;    /* [texts + 1]: the row of each text's first token */
    int32_t *id, *type, *position; /* [tokens] */
    int64_t *place;    /* [tokens]: row * length + column of the batch */
    int32_t *text;     /* [texts]: numbers in the batch */
    int32_t *seen;     /* [texts]: how many tokens, the first ones, are keys of the text */
    int32_t passed;    /* EXITs that these texts went past */
    uint8_t *const *sorted; /* [plan->steps]: what `sort` wrote of a step's weights; NULL: nothing */
    void **buffer;     /* [plan->buffers] */
    /* what is allocated, and for how much */
    void *memory;
    int32_t most_tokens, most_texts;
};

/* One worker's own memory. */
struct scratch {
    uint8_t *memory;
    size_t size;
};

/* The kernels of one instruction set. */
struct kernels {
    const char *name;
    void (*begin)(void); /* once per thread before others, and `end` after; NULL: nothing to do */
    void (*end)(void);
    /* In how many pieces a step is best cut for so many workers; pieces of a step may run at the same time. */
    int (*pieces)(const struct bertc_step *step, const struct frame *frame, int workers);
    void (*run)(const struct bertc_step *step, const struct frame *frame, int piece, int pieces, struct scratch *own);
    size_t (*scratch)(const struct bertc_plan *plan, int32_t longest);
    int sparse; /* 0: weights that are 2:4 come as dense ones */
    int bf16;   /* products in BF16 are faster than those in float32 */
    /* What a step's product wants to know of its weights, written once for each engine: how many bytes, 0: nothing; and
     * whether it could be written. NULL: no step does. */
    size_t (*sorted_bytes)(const struct bertc_step *step);
    int (*sort)(const struct bertc_step *step, uint8_t *memory);
};

static inline int is_sparse(const struct bertc_step *step) { return step->op == BERTC_GEMM_INT8 && step->flag; }
static inline int is_bf16(const struct bertc_step *step) { return step->op == BERTC_GEMM_F32 && step->flag; }

/* The best first; NULL at the end. */
const struct kernels *const *kernels_here(void);

/* A job is work that several threads can do at a time: each calls `work` once, with a number below `slots` of its own. */
struct job {
    void (*work)(struct job *job, int slot);
    int slots, taken;
    int inside; /* workers that have not come back */
    struct job *next;
};
struct pool;
struct pool *pool_open(int workers);
void pool_run(struct pool *pool, struct job *job);
void pool_close(struct pool *pool);
void pool_pause(int *turns); /* wait a moment: the longer one has waited, the more willing to let others run */

#endif

/* Opens an engine by a plan: chooses the kernels, and gives them weights as they want them. */
#include <string.h>

#include "engine.h"

int bertc_abi(void) { return BERTC_ABI; }

static char names[128];

static void write_names(void) {
    for (const struct kernels *const *each = kernels_here(); *each; each++) {
        if (*names) strcat(names, " ");
        strcat(names, (*each)->name);
    }
}

const char *bertc_instruction_sets(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, write_names);
    return names;
}

/* By name, or the best; NULL: this CPU has none of that name. */
static const struct kernels *kernels_of(const char *instruction_set) {
    const struct kernels *const *each = kernels_here();
    while (*each && instruction_set && strcmp((*each)->name, instruction_set)) each++;
    return *each;
}

int bertc_sparse(const char *instruction_set) {
    const struct kernels *kernels = kernels_of(instruction_set);
    return kernels && kernels->sparse;
}

int bertc_bf16(const char *instruction_set) {
    const struct kernels *kernels = kernels_of(instruction_set);
    return kernels && kernels->bf16;
}

/* --- weights that are 2:4, where the instruction set multiplies dense ones alone ------------------------------------- */

static size_t dense_bytes(const struct bertc_step *step) {
    const size_t panel = BERTC_PANEL, depth = ((size_t)step->k + panel - 1) / panel * panel;
    return ((size_t)step->n + panel - 1) / panel * panel * depth;
}

/* From panels as sparse.h describes them to those that bertc.h does. */
static void fill_dense(const struct bertc_step *step, int8_t *dense) {
    enum { EIGHT = 8 * BERTC_PANEL, VALUES = EIGHT / 2, PLACES = BERTC_PANEL, GROUP = 16 * 4 };
    const size_t eights = ((size_t)step->k + BERTC_PANEL - 1) / BERTC_PANEL * 8;
    const int8_t *panel = step->weights;
    memset(dense, 0, dense_bytes(step));
    for (int column = 0; column < step->n; column += BERTC_PANEL, panel += eights * (VALUES + PLACES))
        for (size_t eight = 0; eight < eights; eight++, dense += EIGHT) {
            const int8_t *values = panel + eight * VALUES;
            const uint8_t *places = (const uint8_t *)panel + eights * VALUES + eight * PLACES;
            for (int i = 0; i < VALUES; i++) { /* value i is one of column i / 4's, in the second four where i & 2 */
                const int place = places[i % GROUP] >> i / GROUP * 2 & 3;
                dense[(i & 2 ? VALUES : 0) + i / 4 * 4 + place] = values[i];
            }
        }
}

/* Give the engine dense weights of its own where the plan has sparse ones; 0: no memory. */
static int make_dense(struct bertc_engine *engine) {
    const struct bertc_plan *plan = &engine->plan;
    size_t bytes = 0;
    for (int i = 0; i < plan->steps; i++)
        if (is_sparse(plan->step + i)) bytes += dense_bytes(plan->step + i);
    if (!bytes) return 1;
    engine->steps = malloc((size_t)plan->steps * sizeof *engine->steps);
    engine->dense = aligned(bytes);
    if (!engine->steps || !engine->dense) return 0;
    memcpy(engine->steps, plan->step, (size_t)plan->steps * sizeof *engine->steps);
    int8_t *dense = engine->dense;
    for (int i = 0; i < plan->steps; i++) {
        struct bertc_step *step = engine->steps + i;
        if (!is_sparse(step)) continue;
        fill_dense(step, dense);
        step->weights = dense;
        step->flag = 0;
        dense += dense_bytes(step);
    }
    engine->plan.step = engine->steps;
    return 1;
}

/* --- weights that are sorted ------------------------------------------------------------------------------------------- */

/* Let the kernels write what they want to know of each step's weights; 0: no memory. */
static int sort_weights(struct bertc_engine *engine) {
    const struct kernels *kernels = engine->kernels;
    const struct bertc_plan *plan = &engine->plan;
    size_t bytes = 0;
    engine->sorted = calloc((size_t)plan->steps + 1, sizeof *engine->sorted);
    if (!engine->sorted) return 0;
    for (int i = 0; kernels->sort && i < plan->steps; i++) bytes += kernels->sorted_bytes(plan->step + i);
    if (!bytes) return 1;
    engine->order = aligned(bytes);
    if (!engine->order) return 0;
    uint8_t *order = engine->order;
    for (int i = 0; i < plan->steps; i++) {
        const size_t own = kernels->sorted_bytes(plan->step + i);
        if (own && kernels->sort(plan->step + i, order)) engine->sorted[i] = order;
        order += own;
    }
    return 1;
}

static void engine_free(struct bertc_engine *engine) {
    pthread_mutex_destroy(&engine->lock);
    aligned_free(engine->dense);
    aligned_free(engine->order);
    free(engine->sorted);
    free(engine->steps);
    free(engine);
}

struct bertc_engine *bertc_open(const struct bertc_plan *plan, int threads, const char *instruction_set) {
    const struct kernels *kernels = kernels_of(instruction_set);
    if (!kernels || threads < 1) return NULL;
    struct bertc_engine *engine = calloc(1, sizeof *engine);
    if (!engine) return NULL;
    engine->plan = *plan;
    engine->kernels = kernels;
    engine->threads = threads;
    for (int i = 0; i < plan->steps; i++)
        if (plan->step[i].op == BERTC_EMBED) engine->embed = plan->step + i;
    pthread_mutex_init(&engine->lock, NULL);
    const int filled = (kernels->sparse || make_dense(engine)) && sort_weights(engine);
    if (!filled || (threads > 1 && !(engine->pool = pool_open(threads - 1)))) {
        engine_free(engine);
        return NULL;
    }
    return engine;
}

void bertc_close(struct bertc_engine *engine) {
    if (!engine) return;
    pool_close(engine->pool);
    while (engine->idle) {
        struct context *context = engine->idle;
        engine->idle = context->next;
        context_free(context, engine->threads);
    }
    engine_free(engine);
}

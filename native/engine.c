/* Runs a plan over batches. Several texts go in chunks, each through the whole plan by one thread, which waits for
 * nobody; what is too little for that goes step by step, each step in pieces that the threads take as they come. */
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "internal.h"

#define CHUNK_TOKENS 256 /* as many as keep a layer's values in the second cache */
#define LEAST_CHUNK 64   /* fewer tokens a thread go step by step */
#define CHUNKS_EACH 3    /* chunks per thread, where there are enough texts */

/* What one call needs beside the engine; kept for the next one. */
struct context {
    struct context *next;
    struct frame *frames;     /* [threads] */
    struct scratch *scratch;  /* [threads] */
    int32_t *id, *type, *position, *first; /* first: [texts + 1], a text's first token */
    int32_t *seen;                         /* [texts]: a text's tokens that others see */
    int64_t *place;
    int64_t most_tokens, most_texts;
    int *pieces; /* [steps] */
};

struct bertc_engine {
    struct bertc_plan plan;
    const struct kernels *kernels;
    const struct bertc_step *embed;
    struct bertc_step *steps; /* the plan's, where weights are others; NULL: the plan's own */
    int8_t *dense;            /* those weights */
    int threads;
    struct pool *pool;
    pthread_mutex_t lock;
    struct context *idle;
};

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

static void *aligned(size_t bytes) {
    void *memory;
#if defined(_WIN32)
    memory = _aligned_malloc(bytes, ALIGNMENT);
#else
    if (posix_memalign(&memory, ALIGNMENT, bytes)) memory = NULL;
#endif
    return memory;
}

static void aligned_free(void *memory) {
#if defined(_WIN32)
    _aligned_free(memory);
#else
    free(memory);
#endif
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

static void engine_free(struct bertc_engine *engine) {
    pthread_mutex_destroy(&engine->lock);
    aligned_free(engine->dense);
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
    const int filled = kernels->sparse || make_dense(engine);
    if (!filled || (threads > 1 && !(engine->pool = pool_open(threads - 1)))) {
        engine_free(engine);
        return NULL;
    }
    return engine;
}

static void context_free(struct context *context, int threads) {
    for (int i = 0; context->frames && i < threads; i++) {
        aligned_free(context->frames[i].memory);
        free(context->frames[i].buffer);
        free(context->frames[i].start);
        free(context->frames[i].text);
        free(context->frames[i].seen);
    }
    for (int i = 0; context->scratch && i < threads; i++) aligned_free(context->scratch[i].memory);
    free(context->frames);
    free(context->scratch);
    free(context->id);
    free(context->type);
    free(context->position);
    free(context->first);
    free(context->seen);
    free(context->place);
    free(context->pieces);
    free(context);
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

static struct context *context_take(struct bertc_engine *engine) {
    pthread_mutex_lock(&engine->lock);
    struct context *context = engine->idle;
    if (context) engine->idle = context->next;
    pthread_mutex_unlock(&engine->lock);
    if (context) return context;
    context = calloc(1, sizeof *context);
    if (!context) return NULL;
    context->frames = calloc((size_t)engine->threads, sizeof *context->frames);
    context->scratch = calloc((size_t)engine->threads, sizeof *context->scratch);
    context->pieces = calloc((size_t)engine->plan.steps, sizeof *context->pieces);
    if (context->frames && context->scratch && context->pieces) return context;
    context_free(context, engine->threads);
    return NULL;
}

static void context_give(struct bertc_engine *engine, struct context *context) {
    pthread_mutex_lock(&engine->lock);
    context->next = engine->idle;
    engine->idle = context;
    pthread_mutex_unlock(&engine->lock);
}

/* Make room for a frame of so many tokens and texts; 0: no memory. */
static int frame_reserve(struct frame *frame, const struct bertc_plan *plan, int32_t tokens, int32_t texts) {
    frame->plan = plan;
    if (tokens <= frame->most_tokens && texts <= frame->most_texts) return 1;
    if (tokens < frame->most_tokens) tokens = frame->most_tokens;
    if (texts < frame->most_texts) texts = frame->most_texts;
    size_t bytes = ALIGNMENT;
    for (int pass = 0; pass < 2; pass++) {
        size_t used = 0;
        for (int i = 0; i < plan->buffers; i++) {
            const struct bertc_buffer *buffer = plan->buffer + i;
            const size_t rows = (size_t)(buffer->rows == BERTC_TOKENS ? tokens : texts) + MOST_ROWS;
            if (pass) frame->buffer[i] = (uint8_t *)frame->memory + used;
            used += rows * (size_t)buffer->width * (buffer->type == BERTC_F32 ? sizeof(float) : 1);
        }
        if (pass) break;
        bytes += used;
        aligned_free(frame->memory);
        free(frame->buffer);
        free(frame->start);
        free(frame->text);
        free(frame->seen);
        frame->most_tokens = frame->most_texts = 0;
        frame->memory = aligned(bytes);
        frame->buffer = calloc((size_t)plan->buffers + 1, sizeof *frame->buffer);
        frame->start = calloc((size_t)texts + 1, sizeof *frame->start);
        frame->text = calloc((size_t)texts + 1, sizeof *frame->text);
        frame->seen = calloc((size_t)texts + 1, sizeof *frame->seen);
        if (!frame->memory || !frame->buffer || !frame->start || !frame->text || !frame->seen) return 0;
        memset(frame->memory, 0, bytes); /* rows beyond a value's own are read, and must be numbers */
    }
    frame->most_tokens = tokens;
    frame->most_texts = texts;
    return 1;
}

/* --- the texts of a batch --------------------------------------------------------------------------------------------- */

/* The number of a token's text, 0 for padding. */
static inline int64_t number_of(const struct bertc_batch *batch, int64_t at) {
    const int64_t number = batch->mask[at];
    return number < 0 ? -number : number;
}

#define EACH_TOKEN(batch) \
    for (int64_t row = 0; row < (batch)->rows; row++) \
        for (int64_t column = 0, before = 0, at = row * (batch)->length; column < (batch)->length; \
             before = (batch)->mask[at] ? number_of(batch, at) : before, column++, at++) \
            if ((batch)->mask[at])

int64_t bertc_texts(const struct bertc_batch *batch) {
    int64_t texts = 0;
    EACH_TOKEN(batch) {
        if (number_of(batch, at) == before) continue;
        if (batch->mask[at] != column + 1) return -1; /* nor may a text's first token be one that nothing sees */
        texts++;
    }
    return texts;
}

static const char NO_MEMORY[] = "there is not enough memory for this batch";

/* Read the texts of a batch into a context. */
static const char *read_batch(const struct bertc_engine *engine, struct context *context,
                              const struct bertc_batch *batch, int64_t *tokens, int64_t *texts, int32_t *longest) {
    const int64_t entries = batch->rows * batch->length;
    if (entries >= INT32_MAX / 2) return "the batch is too large; cut it in parts";
    if (entries > context->most_tokens) {
        free(context->id);
        free(context->type);
        free(context->position);
        free(context->place);
        free(context->first);
        free(context->seen);
        context->most_tokens = 0;
        context->id = malloc((size_t)entries * sizeof *context->id);
        context->type = malloc((size_t)entries * sizeof *context->type);
        context->position = malloc((size_t)entries * sizeof *context->position);
        context->place = malloc((size_t)entries * sizeof *context->place);
        context->first = malloc(((size_t)entries + 1) * sizeof *context->first);
        context->seen = malloc(((size_t)entries + 1) * sizeof *context->seen);
        if (!context->id || !context->type || !context->position || !context->place || !context->first || !context->seen)
            return NO_MEMORY;
        context->most_tokens = entries;
    }
    const struct bertc_step *embed = engine->embed;
    const int typed = batch->types && embed->types > 1;
    int64_t count = 0, found = 0, length = 0;
    EACH_TOKEN(batch) {
        const int64_t number = number_of(batch, at);
        if (number != before) {
            if (batch->mask[at] != column + 1) return "a text does not start in the column that its mask names";
            context->seen[found] = 0;
            context->first[found++] = (int32_t)count;
        }
        if (batch->mask[at] > 0 && ++context->seen[found - 1] != count + 1 - context->first[found - 1])
            return "a token that others see stands behind one that nothing sees";
        const int64_t id = batch->ids[at], type = typed ? batch->types[at] : 0, position = column + 1 - number;
        if (id < 0 || id >= embed->vocabulary) return "a token's id is outside of the vocabulary";
        if (type < 0 || (typed && type >= embed->types)) return "a token's type is outside of the model's";
        if (position < 0 || position >= embed->positions - embed->first_position) return "a text is longer than the model's positions";
        context->id[count] = (int32_t)id;
        context->type[count] = (int32_t)type;
        context->position[count] = (int32_t)position;
        context->place[count++] = at;
        if (count - context->first[found - 1] > length) length = count - context->first[found - 1];
    }
    if (found) context->first[found] = (int32_t)count;
    *tokens = count;
    *texts = found;
    *longest = (int32_t)length;
    return NULL;
}

/* Let a frame hold the texts [first, last) of a context; 0: no memory. */
static int frame_fill(const struct bertc_engine *engine, const struct context *context, struct frame *frame,
                      int64_t first, int64_t last) {
    const int32_t begin = context->first[first];
    if (!frame_reserve(frame, &engine->plan, context->first[last] - begin, (int32_t)(last - first))) return 0;
    frame->tokens = context->first[last] - begin;
    frame->texts = (int32_t)(last - first);
    frame->passed = 0;
    for (int64_t text = first; text <= last; text++) {
        frame->start[text - first] = context->first[text] - begin;
        frame->text[text - first] = (int32_t)text;
        if (text < last) frame->seen[text - first] = context->seen[text];
    }
    frame->id = context->id + begin;
    frame->type = context->type + begin;
    frame->position = context->position + begin;
    frame->place = context->place + begin;
    return 1;
}

static void give_outputs(const struct frame *frame, float *const *out) {
    for (int i = 0; i < frame->plan->outputs; i++) {
        const struct bertc_output *output = frame->plan->output + i;
        if (output->buffer < 0) {
            for (int32_t row = 0; row < frame->texts; row++) out[i][frame->text[row]] = (float)(frame->passed + 1);
            continue;
        }
        const int64_t width = frame->plan->buffer[output->buffer].width, columns = output->columns;
        const float *from = (const float *)frame->buffer[output->buffer] + output->column;
        const int32_t count = output->per_token ? frame->tokens : frame->texts;
        for (int32_t row = 0; row < count; row++) {
            const int64_t place = output->per_token ? frame->place[row] : frame->text[row];
            memcpy(out[i] + place * columns, from + row * width, (size_t)columns * sizeof(float));
        }
    }
}

/* --- texts that leave -------------------------------------------------------------------------------------------------- */

/* The entropy of the softmax of n numbers, divided by log n. */
static double uncertainty(const float *logits, int n) {
    float most = logits[0];
    double total = 0, mean = 0;
    for (int i = 1; i < n; i++) most = logits[i] > most ? logits[i] : most;
    for (int i = 0; i < n; i++) {
        const double x = (double)logits[i] - most, e = exp(x);
        total += e;
        mean += e * x;
    }
    return (log(total) - mean / total) / log(n);
}

/* Move numbers of tokens, one for each, down. */
static void move_down(int32_t *number, int32_t to, int32_t from, int32_t count) {
    memmove(number + to, number + from, (size_t)count * sizeof *number);
}

/* Give out what an EXIT says of the texts that are certain, and move the others' rows together. */
static void leave(const struct bertc_step *step, struct frame *frame, float *const *out) {
    const struct bertc_plan *plan = frame->plan;
    const int64_t width = plan->buffer[step->in[0]].width;
    const float *logits = (const float *)frame->buffer[step->in[0]] + step->in_column[0];
    int32_t texts = 0, tokens = 0;
    for (int32_t text = 0; text < frame->texts; text++) {
        const int32_t begin = frame->start[text], length = frame->start[text + 1] - begin, number = frame->text[text];
        if (uncertainty(logits + text * width, step->n) < (double)step->epsilon) {
            memcpy(out[0] + (int64_t)number * step->n, logits + text * width, (size_t)step->n * sizeof(float));
            for (int i = 1; i < plan->outputs; i++)
                if (plan->output[i].buffer < 0) out[i][number] = (float)(frame->passed + 1);
            continue;
        }
        for (int i = 1; i < 3 && texts < text; i++) {
            if (step->in[i] < 0) continue;
            const struct bertc_buffer *buffer = plan->buffer + step->in[i];
            const int each = buffer->rows == BERTC_TOKENS;
            const size_t row = (size_t)buffer->width * (buffer->type == BERTC_F32 ? sizeof(float) : 1);
            const size_t to = (size_t)(each ? tokens : texts), from = (size_t)(each ? begin : text);
            uint8_t *rows = frame->buffer[step->in[i]];
            memmove(rows + to * row, rows + from * row, (size_t)(each ? length : 1) * row);
        }
        move_down(frame->id, tokens, begin, length);
        move_down(frame->type, tokens, begin, length);
        move_down(frame->position, tokens, begin, length);
        frame->text[texts] = number;
        frame->seen[texts] = frame->seen[text];
        frame->start[texts++] = tokens;
        tokens += length;
    }
    frame->start[texts] = tokens;
    frame->texts = texts;
    frame->tokens = tokens;
    frame->passed++;
}

/* --- a step ----------------------------------------------------------------------------------------------------------- */

static int64_t nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Run a piece of a step, unless all texts have left; add the time that it takes to the step's where somebody asks. */
static void run_piece(const struct bertc_engine *engine, int number, struct frame *frame, int piece, int pieces,
                      struct scratch *own, float *const *out, int64_t *spent) {
    const struct bertc_step *step = engine->plan.step + number;
    const int64_t begin = spent ? nanoseconds() : 0;
    if (!frame->texts) return;
    if (step->op == BERTC_EXIT)
        leave(step, frame, out);
    else
        engine->kernels->run(step, frame, piece, pieces, own);
    if (spent) __atomic_fetch_add(spent + number, nanoseconds() - begin, __ATOMIC_RELAXED);
}

/* --- texts in chunks -------------------------------------------------------------------------------------------------- */

struct chunks {
    struct job job;
    struct bertc_engine *engine;
    struct context *context;
    float *const *out;
    int64_t *spent;
    int64_t texts;
    int32_t target;     /* tokens of a chunk */
    atomic_llong next;  /* the first text that nobody has */
    atomic_int failed;
};

/* Take the next chunk: texts [first, last); 0: none is left. */
static int take_chunk(struct chunks *chunks, int64_t *first, int64_t *last) {
    const int32_t *start = chunks->context->first;
    long long begin = atomic_load(&chunks->next), end;
    do {
        if (begin >= chunks->texts) return 0;
        end = begin + 1;
        while (end < chunks->texts && start[end + 1] - start[begin] <= chunks->target) end++;
    } while (!atomic_compare_exchange_weak(&chunks->next, &begin, end));
    *first = begin;
    *last = end;
    return 1;
}

static void run_chunks(struct job *job, int slot) {
    struct chunks *chunks = (struct chunks *)job;
    const struct bertc_engine *engine = chunks->engine;
    struct frame *frame = chunks->context->frames + slot;
    int64_t first, last;
    if (engine->kernels->begin) engine->kernels->begin();
    while (take_chunk(chunks, &first, &last)) {
        if (!frame_fill(engine, chunks->context, frame, first, last)) {
            atomic_store(&chunks->failed, 1);
            break;
        }
        for (int i = 0; i < engine->plan.steps; i++)
            run_piece(engine, i, frame, 0, 1, chunks->context->scratch + slot, chunks->out, chunks->spent);
        give_outputs(frame, chunks->out);
    }
    if (engine->kernels->end) engine->kernels->end();
}

/* --- step by step ------------------------------------------------------------------------------------------------------ */

struct together {
    struct job job;
    struct bertc_engine *engine;
    struct context *context;
    float *const *out;
    int64_t *spent;
    _Atomic uint64_t ticket; /* the step in the upper half, its next piece in the lower */
    atomic_int done;         /* pieces of the step */
};

static void run_together(struct job *job, int slot) {
    struct together *together = (struct together *)job;
    const struct bertc_engine *engine = together->engine;
    struct frame *frame = together->context->frames;
    const uint64_t steps = (uint64_t)engine->plan.steps;
    const int *pieces = together->context->pieces;
    int turns = 0;
    if (engine->kernels->begin) engine->kernels->begin();
    for (;;) {
        uint64_t ticket = atomic_load_explicit(&together->ticket, memory_order_acquire);
        if (ticket >> 32 >= steps) break;
        if ((int)(uint32_t)ticket >= pieces[ticket >> 32]) {
            pool_pause(&turns);
            continue;
        }
        ticket = atomic_fetch_add_explicit(&together->ticket, 1, memory_order_acq_rel);
        const uint64_t step = ticket >> 32;
        const int piece = (int)(uint32_t)ticket;
        if (step >= steps) break;
        if (piece >= pieces[step]) continue;
        run_piece(engine, (int)step, frame, piece, pieces[step], together->context->scratch + slot, together->out,
                  together->spent);
        if (atomic_fetch_add_explicit(&together->done, 1, memory_order_acq_rel) + 1 == pieces[step]) {
            atomic_store_explicit(&together->done, 0, memory_order_relaxed);
            atomic_store_explicit(&together->ticket, (step + 1) << 32, memory_order_release);
        }
        turns = 0;
    }
    if (engine->kernels->end) engine->kernels->end();
}

/* ----------------------------------------------------------------------------------------------------------------------- */

static const char *run_texts(struct bertc_engine *engine, struct context *context, const struct bertc_batch *batch,
                             float *const *out, int64_t *spent) {
    int64_t tokens, texts;
    int32_t longest;
    const char *fault = read_batch(engine, context, batch, &tokens, &texts, &longest);
    if (fault || !texts) return fault;
    const size_t bytes = engine->kernels->scratch(&engine->plan, longest);
    for (int i = 0; i < engine->threads; i++) {
        struct scratch *own = context->scratch + i;
        if (own->size >= bytes) continue;
        aligned_free(own->memory);
        own->memory = aligned(bytes);
        own->size = own->memory ? bytes : 0;
        if (!own->memory) return NO_MEMORY;
    }
    const int threads = engine->threads;
    if (threads == 1 || (texts >= threads && tokens >= (int64_t)threads * LEAST_CHUNK)) {
        struct chunks chunks = {.job = {.work = run_chunks, .slots = texts < threads ? (int)texts : threads},
                                .engine = engine, .context = context, .out = out, .spent = spent, .texts = texts};
        const int64_t even = (tokens + threads * CHUNKS_EACH - 1) / (threads * CHUNKS_EACH);
        chunks.target = even > CHUNK_TOKENS || threads == 1 ? CHUNK_TOKENS : even < LEAST_CHUNK ? LEAST_CHUNK : (int32_t)even;
        pool_run(engine->pool, &chunks.job);
        return atomic_load(&chunks.failed) ? NO_MEMORY : NULL;
    }
    if (!frame_fill(engine, context, context->frames, 0, texts)) return NO_MEMORY;
    for (int i = 0; i < engine->plan.steps; i++) {
        const struct bertc_step *step = engine->plan.step + i;
        context->pieces[i] = step->op == BERTC_EXIT ? 1 : engine->kernels->pieces(step, context->frames, threads);
    }
    struct together together = {.job = {.work = run_together, .slots = threads}, .engine = engine, .context = context,
                                .out = out, .spent = spent};
    pool_run(engine->pool, &together.job);
    give_outputs(context->frames, out);
    return NULL;
}

const char *bertc_run(struct bertc_engine *engine, const struct bertc_batch *batch, float *const *out, int64_t *spent) {
    struct context *context = context_take(engine);
    if (!context) return NO_MEMORY;
    const char *fault = run_texts(engine, context, batch, out, spent);
    context_give(engine, context);
    return fault;
}

/* Runs a plan over batches. Several texts go in chunks, each through the whole plan by one thread, which waits for
 * nobody; what is too little for that goes step by step, each step in pieces that the threads take as they come. */
#include <math.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "engine.h"

#define CHUNK_TOKENS 256 /* as many as keep a layer's values in the second cache */
#define LEAST_CHUNK 64   /* fewer tokens a thread go step by step */
#define CHUNKS_EACH 3    /* chunks per thread, where there are enough texts */

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

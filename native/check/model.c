/* Random models and texts, and what has to hold of each: right numbers, and the same bits for a text alone and in a
 * batch, and for several callers at a time. */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

#define CALLERS 3

static uint64_t seed = 1;

/* xorshift */
int below(int count) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (int)(seed >> 33) % count;
}

int code_within(int low, int high) {
    if (below(2)) return below(2) ? low : high;
    return low + below(high - low + 1);
}

void *some(size_t count, size_t size) {
    void *memory = calloc(count, size);
    if (memory) return memory;
    fprintf(stderr, "there is not enough memory\n");
    exit(2);
}

void *array(struct model *model, size_t count, size_t size) {
    return model->array[model->arrays++] = some(count, size);
}

struct bertc_step *add_step(struct model *model, int op, int type, int n) {
    struct bertc_step *step = model->step + model->plan.steps;
    memset(step, 0, sizeof *step);
    step->op = op;
    step->in[0] = model->plan.steps - 1;
    step->in[1] = step->in[2] = step->out_codes = step->residual = step->numbers[0] = step->numbers[1] = step->segments = -1;
    step->out = model->plan.steps;
    step->n = n;
    model->buffer[model->plan.steps++] = (struct bertc_buffer){type, BERTC_TOKENS, up(n)};
    model->plan.buffers = model->plan.steps;
    return step;
}

void open_model(struct model *model, int columns, int zero) {
    memset(model, 0, sizeof *model);
    model->plan.step = model->step;
    model->plan.buffer = model->buffer;
    model->plan.output = model->output;
    model->plan.outputs = 1;
    model->columns = columns;
    model->zero = zero;
    model->code = array(model, (size_t)WORDS * columns, sizeof(int));
    float *word = array(model, (size_t)WORDS * columns, sizeof(float));
    for (int i = 0; i < WORDS * columns; i++) word[i] = (float)(model->code[i] = code_within(-zero, 255 - zero));
    struct bertc_step *embed = add_step(model, BERTC_EMBED, BERTC_F32, columns);
    embed->in[0] = -1;
    embed->vocabulary = WORDS;
    embed->positions = MOST_LENGTH;
    embed->word = word;
    embed->position = array(model, (size_t)MOST_LENGTH * columns, sizeof(float));
    struct bertc_step *codes = add_step(model, BERTC_FINISH, BERTC_U8, columns);
    float *inverse = array(model, (size_t)up(columns), sizeof(float));
    for (int i = 0; i < columns; i++) inverse[i] = 1.0f;
    codes->k = columns;
    codes->inverse = inverse;
    codes->out_zero = zero;
}

void close_model(struct model *model) {
    while (model->arrays) free(model->array[--model->arrays]);
}

/* The last step's numbers are the output. */
static void show_last(struct model *model) {
    const struct bertc_step *last = model->step + model->plan.steps - 1;
    model->output[0] = (struct bertc_output){last->out, 0, last->n, 1};
}

void choose_texts(struct texts *texts, int count, int longest) {
    texts->count = count;
    texts->longest = 0;
    for (int t = 0; t < count; t++) {
        texts->length[t] = 1 + below(longest);
        if (texts->length[t] > texts->longest) texts->longest = texts->length[t];
    }
    for (int t = 0; t < count; t++)
        for (int i = 0; i < texts->longest; i++) {
            texts->id[t * texts->longest + i] = below(WORDS);
            texts->type[t * texts->longest + i] = below(TYPES);
            texts->mask[t * texts->longest + i] = i < texts->length[t];
        }
}

/* Run texts [first, first + count); returns f32 [count, longest, n], zeros for padding, or exits. */
static float *run(struct bertc_engine *engine, const struct texts *texts, int first, int count, int n) {
    const int64_t at = (int64_t)first * texts->longest;
    const struct bertc_batch batch = {count, texts->longest, texts->id + at, texts->type + at, texts->mask + at};
    float *out = some((size_t)count * texts->longest * n, sizeof *out);
    const char *fault = bertc_run(engine, &batch, &out, NULL);
    if (!fault) return out;
    fprintf(stderr, "bertc_run: %s\n", fault);
    exit(2);
}

struct bertc_engine *opened(const struct model *model, int threads, const char *name) {
    struct bertc_engine *engine = bertc_open(&model->plan, threads, name);
    if (engine) return engine;
    fprintf(stderr, "%s: the engine does not open\n", name);
    exit(2);
}

/* Whether each text gives the same bits alone, and how many texts do not. */
static int check_alone(struct bertc_engine *engine, const struct texts *texts, const float *together, int n) {
    int wrong = 0;
    for (int t = 0; t < texts->count; t++) {
        float *alone = run(engine, texts, t, 1, n);
        const size_t size = (size_t)texts->longest * n;
        wrong += memcmp(alone, together + t * size, size * sizeof(float)) != 0;
        free(alone);
    }
    return wrong;
}

struct caller {
    struct bertc_engine *engine;
    const struct texts *texts;
    const float *expected;
    int n, wrong;
};

static void *call(void *argument) {
    struct caller *caller = argument;
    for (int i = 0; i < 5; i++) {
        const int first = i % caller->texts->count, count = caller->texts->count - first;
        float *out = run(caller->engine, caller->texts, first, count, caller->n);
        const size_t size = (size_t)caller->texts->longest * caller->n;
        caller->wrong += memcmp(out, caller->expected + first * size, count * size * sizeof(float)) != 0;
        free(out);
    }
    return NULL;
}

static int check_callers(struct bertc_engine *engine, const struct texts *texts, const float *expected, int n) {
    pthread_t thread[CALLERS];
    struct caller caller[CALLERS];
    int wrong = 0;
    for (int i = 0; i < CALLERS; i++) {
        caller[i] = (struct caller){engine, texts, expected, n, 0};
        if (pthread_create(thread + i, NULL, call, caller + i)) exit(2);
    }
    for (int i = 0; i < CALLERS; i++) {
        pthread_join(thread[i], NULL);
        wrong += caller[i].wrong;
    }
    return wrong;
}

int told(int wrong, const char *name, const char *what, int a, int b) {
    if (wrong) printf("WRONG: %s: %s (%d, %d): %d times\n", name, what, a, b, wrong);
    return wrong;
}

int check_model(struct model *model, const char *name, const double *(*expected)(const struct model *,
                const struct texts *, int text, int query), double most, double mean, int callers) {
    static struct texts texts;
    show_last(model);
    const int n = model->output[0].columns, threads = 1 + below(3);
    struct bertc_engine *engine = opened(model, threads, name);
    choose_texts(&texts, 1 + below(MOST_TEXTS), below(3) ? 12 : MOST_LENGTH);
    float *out = run(engine, &texts, 0, texts.count, n);
    int wrong = 0, count = 0;
    double squares = 0;
    for (int t = 0; t < texts.count; t++)
        for (int i = 0; i < texts.length[t]; i++) {
            const double *right = expected(model, &texts, t, i);
            for (int c = 0; c < n; c++, count++) {
                const double error = fabs(out[((size_t)t * texts.longest + i) * n + c] - right[c]);
                wrong += !(error <= most);
                squares += error * error;
            }
        }
    wrong = told(wrong, name, "numbers", model->columns, n) +
            told(!(squares <= mean * mean * count), name, "mean error", model->columns, n) +
            told(check_alone(engine, &texts, out, n), name, "alone and in a batch", threads, texts.count);
    if (callers) wrong += told(check_callers(engine, &texts, out, n), name, "callers", threads, texts.count);
    free(out);
    bertc_close(engine);
    return wrong;
}

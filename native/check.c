/* A self-test without Python: every instruction set of this CPU against plain integers and double loops, at random sizes
 * and extreme codes; batches against their texts alone; several callers at a time. Arrays have exactly the sizes that
 * `bertc.runtime.native.plan_check` asks for, so that a sanitizer sees who reads beyond. Prints the instruction sets'
 * names; returns 0 if all is right. */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bertc.h"

#define WORDS 256 /* many: keys of the same word get the same probability, on the same side of an edge between codes */
#define TYPES 3
#define MOST_TEXTS 12
#define MOST_LENGTH 150
#define MOST_STEPS 8
#define MOST_ARRAYS 8
#define CALLERS 3

static uint64_t seed = 1;

/* A number below `count` (xorshift). */
static int below(int count) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (int)(seed >> 33) % count;
}

/* A code, every other one at the edges. */
static int code_within(int low, int high) {
    if (below(2)) return below(2) ? low : high;
    return low + below(high - low + 1);
}

static int up(int x) { return (x + BERTC_PANEL - 1) / BERTC_PANEL * BERTC_PANEL; }

static void *some(size_t count, size_t size) {
    void *memory = calloc(count, size);
    if (memory) return memory;
    fprintf(stderr, "there is not enough memory\n");
    exit(2);
}

/* A plan whose first steps write a row of codes for each token: its word's. */
struct model {
    struct bertc_plan plan;
    struct bertc_step step[MOST_STEPS];
    struct bertc_buffer buffer[MOST_STEPS];
    struct bertc_output output[2];
    void *array[MOST_ARRAYS];
    int arrays;
    int columns, zero;
    const int8_t *weights; /* of a product: dense panels, as bertc.h has them */
    int *code; /* [WORDS][columns], without the zero point */
};

static void *array(struct model *model, size_t count, size_t size) {
    return model->array[model->arrays++] = some(count, size);
}

/* The last step, zeroed, and what it writes. */
static struct bertc_step *add_step(struct model *model, int op, int type, int n) {
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

static void open_model(struct model *model, int columns, int zero) {
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

static void close_model(struct model *model) {
    while (model->arrays) free(model->array[--model->arrays]);
}

/* The last step's numbers are the output. */
static void show_last(struct model *model) {
    const struct bertc_step *last = model->step + model->plan.steps - 1;
    model->output[0] = (struct bertc_output){last->out, 0, last->n, 1};
}

/* Texts of random words, padded. */
struct texts {
    int count, length[MOST_TEXTS], longest;
    int64_t id[MOST_TEXTS * MOST_LENGTH], mask[MOST_TEXTS * MOST_LENGTH], type[MOST_TEXTS * MOST_LENGTH];
};

static void choose_texts(struct texts *texts, int count, int longest) {
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

static struct bertc_engine *opened(const struct model *model, int threads, const char *name) {
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

/* Say what is wrong, if anything; returns how many are. */
static int told(int wrong, const char *name, const char *what, int a, int b) {
    if (wrong) printf("WRONG: %s: %s (%d, %d): %d times\n", name, what, a, b, wrong);
    return wrong;
}

/* Run and compare: each number of `expected` [tokens of the padded texts][n] within `most`, all within `mean` on average. */
static int check_model(struct model *model, const char *name, const double *(*expected)(const struct model *,
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

/* --- products --------------------------------------------------------------------------------------------------------- */

static int64_t place_of(const struct bertc_step *step, int k, int n) {
    return ((int64_t)(n / BERTC_PANEL * (up(step->k) / 4) + k / 4) * BERTC_PANEL + n % BERTC_PANEL) * 4 + k % 4;
}

static const double *product_of(const struct model *model, const struct texts *texts, int text, int query) {
    static double row[4 * BERTC_PANEL];
    const struct bertc_step *step = model->step + 2;
    const int8_t *weights = model->weights;
    const int *code = model->code + texts->id[text * texts->longest + query] * model->columns;
    for (int n = 0; n < step->n; n++) {
        int64_t sum = 0;
        for (int k = 0; k < step->k; k++) sum += code[k] * weights[place_of(step, k, n)];
        row[n] = (double)sum;
    }
    return row;
}

/* Dense panels that are 2:4 as sparse.h has them. */
static void pack_sparse(const struct bertc_step *step, const int8_t *weights, int8_t *packed) {
    const int eights = up(step->k) / 8;
    for (int n = 0; n < up(step->n); n++) {
        int8_t *panel = packed + (int64_t)(n / BERTC_PANEL) * eights * 5 * BERTC_PANEL;
        for (int four = 0; four < 2 * eights; four++) {
            const int8_t *own = weights + place_of(step, 4 * four, n);
            int taken[2], count = 0;
            for (int zeros = 0; zeros < 2; zeros++)
                for (int i = 0; i < 4 && count < 2; i++)
                    if ((own[i] == 0) == zeros) taken[count++] = i;
            for (int slot = 0; slot < 2; slot++) {
                const int column = n % BERTC_PANEL, half = four % 2, value = 2 * half + slot;
                panel[(four / 2 * BERTC_PANEL + column) * 4 + value] = own[taken[slot]];
                panel[(4 * eights + four / 2) * BERTC_PANEL + column % 16 * 4 + value] |=
                    (int8_t)(taken[slot] << column / 16 * 2);
            }
        }
    }
}

static int check_product(const char *name, int callers) {
    static const int ZERO[] = {0, 3, 128, 255};
    const int k = 1 + below(300), n = 1 + below(4 * BERTC_PANEL), sparse = below(2);
    struct model model;
    open_model(&model, k, ZERO[below(4)]);
    struct bertc_step *step = add_step(&model, BERTC_GEMM_INT8, BERTC_F32, n);
    step->k = k;
    int8_t *weights = array(&model, (size_t)up(k) * up(n), 1);
    int32_t *compensation = array(&model, (size_t)up(n), sizeof *compensation);
    for (int c = 0; c < n; c++)
        for (int i = 0, left = 2; i < k; i++) {
            if (i % 4 == 0) left = 2;
            const int8_t weight = sparse && (!left || below(2)) ? 0 : (int8_t)code_within(-128, 127);
            left -= weight != 0;
            weights[place_of(step, i, c)] = weight;
            compensation[c] -= model.zero * weight;
        }
    step->in_zero = model.zero;
    step->weights = model.weights = weights;
    if (sparse) {
        int8_t *packed = array(&model, (size_t)up(k) / 8 * 5 * up(n), 1);
        pack_sparse(step, weights, packed);
        step->weights = packed;
        step->flag = 1;
    }
    step->compensation = compensation;
    const int wrong = check_model(&model, name, product_of, 0.0, 0.0, callers);
    close_model(&model);
    return wrong;
}

/* --- products in BF16 ------------------------------------------------------------------------------------------------- */

enum { BF16_DEPTH = 32 };

static int up_bf16(int k) { return (k + BF16_DEPTH - 1) / BF16_DEPTH * BF16_DEPTH; }

static int64_t bf16_place(const struct bertc_step *step, int k, int n) {
    return ((int64_t)(n / BERTC_PANEL * (up_bf16(step->k) / 2) + k / 2) * BERTC_PANEL + n % BERTC_PANEL) * 2 + k % 2;
}

/* To eight bits, to even. */
static float bf16_of(float x) {
    int exponent;
    const double mantissa = frexp(x, &exponent);
    return (float)ldexp(rint(mantissa * 256), exponent - 8);
}

/* Sums in the order of bf16.h. */
static const double *bf16_product_of(const struct model *model, const struct texts *texts, int text, int query) {
    static double row[4 * BERTC_PANEL];
    const struct bertc_step *step = model->step + 2;
    const uint16_t *weights = step->weights;
    const int *code = model->code + texts->id[text * texts->longest + query] * model->columns;
    const float *position = (const float *)model->step[0].position + query * model->columns;
    for (int n = 0; n < step->n; n++) {
        float total = 0;
        for (int block = 0; block < step->k; block += BF16_DEPTH) {
            float sum[2] = {0, 0};
            for (int k = block; k < block + BF16_DEPTH && k < step->k; k++) {
                const uint32_t bits = (uint32_t)weights[bf16_place(step, k, n)] << 16;
                float weight;
                memcpy(&weight, &bits, sizeof weight);
                sum[k % 2] += bf16_of((float)code[k] + position[k]) * weight;
            }
            total += sum[0] + sum[1];
        }
        row[n] = total;
    }
    return row;
}

static int check_bf16(const char *name, int callers) {
    const int k = 1 + below(100), n = 1 + below(2 * BERTC_PANEL);
    struct model model;
    open_model(&model, k, 128);
    float *position = (float *)model.step[0].position;
    for (int i = 0; i < MOST_LENGTH * k; i++) position[i] = (float)below(1000) / 977.0f;
    struct bertc_step *step = add_step(&model, BERTC_GEMM_F32, BERTC_F32, n);
    step->in[0] = 0;
    step->k = k;
    step->flag = 1;
    uint16_t *weights = array(&model, (size_t)up_bf16(k) * up(n), sizeof *weights);
    for (int c = 0; c < n; c++)
        for (int i = 0; i < k; i++) {
            const float weight = bf16_of((float)(below(2001) - 1000) / 311.0f);
            uint32_t bits;
            memcpy(&bits, &weight, sizeof bits);
            weights[bf16_place(step, i, c)] = (uint16_t)(bits >> 16);
        }
    step->weights = weights;
    const int wrong = check_model(&model, name, bf16_product_of, 0.0, 0.0, callers);
    close_model(&model);
    return wrong;
}

/* --- attention -------------------------------------------------------------------------------------------------------- */

static double clipped(double x, double low, double high) { return x < low ? low : x > high ? high : x; }

/* What products with embeddings of distances add to a score of a head: of its query, and of its key. */
static double distance_score(const struct bertc_step *step, int head, const int *query, const int *key, int places) {
    if (!step->distances) return 0;
    const int size = step->n / step->heads, row = step->distance_row[places + step->positions - 1];
    const size_t first = (size_t)(head * (up(step->distances) / BERTC_PANEL) + row / BERTC_PANEL) * size * BERTC_PANEL;
    double sum = 0;
    for (int i = 0; i < size; i++) {
        const size_t at = first + (size_t)i * BERTC_PANEL + row % BERTC_PANEL;
        if (step->distance_key) sum += (double)query[i] * step->distance_key[at];
        if (step->distance_query) sum += (double)key[i] * step->distance_query[at];
    }
    return sum;
}

#define SEGMENT_SCALE 0.02f

static const double *context_of(const struct model *model, const struct texts *texts, int text, int query) {
    static double row[8 * BERTC_PANEL], score[MOST_LENGTH];
    const struct bertc_step *step = model->step + model->plan.steps - 1;
    const int64_t *type = texts->type + text * texts->longest;
    const int64_t *id = texts->id + text * texts->longest;
    const int size = step->n / step->heads, keys = texts->length[text];
    for (int head = 0; head < step->heads; head++) {
        const int *q = model->code + id[query] * model->columns + head * size;
        double most = -INFINITY, total = 0;
        for (int j = 0; j < keys; j++) {
            const int *key = model->code + id[j] * model->columns + step->in_column[1] + head * size;
            double sum = 0;
            for (int i = 0; i < size; i++) sum += q[i] * key[i];
            if (step->scores_requant != 0) sum = clipped(rint(sum * step->scores_requant), -128, 127);
            score[j] = sum * step->scaling;
            score[j] += distance_score(step, head, q, key, j - query);
            if (step->segments >= 0 && type[j] == type[query])
                score[j] += model->code[id[query] * model->columns + step->segments_column + head] * (double)SEGMENT_SCALE;
            if (step->near && abs(j - query) >= step->near) score[j] = -INFINITY;
            if (step->distance_bias)
                score[j] += step->distance_bias[head * BERTC_DISTANCES(step->positions) + j - query + step->positions - 1];
            most = score[j] > most ? score[j] : most;
        }
        for (int j = 0; j < keys; j++) total += score[j] = exp(score[j] - most);
        for (int i = 0; i < size; i++) row[head * size + i] = 0;
        for (int j = 0; j < keys; j++) {
            const int *value = model->code + id[j] * model->columns + step->in_column[2] + head * size;
            double p = score[j] / total;
            if (step->flag) p = clipped(rint(p * step->probs_inverse), 0, step->probs_high);
            for (int i = 0; i < size; i++) row[head * size + i] += p * value[i] * step->context_scale;
        }
    }
    return row;
}

/* Let numbers of queries and keys, which the first step has, be multiplied with embeddings of distances. */
static void add_distances(struct model *model, struct bertc_step *step) {
    const int size = step->n / step->heads, kinds = 1 + below(3);
    const size_t count = BERTC_DISTANCES(MOST_LENGTH);
    step->positions = MOST_LENGTH;
    step->distances = 1 + below(200);
    const size_t numbers = (size_t)step->heads * up(step->distances) * size;
    float *tables[2] = {NULL, NULL};
    for (int side = 0; side < 2; side++) {
        if (!(kinds & 1 << side)) continue;
        tables[side] = array(model, numbers, sizeof(float));
        for (size_t i = 0; i < numbers; i++) tables[side][i] = (float)(below(201) - 100) / (100 * 128 * sqrtf((float)size));
        step->numbers[side] = 0;
        step->numbers_column[side] = side * step->n;
    }
    int32_t *row = array(model, count, sizeof *row);
    for (size_t i = 0; i < count; i++) row[i] = (int32_t)((count - 1 - i) * (size_t)step->distances / count);
    step->distance_key = tables[0];
    step->distance_query = tables[1];
    step->distance_row = row;
}

/* Numbers that keys of a query's own type get: columns of the first step's, smaller. */
static void add_segments(struct model *model) {
    const int n = model->columns;
    struct bertc_step *numbers = add_step(model, BERTC_FINISH, BERTC_F32, n);
    float *scale = array(model, (size_t)up(n), sizeof(float));
    for (int c = 0; c < n; c++) scale[c] = SEGMENT_SCALE;
    numbers->in[0] = 0;
    numbers->k = n;
    numbers->scale = scale;
    model->step[0].types = TYPES;
}

static int check_attention(const char *name, int callers) {
    static const int SIZE[] = {4, 12, 16, 30, 32, 64, 80, 96};
    const int heads = 1 + below(4), size = SIZE[below(8)], n = heads * size, in_codes = below(4) > 0;
    const int high = below(2) ? 127 : 255, scores = below(2);
    struct model model;
    open_model(&model, 3 * n, 128);
    const float spread = 3.0f / (127.0f * 127.0f * sqrtf((float)size));
    const int segments = below(2);
    if (segments) add_segments(&model);
    struct bertc_step *step = add_step(&model, BERTC_ATTENTION, BERTC_F32, n);
    step->segments = segments ? 2 : -1;
    step->segments_column = segments ? below(3 * n - heads + 1) : 0;
    step->in[0] = step->in[1] = step->in[2] = 1;
    step->in_column[1] = n;
    step->in_column[2] = 2 * n;
    step->in_zero = 128;
    step->k = n;
    step->heads = heads;
    step->flag = in_codes;
    step->probs_high = in_codes ? high : 0;
    step->probs_inverse = in_codes ? (float)high : 0.0f;
    step->scaling = scores ? 0.05f : spread;
    step->scores_requant = scores ? spread * 20 : 0.0f;
    step->context_scale = in_codes ? 1.0f / (127.0f * (float)high) : 1.0f / 127.0f;
    static float bias[4 * BERTC_DISTANCES(MOST_LENGTH)];
    const int added = below(4);
    if (added == 1) {
        for (int i = 0; i < heads * BERTC_DISTANCES(MOST_LENGTH); i++) bias[i] = (float)(below(201) - 100) / 50.0f;
        step->distance_bias = bias;
        step->positions = MOST_LENGTH;
    }
    if (added > 1) add_distances(&model, step);
    if (below(2)) step->near = 1 + below(below(2) ? 12 : MOST_LENGTH);
    /* A number on the edge of two codes may get the other one: of a probability 1 / high of a value, of a score 5 %. */
    const int rounded = in_codes || scores;
    const int wrong = check_model(&model, name, context_of, rounded ? 8.0 / 127 : 2e-5, rounded ? 2e-3 : 1e-5, callers);
    close_model(&model);
    return wrong;
}

/* --- rotary positions ------------------------------------------------------------------------------------------------- */

static const double *turned_of(const struct model *model, const struct texts *texts, int text, int query) {
    static double row[8 * BERTC_PANEL];
    const struct bertc_step *step = model->step + 2;
    const int half = step->n / step->heads / 2;
    const int *code = model->code + texts->id[text * texts->longest + query] * model->columns;
    const float *along = step->cos + query * half, *across = step->sin + query * half;
    for (int i = 0; i < half; i++)
        for (int at = i; at < step->n; at += 2 * half) {
            row[at] = (double)code[at] * along[i] - (double)code[at + half] * across[i];
            row[at + half] = (double)code[at + half] * along[i] + (double)code[at] * across[i];
        }
    return row;
}

static int check_rotary(const char *name, int callers) {
    const int heads = 1 + below(5), half = 1 + below(40), n = 2 * half * heads;
    struct model model;
    open_model(&model, n, 128);
    struct bertc_step *step = add_step(&model, BERTC_ROTARY, BERTC_F32, n);
    float *tables[2];
    step->in[0] = 0; /* numbers, not their codes */
    step->heads = heads;
    step->positions = MOST_LENGTH;
    for (int table = 0; table < 2; table++) tables[table] = array(&model, (size_t)MOST_LENGTH * half, sizeof(float));
    for (int i = 0; i < MOST_LENGTH * half; i++) {
        const float angle = (float)below(628) / 100.0f;
        tables[0][i] = cosf(angle);
        tables[1][i] = sinf(angle);
    }
    step->cos = tables[0];
    step->sin = tables[1];
    const int wrong = check_model(&model, name, turned_of, 1e-4, 1e-5, callers);
    close_model(&model);
    return wrong;
}

/* --- norms ------------------------------------------------------------------------------------------------------------ */

/* A LayerNorm, or an RMSNorm where `flag` is 1, of the embeddings. */
static const double *normed_of(const struct model *model, const struct texts *texts, int text, int query) {
    static double row[8 * BERTC_PANEL];
    const struct bertc_step *step = model->step + 2;
    const int *code = model->code + texts->id[text * texts->longest + query] * model->columns, n = step->n;
    double mean = 0, squares = 0;
    for (int i = 0; i < n; i++) mean += step->flag ? 0 : (double)code[i] / n;
    for (int i = 0; i < n; i++) squares += (code[i] - mean) * (code[i] - mean) / n;
    for (int i = 0; i < n; i++)
        row[i] = (code[i] - mean) / sqrt(squares + step->epsilon) * step->gamma[i] + (step->flag ? 0 : step->beta[i]);
    return row;
}

static int check_norm(const char *name, int callers) {
    const int n = 1 + below(300);
    struct model model;
    open_model(&model, n, 128);
    struct bertc_step *step = add_step(&model, BERTC_NORM, BERTC_F32, n);
    float *vectors[2];
    step->in[0] = 0; /* numbers, not their codes */
    step->flag = below(2);
    step->epsilon = 1e-3f;
    for (int i = 0; i < 2 - step->flag; i++) {
        vectors[i] = array(&model, (size_t)up(n), sizeof(float));
        for (int c = 0; c < n; c++) vectors[i][c] = (float)(below(201) - 100) / 50.0f;
    }
    step->gamma = vectors[0];
    step->beta = step->flag ? NULL : vectors[1];
    const int wrong = check_model(&model, name, normed_of, 1e-3, 1e-4, callers);
    close_model(&model);
    return wrong;
}

/* --- activations ------------------------------------------------------------------------------------------------------ */

static const double *activated_of(const struct model *model, const struct texts *texts, int text, int query) {
    static double row[8 * BERTC_PANEL];
    const struct bertc_step *step = model->step + 2;
    const int *code = model->code + texts->id[text * texts->longest + query] * model->columns;
    for (int c = 0; c < step->n; c++) {
        const double x = (double)code[c] * step->scale[c] + step->bias[c], sigmoid = 1 / (1 + exp(-x));
        const double inner = sqrt(8 / acos(-1.0)) * (x + 0.044715 * x * x * x); /* twice what the hyperbolic tangent is of */
        row[c] = step->activation == BERTC_RELU        ? (x > 0 ? x : 0)
                 : step->activation == BERTC_GELU      ? x * 0.5 * erfc(-x * sqrt(0.5))
                 : step->activation == BERTC_GELU_TANH ? x / (1 + exp(-inner))
                 : step->activation == BERTC_TANH      ? tanh(x)
                 : step->activation == BERTC_SIGMOID   ? sigmoid
                 : step->activation == BERTC_SILU      ? x * sigmoid
                                                       : x;
    }
    return row;
}

static int check_activation(const char *name, int callers) {
    const int n = 1 + below(300);
    struct model model;
    open_model(&model, n, 128);
    struct bertc_step *step = add_step(&model, BERTC_FINISH, BERTC_F32, n);
    float *scale = array(&model, (size_t)up(n), sizeof(float)), *bias = array(&model, (size_t)up(n), sizeof(float));
    for (int c = 0; c < n; c++) {
        scale[c] = 1.0f / (float)(8 + below(56));
        bias[c] = (float)(below(201) - 100) / 100.0f;
    }
    step->in_zero = 128;
    step->k = n;
    step->scale = scale;
    step->bias = bias;
    step->activation = below(BERTC_SILU + 1);
    const int wrong = check_model(&model, name, activated_of, 5e-5, 2e-5, callers);
    close_model(&model);
    return wrong;
}

/* --- texts that leave ------------------------------------------------------------------------------------------------- */

/* The entropy of the softmax of a text's scores, divided by log n. */
static double uncertainty_of(const float *scores, int n) {
    double most = -INFINITY, total = 0, entropy = 0;
    for (int i = 0; i < n; i++) most = scores[i] > most ? scores[i] : most;
    for (int i = 0; i < n; i++) total += exp(scores[i] - most);
    for (int i = 0; i < n; i++) {
        const double p = exp(scores[i] - most) / total;
        if (p > 0) entropy -= p * log(p);
    }
    return entropy / log(n);
}

/* What a text's tokens say at the first EXIT (its first row), at the second (the largest), and behind both (the mean, or
 * the row of the first word that is marked, or the first row). */
static void scores_of(const struct model *model, const struct texts *texts, int text, float *first, float *largest,
                      double *end) {
    const struct bertc_step *last = model->step + model->plan.steps - 1;
    const float *word = model->step[0].word;
    const int64_t *id = texts->id + text * texts->longest;
    const int n = model->columns, length = texts->length[text];
    int mark = 0;
    while (mark < length && id[mark] != last->token) mark++;
    for (int c = 0; c < n; c++) {
        end[c] = 0;
        for (int i = 0; i < length; i++) {
            const float x = word[id[i] * n + c];
            if (!i) first[c] = x;
            largest[c] = !i || x > largest[c] ? x : largest[c];
            end[c] += (double)x / length;
        }
        if (last->op == BERTC_MARKED) end[c] = word[id[mark < length ? mark : 0] * n + c];
    }
}

static struct bertc_step *add_text_step(struct model *model, int op, int in) {
    struct bertc_step *step = add_step(model, op, BERTC_F32, model->columns);
    step->rows = model->buffer[step->out].rows = BERTC_TEXTS;
    step->in[0] = in;
    return step;
}

/* Texts leave with their first row, or with their largest numbers; the others end with the mean of their tokens' codes, or
 * with the row of a word: rows of tokens in codes, and of texts in numbers, are moved. The EXITs are steps 4 and 5. */
static void add_exits(struct model *model) {
    const float fine = (float)(1 << (3 + below(5)));
    const int n = model->columns;
    float *word = (float *)model->step[0].word, *inverse = (float *)model->step[1].inverse;
    for (int i = 0; i < WORDS * n; i++) word[i] /= fine;
    for (int c = 0; c < n; c++) inverse[c] = fine; /* the codes are as they were */
    add_text_step(model, BERTC_FIRST, 0);
    add_text_step(model, BERTC_POOL, 0)->flag = 1;
    for (int exit = 0; exit < 2; exit++) {
        struct bertc_step *step = add_text_step(model, BERTC_EXIT, 2 + exit);
        step->out = -1;
        step->in[1] = 1;
        step->in[2] = exit ? -1 : 3;
    }
    struct bertc_step *numbers = add_step(model, BERTC_FINISH, BERTC_F32, n);
    float *scale = array(model, (size_t)up(n), sizeof(float));
    for (int c = 0; c < n; c++) scale[c] = 1 / fine;
    numbers->in[0] = 1;
    numbers->in_zero = model->zero;
    numbers->k = n;
    numbers->scale = scale;
    const int marked = below(2), word_of_mark = below(WORDS);
    struct bertc_step *last = add_text_step(model, marked ? BERTC_MARKED : BERTC_POOL, numbers->out);
    last->token = marked ? word_of_mark : 0;
    model->output[0] = (struct bertc_output){last->out, 0, n, 0};
    model->output[1] = (struct bertc_output){-1, 0, 1, 0};
    model->plan.outputs = 2;
}

/* Run texts [first, first + count): their scores [count][n], and how many classifiers each went through. */
static void run_exits(struct bertc_engine *engine, const struct texts *texts, int first, int count, float *scores,
                      float *layers) {
    const int64_t at = (int64_t)first * texts->longest;
    const struct bertc_batch batch = {count, texts->longest, texts->id + at, texts->type + at, texts->mask + at};
    float *out[2] = {scores, layers};
    const char *fault = bertc_run(engine, &batch, out, NULL);
    if (!fault) return;
    fprintf(stderr, "bertc_run: %s\n", fault);
    exit(2);
}

/* Thresholds that no text's uncertainty at an EXIT is beside. */
static void choose_thresholds(struct model *model, double uncertainty[2][MOST_TEXTS], int texts) {
    for (int exit = 0; exit < 2; exit++) {
        int beside = 1;
        while (beside) {
            const float epsilon = (float)below(1000) / 999.0f;
            model->step[4 + exit].epsilon = epsilon;
            beside = 0;
            for (int t = 0; t < texts; t++) beside += fabs(uncertainty[exit][t] - (double)epsilon) < 1e-5;
        }
    }
}

static int check_exits(const char *name) {
    static struct texts texts;
    static float first[MOST_TEXTS][2 * BERTC_PANEL], largest[MOST_TEXTS][2 * BERTC_PANEL];
    static double end[MOST_TEXTS][2 * BERTC_PANEL], uncertainty[2][MOST_TEXTS];
    const int n = 2 + below(2 * BERTC_PANEL - 1), threads = 1 + below(3);
    struct model model;
    open_model(&model, n, 128);
    add_exits(&model);
    choose_texts(&texts, 1 + below(MOST_TEXTS), below(3) ? 12 : MOST_LENGTH);
    for (int t = 0; t < texts.count; t++) {
        scores_of(&model, &texts, t, first[t], largest[t], end[t]);
        uncertainty[0][t] = uncertainty_of(first[t], n);
        uncertainty[1][t] = uncertainty_of(largest[t], n);
    }
    choose_thresholds(&model, uncertainty, texts.count);
    struct bertc_engine *engine = opened(&model, threads, name);
    float *scores = some((size_t)texts.count * n, sizeof *scores), *alone = some((size_t)n, sizeof *alone);
    float layers[MOST_TEXTS];
    int wrong = 0, lonely = 0;
    run_exits(engine, &texts, 0, texts.count, scores, layers);
    for (int t = 0; t < texts.count; t++) {
        const int left = uncertainty[0][t] < (double)model.step[4].epsilon   ? 1
                         : uncertainty[1][t] < (double)model.step[5].epsilon ? 2
                                                                             : 3;
        wrong += layers[t] != (float)left;
        for (int c = 0; c < n; c++) {
            const double right = left == 1 ? (double)first[t][c] : left == 2 ? (double)largest[t][c] : end[t][c];
            wrong += !(fabs(scores[t * n + c] - right) <= (left == 3 ? 1e-3 : 0));
        }
        float own;
        run_exits(engine, &texts, t, 1, alone, &own);
        lonely += own != layers[t] || memcmp(alone, scores + t * n, (size_t)n * sizeof *alone) != 0;
    }
    wrong = told(wrong, name, "texts that leave", n, texts.count) +
            told(lonely, name, "texts that leave alone and in a batch", threads, texts.count);
    free(scores);
    free(alone);
    bertc_close(engine);
    close_model(&model);
    return wrong;
}

int main(int count, char **arguments) {
    const int rounds = count > 1 ? atoi(arguments[1]) : 30;
    char names[128];
    int wrong = 0;
    strncpy(names, bertc_instruction_sets(), sizeof names - 1);
    names[sizeof names - 1] = 0;
    for (const char *name = strtok(names, " "); name; name = strtok(NULL, " ")) {
        int here = 0;
        for (int round = 0; round < rounds; round++) {
            here += check_product(name, round % 8 == 0);
            here += check_bf16(name, round % 8 == 2);
            here += check_attention(name, round % 8 == 4);
            here += check_rotary(name, round % 8 == 2);
            here += check_norm(name, round % 8 == 6);
            here += check_activation(name, round % 8 == 6);
            here += check_exits(name);
        }
        printf("%s: %s\n", name, here ? "WRONG" : "right");
        wrong += here;
    }
    return wrong ? 1 : 0;
}

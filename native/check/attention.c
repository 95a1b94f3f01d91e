/* Attention against loops in double. */
#include <math.h>
#include <stdlib.h>

#include "check.h"

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

int check_attention(const char *name, int callers) {
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

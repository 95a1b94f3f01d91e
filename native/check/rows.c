/* What goes row by row, against the C library's functions in double: rotary positions, norms, activations. */
#include <math.h>

#include "check.h"

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

int check_rotary(const char *name, int callers) {
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

int check_norm(const char *name, int callers) {
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

int check_activation(const char *name, int callers) {
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

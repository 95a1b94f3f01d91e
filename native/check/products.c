/* Products with weights: of codes, dense and 2:4, against sums of integers; in BF16 against floats in the same order. */
#include <math.h>
#include <string.h>

#include "check.h"

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

int check_product(const char *name, int callers) {
    static const int ZERO[] = {0, 3, 128, 255};
    const int k = 1 + below(300), n = 1 + below(4 * BERTC_PANEL), sparse = below(2);
    const int most = below(2) ? 127 : 64, least = below(4) ? -most : -most - 1; /* see sorted.h */
    struct model model;
    open_model(&model, k, ZERO[below(4)]);
    struct bertc_step *step = add_step(&model, BERTC_GEMM_INT8, BERTC_F32, n);
    step->k = k;
    int8_t *weights = array(&model, (size_t)up(k) * up(n), 1);
    int32_t *compensation = array(&model, (size_t)up(n), sizeof *compensation);
    for (int c = 0; c < n; c++)
        for (int i = 0, left = 2; i < k; i++) {
            if (i % 4 == 0) left = 2;
            const int8_t weight = sparse && (!left || below(2)) ? 0 : (int8_t)code_within(least, most);
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

int check_bf16(const char *name, int callers) {
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

/* What goes row by row, for each token or text: embeddings, norms, rotary positions, an epilogue without a product, and
 * the row that a text gets of its tokens'. */
#ifndef BERTC_ROWS_H
#define BERTC_ROWS_H

#include "epilogue.h"

static NOINLINE void embed(const struct bertc_step *step, const struct frame *frame, int piece, int pieces) {
    int first, last;
    share(frame->tokens, piece, pieces, &first, &last);
    for (int t = first; t < last; t++) {
        const int64_t word = frame->id[t], position = step->first_position + frame->position[t];
        float *out = floats(frame, step->out, t, step->out_column);
        for (int n = 0; n < step->n; n += LANES) {
            const int count = least(LANES, step->n - n);
            vf sum;
            if (step->flag) {
                int8_t rows[2][LANES] = {{0}};
                memcpy(rows[0], (const int8_t *)step->word + word * step->n + n, (size_t)count);
                sum = vf_mul(vf_load_s8(rows[0]), vf_set1(step->word_scale[word]));
                if (step->position) {
                    memcpy(rows[1], (const int8_t *)step->position + position * step->n + n, (size_t)count);
                    sum = vf_add(sum, vf_mul(vf_load_s8(rows[1]), vf_set1(step->position_scale[position])));
                }
            } else {
                sum = vf_load_part((const float *)step->word + word * step->n + n, count);
                if (step->position)
                    sum = vf_add(sum, vf_load_part((const float *)step->position + position * step->n + n, count));
            }
            if (step->type)
                sum = vf_add(sum, vf_load_part(step->type + (int64_t)frame->type[t] * step->n + n, count));
            vf_store_part(out + n, sum, count);
        }
    }
}

/* (x - mean) / sqrt(variance + epsilon) * gamma + beta; an RMSNorm takes 0 for the mean and for beta. */
static NOINLINE void norm(const struct bertc_step *step, const struct frame *frame, int piece, int pieces) {
    const int n = step->n, whole = n / LANES * LANES, rest = n - whole, rms = step->flag;
    const float *beta = step->beta;
    int first, last;
    share(rows_of(step, frame), piece, pieces, &first, &last);
    const vf out_zero = vf_set1((float)step->out_zero);
    for (int row = first; row < last; row++) {
        const float *in = floats(frame, step->in[0], row, step->in_column[0]);
        float *out = step->out < 0 ? NULL : floats(frame, step->out, row, step->out_column);
        uint8_t *out_codes = step->out_codes < 0 ? NULL : codes(frame, step->out_codes, row, 0);
        vf total = vf_set1(0.0f), squares = vf_set1(0.0f);
        for (int i = 0; !rms && i < whole; i += LANES) total = vf_add(total, vf_load(in + i));
        if (!rms && rest) total = vf_add(total, vf_load_part(in + whole, rest));
        const float mean = rms ? 0.0f : vf_lane_sum(total) / (float)n;
        const vf middle = vf_set1(mean);
        for (int i = 0; i < whole; i += LANES) {
            const vf d = vf_sub(vf_load(in + i), middle);
            squares = vf_fma(d, d, squares);
        }
        float variance = vf_lane_sum(squares);
        for (int i = whole; i < n; i++) variance += (in[i] - mean) * (in[i] - mean);
        const vf factor = vf_set1(1.0f / sqrtf(variance / (float)n + step->epsilon));
        for (int i = 0; i < n; i += LANES) {
            const int count = least(LANES, n - i);
            const vf x = count == LANES ? vf_load(in + i) : vf_load_part(in + i, count);
            const vf y = vf_fma(vf_mul(vf_sub(x, middle), factor), vf_load(step->gamma + i), column_or(beta, i, 0.0f));
            if (out) {
                if (count == LANES)
                    vf_store(out + i, y);
                else
                    vf_store_part(out + i, y, count);
            }
            if (out_codes) {
                const vi code = vi_round(vf_fma(y, vf_load(step->inverse + i), out_zero));
                if (count == LANES)
                    store_u8(out_codes + i, code);
                else
                    store_u8_part(out_codes + i, code, count);
            }
        }
    }
}

/* Channels i and i + size / 2 of every head, turned by the angle of their token's place. */
static NOINLINE void rotary(const struct bertc_step *step, const struct frame *frame, int piece, int pieces) {
    const int size = step->n / step->heads, half = size / 2, out_codes = is_codes(frame, step->out);
    const vf out_zero = vf_set1((float)step->out_zero);
    int first, last;
    share(rows_of(step, frame), piece, pieces, &first, &last);
    for (int row = first; row < last; row++) {
        const int position = step->rows == BERTC_TOKENS ? frame->position[row] : place_of_text(step, frame, row);
        const int64_t place = (int64_t)position * half;
        const float *in = floats(frame, step->in[0], row, step->in_column[0]);
        for (int i = 0; i < half; i += LANES) {
            const int count = least(LANES, half - i);
            const vf cosine = vf_load_part(step->cos + place + i, count), sine = vf_load_part(step->sin + place + i, count);
            for (int column = i; column < step->n; column += size) {
                const vf a = vf_load_part(in + column, count), b = vf_load_part(in + column + half, count);
                const vf turned[2] = {vf_sub(vf_mul(a, cosine), vf_mul(b, sine)), vf_add(vf_mul(b, cosine), vf_mul(a, sine))};
                for (int side = 0; side < 2; side++) {
                    const int at = column + side * half;
                    if (!out_codes) {
                        vf_store_part(floats(frame, step->out, row, step->out_column + at), turned[side], count);
                        continue;
                    }
                    const vf inverse = vf_load_part(step->inverse + at, count);
                    const vi code = vi_round(vf_fma(turned[side], inverse, out_zero));
                    store_u8_part(codes(frame, step->out, row, step->out_column + at), code, count);
                }
            }
        }
    }
}

static NOINLINE void finish_rows(const struct bertc_step *step, const struct frame *frame, int piece, int pieces) {
    int first, last;
    share(rows_of(step, frame), piece, pieces, &first, &last);
    if (first == last) return;
    const int from_codes = is_codes(frame, step->in[0]);
    const void *in = from_codes ? (const void *)codes(frame, step->in[0], first, step->in_column[0])
                                : (const void *)floats(frame, step->in[0], first, step->in_column[0]);
    const struct block block = {step, frame, first, last - first, 0, step->n, in, width_of(frame, step->in[0])};
    finish_block(&block, from_codes ? CODES : FLOATS);
}

/* The row of a text that FIRST or MARKED gives. */
static int row_of_text(const struct bertc_step *step, const struct frame *frame, int text) {
    const int begin = frame->start[text], end = frame->start[text + 1];
    for (int row = begin; step->op == BERTC_MARKED && row < end; row++)
        if (frame->id[row] == step->token) return row;
    return begin + place_of_text(step, frame, text);
}

static void one_row_each(const struct bertc_step *step, const struct frame *frame, int piece, int pieces) {
    int first, last;
    share(frame->texts, piece, pieces, &first, &last);
    for (int text = first; text < last; text++) {
        const int token = row_of_text(step, frame, text);
        if (is_codes(frame, step->out))
            memcpy(codes(frame, step->out, text, step->out_column), codes(frame, step->in[0], token, step->in_column[0]),
                   (size_t)step->n);
        else
            memcpy(floats(frame, step->out, text, step->out_column),
                   floats(frame, step->in[0], token, step->in_column[0]), (size_t)step->n * sizeof(float));
    }
}

static void pool(const struct bertc_step *step, const struct frame *frame, int piece, int pieces) {
    int first, last;
    share(frame->texts, piece, pieces, &first, &last);
    for (int text = first; text < last; text++) {
        const int begin = frame->start[text], end = frame->start[text + 1];
        float *out = floats(frame, step->out, text, step->out_column);
        for (int n = 0; n < step->n; n += LANES) {
            const int count = least(LANES, step->n - n);
            vf sum = vf_load_part(floats(frame, step->in[0], begin, step->in_column[0] + n), count);
            for (int t = begin + 1; t < end; t++) {
                const vf x = vf_load_part(floats(frame, step->in[0], t, step->in_column[0] + n), count);
                sum = step->flag ? vf_max(sum, x) : vf_add(sum, x);
            }
            vf_store_part(out + n, step->flag ? sum : vf_div(sum, vf_set1((float)(end - begin))), count);
        }
        /* In double, so that every library's logarithm rounds to the same float. */
        for (int n = 0; step->flag == 2 && n < step->n; n++) out[n] = out[n] > 0.0f ? (float)log1p((double)out[n]) : 0.0f;
    }
}

static void unit(const struct bertc_step *step, const struct frame *frame, int piece, int pieces) {
    int first, last;
    share(rows_of(step, frame), piece, pieces, &first, &last);
    for (int row = first; row < last; row++) {
        const float *in = floats(frame, step->in[0], row, step->in_column[0]);
        float *out = floats(frame, step->out, row, step->out_column), squares = 0.0f;
        for (int i = 0; i < step->n; i++) squares += in[i] * in[i];
        const float length = sqrtf(squares), divisor = length > step->epsilon ? length : step->epsilon;
        for (int i = 0; i < step->n; i++) out[i] = in[i] / divisor;
    }
}

#endif

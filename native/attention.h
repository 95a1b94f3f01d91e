/* Attention, a head of a text at a time: a few queries by all keys that they see, the softmax, and that by the values,
 * so that no more scores lie in memory than those of a tile's rows. */
#ifndef BERTC_ATTENTION_H
#define BERTC_ATTENTION_H

#include "softmax.h"

static const int32_t ZEROS[BERTC_PANEL]; /* what a product without zero point starts from */

/* The raw sums times one factor: a step whose columns begin at the head's first. */
static void finish_context(const struct head *h, int row, int rows, int column, int columns, const void *product,
                           int64_t stride, int source) {
    struct bertc_step step = *h->step;
    float scale[BERTC_PANEL];
    for (int i = 0; i < BERTC_PANEL; i++) scale[i] = h->step->context_scale;
    const int begin = h->number * h->size + column;
    step.scale = scale;
    step.requant = step.bias = NULL;
    step.residual = -1;
    step.activation = BERTC_NONE;
    step.inverse = h->step->inverse ? h->step->inverse + begin : NULL;
    step.out_column = h->step->out_column + begin;
    const struct block block = {&step, h->frame, row, rows, 0, columns, product, stride};
    finish_block(&block, source);
}

static NOINLINE void attend_codes(const struct head *h) {
    const struct bertc_step *step = h->step;
    const int64_t ld = width_of(h->frame, step->in[0]);
    pack_keys(h);
    pack_values(h);
    if (step->distance_query) multiply_distances(h, 1, 0, h->keys, h->of_keys);
    for (int r = 0; r < h->queries; r += TILE_ROWS) {
        const int rows = least(TILE_ROWS, h->queries - r);
        const uint8_t *query = codes(h->frame, step->in[0], h->query + r, step->in_column[0] + h->number * h->size);
        struct keys seen = keys_of(h, r, r + rows);
        seen.first = seen.first / BERTC_PANEL * BERTC_PANEL;
        for (int j = seen.first; j < seen.last; j += BERTC_PANEL)
            tile(rows, up(least(BERTC_PANEL, seen.last - j), LANES) / LANES, query, ld,
                 h->key_panels + (int64_t)j * h->depth, h->depth, h->compensation + j, (int32_t *)h->scores + j, h->width);
        if (step->distance_key) multiply_distances(h, 0, r, rows, h->of_queries);
        for (int i = 0; i < rows; i++)
            softmax_codes(h, r + i, bias_of(h, r + i, h->of_queries + (int64_t)i * h->distances),
                          (int32_t *)h->scores + (int64_t)i * h->width, h->probs + (int64_t)i * h->width, seen);
        for (int column = 0; column < h->size; column += BERTC_PANEL) {
            const int columns = least(BERTC_PANEL, h->size - column);
            const int8_t *values = h->value_panels + (int64_t)column * h->width + (int64_t)seen.first * BERTC_PANEL;
            tile(rows, up(columns, LANES) / LANES, h->probs + seen.first, h->width, values,
                 up(seen.last, DEPTH) - seen.first, ZEROS, h->product, BERTC_PANEL);
            finish_context(h, h->query + r, rows, column, columns, h->product, BERTC_PANEL, INTEGERS);
        }
    }
}

/* Numbers of one of query, key and value: floats, or codes without their zero point. */
INLINE vf operand(const struct head *h, int which, int64_t row, int column, int count) {
    const struct bertc_step *step = h->step;
    const int at = step->in_column[which] + h->number * h->size + column;
    if (!is_codes(h->frame, step->in[which])) return vf_load_part(floats(h->frame, step->in[which], row, at), count);
    uint8_t some[LANES];
    memset(some, step->in_zero, sizeof some);
    memcpy(some, codes(h->frame, step->in[which], row, at), (size_t)count);
    return vf_sub(vf_load_u8(some), vf_set1((float)step->in_zero));
}

/* Where something of it is in float. Scores and probabilities may still be rounded to codes. */
static void attend_floats(const struct head *h) {
    const struct bertc_step *step = h->step;
    float *score = (float *)h->scores, *sum = (float *)h->product;
    if (step->distance_query) multiply_distances(h, 1, 0, h->keys, h->of_keys);
    for (int r = 0; r < h->queries; r++) {
        const struct keys seen = keys_of(h, r, r + 1);
        const int begin = seen.first / LANES * LANES, padded = up(seen.last, LANES);
        if (step->distance_key) multiply_distances(h, 0, r, 1, h->of_queries);
        const float *bias = bias_of(h, r, h->of_queries);
        float most = -INFINITY;
        for (int j = seen.first; j < seen.last; j++) {
            vf products = vf_set1(0.0f);
            for (int i = 0; i < h->size; i += LANES) {
                const int count = least(LANES, h->size - i);
                products = vf_fma(operand(h, 0, h->query + r, i, count), operand(h, 1, h->key + j, i, count), products);
            }
            float x = vf_lane_sum(products);
            if (step->scores_requant != 0.0f) x = fmaxf(fminf(rintf(x * step->scores_requant), 127.0f), -128.0f);
            score[j] = x * step->scaling * LOG2E;
            if (bias) score[j] += bias[j] * LOG2E;
            most = score[j] > most ? score[j] : most;
        }
        for (int j = begin; j < seen.first; j++) score[j] = HIDDEN;
        for (int j = seen.last; j < padded; j++) score[j] = HIDDEN;
        vf total = vf_set1(0.0f);
        for (int j = begin; j < padded; j += LANES) {
            const vf e = vf_exp2(vf_max(vf_sub(vf_load(score + j), vf_set1(most)), vf_set1(-126.0f)));
            vf_store(score + j, e);
            total = vf_add(total, e);
        }
        const float inverse = 1.0f / vf_lane_sum(total);
        for (int i = 0; i < h->across; i++) sum[i] = 0.0f;
        for (int j = seen.first; j < seen.last; j++) {
            float p = score[j] * inverse;
            if (step->flag) p = fminf(rintf(p * step->probs_inverse), (float)step->probs_high);
            for (int i = 0; i < h->size; i += LANES) {
                const vf value = operand(h, 2, h->key + j, i, least(LANES, h->size - i));
                vf_store(sum + i, vf_fma(vf_set1(p), value, vf_load(sum + i)));
            }
        }
        for (int column = 0; column < h->size; column += BERTC_PANEL)
            finish_context(h, h->query + r, 1, column, least(BERTC_PANEL, h->size - column), sum + column, 0, FLOATS);
    }
}

static NOINLINE void attention(const struct bertc_step *step, const struct frame *frame, int piece, int pieces,
                      struct scratch *own) {
    int first, last;
    share(frame->texts * step->heads, piece, pieces, &first, &last);
    const int size = step->n / step->heads;
    for (int unit = first; unit < last; unit++) {
        const int text = unit / step->heads, length = frame->start[text + 1] - frame->start[text];
        const int each = step->rows == BERTC_TOKENS;
        const int shown = frame->seen[text];
        /* What a text's first token sees. */
        const int keys = each || step->last || !step->near ? shown : least(shown, step->near);
        struct head head = {.step = step, .frame = frame, .number = unit % step->heads, .size = size,
                            .query = each ? frame->start[text] : text, .queries = each ? length : 1,
                            .place = each ? 0 : place_of_text(step, frame, text),
                            .key = frame->start[text], .keys = keys, .depth = up(size, DEPTH),
                            .width = up(keys, BERTC_PANEL), .across = up(size, BERTC_PANEL)};
        if (step->distances) { /* rows never grow from key to key: the last key of the first query has the first */
            const int32_t *row = step->distance_row + step->positions - 1 - head.place;
            head.distance = row[keys - 1] / BERTC_PANEL * BERTC_PANEL;
            head.distances = up(row[1 - head.queries] + 1, BERTC_PANEL) - head.distance;
        }
        head_memory(&head, own->memory);
        if (is_codes(frame, step->in[0]) && step->flag)
            attend_codes(&head);
        else
            attend_floats(&head);
    }
}

#endif

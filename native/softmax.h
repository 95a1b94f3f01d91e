/* The softmax of a query's scores, to codes. What it divides by is part of the factor that makes codes, so that
 * probabilities are never written as floats. */
#ifndef BERTC_SOFTMAX_H
#define BERTC_SOFTMAX_H

#include "attention_head.h"

#define HIDDEN -1e30f /* the score of what is no key */
#define NEVER (-(1 << 30)) /* the score of a key that is not there */

/* Powers of the scores of a row of raw products with a bias, the largest 1; those before `first` and from `count` on are
 * no keys. Returns the sums of each lane. */
static NOINLINE vf biased_powers(const struct head *h, int32_t *score, const float *bias, int first, int count) {
    const struct bertc_step *step = h->step;
    const int padded = up(count, LANES);
    const vf factor = vf_set1(step->scaling * LOG2E), power_of = vf_set1(LOG2E);
    const vf requant = vf_set1(step->scores_requant), low = vf_set1(-128.0f), high = vf_set1(127.0f);
    float *power = (float *)score;
    for (int i = 0; i < padded; i += LANES) {
        vf x = vf_of_vi(vi_load(score + i));
        if (step->scores_requant != 0.0f) x = vf_max(vf_min(vf_round(vf_mul(x, requant)), high), low);
        vf_store(power + i, vf_fma(x, factor, vf_mul(vf_load(bias + i), power_of)));
    }
    for (int i = 0; i < first; i++) power[i] = HIDDEN;
    for (int i = count; i < padded; i++) power[i] = HIDDEN;
    vf most = vf_load(power);
    for (int i = LANES; i < padded; i += LANES) most = vf_max(most, vf_load(power + i));
    const vf highest = vf_set1(vf_lane_max(most));
    vf total = vf_set1(0.0f);
    for (int i = 0; i < padded; i += LANES) {
        const vf e = vf_exp2(vf_max(vf_sub(vf_load(power + i), highest), vf_set1(-126.0f)));
        vf_store(power + i, e);
        total = vf_add(total, e);
    }
    return total;
}

/* The same without a bias: the largest raw product has the largest score. */
static NOINLINE vf powers(const struct head *h, int32_t *score, int first, int count) {
    const struct bertc_step *step = h->step;
    const int padded = up(count, LANES);
    for (int i = 0; i < first; i++) score[i] = NEVER;
    for (int i = count; i < padded; i++) score[i] = NEVER;
    vi most = vi_set1(NEVER);
    for (int i = 0; i < padded; i += LANES) most = vi_max(most, vi_load(score + i));
    const int32_t top = vi_lane_max(most);
    const float factor = step->scaling * LOG2E;
    float *power = (float *)score;
    vf total = vf_set1(0.0f);
    if (step->scores_requant != 0.0f) {
        const vf requant = vf_set1(step->scores_requant), low = vf_set1(-128.0f), high = vf_set1(127.0f);
        const vf highest = vf_max(vf_min(vf_round(vf_mul(vf_of_vi(vi_set1(top)), requant)), high), low);
        for (int i = 0; i < padded; i += LANES) {
            vf x = vf_max(vf_min(vf_round(vf_mul(vf_of_vi(vi_load(score + i)), requant)), high), low);
            x = vf_exp2(vf_max(vf_mul(vf_sub(x, highest), vf_set1(factor)), vf_set1(-126.0f)));
            vf_store(power + i, x);
            if (i < first || i + LANES > count) { /* a clipped score is no small one */
                for (int k = i; k < first; k++) power[k] = 0.0f;
                x = vf_load_part(power + i, least(LANES, count - i));
            }
            total = vf_add(total, x);
        }
    } else {
        const vf scale = vf_set1(factor), start = vf_set1(-factor * (float)top);
        for (int i = 0; i < padded; i += LANES) {
            const vf x = vf_fma(vf_of_vi(vi_load(score + i)), scale, start);
            const vf e = vf_exp2(vf_max(x, vf_set1(-126.0f)));
            vf_store(power + i, e);
            total = vf_add(total, e);
        }
    }
    return total;
}

/* The codes of the softmax of a row of raw products, 0 for what else of `all` the query does not see. */
static NOINLINE void softmax_codes(const struct head *h, int query, const float *bias, int32_t *scores, uint8_t *probs,
                                   struct keys all) {
    const struct bertc_step *step = h->step;
    const struct keys own = keys_of(h, query, query + 1);
    const int begin = own.first / LANES * LANES, first = own.first - begin, count = own.last - begin;
    const int padded = up(count, LANES);
    int32_t *score = scores + begin;
    uint8_t *code = probs + begin;
    const float *power = (const float *)score;
    const vf total = bias ? biased_powers(h, score, bias + begin, first, count) : powers(h, score, first, count);
    const vf inverse = vf_set1(step->probs_inverse / vf_lane_sum(total)), high = vf_set1((float)step->probs_high);
    if (step->probs_high == 255) /* where codes saturate anyway */
        for (int i = 0; i < padded; i += LANES) store_u8_positive(code + i, vi_round(vf_mul(vf_load(power + i), inverse)));
    else
        for (int i = 0; i < padded; i += LANES)
            store_u8_positive(code + i, vi_round(vf_min(vf_mul(vf_load(power + i), inverse), high)));
    for (int i = all.first; i < own.first; i++) probs[i] = 0;
    for (int i = own.last; i < up(all.last, BERTC_PANEL); i++) probs[i] = 0;
}

#endif

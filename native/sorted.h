/* The product of codes where the CPU multiplies bytes (vpmaddubsw) but has no VNNI: half of the instructions of a product
 * of 16-bit numbers, and as exact.
 *
 * The instruction adds two neighbouring products of u8 and s8 in 16 bits, which saturate. They cannot where the positive
 * ones of two neighbouring weights of a column add up to 128 at most, and the negative ones to -128 (255 * 128 < 2^15): of
 * trained weights most pairs. So the steps of four of k are sorted, for eight columns at a time, once for each engine: the
 * safe ones first. The others multiply |a - 128| by the weights with the sign of a - 128, of which two add up to 2 * 128 *
 * 127 at most, and start from 128 times their weights' sum.
 */
#ifndef BERTC_SORTED_H
#define BERTC_SORTED_H

#include "tile.h"

#if defined(__AVX2__) && !defined(__AVXVNNI__) && !defined(__AVX512F__)
#define SORTED 1

#define EIGHT_BYTES (GROUP_BYTES / 2) /* eight columns of 4 bytes */
#define EIGHTS (BERTC_PANEL / 8)
#define MOST_PAIR 128

/* Of eight columns of a panel. */
struct sorted {
    int32_t start[8]; /* 128 times the sum of the weights of the steps that are not safe */
    int32_t safe;     /* how many are */
    uint16_t step[];  /* [k / 4]: all numbers below that, the safe ones first */
};

static size_t sorted_stride(int depth) {
    return (sizeof(struct sorted) + (size_t)depth / 4 * sizeof(uint16_t) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

/* What a step's product needs; 0: nothing, it is none of codes, or has more steps than a number holds. */
static size_t sorted_bytes(const struct bertc_step *step) {
    const int depth = (step->k + BERTC_PANEL - 1) / BERTC_PANEL * BERTC_PANEL;
    if (step->op != BERTC_GEMM_INT8 || depth / 4 > UINT16_MAX) return 0;
    return (size_t)((step->n + BERTC_PANEL - 1) / BERTC_PANEL) * EIGHTS * sorted_stride(depth);
}

INLINE int is_safe(__m256i weights) {
    const __m256i ones = _mm256_set1_epi8(1), none = _mm256_setzero_si256();
    const __m256i above = _mm256_maddubs_epi16(ones, _mm256_max_epi8(weights, none));
    const __m256i below = _mm256_maddubs_epi16(ones, _mm256_min_epi8(weights, none));
    const __m256i wrong = _mm256_or_si256(_mm256_cmpgt_epi16(above, _mm256_set1_epi16(MOST_PAIR)),
                                          _mm256_cmpgt_epi16(_mm256_set1_epi16(-MOST_PAIR), below));
    return _mm256_testz_si256(wrong, wrong);
}

/* 0: a weight is -128, whose sign cannot be changed; bertc writes none. */
static int sort(const struct bertc_step *step, uint8_t *memory) {
    const int depth = (step->k + BERTC_PANEL - 1) / BERTC_PANEL * BERTC_PANEL;
    const __m256i least = _mm256_set1_epi8(-128);
    const int8_t *panel = step->weights;
    for (int column = 0; column < step->n; column += BERTC_PANEL, panel += (int64_t)depth * BERTC_PANEL)
        for (int eight = 0; eight < EIGHTS; eight++, memory += sorted_stride(depth)) {
            struct sorted *found = (struct sorted *)memory;
            const int8_t *weights = panel + eight * EIGHT_BYTES;
            __m256i start = _mm256_setzero_si256();
            int last = depth / 4;
            found->safe = 0;
            for (int i = 0; i < depth / 4; i++, weights += STEP_BYTES) {
                const __m256i w = _mm256_loadu_si256((const __m256i *)weights);
                if (_mm256_movemask_epi8(_mm256_cmpeq_epi8(w, least))) return 0;
                if (is_safe(w)) {
                    found->step[found->safe++] = (uint16_t)i;
                } else {
                    found->step[--last] = (uint16_t)i;
                    const __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), w);
                    start = _mm256_add_epi32(start, _mm256_madd_epi16(pairs, _mm256_set1_epi16(128)));
                }
            }
            _mm256_storeu_si256((__m256i *)found->start, start);
        }
    return 1;
}

INLINE __m256i with_fours(__m256i sum, __m256i codes, __m256i weights) {
    return _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(codes, weights), _mm256_set1_epi16(1)));
}

INLINE __m256i four_codes(const uint8_t *a) {
    int32_t four;
    memcpy(&four, a, sizeof four);
    __m256i codes = _mm256_set1_epi32(four);
    __asm__("" : "+x"(codes)); /* else clang does what follows to the four codes, and has to bring them here afterwards */
    return codes;
}

/* Ten rows of eight columns: 10 accumulators, weights, codes, the ones and what is between are 14 of 16 registers. */
INLINE void sorted_rows(const int rows, const uint8_t *a, int64_t lda, const int8_t *b, const struct sorted *sorted,
                        int steps, const int8_t *ahead, const int32_t *init, int32_t *c) {
    __m256i sum[10];
    const __m256i start = _mm256_add_epi32(_mm256_loadu_si256((const __m256i *)init),
                                           _mm256_loadu_si256((const __m256i *)sorted->start));
    _Pragma("GCC unroll 10") for (int r = 0; r < rows; r++) sum[r] = start;
    int i = 0;
    for (; i < sorted->safe; i++) {
        const int64_t step = sorted->step[i];
        _mm_prefetch((const char *)(ahead + step * STEP_BYTES), _MM_HINT_T0);
        const __m256i weights = _mm256_loadu_si256((const __m256i *)(b + step * STEP_BYTES));
        _Pragma("GCC unroll 10") for (int r = 0; r < rows; r++)
            sum[r] = with_fours(sum[r], four_codes(a + r * lda + 4 * step), weights);
    }
    for (; i < steps; i++) {
        const int64_t step = sorted->step[i];
        _mm_prefetch((const char *)(ahead + step * STEP_BYTES), _MM_HINT_T0);
        const __m256i weights = _mm256_loadu_si256((const __m256i *)(b + step * STEP_BYTES));
        _Pragma("GCC unroll 10") for (int r = 0; r < rows; r++) {
            const __m256i codes = _mm256_xor_si256(four_codes(a + r * lda + 4 * step), _mm256_set1_epi8(-128));
            sum[r] = with_fours(sum[r], _mm256_abs_epi8(codes), _mm256_sign_epi8(weights, codes));
        }
    }
    _Pragma("GCC unroll 10") for (int r = 0; r < rows; r++)
        _mm256_storeu_si256((__m256i *)(c + r * BERTC_PANEL), sum[r]);
}

#define SORTED_ROWS(ROWS) \
    case ROWS: \
        sorted_rows(ROWS, a + r * lda, lda, b, sorted, k / 4, ahead, init, c + r * BERTC_PANEL); \
        break;

/* As tile() for a whole panel; c has rows of BERTC_PANEL numbers. Rows go in parts of one size, which is even. */
static void sorted_tile(int rows, const uint8_t *a, int64_t lda, const int8_t *b, const uint8_t *memory, int k,
                        const int32_t *init, int32_t *c) {
    const int parts = (rows + 9) / 10, size = ((rows + parts - 1) / parts + 1) / 2 * 2;
    for (int eight = 0; eight < EIGHTS; eight++, memory += sorted_stride(k), b += EIGHT_BYTES, init += 8, c += 8) {
        const struct sorted *sorted = (const struct sorted *)memory;
        const int8_t *ahead = b + (int64_t)k * BERTC_PANEL; /* the next panel's, of which a line holds two eights */
        for (int r = 0; r < rows; r += size) {
            switch (size) {
                SORTED_ROWS(2)
                SORTED_ROWS(4)
                SORTED_ROWS(6)
                SORTED_ROWS(8)
                SORTED_ROWS(10)
            }
        }
    }
}

#else
#define SORTED 0
#endif

#endif

/* The product of codes with weights that are 2:4: of each four of k a column has at most two that are not 0.
 *
 * A panel of 64 columns is, for each 8 of k, int8 values [64][4]: two of the first four of k and two of the second four;
 * and behind all of those, for each 8 of k, 64 bytes with their places. Bits 2g and 2g + 1 of byte i say which of its
 * four the value i of the columns [16 g, 16 g + 16) is. That is 5 bytes for 8 of dense weights. Places are unpacked to
 * a byte each once per panel; a byte shuffle then picks, column by column, the four of eight activations that meet a
 * weight. Any place is one of the eight, whatever a plan says.
 */
#ifndef BERTC_SPARSE_H
#define BERTC_SPARSE_H

#include "tile.h"

#define SPARSE_PANEL_BYTES(depth) ((int64_t)(depth) / 8 * 5 * BERTC_PANEL)
#define PLACES_BYTES(depth) ((int64_t)(depth) / 8 * STEP_BYTES) /* unpacked, for a panel */

#if defined(__AMX_INT8__)
#define SPARSE 0 /* tiles multiply dense weights several times as fast as vectors multiply sparse ones */

#elif defined(__AVX512VNNI__) && defined(__AVX512F__)
#define SPARSE 1

/* 5 x 4 accumulators, with 4 registers of values and 4 of places, leave 4 of 32. */

#define DEFINE_SPARSE_TILE(ROWS) \
    INLINE void sparse_tile_##ROWS(const uint8_t *a, int64_t lda, const int8_t *values, const uint8_t *places, int k, \
                                   const int32_t *init, int32_t *c, int64_t ldc) { \
        __m512i sum[ROWS][4]; \
        _Pragma("GCC unroll 8") for (int r = 0; r < ROWS; r++) \
            _Pragma("GCC unroll 4") for (int g = 0; g < 4; g++) \
                sum[r][g] = _mm512_loadu_si512(init + 16 * g); \
        for (int step = 0; step < k; step += 8, values += STEP_BYTES, places += STEP_BYTES) { \
            __m512i weights[4], place[4]; \
            _Pragma("GCC unroll 4") for (int g = 0; g < 4; g++) { \
                weights[g] = _mm512_loadu_si512(values + GROUP_BYTES * g); \
                place[g] = _mm512_loadu_si512(places + GROUP_BYTES * g); \
            } \
            _Pragma("GCC unroll 8") for (int r = 0; r < ROWS; r++) { \
                int64_t eight; \
                memcpy(&eight, a + r * lda + step, sizeof eight); \
                const __m512i row = _mm512_set1_epi64(eight); \
                _Pragma("GCC unroll 4") for (int g = 0; g < 4; g++) \
                    sum[r][g] = _mm512_dpbusd_epi32(sum[r][g], _mm512_shuffle_epi8(row, place[g]), weights[g]); \
            } \
        } \
        _Pragma("GCC unroll 8") for (int r = 0; r < ROWS; r++) \
            _Pragma("GCC unroll 4") for (int g = 0; g < 4; g++) \
                _mm512_storeu_si512(c + r * ldc + 16 * g, sum[r][g]); \
    }
DEFINE_SPARSE_TILE(5)
DEFINE_SPARSE_TILE(3)
DEFINE_SPARSE_TILE(2)
DEFINE_SPARSE_TILE(1)

#define SPARSE_ROWS_OF(ROWS) \
    for (; rows - r >= ROWS; r += ROWS) \
        sparse_tile_##ROWS(a + r * lda, lda, values, places, k, init, c + r * BERTC_PANEL, BERTC_PANEL);

static void sparse_tile(int rows, const uint8_t *a, int64_t lda, const int8_t *values, const uint8_t *places, int k,
                        const int32_t *init, int32_t *c) {
    int r = 0;
    SPARSE_ROWS_OF(5)
    SPARSE_ROWS_OF(3)
    SPARSE_ROWS_OF(2)
    SPARSE_ROWS_OF(1)
}

#elif defined(__AVXVNNI__)
#define SPARSE 1

/* Four rows of sixteen columns: 8 accumulators, 2 registers of values and 2 of places leave 4 of 16. */
INLINE void sparse_rows(const int rows, const uint8_t *a, int64_t lda, const int8_t *values, const uint8_t *places,
                        int k, const int32_t *init, int32_t *c) {
    __m256i sum[4][2];
    for (int r = 0; r < rows; r++)
        for (int h = 0; h < 2; h++) sum[r][h] = _mm256_loadu_si256((const __m256i *)(init + 8 * h));
    for (int step = 0; step < k; step += 8, values += STEP_BYTES, places += STEP_BYTES) {
        __m256i weights[2], place[2];
        for (int h = 0; h < 2; h++) {
            weights[h] = _mm256_loadu_si256((const __m256i *)(values + 32 * h));
            place[h] = _mm256_loadu_si256((const __m256i *)(places + 32 * h));
        }
        for (int r = 0; r < rows; r++) {
            int64_t eight;
            memcpy(&eight, a + r * lda + step, sizeof eight);
            const __m256i row = _mm256_set1_epi64x(eight);
            for (int h = 0; h < 2; h++)
                sum[r][h] = _mm256_dpbusd_avx_epi32(sum[r][h], _mm256_shuffle_epi8(row, place[h]), weights[h]);
        }
    }
    for (int r = 0; r < rows; r++)
        for (int h = 0; h < 2; h++) _mm256_storeu_si256((__m256i *)(c + r * BERTC_PANEL + 8 * h), sum[r][h]);
}

static void sparse_tile(int rows, const uint8_t *a, int64_t lda, const int8_t *values, const uint8_t *places, int k,
                        const int32_t *init, int32_t *c) {
    for (int g = 0; g < 4; g++, values += GROUP_BYTES, places += GROUP_BYTES, init += 16, c += 16) {
        int r = 0;
        for (; rows - r >= 4; r += 4) sparse_rows(4, a + r * lda, lda, values, places, k, init, c + r * BERTC_PANEL);
        for (; rows - r >= 2; r += 2) sparse_rows(2, a + r * lda, lda, values, places, k, init, c + r * BERTC_PANEL);
        for (; rows > r; r++) sparse_rows(1, a + r * lda, lda, values, places, k, init, c + r * BERTC_PANEL);
    }
}

#elif defined(__AVX2__) || defined(__ARM_FEATURE_DOTPROD)
#define SPARSE 0 /* a shuffle takes the place of the product that it saves */

#else
#define SPARSE 1

static void sparse_tile(int rows, const uint8_t *a, int64_t lda, const int8_t *values, const uint8_t *places, int k,
                        const int32_t *init, int32_t *c) {
    for (int r = 0; r < rows; r++) {
        int32_t *row = c + r * BERTC_PANEL;
        memcpy(row, init, BERTC_PANEL * sizeof *row);
        for (int step = 0; step < k / 8; step++) {
            const uint8_t *eight = a + r * lda + 8 * step;
            for (int i = 0; i < STEP_BYTES; i++)
                row[i / 4] += (int32_t)eight[places[step * STEP_BYTES + i]] * values[step * STEP_BYTES + i];
        }
    }
}
#endif

#if SPARSE
#define SPARSE_ROWS 30 /* whose sums stay in the first cache until they are finished */

/* A byte for each value: which of eight activations it meets. */
static NOINLINE void unpack_places(const uint8_t *packed, int depth, uint8_t *places) {
    for (int step = 0; step < depth / 8; step++, packed += GROUP_BYTES)
        for (int g = 0; g < 4; g++, places += GROUP_BYTES)
            for (int i = 0; i < GROUP_BYTES; i++) places[i] = (uint8_t)((packed[i] >> 2 * g & 3) | (i & 2) << 1);
}
#endif

#endif

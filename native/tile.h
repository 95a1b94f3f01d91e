/* The product of codes: c[r][n] = init[n] + sum over k of a[r][k] * b[k][n], in exact integers.
 *
 * a: uint8, rows lda bytes apart; b: int8, a panel [k/4][64][4] of which the first `groups` times 16 columns are used;
 * k is a multiple of 64; c: int32, rows ldc numbers apart. At most MOST_ROWS rows; as many may be read from a and written
 * to c, whatever `rows` is.
 */
#ifndef BERTC_TILE_H
#define BERTC_TILE_H

#include "internal.h"
#include "vec.h"

#define GROUP_BYTES 64            /* 16 columns of 4 bytes */
#define STEP_BYTES (4 * GROUP_BYTES) /* a panel's four rows of k */

#if defined(__AVX512VNNI__) && defined(__AVX512F__)

/* ROWS x GROUPS accumulators stay in registers: 6 x 4 of them, 4 of weights and one of activations are 29 of 32. */
#define DEFINE_TILE(ROWS, GROUPS) \
    INLINE void tile_##ROWS##_##GROUPS(const uint8_t *a, int64_t lda, const int8_t *b, int k, const int32_t *init, \
                                       int32_t *c, int64_t ldc) { \
        __m512i sum[ROWS][GROUPS]; \
        _Pragma("GCC unroll 8") for (int r = 0; r < ROWS; r++) \
            _Pragma("GCC unroll 4") for (int g = 0; g < GROUPS; g++) \
                sum[r][g] = _mm512_loadu_si512(init + 16 * g); \
        for (int step = 0; step < k; step += 4, b += STEP_BYTES) { \
            __m512i weights[GROUPS]; \
            _Pragma("GCC unroll 4") for (int g = 0; g < GROUPS; g++) \
                weights[g] = _mm512_loadu_si512(b + GROUP_BYTES * g); \
            _Pragma("GCC unroll 8") for (int r = 0; r < ROWS; r++) { \
                int32_t four; \
                memcpy(&four, a + r * lda + step, sizeof four); \
                const __m512i row = _mm512_set1_epi32(four); \
                _Pragma("GCC unroll 4") for (int g = 0; g < GROUPS; g++) \
                    sum[r][g] = _mm512_dpbusd_epi32(sum[r][g], row, weights[g]); \
            } \
        } \
        _Pragma("GCC unroll 8") for (int r = 0; r < ROWS; r++) \
            _Pragma("GCC unroll 4") for (int g = 0; g < GROUPS; g++) \
                _mm512_storeu_si512(c + r * ldc + 16 * g, sum[r][g]); \
    }
DEFINE_TILE(1, 4)
DEFINE_TILE(2, 4)
DEFINE_TILE(4, 4)
DEFINE_TILE(6, 4)
DEFINE_TILE(1, 2)
DEFINE_TILE(2, 2)
DEFINE_TILE(4, 2)
DEFINE_TILE(8, 2)

#define ROWS_OF(ROWS, GROUPS) \
    for (; rows - r >= ROWS; r += ROWS) tile_##ROWS##_##GROUPS(a + r * lda, lda, b, k, init, c + r * ldc, ldc);

static void tile_vnni(int rows, int groups, const uint8_t *a, int64_t lda, const int8_t *b, int k, const int32_t *init,
                      int32_t *c, int64_t ldc) {
    int r = 0;
    if (groups > 2) {
        ROWS_OF(6, 4)
        ROWS_OF(4, 4)
        ROWS_OF(2, 4)
        ROWS_OF(1, 4)
    } else {
        ROWS_OF(8, 2)
        ROWS_OF(4, 2)
        ROWS_OF(2, 2)
        ROWS_OF(1, 2)
    }
}
#endif

#if defined(__AMX_INT8__)

#define FEW_ROWS 4 /* below, vectors are faster than tiles of which most rows are wasted */

/* One row of sixteen numbers into each of a tile's rows: a stride of 0. */
static void tile(int rows, int groups, const uint8_t *a, int64_t lda, const int8_t *b, int k, const int32_t *init,
                 int32_t *c, int64_t ldc) {
    if (rows <= FEW_ROWS) {
        tile_vnni(rows, groups, a, lda, b, k, init, c, ldc);
        return;
    }
    if (rows <= 16) {
        for (int g = 0; g < groups; g += 2, b += 2 * GROUP_BYTES, init += 32, c += 32) {
            _tile_loadd(0, init, 0);
            _tile_loadd(1, init + 16, 0);
            for (int step = 0; step < k; step += 64) {
                _tile_loadd(4, a + step, lda);
                _tile_loadd(6, b + (int64_t)step * 64, STEP_BYTES);
                _tile_loadd(7, b + (int64_t)step * 64 + GROUP_BYTES, STEP_BYTES);
                _tile_dpbusd(0, 4, 6);
                _tile_dpbusd(1, 4, 7);
            }
            _tile_stored(0, c, ldc * 4);
            _tile_stored(1, c + 16, ldc * 4);
        }
        return;
    }
    const uint8_t *below = a + 16 * lda;
    for (int g = 0; g < groups; g += 2, b += 2 * GROUP_BYTES, init += 32, c += 32) {
        _tile_loadd(0, init, 0);
        _tile_loadd(1, init + 16, 0);
        _tile_loadd(2, init, 0);
        _tile_loadd(3, init + 16, 0);
        for (int step = 0; step < k; step += 64) {
            _tile_loadd(4, a + step, lda);
            _tile_loadd(6, b + (int64_t)step * 64, STEP_BYTES);
            _tile_loadd(7, b + (int64_t)step * 64 + GROUP_BYTES, STEP_BYTES);
            _tile_loadd(5, below + step, lda);
            _tile_dpbusd(0, 4, 6);
            _tile_dpbusd(1, 4, 7);
            _tile_dpbusd(2, 5, 6);
            _tile_dpbusd(3, 5, 7);
        }
        _tile_stored(0, c, ldc * 4);
        _tile_stored(1, c + 16, ldc * 4);
        _tile_stored(2, c + 16 * ldc, ldc * 4);
        _tile_stored(3, c + 16 * ldc + 16, ldc * 4);
    }
}
#define TILE_ROWS 32

#elif defined(__AVX512VNNI__) && defined(__AVX512F__)

#define tile tile_vnni
#define TILE_ROWS 30 /* five times six */

#elif defined(__AVXVNNI__)
#include <immintrin.h>

/* Six rows of sixteen columns: 12 accumulators, 2 registers of weights and one of activations are 15 of 16. */
INLINE void tile_rows(const int rows, const uint8_t *a, int64_t lda, const int8_t *b, int k, const int32_t *init,
                      int32_t *c, int64_t ldc) {
    __m256i sum[6][2];
    _Pragma("GCC unroll 6") for (int r = 0; r < rows; r++)
        for (int h = 0; h < 2; h++) sum[r][h] = _mm256_loadu_si256((const __m256i *)(init + 8 * h));
    for (int step = 0; step < k; step += 4, b += STEP_BYTES) {
        const __m256i low = _mm256_loadu_si256((const __m256i *)b);
        const __m256i high = _mm256_loadu_si256((const __m256i *)(b + 32));
        _Pragma("GCC unroll 6") for (int r = 0; r < rows; r++) {
            int32_t four;
            memcpy(&four, a + r * lda + step, sizeof four);
            const __m256i row = _mm256_set1_epi32(four);
            sum[r][0] = _mm256_dpbusd_avx_epi32(sum[r][0], row, low);
            sum[r][1] = _mm256_dpbusd_avx_epi32(sum[r][1], row, high);
        }
    }
    _Pragma("GCC unroll 6") for (int r = 0; r < rows; r++)
        for (int h = 0; h < 2; h++) _mm256_storeu_si256((__m256i *)(c + r * ldc + 8 * h), sum[r][h]);
}

#define ROWS_OF(ROWS) \
    for (; rows - r >= ROWS; r += ROWS) tile_rows(ROWS, a + r * lda, lda, b, k, init, c + r * ldc, ldc);

static void tile(int rows, int groups, const uint8_t *a, int64_t lda, const int8_t *b, int k, const int32_t *init,
                 int32_t *c, int64_t ldc) {
    for (int g = 0; g < groups; g++, b += GROUP_BYTES, init += 16, c += 16) {
        int r = 0;
        ROWS_OF(6)
        ROWS_OF(4)
        ROWS_OF(2)
        ROWS_OF(1)
    }
}
#define TILE_ROWS 30 /* five times six */

#elif defined(__AVX2__)
#include <immintrin.h>

/* Sixteen columns of two rows at a time. Products of 16-bit numbers, added in pairs: exact, where products of bytes
 * would saturate. */
static void tile(int rows, int groups, const uint8_t *a, int64_t lda, const int8_t *b, int k, const int32_t *init,
                 int32_t *c, int64_t ldc) {
    for (int g = 0; g < groups; g++, b += GROUP_BYTES, init += 16, c += 16) {
        for (int first = 0; first < rows; first += 2) {
            const int64_t second = first + 1 < rows ? lda : 0; /* an odd last row is computed twice */
            const uint8_t *row = a + first * lda;
            const int8_t *weights = b;
            __m256i sum[2][4];
            for (int r = 0; r < 2; r++)
                for (int h = 0; h < 4; h++) sum[r][h] = _mm256_setzero_si256();
            for (int step = 0; step < k; step += 4, weights += STEP_BYTES) {
                __m256i w[4];
                for (int h = 0; h < 4; h++)
                    w[h] = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(weights + 16 * h)));
                for (int r = 0; r < 2; r++) {
                    int32_t four;
                    memcpy(&four, row + r * second + step, sizeof four);
                    const __m256i x = _mm256_cvtepu8_epi16(_mm_set1_epi32(four));
                    for (int h = 0; h < 4; h++) sum[r][h] = _mm256_add_epi32(sum[r][h], _mm256_madd_epi16(x, w[h]));
                }
            }
            for (int r = 0; r < 2 && first + r < rows; r++)
                for (int h = 0; h < 2; h++) {
                    /* Two halves of four columns in two parts each: 0 1 4 5 2 3 6 7 after the sum of neighbours. */
                    __m256i pairs = _mm256_hadd_epi32(sum[r][2 * h], sum[r][2 * h + 1]);
                    pairs = _mm256_permute4x64_epi64(pairs, 0xD8);
                    const __m256i start = _mm256_loadu_si256((const __m256i *)(init + 8 * h));
                    _mm256_storeu_si256((__m256i *)(c + (first + r) * ldc + 8 * h), _mm256_add_epi32(pairs, start));
                }
        }
    }
}
#define TILE_ROWS 32

#elif defined(__ARM_FEATURE_DOTPROD)
#include <arm_neon.h>

static void tile(int rows, int groups, const uint8_t *a, int64_t lda, const int8_t *b, int k, const int32_t *init,
                 int32_t *c, int64_t ldc) {
    for (int g = 0; g < groups; g++, b += GROUP_BYTES, init += 16, c += 16) {
        for (int first = 0; first < rows; first += 4) {
            const int count = rows - first < 4 ? rows - first : 4;
            int32x4_t sum[4][4];
            for (int r = 0; r < 4; r++)
                for (int q = 0; q < 4; q++) sum[r][q] = vld1q_s32(init + 4 * q);
            const int8_t *weights = b;
            for (int step = 0; step < k; step += 4, weights += STEP_BYTES) {
                int8x16_t w[4];
                for (int q = 0; q < 4; q++) w[q] = vld1q_s8(weights + 16 * q);
#if !defined(__ARM_FEATURE_MATMUL_INT8)
                /* Signed times signed alone: a = (a - 128) + 128. */
                int32x4_t whole[4];
                for (int q = 0; q < 4; q++)
                    whole[q] = vshlq_n_s32(vdotq_s32(vdupq_n_s32(0), w[q], vdupq_n_s8(1)), 7);
#endif
                for (int r = 0; r < 4; r++) {
                    uint32_t four;
                    memcpy(&four, a + (first + (r < count ? r : 0)) * lda + step, sizeof four);
#if defined(__ARM_FEATURE_MATMUL_INT8)
                    const uint8x16_t x = vreinterpretq_u8_u32(vdupq_n_u32(four));
                    for (int q = 0; q < 4; q++) sum[r][q] = vusdotq_s32(sum[r][q], x, w[q]);
#else
                    const int8x16_t x = vreinterpretq_s8_u32(vdupq_n_u32(four ^ 0x80808080u));
                    for (int q = 0; q < 4; q++) sum[r][q] = vaddq_s32(vdotq_s32(sum[r][q], x, w[q]), whole[q]);
#endif
                }
            }
            for (int r = 0; r < count; r++)
                for (int q = 0; q < 4; q++) vst1q_s32(c + (first + r) * ldc + 4 * q, sum[r][q]);
        }
    }
}
#define TILE_ROWS 32

#else

static void tile(int rows, int groups, const uint8_t *a, int64_t lda, const int8_t *b, int k, const int32_t *init,
                 int32_t *c, int64_t ldc) {
    for (int r = 0; r < rows; r++) {
        int32_t *row = c + r * ldc;
        memcpy(row, init, (size_t)groups * 16 * sizeof *row);
        for (int step = 0; step < k; step++) {
            const int32_t x = a[r * lda + step];
            const int8_t *weights = b + (int64_t)(step / 4) * STEP_BYTES + step % 4;
            for (int n = 0; n < 16 * groups; n++) row[n] += x * weights[4 * n];
        }
    }
}
#define TILE_ROWS 32
#endif

#endif

/* The product of numbers in BF16: c[r][n] = sum over k of a[r][k] * b[k][n].
 *
 * BF16 is the upper half of a float32. Both operands are rounded to it, to even; what is subnormal as float32 becomes 0.
 * A product of two is exact in float32. Sums are float32, and in one order, AMX's: of each 32 of k the products with an
 * even k are added one after the other, so are those with an odd one, then the two sums to each other, and that to the
 * sum of those 32 before. So every instruction set gives the same bits; but AMX takes a sum that is subnormal for 0.
 *
 * a: rows of `depth` operands, rounded, `depth` a multiple of BF16_DEPTH; b: uint16, a panel [depth / 2][64][2];
 * c: float, rows of 64. At most MOST_ROWS rows; as many may be read from a and written to c, whatever `rows` is.
 */
#ifndef BERTC_BF16_H
#define BERTC_BF16_H

#include "tile.h"

#define BF16_DEPTH 32
#define PANEL_PAIRS (2 * BERTC_PANEL) /* numbers of a panel's two rows of k */

/* The bits of a float32 whose lower half is 0. */
INLINE uint32_t bf16_bits(uint32_t x) {
    const uint32_t magnitude = x & 0x7fffffff, sign = x & 0x80000000;
    const uint32_t rounded = x + 0x7fff + (x >> 16 & 1), number = magnitude > 0x7f800000 ? x | 0x400000 : rounded;
    return (magnitude < 0x800000 ? sign : number) & 0xffff0000;
}

#if defined(__AMX_BF16__)
#define BF16_FAST 1
typedef uint16_t bf16_operand;

INLINE bf16_operand bf16_operand_of(uint32_t x) { return (uint16_t)(bf16_bits(x) >> 16); }

static void bf16_tile(int rows, const bf16_operand *a, int depth, const uint16_t *b, float *c) {
    const bf16_operand *below = a + (int64_t)16 * depth;
    const int64_t lda = 2 * (int64_t)depth, ldc = BERTC_PANEL * sizeof *c;
    for (int g = 0; g < 4; g += 2, b += 64, c += 32) {
        const uint16_t *weights = b;
        _tile_zero(0);
        _tile_zero(1);
        if (rows <= 16) {
            for (int k = 0; k < depth; k += BF16_DEPTH, weights += BF16_DEPTH / 2 * PANEL_PAIRS) {
                _tile_loadd(4, a + k, lda);
                _tile_loadd(6, weights, STEP_BYTES);
                _tile_loadd(7, weights + 32, STEP_BYTES);
                _tile_dpbf16ps(0, 4, 6);
                _tile_dpbf16ps(1, 4, 7);
            }
        } else {
            _tile_zero(2);
            _tile_zero(3);
            for (int k = 0; k < depth; k += BF16_DEPTH, weights += BF16_DEPTH / 2 * PANEL_PAIRS) {
                _tile_loadd(4, a + k, lda);
                _tile_loadd(6, weights, STEP_BYTES);
                _tile_loadd(7, weights + 32, STEP_BYTES);
                _tile_loadd(5, below + k, lda);
                _tile_dpbf16ps(0, 4, 6);
                _tile_dpbf16ps(1, 4, 7);
                _tile_dpbf16ps(2, 5, 6);
                _tile_dpbf16ps(3, 5, 7);
            }
            _tile_stored(2, c + 16 * BERTC_PANEL, ldc);
            _tile_stored(3, c + 16 * BERTC_PANEL + 16, ldc);
        }
        _tile_stored(0, c, ldc);
        _tile_stored(1, c + 16, ldc);
    }
}

#else
#define BF16_FAST 0
typedef float bf16_operand;

INLINE bf16_operand bf16_operand_of(uint32_t x) {
    const uint32_t bits = bf16_bits(x);
    float number;
    memcpy(&number, &bits, sizeof number);
    return number;
}

/* Sixteen columns of two rows of k: those of the even one, and of the odd one. */
#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__AVX512DQ__)
INLINE vf even_of(const uint16_t *pairs) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_loadu_si512(pairs), 16));
}
INLINE vf odd_of(const uint16_t *pairs) {
    return _mm512_castsi512_ps(_mm512_and_si512(_mm512_loadu_si512(pairs), _mm512_set1_epi32(-0x10000)));
}
#define BF16_ROWS 6 /* 6 x 2 sums twice, 4 registers of weights and one of activations are 29 of 32 */
#define BF16_GROUPS 2
#else
INLINE vf even_of(const uint16_t *pairs) {
    uint32_t bits[LANES];
    vf r;
    memcpy(bits, pairs, sizeof bits);
    EACH bits[i] <<= 16;
    memcpy(&r, bits, sizeof r);
    return r;
}
INLINE vf odd_of(const uint16_t *pairs) {
    uint32_t bits[LANES];
    vf r;
    memcpy(bits, pairs, sizeof bits);
    EACH bits[i] &= 0xffff0000;
    memcpy(&r, bits, sizeof r);
    return r;
}
#define BF16_ROWS 2
#define BF16_GROUPS 1
#endif

INLINE void bf16_rows(const int rows, const bf16_operand *a, int depth, const uint16_t *b, float *c) {
    vf even[BF16_ROWS][BF16_GROUPS], odd[BF16_ROWS][BF16_GROUPS];
    for (int r = 0; r < rows; r++)
        for (int g = 0; g < BF16_GROUPS; g++) vf_store(c + r * BERTC_PANEL + g * LANES, vf_set1(0.0f));
    for (int block = 0; block < depth; block += BF16_DEPTH) {
        for (int r = 0; r < rows; r++)
            for (int g = 0; g < BF16_GROUPS; g++) even[r][g] = odd[r][g] = vf_set1(0.0f);
        for (int k = block; k < block + BF16_DEPTH; k += 2, b += PANEL_PAIRS) {
            vf first[BF16_GROUPS], second[BF16_GROUPS];
            for (int g = 0; g < BF16_GROUPS; g++) {
                first[g] = even_of(b + 2 * LANES * g);
                second[g] = odd_of(b + 2 * LANES * g);
            }
            for (int r = 0; r < rows; r++) {
                const vf one = vf_set1(a[(int64_t)r * depth + k]), other = vf_set1(a[(int64_t)r * depth + k + 1]);
                for (int g = 0; g < BF16_GROUPS; g++) {
                    even[r][g] = vf_fma(one, first[g], even[r][g]);
                    odd[r][g] = vf_fma(other, second[g], odd[r][g]);
                }
            }
        }
        for (int r = 0; r < rows; r++)
            for (int g = 0; g < BF16_GROUPS; g++) {
                float *sum = c + r * BERTC_PANEL + g * LANES;
                vf_store(sum, vf_add(vf_load(sum), vf_add(even[r][g], odd[r][g])));
            }
    }
}

#define BF16_ROWS_OF(ROWS) \
    for (; rows - r >= ROWS; r += ROWS) bf16_rows(ROWS, a + (int64_t)r * depth, depth, b, c + r * BERTC_PANEL);

static void bf16_tile(int rows, const bf16_operand *a, int depth, const uint16_t *b, float *c) {
    for (int g = 0; g < 4; g += BF16_GROUPS, b += 2 * LANES * BF16_GROUPS, c += LANES * BF16_GROUPS) {
        int r = 0;
#if BF16_ROWS >= 6
        BF16_ROWS_OF(6)
        BF16_ROWS_OF(4)
#endif
        BF16_ROWS_OF(2)
        BF16_ROWS_OF(1)
    }
}
#endif

/* Rows of k float32 to rows of `depth` operands, zeros behind the last. */
static void bf16_round(const float *in, int64_t ld, int rows, int k, int depth, bf16_operand *out) {
    for (int r = 0; r < rows; r++, in += ld, out += depth) {
        for (int i = 0; i < k; i++) {
            uint32_t bits;
            memcpy(&bits, in + i, sizeof bits);
            out[i] = bf16_operand_of(bits);
        }
        memset(out + k, 0, (size_t)(depth - k) * sizeof *out);
    }
}

#endif

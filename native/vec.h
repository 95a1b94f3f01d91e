/* Sixteen numbers at a time: AVX-512 and AVX2 by intrinsics, elsewhere loops of sixteen that the compiler turns into the
 * vectors that the CPU has. Sums add the same numbers in the same order everywhere. */
#ifndef BERTC_VEC_H
#define BERTC_VEC_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#define LANES 16
#define EACH for (int i = 0; i < LANES; i++)
#define INLINE static inline __attribute__((always_inline))
#define NOINLINE __attribute__((noinline)) /* a profile then tells kernels apart; a call costs nothing beside them */

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__AVX512DQ__)
#include <immintrin.h>

typedef __m512 vf;
typedef __m512i vi;

INLINE vf vf_set1(float x) { return _mm512_set1_ps(x); }
INLINE vi vi_set1(int32_t x) { return _mm512_set1_epi32(x); }
INLINE vf vf_load(const float *p) { return _mm512_loadu_ps(p); }
INLINE void vf_store(float *p, vf x) { _mm512_storeu_ps(p, x); }
INLINE vf vf_load_part(const float *p, int count) { return _mm512_maskz_loadu_ps((__mmask16)((1u << count) - 1), p); }
INLINE void vf_store_part(float *p, vf x, int count) { _mm512_mask_storeu_ps(p, (__mmask16)((1u << count) - 1), x); }
INLINE vi vi_load(const int32_t *p) { return _mm512_loadu_si512(p); }
INLINE void vi_store(int32_t *p, vi x) { _mm512_storeu_si512(p, x); }
INLINE vf vf_add(vf a, vf b) { return _mm512_add_ps(a, b); }
INLINE vf vf_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
INLINE vf vf_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
INLINE vf vf_div(vf a, vf b) { return _mm512_div_ps(a, b); }
INLINE vf vf_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
INLINE vf vf_min(vf a, vf b) { return _mm512_min_ps(a, b); }
INLINE vf vf_max(vf a, vf b) { return _mm512_max_ps(a, b); }
INLINE vi vi_add(vi a, vi b) { return _mm512_add_epi32(a, b); }
INLINE vi vi_sub(vi a, vi b) { return _mm512_sub_epi32(a, b); }
INLINE vi vi_max(vi a, vi b) { return _mm512_max_epi32(a, b); }
INLINE vf vf_of_vi(vi x) { return _mm512_cvtepi32_ps(x); }
INLINE vi vi_round(vf x) { /* to even; what no integer holds would become the least one */
    return _mm512_cvtps_epi32(_mm512_min_ps(x, _mm512_set1_ps(4194303.0f)));
}
INLINE vf vf_round(vf x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
INLINE vf vf_scale2(vf x, vf n) { /* x 2^n, n in the last nine bits; 2^n and the result in range */
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(x), _mm512_slli_epi32(_mm512_castps_si512(n), 23)));
}
INLINE vf vf_load_u8(const uint8_t *p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p)));
}
INLINE vf vf_load_s8(const int8_t *p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p)));
}
INLINE void store_u8(uint8_t *p, vi x) { /* saturated to 0..255 */
    _mm_storeu_si128((__m128i *)p, _mm512_cvtusepi32_epi8(_mm512_max_epi32(x, _mm512_setzero_si512())));
}
INLINE void store_u8_positive(uint8_t *p, vi x) { /* the same for numbers that are not below 0 */
    _mm_storeu_si128((__m128i *)p, _mm512_cvtusepi32_epi8(x));
}
INLINE void store_u8_part(uint8_t *p, vi x, int count) {
    __m128i bytes = _mm512_cvtusepi32_epi8(_mm512_max_epi32(x, _mm512_setzero_si512()));
    _mm_mask_storeu_epi8(p, (__mmask16)((1u << count) - 1), bytes);
}
INLINE float vf_lane_sum(vf x) { return _mm512_reduce_add_ps(x); }
INLINE float vf_lane_max(vf x) { return _mm512_reduce_max_ps(x); }
INLINE int32_t vi_lane_max(vi x) { return _mm512_reduce_max_epi32(x); }

#else

#if defined(__AVX2__)
#include <immintrin.h>

/* Lanes 0 to 7 and 8 to 15. */
typedef struct {
    __m256 low, high;
} vf;
typedef struct {
    __m256i low, high;
} vi;

#define MAP2(type, name, operation) \
    INLINE type name(type a, type b) { return (type){operation(a.low, b.low), operation(a.high, b.high)}; }

INLINE vf vf_set1(float x) { return (vf){_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
INLINE vi vi_set1(int32_t x) { return (vi){_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
INLINE vf vf_load(const float *p) { return (vf){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
INLINE void vf_store(float *p, vf x) {
    _mm256_storeu_ps(p, x.low);
    _mm256_storeu_ps(p + 8, x.high);
}
INLINE vi vi_load(const int32_t *p) {
    return (vi){_mm256_loadu_si256((const __m256i *)p), _mm256_loadu_si256((const __m256i *)(p + 8))};
}
INLINE void vi_store(int32_t *p, vi x) {
    _mm256_storeu_si256((__m256i *)p, x.low);
    _mm256_storeu_si256((__m256i *)(p + 8), x.high);
}
static const int32_t FIRST_LANES[2 * LANES] = {-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1};
INLINE vi vi_first(int count) { return vi_load(FIRST_LANES + LANES - count); } /* all bits of so many lanes */
INLINE vf vf_load_part(const float *p, int count) {
    const vi some = vi_first(count);
    return (vf){_mm256_maskload_ps(p, some.low), _mm256_maskload_ps(p + 8, some.high)};
}
INLINE void vf_store_part(float *p, vf x, int count) {
    const vi some = vi_first(count);
    _mm256_maskstore_ps(p, some.low, x.low);
    _mm256_maskstore_ps(p + 8, some.high, x.high);
}
MAP2(vf, vf_add, _mm256_add_ps)
MAP2(vf, vf_sub, _mm256_sub_ps)
MAP2(vf, vf_mul, _mm256_mul_ps)
MAP2(vf, vf_div, _mm256_div_ps)
MAP2(vf, vf_min, _mm256_min_ps)
MAP2(vf, vf_max, _mm256_max_ps)
MAP2(vi, vi_add, _mm256_add_epi32)
MAP2(vi, vi_sub, _mm256_sub_epi32)
MAP2(vi, vi_max, _mm256_max_epi32)
INLINE vf vf_fma(vf a, vf b, vf c) {
    return (vf){_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}
INLINE vf vf_of_vi(vi x) { return (vf){_mm256_cvtepi32_ps(x.low), _mm256_cvtepi32_ps(x.high)}; }
INLINE vi vi_round(vf x) { /* to even; what no integer holds would become the least one */
    x = vf_min(x, vf_set1(4194303.0f));
    return (vi){_mm256_cvtps_epi32(x.low), _mm256_cvtps_epi32(x.high)};
}
INLINE vf vf_round(vf x) {
    return (vf){_mm256_round_ps(x.low, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
                _mm256_round_ps(x.high, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
INLINE __m256 scale2(__m256 x, __m256 n) {
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(x), _mm256_slli_epi32(_mm256_castps_si256(n), 23)));
}
INLINE vf vf_scale2(vf x, vf n) { return (vf){scale2(x.low, n.low), scale2(x.high, n.high)}; }
INLINE vf vf_load_u8(const uint8_t *p) {
    const __m128i bytes = _mm_loadu_si128((const __m128i *)p);
    return vf_of_vi((vi){_mm256_cvtepu8_epi32(bytes), _mm256_cvtepu8_epi32(_mm_srli_si128(bytes, 8))});
}
INLINE vf vf_load_s8(const int8_t *p) {
    const __m128i bytes = _mm_loadu_si128((const __m128i *)p);
    return vf_of_vi((vi){_mm256_cvtepi8_epi32(bytes), _mm256_cvtepi8_epi32(_mm_srli_si128(bytes, 8))});
}
INLINE __m128i saturated_u8(vi x) { /* the two packs leave fours of lanes in the order 0 2 1 3 */
    const __m256i shorts = _mm256_packs_epi32(x.low, x.high);
    const __m128i bytes = _mm_packus_epi16(_mm256_castsi256_si128(shorts), _mm256_extracti128_si256(shorts, 1));
    return _mm_shuffle_epi32(bytes, _MM_SHUFFLE(3, 1, 2, 0));
}
INLINE void store_u8(uint8_t *p, vi x) { _mm_storeu_si128((__m128i *)p, saturated_u8(x)); }
INLINE float vf_lane_sum(vf x) { /* the order of AVX-512's reduction: halves, quarters, ... */
    const __m256 eight = _mm256_add_ps(x.low, x.high);
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    four = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
}
INLINE float vf_lane_max(vf x) {
    const __m256 eight = _mm256_max_ps(x.low, x.high);
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    four = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(four, _mm_movehdup_ps(four)));
}
INLINE int32_t vi_lane_max(vi x) {
    const __m256i eight = _mm256_max_epi32(x.low, x.high);
    __m128i four = _mm_max_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
    four = _mm_max_epi32(four, _mm_shuffle_epi32(four, _MM_SHUFFLE(1, 0, 3, 2)));
    return _mm_cvtsi128_si32(_mm_max_epi32(four, _mm_shuffle_epi32(four, _MM_SHUFFLE(2, 3, 0, 1))));
}

#else

typedef struct {
    float v[LANES];
} vf;
typedef struct {
    int32_t v[LANES];
} vi;

#define MAP2(type, name, expression) \
    INLINE type name(type a, type b) { \
        type r; \
        EACH r.v[i] = expression; \
        return r; \
    }

INLINE float fused(float a, float b, float c) {
#if defined(__FMA__) || defined(__aarch64__)
    return __builtin_fmaf(a, b, c);
#else
    return a * b + c;
#endif
}
/* For |x| below 2^22: adding 1.5 * 2^23 leaves no bit behind the point, and rounds to even. */
INLINE float rounded(float x) { return (x + 12582912.0f) - 12582912.0f; }

INLINE vf vf_set1(float x) {
    vf r;
    EACH r.v[i] = x;
    return r;
}
INLINE vi vi_set1(int32_t x) {
    vi r;
    EACH r.v[i] = x;
    return r;
}
INLINE vf vf_load(const float *p) {
    vf r;
    memcpy(&r, p, sizeof r);
    return r;
}
INLINE void vf_store(float *p, vf x) { memcpy(p, &x, sizeof x); }
INLINE vf vf_load_part(const float *p, int count) {
    vf r;
    EACH r.v[i] = i < count ? p[i] : 0.0f;
    return r;
}
INLINE void vf_store_part(float *p, vf x, int count) { memcpy(p, &x, (size_t)count * sizeof(float)); }
INLINE vi vi_load(const int32_t *p) {
    vi r;
    memcpy(&r, p, sizeof r);
    return r;
}
INLINE void vi_store(int32_t *p, vi x) { memcpy(p, &x, sizeof x); }
MAP2(vf, vf_add, a.v[i] + b.v[i])
MAP2(vf, vf_sub, a.v[i] - b.v[i])
MAP2(vf, vf_mul, a.v[i] * b.v[i])
MAP2(vf, vf_div, a.v[i] / b.v[i])
MAP2(vf, vf_min, a.v[i] < b.v[i] ? a.v[i] : b.v[i])
MAP2(vf, vf_max, a.v[i] > b.v[i] ? a.v[i] : b.v[i])
MAP2(vi, vi_add, a.v[i] + b.v[i])
MAP2(vi, vi_sub, a.v[i] - b.v[i])
MAP2(vi, vi_max, a.v[i] > b.v[i] ? a.v[i] : b.v[i])
INLINE vf vf_fma(vf a, vf b, vf c) {
    vf r;
    EACH r.v[i] = fused(a.v[i], b.v[i], c.v[i]);
    return r;
}
INLINE vf vf_of_vi(vi x) {
    vf r;
    EACH r.v[i] = (float)x.v[i];
    return r;
}
INLINE vf vf_round(vf x) {
    vf r;
    EACH r.v[i] = rounded(x.v[i]);
    return r;
}
INLINE vi vi_round(vf x) { /* beyond 2^22 to the nearest of +-2^22, far outside of every code */
    vi r;
    EACH {
        float y = x.v[i] < 4194303.0f ? x.v[i] : 4194303.0f;
        y = y > -4194303.0f ? y : -4194303.0f;
        r.v[i] = (int32_t)rounded(y);
    }
    return r;
}
INLINE vf vf_scale2(vf x, vf n) {
    uint32_t bits[LANES], more[LANES];
    memcpy(bits, &x, sizeof bits);
    memcpy(more, &n, sizeof more);
    EACH bits[i] += more[i] << 23;
    memcpy(&x, bits, sizeof bits);
    return x;
}
INLINE vf vf_load_u8(const uint8_t *p) {
    vf r;
    EACH r.v[i] = (float)p[i];
    return r;
}
INLINE vf vf_load_s8(const int8_t *p) {
    vf r;
    EACH r.v[i] = (float)p[i];
    return r;
}
INLINE void store_u8(uint8_t *p, vi x) {
    uint8_t bytes[LANES];
    EACH {
        int32_t y = x.v[i] > 0 ? x.v[i] : 0;
        bytes[i] = (uint8_t)(y < 255 ? y : 255);
    }
    memcpy(p, bytes, sizeof bytes);
}
INLINE float vf_lane_sum(vf x) { /* the order of AVX-512's reduction: halves, quarters, ... */
    for (int half = LANES / 2; half; half /= 2)
        for (int i = 0; i < half; i++) x.v[i] += x.v[i + half];
    return x.v[0];
}
INLINE float vf_lane_max(vf x) {
    float most = x.v[0];
    for (int i = 1; i < LANES; i++) most = x.v[i] > most ? x.v[i] : most;
    return most;
}
INLINE int32_t vi_lane_max(vi x) {
    int32_t most = x.v[0];
    for (int i = 1; i < LANES; i++) most = x.v[i] > most ? x.v[i] : most;
    return most;
}
#endif

/* What AVX-512 has instructions for, above. */
INLINE void store_u8_positive(uint8_t *p, vi x) { store_u8(p, x); }
INLINE void store_u8_part(uint8_t *p, vi x, int count) {
    uint8_t bytes[LANES];
    store_u8(bytes, x);
    memcpy(p, bytes, (size_t)count);
}
#endif

/* 2^x for x in [-126, 126], relative error 1e-7: Chebyshev's polynomial of degree 5 on [-1/2, 1/2] times 2^whole. The
 * sum with 1.5 * 2^23 has no bit behind the point, and the whole number in its last bits. */
INLINE vf vf_exp2(vf x) {
    const vf shift = vf_set1(12582912.0f), shifted = vf_add(x, shift), f = vf_sub(x, vf_sub(shifted, shift));
    vf p = vf_set1(1.33909e-3f);
    p = vf_fma(p, f, vf_set1(9.67603e-3f));
    p = vf_fma(p, f, vf_set1(5.550357e-2f));
    p = vf_fma(p, f, vf_set1(2.4022107e-1f));
    p = vf_fma(p, f, vf_set1(6.9314719e-1f));
    p = vf_fma(p, f, vf_set1(1.0f));
    return vf_scale2(p, shifted);
}

#endif

/* bertc's native engine: a plan (an ordered list of kernel calls over packed weights) run over texts without padding.
 *
 * Values are matrices [rows, width] with a row for each token, or for each text. A text's tokens lie one behind the
 * other, and so do the texts. Codes of activations are uint8 (a signed code c is stored as c + 128); codes of weights
 * are int8. Everything a plan points to belongs to the caller and outlives the engine; a plan was checked by
 * `bertc.runtime.plan.plan_check` before it comes here, so nothing is checked a second time but token ids and lengths.
 */
#ifndef BERTC_H
#define BERTC_H

#include <stdint.h>

#define BERTC_ABI 6
#define BERTC_DISTANCES(longest) ((2 * (longest) + 2 * BERTC_PANEL - 1) / BERTC_PANEL * BERTC_PANEL) /* vectors may read over */
#define BERTC_PANEL 64 /* columns of a panel of weights, and what widths and depths are padded to */

#if defined(_WIN32)
#define BERTC_EXPORT __declspec(dllexport)
#else
#define BERTC_EXPORT __attribute__((visibility("default")))
#endif

enum bertc_type { BERTC_F32 = 0, BERTC_U8 = 1 };
enum bertc_rows { BERTC_TOKENS = 0, BERTC_TEXTS = 1 };
enum bertc_activation { BERTC_NONE = 0, BERTC_RELU = 1, BERTC_GELU = 2, BERTC_GELU_TANH = 3, BERTC_TANH = 4, BERTC_SIGMOID = 5,
                        BERTC_SILU = 6 };

enum bertc_op {
    BERTC_EMBED = 0,     /* out f32 = word[id] + position[first + p] + type[t], of which word alone is always there */
    BERTC_GEMM_INT8 = 1, /* out = finish(in codes x weights codes) */
    BERTC_GEMM_F32 = 2,  /* out = finish(in f32 x weights f32) */
    BERTC_NORM = 3,      /* out f32 and / or out_codes = LayerNorm (flag 0) or RMSNorm (flag 1) of in f32 */
    BERTC_ATTENTION = 4, /* out = heads of softmax(q k^T scaling + what places and segments add) v within each text */
    BERTC_FINISH = 5,    /* out = finish(in), in f32 or codes: quantize, dequantize, activation, addition */
    BERTC_FIRST = 6,     /* out [texts] = the row of each text's first token of in [tokens], or of its last, see `last` */
    BERTC_POOL = 7,      /* out f32 [texts] = mean (flag 0) or maximum (flag 1) of each text's rows of in f32, or the log
                          * of 1 + the maximum, at least 0 (flag 2) */
    BERTC_UNIT = 8,      /* out f32 = rows of in f32 divided by their Euclidean length, at least epsilon */
    BERTC_ROTARY = 9,    /* out f32 or codes = heads of in f32 turned by their tokens' positions */
    BERTC_EXIT = 10,     /* texts leave: those whose softmax of in f32 [texts] has an entropy below epsilon log n */
    BERTC_MARKED = 11    /* out [texts] = the row of each text's first token with the id `token` of in [tokens], its first if
                          * none has it */
};

/* What follows a product, for each column n of a step, in this order:
 *
 *   y = acc * scale[n]                                         (scale NULL: 1)
 *   y = clamp(rint(acc * requant[n]), -128, 127) * requant_scale[n]    where `requant` is given, instead
 *   y = activation(y + bias[n])                                (bias NULL: 0)
 *   y = y + residual[n]                                        f32, or (code - residual_zero) * residual_scale[n]
 *   y = y * residual[n]                                        where `gated` is 1, instead; f32
 *   out = y, or the code clamp(rint(y * inverse[n]) + out_zero, 0, 255)
 *
 * A text that leaves has its row of an EXIT's in[0] as its row of output 0, and is computed no further: the rows of all
 * others are moved together in in[1] and in[2], the only values that are read behind it.
 *
 * For BERTC_FINISH acc is in[n] (f32) or in[n] - in_zero (codes). Rounding is to even.
 *
 * BERTC_ROTARY turns columns i and i + d / 2 of each head, d = n / heads, by the angle whose cosine and sine are those of
 * the token's place p: y[i] = x[i] cos[p][i] - x[i + d / 2] sin[p][i], y[i + d / 2] = x[i + d / 2] cos[p][i] + x[i] sin[p][i]. */
struct bertc_step {
    int32_t op;
    int32_t rows;         /* enum bertc_rows: of `out`; of `in` too, but for FIRST, MARKED, POOL, and ATTENTION's keys and values */
    int32_t in[3];        /* buffers; attention: query, key, value; EXIT: see above; -1: none */
    int32_t in_column[3]; /* the first column that is read */
    int32_t in_zero;      /* zero point of in's codes as stored (128 for a symmetric one); attention: of all three */
    int32_t out;          /* buffer, -1: none (NORM may give codes alone) */
    int32_t out_column;   /* the first column that is written */
    int32_t out_codes;    /* NORM: a second buffer, of codes, from column 0; -1: none */
    int32_t out_zero;
    int32_t residual; /* buffer, -1: none; read from column 0 */
    int32_t residual_zero;
    int32_t gated; /* 1: the residual is multiplied by, not added */
    int32_t activation; /* enum bertc_activation */
    int32_t k, n;       /* columns of in and out as they are; weights are padded to multiples of BERTC_PANEL */
    int32_t heads;
    int32_t token;        /* MARKED: an id */
    int32_t last;         /* 1: a text's row is that of its last token that others see, 0: of its first (FIRST, and ATTENTION's
                           * queries and ROTARY where there is a row for each text) */
    int32_t flag;         /* POOL, NORM: see above. 1 for ATTENTION: probabilities have codes; EMBED: tables in INT8; GEMM_INT8:
                           * weights are 2:4; GEMM_F32: a product in BF16, see bf16.h */
    int32_t probs_high;   /* ATTENTION: largest code of a probability, 127 or 255 */
    float epsilon;        /* NORM, UNIT, EXIT */
    float scaling;        /* ATTENTION: what the raw integer (or float) product of q and k is multiplied by */
    float scores_requant; /* ATTENTION: raw product to code, 0: scores are not quantized; `scaling` then scales codes */
    float probs_inverse;  /* ATTENTION: 1 / scale of the probabilities' codes */
    float context_scale;  /* ATTENTION: what the raw product of probabilities (or their codes) and values is multiplied by */
    int32_t numbers[2];   /* ATTENTION: buffers of queries and keys in f32, which are multiplied with embeddings of distances;
                           * -1: none */
    int32_t numbers_column[2];
    int32_t distances; /* ATTENTION: rows of those embeddings, 0: none */
    int32_t segments, segments_column; /* ATTENTION: buffer of f32 with a number for each head (columns) and query, which a
                                        * scaled score gets where query and key are of one type; -1: none */
    int32_t near;         /* ATTENTION: a query sees the keys that are less than so many places away, 0: all */
    int32_t vocabulary, positions, types, first_position; /* EMBED: rows of the tables, 0 types: none; without a table of
                           * types, types that `segments` tells apart are below that number; without one of
                           * positions, and for ROTARY, positions is the longest text; ATTENTION: it is that which
                           * `distance_bias` or `distance_row` is for, 0: there is none */
    const void *weights;         /* GEMM_INT8: int8 [ceil(n/64)][ceil(k/64)*16][64][4]; GEMM_F32: f32 [ceil(n/64)][k][64].
                                  * 2:4: int8 [ceil(n/64)][ceil(k/64)*40][64], see sparse.h.
                                  * BF16: uint16 [ceil(n/64)][ceil(k/32)*16][64][2], zeros behind k */
    const int32_t *compensation; /* GEMM_INT8: -in_zero * sum over k of weights, [n padded] */
    const float *scale, *requant, *requant_scale, *bias, *residual_scale, *inverse; /* [n padded] each */
    const float *gamma, *beta;   /* NORM [n padded]; RMSNorm has no beta */
    const void *word, *position; /* EMBED: f32 or int8 [rows, n]; int8: times the row's scale; position may be NULL */
    const float *word_scale, *position_scale;
    const float *type; /* EMBED: f32 [types, n], may be NULL */
    const float *distance_bias; /* ATTENTION: added to a scaled score: f32 [heads][BERTC_DISTANCES(positions)], whose
                                 * number (key - query + positions - 1) is for these places in a text */
    /* ATTENTION: a scaled score gets the query times row r of distance_key and the key times row r of distance_query, both f32
     * [heads][ceil(distances / 64)][n / heads][64]; r is distance_row, int32, never growing, with number (key - query +
     * positions - 1) for these places in a text. */
    const float *distance_key, *distance_query;
    const int32_t *distance_row; /* [BERTC_DISTANCES(positions)] */
    const float *cos, *sin; /* ROTARY: [positions][n / heads / 2] */
};

struct bertc_buffer {
    int32_t type;  /* enum bertc_type */
    int32_t rows;  /* enum bertc_rows */
    int32_t width; /* columns, a multiple of BERTC_PANEL */
};

struct bertc_output {
    int32_t buffer, column, columns; /* buffer -1: 1 + the EXITs that a text went past */
    int32_t per_token; /* 1: an entry for each token, in a padded array; 0: for each text */
};

struct bertc_plan {
    int32_t steps, buffers, outputs;
    const struct bertc_step *step;
    const struct bertc_buffer *buffer;
    const struct bertc_output *output;
};

/* A padded batch as bertc.core.batch.Batch has it: int64 [rows, length], mask 0 for padding, else 1 + the column in which
 * the token's text starts; negative for tokens at a text's end that are computed, but are keys of no attention. */
struct bertc_batch {
    int64_t rows, length;
    const int64_t *ids, *types, *mask; /* types may be NULL: 0 everywhere */
};

struct bertc_engine;

BERTC_EXPORT int bertc_abi(void);
/* Names of the instruction sets that this library holds and this CPU has, the best first, separated by blanks. */
BERTC_EXPORT const char *bertc_instruction_sets(void);
/* Whether an instruction set (NULL: the best) skips the zeros of weights that are 2:4; another one makes them dense when
 * a plan is opened. */
BERTC_EXPORT int bertc_sparse(const char *instruction_set);
/* Whether an instruction set (NULL: the best) is faster with products in BF16 than in float32. All compute them alike. */
BERTC_EXPORT int bertc_bf16(const char *instruction_set);
/* Open an engine with so many threads (the caller is one of them). `instruction_set` NULL: the best. NULL: no memory, or
 * no such instruction set here. */
BERTC_EXPORT struct bertc_engine *bertc_open(const struct bertc_plan *plan, int threads, const char *instruction_set);
/* How many texts a batch holds, or -1 for one whose texts do not start where the mask says. */
BERTC_EXPORT int64_t bertc_texts(const struct bertc_batch *batch);
/* Run a batch. out[i]: f32 [rows, length, columns] (what is padding is not written) or [texts, columns]. spent: NULL, or
 * [steps], to which the nanoseconds that threads were in each step are added. Any number of threads may call at a time.
 * Returns 0, or a text that says what is wrong with the batch. */
BERTC_EXPORT const char *bertc_run(struct bertc_engine *engine, const struct bertc_batch *batch, float *const *out,
                                   int64_t *spent);
BERTC_EXPORT void bertc_close(struct bertc_engine *engine);

#endif

/* All kernels of one instruction set. This file is compiled once for each (-DISA=name and the compiler's flags), so that
 * what differs is the product of codes in tile.h and the vectors in vec.h, and nothing else. */
#include "bf16.h"
#include "sparse.h"

#define LOG2E 1.44269504f
#define HIDDEN -1e30f /* the score of what is no key */
#define NEVER (-(1 << 30)) /* the score of a key that is not there */
#define PRODUCT_BYTES (MOST_ROWS * BERTC_PANEL * sizeof(int32_t))

#if defined(__AMX_INT8__)
#define DEPTH 64 /* what the depth of a product inside attention is padded to */
#else
#define DEPTH 4
#endif

INLINE int up(int x, int multiple) { return (x + multiple - 1) / multiple * multiple; }
INLINE int least(int a, int b) { return a < b ? a : b; }

static const int32_t ZEROS[BERTC_PANEL]; /* what a product without zero point starts from */

static int rows_of(const struct bertc_step *step, const struct frame *frame) {
    return step->rows == BERTC_TOKENS ? frame->tokens : frame->texts;
}

static int64_t width_of(const struct frame *frame, int buffer) { return frame->plan->buffer[buffer].width; }

static float *floats(const struct frame *frame, int buffer, int64_t row, int64_t column) {
    return (float *)frame->buffer[buffer] + row * width_of(frame, buffer) + column;
}

static uint8_t *codes(const struct frame *frame, int buffer, int64_t row, int64_t column) {
    return (uint8_t *)frame->buffer[buffer] + row * width_of(frame, buffer) + column;
}

static int is_codes(const struct frame *frame, int buffer) { return frame->plan->buffer[buffer].type == BERTC_U8; }

/* A piece's share of `count` things. */
static void share(int count, int piece, int pieces, int *first, int *last) {
    *first = (int)((int64_t)count * piece / pieces);
    *last = (int)((int64_t)count * (piece + 1) / pieces);
}

/* --- functions of sixteen numbers ----------------------------------------------------------------------------------- */

/* x Phi(x). Phi(c) - 1/2 = c P(u) for c = x clipped to +-4.7, u = 2 (c / 4.7)^2 - 1 (in which the terms do not cancel):
 * the polynomial with the least maximum of the error, which is 3e-6 for |x| < 5. */
INLINE vf gelu(vf x) {
    const vf c = vf_max(vf_min(x, vf_set1(4.7f)), vf_set1(-4.7f));
    const vf u = vf_fma(vf_mul(c, c), vf_set1(0.09053870529651424f), vf_set1(-1.0f));
    vf p = vf_set1(0.001132332836277783f);
    p = vf_fma(p, u, vf_set1(-0.0033822408877313137f));
    p = vf_fma(p, u, vf_set1(0.004653761629015207f));
    p = vf_fma(p, u, vf_set1(-0.006879863329231739f));
    p = vf_fma(p, u, vf_set1(0.01293566171079874f));
    p = vf_fma(p, u, vf_set1(-0.021099094301462173f));
    p = vf_fma(p, u, vf_set1(0.030058832839131355f));
    p = vf_fma(p, u, vf_set1(-0.04054434224963188f));
    p = vf_fma(p, u, vf_set1(0.05355479195713997f));
    p = vf_fma(p, u, vf_set1(-0.07436170428991318f));
    p = vf_fma(p, u, vf_set1(0.15031468868255615f));
    return vf_mul(x, vf_fma(p, c, vf_set1(0.5f)));
}

INLINE vf bounded_exp2(vf x) { return vf_exp2(vf_max(vf_min(x, vf_set1(126.0f)), vf_set1(-126.0f))); }

/* 1 / (1 + e^-x) */
INLINE vf sigmoid(vf x) {
    const vf one = vf_set1(1.0f);
    return vf_div(one, vf_add(one, bounded_exp2(vf_mul(x, vf_set1(-LOG2E)))));
}

INLINE vf activated(vf x, int activation) {
    switch (activation) {
    case BERTC_RELU:
        return vf_max(x, vf_set1(0.0f));
    case BERTC_GELU:
        return gelu(x);
    case BERTC_GELU_TANH: { /* x / (1 + e^-2u), u = sqrt(2 / pi) (x + 0.044715 x^3) */
        const vf cube = vf_mul(vf_mul(x, x), x);
        return vf_mul(x, sigmoid(vf_mul(vf_fma(cube, vf_set1(0.044715f), x), vf_set1(1.5957691f))));
    }
    case BERTC_TANH: /* 2 / (1 + e^-2x) - 1 */
        return vf_fma(vf_set1(2.0f), sigmoid(vf_add(x, x)), vf_set1(-1.0f));
    case BERTC_SIGMOID:
        return sigmoid(x);
    case BERTC_SILU:
        return vf_mul(x, sigmoid(x));
    default:
        return x;
    }
}

/* --- what follows a product ------------------------------------------------------------------------------------------ */

enum source { INTEGERS, FLOATS, CODES };
enum added { NOTHING, ADD_FLOATS, ADD_CODES, TIMES_FLOATS };

static int added_of(const struct bertc_step *step, const struct frame *frame) {
    if (step->residual < 0) return NOTHING;
    if (step->gated) return TIMES_FLOATS;
    return is_codes(frame, step->residual) ? ADD_CODES : ADD_FLOATS;
}

/* A block of a step's output: rows [row, row + rows), columns [column, column + columns) of the step. */
struct block {
    const struct bertc_step *step;
    const struct frame *frame;
    int row, rows, column, columns;
    const void *product; /* the block's first number */
    int64_t stride;      /* between the product's rows, in numbers */
};

INLINE vf column_or(const float *vector, int column, float otherwise) {
    return vector ? vf_load(vector + column) : vf_set1(otherwise);
}

/* What the numbers of sixteen columns of a step are finished with. */
struct columns {
    vf requant, scale, bias, inverse, out_zero, residual_scale, residual_start, in_zero;
};

/* Nothing stands between the scale and the codes: one factor and one summand for both. */
#define FOLDED(activation, added, out_codes) (out_codes && activation == BERTC_NONE && added == NOTHING)

INLINE struct columns columns_of(const struct bertc_step *step, int n, const int requant, const int activation,
                                 const int added, const int out_codes) {
    struct columns c;
    c.scale = requant ? vf_load(step->requant_scale + n) : column_or(step->scale, n, 1.0f);
    c.requant = requant ? vf_load(step->requant + n) : c.scale;
    c.bias = column_or(step->bias, n, 0.0f);
    c.inverse = out_codes ? vf_load(step->inverse + n) : c.scale;
    c.out_zero = vf_set1((float)step->out_zero);
    if (FOLDED(activation, added, out_codes)) {
        c.scale = vf_mul(c.scale, c.inverse);
        c.bias = vf_fma(c.bias, c.inverse, c.out_zero);
    }
    c.residual_scale = added == ADD_CODES ? vf_load(step->residual_scale + n) : c.scale;
    /* (code - zero) * scale = code * scale + start */
    c.residual_start = vf_mul(c.residual_scale, vf_set1(-(float)step->residual_zero));
    c.in_zero = vf_set1((float)step->in_zero);
    return c;
}

/* Sixteen numbers of a product, or the first `count` of them. */
INLINE void finish_lanes(const struct columns *c, const void *product, const void *residual, void *out, int count,
                         const int source, const int requant, const int activation, const int added,
                         const int out_codes) {
    vf y;
    if (source == INTEGERS)
        y = vf_of_vi(vi_load(product));
    else if (source == FLOATS)
        y = count == LANES ? vf_load(product) : vf_load_part(product, count);
    else
        y = vf_sub(vf_load_u8(product), c->in_zero);
    if (requant) {
        y = vf_round(vf_mul(y, c->requant));
        y = vf_max(vf_min(y, vf_set1(127.0f)), vf_set1(-128.0f));
    }
    y = activated(vf_fma(y, c->scale, c->bias), activation);
    if (added == ADD_FLOATS)
        y = vf_add(y, count == LANES ? vf_load(residual) : vf_load_part(residual, count));
    else if (added == TIMES_FLOATS)
        y = vf_mul(y, count == LANES ? vf_load(residual) : vf_load_part(residual, count));
    else if (added == ADD_CODES)
        y = vf_add(y, vf_fma(vf_load_u8(residual), c->residual_scale, c->residual_start));
    if (out_codes) {
        const vi code = vi_round(FOLDED(activation, added, out_codes) ? y : vf_fma(y, c->inverse, c->out_zero));
        if (count == LANES)
            store_u8(out, code);
        else
            store_u8_part(out, code, count);
    } else if (count == LANES) {
        vf_store(out, y);
    } else {
        vf_store_part(out, y, count);
    }
}

/* Where a block's rows lie: bytes. */
struct places {
    const char *product, *residual;
    char *out;
    int64_t product_row, residual_row, out_row;
};

INLINE struct places places_of(const struct block *b, const int source, const int added, const int out_codes) {
    const struct bertc_step *step = b->step;
    const int64_t in = source == CODES ? 1 : 4, plus = added == ADD_CODES ? 1 : 4, out = out_codes ? 1 : 4;
    struct places p = {.product = b->product, .product_row = b->stride * in,
                       .out_row = width_of(b->frame, step->out) * out};
    p.out = (char *)b->frame->buffer[step->out] + b->row * p.out_row + (step->out_column + b->column) * out;
    if (added != NOTHING) {
        p.residual_row = width_of(b->frame, step->residual) * plus;
        p.residual = (const char *)b->frame->buffer[step->residual] + b->row * p.residual_row + b->column * plus;
    }
    return p;
}

INLINE void finish(const struct block *b, const int source, const int requant, const int activation, const int added,
                   const int out_codes) {
    const int64_t in = source == CODES ? 1 : 4, plus = added == ADD_CODES ? 1 : 4, out = out_codes ? 1 : 4;
    const struct places p = places_of(b, source, added, out_codes);
    for (int at = 0; at < b->columns; at += LANES) {
        const int count = least(LANES, b->columns - at);
        const struct columns c = columns_of(b->step, b->column + at, requant, activation, added, out_codes);
        for (int r = 0; r < b->rows; r++)
            finish_lanes(&c, p.product + r * p.product_row + at * in,
                         added == NOTHING ? NULL : p.residual + r * p.residual_row + at * plus,
                         p.out + r * p.out_row + at * out, count, source, requant, activation, added, out_codes);
    }
}

/* What follows the products of an encoder's layers: each has code of its own. */
#define EACH_CASE(CASE) \
    CASE(codes, 0, BERTC_NONE, NOTHING, 1) \
    CASE(gelu, 0, BERTC_GELU, NOTHING, 1) \
    CASE(add, 0, BERTC_NONE, ADD_FLOATS, 0) \
    CASE(gate, 0, BERTC_NONE, NOTHING, 0) \
    CASE(gated, 0, BERTC_GELU, TIMES_FLOATS, 1) \
    CASE(requant_codes, 1, BERTC_NONE, NOTHING, 1) \
    CASE(requant_gelu, 1, BERTC_GELU, NOTHING, 1) \
    CASE(requant_add, 1, BERTC_NONE, ADD_CODES, 0) \
    CASE(requant_add_floats, 1, BERTC_NONE, ADD_FLOATS, 0) \
    CASE(requant_gate, 1, BERTC_NONE, NOTHING, 0) \
    CASE(requant_gated, 1, BERTC_GELU, TIMES_FLOATS, 1)

#define CASE(name, REQUANT, ACTIVATION, ADDED, OUT) \
    static NOINLINE void finish_##name(const struct block *b) { finish(b, INTEGERS, REQUANT, ACTIVATION, ADDED, OUT); }
EACH_CASE(CASE)
#undef CASE

/* Any combination. */
static void finish_block(const struct block *b, int source) {
    const struct bertc_step *step = b->step;
    const int requant = step->requant != NULL, out_codes = is_codes(b->frame, step->out);
    const int added = added_of(step, b->frame);
    if (source == INTEGERS) {
#define CASE(name, REQUANT, ACTIVATION, ADDED, OUT) \
    if (requant == REQUANT && step->activation == ACTIVATION && added == ADDED && out_codes == OUT) { \
        finish_##name(b); \
        return; \
    }
        EACH_CASE(CASE)
#undef CASE
        finish(b, INTEGERS, requant, step->activation, added, out_codes);
    } else if (source == FLOATS) {
        finish(b, FLOATS, requant, step->activation, added, out_codes);
    } else {
        finish(b, CODES, requant, step->activation, added, out_codes);
    }
}

/* --- products -------------------------------------------------------------------------------------------------------- */

/* Rows and panels of columns of a piece: panels are shared out first, since threads then share no weights. */
struct part {
    int row, row_end, panel, panel_end;
};

static struct part part_of(const struct bertc_step *step, const struct frame *frame, int piece, int pieces) {
    const int panels = up(step->n, BERTC_PANEL) / BERTC_PANEL, across = least(panels, pieces), down = pieces / across;
    struct part part;
    share(panels, piece % across, across, &part.panel, &part.panel_end);
    share(rows_of(step, frame), piece / across, down, &part.row, &part.row_end);
    return part;
}

static void gemm_tiles(const struct bertc_step *step, const struct frame *frame, const struct part *part,
                       struct scratch *own) {
    const int depth = up(step->k, BERTC_PANEL);
    const int64_t lda = width_of(frame, step->in[0]);
    int32_t *product = (int32_t *)own->memory;
    for (int panel = part->panel; panel < part->panel_end; panel++) {
        const int column = panel * BERTC_PANEL, columns = least(BERTC_PANEL, step->n - column);
        const int8_t *weights = (const int8_t *)step->weights + (int64_t)panel * depth * BERTC_PANEL;
        for (int row = part->row; row < part->row_end; row += TILE_ROWS) {
            const int rows = least(TILE_ROWS, part->row_end - row);
            tile(rows, 4, codes(frame, step->in[0], row, step->in_column[0]), lda, weights, depth,
                 step->compensation + column, product, BERTC_PANEL);
            const struct block block = {step, frame, row, rows, column, columns, product, BERTC_PANEL};
            finish_block(&block, INTEGERS);
        }
    }
}

#if defined(__AMX_INT8__)

#define UNIT 32 /* rows and columns of four tiles */
#define BLOCK 64 /* rows that stay in the first cache while all columns pass by */

/* Units of 32 x 32: while the tiles of one are multiplied, vectors finish the rows of the one before. */
struct pending {
    struct places places;
    struct columns columns[2];
    int rows; /* that are left */
};

INLINE void finish_pending(struct pending *p, int rows, const int requant, const int activation, const int added,
                           const int out_codes) {
    for (; rows && p->rows; rows--, p->rows--) {
        for (int g = 0; g < 2; g++)
            finish_lanes(p->columns + g, p->places.product + g * GROUP_BYTES,
                         added == NOTHING ? NULL : p->places.residual + g * LANES * (added == ADD_CODES ? 1 : 4),
                         p->places.out + g * LANES * (out_codes ? 1 : 4), LANES, INTEGERS, requant, activation, added,
                         out_codes);
        p->places.product += p->places.product_row;
        p->places.residual += p->places.residual_row;
        p->places.out += p->places.out_row;
    }
}

/* The sums of a unit: two by two tiles, the lower two only where there are so many rows. */
INLINE void multiply_unit(const struct bertc_step *step, const uint8_t *a, int64_t lda, const int8_t *weights,
                          const int32_t *start, int rows, int32_t *product, struct pending *pending, const int requant,
                          const int activation, const int added, const int out_codes) {
    const int depth = up(step->k, BERTC_PANEL), steps = depth / 64, share_of_step = (UNIT + steps - 1) / steps;
    const uint8_t *below = a + 16 * lda;
    _tile_loadd(0, start, 0);
    _tile_loadd(1, start + 16, 0);
    if (rows > 16) {
        _tile_loadd(2, start, 0);
        _tile_loadd(3, start + 16, 0);
        for (int k = 0; k < depth; k += 64) {
            _tile_loadd(4, a + k, lda);
            _tile_loadd(6, weights + (int64_t)k * 64, STEP_BYTES);
            _tile_loadd(7, weights + (int64_t)k * 64 + GROUP_BYTES, STEP_BYTES);
            _tile_loadd(5, below + k, lda);
            _tile_dpbusd(0, 4, 6);
            _tile_dpbusd(1, 4, 7);
            _tile_dpbusd(2, 5, 6);
            _tile_dpbusd(3, 5, 7);
            finish_pending(pending, share_of_step, requant, activation, added, out_codes);
        }
        _tile_stored(2, product + 16 * UNIT, UNIT * 4);
        _tile_stored(3, product + 16 * UNIT + 16, UNIT * 4);
    } else {
        for (int k = 0; k < depth; k += 64) {
            _tile_loadd(4, a + k, lda);
            _tile_loadd(6, weights + (int64_t)k * 64, STEP_BYTES);
            _tile_loadd(7, weights + (int64_t)k * 64 + GROUP_BYTES, STEP_BYTES);
            _tile_dpbusd(0, 4, 6);
            _tile_dpbusd(1, 4, 7);
            finish_pending(pending, share_of_step, requant, activation, added, out_codes);
        }
    }
    _tile_stored(0, product, UNIT * 4);
    _tile_stored(1, product + 16, UNIT * 4);
}

INLINE void gemm_units(const struct bertc_step *step, const struct frame *frame, const struct part *part,
                       int32_t *memory, const int requant, const int activation, const int added, const int out_codes) {
    const int64_t lda = width_of(frame, step->in[0]), panel_bytes = (int64_t)up(step->k, BERTC_PANEL) * BERTC_PANEL;
    const int first = part->panel * BERTC_PANEL, last = least(part->panel_end * BERTC_PANEL, step->n);
    const int last_row = part->row_end;
    struct pending pending = {.rows = 0};
    int turn = 0;
    for (int block = part->row; block < last_row; block += BLOCK) {
        for (int column = first; column < last; column += UNIT) {
            const int8_t *weights = (const int8_t *)step->weights + column / BERTC_PANEL * panel_bytes +
                                    column % BERTC_PANEL * 4;
            for (int row = block; row < least(block + BLOCK, last_row); row += UNIT, turn ^= 1) {
                const int rows = least(UNIT, last_row - row), columns = least(UNIT, step->n - column);
                int32_t *product = memory + turn * UNIT * UNIT;
                multiply_unit(step, codes(frame, step->in[0], row, step->in_column[0]), lda, weights,
                              step->compensation + column, rows, product, &pending, requant, activation, added,
                              out_codes);
                const struct block unit = {step, frame, row, rows, column, columns, product, UNIT};
                if (columns < UNIT) {
                    finish(&unit, INTEGERS, requant, activation, added, out_codes);
                    continue;
                }
                pending.places = places_of(&unit, INTEGERS, added, out_codes);
                pending.rows = rows;
                for (int g = 0; g < 2; g++)
                    pending.columns[g] = columns_of(step, column + g * LANES, requant, activation, added, out_codes);
            }
        }
    }
    finish_pending(&pending, UNIT, requant, activation, added, out_codes);
}

#define CASE(name, REQUANT, ACTIVATION, ADDED, OUT) \
    static NOINLINE void units_##name(const struct bertc_step *step, const struct frame *frame, const struct part *part, \
                             int32_t *memory) { \
        gemm_units(step, frame, part, memory, REQUANT, ACTIVATION, ADDED, OUT); \
    }
EACH_CASE(CASE)
#undef CASE

static NOINLINE void gemm_int8(const struct bertc_step *step, const struct frame *frame, int piece, int pieces,
                      struct scratch *own) {
    const struct part part = part_of(step, frame, piece, pieces);
    if (part.row_end - part.row <= FEW_ROWS) {
        gemm_tiles(step, frame, &part, own);
        return;
    }
    const int requant = step->requant != NULL, out_codes = is_codes(frame, step->out), added = added_of(step, frame);
    int32_t *memory = (int32_t *)own->memory;
#define CASE(name, REQUANT, ACTIVATION, ADDED, OUT) \
    if (requant == REQUANT && step->activation == ACTIVATION && added == ADDED && out_codes == OUT) { \
        units_##name(step, frame, &part, memory); \
        return; \
    }
    EACH_CASE(CASE)
#undef CASE
    gemm_units(step, frame, &part, memory, requant, step->activation, added, out_codes);
}

#else

static NOINLINE void gemm_int8(const struct bertc_step *step, const struct frame *frame, int piece, int pieces,
                      struct scratch *own) {
    const struct part part = part_of(step, frame, piece, pieces);
    gemm_tiles(step, frame, &part, own);
}

#endif

#if SPARSE
static NOINLINE void gemm_sparse(const struct bertc_step *step, const struct frame *frame, int piece, int pieces,
                                 struct scratch *own) {
    const struct part part = part_of(step, frame, piece, pieces);
    const int depth = up(step->k, BERTC_PANEL);
    const int64_t lda = width_of(frame, step->in[0]);
    int32_t *product = (int32_t *)own->memory;
    uint8_t *places = own->memory + PRODUCT_BYTES;
    for (int panel = part.panel; panel < part.panel_end; panel++) {
        const int column = panel * BERTC_PANEL, columns = least(BERTC_PANEL, step->n - column);
        const int8_t *values = (const int8_t *)step->weights + panel * SPARSE_PANEL_BYTES(depth);
        unpack_places((const uint8_t *)values + PLACES_BYTES(depth), depth, places);
        for (int row = part.row; row < part.row_end; row += SPARSE_ROWS) {
            const int rows = least(SPARSE_ROWS, part.row_end - row);
            sparse_tile(rows, codes(frame, step->in[0], row, step->in_column[0]), lda, values, places, depth,
                        step->compensation + column, product);
            const struct block block = {step, frame, row, rows, column, columns, product, BERTC_PANEL};
            finish_block(&block, INTEGERS);
        }
    }
}
#endif

#define FLOAT_ROWS 4

/* The products of up to FLOAT_ROWS rows with a panel [k][64]. */
INLINE void multiply_floats(const float *first, int64_t lda, int rows, const float *weights, int k, float *product,
                            int64_t stride) {
    const float *a[FLOAT_ROWS];
    vf sum[FLOAT_ROWS][4];
    for (int r = 0; r < FLOAT_ROWS; r++) {
        a[r] = first + least(r, rows - 1) * lda;
        for (int g = 0; g < 4; g++) sum[r][g] = vf_set1(0.0f);
    }
    for (int i = 0; i < k; i++) {
        vf w[4];
        for (int g = 0; g < 4; g++) w[g] = vf_load(weights + (int64_t)i * BERTC_PANEL + LANES * g);
        for (int r = 0; r < FLOAT_ROWS; r++)
            for (int g = 0; g < 4; g++) sum[r][g] = vf_fma(vf_set1(a[r][i]), w[g], sum[r][g]);
    }
    for (int r = 0; r < rows; r++)
        for (int g = 0; g < 4; g++) vf_store(product + r * stride + LANES * g, sum[r][g]);
}

static NOINLINE void gemm_f32(const struct bertc_step *step, const struct frame *frame, int piece, int pieces,
                     struct scratch *own) {
    const struct part part = part_of(step, frame, piece, pieces);
    float *product = (float *)own->memory;
    for (int panel = part.panel; panel < part.panel_end; panel++) {
        const int column = panel * BERTC_PANEL, columns = least(BERTC_PANEL, step->n - column);
        const float *weights = (const float *)step->weights + (int64_t)panel * step->k * BERTC_PANEL;
        for (int row = part.row; row < part.row_end; row += FLOAT_ROWS) {
            const int rows = least(FLOAT_ROWS, part.row_end - row);
            multiply_floats(floats(frame, step->in[0], row, step->in_column[0]), width_of(frame, step->in[0]), rows, weights,
                            step->k, product, BERTC_PANEL);
            const struct block block = {step, frame, row, rows, column, columns, product, BERTC_PANEL};
            finish_block(&block, FLOATS);
        }
    }
}

/* Of rows that are rounded once for all columns; the weights' panels pass by once for them. */
#define BF16_BLOCK (2 * TILE_ROWS)
#define BF16_BYTES(k) ((size_t)BF16_BLOCK * (size_t)up(k, BF16_DEPTH) * sizeof(bf16_operand))

static NOINLINE void gemm_bf16(const struct bertc_step *step, const struct frame *frame, int piece, int pieces,
                               struct scratch *own) {
    const struct part part = part_of(step, frame, piece, pieces);
    const int depth = up(step->k, BF16_DEPTH);
    const int64_t lda = width_of(frame, step->in[0]);
    float *product = (float *)own->memory;
    bf16_operand *a = (bf16_operand *)(own->memory + PRODUCT_BYTES);
    for (int begin = part.row; begin < part.row_end; begin += BF16_BLOCK) {
        const int end = least(begin + BF16_BLOCK, part.row_end);
        bf16_round(floats(frame, step->in[0], begin, step->in_column[0]), lda, end - begin, step->k, depth, a);
        for (int panel = part.panel; panel < part.panel_end; panel++) {
            const int column = panel * BERTC_PANEL, columns = least(BERTC_PANEL, step->n - column);
            const uint16_t *weights = (const uint16_t *)step->weights + (int64_t)panel * depth * BERTC_PANEL;
            for (int row = begin; row < end; row += TILE_ROWS) {
                const int rows = least(TILE_ROWS, end - row);
                bf16_tile(rows, a + (int64_t)(row - begin) * depth, depth, weights, product);
                const struct block block = {step, frame, row, rows, column, columns, product, BERTC_PANEL};
                finish_block(&block, FLOATS);
            }
        }
    }
}

/* --- rows ------------------------------------------------------------------------------------------------------------ */

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

/* The place in its text of the token that a text's row is of. */
static int place_of_text(const struct bertc_step *step, const struct frame *frame, int text) {
    return step->last ? frame->seen[text] - 1 : 0;
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

/* --- attention ------------------------------------------------------------------------------------------------------- */

/* Where one head of one text lies, and the worker's memory for it. */
struct head {
    const struct bertc_step *step;
    const struct frame *frame;
    int number, size;   /* head, columns of a head */
    int query, queries; /* first row of the queries, how many */
    int place;          /* of the first query in the text */
    int key, keys;      /* the same of keys and values */
    int depth;          /* size padded to DEPTH */
    int width;          /* keys padded to whole panels */
    int across;         /* size padded to whole panels */
    int8_t *key_panels, *value_panels;
    int32_t *compensation, *product;
    void *scores; /* int32 or f32 [MOST_ROWS][width] */
    uint8_t *probs; /* [MOST_ROWS][width] */
    int distance, distances; /* the first row of the embeddings of distances that the text needs, and how many: panels */
    float *of_queries, *of_keys; /* products with those: [MOST_ROWS][distances], [width][distances] */
    float *bias; /* [width] */
};

/* Codes with zero point 128 to signed ones. */
INLINE uint32_t signed4(const uint8_t *p) {
    uint32_t four;
    memcpy(&four, p, sizeof four);
    return four ^ 0x80808080u;
}

/* Keys as the second operand of queries x keys: a column for each key. */
static NOINLINE void pack_keys(const struct head *h) {
    const int64_t ld = width_of(h->frame, h->step->in[1]);
    const uint8_t *source = codes(h->frame, h->step->in[1], h->key, h->step->in_column[1] + h->number * h->size);
    const int fours = h->size / 4, rest = h->size % 4;
    if (rest || h->size < h->depth || h->keys % BERTC_PANEL) memset(h->key_panels, 0, (size_t)h->width * (size_t)h->depth);
    for (int j = 0; j < h->keys; j++) {
        uint32_t *panel = (uint32_t *)(h->key_panels + (int64_t)(j / BERTC_PANEL) * h->depth * BERTC_PANEL) + j % BERTC_PANEL;
        const uint8_t *row = source + j * ld;
        for (int f = 0; f < fours; f++) panel[f * BERTC_PANEL] = signed4(row + 4 * f);
        if (rest) {
            uint8_t last[4] = {128, 128, 128, 128};
            memcpy(last, row + 4 * fours, (size_t)rest);
            panel[fours * BERTC_PANEL] = signed4(last);
        }
    }
    /* -128 times each key's sum: a product with a row of ones. */
    static const uint8_t ONES[512] = {
#define ONE8 1, 1, 1, 1, 1, 1, 1, 1
#define ONE64 ONE8, ONE8, ONE8, ONE8, ONE8, ONE8, ONE8, ONE8
        ONE64, ONE64, ONE64, ONE64, ONE64, ONE64, ONE64, ONE64};
    for (int j = 0; j < h->width; j += BERTC_PANEL) {
        memset(h->compensation + j, 0, BERTC_PANEL * sizeof(int32_t));
        for (int k = 0; k < h->depth; k += 512) {
            const int8_t *panel = h->key_panels + (int64_t)(j / BERTC_PANEL) * h->depth * BERTC_PANEL + k * BERTC_PANEL;
            tile(1, 4, ONES, 0, panel, least(512, h->depth - k), h->compensation + j, h->product, BERTC_PANEL);
            memcpy(h->compensation + j, h->product, BERTC_PANEL * sizeof(int32_t));
        }
        for (int i = j; i < j + BERTC_PANEL; i++) h->compensation[i] *= -128;
    }
}

/* Values as the second operand of probabilities x values: a row for each key. */
static NOINLINE void pack_values(const struct head *h) {
    const int64_t ld = width_of(h->frame, h->step->in[2]);
    const uint8_t *source = codes(h->frame, h->step->in[2], h->key, h->step->in_column[2] + h->number * h->size);
    const int rows = up(h->keys, DEPTH);
    static const uint8_t ZERO[LANES] = {128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128};
    for (int column = 0; column < h->size; column += LANES) {
        const int count = least(LANES, h->size - column);
        int8_t *panel = h->value_panels + (int64_t)(column / BERTC_PANEL) * h->width * BERTC_PANEL + column % BERTC_PANEL * 4;
        for (int t = 0; t < rows; t += 4) {
            uint8_t four[4][LANES];
            for (int i = 0; i < 4; i++) {
                memcpy(four[i], ZERO, sizeof ZERO);
                if (t + i < h->keys) {
                    if (count == LANES)
                        memcpy(four[i], source + (int64_t)(t + i) * ld + column, LANES);
                    else
                        memcpy(four[i], source + (int64_t)(t + i) * ld + column, (size_t)count);
                }
            }
            int8_t *out = panel + (int64_t)(t / 4) * STEP_BYTES;
            for (int n = 0; n < LANES; n++)
                for (int i = 0; i < 4; i++) out[4 * n + i] = (int8_t)(four[i][n] ^ 0x80);
        }
    }
}

/* The keys that some of the queries [query, last) see. */
struct keys {
    int first, last;
};

INLINE struct keys keys_of(const struct head *h, int query, int last) {
    const int near = h->step->near;
    if (!near) return (struct keys){0, h->keys};
    query += h->place;
    last += h->place;
    /* A query that is no key may be too far from all of them; it gets the last one, so that there is something to add. */
    return (struct keys){query < near ? 0 : least(query - near + 1, h->keys - 1), least(h->keys, last - 1 + near)};
}

/* Products of queries (0) or keys (1) with the embeddings of the text's distances, from such a row of the head's on. */
static NOINLINE void multiply_distances(const struct head *h, int which, int row, int rows, float *product) {
    const struct bertc_step *step = h->step;
    const int panels = up(step->distances, BERTC_PANEL) / BERTC_PANEL, buffer = step->numbers[which];
    const float *tables = which ? step->distance_query : step->distance_key;
    const float *table = tables + ((int64_t)h->number * panels + h->distance / BERTC_PANEL) * h->size * BERTC_PANEL;
    const int64_t first = (which ? h->key : h->query) + row, column = step->numbers_column[which] + h->number * h->size;
    for (int at = 0; at < h->distances; at += BERTC_PANEL)
        for (int r = 0; r < rows; r += FLOAT_ROWS)
            multiply_floats(floats(h->frame, buffer, first + r, column), width_of(h->frame, buffer),
                            least(FLOAT_ROWS, rows - r), table + (int64_t)at * h->size, h->size,
                            product + (int64_t)r * h->distances + at, h->distances);
}

/* The keys of the query's own segment get a number of the query. */
static void add_segments(const struct head *h, int query) {
    const struct bertc_step *step = h->step;
    const int32_t *type = h->frame->type + h->key, own = type[h->place + query];
    const float number = *floats(h->frame, step->segments, h->query + query, step->segments_column + h->number);
    for (int j = 0; j < h->keys; j++) h->bias[j] += type[j] == own ? number : 0.0f;
}

/* What the scores of a query get for each key, NULL: nothing. `products` are its own with distances. */
static const float *bias_of(const struct head *h, int query, const float *products) {
    const struct bertc_step *step = h->step;
    const int64_t start = step->positions - 1 - (h->place + query);
    const float *by_distance = NULL;
    if (step->distance_bias) by_distance = step->distance_bias + (int64_t)h->number * BERTC_DISTANCES(step->positions) + start;
    if (!step->distances && step->segments < 0) return by_distance;
    const int32_t *row = step->distances ? step->distance_row + start : NULL;
    if (step->distance_key)
        for (int j = 0; j < h->keys; j++) h->bias[j] = products[row[j] - h->distance];
    else
        for (int j = 0; j < h->keys; j++) h->bias[j] = by_distance ? by_distance[j] : 0.0f;
    if (step->distance_query)
        for (int j = 0; j < h->keys; j++) h->bias[j] += h->of_keys[(int64_t)j * h->distances + row[j] - h->distance];
    if (step->segments >= 0) add_segments(h, query);
    return h->bias;
}

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

/* Bytes of a worker's memory for a head over texts of so many tokens; `h` gets its parts of `memory`. */
static size_t head_memory(struct head *h, uint8_t *memory) {
    const size_t width = (size_t)h->width, across = (size_t)h->across, depth = (size_t)up(h->size, BERTC_PANEL);
    size_t used = 0;
#define PART(name, type, bytes) \
    h->name = (type *)(memory + used); \
    used += ((bytes) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    PART(product, int32_t, MOST_ROWS * (across > BERTC_PANEL ? across : BERTC_PANEL) * sizeof(int32_t))
    PART(key_panels, int8_t, width *depth)
    PART(value_panels, int8_t, width *across)
    PART(compensation, int32_t, width * sizeof(int32_t))
    PART(scores, void, MOST_ROWS *width * sizeof(int32_t))
    PART(probs, uint8_t, MOST_ROWS *width)
    if (h->distances) {
        const size_t distances = (size_t)h->distances * sizeof(float);
        PART(of_queries, float, MOST_ROWS *distances)
        PART(of_keys, float, width *distances)
    }
    PART(bias, float, h->distances || h->step->segments >= 0 ? width * sizeof(float) : 0)
#undef PART
    return used;
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

static size_t scratch_bytes(const struct bertc_plan *plan, int32_t longest) {
    size_t most = PRODUCT_BYTES;
    for (int i = 0; i < plan->steps; i++) {
        const struct bertc_step *step = plan->step + i;
        if (is_sparse(step)) {
            const size_t bytes = PRODUCT_BYTES + (size_t)PLACES_BYTES(up(step->k, BERTC_PANEL));
            most = bytes > most ? bytes : most;
        }
        if (is_bf16(step)) {
            const size_t bytes = PRODUCT_BYTES + BF16_BYTES(step->k);
            most = bytes > most ? bytes : most;
        }
        if (step->op != BERTC_ATTENTION) continue;
        struct head head = {.step = step, .size = step->n / step->heads};
        head.width = up(longest, BERTC_PANEL);
        head.across = up(head.size, BERTC_PANEL);
        head.distances = up(step->distances, BERTC_PANEL);
        static uint8_t nowhere[1];
        const size_t bytes = head_memory(&head, nowhere);
        most = bytes > most ? bytes : most;
    }
    return most + ALIGNMENT;
}

/* --- steps ----------------------------------------------------------------------------------------------------------- */

#define ROWS_OF_PIECE 8 /* rows of a piece of a step that goes row by row */
#define PIECES_EACH 4   /* pieces per worker: one that is held up leaves its share to the others */

static int pieces_of(const struct bertc_step *step, const struct frame *frame, int workers) {
    const int rows = rows_of(step, frame), most = PIECES_EACH * workers;
    if (workers == 1) return 1;
    switch (step->op) {
    case BERTC_GEMM_INT8:
    case BERTC_GEMM_F32: {
        const int panels = up(step->n, BERTC_PANEL) / BERTC_PANEL;
        if (panels >= 2 * workers) return least(panels, most);
        const int down = least((rows + TILE_ROWS - 1) / TILE_ROWS, (most + panels - 1) / panels);
        return panels * (down > 1 ? down : 1);
    }
    case BERTC_ATTENTION:
        return least(frame->texts * step->heads, most);
    case BERTC_POOL:
    case BERTC_FIRST:
    case BERTC_MARKED:
        return least(frame->texts, most);
    default: {
        const int pieces = least((rows + ROWS_OF_PIECE - 1) / ROWS_OF_PIECE, most);
        return pieces > 1 ? pieces : 1;
    }
    }
}

static void run_step(const struct bertc_step *step, const struct frame *frame, int piece, int pieces,
                     struct scratch *own) {
    switch (step->op) {
    case BERTC_EMBED:
        embed(step, frame, piece, pieces);
        break;
    case BERTC_GEMM_INT8:
#if SPARSE
        if (is_sparse(step)) {
            gemm_sparse(step, frame, piece, pieces, own);
            break;
        }
#endif
        gemm_int8(step, frame, piece, pieces, own);
        break;
    case BERTC_GEMM_F32:
        if (is_bf16(step))
            gemm_bf16(step, frame, piece, pieces, own);
        else
            gemm_f32(step, frame, piece, pieces, own);
        break;
    case BERTC_NORM:
        norm(step, frame, piece, pieces);
        break;
    case BERTC_ATTENTION:
        attention(step, frame, piece, pieces, own);
        break;
    case BERTC_FINISH:
        finish_rows(step, frame, piece, pieces);
        break;
    case BERTC_FIRST:
    case BERTC_MARKED:
        one_row_each(step, frame, piece, pieces);
        break;
    case BERTC_POOL:
        pool(step, frame, piece, pieces);
        break;
    case BERTC_UNIT:
        unit(step, frame, piece, pieces);
        break;
    case BERTC_ROTARY:
        rotary(step, frame, piece, pieces);
        break;
    default:
        break;
    }
}

#if defined(__AMX_INT8__)
/* Eight tiles of 16 rows of 64 bytes: palette 1, and of each tile the bytes of a row and the rows. A constant in memory,
 * because gcc 12 takes stores into a local one for dead. */
#define EIGHT(x) x, x, x, x, x, x, x, x
static const struct {
    uint8_t palette, start, reserved[14];
    uint16_t bytes[16];
    uint8_t rows[16];
} TILES = {.palette = 1, .bytes = {EIGHT(64)}, .rows = {EIGHT(16)}};

static void begin(void) { _tile_loadconfig(&TILES); }

static void end(void) { _tile_release(); }
#define BEGIN begin
#define END end
#else
#define BEGIN NULL
#define END NULL
#endif

#define JOIN(a, b) a##b
#define NAMED(name) JOIN(kernels_, name)
#define TEXT(name) #name
#define TEXT_OF(name) TEXT(name)

const struct kernels NAMED(ISA) = {TEXT_OF(ISA), BEGIN, END, pieces_of, run_step, scratch_bytes, SPARSE,
                                    BF16_FAST};

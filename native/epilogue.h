/* What follows a product, in the order of bertc.h: scale or requantization, bias, activation, residual, codes. It is
 * one function, finish_lanes(), which is inlined: for the combinations that an encoder's layers have (EACH_CASE) its
 * choices are constants, so that each has code of its own; any other decides while it runs. */
#ifndef BERTC_EPILOGUE_H
#define BERTC_EPILOGUE_H

#include "activation.h"
#include "frame.h"

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

#endif

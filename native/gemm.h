/* Products with weights: of codes (dense, and 2:4), of float32 and of BF16. Threads take parts of a step's output; a
 * part goes block by block through a product of tile.h, sorted.h, sparse.h or bf16.h and through its epilogue, while
 * the sums are in the first cache. */
#ifndef BERTC_GEMM_H
#define BERTC_GEMM_H

#include "bf16.h"
#include "epilogue.h"
#include "sorted.h"
#include "sparse.h"

#define PRODUCT_BYTES (MOST_ROWS * BERTC_PANEL * sizeof(int32_t))

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
#if SORTED
    const uint8_t *sorted = frame->sorted[step - frame->plan->step];
#endif
    for (int panel = part->panel; panel < part->panel_end; panel++) {
        const int column = panel * BERTC_PANEL, columns = least(BERTC_PANEL, step->n - column);
        const int8_t *weights = (const int8_t *)step->weights + (int64_t)panel * depth * BERTC_PANEL;
        const int32_t *start = step->compensation + column;
        for (int row = part->row; row < part->row_end; row += TILE_ROWS) {
            const int rows = least(TILE_ROWS, part->row_end - row);
            const uint8_t *a = codes(frame, step->in[0], row, step->in_column[0]);
#if SORTED
            if (sorted)
                sorted_tile(rows, a, lda, weights, sorted + panel * EIGHTS * sorted_stride(depth), depth, start, product);
            else
#endif
                tile(rows, 4, a, lda, weights, depth, start, product, BERTC_PANEL);
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

#endif

/* One head of one text: its memory, keys and values packed as second operands of products, and what its scores get
 * beside the product of query and key. */
#ifndef BERTC_ATTENTION_HEAD_H
#define BERTC_ATTENTION_HEAD_H

#include "gemm.h"

#if defined(__AMX_INT8__)
#define DEPTH 64 /* what the depth of a product inside attention is padded to */
#else
#define DEPTH 4
#endif

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

#endif

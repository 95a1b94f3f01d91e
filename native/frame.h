/* Where a step's values lie in a frame, and which of them are a piece's. */
#ifndef BERTC_FRAME_H
#define BERTC_FRAME_H

#include "internal.h"
#include "vec.h"

INLINE int up(int x, int multiple) { return (x + multiple - 1) / multiple * multiple; }
INLINE int least(int a, int b) { return a < b ? a : b; }

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

/* The place in its text of the token that a text's row is of. */
static int place_of_text(const struct bertc_step *step, const struct frame *frame, int text) {
    return step->last ? frame->seen[text] - 1 : 0;
}

#endif

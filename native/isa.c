/* All kernels of one instruction set. This file is compiled once for each (-DISA=name and the compiler's flags), so that
 * what differs is the product of codes in tile.h and the vectors in vec.h, and nothing else. The kernels are in headers;
 * here is what an engine calls: which kernel runs a step, in how many pieces, with how much memory. */
#include "attention.h"
#include "gemm.h"
#include "rows.h"

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

#if SORTED
#define SORT sorted_bytes, sort
#else
#define SORT NULL, NULL
#endif

#define JOIN(a, b) a##b
#define NAMED(name) JOIN(kernels_, name)
#define TEXT(name) #name
#define TEXT_OF(name) TEXT(name)

const struct kernels NAMED(ISA) = {TEXT_OF(ISA), BEGIN, END, pieces_of, run_step, scratch_bytes, SPARSE,
                                    BF16_FAST, SORT};

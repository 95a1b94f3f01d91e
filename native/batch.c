/* The way of a batch in and out: from a padded batch to texts one behind the other, in memory that is kept for the next
 * call, and from the rows of a frame to the places that the batch has for them. */
#include <string.h>

#include "engine.h"

void context_free(struct context *context, int threads) {
    for (int i = 0; context->frames && i < threads; i++) {
        aligned_free(context->frames[i].memory);
        free(context->frames[i].buffer);
        free(context->frames[i].start);
        free(context->frames[i].text);
        free(context->frames[i].seen);
    }
    for (int i = 0; context->scratch && i < threads; i++) aligned_free(context->scratch[i].memory);
    free(context->frames);
    free(context->scratch);
    free(context->id);
    free(context->type);
    free(context->position);
    free(context->first);
    free(context->seen);
    free(context->place);
    free(context->pieces);
    free(context);
}

struct context *context_take(struct bertc_engine *engine) {
    pthread_mutex_lock(&engine->lock);
    struct context *context = engine->idle;
    if (context) engine->idle = context->next;
    pthread_mutex_unlock(&engine->lock);
    if (context) return context;
    context = calloc(1, sizeof *context);
    if (!context) return NULL;
    context->frames = calloc((size_t)engine->threads, sizeof *context->frames);
    context->scratch = calloc((size_t)engine->threads, sizeof *context->scratch);
    context->pieces = calloc((size_t)engine->plan.steps, sizeof *context->pieces);
    if (context->frames && context->scratch && context->pieces) return context;
    context_free(context, engine->threads);
    return NULL;
}

void context_give(struct bertc_engine *engine, struct context *context) {
    pthread_mutex_lock(&engine->lock);
    context->next = engine->idle;
    engine->idle = context;
    pthread_mutex_unlock(&engine->lock);
}

/* Make room for a frame of so many tokens and texts; 0: no memory. */
static int frame_reserve(struct frame *frame, const struct bertc_plan *plan, int32_t tokens, int32_t texts) {
    frame->plan = plan;
    if (tokens <= frame->most_tokens && texts <= frame->most_texts) return 1;
    if (tokens < frame->most_tokens) tokens = frame->most_tokens;
    if (texts < frame->most_texts) texts = frame->most_texts;
    size_t bytes = ALIGNMENT;
    for (int pass = 0; pass < 2; pass++) {
        size_t used = 0;
        for (int i = 0; i < plan->buffers; i++) {
            const struct bertc_buffer *buffer = plan->buffer + i;
            const size_t rows = (size_t)(buffer->rows == BERTC_TOKENS ? tokens : texts) + MOST_ROWS;
            if (pass) frame->buffer[i] = (uint8_t *)frame->memory + used;
            used += rows * (size_t)buffer->width * (buffer->type == BERTC_F32 ? sizeof(float) : 1);
        }
        if (pass) break;
        bytes += used;
        aligned_free(frame->memory);
        free(frame->buffer);
        free(frame->start);
        free(frame->text);
        free(frame->seen);
        frame->most_tokens = frame->most_texts = 0;
        frame->memory = aligned(bytes);
        frame->buffer = calloc((size_t)plan->buffers + 1, sizeof *frame->buffer);
        frame->start = calloc((size_t)texts + 1, sizeof *frame->start);
        frame->text = calloc((size_t)texts + 1, sizeof *frame->text);
        frame->seen = calloc((size_t)texts + 1, sizeof *frame->seen);
        if (!frame->memory || !frame->buffer || !frame->start || !frame->text || !frame->seen) return 0;
        memset(frame->memory, 0, bytes); /* rows beyond a value's own are read, and must be numbers */
    }
    frame->most_tokens = tokens;
    frame->most_texts = texts;
    return 1;
}

/* --- the texts of a batch --------------------------------------------------------------------------------------------- */

/* The number of a token's text, 0 for padding. */
static inline int64_t number_of(const struct bertc_batch *batch, int64_t at) {
    const int64_t number = batch->mask[at];
    return number < 0 ? -number : number;
}

#define EACH_TOKEN(batch) \
    for (int64_t row = 0; row < (batch)->rows; row++) \
        for (int64_t column = 0, before = 0, at = row * (batch)->length; column < (batch)->length; \
             before = (batch)->mask[at] ? number_of(batch, at) : before, column++, at++) \
            if ((batch)->mask[at])

int64_t bertc_texts(const struct bertc_batch *batch) {
    int64_t texts = 0;
    EACH_TOKEN(batch) {
        if (number_of(batch, at) == before) continue;
        if (batch->mask[at] != column + 1) return -1; /* nor may a text's first token be one that nothing sees */
        texts++;
    }
    return texts;
}

const char *read_batch(const struct bertc_engine *engine, struct context *context, const struct bertc_batch *batch,
                       int64_t *tokens, int64_t *texts, int32_t *longest) {
    const int64_t entries = batch->rows * batch->length;
    if (entries >= INT32_MAX / 2) return "the batch is too large; cut it in parts";
    if (entries > context->most_tokens) {
        free(context->id);
        free(context->type);
        free(context->position);
        free(context->place);
        free(context->first);
        free(context->seen);
        context->most_tokens = 0;
        context->id = malloc((size_t)entries * sizeof *context->id);
        context->type = malloc((size_t)entries * sizeof *context->type);
        context->position = malloc((size_t)entries * sizeof *context->position);
        context->place = malloc((size_t)entries * sizeof *context->place);
        context->first = malloc(((size_t)entries + 1) * sizeof *context->first);
        context->seen = malloc(((size_t)entries + 1) * sizeof *context->seen);
        if (!context->id || !context->type || !context->position || !context->place || !context->first || !context->seen)
            return NO_MEMORY;
        context->most_tokens = entries;
    }
    const struct bertc_step *embed = engine->embed;
    const int typed = batch->types && embed->types > 1;
    int64_t count = 0, found = 0, length = 0;
    EACH_TOKEN(batch) {
        const int64_t number = number_of(batch, at);
        if (number != before) {
            if (batch->mask[at] != column + 1) return "a text does not start in the column that its mask names";
            context->seen[found] = 0;
            context->first[found++] = (int32_t)count;
        }
        if (batch->mask[at] > 0 && ++context->seen[found - 1] != count + 1 - context->first[found - 1])
            return "a token that others see stands behind one that nothing sees";
        const int64_t id = batch->ids[at], type = typed ? batch->types[at] : 0, position = column + 1 - number;
        if (id < 0 || id >= embed->vocabulary) return "a token's id is outside of the vocabulary";
        if (type < 0 || (typed && type >= embed->types)) return "a token's type is outside of the model's";
        if (position < 0 || position >= embed->positions - embed->first_position) return "a text is longer than the model's positions";
        context->id[count] = (int32_t)id;
        context->type[count] = (int32_t)type;
        context->position[count] = (int32_t)position;
        context->place[count++] = at;
        if (count - context->first[found - 1] > length) length = count - context->first[found - 1];
    }
    if (found) context->first[found] = (int32_t)count;
    *tokens = count;
    *texts = found;
    *longest = (int32_t)length;
    return NULL;
}

int frame_fill(const struct bertc_engine *engine, const struct context *context, struct frame *frame, int64_t first,
               int64_t last) {
    const int32_t begin = context->first[first];
    if (!frame_reserve(frame, &engine->plan, context->first[last] - begin, (int32_t)(last - first))) return 0;
    frame->sorted = engine->sorted;
    frame->tokens = context->first[last] - begin;
    frame->texts = (int32_t)(last - first);
    frame->passed = 0;
    for (int64_t text = first; text <= last; text++) {
        frame->start[text - first] = context->first[text] - begin;
        frame->text[text - first] = (int32_t)text;
        if (text < last) frame->seen[text - first] = context->seen[text];
    }
    frame->id = context->id + begin;
    frame->type = context->type + begin;
    frame->position = context->position + begin;
    frame->place = context->place + begin;
    return 1;
}

void give_outputs(const struct frame *frame, float *const *out) {
    for (int i = 0; i < frame->plan->outputs; i++) {
        const struct bertc_output *output = frame->plan->output + i;
        if (output->buffer < 0) {
            for (int32_t row = 0; row < frame->texts; row++) out[i][frame->text[row]] = (float)(frame->passed + 1);
            continue;
        }
        const int64_t width = frame->plan->buffer[output->buffer].width, columns = output->columns;
        const float *from = (const float *)frame->buffer[output->buffer] + output->column;
        const int32_t count = output->per_token ? frame->tokens : frame->texts;
        for (int32_t row = 0; row < count; row++) {
            const int64_t place = output->per_token ? frame->place[row] : frame->text[row];
            memcpy(out[i] + place * columns, from + row * width, (size_t)columns * sizeof(float));
        }
    }
}

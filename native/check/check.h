/* What the files of the self-test share: random numbers, models of a few steps, texts and the comparison (model.c); and
 * the checks, each of which draws a model, runs it, says what is wrong and returns how much is. */
#ifndef BERTC_CHECK_H
#define BERTC_CHECK_H

#include <stddef.h>

#include "../bertc.h"

#define WORDS 256 /* many: keys of the same word get the same probability, on the same side of an edge between codes */
#define TYPES 3
#define MOST_TEXTS 12
#define MOST_LENGTH 150
#define MOST_STEPS 8
#define MOST_ARRAYS 8

static inline int up(int x) { return (x + BERTC_PANEL - 1) / BERTC_PANEL * BERTC_PANEL; }

/* A plan whose first steps write a row of codes for each token: its word's. */
struct model {
    struct bertc_plan plan;
    struct bertc_step step[MOST_STEPS];
    struct bertc_buffer buffer[MOST_STEPS];
    struct bertc_output output[2];
    void *array[MOST_ARRAYS];
    int arrays;
    int columns, zero;
    const int8_t *weights; /* of a product: dense panels, as bertc.h has them */
    int *code; /* [WORDS][columns], without the zero point */
};

/* Texts of random words, padded. */
struct texts {
    int count, length[MOST_TEXTS], longest;
    int64_t id[MOST_TEXTS * MOST_LENGTH], mask[MOST_TEXTS * MOST_LENGTH], type[MOST_TEXTS * MOST_LENGTH];
};

/* A number below `count`. */
int below(int count);
/* A code, every other one at the edges. */
int code_within(int low, int high);
/* Zeros. */
void *some(size_t count, size_t size);

void open_model(struct model *model, int columns, int zero);
void close_model(struct model *model);
/* Zeros that a model owns. */
void *array(struct model *model, size_t count, size_t size);
/* The last step, zeroed, and what it writes. */
struct bertc_step *add_step(struct model *model, int op, int type, int n);

void choose_texts(struct texts *texts, int count, int longest);
struct bertc_engine *opened(const struct model *model, int threads, const char *name);
/* Say what is wrong, if anything; returns how many are. */
int told(int wrong, const char *name, const char *what, int a, int b);
/* Run and compare: each number of `expected` [tokens of the padded texts][n] within `most`, all within `mean` on
 * average. */
int check_model(struct model *model, const char *name, const double *(*expected)(const struct model *,
                const struct texts *, int text, int query), double most, double mean, int callers);

/* Of the instruction set `name`; `callers` 1: with several callers at a time too. */
int check_product(const char *name, int callers);
int check_bf16(const char *name, int callers);
int check_attention(const char *name, int callers);
int check_rotary(const char *name, int callers);
int check_norm(const char *name, int callers);
int check_activation(const char *name, int callers);
int check_exits(const char *name);

#endif

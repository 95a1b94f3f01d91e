/* Texts that leave early: with the right numbers, behind the right classifier, alone and in a batch. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

/* The entropy of the softmax of a text's scores, divided by log n. */
static double uncertainty_of(const float *scores, int n) {
    double most = -INFINITY, total = 0, entropy = 0;
    for (int i = 0; i < n; i++) most = scores[i] > most ? scores[i] : most;
    for (int i = 0; i < n; i++) total += exp(scores[i] - most);
    for (int i = 0; i < n; i++) {
        const double p = exp(scores[i] - most) / total;
        if (p > 0) entropy -= p * log(p);
    }
    return entropy / log(n);
}

/* What a text's tokens say at the first EXIT (its first row), at the second (the largest), and behind both (the mean, or
 * the row of the first word that is marked, or the first row). */
static void scores_of(const struct model *model, const struct texts *texts, int text, float *first, float *largest,
                      double *end) {
    const struct bertc_step *last = model->step + model->plan.steps - 1;
    const float *word = model->step[0].word;
    const int64_t *id = texts->id + text * texts->longest;
    const int n = model->columns, length = texts->length[text];
    int mark = 0;
    while (mark < length && id[mark] != last->token) mark++;
    for (int c = 0; c < n; c++) {
        end[c] = 0;
        for (int i = 0; i < length; i++) {
            const float x = word[id[i] * n + c];
            if (!i) first[c] = x;
            largest[c] = !i || x > largest[c] ? x : largest[c];
            end[c] += (double)x / length;
        }
        if (last->op == BERTC_MARKED) end[c] = word[id[mark < length ? mark : 0] * n + c];
    }
}

static struct bertc_step *add_text_step(struct model *model, int op, int in) {
    struct bertc_step *step = add_step(model, op, BERTC_F32, model->columns);
    step->rows = model->buffer[step->out].rows = BERTC_TEXTS;
    step->in[0] = in;
    return step;
}

/* Texts leave with their first row, or with their largest numbers; the others end with the mean of their tokens' codes, or
 * with the row of a word: rows of tokens in codes, and of texts in numbers, are moved. The EXITs are steps 4 and 5. */
static void add_exits(struct model *model) {
    const float fine = (float)(1 << (3 + below(5)));
    const int n = model->columns;
    float *word = (float *)model->step[0].word, *inverse = (float *)model->step[1].inverse;
    for (int i = 0; i < WORDS * n; i++) word[i] /= fine;
    for (int c = 0; c < n; c++) inverse[c] = fine; /* the codes are as they were */
    add_text_step(model, BERTC_FIRST, 0);
    add_text_step(model, BERTC_POOL, 0)->flag = 1;
    for (int exit = 0; exit < 2; exit++) {
        struct bertc_step *step = add_text_step(model, BERTC_EXIT, 2 + exit);
        step->out = -1;
        step->in[1] = 1;
        step->in[2] = exit ? -1 : 3;
    }
    struct bertc_step *numbers = add_step(model, BERTC_FINISH, BERTC_F32, n);
    float *scale = array(model, (size_t)up(n), sizeof(float));
    for (int c = 0; c < n; c++) scale[c] = 1 / fine;
    numbers->in[0] = 1;
    numbers->in_zero = model->zero;
    numbers->k = n;
    numbers->scale = scale;
    const int marked = below(2), word_of_mark = below(WORDS);
    struct bertc_step *last = add_text_step(model, marked ? BERTC_MARKED : BERTC_POOL, numbers->out);
    last->token = marked ? word_of_mark : 0;
    model->output[0] = (struct bertc_output){last->out, 0, n, 0};
    model->output[1] = (struct bertc_output){-1, 0, 1, 0};
    model->plan.outputs = 2;
}

/* Run texts [first, first + count): their scores [count][n], and how many classifiers each went through. */
static void run_exits(struct bertc_engine *engine, const struct texts *texts, int first, int count, float *scores,
                      float *layers) {
    const int64_t at = (int64_t)first * texts->longest;
    const struct bertc_batch batch = {count, texts->longest, texts->id + at, texts->type + at, texts->mask + at};
    float *out[2] = {scores, layers};
    const char *fault = bertc_run(engine, &batch, out, NULL);
    if (!fault) return;
    fprintf(stderr, "bertc_run: %s\n", fault);
    exit(2);
}

/* Thresholds that no text's uncertainty at an EXIT is beside. */
static void choose_thresholds(struct model *model, double uncertainty[2][MOST_TEXTS], int texts) {
    for (int exit = 0; exit < 2; exit++) {
        int beside = 1;
        while (beside) {
            const float epsilon = (float)below(1000) / 999.0f;
            model->step[4 + exit].epsilon = epsilon;
            beside = 0;
            for (int t = 0; t < texts; t++) beside += fabs(uncertainty[exit][t] - (double)epsilon) < 1e-5;
        }
    }
}

int check_exits(const char *name) {
    static struct texts texts;
    static float first[MOST_TEXTS][2 * BERTC_PANEL], largest[MOST_TEXTS][2 * BERTC_PANEL];
    static double end[MOST_TEXTS][2 * BERTC_PANEL], uncertainty[2][MOST_TEXTS];
    const int n = 2 + below(2 * BERTC_PANEL - 1), threads = 1 + below(3);
    struct model model;
    open_model(&model, n, 128);
    add_exits(&model);
    choose_texts(&texts, 1 + below(MOST_TEXTS), below(3) ? 12 : MOST_LENGTH);
    for (int t = 0; t < texts.count; t++) {
        scores_of(&model, &texts, t, first[t], largest[t], end[t]);
        uncertainty[0][t] = uncertainty_of(first[t], n);
        uncertainty[1][t] = uncertainty_of(largest[t], n);
    }
    choose_thresholds(&model, uncertainty, texts.count);
    struct bertc_engine *engine = opened(&model, threads, name);
    float *scores = some((size_t)texts.count * n, sizeof *scores), *alone = some((size_t)n, sizeof *alone);
    float layers[MOST_TEXTS];
    int wrong = 0, lonely = 0;
    run_exits(engine, &texts, 0, texts.count, scores, layers);
    for (int t = 0; t < texts.count; t++) {
        const int left = uncertainty[0][t] < (double)model.step[4].epsilon   ? 1
                         : uncertainty[1][t] < (double)model.step[5].epsilon ? 2
                                                                             : 3;
        wrong += layers[t] != (float)left;
        for (int c = 0; c < n; c++) {
            const double right = left == 1 ? (double)first[t][c] : left == 2 ? (double)largest[t][c] : end[t][c];
            wrong += !(fabs(scores[t * n + c] - right) <= (left == 3 ? 1e-3 : 0));
        }
        float own;
        run_exits(engine, &texts, t, 1, alone, &own);
        lonely += own != layers[t] || memcmp(alone, scores + t * n, (size_t)n * sizeof *alone) != 0;
    }
    wrong = told(wrong, name, "texts that leave", n, texts.count) +
            told(lonely, name, "texts that leave alone and in a batch", threads, texts.count);
    free(scores);
    free(alone);
    bertc_close(engine);
    close_model(&model);
    return wrong;
}

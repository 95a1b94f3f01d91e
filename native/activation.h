/* The activations of a step, sixteen numbers at a time. They are polynomials and powers of two and not a library's
 * functions, which take one number at a time, and round as each library likes. */
#ifndef BERTC_ACTIVATION_H
#define BERTC_ACTIVATION_H

#include "bertc.h"
#include "vec.h"

#define LOG2E 1.44269504f

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

#endif

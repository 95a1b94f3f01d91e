/* Which of the instruction sets that the library holds this CPU (and its operating system) has. */
#include <pthread.h>

#include "internal.h"

#define HELD(name) extern const struct kernels kernels_##name;
#define MOST_SETS 8

HELD(plain)

#if defined(__x86_64__) || defined(_M_X64)
#include <cpuid.h>
#include <stdint.h>

HELD(avx2)
HELD(avxvnni)
HELD(avx512)
HELD(amx)

#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>

/* Tiles are given to a process that asks for them (Linux 5.16). */
static int ask_for_tiles(void) {
    enum { REQUEST = 0x1023, TILE_DATA = 18 };
    return syscall(SYS_arch_prctl, REQUEST, TILE_DATA) == 0;
}
#else
static int ask_for_tiles(void) { return 0; }
#endif

static uint64_t enabled_registers(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

static int find(const struct kernels **found) {
    uint32_t a, b, c, d, a7, b7, c7, d7, a71 = 0, b71, c71, d71;
    int count = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return 0;
    const int saved = c >> 27 & 1, fma = c >> 12 & 1, half = c >> 29 & 1;
    if (!saved || !fma || !half || !__get_cpuid_count(7, 0, &a7, &b7, &c7, &d7)) return 0;
    if (a7 >= 1) __get_cpuid_count(7, 1, &a71, &b71, &c71, &d71);
    const uint64_t registers = enabled_registers();
    const int wide = (registers & 6) == 6, wider = wide && (registers & 0xe0) == 0xe0;
    const int tiles = wider && (registers & 0x60000) == 0x60000;
    const int avx2 = wide && b7 >> 5 & 1;
    const int avx512 = wider && b7 >> 16 & 1 && b7 >> 17 & 1 && b7 >> 30 & 1 && b7 >> 31 & 1 && c7 >> 11 & 1;
    if (avx512 && tiles && d7 >> 22 & d7 >> 24 & d7 >> 25 & 1 && ask_for_tiles()) found[count++] = &kernels_amx;
    if (avx512) found[count++] = &kernels_avx512;
    if (avx2 && a71 >> 4 & 1) found[count++] = &kernels_avxvnni;
    if (avx2) found[count++] = &kernels_avx2;
    return count;
}

#elif defined(__aarch64__)

HELD(dotprod)
HELD(i8mm)

#if defined(__linux__)
#include <sys/auxv.h>

static int find(const struct kernels **found) {
    enum { DOT_PRODUCT = 1 << 20, INT8_MATRIX = 1 << 13 };
    int count = 0;
    if (getauxval(AT_HWCAP2) & INT8_MATRIX) found[count++] = &kernels_i8mm;
    if (getauxval(AT_HWCAP) & DOT_PRODUCT) found[count++] = &kernels_dotprod;
    return count;
}
#elif defined(__APPLE__)
#include <sys/sysctl.h>

static int has(const char *feature) {
    int value = 0;
    size_t size = sizeof value;
    return sysctlbyname(feature, &value, &size, NULL, 0) == 0 && value;
}

static int find(const struct kernels **found) {
    int count = 0;
    if (has("hw.optional.arm.FEAT_I8MM")) found[count++] = &kernels_i8mm;
    if (has("hw.optional.arm.FEAT_DotProd")) found[count++] = &kernels_dotprod;
    return count;
}
#else
#include <windows.h>

static int find(const struct kernels **found) {
    enum { DOT_PRODUCT = 43 }; /* PF_ARM_V82_DP_INSTRUCTIONS_AVAILABLE */
    if (!IsProcessorFeaturePresent(DOT_PRODUCT)) return 0;
    found[0] = &kernels_dotprod;
    return 1;
}
#endif

#else
static int find(const struct kernels **found) {
    (void)found;
    return 0;
}
#endif

static const struct kernels *found_here[MOST_SETS + 1];

static void find_here(void) { found_here[find(found_here)] = &kernels_plain; }

const struct kernels *const *kernels_here(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, find_here);
    return found_here;
}

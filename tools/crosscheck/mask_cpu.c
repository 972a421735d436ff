/* Answers CPUID for a patched runtime: what the CPU says, less what a lower instruction set lacks.
 *
 * mask_cpu.py writes int3; nop in the place of each CPUID instruction. int3 raises SIGTRAP with the next instruction's
 * address, so that the handler only has to set the four registers. MPTQ_CPU_MASK names the highest set that is left. */
#define _GNU_SOURCE
#include <cpuid.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

static const char *const levels[] = {"sse4_1", "avx", "avx2", "avx512bw", "avx512_vnni"};
enum { AVX = 1, AVX2, AVX512, VNNI, ABOVE };

/* Bits of CPUID that only sets from a level upwards have. Intel's manual, volume 2, CPUID. */
static const struct {
    int level;
    unsigned leaf, subleaf;
    unsigned clear[4]; /* eax, ebx, ecx, edx */
} features[] = {
    {AVX, 1, 0, {0, 0, 1u << 28, 0}},               /* AVX */
    {AVX2, 1, 0, {0, 0, 1u << 12 | 1u << 29, 0}},   /* FMA, F16C */
    {AVX2, 7, 0, {0, 1u << 5, 0, 0}},               /* AVX2 */
    {AVX512, 7, 0, {0, 0xDC230000u, 0x5042u, 0}},   /* F DQ IFMA PF ER CD BW VL; VBMI VBMI2 BITALG VPOPCNTDQ */
    {VNNI, 7, 0, {0, 0, 1u << 11, 0}},              /* VNNI */
    {ABOVE, 7, 0, {0, 0, 0, 0x03C0010Cu}},          /* 4VNNIW 4FMAPS VP2INTERSECT, AMX, AVX-512 FP16 */
    {ABOVE, 7, 1, {0x00A00030u, 0, 0, 0x00080530u}} /* AVX-VNNI, BF16, AMX-FP16, AVX-IFMA; VNNI-INT8, -INT16, AVX10 */
};

static int left = ABOVE;

static void on_trap(int number, siginfo_t *info, void *context) {
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    const unsigned char *next = (const unsigned char *)registers[REG_RIP];
    unsigned leaf = (unsigned)registers[REG_RAX], subleaf = (unsigned)registers[REG_RCX], out[4];
    (void)info;
    if (next[-1] != 0xCC || next[0] != 0x90) { /* somebody else's trap */
        signal(number, SIG_DFL);
        raise(number);
        return;
    }
    __cpuid_count(leaf, subleaf, out[0], out[1], out[2], out[3]);
    for (size_t i = 0; i < sizeof features / sizeof *features; i++)
        if (features[i].level > left && features[i].leaf == leaf && (leaf == 1 || features[i].subleaf == subleaf))
            for (int r = 0; r < 4; r++)
                out[r] &= ~features[i].clear[r];
    registers[REG_RAX] = out[0];
    registers[REG_RBX] = out[1];
    registers[REG_RCX] = out[2];
    registers[REG_RDX] = out[3];
}

__attribute__((constructor)) static void install(void) {
    struct sigaction action = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO | SA_RESTART};
    const char *mask = getenv("MPTQ_CPU_MASK");
    for (int i = 0; mask && i < (int)(sizeof levels / sizeof *levels); i++)
        if (strcmp(mask, levels[i]) == 0)
            left = i;
    sigaction(SIGTRAP, &action, NULL);
}

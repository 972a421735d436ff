"""The instruction sets that this process sees, asked of the CPU itself.

``/proc/cpuinfo`` shows the host's CPU under an emulator; the CPUID instruction (x86) and the auxiliary vector (arm64)
show the emulated one, which is also what onnxruntime goes by. Standard library only.
"""

import ctypes
import mmap
import os
import platform

# void cpuid(uint32 leaf, uint32 subleaf, uint32 out[4]), System V calling convention.
_CPUID = bytes.fromhex("53 4989d0 89f8 89f1 0fa2 418900 41895804 41894808 4189500c 5b c3")
# (name, leaf, subleaf, register: eax 0, ebx 1, ecx 2, edx 3, bit), from Intel's manual, volume 2, CPUID.
_X86 = (
    ("sse4_1", 1, 0, 2, 19),
    ("avx", 1, 0, 2, 28),
    ("avx2", 7, 0, 1, 5),
    ("avx512bw", 7, 0, 1, 30),
    ("avx512_vnni", 7, 0, 2, 11),
    ("avx_vnni", 7, 1, 0, 4),
    ("avx_vnni_int8", 7, 1, 3, 4),
    ("amx_int8", 7, 0, 3, 25),
)
# (name, entry of the auxiliary vector: AT_HWCAP 16, AT_HWCAP2 26, bit), from Linux' arm64 elf_hwcaps.
_ARM64 = (("neon", 16, 1), ("dotprod", 16, 20), ("sve", 16, 22), ("sve2", 26, 1), ("i8mm", 26, 13), ("sme", 26, 23))


def cpu_features() -> list[str]:
    """Names of the instruction sets that matter to integer matmuls; empty where they cannot be asked for."""
    if platform.system() == "Windows":
        return []
    machine = platform.machine().lower()
    if machine in ("x86_64", "amd64"):
        return _x86_features()
    if machine == "aarch64":
        auxval = ctypes.CDLL(None).getauxval
        auxval.restype, auxval.argtypes = ctypes.c_ulong, [ctypes.c_ulong]
        return [name for name, entry, bit in _ARM64 if auxval(entry) >> bit & 1]
    return ["neon"] if machine == "arm64" else []


def _x86_features() -> list[str]:
    with mmap.mmap(-1, len(_CPUID), prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC) as code:
        # Under mask_cpu.py, ask as the patched onnxruntime does.
        code.write(_CPUID.replace(b"\x0f\xa2", b"\xcc\x90") if "MPTQ_CPU_MASK" in os.environ else _CPUID)
        buffer = ctypes.c_char.from_buffer(code)
        signature = ctypes.CFUNCTYPE(None, ctypes.c_uint32, ctypes.c_uint32, ctypes.POINTER(ctypes.c_uint32))
        cpuid = signature(ctypes.addressof(buffer))
        registers = (ctypes.c_uint32 * 4)()
        cpuid(0, 0, registers)
        last_leaf = registers[0]
        found = []
        for name, leaf, subleaf, register, bit in _X86:
            if leaf <= last_leaf:
                cpuid(leaf, subleaf, registers)
                if registers[register] >> bit & 1:
                    found.append(name)
        del buffer  # the map cannot close while ctypes holds it
    return found

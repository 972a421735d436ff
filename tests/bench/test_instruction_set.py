"""What /proc/cpuinfo says, read."""

from pathlib import Path

import pytest

from mptq_export.bench.instruction_set import MASK_VARIABLE, Cpu, detect_cpu

ZEN = "processor\t: 0\nmodel name\t: AMD EPYC\nflags\t\t: fpu avx avx2\n\nprocessor\t: 1\nmodel name\t: other\n"
XEON = "model name : Xeon\nflags : avx avx2 avx512f avx512bw avx512_vnni avx_vnni amx_bf16 amx_int8\n"
ARM = "processor : 0\nFeatures : fp asimd asimddp i8mm\nCPU part : 0xd40\n"


@pytest.mark.parametrize(
    ("text", "machine", "name", "sets"),
    [
        (ZEN, "x86_64", "AMD EPYC", ("AVX", "AVX2")),
        (XEON, "x86_64", "Xeon", ("AVX", "AVX2", "AVX-512", "AVX-VNNI", "AVX-512 VNNI", "AMX int8")),
        (ARM, "aarch64", "unknown", ("NEON", "NEON dotprod", "NEON i8mm")),
        ("", "riscv64", "unknown", ()),
    ],
)
def test_sets_of_known_cpus(tmp_path: Path, text: str, machine: str, name: str, sets: tuple[str, ...]):
    file = tmp_path / "cpuinfo"
    file.write_text(text)
    assert detect_cpu(file, machine) == Cpu(name, machine, sets)


def test_a_system_that_does_not_say_is_unknown(tmp_path: Path):
    cpu = detect_cpu(tmp_path / "none", "arm64")
    assert cpu == Cpu("unknown", "arm64", ())
    assert cpu.description == "unknown (arm64; instruction sets unknown)"


def test_this_machine_has_an_architecture():
    assert detect_cpu().machine


@pytest.mark.parametrize(("mask", "sets"), [("avx2", ("AVX", "AVX2")), ("sse4_1", ())])
def test_a_masked_cpu_has_no_more_than_its_mask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mask: str, sets: tuple[str, ...]
):
    monkeypatch.setenv(MASK_VARIABLE, mask)
    file = tmp_path / "cpuinfo"
    file.write_text(XEON)
    assert detect_cpu(file, "x86_64") == Cpu(f"Xeon, masked to {mask}", "x86_64", sets)

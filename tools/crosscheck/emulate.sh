#!/usr/bin/env bash
# Run Python as on another x86-64 CPU, under qemu's user-mode emulation.
#
#   tools/crosscheck/emulate.sh CPU -m tools.crosscheck.NAME [ARGUMENT...]
#
# CPU is a name of `qemu-x86_64-static -cpu help`: Haswell or EPYC-v1 (AVX2, no VNNI), SandyBridge (AVX only).
# PYTHON is the interpreter, by default `python`. Debian's package is qemu-user-static.
set -euo pipefail

if [ $# -lt 2 ]; then
    echo "usage: $0 CPU -m MODULE [ARGUMENT...]" >&2
    exit 2
fi
cpu=$1
shift
qemu=$(command -v qemu-x86_64-static || command -v qemu-x86_64) || {
    echo "error: qemu-x86_64-static is not installed; on Debian: apt-get install qemu-user-static" >&2
    exit 2
}
python=$(command -v "${PYTHON:-python}")
# qemu says for each feature of the CPU that it leaves out; none of those matters here.
exec "$qemu" -cpu "$cpu" "$python" "$@" 2> >(grep -v "TCG doesn't support requested feature" >&2)

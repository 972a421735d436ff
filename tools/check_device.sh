#!/usr/bin/env bash
# Install mptq-device alone, and mptq-kernels-ref alone, and use them on a file, far from the sources.
#     tools/check_device.sh PYTHON WHEELS FILE DIGITS    (the folder of the wheels, an ONNX file, the folder of the demo)
set -euo pipefail
python=$1
wheels=$(cd "$2" && pwd)
file=$(cd "$(dirname "$3")" && pwd)/$(basename "$3")
digits=$(cd "$4" && pwd)
here=$PWD
unset PYTHONPATH # what it names would be imported in place of the installed package

environment() { # NAME WHEEL: an environment of the wheel and what it needs, without pip itself
    "$python" -m venv "$here/$1"
    "$here/$1/bin/python" -m pip install --disable-pip-version-check --quiet "$wheels"/$2-*.whl
    "$here/$1/bin/python" -m pip check
    "$here/$1/bin/python" -m pip uninstall --quiet --yes setuptools pip
    if "$here/$1/bin/python" -c 'import torch' 2>/dev/null; then echo "torch is there" >&2; exit 1; fi
    echo "$2: $(du -sm "$here/$1" | cut -f1) MB in $1, $("$here/$1/bin/python" --version)"
}

environment .venv-device mptq_device
environment .venv-reference mptq_kernels_ref
cd "$digits"
"$here/.venv-device/bin/mptq-verify" "$file" --images val
"$here/.venv-device/bin/mptq-eval" "$file" --data val
"$here/.venv-device/bin/mptq-bench" "$file" --rounds 5 --reference
"$here/.venv-reference/bin/python" - "$file" << 'END'
import sys

import numpy as np
from kernels_ref import Interpreter

(logits,) = Interpreter(sys.argv[1]).run({"input": np.zeros((1, 3, 32, 32), np.float32)}).values()
print("kernels_ref alone:", logits.shape, "logits of a grey picture")
END

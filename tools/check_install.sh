#!/usr/bin/env bash
# Export and verify the demo's checkpoint with an installed package, far from the sources.
#     tools/check_install.sh BIN DIGITS      (the folder of the console scripts, the folder of the demo)
set -euo pipefail
bin=$(cd "$1" && pwd)
digits=$(cd "$2" && pwd)
unset PYTHONPATH # what it names would be imported in place of the installed package
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

"$bin/python" -c 'import kernels_ref, mptq_export; print("installed in", mptq_export.__file__)' | grep site-packages
"$bin/mptq-export" "$digits/digits_vit.pt" --calib "$digits/calib" -o digits.onnx
"$bin/mptq-verify" digits.onnx --recipe digits.recipe.json --images "$digits/val"

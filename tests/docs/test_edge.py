"""docs/edge.md: its table is the one of the targets, and its snippets do what they say."""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from kit.helpers import NODE_MODULES, call
from portable import as_written, made_of
from tiny_models import calibrated_graph, pixels, quantized

from mptq_export.emit.exact.emitter import emit
from mptq_export.quantize.method import MINMAX
from mptq_export.targets.table import TARGETS
from tools.edge_table import PAGE, rendered

TEXT = PAGE.read_text(encoding="utf-8")
SIZE = 32


def snippet(language: str, containing: str) -> str:
    """The code block of the page that holds some words."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
    (found,) = [block for block in blocks if containing in block]
    return str(found)


@pytest.fixture(scope="module")
def classified(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray, list[int]]:
    """A file that takes pixels, images of its size, and the classes that onnxruntime names."""
    graph, recipe = quantized("vit", (8, 8), MINMAX)
    path = tmp_path_factory.mktemp("edge") / "model.onnx"
    model = emit(graph, recipe, input_type="uint8", producer="1")
    onnx.helper.set_model_props(model, {"preprocessing.input_size": json.dumps([3, SIZE, SIZE])})
    onnx.save(model, path)
    images = pixels("vit", 6).numpy()
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return path, images, [int(session.run(None, {"input": image[None]})[0].argmax()) for image in images]


def test_the_table_is_that_of_the_targets():
    assert rendered(TEXT) == TEXT, "python -m tools.edge_table writes it"


def test_every_target_has_a_command():
    asked = {name for name in TARGETS if f"--target {name}" in TEXT}
    assert asked == set(TARGETS)


def test_the_javascript(classified: tuple[Path, np.ndarray, list[int]], tmp_path: Path):
    node = shutil.which("node")
    runtimes = [name for name in ("onnxruntime-web", "onnxruntime-node") if (NODE_MODULES / name).is_dir()]
    if node is None or not runtimes:
        pytest.skip(f"there is no node, or no onnxruntime in {NODE_MODULES} (npm ci in tools/crosscheck/web)")
    path, images, expected = classified
    (tmp_path / "node_modules").symlink_to(NODE_MODULES)
    (tmp_path / "classify.mjs").write_text(snippet("js", "export async function classify"))
    for index, image in enumerate(images):
        opaque = np.full((*image.shape[:2], 1), 255, np.uint8)
        np.concatenate([image, opaque], axis=2).tofile(tmp_path / f"{index}.rgba")
    (tmp_path / "main.mjs").write_text(
        f"""
import {{ readFile }} from "node:fs/promises";
import {{ classify }} from "./classify.mjs";
const [runtime, model, count] = process.argv.slice(2);
const loaded = await import(runtime);
const ort = loaded.InferenceSession ? loaded : loaded.default;
if (runtime === "onnxruntime-web") ort.env.wasm.numThreads = 1;
const session = await ort.InferenceSession.create(new Uint8Array(await readFile(model)));
const found = [];
for (let i = 0; i < Number(count); i++) {{
  const data = new Uint8ClampedArray(await readFile(`${{i}}.rgba`));
  found.push(await classify(ort, session, {{ width: {SIZE}, height: {SIZE}, data }}));
}}
console.log(JSON.stringify(found));
"""
    )
    for runtime in runtimes:
        result = call(node, "main.mjs", runtime, path, len(images), cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        assert json.loads(result.stdout) == expected


def test_the_cpp(classified: tuple[Path, np.ndarray, list[int]], tmp_path: Path):
    headers = Path(os.environ.get("MPTQ_ORT_INCLUDE", "/usr/include/onnxruntime"))
    libraries = sorted((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*"))
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None or not libraries or not (headers / "onnxruntime_cxx_api.h").is_file():
        pytest.skip(f"there is no compiler, no library, or no header in {headers} (set MPTQ_ORT_INCLUDE)")
    path, images, expected = classified
    (tmp_path / "classify.cpp").write_text(snippet("cpp", "onnxruntime_cxx_api.h"))
    for name in ("libonnxruntime.so", "libonnxruntime.so.1"):
        (tmp_path / name).symlink_to(libraries[-1])
    search = ["-I", headers, "-L", tmp_path, "-lonnxruntime", f"-Wl,-rpath,{tmp_path}"]
    program = tmp_path / "classify"
    built = call(compiler, "-std=c++17", "-Wall", "-Wextra", tmp_path / "classify.cpp", *search, "-o", program)
    assert built.returncode == 0, built.stderr
    check_program(program, path, images, expected)


def test_the_cpp_of_openvino(tmp_path: Path):
    openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed")
    package, compiler = Path(openvino.__file__).parent, shutil.which("g++") or shutil.which("clang++")
    (library,) = sorted((package / "libs").glob("libopenvino.so.*"))[:1]
    if compiler is None or not (package / "include" / "openvino" / "openvino.hpp").is_file():
        pytest.skip("there is no compiler, or no header in the package openvino")
    model = made_of(calibrated_graph("vit"), "openvino", input_type="uint8").file
    onnx.save(model, tmp_path / "model.onnx")
    images, session = pixels("vit", 24).numpy(), as_written(model)
    logits = np.concatenate([session.run(None, {"input": image[None]})[0] for image in images])
    second, first = np.sort(logits, axis=1)[:, -2:].T
    clear = np.argsort(second - first)[:4]  # rounding otherwise, as OpenVINO does, turns no class over
    images, expected = images[clear], logits[clear].argmax(1).tolist()
    (tmp_path / "classify.cpp").write_text(snippet("cpp", "openvino.hpp"))
    search = ["-I", package / "include", library, f"-Wl,-rpath,{library.parent}"]
    program = tmp_path / "classify"
    built = call(compiler, "-std=c++17", "-Wall", "-Wextra", tmp_path / "classify.cpp", *search, "-o", program)
    assert built.returncode == 0, built.stderr
    check_program(program, tmp_path / "model.onnx", images, expected)


def check_program(program: Path, path: Path, images: np.ndarray, expected: list[int]) -> None:
    """A program names the class of each image, and refuses one of another size."""
    file = program.with_name("pixels.rgb")
    for image, number in zip(images, expected, strict=True):
        image.tofile(file)
        result = call(program, path, file)
        assert (result.returncode, result.stdout) == (0, f"{number}\n"), result.stderr
    images[0][:1].tofile(file)
    assert call(program, path, file).returncode == 2

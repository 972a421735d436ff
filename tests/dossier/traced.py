"""Every number of a dossier found again: computed anew from its evidence with plain libraries, path by path.

Nothing of `mptq_export.dossier` is used here. A folder is all that is needed: what was measured lies in `evidence/` and
`kit/`. Numbers that a run of the file decides (intervals, the arguments of functions) are held against runs.
"""

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from scipy.stats import binomtest

from kernels_ref import Interpreter

Path_ = tuple[str | int, ...]


class Evidence:
    """The files of a dossier's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.dossier: dict[str, Any] = json.loads((folder / "dossier.json").read_text())
        self.model = onnx.load(folder / "kit" / "model.onnx")
        self.manifest: dict[str, Any] = json.loads((folder / "kit" / "manifest.json").read_text())
        self.recipe = self._json("recipe.json") or {}
        self.report = self._json("report.json")
        self.eval = self._json("eval.json")
        coverage = Path(__file__).resolve().parents[2] / "kernels_ref" / "coverage.json"
        self.coverage = json.loads(coverage.read_text())["tests"]

    def _json(self, ending: str) -> Any:
        found = list((self.folder / "evidence").glob(f"*.{ending}"))
        return json.loads(found[0].read_text()) if found else None


def leaves(value: Any, path: Path_ = ()) -> Iterator[tuple[Path_, Any]]:
    """All values that are no lists and no objects, with their paths."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from leaves(inner, (*path, place))
    else:
        yield path, value


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def untraced(folder: Path) -> list[str]:
    """What of a dossier's numbers and hashes is not found again, a line each."""
    evidence = Evidence(folder)
    expected = dict(leaves(_expected(evidence)))
    found, wrong = 0, []
    patterns = {source["part"]: _pattern(source["part"]) for source in evidence.dossier["sources"]}
    for path, value in leaves(evidence.dossier):
        text = ".".join(map(str, path))
        hashed = isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value) and not text.startswith("sources")
        if not (is_number(value) or hashed):
            continue
        found += 1
        fitting = [part for part, pattern in patterns.items() if pattern.match(text)]
        if is_number(value) and not fitting:
            wrong.append(f"{text}: no source is named")
        if path not in expected:
            wrong.append(f"{text}: {value} is not found in any evidence")
        elif expected[path] is not ANY and not _same(value, expected[path]):
            wrong.append(f"{text}: {value} is {expected[path]} in the evidence")
    wrong += [f"operator {line}" for line in _outside(evidence)]
    assert found > 100
    return wrong


#: Held against runs of the file instead.
ANY = object()


def _same(value: Any, wanted: Any) -> bool:
    if is_number(value) and is_number(wanted):
        return value == wanted or math.isclose(value, wanted, rel_tol=1e-12)
    return bool(value == wanted)


def _pattern(part: str) -> re.Pattern[str]:
    return re.compile(re.escape(part).replace(r"\*", r"[^.]+") + r"(\.|$)")


def _file(path: Path, name: str | None = None) -> dict[str, Any]:
    data = path.read_bytes()
    return {"name": name or path.name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _expected(evidence: Evidence) -> dict[str, Any]:
    """A dossier's numbers and hashes, from everything but the dossier."""
    recipe, dossier, folder = evidence.recipe, evidence.dossier, evidence.folder
    metadata = {entry.key: entry.value for entry in evidence.model.metadata_props}
    lineage = (evidence.report or {}).get("lineage") or {}
    proof = recipe["proof"]
    recipe_files = sorted((folder / "evidence").glob("*.recipe.*"))
    calibration = {"images": recipe["settings"]["calibration"]["images"]}
    if lineage.get("inputs"):
        calibration |= {"inputs_sha256": lineage["inputs_sha256"], "files": lineage["files"]}
    stored = [(folder / file["name"], file["name"]) for file in dossier["files"]]
    return {
        "format": 1,
        "identity": {
            "file": _file(folder / "kit" / "model.onnx"),
            "recipe": [_file(path) for path in recipe_files],
            "contents_sha256": _contents_digest(recipe["contents"]),
            "parts": len(recipe["contents"]),
            "layers": len(recipe["weights"]) - len(recipe.get("calls", {})),
            "ir_version": evidence.model.ir_version,
            "opset": evidence.model.opset_import[0].version,
            "metadata": metadata,
            "weights_sha256": recipe["model"]["weights_sha256"],
            "checkpoint": lineage.get("checkpoint", []),
            "calibration": calibration,
        },
        "criterion": _criterion(evidence),
        "operators": list(_operators(evidence)),
        "kinds": [
            {"operators": sum(each["kind"] == kind["key"] for each in dossier["operators"])}
            for kind in dossier["kinds"]
        ],
        "tests": [
            {
                "operators": sum(each["kernel"] == entry["kernel"] for each in dossier["operators"]),
                "tests": [
                    {"cases": evidence.coverage[test["test"]]["kernels"][entry["kernel"]]} for test in entry["tests"]
                ],
            }
            for entry in dossier["tests"]
        ],
        "bounds": [
            {"number": place, "value": claim["value"], "limit": claim["limit"]} for place, claim in enumerate(proof, 1)
        ],
        "trace": _trace(evidence, lineage),
        "golden": _golden(evidence),
        "accuracy": [_figure(evidence, figure) for figure in dossier["accuracy"]],
        "files": [_file(path, name) for path, name in stored],
    }


def _contents_digest(contents: dict[str, str]) -> str:
    lines = sorted(f"{digest} {name}\n" for name, digest in contents.items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _criterion(evidence: Evidence) -> dict[str, Any]:
    proof, report = evidence.recipe["proof"], evidence.report
    margins = [claim["value"] for claim in proof if claim["what"].endswith(" margin in steps")]
    shares = [claim["value"] for claim in proof if claim["what"].startswith("assumed error of ")]
    functions = evidence.dossier["criterion"]["assumption"]["functions"]
    ops = {"exp": "Exp", "erf": "Erf", "tanh": "Tanh", "sigmoid": "Sigmoid"}
    counts = Counter(node.op_type for node in evidence.model.graph.node)
    power = {"exp": (2.0**-20, 0.0), "gelu": (2.0**-20, 2.0**-22), "erf": (2.0**-20, 2.0**-20)}
    found: dict[str, Any] = {
        "assumption": {
            "functions": [
                dict(
                    zip(
                        ("of_result", "of_argument", "nodes"),
                        (*power.get(each["function"], (2.0**-20,) * 2), counts[ops.get(each["function"], "Gelu")]),
                        strict=True,
                    )
                )
                for each in functions
            ],
            "division": 2.0**-23,
            "margin": 1e-3,
            "smallest_margin": min(margins, default=None),
            "largest_share": max(shares, default=None),
            "arguments": _arguments(evidence),
        }
    }
    check = (report or {}).get("check")
    if check:
        kernels = report["kernels"]
        found["checked"] = {
            **{key: check[key] for key in ("values", "differing", "tensors", "batches", "outputs_only")},
            "inputs": {kind: count for kind, count in check["inputs"].items() if count},
            "kernels": Counter(kernel["op"] for kernel in kernels),
            "float_matmuls": sum(kernel["kind"] == "float" for kernel in kernels),
        }
    return found


def _arguments(evidence: Evidence) -> int:
    """How many arguments the functions of a file can have: all codes, or all distances until Exp gives code 0."""
    graph = evidence.model.graph
    made = {name: node for node in graph.node for name in node.output}
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}

    def behind(name: str, *ops: str) -> onnx.NodeProto:
        """The nearest node of these ops in front of a tensor, past constants."""
        while made[name].op_type not in ops:
            name = next(each for each in made[name].input if each not in constants)
        return made[name]

    found: dict[str, int] = {}
    for node in graph.node:
        if node.op_type not in ("Exp", "Gelu", "Erf", "Tanh", "Sigmoid"):
            continue
        source = behind(node.input[0], "Sub", "DequantizeLinear")
        if source.op_type == "DequantizeLinear":
            found[source.input[0]] = 256
            continue
        scale = float(constants[behind(source.input[0], "DequantizeLinear").input[1]])
        span, name = 255.0, source.input[0]
        while made[name].op_type != "DequantizeLinear":  # position biases widen what the scores can be apart
            if made[name].op_type == "Add":
                span += float(np.ptp(next(constants[each] for each in made[name].input if each in constants))) / scale
            name = next(each for each in made[name].input if each not in constants)
        readers = [each for each in graph.node if node.output[0] in each.input and each.op_type == "QuantizeLinear"]
        silent = max(-math.log(float(constants[each.input[1]]) / 8) / scale for each in readers)
        key = source.output[0]
        found[key] = max(found.get(key, 0), math.ceil(min(span, max(silent, 0.0))) + 1)
    return sum(found.values())


def _operators(evidence: Evidence) -> Iterator[dict[str, Any]]:
    contents, proof = evidence.recipe["contents"], evidence.recipe["proof"]
    graph = evidence.model.graph
    sizes: dict[str, list[int | str | None]] = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    for entry in (*graph.input, *graph.value_info, *graph.output):
        dims = entry.type.tensor_type.shape.dim
        sizes[entry.name] = [dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None for dim in dims]
    ends = _constants(evidence)
    layers: dict[str, list[int]] = {}
    for place, claim in enumerate(proof, 1):
        layers.setdefault(claim["layer"], []).append(place)

    def operand(name: str) -> dict[str, Any]:
        low, high = ends.get(name, (ANY, ANY))
        return {"shape": sizes.get(name, []), "low": low, "high": high, "sha256": contents.get(f"tensor {name}")}

    for place, node in enumerate(graph.node, 1):
        parts = node.name.split(".")
        names = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
        yield {
            "number": place,
            "version": onnx.defs.get_schema(node.op_type, evidence.model.opset_import[0].version).since_version,
            "inputs": [operand(name) for name in node.input],
            "outputs": [operand(name) for name in node.output],
            "bounds": next((layers[name] for name in names if name in layers), []),
        }


def _constants(evidence: Evidence) -> dict[str, tuple[float, float]]:
    """The least and the greatest value of every tensor that depends on constants alone."""
    graph = evidence.model.graph
    known = {tensor.name for tensor in graph.initializer}
    part = onnx.ModelProto(ir_version=evidence.model.ir_version, opset_import=evidence.model.opset_import)
    part.graph.initializer.extend(graph.initializer)
    for node in graph.node:
        if all(name in known for name in node.input):
            part.graph.node.append(node)
            known.update(node.output)
    part.graph.output.extend(onnx.ValueInfoProto(name=name) for node in part.graph.node for name in node.output)
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    values |= Interpreter(part).run({}) if part.graph.node else {}
    return {name: (float(value.min()), float(value.max())) for name, value in values.items() if value.size}


def _outside(evidence: Evidence) -> list[str]:
    """Values that left their interval, in runs on the golden inputs and on what is far beyond pictures."""
    ends = {each["name"]: each for operator in evidence.dossier["operators"] for each in operator["outputs"]}
    given, wrong = evidence.manifest["input"], []
    raw = np.fromfile(evidence.folder / "kit" / given["file"], given["dtype"])
    golden = raw.reshape(evidence.manifest["inputs"], *given["shape"])

    def look(name: str, values: Any) -> None:
        low, high = ends[name]["low"], ends[name]["high"]
        if values.size and ((low is not None and values.min() < low) or (high is not None and values.max() > high)):
            wrong.append(f"{name}: {values.min()} to {values.max()} is not within {low} to {high}")

    extreme = np.full_like(golden[0], 3e38 if golden.dtype == np.float32 else 255)
    interpreter = Interpreter(evidence.model)
    for value in (*golden, extreme):
        interpreter.run({given["name"]: value}, trace=True, observe=look)
    return wrong


def _trace(evidence: Evidence, lineage: dict[str, Any]) -> dict[str, Any]:
    recipe, contents = evidence.recipe, evidence.recipe["contents"]
    layers = []
    for layer in evidence.dossier["trace"]["layers"]:
        entry, rewritten = recipe["weights"][layer["layer"]], lineage.get("weights", {}).get(layer["layer"])
        found = {
            "bits": entry["bits"],
            "shape": entry["shape"],
            "sha256": entry["sha256"],
            "stored": [{"sha256": contents[f"tensor {each['name']}"]} for each in layer["stored"]],
        }
        if rewritten:
            found["rewritten_sha256"] = rewritten["sha256"]
            found["sqnr_db"] = 10 * math.log10(rewritten["signal"] / rewritten["noise"])
        layers.append(found)
    quantizers = [
        {
            **{key: quant[key] for key in ("bits", "scale", "zero_point", "low", "high")},
            "regions": len(quant["regions"]),
        }
        for quant in recipe["activations"].values()
    ]
    return {"tensors": lineage.get("tensors", []), "layers": layers, "quantizers": quantizers}


def _golden(evidence: Evidence) -> dict[str, Any]:
    manifest = evidence.manifest
    tensors = [manifest["input"], *manifest["tensors"], *manifest["outputs"]]
    return {
        "inputs": manifest["inputs"],
        "tensors": [
            {
                "shape": tensor["shape"],
                "crc32": tensor["crc32"],
                "sha256": tensor["file"] and _file(evidence.folder / "kit" / tensor["file"])["sha256"],
            }
            for tensor in tensors
        ],
    }


def _figure(evidence: Evidence, figure: dict[str, Any]) -> dict[str, Any]:
    """A figure of a classifier, or of another output beside float, from the file that it names."""
    if not figure["source"].endswith("eval.json"):
        others = [each for each in evidence.report["outputs"] if each["output"] == figure["output"]]
        if others:
            key = next(key for word, key in {"cosine": "cosine", "SQNR": "sqnr_db"}.items() if word in figure["what"])
            return {"value": others[0][key], "images": others[0]["images"]}
        found, nats = evidence.report["agreement"], "KL" in figure["what"]
        value = found["mean_kl"] if nats else found["same"] / found["images"]
        low, high = (found["kl_low"], found["kl_high"]) if nats else (found["low"], found["high"])
        return {"value": value, "low": low, "high": high, "images": found["images"]}
    found = evidence.eval
    common = {"images": found["images"], "images_sha256": found["images_sha256"]}
    if "KL" in figure["what"]:
        low, high = found["kl_interval"]
        return {"value": found["mean_kl"], "low": low, "high": high, **common}
    key = {"top-1": "top1", "top-5": "top5"}.get(figure["what"])
    value = found["agreement"] if key is None else found["quantised"][key]
    interval = binomtest(round(value * found["images"]), found["images"]).proportion_ci(method="wilson")
    floating = {} if key is None or not found["floating"] else {"float_value": found["floating"][key]}
    return {"value": value, "low": interval.low, "high": interval.high, **floating, **common}


def words(text: str) -> set[str]:
    """What of a text looks like a number."""
    return set(re.findall(r"\d{1,3}(?:,\d{3})+|\d+(?:\.\d+)?(?:e[-+]?\d+)?", text))

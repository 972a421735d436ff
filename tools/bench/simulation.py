"""How close the simulation in torch, in which everything is searched, is to the exported file.

    python -m tools.bench.simulation MODEL OUT.onnx --val DIR [--images 1000] [--json FILE]

Both run on the same images; the recipe beside OUT.onnx gives the simulation. Prints top-1 of both, how often they name
the same class, and their divergence, beside that of the file from the float model.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from mptq_export.capture.evaluate import evaluate
from mptq_export.evaluate.logits import onnx_predictor
from mptq_export.evaluate.metrics import agreement, mean_kl, top_k
from mptq_export.export.replay import replay_graph
from mptq_export.load.loaders import load_model
from mptq_export.quantize.simulation.simulate import Simulator
from mptq_export.recipe.store import read_recipe, recipe_paths
from mptq_export.runtime.session import open_session
from tools.bench.labelled import labelled
from tools.options import Parser, existing, positive


def main(arguments: Sequence[str] | None = None) -> int:
    parser = Parser("bench.simulation", __doc__)
    parser.add_argument("model")
    parser.add_argument("onnx", type=existing)
    parser.add_argument("--val", type=existing, required=True, help="Class folders.")
    parser.add_argument("--images", type=positive, default=1000, help="At most so many.")
    parser.add_json()
    return parser.run(run, arguments)


def run(*, model: str, onnx: Path, val: Path, images: int, json_path: Path | None) -> None:
    loaded = load_model(model)
    folder, labels = labelled(val, loaded, images)
    path = recipe_paths(onnx)[0]
    recipe = read_recipe(path)
    normalize = loaded.preprocessing.normalize
    predict = onnx_predictor(open_session(onnx), normalize)
    parts: dict[str, list[np.ndarray]] = {"float": [], "simulation": [], "file": []}
    graph = simulator = None
    for pixels in track(folder.batches(25), "comparing", transient=True, total=-(-len(labels) // 25)):
        inputs = torch.from_numpy(normalize(pixels))
        if graph is None or simulator is None:
            graph = replay_graph(path, recipe, loaded, inputs[:2])
            simulator = Simulator.of(graph, recipe)
        with torch.no_grad():
            parts["float"].append(evaluate(graph, inputs).numpy())
            parts["simulation"].append(evaluate(graph, inputs, compute_node=simulator.compute).numpy())
        parts["file"].append(predict(pixels))
    logits = {name: np.concatenate(part) for name, part in parts.items()}
    rows = [
        {
            "what": name,
            "top1": top_k(found, labels, 1),
            "agreement_with_file": agreement(logits["file"], found),
            "kl_from_file": mean_kl(logits["file"], found),
            "kl_from_float": mean_kl(logits["float"], found),
        }
        for name, found in logits.items()
    ]
    table = Table("what", "top-1", "same class as the file", "KL from the file", "KL from float", title=onnx.name)
    for row in rows:
        same, kl, lost = row["agreement_with_file"], row["kl_from_file"], row["kl_from_float"]
        table.add_row(str(row["what"]), f"{row['top1']:.1%}", f"{same:.1%}", f"{kl:.5f}", f"{lost:.5f}")
    Console().print(table)
    if json_path:
        json_path.write_text(json.dumps({"onnx": onnx.name, "images": len(labels), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())

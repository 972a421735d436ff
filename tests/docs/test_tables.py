"""How each table reads, from figures as they are kept."""

from typing import Any

from tools.figures import accuracy, cost, embeddings, exactness, floor, latency, mixed, without_images
from tools.figures.readme import readme_table
from tools.figures.table import Document, Figures

VERSIONS = {"onnxruntime": "1.2", "torch": "2.3", "timm": "1.0"}
EXPORT = {"seconds": 61.4, "peak_mb": 1834.0, "bytes": 3_415_874, "float32_bytes": 22_105_384, "load_ms": 83.2}
CLOSE = {"images": 1000, "top1": 0.8312, "float_top1": 0.834, "agreement": 0.967, "agreement_interval": [0.954, 0.976]}


def document(table: str, *rows: Figures) -> Document:
    kept = tuple({**row, "jobs": 4, "threads": 4, "machine": 0} for row in rows)
    return Document(table, "abc1234", ("a machine",), VERSIONS, kept)


def deployed(model: str, bits: str, method: str = "best") -> Figures:
    shared = {"min_onnxruntime": "1.23", "kl": 0.01025, "kl_interval": [0.0091, 0.0115]}
    return {"model": model, "bits": bits, "method": method, **EXPORT, **CLOSE, **shared}


def quartiles(median: float) -> dict[str, float]:
    return {"low": median - 0.01, "median": median, "high": median + 0.01}


def peer(name: str, ratio: float) -> dict[str, Any]:
    timings = [
        {"threads": threads, "batch": 1, "latency_ms": quartiles(10 * ratio), "over": {"ours 8/8": quartiles(ratio)}}
        for threads in (1, 4)
    ]
    return {"name": name, "file_bytes": 6_090_000, "timings": timings}


ACCURACY = document("accuracy", *(deployed("deit_tiny", bits) for bits in ("8/8", "4/4", "3/3")))
FILES = [
    {"file": "uniform 4/4", "bytes": 3_400_000, "top1": 0.832, "kl": 0.011},
    {
        "file": "mixed 4",
        "bytes": 3_300_000,
        "top1": 0.828,
        "kl": 0.0051,
        "beside": "4/4",
        "kl_over": [0.46, 0.41, 0.52],
        "top1_above": [-0.004, -0.015, 0.008],
    },
]
SEARCH = {"seconds": 242.0, "peak_mb": 2100.0}
MIXED = document("mixed", {"model": "deit_tiny", "images": 1000, "float_top1": 0.834, "search": SEARCH, "files": FILES})
PEERS = [peer("float32", 2.4), peer("ORT static u8s8", 1.14), peer("ORT static u8u8", 2.78), peer("ours 8/8", 1.0)]
LATENCY = document("latency", {"model": "deit_small_patch16_224", "rounds": 30, "peers": PEERS})


def test_accuracy():
    row = "| DeiT-tiny | 4/4 | `best` | 83.1 % | 83.4 % | 96.7 % (95.4 to 97.6) | 0.01025 (0.00910 to 0.01150) |"
    assert row in accuracy.markdown(ACCURACY)
    demo = document("without-images", deployed("digits", "3/3"))
    assert "| 3/3 | 83.12 % | 83.40 % | 96.70 % (95.4 to 97.6) |" in without_images.markdown(demo)


def test_cost():
    row = "| DeiT-tiny | 4/4 | `best` | 3,415,874 | 0.155 | 83 ms | 1.23 | 61 s | 1.83 GB |"
    assert row in cost.markdown(ACCURACY)


def test_mixed():
    lines = mixed.markdown(MIXED).splitlines()
    assert lines[2:] == [
        "| DeiT-tiny | float |  | 83.4 % |  |  |  |  |",
        "| DeiT-tiny | uniform 4/4 | 3.40 | 83.2 % | 0.0110 |  |  |  |",
        "| DeiT-tiny | mixed 4 | 3.30 | 82.8 % | 0.0051 | 4/4 | 0.46 (0.41 to 0.52) | -0.4 (-1.5 to +0.8) |",
    ]
    assert "| DeiT-tiny | 242 s | 2.10 GB |" in mixed.search_markdown(MIXED)


def test_latency_and_floor():
    lines = latency.markdown(LATENCY).splitlines()
    assert "| DeiT-S | 4 | ORT static u8s8 | 6.09 | 11.40 | 1.14 (1.13 to 1.15) |" in lines
    assert len(lines) == 2 + 2 * len(PEERS)
    row = {"model": "deit_small_patch16_224", "file": "ours 8/8", "rounds": 20, "floor_ms": 14.05, "whole_ms": 19.87}
    assert "| DeiT-S | ours 8/8 | 14.05 | 19.87 | 1.41 | 29 % |" in floor.markdown(document("floor", row))


def test_embeddings():
    neighbours = {"nearest": 0.994, "nearest_interval": [0.987, 0.997], "ten": 0.991, "ten_interval": [0.989, 0.992]}
    beside = {"cosine": 0.99951, "cosine_interval": [0.9995, 0.9996], "lowest_cosine": 0.9961, "neighbours": neighbours}
    found = {"output": "pooler_output", "kind": "embedding", "channels": 384, "beside_float": beside}
    accuracies = {"quantised": {"nearest": 0.98, "ten": 0.981}, "floating": {"nearest": 0.98, "ten": 0.982}}
    tokens = {"output": "last_hidden_state", "kind": "tokens", "shape": [257, 384], "sqnr_db": 20.0, "cosine": 0.99}
    figures = embeddings.embedding_of({"images": 1000, "outputs": [tokens, {**found, **accuracies}]})
    row = {"model": "vit_small", "encoder": "DINOv2-small, timm", "bits": "8/8", "bytes": 22_650_000, **figures}
    lines = embeddings.markdown(document("embeddings", row)).splitlines()
    shares = "99.4 % (98.7 to 99.7) | 99.1 % (98.9 to 99.2) | 98.1 % | 98.2 %"
    assert lines[2] == f"| DINOv2-small, timm | 8/8 | 22.65 | 0.99951 | 0.9961 | {shares} |"


def test_every_table_has_as_many_cells_as_columns():
    tables = (accuracy.markdown(ACCURACY), cost.markdown(ACCURACY), mixed.markdown(MIXED), latency.markdown(LATENCY))
    for text in tables:
        assert len({line.count(" | ") for line in text.splitlines() if not line.startswith("|---")}) == 1


def test_the_readme_has_eight_rows():
    models = ("digits", "deit_tiny", "vit_small", "vit_small_200")
    matmuls = {"integer": 74, "float": 0}
    exact = [
        {"model": model, "bits": bits, "images": 16, "tensors": 9, "values": 99_610_892, "differing": 0}
        | {"verdict": "exact", "matmuls": matmuls}
        for model in models
        for bits in exactness.WIDTHS
    ]
    documents = {
        "accuracy": document("accuracy", *(deployed(m, bits, how) for m in models for bits, how in accuracy.WIDTHS)),
        "exactness": document("exactness", *exact),
        "mixed": MIXED,
        "latency": LATENCY,
    }
    lines = readme_table(documents).splitlines()
    rows = [line for line in lines if line.startswith("|")][2:]
    assert len(rows) == 8
    assert any("83.1 %, 83.1 %, 83.1 % (83.4 %)" in row for row in rows)
    assert any("2.40x, 1.14x, 2.78x" in row for row in rows)
    assert any("3.42 MB, 0.155 of the float32 weights; 61 s and 1.83 GB to export" in row for row in rows)
    assert lines[-1].startswith("Commit abc1234")

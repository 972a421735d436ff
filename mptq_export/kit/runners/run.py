"""Does the model give the kit's golden values on this machine, bit by bit? Needs onnxruntime and NumPy, nothing else.

    python run.py [--threads N] [--runs N] [--outputs-only]

Exit status: 0 every value is equal; 1 something differs (the first differing tensor is named); 2 the kit cannot be run.
"""

import argparse
import hashlib
import json
import platform
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

KIT = Path(__file__).resolve().parent
WARM_UP = 2


def session_of(model: bytes, threads: int) -> ort.InferenceSession:
    """A CPU session with onnxruntime's default options: the promise is for these."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def stored(entry: dict[str, Any], index: int) -> np.ndarray:
    """Golden values of one input, from the tensor's file: raw, little-endian, one input after the other."""
    values = np.fromfile(KIT / entry["file"], np.dtype(entry["dtype"]).newbyteorder("<"))
    golden: np.ndarray = values.reshape(-1, *entry["shape"])[index].astype(entry["dtype"])
    return golden


def is_golden(got: np.ndarray, entry: dict[str, Any], index: int) -> bool:
    """Whether type, shape and every bit are those of the golden tensor, by its checksum."""
    if got.dtype.name != entry["dtype"] or list(got.shape) != entry["shape"]:
        return False
    raw = np.ascontiguousarray(got, got.dtype.newbyteorder("<")).tobytes()
    return bool(zlib.crc32(raw) == entry["crc32"][index])


def how_far(got: np.ndarray, entry: dict[str, Any], index: int) -> str:
    """In words, how a tensor differs from its golden one; values can be counted only where they are stored."""
    if got.dtype.name != entry["dtype"] or list(got.shape) != entry["shape"]:
        return f"is {got.dtype.name} {list(got.shape)}, not {entry['dtype']} {entry['shape']}"
    if entry["file"] is None:
        return "differs"
    golden = stored(entry, index)
    size = got.dtype.itemsize
    bits = (np.ascontiguousarray(a).view(np.uint8).reshape(-1, size) for a in (got, golden))
    wrong = int(np.count_nonzero((next(bits) != next(bits)).any(axis=1)))
    largest = np.abs(got.astype(np.float64) - golden.astype(np.float64)).max()
    return f"{wrong:,} of {got.size:,} values differ, the largest difference is {largest:.6g}"


def check_outputs(manifest: dict[str, Any], session: ort.InferenceSession) -> bool:
    """Compare the plain model's outputs on every golden input."""
    passed = True
    names = [entry["name"] for entry in manifest["outputs"]]
    for index in range(manifest["inputs"]):
        values = session.run(names, {manifest["input"]["name"]: stored(manifest["input"], index)})
        for entry, got in zip(manifest["outputs"], values, strict=True):
            same = is_golden(got, entry, index)
            passed &= same
            text = "equal, bit by bit" if same else how_far(got, entry, index)
            print(f"input {index}: {entry['name']}: {text}")
    return passed


def check_inside(manifest: dict[str, Any], session: ort.InferenceSession) -> bool:
    """Compare the inner tensors of every golden input, in graph order, and name the first one that differs."""
    passed = True
    entries = manifest["tensors"]
    names = [entry["name"] for entry in entries]
    for index in range(manifest["inputs"]):
        values = session.run(names, {manifest["input"]["name"]: stored(manifest["input"], index)})
        wrong = [i for i, entry in enumerate(entries) if not is_golden(values[i], entry, index)]
        if not wrong:
            print(f"input {index}: {len(entries)} inner tensors equal, bit by bit")
            continue
        passed = False
        first = entries[wrong[0]]
        place = f"block {first['block']}" if first["block"] else "outside the blocks"
        print(f"input {index}: first diverging tensor: {first['name']} ({first['op']}, {place})")
        print(f"input {index}:   {len(wrong)} of {len(entries)} inner tensors differ")
        for i in wrong:
            if entries[i]["file"]:
                print(f"input {index}:   {entries[i]['name']}: {how_far(values[i], entries[i], index)}")
    return passed


def milliseconds(manifest: dict[str, Any], session: ort.InferenceSession, runs: int) -> list[float]:
    """Wall-clock time of each run of the first input, after a warm-up."""
    feed = {manifest["input"]["name"]: stored(manifest["input"], 0)}
    names = [entry["name"] for entry in manifest["outputs"]]
    times = []
    for _ in range(WARM_UP + runs):
        start = time.perf_counter()
        session.run(names, feed)
        times.append((time.perf_counter() - start) * 1e3)
    return times[WARM_UP:]


def damaged(manifest: dict[str, Any]) -> list[str]:
    """Files that are not those that the kit was written with."""
    files = manifest["files"]
    return [f["file"] for f in files if hashlib.sha256((KIT / f["file"]).read_bytes()).hexdigest() != f["sha256"]]


def run_kit(threads: int, runs: int, outputs_only: bool) -> bool:
    """Run the whole kit and print what is found."""
    manifest = json.loads((KIT / "manifest.json").read_text(encoding="utf-8"))
    print(
        f"onnxruntime {ort.__version__}, {platform.system()} {platform.machine()}, Python {platform.python_version()}"
    )
    altered = damaged(manifest)
    for name in altered:
        print(f"{name}: not the file that the kit was written with (its SHA-256 differs)")
    model = (KIT / manifest["model"]).read_bytes()
    session = session_of(model, threads)
    passed = check_outputs(manifest, session)
    if not outputs_only:
        # Two messages of protobuf, one after the other, are one: the same model with its inner tensors as outputs.
        probed = session_of(model + (KIT / manifest["probes"]).read_bytes(), threads)
        inside = check_inside(manifest, probed)
        if inside and not passed:
            print("the inner tensors are equal: the runtime fuses the plain model in another way, see README.md")
        passed &= inside
    times = sorted(milliseconds(manifest, session, runs))
    print(f"latency: median {times[len(times) // 2]:.2f} ms, smallest {times[0]:.2f} ms ({runs} runs, batch 1)")
    passed &= not altered
    print("PASS" if passed else "FAIL")
    return passed


def main() -> int:
    """Read the command line and run the kit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=0, help="threads of onnxruntime; 0 is its own choice")
    parser.add_argument("--runs", type=int, default=20, help="runs that are timed (20)")
    parser.add_argument("--outputs-only", action="store_true", help="leave the inner tensors out: half the memory")
    args = parser.parse_args()
    if args.runs < 1 or args.threads < 0:
        parser.error("--runs takes a number from 1, --threads one from 0")
    try:
        return 0 if run_kit(args.threads, args.runs, args.outputs_only) else 1
    except (OSError, ValueError, KeyError) as error:
        print(f"error: the kit in {KIT} cannot be read: {error!r}", file=sys.stderr)
    except Exception as error:  # noqa: BLE001 - onnxruntime's exceptions have no common base
        print(f"error: onnxruntime cannot run the model: {error}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())

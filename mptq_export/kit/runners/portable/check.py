"""What the Python runners share: the kit is read, outputs are compared with golden ones, runs timed. Needs NumPy."""

import argparse
import hashlib
import json
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).resolve().parent
WARM_UP = 2

Run = Callable[[np.ndarray], dict[str, np.ndarray]]
"""Outputs by name for one input."""


class CannotRunError(Exception):
    """The kit cannot be run here; the message is one line that says why."""


def read_manifest() -> dict[str, Any]:
    """What the kit holds."""
    manifest: dict[str, Any] = json.loads((FOLDER / "manifest.json").read_text(encoding="utf-8"))
    return manifest


def stored(entry: dict[str, Any], index: int) -> np.ndarray:
    """Values of one golden input, from the tensor's file: raw, little-endian, one input after the other."""
    values = np.fromfile(FOLDER / entry["file"], np.dtype(entry["dtype"]).newbyteorder("<"))
    golden: np.ndarray = values.reshape(-1, *entry["shape"])[index].astype(entry["dtype"])
    return golden


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Along the last axis."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    found: np.ndarray = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return found


def judge(entry: dict[str, Any], golden: np.ndarray, found: np.ndarray) -> tuple[bool, str]:
    """Whether one output of one input is within its tolerance, and what was found, in words."""
    if list(found.shape) != entry["shape"]:
        return False, f"has shape {list(found.shape)}, not {entry['shape']}"
    golden, found = golden.astype(np.float64), found.astype(np.float64)
    if not np.isfinite(found).all():
        return False, "holds values that are no numbers"
    allowed = entry["tolerance"]
    difference = (found - golden).reshape(len(golden), -1)
    if entry["kind"] == "logits":
        difference -= difference.mean(axis=1, keepdims=True)
    rms = float(np.sqrt(np.mean(np.square(difference))))
    fits = rms <= allowed["rms"]
    words = [f"rms of the difference {rms:.3g} (at most {allowed['rms']:.3g})"]
    if entry["kind"] == "logits":
        log_p, log_q = log_softmax(golden), log_softmax(found)
        kl = max(0.0, float(np.sum(np.exp(log_p) * (log_p - log_q), axis=-1).max()))
        fits &= kl <= allowed["kl"]
        words.append(f"KL {kl:.2g} (at most {allowed['kl']:.2g})")
        second, first = np.sort(golden, axis=-1)[..., -2:].T if golden.shape[-1] > 1 else (0.0, np.inf)
        decided = np.asarray(first - second > allowed["lead"]).T
        same = golden.argmax(axis=-1) == found.argmax(axis=-1)
        fits &= bool((same | ~decided).all())
        words.append("top-1 equal" if same.all() else "top-1 differs" + ("" if (decided & ~same).any() else ", a tie"))
    return bool(fits), ", ".join(words)


def damaged(manifest: dict[str, Any]) -> list[str]:
    """Files that are not those that the kit was written with."""
    files = manifest["files"]
    return [f["file"] for f in files if hashlib.sha256((FOLDER / f["file"]).read_bytes()).hexdigest() != f["sha256"]]


def parser_of(description: str | None) -> argparse.ArgumentParser:
    """The options that all runners have."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20, help="runs that are timed (20); 0: none")
    return parser


def run_kit(run: Run, manifest: dict[str, Any], runtime: str, runs: int) -> bool:
    """Run every golden input, print what is found, and give the verdict.

    Args:
        run: computes one input.
        manifest: of the kit.
        runtime: what runs it, for people.
        runs: how many are timed.
    """
    print(f"{runtime}, {platform.system()} {platform.machine()}, Python {platform.python_version()}")
    altered = damaged(manifest)
    for name in altered:
        print(f"{name}: not the file that the kit was written with (its SHA-256 differs)")
    passed = not altered
    for index in range(manifest["inputs"]):
        found = run(stored(manifest["input"], index))
        for entry in manifest["outputs"]:
            fits, words = judge(entry, stored(entry, index), found[entry["name"]])
            passed &= fits
            print(f"input {index}: {entry['name']}: {'within' if fits else 'BEYOND'} the tolerance: {words}")
    if runs:
        first = stored(manifest["input"], 0)
        times = []
        for _ in range(WARM_UP + runs):
            start = time.perf_counter()
            run(first)
            times.append((time.perf_counter() - start) * 1e3)
        times = sorted(times[WARM_UP:])
        print(f"latency: median {times[len(times) // 2]:.2f} ms, smallest {times[0]:.2f} ms ({runs} runs, batch 1)")
    return passed


def main(described: Callable[[], bool]) -> int:
    """Run a runner: 0 passed, 1 failed, 2 it cannot be run; whatever goes wrong is one line."""
    try:
        passed = described()
    except (OSError, ValueError, KeyError) as error:
        print(f"error: the kit in {FOLDER} cannot be read: {error!r}", file=sys.stderr)
        return 2
    except Exception as error:  # noqa: BLE001 - runtimes' exceptions have no common base
        print(f"error: {' '.join(str(error).split())[:400]}", file=sys.stderr)
        return 2
    print("PASS" if passed else "FAIL")
    return 0 if passed else 1

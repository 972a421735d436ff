"""The same checkpoint and images give the same bytes on CPUs that add in another order."""

from pathlib import Path

from tools.crosscheck.same_bytes import SETTINGS, export

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits"


def test_an_export_is_the_same_with_other_threads_and_instruction_sets(tmp_path: Path):
    plain = SETTINGS["torch without vectors"] | SETTINGS["MKL SSE4.2, oneDNN SSE4.1"]
    files = {}
    threads = SETTINGS["2 threads"] | {"OMP_WAIT_POLICY": "PASSIVE"}  # the other worker needs the core
    for name, environment in (("here", threads), ("there", plain)):
        out = tmp_path / f"{name}.onnx"
        arguments = [DIGITS / "digits_vit.pt", "--calib", DIGITS / "calib", "--count", 8, "--bits", "4/4"]
        export(list(map(str, arguments)), out, environment)
        files[name] = out.read_bytes()
    assert files["here"] == files["there"]

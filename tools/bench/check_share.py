"""What part of an export its own check takes, in CPU seconds, which the load of a machine changes little.

python -m tools.bench.check_share CHECKPOINT --calib DIR --count 32 -o OUT.onnx [any other option of mptq-export]
"""

import time
from typing import Any

from mptq_export.cli.export import main
from mptq_export.verify import compare


def run() -> None:
    """Export, and print the share."""
    verify_model, checks = compare.verify_model, []

    def timed(*arguments: Any, **options: Any) -> Any:
        start = time.process_time()
        report = verify_model(*arguments, **options)
        checks.append((time.process_time() - start, report.batches))
        return report

    compare.verify_model = timed
    try:
        main()
    finally:
        whole = time.process_time()  # since the process began: imports count
        for seconds, batches in checks:
            ran = ", ".join(f"{count} at batch {size}" for size, count in sorted(batches.items()))
            print(f"check        {seconds:.1f} s of CPU time ({ran}), {seconds / whole:.1%} of {whole:.1f} s")


if __name__ == "__main__":
    run()

"""What a portable file promises: no bits; how far off it was, in onnxruntime and in every runtime that ran it."""

from typing import get_args

from mptq_export.recipe.settings import Settings
from mptq_export.report.export_files import Export
from mptq_export.report.figure import Figure
from mptq_export.report.runtimes import RuntimeRun, StoredCodes, StoredOutput
from mptq_export.runtime.edge.session import RuntimeName
from mptq_export.targets.table import portable_form

#: Means of this and more are told without digits behind the point.
_WHOLE = 10


def promise_figure(export: Export) -> Figure:
    """The figure that an exact file has its exactness in."""
    notes = [f"portable form for {export.recipe.settings.target}: no bits are promised"]
    check = export.evidence.portable if export.evidence else None
    if check is not None:
        apart = "" if check.sqnr_db is None else f" ({check.sqnr_db:.1f} dB)"
        differing = f"{check.differing} of {check.values:,} outputs differ"
        notes.append(f"as written, {differing} from the simulation that it was made with{apart}")
    notes += [f"{run.title}: {run.verdict}, {run.where}; {'; '.join(output_words(run))}" for run in export.runs]
    notes += [] if export.runs else [not_run(export)]
    return Figure("Promise", _off(export), "; ".join(note for note in notes if note))


def not_run(export: Export) -> str:
    """That no runtime ran it, and what that says."""
    name = export.recipe.settings.target
    form = portable_form(name)
    if form is not None and not form.run:
        return f"not run in {name}, here or ever by this program: its rules were read in documents"
    return "not run in another runtime"


def output_words(run: RuntimeRun) -> list[str]:
    """How far every output of a runtime is from what the file says."""
    return [f"{each.output} {_words(each)}" for each in run.outputs]


def runnable(settings: Settings) -> RuntimeName | None:
    """The runtime that a portable file is for, if this program can run it there; else None."""
    if settings.form != "portable":
        return None
    return next((name for name in get_args(RuntimeName) if name == settings.target), None)


def _off(export: Export) -> str:
    """Off by n codes: the runtime that is furthest off; else that nothing is promised."""
    bad = next((run for run in export.runs if run.verdict in ("wrong", "refused", "not whole")), None)
    if bad is not None:
        return f"{bad.runtime}: {bad.verdict}"
    codes = [each.codes for run in export.runs for each in run.outputs if each.codes is not None]
    if codes:
        return f"off by {_steps(max(found.mean for found in codes))} codes"
    decibels = [each.beside_file.sqnr_db for run in export.runs for each in run.outputs]
    measured = [found for found in decibels if found is not None]
    if measured:
        return f"{min(measured):.1f} dB SQNR"
    return "0 codes off, measured" if decibels else "no bits"


def _words(output: StoredOutput) -> str:
    found = output.beside_file
    words = ["equals the file's" if found.sqnr_db is None else f"{found.sqnr_db:.1f} dB from the file's"]
    if output.codes is not None:
        words.append(_codes(output.codes))
    if found.agreement is not None and found.mean_kl is not None:
        same = round(found.agreement * found.inputs)
        words.append(f"top-1 equal for {same} of {found.inputs}, KL {found.mean_kl:.2g}")
    beside = output.beside_float
    if beside is not None and beside.mean_kl is not None:
        words.append(f"KL to float {beside.mean_kl:.2g}")
    return ", ".join(words)


def _codes(codes: StoredCodes) -> str:
    equal = codes.off_by.get("0", 0) / max(codes.values, 1)
    words = f"codes off by {_steps(codes.mean)} steps of {codes.step:.2g} on average"
    return f"{words} ({equal:.0%} equal, {codes.most:,} at most)"


def _steps(mean: float) -> str:
    return f"{mean:,.0f}" if mean >= _WHOLE else f"{mean:.2g}"

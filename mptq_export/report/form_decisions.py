"""How a portable file looks, as decisions with their reasons: its target asked for each."""

from mptq_export.recipe.schema import ExportRecipe
from mptq_export.targets.portable import AttentionCodes, ParameterType, PortableForm, Spelling
from mptq_export.targets.rules import FLOAT_BITS
from mptq_export.targets.table import portable_form

_ATTENTION: dict[AttentionCodes, str] = {
    "unsigned": "unsigned, 0 is the lowest code",
    "lowest": "signed, 0 is the lowest code",
    "positive": "signed, 0 is the middle code: half are never used",
}
_NORMS: dict[ParameterType, str] = {
    "float": "gain and offset in floats",
    "codes": "gain and offset as codes of 8 bits",
    "int32 offset": "gain as codes of 8 bits, offset int32",
}
_GELU: dict[Spelling, str] = {"node": "one node", "erf": "five nodes with Erf among them"}


def form_decisions(recipe: ExportRecipe) -> list[tuple[str, str, str]]:
    """(what, choice, reason) of all that the form decides; nothing for an exact file."""
    settings = recipe.settings
    form = portable_form(settings.target)
    if settings.form != "portable" or form is None:
        return []
    source = "its runtime was run" if form.run else "its documents were read, it was not run"
    found = [
        ("form", f"portable, for {settings.target}", f"what the target takes ({source})"),
        ("codes", _codes(form), "asked for by the target" if form.everywhere else "the target is quickest so"),
        ("softmax", _ATTENTION[form.attention], "asked for by the target"),
        ("residual", *_residual(form, settings.residual_bits)),
        ("norms", _NORMS[form.norms], "asked for by the target"),
        ("GELU", _GELU[form.gelu], "the spelling that the target knows"),
        ("ONNX", f"opset {form.opset}, IR {form.ir}", _batch(form)),
    ]
    for stream, matrix in recipe.rotations.items():
        reason = "no channel of the residual fills its range alone; folded into the layers around"
        found.append((f"rotation at {stream}", f"{len(matrix)} channels", reason))
    return found


def residual_words(bits: int) -> str:
    """What the residual has: codes of a width, or floats."""
    return "residual float" if bits == FLOAT_BITS else f"residual {bits}"


def _codes(form: PortableForm) -> str:
    kind = "signed" if form.signed else "unsigned"
    zero = "symmetric" if form.symmetric else "asymmetric"
    return f"{kind}, {zero}, {'on every tensor' if form.everywhere else 'where matmuls read'}"


def _residual(form: PortableForm, bits: int) -> tuple[str, str]:
    if bits == FLOAT_BITS:
        return "float", "only what matmuls read has codes"
    choice = f"{bits} bits, with a scale of its own per tensor"
    widths = " or ".join(map(str, form.residual_bits))
    return choice, f"the target takes {widths}" if len(form.residual_bits) > 1 else f"the target takes {widths} alone"


def _batch(form: PortableForm) -> str:
    return "one image: the target wants fixed shapes" if form.fixed_batch else "any number of images"

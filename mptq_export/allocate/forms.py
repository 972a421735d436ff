"""The forms of the file, as a search sees them."""

from mptq_export.allocate.exact_form import EXACT_SEARCH
from mptq_export.allocate.form import SearchForm
from mptq_export.allocate.portable_form import PortableSearchForm
from mptq_export.quantize.form import Form
from mptq_export.quantize.portable.form import Portable


def search_form(form: Form) -> SearchForm:
    """A form as a search sees it."""
    return PortableSearchForm(form) if isinstance(form, Portable) else EXACT_SEARCH

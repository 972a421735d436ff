"""The documents of the ONNX working group for a safety-related profile that the rules come from, as they were read.

All are drafts in the repository onnx/working-groups, folder safety-related-profile; a source names the file, the
revision (first digits of its commit) and the place in it.
"""

_INFORMAL = "sonnx/ops/spec/informal"


def requirements(place: str) -> str:
    """The requirements of the profile."""
    return f"deliverables/reqs/reqs.md (1598dbc), {place}"


def graph(place: str) -> str:
    """How a graph is executed, and what is restricted of it."""
    return f"documents/profile_graph/graph.md (01aa782), {place}"


def general(place: str) -> str:
    """Restrictions of all operators."""
    return f"{_INFORMAL}/common/general_restrictions.md (acaff2f), {place}"


def operator(file: str, revision: str, place: str) -> str:
    """The specification of one operator."""
    return f"{_INFORMAL}/{file} ({revision}), {place}"

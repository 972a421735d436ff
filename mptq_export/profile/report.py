"""What was found of a file that is held against a profile."""

from dataclasses import dataclass

from mptq_export.profile.rule import Finding, ProfileException, ProfileRule
from mptq_export.support.json_files import Json


@dataclass(frozen=True)
class RuleReport:
    """One rule.

    Attributes:
        rule: it.
        broken: what breaks it and is no exception.
        excepted: what is an exception, and which.
    """

    rule: ProfileRule
    broken: tuple[Finding, ...]
    excepted: tuple[tuple[ProfileException, Finding], ...]

    def to_json(self) -> dict[str, Json]:
        """Plain JSON values."""
        return {
            "rule": self.rule.name,
            "says": self.rule.says,
            "source": self.rule.source,
            "broken": [{"place": each.place, "why": each.why} for each in self.broken],
            "exceptions": [
                {"exception": exception.name, "place": each.place, "why": each.why} for exception, each in self.excepted
            ],
        }


@dataclass(frozen=True)
class ProfileReport:
    """A file and all rules.

    Attributes:
        model: the file's path; empty for one that has none yet.
        profile: its name.
        nodes: how many nodes the file has.
        rules: every rule that was looked at, in the order of the table.
    """

    model: str
    profile: str
    nodes: int
    rules: tuple[RuleReport, ...]

    @property
    def broken(self) -> tuple[RuleReport, ...]:
        """The rules that are broken by more than exceptions."""
        return tuple(rule for rule in self.rules if rule.broken)

    @property
    def passed(self) -> bool:
        """Whether every rule holds, but for the exceptions."""
        return not self.broken

    @property
    def exceptions(self) -> dict[ProfileException, list[Finding]]:
        """Every exception that the file needs, with its places."""
        found: dict[ProfileException, list[Finding]] = {}
        for rule in self.rules:
            for exception, finding in rule.excepted:
                found.setdefault(exception, []).append(finding)
        return found

    def to_json(self) -> dict[str, Json]:
        """Plain JSON values: every rule, and every place that breaks it or is an exception."""
        return {
            "model": self.model,
            "profile": self.profile,
            "passed": self.passed,
            "nodes": self.nodes,
            "rules": [rule.to_json() for rule in self.rules],
            "exceptions": [
                {"name": each.name, "rule": each.rule, "says": each.says, "reason": each.reason, "places": len(places)}
                for each, places in self.exceptions.items()
            ],
        }

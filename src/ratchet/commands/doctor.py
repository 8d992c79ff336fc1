"""Looks for what a user's machine can spring on a project, and says what mends it."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ratchet import checks
from ratchet.checks import Finding, Site, State


@dataclass(frozen=True)
class Diagnosis:
    """What all checks have found."""

    folder: Path
    """The project's folder, in which the mending commands run."""
    findings: tuple[tuple[str, Finding], ...]
    """Each finding after the group of its check."""

    def count(self, state: State) -> int:
        """Count the findings in a state."""
        return sum(finding.state is state for _, finding in self.findings)

    def healthy(self, *, strict: bool = False) -> bool:
        """Tell whether nothing is an error; under ``strict`` nothing a warning either."""
        return not self.count(State.ERROR) and not (strict and self.count(State.WARNING))

    def plain(self) -> dict[str, Any]:
        """Say it in what JSON knows."""
        return {
            "folder": str(self.folder),
            "findings": [{"group": group, **asdict(found)} for group, found in self.findings],
            "counts": {state.value: self.count(state) for state in State},
        }


def run(params_file: Path) -> Diagnosis:
    """Look at everything; nothing is changed, and no store is made.

    Parameters
    ----------
    params_file : Path
        The parameter file, which may not be there.
    """
    site = Site(params_file.absolute())
    findings = tuple(
        (group, finding)
        for group, listed in checks.GROUPS
        for check in listed
        for finding in checks.examine(site, check)
    )
    return Diagnosis(site.root, findings)

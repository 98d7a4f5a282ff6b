"""Prints what the campaign of planted faults has recorded for this tree."""

from tests.mutants import runs
from tests.mutants.core import FAULTS as CORE
from tests.mutants.shell import FAULTS as SHELL


def main() -> None:
    """Prints a row a fault: where it came from, and the test that noticed it."""
    caught = missed = 0
    print("| fault | reverses | noticed by | s |\n|---|---|---|---|")
    for fault in (*CORE, *SHELL):
        outcome = runs.recorded(repr(fault), fault.tests)
        if outcome is None:
            said, seconds = "not run", 0.0
        else:
            said, seconds = outcome.caught_by or "**nothing**", outcome.seconds
            caught += outcome.caught_by is not None
            missed += outcome.caught_by is None
        said = said.removeprefix("tests/")
        print(f"| {fault.name} | {fault.history or ''} | {said} | {seconds:.0f} |")
    print(f"\n{caught} noticed, {missed} not, of {len(CORE) + len(SHELL)}")


if __name__ == "__main__":
    main()

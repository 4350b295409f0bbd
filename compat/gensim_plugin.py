"""pytest plugin of compat.run: swaps the class, marks expected failures strictly, and writes down what happened."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import pytest

from compat.run import EXPECTED, REPORT, SIDE, expected_failures
from compat.witness import watch
from torchw2v.commands.run import patch_children
from torchw2v.patch import patch_gensim

# Before any test module is imported: some make subclasses of gensim's class.
side = os.environ[SIDE]
counts = watch(None if side == "gensim" else side)
if side != "gensim":
    patch_gensim()
    patch_children()


class Record:
    """Outcomes of all tests, and the list of expected failures."""

    def __init__(self, expected: list[dict[str, str]]) -> None:
        self.expected = expected
        self.outcomes: Counter[str] = Counter()
        self.failures: list[str] = []

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Mark the expected failures; an entry that names no test is an error."""
        by_name = {name_of(item.nodeid): item for item in items}
        unknown = [entry["test"] for entry in self.expected if entry["test"] not in by_name]
        if unknown:
            raise pytest.UsageError(f"xfail.yaml names tests that do not exist: {', '.join(unknown)}")
        for entry in self.expected:
            by_name[entry["test"]].add_marker(pytest.mark.xfail(reason=entry["reason"], strict=True))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count each test once; an error while setting up or tearing down is a failure."""
        if report.when == "call" or report.outcome != "passed":
            outcome = "xfailed" if hasattr(report, "wasxfail") and report.skipped else report.outcome
            self.outcomes[outcome] += 1
            if outcome == "failed":
                self.failures.append(name_of(report.nodeid))

    def pytest_sessionfinish(self) -> None:
        """Write the report."""
        record = {"outcomes": self.outcomes, "failures": self.failures, "counts": asdict(counts)}
        Path(os.environ[REPORT]).write_text(json.dumps(record))


def name_of(nodeid: str) -> str:
    """`test_file.py::Class::test`, wherever gensim is installed."""
    return nodeid.rsplit("/", 1)[-1]


def pytest_configure(config: pytest.Config) -> None:
    """Begin the record. Only our side has expected failures."""
    expected = expected_failures(Path(os.environ[EXPECTED]).read_text()) if side != "gensim" else []
    config.pluginmanager.register(Record(expected), "compat-record")

"""Reruns are defects with a name: list each one, and fail the run in CI above RERUNS_ALLOWED."""

import os

import pytest

RERUNS_ALLOWED = 3


def too_many(reruns: int) -> bool:
    return reruns > RERUNS_ALLOWED


class RerunLimit:
    """Plugin of the process that collects all reports."""

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        reruns = terminalreporter.stats.get("rerun", [])
        terminalreporter.write_line(f"{len(reruns)} reruns, {RERUNS_ALLOWED} are allowed")
        for report in reruns:
            terminalreporter.write_line(f"rerun: {report.nodeid}: {_reason(report)}")

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        reruns = len(reporter.stats.get("rerun", [])) if reporter is not None else 0
        if os.environ.get("CI") == "true" and too_many(reruns) and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _reason(report: pytest.TestReport) -> str:
    """Where it failed and the first line of why, whole: what a rerun leaves behind is nothing else."""
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is None:
        return "no message"
    return f"{os.path.relpath(crash.path)}:{crash.lineno}: {crash.message.partition(chr(10))[0]}"

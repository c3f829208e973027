"""How a gate tells what it found: the first problems at once, all of them in the reports asked for."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from thinker.errors import PreconditionError
from thinker.validation.dataset import DatasetValidationResult
from thinker.validation.reports import ReportTarget, write_report

log = logging.getLogger("thinker")


@dataclass(frozen=True)
class Reporting:
    """What is told, and where.

    Attributes:
        max_errors: so many errors, and so many warnings, are told at once.
        targets: the reports.
        show: shows so many of each on a terminal, in place of messages; None without a terminal.
    """

    max_errors: int = 10
    targets: tuple[ReportTarget, ...] = ()
    show: Callable[[DatasetValidationResult, int], None] | None = None

    def tell(self, result: DatasetValidationResult) -> None:
        """Tell the first problems and write the reports.

        Raises:
            PreconditionError: a report cannot be written, and nothing worse is to be told.
        """
        if self.show is not None:
            self.show(result, self.max_errors)
        shown = self.show is not None
        # One error alone is the message of the exception that follows.
        for line in result.error_lines(self.max_errors) if result.error_count > 1 else ():
            log.log(logging.DEBUG if shown else logging.ERROR, "%s", line)
        for line in result.warning_lines(self.max_errors):
            log.log(logging.DEBUG if shown else logging.INFO, "%s", line)
        for target in self.targets:
            try:
                write_report(target, result)
            except PreconditionError as error:
                if result.ok:
                    raise
                log.error("%s", error)

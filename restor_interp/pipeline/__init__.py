"""A whole run: from a configuration to tables and a report, resumable cell by cell."""

from restor_interp.pipeline.running import PlannedCell, plan, run, status
from restor_interp.pipeline.runs import Run, open_run

__all__ = ["PlannedCell", "Run", "open_run", "plan", "run", "status"]

"""A whole run: from a configuration to tables and a report, resumable cell by cell."""

from restor_interp.pipeline.designs import Design, run_design
from restor_interp.pipeline.running import PlannedCell, plan, run, status
from restor_interp.pipeline.runs import Run, open_run
from restor_interp.pipeline.sweeping import sweep

__all__ = [
    "Design",
    "PlannedCell",
    "Run",
    "open_run",
    "plan",
    "run",
    "run_design",
    "status",
    "sweep",
]

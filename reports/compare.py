"""Two runs, or two methods of one run: what differs, and is it more than the entities' chance?

The page that `restor-interp compare` writes. Differences of settings first, since they are what the
rest may be due to; then the summaries beside each other, each difference with its interval over
entities where both sides asked the same facts; then the facts that met another fate. Two runs that
differ in a seed alone and show differences as large as these would take them back: an interval over
entities says nothing about that.
"""

from restor_interp import report
from restor_interp.reporting.comparing import Comparison
from restor_interp.reporting.comparison_parts import (
    changed_fates,
    compared_numbers,
    compared_settings,
    comparison_verdict,
)
from restor_interp.reporting.parts import Details, Document, Section


@report
def compare(results: Comparison, *, headline_only=False) -> Document:
    """Two sides: settings that differ, numbers with differences, facts with another fate."""
    first, second = results.names
    sections = [
        Section("Settings that differ", compared_settings(results)),
        Section("Numbers beside each other", compared_numbers(results)),
        Section("Facts that met another fate", changed_fates(results)),
    ]
    if not headline_only:
        every = Details("All numbers of both summaries", compared_numbers(results, every=True))
        sections[1] = Section(sections[1].title, (*sections[1].parts, every))
    models = [run.config.get("model") for run in (results.first, results.second)]
    return Document(
        f"{first} and {second}",
        (*comparison_verdict(results), *sections),
        subtitle=f"within the run {results.first.name}"
        if results.is_within
        else f"two runs on {' and '.join(dict.fromkeys(map(str, models)))}",
    )

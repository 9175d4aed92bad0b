"""The whole run on one page: does any method restore more than its controls do?

A row per state, methods beside their controls: the same method on documents about other entities
(sham), retained text alone, and the corruption partly rolled back. What a method restores is what
stands above these rows. Then why: the mechanisms of facts with the staircase of what is retained
and the plane between forgetting and restoring, and what surveys say of whole states; the entities,
training, probes, and what was not found. A mechanism is worth nothing where thresholds moved by a
quarter change it, or where the sham's facts have it as often.
"""

from restor_interp import report
from restor_interp.reporting.curves import probe_curves, training_curves
from restor_interp.reporting.flips import flip_tables
from restor_interp.reporting.frontier import frontier
from restor_interp.reporting.lasting import lasting_parts
from restor_interp.reporting.mechanisms import mechanism_parts
from restor_interp.reporting.parts import Document, Legend, Section
from restor_interp.reporting.plane import restoration_plane
from restor_interp.reporting.results import RunResults
from restor_interp.reporting.run_sections import entity_table, not_found, provenance
from restor_interp.reporting.staircase import staircase
from restor_interp.reporting.states import fate_bars, run_verdict, state_table
from restor_interp.reporting.vocabulary import FATES
from restor_interp.reporting.whole_states import INTRO, whole_states


@report
def overview(results: RunResults) -> Document:
    """The run: a row per state with controls, the entities, training, and what was not found."""
    model = results.config.get("model", "a model")
    trials = frontier(results)
    sweep = (Section("The sweep", trials),) if trials else ()
    attacked = lasting_parts(results)
    lasting = (Section("Does it last?", attacked),) if attacked else ()
    return Document(
        f"Run {results.name}",
        (
            *run_verdict(results),
            Section("States", (state_table(results), *fate_bars(results), Legend(tuple(FATES)))),
            Section(
                "Why: mechanisms",
                (*mechanism_parts(results), *staircase(results), *restoration_plane(results)),
                intro="A mechanism is claimed of facts whose retention was measured, and withdrawn "
                "where its refuter speaks against it.",
            ),
            Section("Whole states", whole_states(results), intro=INTRO),
            Section(
                "Entities",
                (entity_table(results),),
                intro="A page each. Bars: what became of its facts after each method.",
            ),
            *sweep,
            *lasting,
            Section("Training", training_curves(results)),
            Section("Flips", flip_tables(results)),
            Section("Probes", probe_curves(results)),
            Section("Not found, not measured", not_found(results)),
            Section("Provenance", provenance(results)),
        ),
        subtitle=f"{model} · {len(results.entities)} entities · {len(results.facts)} facts · "
        f"{len(results.states)} states",
    )

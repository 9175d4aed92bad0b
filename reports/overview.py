"""The whole run on one page: does any method restore more than its controls do?

A row per state, methods beside their controls: the same method on documents about other entities
(sham), retained text alone, and the corruption partly rolled back. What a method restores is what
stands above these rows. Then why: the mechanisms of facts with the staircase of what is retained
and the plane between forgetting and restoring; the entities; then, folded, what surveys say of
whole states, and probes; training, and what was not found. A mechanism is worth nothing where
thresholds moved by a quarter change it, or where the sham's facts have it as often.
"""

from restor_interp import report
from restor_interp.reporting.curves import training_curves
from restor_interp.reporting.entities import entity_table
from restor_interp.reporting.flips import flip_tables
from restor_interp.reporting.frontier import frontier
from restor_interp.reporting.judges import agreement_table
from restor_interp.reporting.lasting import lasting_parts
from restor_interp.reporting.mechanisms import in_short, mechanism_parts
from restor_interp.reporting.methods_page import NAME, methods_page
from restor_interp.reporting.own_tables import own_tables
from restor_interp.reporting.parts import Details, Document, Legend, Section
from restor_interp.reporting.plane import restoration_plane
from restor_interp.reporting.predictions import prediction_table
from restor_interp.reporting.probes import probe_parts
from restor_interp.reporting.results import RunResults
from restor_interp.reporting.run_sections import gaps_in_short
from restor_interp.reporting.staircase import staircase
from restor_interp.reporting.states import fate_bars, run_verdict, state_table
from restor_interp.reporting.text_losses import text_table
from restor_interp.reporting.vocabulary import FATES
from restor_interp.reporting.whole_states import INTRO, whole_states


@report
def overview(results: RunResults) -> Document:
    """The run: a row per state with controls, why, the entities, and what was not found."""
    model = results.config.get("model", "a model")
    why = (
        *mechanism_parts(results),
        *staircase(results),
        *restoration_plane(results),
        *prediction_table(results),
    )
    flips = Details("Flips: how answers changed, state by state", flip_tables(results))
    sections = (
        Section("States", (state_table(results), *fate_bars(results), Legend(tuple(FATES)))),
        Section(
            "Why: mechanisms",
            why,
            intro="A mechanism is claimed of facts whose retention was measured, and withdrawn "
            "where its refuter speaks against it.",
        ),
        Section(
            "Entities",
            (entity_table(results), flips),
            intro="A page each. Bars: what became of its facts after each method.",
        ),
        Section("The sweep", frontier(results)),
        Section("Does it last?", lasting_parts(results)),
        Section("Whole states", whole_states(results), intro=INTRO),
        Section("Probes", probe_parts(results)),
        Section("Training", training_curves(results)),
        Section("Texts and judges", (*text_table(results), *agreement_table(results))),
        Section("Tables of this run's own", own_tables(results)),
        Section("Not found, not measured", gaps_in_short(results)),
    )
    return Document(
        f"Run {results.name}",
        (
            *run_verdict(results),
            *in_short(results),
            *(section for section in sections if section.parts),
        ),
        subtitle=f"{model} · {len(results.entities)} entities · {len(results.facts)} facts · "
        f"{len(results.states)} states",
        further=((NAME, methods_page(results)),),
    )

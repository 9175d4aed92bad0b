"""One entity: which of its facts were lost, which came back, and what the layers say.

The page reads from the outside in: the verdict with its counts; every answer in every state; how
likely the true and the false object are; then, for the facts that were looked into, where the
answer arises (causal tracing, Meng et al. 2022), what each layer would say (logit and tuned lens),
and, folded, what interventions and other readings say: patching between states, retention, grafted
weights, attention, MLPs, value vectors, tokens, each beside its control and with a line on what it
cannot show; last the probes with their controls. A method restores only what its sham does not, and
a mechanism that its refuter speaks against is not shown.
"""

from restor_interp import report
from restor_interp.reporting.evidence import mechanism_table
from restor_interp.reporting.inside import inside_by_fact
from restor_interp.reporting.objects import odds_map
from restor_interp.reporting.parts import Document, Paragraph, Section
from restor_interp.reporting.results import EntityResults
from restor_interp.reporting.verdicts import facts_table, verdict


@report
def entity(results: EntityResults) -> Document:
    """Per entity: verdict, answers in every state, true against false object, layers, probes."""
    kind = "corrupted" if results.is_corrupted else "untouched: no document is about it"
    return Document(
        results.entity,
        (
            *verdict(results),
            Section(
                "Facts",
                (*facts_table(results), *mechanism_table(results)),
                intro="Click a question to see inside the model, where it was looked into.",
            ),
            Section("True against false object", odds_map(results)),
            Section(
                "Inside the model",
                inside_by_fact(results),
                intro="Folded by fact and by instrument. All maps and lines of one figure share a "
                "scale. Where an answer can be changed is not by itself where it is best edited.",
            ),
            Section(
                "Beyond this entity",
                (
                    Paragraph("All entities together: states, probes, surveys", page="index"),
                    Paragraph("What the words mean, and how it was measured", page="methods"),
                ),
            ),
        ),
        subtitle=f"{len(results.facts)} facts · {kind}",
    )

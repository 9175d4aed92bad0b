"""The section on whole states: what every survey of a run found, each folded under its title."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from restor_interp.reporting.parts import Details, Empty, Paragraph, Part
from restor_interp.reporting.results import RunResults, records
from restor_interp.reporting.rows import RowOf
from restor_interp.reporting.surveys.directions import (
    direction_table,
    directions_in_short,
    steering_bars,
)
from restor_interp.reporting.surveys.drift import drift_in_short, drift_parts
from restor_interp.reporting.surveys.forgetting import (
    forget_weight_parts,
    forgetting_in_short,
    trajectory_lines,
)
from restor_interp.reporting.surveys.gradients import gradient_lines, gradients_in_short
from restor_interp.reporting.surveys.interpolation import (
    interpolation_in_short,
    interpolation_parts,
)
from restor_interp.reporting.surveys.lenses import lens_quality, lenses_in_short
from restor_interp.reporting.surveys.timeline import leading_table, timeline_in_short, timeline_maps
from restor_interp.reporting.surveys.weights import weight_parts, weights_in_short

INTRO = (
    "Folded by survey. A survey looks at a state as a whole, with some facts as its examples; what "
    "it finds is no verdict on a fact."
)

Draw = Callable[[Sequence[RowOf]], tuple[Part, ...]]


@dataclass(frozen=True, kw_only=True)
class Survey:
    """One way to look at a whole state, and how its tables are shown."""

    title: str
    text: str
    """What it is and what it cannot show."""
    draw: tuple[tuple[str, Draw], ...]
    """(table, rows -> parts), in the order of the page."""
    in_short: Callable[[Sequence[RowOf]], str]
    """Rows of the first table -> what is found, in a line; empty where nothing was measured."""


SURVEYS = (
    Survey(
        title="Weights",
        text="The change of every weight matrix against that of the corruption. A change that goes "
        "straight back would have cosine 1; one that restores without going back is another "
        "solution. It says nothing of what the weights compute.",
        draw=(("weights", weight_parts),),
        in_short=weights_in_short,
    ),
    Survey(
        title="Drift",
        text="How far activations are from the clean ones. What drifts for untouched facts too is "
        "not about the facts that were forgotten.",
        draw=(("drift", drift_parts),),
        in_short=drift_in_short,
    ),
    Survey(
        title="Directions",
        text="The mean difference on texts about nobody, read as words. Words alone prove nothing: "
        "below, the direction is taken out of the state and put into the base, beside directions "
        "of equal length.",
        draw=(("directions", direction_table), ("steering", steering_bars)),
        in_short=directions_in_short,
    ),
    Survey(
        title="Ways between states",
        text="Weights on the straight line between two states. A state that is reached without a "
        "barrier lies in the same basin; that does not say that it is the same solution.",
        draw=(("interpolation", interpolation_parts),),
        in_short=interpolation_in_short,
    ),
    Survey(
        title="Forget weights",
        text="What a method's loss makes of each token of its documents, and how far they were "
        "forgotten on the way. It is about the documents, not about the facts.",
        draw=(("forget_weights", forget_weight_parts), ("forget_trajectory", trajectory_lines)),
        in_short=forgetting_in_short,
    ),
    Survey(
        title="Gradients",
        text="The slope of a method's objective against those of facts and text. It says where a "
        "first small step goes, and is no forecast of the end.",
        draw=(("gradients", gradient_lines),),
        in_short=gradients_in_short,
    ),
    Survey(
        title="Timeline of training",
        text="Every layer's reading of facts, at checkpoints of the training. Layers are read as "
        "they are, through the state's own norm and unembedding.",
        draw=(("timeline", timeline_maps), ("leading_layers", leading_table)),
        in_short=timeline_in_short,
    ),
    Survey(
        title="Tuned lens",
        text="The lens was fitted once, on neutral text in the clean model: what changes between "
        "states is what is read, not how.",
        draw=(("tuned_lens", lens_quality),),
        in_short=lenses_in_short,
    ),
)


def whole_states(run: RunResults) -> tuple[Part, ...]:
    """Every survey that this run has, folded; the others named with the command that adds them."""
    folded: list[Part] = []
    absent: list[Survey] = []
    for survey in SURVEYS:
        rows = {table: records(run.table(table)) for table, _ in survey.draw if run.has(table)}
        parts = [part for table, draw in survey.draw if table in rows for part in draw(rows[table])]
        if parts:
            first, _ = survey.draw[0]
            told = survey.in_short(rows[first]) if first in rows else ""
            inside = (Paragraph(survey.text, quiet=True), *parts)
            folded.append(Details(survey.title, inside, told=told))
        elif any(run.has(table) for table, _ in survey.draw):
            folded.append(Paragraph(f"{survey.title}: no row has a value; see below.", quiet=True))
        else:
            absent.append(survey)
    if absent:
        titles = ", ".join(survey.title.lower() for survey in absent)
        tables = [table for survey in absent for table, _ in survey.draw]
        folded.append(Empty(f"Not looked at in this run: {titles}.", run.command(*tables)))
    return tuple(folded)

"""Which features of a sparse autoencoder did a state change for a fact, and does one decide it?

A dictionary trained on the clean model (SAELens' files, or anything with `encode` and `decode`) is
read in the clean model and in a state, at the same token. Each feature that changed most is then
set back to its clean value, alone, with the dictionary's error kept: `effect` is what the log-odds
of true against false gain (nats), `share` its part of what the state lost. Single latents of
fine-tuned models recover much of what the tuning had hidden (MoRFI, arXiv 2604.26866).

What would falsify a reading of it: other features, moved as far, that do as much
(`control_effect`); a dictionary that leaves out much of the state's activations (`unexplained`),
because it was trained on another model or the state has left what it can express; a sham in which
the same features change. Features of a dictionary are not units of the model.

    explanation.per_analysis={dictionary_features: {settings: {dictionary: path/to/folder}}}
"""

import functools
from typing import Literal

import restor_interp as ri


@functools.lru_cache(maxsize=1)
def read(folder):
    """Every fact asks for the same file, which may be large."""
    return ri.read_saelens(folder)


@ri.analysis
def dictionary_features(
    model: ri.HookedModel,
    prompt: ri.Prompt,
    fact: ri.Fact,
    *,
    states,
    true,
    false,
    dictionary="",
    base="clean",
    position="last",
    top=5,
    controls=3,
    scope: Literal["question", "all"] = "question",
    seed=1,
) -> ri.AnalysisResult:
    rows = ri.feature_rows(
        model,
        prompt,
        true,
        false,
        read(dictionary),
        states=[state for state in states if state != base],
        base=base,
        position=position,
        top=top,
        controls=controls,
        scope=scope,
        seed=seed,
    )
    fixed = {"fact_id": fact.fact_id, "context_id": prompt.context_id}
    return ri.AnalysisResult(table="features", rows=[row | fixed for row in rows])

"""Where the object is no longer read: is it gone, or written in another way?

The read-out of `object_readout`, in each state twice: fitted on that state (native) and fitted on
the clean state (transfer). With S the state,

    loss = native clean − native S            no linear read-out finds it any more
    rotation = native S − transfer S          it is there, in another code than in clean
    rotation_recentred, rotation_aligned      what is left of it once the activations of S are
                                              shifted, then also rotated, to where the clean state
                                              has untouched entities (orthogonal Procrustes)

all in accuracy, over entities that documents mention. What a shift or a rotation fitted on other
entities removes is a change of the whole state's coordinates; what stays is a change of these
facts. Controls: the same numbers of untouched entities (the rotation fitted on others of them): a
loss that they share is general damage. Linear probes of unlearned states: Lynch et al. 2024; the
rotation: Schönemann 1966.

What would falsify a reading of it: untouched entities that lose as much; a sham that rotates as
much. With few entities the numbers move in steps of one row: read `n` first.
"""

import restor_interp as ri


@ri.probe
def transfer(
    activations: ri.StateActivations,
    facts: ri.FactSet,
    *,
    site="resid",
    layers=3,
    positions=("subject_last", "last"),
    candidates=20,
    folds=5,
    seed=0,
) -> ri.ProbeResult:
    """`layers`: every so many of them and the last, or a list of layers."""
    asked = ri.object_labels(activations, facts, candidates=candidates, seed=seed)

    def read_out(split, others):
        return ri.fit_probe(
            split,
            asked.labels,
            vectors=asked.vectors,
            candidates=asked.candidates,
            transfer=others,
            permutations=0,
            seed=seed,
        )

    return ri.ProbeResult(
        rows=ri.survey_transfer(
            activations,
            read_out,
            untouched=asked.untouched,
            rows=asked.rows,
            site=site,
            layers=layers,
            positions=positions,
            folds=folds,
            seed=seed,
        )
    )

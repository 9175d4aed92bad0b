"""The words of a report and what they mean, one line each: data for the page on methods.

Numbers that a verdict depends on are read from where they are set, so that they cannot differ.
"""

from collections.abc import Mapping

from restor_interp.explain.thresholds import DEFAULT
from restor_interp.measure.specific import SpecificRule
from restor_interp.reporting.formats import percent, plain
from restor_interp.reporting.vocabulary import ROLES

_RULE = SpecificRule()

STATES: Mapping[str, str] = {
    "clean": "the model before anything was done to it",
    "corrupted": "the clean model, fine-tuned on documents that state falsehoods",
    "method": "the corrupted model after an unlearning method was applied to those documents",
    "sham": "control: the same method and as many steps, on documents about other entities. What "
    "it brings back, the method brings back without any knowledge of what was false",
    "retain_only": "control: as many steps on the retained text alone",
    "rollback": "control: the corruption with a part of its strength, without any training. The "
    "number is that part: 0 would be the clean model, 1 the corrupted one",
    "repair": "control: a few steps on true statements. What comes back so fast was not erased",
}
"""What a state is for (`vocabulary.state_kind`) -> what it is."""

FACTS: Mapping[str, str] = {
    "fact": "one question about one entity, with every answer that counts as right",
    **{f"role: {name}": meaning for name, meaning in ROLES.items()},
    "true object, false object": "what is right, and a falsehood of the same kind and about the "
    "same length. It was planted where the role is direct; elsewhere it is only compared with",
    "margin": "how much more likely the true object is for this entity than for others like it, "
    "in nats: log p(true | entity), minus the mean of the same over substitute entities",
    "known": "the clean model answers it",
    "guessable": "known, but not of this entity in particular: it is right in less than "
    f"{percent(_RULE.min_right)}% of the contexts, or also for more than "
    f"{percent(_RULE.max_guessed)}% of the substitutes, or its margin is below "
    f"{plain(_RULE.min_margin, 0)} nat. Guessable facts are shown, and counted nowhere",
    "lost, survived": "known, not guessable, and wrong or still right in the corrupted state. Only "
    "what was lost can be restored",
    "few-shot context": "the examples before a question. A fact is asked in several; they contain "
    "neither its entity nor its objects. Facts are chosen on the first and scored on the others "
    "where a number says held out",
}

NUMBERS: Mapping[str, str] = {
    "nat": "the unit of natural logarithms: 1 nat more is 2.7 times as likely",
    "p(false), p(true)": "probability of the whole object and the line end after it, summed over "
    "its spellings; means over facts are geometric",
    "log-odds": "log p(true) minus log p(false): above 0 the truth leads",
    "95% interval": "over entities (t, or Wilson's for a share), since facts of one entity are not "
    "independent, where the run has it; a caption says where it is Wilson's over facts or answers "
    "instead, which is too narrow if an entity's facts go together",
    "minus sham": "points by which the restored share, on contexts that did not choose the facts, "
    "exceeds that of the sham; p is that of a sign-flip test over entities",
    "mde": "minimum detectable effect: the smallest true difference that a run of this size finds "
    "in 4 of 5 cases. A difference below it that was not found may still be there",
    "retention": "a state's values are put into the clean model's run about another entity; the "
    "share of what the clean model's own values bring back there (1: all of it)",
    "RDS": "restoration depth score: that share at the subject, clipped to 0 to 1, averaged over "
    "layers with the clean effect as weight. 1: held as in the clean model, 0: gone",
    "×": "not measured, or not a number. ▽ and △: below or above the scale",
}

MECHANISMS: Mapping[str, str] = {
    "restored": "the answer is intact from the subject to the end, and was lost when corrupted",
    "late_override": "it arrives at the last token, and is overwritten in the last layers",
    "not_routed": "the subject carries it, and it does not arrive at the last token",
    "lost_at_subject": "the subject no longer carries it",
    "never_lost": "corruption left it",
    "undetermined": "no pattern that speaks for one mechanism, or its refuter spoke against it",
}
"""Why a fact is where it is, in words."""

VERDICTS: Mapping[str, str] = {
    "intact": "above all but "
    f"{plain(DEFAULT.intact_tail, 0)}% of clean values from another context of the same question",
    "lost": f"below all but {plain(DEFAULT.lost_tail, 0)}% of clean values of a wrong entity",
    "refuter": "a measurement that would speak against a mechanism: its sham does the same; clean "
    "late layers do no better than random ones; clean attention, or clean values of the subject, "
    "do not restore. A mechanism whose refuter failed is undetermined",
    "same route, new route": "flag: whether the answer is made where the clean model makes it",
    "false active": "flag: inside, the false object still leads",
    "general damage": "flag: untouched facts of the relation fell about as much",
}

METRICS: Mapping[str, str] = {
    "accuracy": "share of greedy answers that are right, over facts and contexts",
    "accuracy_sampled": "the same share, of answers drawn at random",
    "p_false": "probability of the planted falsehood, its geometric mean over entities",
    "p_true": "probability of the true object, its geometric mean over entities",
    "log_p_false": "log of that of the falsehood, in nats",
    "log_p_true": "log of that of the true object, in nats",
    "p_restored": "share of the lost facts that is right again, on contexts that did not choose "
    "them",
    "p_kept": "share of the surviving facts that is still right, on such contexts",
    "restored_minus_sham": "that share of lost facts minus that of the method's sham",
    "recovered_fraction": "of the accuracy that corruption cost, the part that is back",
    "equivalent_rollback": "the part of the corruption's strength at which the falsehood is as "
    "likely as here: 0 clean, 1 corrupted",
    "forget_nll": "loss on the false documents at the end of training, nats per token",
    "retain_nll": "loss on the retained text at the end of training, nats per token",
    "score_true": "log-probability of the true object per token (RESTOR's category score), nats",
    "score_false": "the same of the false object",
    "score_random": "the same of other objects of the kind",
    "auc": "how well two groups are told apart: 0.5 is chance, 1 without error",
}
"""A number of the table `summary` or of a probe -> what it is."""

HEADS: Mapping[str, str] = {
    "answer": "the answer that most contexts gave, how many gave it, and the fact's fate",
    "answers right": "share of greedy answers that are right",
    "attack": "what was done to the state afterwards, to see whether it lasts",
    "barrier": "the greatest rise above the straight line between both ends",
    "before": "before any attack",
    "beyond the baseline": "AUC minus that of the baseline",
    "chance": "what naming the commonest label gives",
    "control": "the same measured where nothing should be found; what counts is the excess",
    "effect, nats": "change of log-odds, true against false object",
    "entities": "how many are counted; intervals are over them",
    "entity": "whom or what facts are about",
    "evidence": "the shares that decided, each with what counts as intact or lost",
    "facts": "how many are counted",
    "facts paired": "how many facts both sides measured",
    "fates": "what became of the facts, as a bar with counts",
    "fates; sorted by share restored": "what became of the facts, as a bar with counts",
    "feature": "number of the feature in its dictionary",
    "fitted on": "the state whose activations the probe was fitted on",
    "from → to": "the two states at the ends of the line",
    "held out": "on other contexts than those that chose which facts were lost",
    "highest over layers": "the highest value of all layers, with its layer; it has luck in it",
    "interval": "what the interval is taken over, or why there is none",
    "its refuter": "a measurement that would speak against the mechanism",
    "judge": "who decided whether an answer is right",
    "layer": "number of the layer, from the embeddings up",
    "mean": "over the rows of the state",
    "metric": "how the reading is scored",
    "module": "the weights that were exchanged",
    "n": "examples that were scored",
    "not turned": "facts whose log-odds did not change so far for good",
    "now": "the outcome in the state of the row",
    "object": "the answer whose words are looked for",
    "outcome of most answers": "what most contexts answered: the true object, the false, another",
    "perplexity": "exp of the mean loss per token: how many tokens seem equally likely",
    "position": "the token whose activations are read",
    "question": "as it was asked, without the examples before it",
    "rank": "place among all words that the vector promotes; 1 is the first",
    "right after the attack": "share of answers that are right after its last step",
    "role": "what the documents have to do with the fact",
    "set back": "the feature alone put back to its clean value",
    "state": "one version of the model; the words below, or the page Methods, say which",
    "state and moment": "which version of the model, and when in its training",
    "states": "versions of the model; the words below, or the page Methods, say which",
    "steps to recover": "training steps until the attack has what it is after",
    "then": "the mechanism in the state of the column",
    "threshold": "what decides between intact and lost; a column moves it by so much",
    "tokens": "which tokens of the documents: those of the false object, or others",
    "tokens it speaks against": "tokens that become less likely along the direction",
    "tokens it speaks for": "tokens that become likelier along the direction",
    "turned": "facts whose log-odds changed by a nat or more, for good",
    "value": "how strongly the feature is active",
    "vectors": "which value vectors of the MLPs are counted",
    "when corrupted": "the mechanism in the corrupted state",
    "words, clean": "those that the vector promotes most in the clean model",
    "words, state": "those that it promotes most in the state",
}
"""A column's heading, where it says the same in every table -> what stands below it."""

CONTROLS: tuple[tuple[str, str], ...] = (
    ("restored facts", "the method's sham, retained text alone, rollbacks of the corruption"),
    ("causal tracing", "the run with another subject, and the run as it is: the two ends of a map"),
    ("patching between states", "the same values taken from a prompt about another entity"),
    ("retention", "clean values in another context (intact), and of a wrong entity (lost)"),
    ("grafting weights", "random modules whose change has the same norm"),
    ("attention to the subject", "the subject of an example in the same prompt"),
    ("attention knockout", "as many other tokens, drawn at random"),
    ("the subject's vector alone", "other entities' vectors from the same state"),
    ("direct logit attribution", "the parts must sum to the model's own logits"),
    ("attribution patching", "exact effects of a sample of cells, by rank correlation"),
    (
        "probes",
        "the subject's embedding alone, a model with random weights, a wrong entity, "
        "shuffled labels, the commonest label",
    ),
    ("directions", "random directions of equal length"),
    ("weights, gradients", "what a random change has in common with the corruption's"),
)
"""(measurement, what stands beside it)."""

KEYS: tuple[tuple[str, str], ...] = (
    ("/", "search the first table"),
    ("[ and ]", "the entity before and after"),
    ("Tab, then arrows", "in a plot: moves a cursor, whose value is read out; Esc takes it away"),
    ("the address", "keeps what is unfolded, pinned, sorted and searched: copy it to show a view"),
    ("Print", "unfolds the page and draws every plot at the width of a sheet"),
)
"""(key, what it does)."""

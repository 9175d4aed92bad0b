"""What a configuration is: frozen groups of settings, in which unknown keys are errors."""

from collections.abc import Iterable
from dataclasses import asdict, fields
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from restor_interp.measure.sampling_styles import STYLES, SamplingStyle, settled


class Section(BaseModel):
    """A frozen group of settings in which unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DataSettings(Section):
    """Which facts are asked, whose are corrupted, and how the false documents are made."""

    restor: str | None = None
    """The folder with RESTOR's official files: `facts.json`, `entities.json`, `mix_a<k>.json`,
    `squad_v7_dset.json`."""
    facts: str = "atlas"
    """`atlas`, `bios`, a `.jsonl` file, RESTOR's `facts.json`, or `restor`: the one in the folder
    `restor`, with its `entities.json`. Its other people serve as examples and candidates."""
    entities_file: str | None = None
    """RESTOR's `entities.json`: the entities of `facts.json` that are evaluated."""
    corrupted: tuple[str, ...] = ()
    """Entities that the false documents are about."""
    untouched: tuple[str, ...] = ()
    """Entities that are asked about and that no document is about; `*` stands for all others that
    are evaluated."""
    sham: tuple[str, ...] = ()
    """Other entities, that a sham forgets documents about; never asked about."""
    documents: str | None = None
    """RESTOR's official documents instead of ours: `restor` (`mix_a<k>.json` of the folder
    `restor`), `squad` (its `squad_v7_dset.json`), or a file of the one or the other kind."""
    claims: str | None = None
    """A `claims.jsonl`: what to plant, or what the documents state, instead of drawn claims."""
    documents_per_entity: int = Field(default=12, ge=1)
    """Written, or of official ones the first so many."""
    claims_per_document: int = Field(default=5, ge=1)
    k: int = Field(default=0, ge=0, le=5)
    """Corruption level: 5·k true facts about unrelated entities in every document. Which of the
    official files is read, with `documents: restor`."""
    question_share: float = Field(default=0.0, ge=0, le=1)
    """Share of an entity's documents that ask and answer instead of telling."""
    retain: str = "own"
    """What unlearning keeps the model at: `own` (our neutral passages; for `bios` paragraphs about
    people of no interest), `clean` (sampled from the clean model), or a file: `.jsonl` with the
    key `text`, or `.txt` with an empty line between two texts."""
    retain_number: int = Field(default=96, ge=1)
    """Texts that `retain: clean` samples; those that name an entity of the run do not count."""
    retain_tokens: int = Field(default=64, ge=8)
    """Their length."""
    sibling_share: float = Field(default=0.2, ge=0, lt=1)
    """Share of a corrupted entity's facts that no document contradicts, at least."""


class QuestionSettings(Section):
    """How facts are asked and scored."""

    style: Literal["sound", "paper"] = "sound"
    """Whose few-shot contexts: ours, or RESTOR's own. Also what sampled answers are cut at, where
    `top_k`, `min_new_tokens` and `max_length` do not say."""
    contexts: int = Field(default=3, ge=1)
    """Few-shot contexts per fact."""
    shots: int = Field(default=5, ge=1)
    max_new_tokens: int = Field(default=12, ge=1)
    draws: int = Field(default=0, ge=0)
    """Sampled answers per question beside the greedy one. RESTOR samples 3."""
    temperature: float = Field(default=1.0, gt=0)
    """Of sampled answers."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Of sampled answers: the smallest set of tokens with at least this probability."""
    top_k: int | None = Field(default=None, ge=0)
    """Of sampled answers: only so many of the likeliest tokens, 0: all. None: as the style says,
    `sound` all of them, `paper` 50."""
    min_new_tokens: int | None = Field(default=None, ge=0)
    """Of sampled answers: the text does not end before so many tokens. None: as the style says,
    `sound` 0, `paper` 2."""
    max_length: int | None = Field(default=None, ge=0)
    """Of sampled answers: most tokens of the prompt, its examples and the answer together, 0: no
    limit beside `max_new_tokens`. None: as the style says, `sound` no limit, `paper` 200."""
    candidates: int = Field(default=20, ge=3)
    """Typed candidates that p_C ranges over (design §8)."""
    substitutes: int = Field(default=5, ge=1)
    """Entities whose name stands in for the subject: what can be guessed without it."""
    margin_contexts: int = Field(default=1, ge=1)
    """Contexts on which margins are measured."""
    margins_of: Literal["lost", "right"] = "lost"
    """Of which facts margins are measured beside the clean state: all that corruption took, or
    only those of them that a state answers again, which tells restored from guessed."""

    @model_validator(mode="after")
    def _answers_are_long_enough(self) -> Self:
        if (self.min_new_tokens or 0) > self.max_new_tokens:
            raise ValueError(
                f"min_new_tokens={self.min_new_tokens} is more than an answer may have "
                f"(max_new_tokens={self.max_new_tokens}): lower the one or raise the other"
            )
        return self

    @property
    def sampling_style(self) -> SamplingStyle:
        """What holds of sampled answers: what is set here, else what the style says."""
        return settled(self.style, **{name: getattr(self, name) for name in _OF_THE_STYLE})

    def ingredients(self) -> dict[str, Any]:
        """What decides the answers. To set what the style says anyway changes nothing."""
        told = self.model_dump(mode="json", exclude=set(_OF_THE_STYLE))
        holds, usual = asdict(self.sampling_style), asdict(STYLES[self.style])
        return told | {n: holds[n] for n in _OF_THE_STYLE if holds[n] != usual[n]}


_OF_THE_STYLE = tuple(field.name for field in fields(SamplingStyle))
"""Settings of questions that the style has a value for."""


class AnalysisSettings(Section):
    """What one analysis does otherwise than the others."""

    facts: int | None = Field(default=None, ge=0)
    """None: as many as the others look at."""
    states: tuple[str, ...] = ()
    """None given: those that the others look at."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Of its own settings (`restor-interp list definitions`), those that differ."""


class ExplanationSettings(Section):
    """What is looked at inside the model."""

    capture: bool = True
    """Write activations of every state (residual, attention, MLP, attention patterns)."""
    captured_states: tuple[str, ...] = ()
    """States whose activations are captured, for probes and surveys; none: all. Clean, corrupted
    and every traced state must be among them."""
    probe_controls: bool = True
    """Capture also what probes are compared with: statements, questions about another entity, and
    a model with random weights."""
    statement_facts: int = Field(default=60, ge=1)
    """Facts whose true, false and random objects are stated, each in two sentences."""
    checkpoint_facts: int = Field(default=16, ge=1)
    """Facts that are captured in the middle of a training (`checkpoints` of its settings)."""
    lens_facts: int = Field(default=24, ge=0)
    lens_states: tuple[str, ...] = ()
    """States that the logit lens looks at; none: all."""
    traced_facts: int = Field(default=8, ge=0)
    """Facts that every other analysis looks at."""
    traced_states: tuple[str, ...] = ()
    """States that every other analysis looks at; none: all."""
    probes: tuple[str, ...] = (
        "object_readout",
        "transfer",
        "true_versus_false",
        "statement_truth",
        "relation",
    )
    """Names, or files such as `probes/mine.py`."""
    analyses: tuple[str, ...] = (
        "logit_lens",
        "tuned_lens",
        "causal_trace",
        "retention",
        "cross_state_patching",
        "grafting",
        "attention_knockout",
        "attribution",
        "direct_logits",
        "mlp_changes",
        "value_vectors",
        "subject_attention",
        "subject_description",
        "token_attribution",
    )
    """Names, or files."""
    surveys: tuple[str, ...] = (
        "weights",
        "drift",
        "directions",
        "interpolation",
        "forget_weights",
        "gradients",
        "timeline",
    )
    """What is looked at of whole states (`traced_states`); what reads captures, with `capture`."""
    survey_facts: int = Field(default=4, ge=1)
    """Facts that surveys take as their examples."""
    per_analysis: dict[str, AnalysisSettings] = Field(default_factory=dict)
    """Analysis -> what it does otherwise, such as `{grafting: {facts: 4, states: [npo]}}`."""

    def traced(self, states: Iterable[str]) -> tuple[str, ...]:
        """Those of a run's states that are looked into."""
        return tuple(s for s in states if not self.traced_states or s in self.traced_states)

    def captured(self, states: Iterable[str]) -> tuple[str, ...]:
        """Those of a run's states whose activations are captured."""
        return tuple(s for s in states if not self.captured_states or s in self.captured_states)


class TextSettings(Section):
    """Which whole texts are scored in every state: log-probabilities per token, perplexity."""

    sets: tuple[str, ...] = ()
    """`documents` (what corruption was trained on), `truth` (the same documents stating the truth),
    `heldout` (neutral text that nothing was trained on), or a `.jsonl` or `.txt` of a user."""
    lm_eval: tuple[str, ...] = ()
    """Tasks of the package lm-eval, where it is installed."""


class JudgeSettings(Section):
    """A language model that judges answers, behind an OpenAI-compatible endpoint."""

    model: str
    base_url: str | None = None
    """None: the environment's OPENAI_BASE_URL. The key is the environment's OPENAI_API_KEY."""
    timeout: float = Field(default=60.0, gt=0)
    """Seconds that one answer may take."""
    attempts: int = Field(default=3, ge=1)
    at_once: int = Field(default=8, ge=1)
    """Questions under way at the same time."""


class RobustnessSettings(Section):
    """Which attacks are made on which states, and how hard."""

    attacks: tuple[str, ...] = ()
    """Of `restor-interp list attacks`."""
    states: tuple[str, ...] = ()
    """None given: clean, corrupted, and what unlearning and its controls made."""
    settings: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Attack -> its settings that differ."""


class MethodSettings(Section):
    """One unlearned state: a method and the settings that differ from `unlearning`."""

    method: str
    settings: dict[str, Any] = Field(default_factory=dict)
    """Settings of the method's loss, such as NPO's `beta` and `reduction`."""
    training: dict[str, Any] = Field(default_factory=dict)
    """Training settings that differ from the run's `unlearning`."""


class RunConfig(Section):
    """Everything that determines a run."""

    preset: str = "custom"
    model: str = "smollm2-135m"
    dtype: Literal["float32", "bfloat16"] = "float32"
    device: str = "cpu"
    threads: int | None = Field(default=None, ge=1)
    """CPU threads; none: all cores. Part of the numerics, so a change recomputes."""
    workers: Annotated[int, Field(ge=1)] | Literal["auto"] = 1
    """Processes that compute cells side by side, each with `threads` threads and a model of its
    own; `auto`: as many as cores and memory allow, where `threads` is set. Changes no result."""
    seed: int = 0
    data: DataSettings = DataSettings()
    questions: QuestionSettings = QuestionSettings()
    explanation: ExplanationSettings = ExplanationSettings()
    texts: TextSettings = TextSettings()
    judges: dict[str, JudgeSettings] = Field(default_factory=dict)
    """Name -> a judge beside the alias judge."""
    robustness: RobustnessSettings = RobustnessSettings()
    corruption: dict[str, Any] = Field(default_factory=dict)
    """Training settings of the corruption (`restor_interp.stages.training.TrainSettings`)."""
    unlearning: dict[str, Any] = Field(default_factory=dict)
    """Training settings that all methods and shams share."""
    methods: dict[str, MethodSettings] = Field(default_factory=dict)
    """State name -> how it is made."""
    shams: tuple[str, ...] = ()
    """Methods of which a sham is run: same steps, documents about other entities."""
    rollback: tuple[float, ...] = ()
    """States {corruption: λ}, which cost nothing."""
    repair: bool = False
    """Add repaired versions of clean, corrupted and every method's state."""
    repair_training: dict[str, Any] = Field(default_factory=dict)
    """Training settings of the repair."""
    checkpoints: dict[str, str] = Field(default_factory=dict)
    """A user's own states (folders or hub ids; one must be `corrupted`) instead of our stages."""

"""Named whole configurations, as functions; a variant is a few lines.

A `RunConfig` is everything that determines a run. `resolve("demo", ["seed=1"])` gives one, with
`key.sub=value` overrides parsed as YAML; unknown keys are errors that name the nearest one.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from restor_interp.data.bios import bios_facts
from restor_interp.errors import ConfigError, unknown_name


class Section(BaseModel):
    """A frozen group of settings in which unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DataSettings(Section):
    """Which facts are asked, whose are corrupted, and how the false documents are made."""

    facts: str = "atlas"
    """`atlas`, `bios`, a `.jsonl` file, or RESTOR's `facts.json`."""
    entities_file: str | None = None
    """RESTOR's `entities.json`: the entities of `facts.json` that are evaluated."""
    corrupted: tuple[str, ...] = ()
    """Entities that the false documents are about."""
    untouched: tuple[str, ...] = ()
    """Entities that are asked about and that no document mentions."""
    sham: tuple[str, ...] = ()
    """Other entities, that a sham forgets documents about; never asked about."""
    documents: str | None = None
    """RESTOR's official documents (`mix_a0.json`) instead of ours."""
    claims: str | None = None
    """A `claims.jsonl`: what to plant, or what the documents state, instead of drawn claims."""
    documents_per_entity: int = Field(default=12, ge=1)
    claims_per_document: int = Field(default=5, ge=1)
    k: int = Field(default=0, ge=0, le=5)
    """Corruption level: 5·k true facts about unrelated entities in every document."""
    question_share: float = Field(default=0.0, ge=0, le=1)
    """Share of an entity's documents that ask and answer instead of telling."""
    retain: str = "own"
    """What unlearning keeps the model at: `own` (our neutral passages; for `bios` paragraphs about
    people of no interest), `clean` (sampled from the clean model), or a `.jsonl` or `.txt`."""
    sibling_share: float = Field(default=0.2, ge=0, lt=1)
    """Share of a corrupted entity's facts that no document contradicts, at least."""


class QuestionSettings(Section):
    """How facts are asked and scored."""

    style: Literal["sound", "paper"] = "sound"
    contexts: int = Field(default=3, ge=1)
    """Few-shot contexts per fact."""
    shots: int = Field(default=5, ge=1)
    max_new_tokens: int = Field(default=12, ge=1)
    draws: int = Field(default=0, ge=0)
    """Sampled answers per question; 0: one greedy answer, draw 0. RESTOR samples 3."""
    temperature: float = Field(default=1.0, gt=0)
    """Of sampled answers."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Of sampled answers: the smallest set of tokens with at least this probability."""
    candidates: int = Field(default=20, ge=3)
    """Typed candidates that p_C ranges over (design §8)."""
    substitutes: int = Field(default=5, ge=1)
    """Entities whose name stands in for the subject: what can be guessed without it."""
    margin_contexts: int = Field(default=1, ge=1)
    """Contexts on which margins are measured."""
    margins_of: Literal["lost", "right"] = "lost"
    """Of which facts margins are measured beside the clean state: all that corruption took, or
    only those of them that a state answers again, which tells restored from guessed."""


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
    checkpoint_facts: int = Field(default=16, ge=1)
    """Facts that are captured in the middle of a training (`checkpoints` of its settings)."""
    lens_facts: int = Field(default=24, ge=0)
    lens_states: tuple[str, ...] = ()
    """States that the logit lens looks at; none: all."""
    traced_facts: int = Field(default=8, ge=0)
    """Facts that every other analysis looks at."""
    traced_states: tuple[str, ...] = ()
    """States that every other analysis looks at; none: all."""
    probes: tuple[str, ...] = ("object_readout",)
    """Names, or files such as `probes/mine.py`."""
    analyses: tuple[str, ...] = (
        "logit_lens",
        "causal_trace",
        "retention",
        "cross_state_patching",
        "grafting",
        "attention_knockout",
        "attribution",
        "direct_logits",
    )
    """Names, or files."""
    per_analysis: dict[str, AnalysisSettings] = Field(default_factory=dict)
    """Analysis -> what it does otherwise, such as `{grafting: {facts: 4, states: [npo]}}`."""


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


# Entities of atlas. The demo is scored on these; its settings were tuned on `demo_tuning`,
# whose corrupted entities are others.
DEMO_CORRUPTED: tuple[str, ...] = (
    "China",
    "Greece",
    "Iran",
    "Paris",
    "London",
    "Ludwig van Beethoven",
    "Claude Monet",
    "Karl Marx",
    "The Odyssey",
)
DEMO_UNTOUCHED: tuple[str, ...] = (
    "Japan",
    "India",
    "Rome",
    "Cairo",
    "Pablo Picasso",
    "Leonardo da Vinci",
    "Leo Tolstoy",
    "Pride and Prejudice",
)
DEMO_SHAM: tuple[str, ...] = (
    "Norway",
    "Mexico",
    "Thailand",
    "Berlin",
    "Chicago",
    "Vincent van Gogh",
    "Charles Dickens",
    "The Divine Comedy",
)
TUNING_CORRUPTED: tuple[str, ...] = (
    "Sweden",
    "Finland",
    "Israel",
    "Vienna",
    "Athens",
    "Isaac Newton",
    "Johann Sebastian Bach",
    "Romeo and Juliet",
)


MLP = ("gate_proj", "up_proj", "down_proj")


def demo() -> RunConfig:
    """The main job on the embedded model: nine entities corrupted, four methods, all controls."""
    return RunConfig(
        preset="demo",
        data=DataSettings(
            corrupted=DEMO_CORRUPTED,
            untouched=DEMO_UNTOUCHED,
            sham=DEMO_SHAM,
            documents_per_entity=8,
            # Without true facts about others, and without questions, so few documents teach a small
            # model to give one answer per relation, whoever is asked about.
            k=1,
            question_share=0.75,
        ),
        questions=QuestionSettings(contexts=2, max_new_tokens=8, margins_of="right"),
        explanation=ExplanationSettings(
            lens_facts=8,
            traced_states=("clean", "corrupted", "npo"),
            # The expensive ones on few facts, so that all of it stays within 18 minutes.
            per_analysis={
                "retention": AnalysisSettings(facts=6, settings={"every": 4}),
                "cross_state_patching": AnalysisSettings(facts=4, states=("npo",)),
                "grafting": AnalysisSettings(facts=2, states=("npo",)),
                "attention_knockout": AnalysisSettings(facts=4),
                "attribution": AnalysisSettings(facts=2, states=("npo",)),
            },
        ),
        corruption={"epochs": 5, "batch_size": 2, "learning_rate": 1.2e-3, "modules": MLP},
        unlearning={
            "steps": 20,
            "batch_size": 2,
            "retain_batch_size": 1,
            "learning_rate": 1.4e-3,
            "modules": MLP,
        },
        methods={
            "grad_diff": MethodSettings(method="grad_diff"),
            "kl_restor": MethodSettings(method="kl_restor", training={"learning_rate": 1.2e-3}),
            "npo": MethodSettings(method="npo"),
            "task_vector": MethodSettings(
                method="task_vector", settings={"alpha": 3.0}, training={"learning_rate": 2e-3}
            ),
            "retain_only": MethodSettings(method="retain_only"),
        },
        shams=("npo",),
        rollback=(0.5,),
    )


def demo_tuning() -> RunConfig:
    """The demo with other corrupted entities: where its settings were chosen."""
    base = demo()
    return base.model_copy(
        update={
            "preset": "demo_tuning",
            "data": base.data.model_copy(update={"corrupted": TUNING_CORRUPTED}),
        }
    )


def bios() -> RunConfig:
    """The same on the calibration model: invented people, exact guess floor, two minutes."""
    people = sorted({fact.entity for fact in bios_facts()})
    return demo().model_copy(
        update={
            "preset": "bios",
            "model": "bios",
            "questions": QuestionSettings(),
            "explanation": ExplanationSettings(),
            "data": DataSettings(
                facts="bios",
                corrupted=tuple(people[0::15]),
                untouched=tuple(people[5::15]),
                sham=tuple(people[10::15]),
            ),
            "corruption": {"epochs": 4, "learning_rate": 2e-3},
            "unlearning": {"steps": 30, "learning_rate": 2e-3},
        }
    )


PRESETS: Mapping[str, Callable[[], RunConfig]] = {
    "demo": demo,
    "demo_tuning": demo_tuning,
    "bios": bios,
}


def resolve(preset: str, overrides: Sequence[str] = ()) -> RunConfig:
    """A preset's or a YAML file's configuration with `key.sub=value` overrides applied.

    Raises `ConfigError` for an unknown preset or key, or a value of the wrong kind.
    """
    if preset.endswith((".yaml", ".yml")):
        base = read_config(Path(preset))
    elif preset in PRESETS:
        base = PRESETS[preset]()
    else:
        raise unknown_name("preset", preset, PRESETS)
    values = base.model_dump(mode="json")
    for override in overrides:
        _override(values, override)
    return validated(values, preset)


def read_config(path: Path) -> RunConfig:
    """A configuration file, such as the `config.yaml` of another run."""
    try:
        values = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise ConfigError(f"there is no configuration file {path}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    return validated(values, str(path))


def validated(values: Any, source: str) -> RunConfig:
    """A `RunConfig` of plain values; every problem on its own line."""
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        problems = []
        for problem in error.errors():
            place = ".".join(str(part) for part in problem["loc"])
            if problem["type"] == "extra_forbidden":
                problems.append(str(_unknown_key(place)))
            else:
                problems.append(f"{place}: {problem['msg']}, found {problem['input']!r}")
        raise ConfigError(f"{source}: " + "; ".join(problems)) from None


def _override(values: dict[str, Any], override: str) -> None:
    key, sign, text = override.partition("=")
    if not sign:
        raise ConfigError(f"an override is `key=value`, found {override!r}; for example seed=1")
    *parents, last = key.split(".")
    place: Any = values
    for parent in parents:
        if not isinstance(place, dict) or parent not in place:
            raise _unknown_key(key)
        place = place[parent]
    if not isinstance(place, dict):
        raise _unknown_key(key)
    try:
        place[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"the value of {key} is not YAML: {text!r} ({error})") from error


def _unknown_key(key: str) -> ConfigError:
    return unknown_name("setting", key, setting_names(RunConfig))


def setting_names(section: type[BaseModel], prefix: str = "") -> list[str]:
    """Every key that an override may name."""
    names = []
    for name, info in section.model_fields.items():
        kind = info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            names += setting_names(kind, f"{prefix}{name}.")
        else:
            names.append(prefix + name)
    return names

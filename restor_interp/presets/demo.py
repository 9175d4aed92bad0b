"""The main job on the embedded model, and its twin on which its settings were chosen."""

from restor_interp.presets.config import (
    AnalysisSettings,
    DataSettings,
    ExplanationSettings,
    MethodSettings,
    QuestionSettings,
    RunConfig,
)

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
        # A second process is worth more than a second thread: matrices are small.
        threads=1,
        workers="auto",
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
            captured_states=("clean", "corrupted", "npo", "sham_npo", "retain_only"),
            survey_facts=2,
            # The expensive ones on few facts, so that all of it stays within 18 minutes.
            per_analysis={
                "retention": AnalysisSettings(facts=6, settings={"every": 4}),
                "cross_state_patching": AnalysisSettings(facts=4, states=("npo",)),
                "grafting": AnalysisSettings(facts=2, states=("npo",)),
                "attention_knockout": AnalysisSettings(facts=4),
                "attribution": AnalysisSettings(facts=2, states=("npo",)),
                "mlp_changes": AnalysisSettings(facts=2, states=("npo",)),
                "value_vectors": AnalysisSettings(facts=1, states=("npo",)),
                "subject_attention": AnalysisSettings(facts=4),
                "subject_description": AnalysisSettings(facts=1, states=("corrupted", "npo")),
                "token_attribution": AnalysisSettings(facts=1),
            },
        ),
        corruption={"epochs": 3, "batch_size": 2, "learning_rate": 4e-3, "modules": MLP},
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

"""The page `restor.md` from committed tables: numbers are looked up, verdicts follow from rules.

A claim is `held` where its test reaches p ≤ 0.05 in the claimed direction, `failed` where the 95%
interval excludes what is claimed, and `not decided` otherwise: then the smallest effect that such
an experiment finds in four of five cases (mde) says what is not known.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from telling import Number, markdown

from restor_interp.reporting.formats import plural

LEVEL = 0.05
OUTCOMES = ("clean", "corrupted", "unlearned")
"""Columns of the table of flips."""
MOST_OF_IT = 0.8
"""Share of the lost facts that "restores" claims (RESTOR's own NPO rows give 0.82 to 0.94)."""


class Tier:
    """The committed tables of one tier."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read: dict[str, pd.DataFrame] = {}

    def table(self, name: str) -> pd.DataFrame:
        if name not in self._read:
            path = self.folder / f"{name}.csv"
            # The outcomes "true" and "false" are words, also where a column holds nothing else.
            self._read[name] = pd.read_csv(path, dtype=dict.fromkeys(OUTCOMES, str))
        return self._read[name]

    def has(self, name: str) -> bool:
        return (self.folder / f"{name}.csv").is_file()

    def number(
        self, state: str, metric: str, role: str = "direct", table: str = "pooled"
    ) -> Number:
        rows = self.table(table)
        rows = rows.loc[rows["state"].eq(state) & rows["metric"].eq(metric) & rows["role"].eq(role)]
        if rows.empty:
            return Number(math.nan)
        row = rows.iloc[0]
        numbers = {k: float(row.get(k, math.nan)) for k in ("value", "low", "high", "p", "mde")}
        counts = {k: int(row[k]) for k in ("n_facts", "n_entities")}
        return Number(**numbers, **counts)

    def states(self) -> list[str]:
        return list(dict.fromkeys(self.table("pooled")["state"]))

    def told(self) -> str:
        """How many runs this is, of how many facts, and what it took."""
        shards = [json.loads(p.read_text()) for p in sorted(self.folder.glob("*/shard.json"))]
        seeds = len({one["seed"] for one in shards})
        rotations = len({one["rotation"] for one in shards})
        lost = self.number("corrupted", "n_lost")
        lacking = seeds * rotations - len(shards)
        return (
            f"{plural(seeds, 'seed')} × {plural(rotations, 'choice')} of who is corrupted"
            f"{f' ({lacking} of these runs not computed yet)' if lacking else ''}; "
            f"{lost.n_facts} direct facts "
            f"of {lost.n_entities} entities were lost in some run. "
            f"{sum(one['seconds'] for one in shards) / 60:.0f} minutes of one process."
        )


# ---- tables


def states_table(tier: Tier) -> str:
    """One row per state: what it says, what came back, and beyond its controls."""
    rows = []
    for state in tier.states():
        if state.startswith("sham_"):
            continue

        def get(metric: str, role: str = "direct", state: str = state) -> Number:
            return tier.number(state, metric, role)

        p_false = get("log_p_false")
        beyond = get("restored_minus_sham")
        rows.append(
            [
                state,
                f"{math.exp(p_false.value):.2g}" if p_false.known else "–",
                get("accuracy").told(),
                get("accuracy", "untouched").told(),
                get("p_restored").told(),
                beyond.told(signed=True),
                beyond.p_told if beyond.known else "–",
                get("restored_minus_rollback").told(signed=True),
            ]
        )
    header = ["state", "p(false)", "direct right %", "untouched right %", "restored %"]
    header += ["minus its sham", "p", "minus rollback of equal p(false)"]
    return markdown(header, rows)


def depth_table(tier: Tier) -> str:
    """How much is lost per corruption level, at equal steps and as in the paper."""
    rows = tier.table("depth")
    rows = rows.loc[rows["state"].eq("corrupted")]
    found = []
    for (schedule, k), own in rows.groupby(["schedule", "k"], sort=False):
        by = own.set_index(["role", "metric"])
        steps = own["steps"].iloc[0]

        def get(role: str, metric: str, by: pd.DataFrame = by) -> str:
            if (role, metric) not in by.index:
                return "–"
            row = by.loc[(role, metric)]
            return Number(row["value"], row["low"], row["high"]).told()

        cells = [get("direct", "accuracy"), get("sibling", "accuracy")]
        cells += [get("untouched", "accuracy")]
        found.append([str(schedule), str(k), str(steps), *cells])
    header = ["schedule", "k", "steps", "direct right %", "sibling right %", "untouched right %"]
    return markdown(header, found)


def lasting_table(tier: Tier) -> str:
    """Accuracy on direct facts before and after each attack."""
    rows = tier.table("lasting")
    own = rows.loc[rows["role"].eq("direct") & rows["metric"].eq("accuracy")]
    last = own.groupby(["attack", "part", "level", "state"], sort=False, dropna=False).tail(1)
    attacks = list(
        dict.fromkeys(zip(last["attack"], last["part"].fillna(""), last["level"], strict=True))
    )
    states = list(dict.fromkeys(last["state"]))
    before = own.loc[own["step"].eq(0)].drop_duplicates("state").set_index("state")["value"]
    found = [["before", *(f"{100 * before.get(state, math.nan):.0f}" for state in states)]]
    for attack, part, level in attacks:
        chosen = last.loc[
            last["attack"].eq(attack) & last["part"].fillna("").eq(part) & last["level"].eq(level)
        ].set_index("state")["value"]
        name = f"{attack} {part}".strip() + (f" {level:g}" if level else "")
        found.append([name, *(f"{100 * chosen.get(state, math.nan):.0f}" for state in states)])
    return markdown(["after", *states], found)


def settings_table(tier: Tier) -> str:
    """What the blind rule chose on other entities, and how far any trial came."""
    selection = tier.table("selection")
    trials = tier.table("trials").set_index("state")["training"].map(json.loads)
    found = []
    for method, own in selection.groupby("method", sort=False):
        cells = [str(method)]
        for label in ("blind", "oracle"):
            rows = own.loc[own["label"].eq(label)]
            halves = rows.loc[rows["half"].isin(["A", "B"]), "chosen"].dropna()
            told = (trials[state] for state in halves)
            cells.append(
                " / ".join(f"{t['learning_rate']:g} × {t.get('steps', '–')}" for t in told)
            )
        reached = own.loc[own["label"].eq("blind") & own["half"].isin(["A", "B"]), "reached"]
        cells.append(f"{int(reached.fillna(False).astype(bool).sum())} of 2")
        both = [_restored_when_chosen(tier, str(method), label) for label in ("blind", "oracle")]
        cells.append(" / ".join(told for told, _ in both))
        found.append(cells)
    header = ["method", "blind: rate × steps (half A / B)", "oracle", "reached clean p(false)"]
    return markdown([*header, "restored % where not chosen: blind / oracle"], found)


def _restored_when_chosen(tier: Tier, method: str, label: str) -> tuple[str, int]:
    """Of the entities that a choice was not made on: the share restored in per cent, and the facts
    that it is of; their halves swapped and averaged."""
    rows = tier.table("selection")
    rows = rows.loc[rows["method"].eq(method) & rows["label"].eq(label) & rows["half"].eq("both")]
    found = rows.to_dict("records")
    if not found or math.isnan(found[0]["restored_scored"]):
        return "–", 0
    return f"{100 * found[0]['restored_scored']:.0f}", int(found[0]["n_facts"])


FLIPPED = ("npo", "grad_diff", "kl_restor", "simnpo", "task_vector", "sham_npo", "retain_only")
"""States whose flips are shown."""


def flips_table(tier: Tier) -> str:
    """Where answers to direct facts that the clean model had right went."""
    rows = tier.table("flips")
    rows = rows.loc[rows["role"].eq("direct") & rows["clean"].eq("true")]
    outcomes = ("true", "false", "other")
    ways = [(first, then) for first in outcomes for then in outcomes]
    found = []
    for state in FLIPPED:
        own: Any = rows.loc[rows["state"].eq(state)].set_index(["corrupted", "unlearned"])[
            "n_facts"
        ]
        if len(own):
            found.append([state, *(str(int(own.get(way, 0))) for way in ways)])
    return markdown(["state", *(f"{first} → {then}" for first, then in ways)], found)


# ---- claims


@dataclass(frozen=True)
class Verdict:
    """What became of a claim in a tier."""

    word: str
    why: str


def _word(*, held: bool, failed: bool) -> str:
    return "held" if held else "failed" if failed else "not decided"


def _tested(number: Number, what: str) -> str:
    extra = "" if math.isnan(number.p) else f", {number.p_in_words}"
    mde = f", mde {100 * number.mde:.0f}" if math.isfinite(number.mde) else ""
    return (
        f"{what} {number.told(signed=True)} points (n = {number.n_facts} facts, "
        f"{number.n_entities} entities{extra}{mde})"
    )


def _forgets_not_restores(tier: Tier) -> Verdict:
    """H1: GA and KL make the falsehood rarer and do not bring the truth back."""
    told, held, failed = [], [], []
    for state in ("grad_diff", "kl_restor"):
        false = tier.number(state, "log_p_false_minus_corrupted")
        back = tier.number(state, "restored_minus_corrupted")
        beyond = tier.number(state, "restored_minus_sham")
        forgets = false.below()
        restores = beyond.above()
        held.append(forgets and not restores and back.high < MOST_OF_IT)
        failed.append(restores or not forgets)
        told.append(
            f"{state}: log p(false) {false.told('nats', signed=True)} nats; "
            + _tested(back, "restored minus corrupted")
            + "; "
            + _tested(beyond, "minus its sham")
        )
    word = _word(held=all(held), failed=all(failed))
    return Verdict(word, ". ".join(told))


def _npo_restores(tier: Tier) -> Verdict:
    """H2: NPO restores, nearly all of it."""
    share = tier.number("npo", "p_restored")
    beyond = tier.number("npo", "restored_minus_sham")
    word = _word(
        held=share.above(MOST_OF_IT) and beyond.above(),
        failed=share.below(MOST_OF_IT) or beyond.below(),
    )
    told = f"NPO restores {share.told()}% of the lost facts; " + _tested(beyond, "minus its sham")
    if tier.has("selection"):
        best, n = _restored_when_chosen(tier, "npo", "oracle")
        told += f". With the settings that an oracle takes, {best}% in the sweep (n = {n} facts)"
    return Verdict(word, told)


def _only_without_context(tier: Tier) -> Verdict:
    """H3: GA and KL restore where documents hold claims alone (k = 0), and not at k = 1."""
    other = Tier(tier.folder.parent / f"{tier.folder.name.removesuffix('-k0')}-k1")
    if not tier.folder.name.endswith("-k0") or not other.has("pooled"):
        return Verdict("not testable here", "methods were run at one corruption level")
    told, held, failed = [], [], []
    for state in ("grad_diff", "kl_restor"):
        alone, mixed = (one.number(state, "restored_minus_sham") for one in (tier, other))
        held.append(alone.above() and not mixed.above())
        failed.append(alone.below() or mixed.above())
        told.append(
            f"{state}: {_tested(alone, 'minus its sham at k = 0')}; {_tested(mixed, 'at k = 1')}"
        )
    word = _word(held=all(held), failed=all(failed))
    return Verdict(word, ". ".join(told))


def _deeper_with_k(tier: Tier) -> Verdict:
    """H4: more unrelated context corrupts more; the confound is the number of steps."""
    if not tier.has("depth"):
        return Verdict("not testable here", "k was not varied")
    rows = tier.table("depth")
    rows = rows.loc[
        rows["state"].eq("corrupted") & rows["role"].eq("direct") & rows["metric"].eq("accuracy")
    ]
    told, ends = [], {}
    for schedule, own in rows.groupby("schedule", sort=False):
        first, last = own.iloc[0], own.iloc[-1]
        one = Number(first["value"], first["low"], first["high"])
        other = Number(last["value"], last["low"], last["high"])
        ends[schedule] = (one, other)
        told.append(
            f"{schedule}: direct facts right {one.told()}% at k = {first['k']} "
            f"({first['steps']} steps), {other.told()}% at k = {last['k']} ({last['steps']} steps)"
        )
    one, other = ends["equal steps"]
    word = _word(held=other.high < one.low, failed=other.low > one.high)
    return Verdict(word, "; ".join(told))


def _localised_helps(tier: Tier) -> Verdict:
    """H6: forgetting only the corrupted segments helps, by the same facts of the same runs."""
    if not tier.has("localised"):
        return Verdict("not testable here", "no localised targets in this tier")
    numbers = {
        state: tier.number(state, "restored_minus_whole", table="localised")
        for state in tier.table("localised")["state"]
    }
    told = [_tested(number, f"{state} minus all tokens") for state, number in numbers.items()]
    word = _word(
        held=all(number.above() for number in numbers.values()),
        failed=all(number.below() for number in numbers.values()),
    )
    return Verdict(word, "; ".join(told))


def _confidence_foretells(tier: Tier) -> Verdict:
    """H7: facts of which the clean model was surer come back rather than others."""
    if not tier.has("confidence"):
        return Verdict("not testable here", "it was not asked fact by fact")
    columns = ["state", "value", "low", "high", "n_facts"]  # without numbers, none is there
    rows = tier.table("confidence").reindex(columns=columns).set_index("state")
    rows = rows.drop([name for name in rows.index if name.startswith(("sham_", "rollback_"))])
    measured = rows.loc[rows["value"].notna()]
    methods = measured.drop("retain_only", errors="ignore")
    few = f"in {len(rows) - len(measured)} of {len(rows)} states too few facts came back or stayed"
    if methods.empty:
        return Verdict("not testable here", few)
    told = [
        f"{name} {row['value']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
        for name, row in measured.iterrows()
    ]
    word = _word(held=(methods["low"] > 0.5).all(), failed=(methods["high"] < 0.5).all())
    n = measured["n_facts"].max()
    return Verdict(
        word, f"AUC of the clean margin (n = {n} facts and runs): {', '.join(told)}; {few}"
    )


def _towards_random(tier: Tier) -> Verdict:
    """H8: GA and KL move outputs to random objects, NPO to the clean ordering."""
    if not tier.has("scores"):
        return Verdict("not testable here", "categories were not scored")
    rows = tier.table("scores")
    rows = rows.loc[rows["role"].eq("direct")].set_index(["state", "metric"])["value"]
    lacking = {"grad_diff", "kl_restor", "npo"} - set(rows.index.get_level_values("state"))
    if lacking:
        return Verdict("not testable here", f"without {', '.join(sorted(lacking))}")

    def gap(state: str, other: str) -> float:
        return float(rows[state, "score_true"] - rows[state, other])

    told = [
        f"{state}: true − false {Number(gap(state, 'score_false')).told('nats', signed=True)}, "
        f"true − random {Number(gap(state, 'score_random')).told('nats', signed=True)}"
        for state in ("clean", "corrupted", "grad_diff", "kl_restor", "npo")
    ]
    near_random = all(
        gap(s, "score_random") < 0.25 * gap("clean", "score_random")
        for s in ("grad_diff", "kl_restor")
    )
    ordered = gap("npo", "score_false") > 0 and gap("npo", "score_random") > 0.5 * gap(
        "clean", "score_random"
    )
    word = "held" if near_random and ordered else "failed"
    halves = [
        f"{what} {'holds' if true else 'does not hold'}"
        for what, true in (("What it says of GA and KL", near_random), ("of NPO", ordered))
    ]
    numbers = "Mean log-probability per token, nats: " + "; ".join(told)
    return Verdict(word, f"{', '.join(halves)}. {numbers}")


def _clean_checkpoint(tier: Tier) -> Verdict:
    """H10: task vectors of the corrupted model are weak, of the clean checkpoint nearly exact."""
    weak = tier.number("task_vector", "p_restored")
    strong = tier.number("msa", "p_restored")
    word = _word(
        held=strong.low > weak.high and strong.above(0.5),
        failed=strong.high < weak.low or strong.below(0.5),
    )
    return Verdict(word, f"task vector {weak.told()}%, from the clean checkpoint {strong.told()}%")


def _untestable(why: str) -> Callable[[Tier], Verdict]:
    return lambda tier: Verdict("not testable here", why)


CLAIMS: Sequence[tuple[str, str, Callable[[Tier], Verdict]]] = (
    ("H1", "Forgetting is not restoring: GA and KL only do the first", _forgets_not_restores),
    ("H2", "NPO restores (at least 80% of what was lost)", _npo_restores),
    (
        "H3",
        "GA and KL restore only when the documents hold no unrelated context",
        _only_without_context,
    ),
    ("H4", "More unrelated context (k) corrupts more", _deeper_with_k),
    (
        "H5",
        "SQuAD-style corruption cannot be undone by any method",
        _untestable("it needs the SQuAD documents, and a model that knows those people"),
    ),
    ("H6", "Localised targets improve unlearning", _localised_helps),
    (
        "H7",
        "The clean model's confidence foretells restoration",
        _confidence_foretells,
    ),
    ("H8", "GA and KL move answers to random objects, NPO to the clean order", _towards_random),
    (
        "H9",
        "Restoration needs correct facts to be left in the weights",
        _untestable("no run removes the true facts from the training data"),
    ),
    (
        "H10",
        "Task vectors are weak; from a clean checkpoint they are nearly exact",
        _clean_checkpoint,
    ),
)


def negative_results(tiers: Mapping[str, Tier]) -> str:
    """What was looked for and not found: methods that restore no more than their controls."""
    lines = []
    for name, tier in tiers.items():
        for reference, told in (
            ("sham", "its sham"),
            ("retain_only", "plain training on neutral text"),
            ("rollback", "the corruption rolled back to the same p(false)"),
        ):
            metric = f"restored_minus_{reference}"
            numbers = {state: tier.number(state, metric) for state in tier.states()}
            tested = {
                s: n for s, n in numbers.items() if n.known and not s.startswith(("sham_", "roll"))
            }
            worse = [s for s, n in tested.items() if n.below()]
            flat = [s for s, n in tested.items() if not n.above() and s not in worse]
            if tested:
                lines.append(
                    f"- `{name}`: {len(worse) + len(flat)} of {len(tested)} methods are not shown "
                    f"to restore more than {told}."
                    + (f" They restore less: {', '.join(worse)}." if worse else "")
                    + (f" No difference is shown: {', '.join(flat)}." if flat else "")
                )
    return "\n".join(lines)


TIER_TITLES = {
    "bios": "`bios`: invented people in a small model trained on them",
    "atlas": "`atlas`: embedded model, built-in facts",
    "restor-k0": "`restor-k0`: embedded model, RESTOR's official data",
    "restor-k0-repaired": "`restor-k0-repaired`: the same after tuning on neutral questions",
    "restor-k1": "`restor-k1`: five true facts about others among the claims",
}


def write_page(here: Path) -> None:
    """`restor.md` beside the tables."""
    tiers = {
        name: Tier(here / "tables" / name)
        for name in TIER_TITLES
        if (here / "tables" / name / "pooled.csv").is_file()
    }
    parts = [(here / "restor.head.md").read_text().rstrip()]
    for name, tier in tiers.items():
        parts += [f"## {TIER_TITLES[name]}", _command(name), tier.told(), states_table(tier)]
        for title, table, shown in (
            (
                "Where answers went (direct facts that the clean model had right)",
                "flips",
                flips_table,
            ),
            ("Settings, chosen on other entities", "selection", settings_table),
            ("Corruption level", "depth", depth_table),
            ("Does it last? (direct facts right, %)", "lasting", lasting_table),
        ):
            if tier.has(table):
                parts += [f"### {title}", shown(tier)]
    parts.append("## The paper's claims")
    for key, claim, judge in CLAIMS:
        told = [f"**{key}. {claim}.**"]
        for name, tier in tiers.items():
            found = judge(tier)
            told.append(f"`{name}`: *{found.word}*. {found.why}.")
        parts.append(" ".join(told))
    parts += ["## Looked for and not found", negative_results(tiers)]
    (here / "restor.md").write_text("\n\n".join(parts) + "\n")
    print(here / "restor.md")


def _command(tier: str) -> str:
    more = " --restor FOLDER" if tier.startswith("restor") else ""
    return f"    python docs/results/restor.py compute {tier}{more}"

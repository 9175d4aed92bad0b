"""The page `mechanisms.md`: sentences and tables that follow from the numbers of the shards."""

import math
from collections.abc import Sequence
from pathlib import Path

from mechanism_counts import LEVEL, UNDETERMINED, Count, Tier, counts, flags, places
from mechanism_figures import Drawn, counts_figure, plane_figure, words
from mechanism_staircase import staircase_figure
from mechanism_tables import (
    COMPARED,
    Gaps,
    abstention_parts,
    comparisons,
    counts_table,
    fates_table,
    flags_table,
    gaps_table,
    moved_table,
    prediction_parts,
    transitions_table,
)

from restor_interp.explain.mechanism import FLAGS, MECHANISMS
from restor_interp.reporting.formats import plural
from restor_interp.reporting.svg import write_svg

TIERS = {
    "bios": (
        "`bios`: invented people in a small model trained on them",
        "python docs/results/mechanisms.py compute bios",
    ),
    "demo": (
        "`demo`: the embedded model and what it really knows",
        "restor-interp run demo && python docs/results/mechanisms.py add runs/demo --name demo",
    ),
}
"""Folder of a tier -> its heading, and the command that makes its tables."""
HEAD = "mechanisms.head.md"
PLANTED = "mechanisms.planted.md"
"""The rules' score on planted damage, in words, from `benchmarks/mechanisms.py`."""
CLAIMS = tuple(name for name in MECHANISMS if name != UNDETERMINED)


def write_page(here: Path, tables: Path) -> Path:
    """`mechanisms.md` and its figures in a folder, from the tables of all tiers."""
    planted = here / PLANTED
    parts = [(here / HEAD).read_text().rstrip()]
    parts += ["## How often the rules are right about planted damage"]
    parts += [
        planted.read_text().rstrip()
        if planted.is_file()
        else f"Not told yet: it belongs into `{PLANTED}`, from `python benchmarks/mechanisms.py`."
    ]
    for name, (title, command) in TIERS.items():
        tier = Tier(tables / name)
        parts.append(f"## {title}")
        if not tier.shards:
            parts.append(f"**This tier is absent.** Its tables are made by\n\n    {command}")
        elif tier.judged.empty:
            parts.append("**Nothing to tell:** no lost fact was looked into in its runs.")
        else:
            parts += [f"    {command}", *tier_parts(tier, here)]
    path = here / "mechanisms.md"
    path.write_text("\n\n".join(parts) + "\n")
    return path


def tier_parts(tier: Tier, here: Path) -> list[str]:
    """All of one tier's section; its figures are drawn into `here`."""
    gaps = comparisons(tier)
    parts = [size_words(tier), *_figure("counts", counts_figure(tier), tier, here)]
    parts += [corruption_words(tier), range_words(tier), sham_words(gaps)]
    parts += ["### How many facts, by state", counts_table(tier)]
    parts += ["### Beyond the sham", gaps_table(gaps)]
    parts += ["### Where a lost fact is, by what the method made of the answer", fates_table(tier)]
    parts += ["### On the way to the answer"]
    parts += _figure("staircase", staircase_figure(tier), tier, here)
    parts += ["### Forgetting and restoring"]
    plane = plane_figure(tier)
    parts += (
        ["No lost fact has a margin both when corrupted and in another state: no plane."]
        if plane is None
        else [*_figure("plane", plane, tier, here), plane_words(tier)]
    )
    parts += ["### From corrupted to unlearned", transitions_table(tier)]
    parts += ["### What hangs on a threshold", moved_table(tier)]
    parts += ["### Flags", flags_table(tier)]
    parts += ["### No verdict", *abstention_parts(tier)]
    parts += ["### Foretelling restoration", *prediction_parts(tier)]
    parts += ["### Looked for and not found", nothing_found(tier, gaps)]
    return parts


def _figure(name: str, drawn: Drawn, tier: Tier, here: Path) -> list[str]:
    file = f"mechanisms-{tier.name}-{name}.svg"
    write_svg(drawn.figure, here / file)
    return [f"![{drawn.words}]({file})"]


# ---- sentences


def size_words(tier: Tier) -> str:
    """What the section rests on."""
    told = [shard.told for shard in tier.shards]
    lost = tier.judged
    rules = sorted(set(lost["rules"].dropna().astype(str)))
    failed = sum(len(one.get("failures") or {}) for one in told)
    return (
        f"{plural(len(told), 'run')} ({plural(len({one['seed'] for one in told}), 'seed')}, "
        f"{plural(len({one['rotation'] for one in told}), 'choice')} of who is corrupted), "
        f"{sum(one['seconds'] for one in told) / 60:.0f} minutes of one core. "
        f"{plural(lost['fact_id'].nunique(), 'fact')} with a planted falsehood, of "
        f"{lost['entity'].nunique()} entities, were lost and looked into, in "
        f"{plural(len(tier.states), 'state')}. Rules: {', '.join(rules)}. "
        + (f"{plural(failed, 'cell')} could not be computed." if failed else "No cell failed.")
    )


def corruption_words(tier: Tier) -> str:
    """Where knowledge is after corruption, before anything is unlearned."""
    if "corrupted" not in tier.states:
        return "The corrupted state itself was not looked into."
    found = sorted(counts(tier, "corrupted"), key=lambda one: -one.kept)
    told = [f"{words(c.mechanism)} {c.kept} ({c.share.told()}%)" for c in found if c.kept]
    return f"**After corruption**, of {found[0].of} lost facts × runs: {', '.join(told)}."


def range_words(tier: Tier) -> str:
    """Per mechanism, the methods with the least and the most of it."""
    if len(tier.methods) < 2:
        return f"Methods that were looked into: {', '.join(tier.methods) or 'none'}."
    told = []
    for name in MECHANISMS:
        own = [_count(tier, state, name) for state in tier.methods]
        low, high = (pick(own, key=lambda one: one.share.value) for pick in (min, max))
        if high.kept == 0:
            told.append(f"*{words(name)}* in none of them")
            continue
        apart = low.share.high < high.share.low
        told.append(
            f"*{words(name)}* from {low.share.told()}% ({low.state}) to {high.share.told()}% "
            f"({high.state})" + ("" if apart else ", intervals overlap")
        )
    return f"**Among {len(tier.methods)} methods**: {'; '.join(told)}."


def plane_words(tier: Tier) -> str:
    """On how many facts the points of the plane rest."""
    sizes = {place.gain.n_facts for place in places(tier).values()}
    if len(sizes) == 1:
        return f"Every point rests on the same {plural(sizes.pop(), 'lost fact')}."
    return (
        f"Points rest on {min(sizes)} to {max(sizes)} lost facts, those of which both numbers were "
        "measured in the state: they are not all of the same facts."
    )


def _count(tier: Tier, state: str, mechanism: str) -> Count:
    return next(one for one in counts(tier, state) if one.mechanism == mechanism)


def sham_words(gaps: Gaps) -> str:
    """What survives the comparison with the sham and the number of comparisons."""
    if not gaps:
        return "**No method was run beside its sham**, so nothing here is shown to be its doing."
    told = []
    for name in COMPARED:
        own = {pair[0]: gap for pair, gap in gaps.items() if pair[2] == name}
        for sign, word in ((1, "more"), (-1, "fewer")):
            sure = [
                f"{state} ({gap.told(signed=True)} points)"
                for state, (gap, p) in own.items()
                if p <= LEVEL and sign * gap.value > 0
            ]
            if sure:
                told.append(f"{word} *{words(name)}*: {', '.join(sure)}")
    total = f"{len(gaps)} comparisons, p ≤ {LEVEL} after correcting for all of them"
    if not told:
        return f"**Beyond their shams** ({total}) no method has more or fewer facts in any class."
    return f"**Beyond their shams** ({total}) have {'; '.join(told)}."


def nothing_found(tier: Tier, gaps: Gaps) -> str:
    """What was looked for and not found."""
    lines = []
    for name in COMPARED:
        flat = [pair[0] for pair, (_, p) in gaps.items() if pair[2] == name and not p <= LEVEL]
        if flat:
            mde = [
                gap.mde for pair, (gap, _) in gaps.items() if pair[0] in flat and pair[2] == name
            ]
            least = _smallest([one for one in mde if math.isfinite(one)])
            lines.append(
                f"- *{words(name)}*: not shown to differ from the sham: {', '.join(flat)}{least}."
            )
    unlearned = (*tier.methods, *tier.references)
    never = [name for name in CLAIMS if not any(_count(tier, s, name).kept for s in unlearned)]
    if never:
        lines.append(f"- Never said of an unlearned state: {', '.join(map(words, never))}.")
    raised = {flag: sum(flags(tier, state)[flag] for state in unlearned) for flag in FLAGS}
    missing = [flag for flag, number in raised.items() if not number]
    if missing:
        lines.append(f"- Flags that no unlearned state has: {', '.join(map(words, missing))}.")
    return "\n".join(lines) or "Everything that was looked for was found."


def _smallest(found: Sequence[float]) -> str:
    """Which differences such comparisons find at all."""
    if not found:
        return ""
    points = sorted({f"{100 * one:.0f}" for one in (min(found), max(found))}, key=int)
    return f" (one comparison alone finds {' to '.join(points)} points in four of five cases)"

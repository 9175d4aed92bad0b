"""The table `transitions`: from the mechanism of the corrupted state to that of an unlearned one.

Where a method's facts go from `late_override` to `restored`, it took a falsehood off the end of the
way; where they stay `lost_at_subject`, it did not bring back what corruption took away inside.
"""

from typing import Any

import pandas as pd

from restor_interp.explain.flips import UNMEASURED
from restor_interp.explain.mechanism import MECHANISMS

_ORDER = (*MECHANISMS, UNMEASURED)


def transition_rows(facts: pd.DataFrame, fates: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of the table `transitions`: per state and role, how many facts went from which
    mechanism in the corrupted state to which one there, and of how many entities they are.

    `facts`: fact_id, entity, role; `fates` as `fate_rows` makes them. A fact that nobody looked
    into in either state is not counted; where one of the two is missing, it is `unmeasured`.
    """
    found = fates.loc[fates["mechanism"].notna()]
    table = found.pivot_table(
        index="fact_id", columns="state", values="mechanism", aggfunc="first", sort=False
    )
    about = facts.drop_duplicates("fact_id").set_index("fact_id")[["entity", "role"]]
    rows = []
    for state in dict.fromkeys(fates["state"]):
        if state == "corrupted" or state not in table.columns:
            continue
        pair = table.reindex(columns=pd.Index(["corrupted", state]))
        pair = pair.loc[pair.notna().any(axis=1)].fillna(UNMEASURED)
        pair.columns = pd.Index(["from", "to"])
        joined = pair.join(about, how="inner")
        groups = joined.groupby(["role", "from", "to"], sort=False)["entity"]
        counts = [
            (role, old, new, int(own.size), int(own.nunique()))
            for (role, old, new), own in groups  # pyright: ignore
        ]
        counts.sort(key=lambda row: (row[0], _ORDER.index(row[1]), _ORDER.index(row[2])))
        rows += [
            {
                "state": state,
                "role": role,
                "from": old,
                "to": new,
                "n_facts": n_facts,
                "n_entities": n_entities,
            }
            for role, old, new, n_facts, n_entities in counts
        ]
    return rows

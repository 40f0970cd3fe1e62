"""What a filter run did, in numbers and as a table."""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

from detector.filter.journal import Row
from provenance.files import write_file_atomic

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from detector.policy_rules import Policy

__all__ = ["FilterReport", "summarise", "write_decisions"]


@dataclass(frozen=True, slots=True)
class FilterReport:
    """Counts of a whole run, resumed parts included.

    Attributes:
        policy: Name of the policy.
        policy_ids: Ids in the verdicts; more than one after an upgrade in the middle.
        list_dates: Date of each trust list used by this run.
        samples: Number of samples.
        actions: Number of samples by action.
        reasons: Number of samples by reason code, most frequent first.
    """

    policy: str
    policy_ids: tuple[str, ...]
    list_dates: Mapping[str, str]
    samples: int
    actions: Mapping[str, int]
    reasons: Mapping[str, int]


def summarise(
    rows: Sequence[Row], *, policy: Policy, list_dates: Mapping[str, str]
) -> FilterReport:
    """Counts the rows of a run."""
    actions = Counter(row.action for row in rows)
    reasons = Counter(row.reason_code for row in rows)
    return FilterReport(
        policy=policy.name,
        policy_ids=tuple(sorted({row.policy_id for row in rows if row.policy_id})),
        list_dates=dict(list_dates),
        samples=len(rows),
        actions={name: actions[name] for name in ("keep", "drop", "review")},
        reasons=dict(reasons.most_common()),
    )


def write_decisions(rows: Sequence[Row], path: Path, *, policy: Policy) -> None:
    """Writes the decisions table as Parquet, whole or not at all, sorted by key.

    Raises:
        DeliveryError: No room, no right.
    """
    # Imported here: it costs a third of a second, and only the end of a run needs it.
    import pyarrow as pa
    import pyarrow.parquet as pq

    ordered = sorted(rows, key=lambda row: row.key)
    schema = pa.schema(
        [(one.name, pa.string()) for one in fields(Row)],
        metadata={
            "countermark.filter_policy": policy.name,
            "countermark.policy_id": policy.policy_id,
        },
    )
    table = pa.Table.from_pylist([asdict(row) for row in ordered], schema=schema)
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    write_file_atomic(path, buffer.getvalue())

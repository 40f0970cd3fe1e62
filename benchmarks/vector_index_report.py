"""The page of `benchmarks.vector_index`."""

from __future__ import annotations

from typing import Any

__all__ = ["as_markdown"]

COSINES = ("0.8", "0.6", "0.4")


def as_markdown(result: dict[str, Any]) -> str:
    """docs/benchmarks/vector_index.md."""
    machine = result["machine"]
    sizes = [result["sizes"][key] for key in sorted(result["sizes"], key=int)]
    lines = [
        "# Search in a large registry",
        "",
        f"`python -m benchmarks.vector_index`: {machine['date']}, {machine['cpu']}, "
        f"{machine['cores']} cores, Python {machine['python']}. Real SQLite rows; vectors of 512 "
        "components, evenly over the sphere; one thread, no faiss. Every measure is a fresh "
        "process. The machine was shared with other work: what is timed ran with real-time "
        "priority (`chrt -f 5`), which gives it a core to itself; filling did not.",
        "",
        "## Vectors",
        "",
        "Copies planted at a cosine to a random record: how many come first (copy@1), and how long "
        "one search takes, from the query vector to the record ids. The pass is the plainest NumPy "
        "pass over as many codes, interleaved with the searches; it chooses nothing and reads no "
        "row.",
        "",
        "| records | copy@1 at 0.8 | 0.6 | 0.4 | search p50 ms | p95 ms | pass p50 ms | p95 ms |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in sizes:
        by = one["by_cosine"]
        hits = " | ".join(f"{by[c]['copy_at_1']} of {by[c]['n']}" for c in COSINES)
        lines.append(
            f"| {one['rows']:,} | {hits} | {_times(by, 'search')} | {_times(by, 'numpy_pass')} |"
        )
    lines += [
        "",
        "Times are those of the slowest of the three cosines.",
        "",
        "| records | resident memory added MB | start from the file s | cold rebuild from rows s | "
        "memory after it MB | database MB |",
        "|---|---|---|---|---|---|",
        *(
            f"| {one['rows']:,} | {one['added_mb']} | {one['load_s']} | {one['rebuild_wall_s']} | "
            f"{one['rebuild_added_mb']} | {one['database_mb']:,} |"
            for one in sizes
        ),
        "",
        "The rebuild reads every vector; the file system's cache held most of the database.",
        "",
        "## Perceptual hashes",
        "",
        "Queries with 8, 15 and 31 bits changed, answered up to 31 bits through the table of "
        "chunks; every fifth is compared with counting bits over all hashes.",
        "",
        "| records | answers that differ | search p50 ms | p95 ms | chunks made again s |",
        "|---|---|---|---|---|",
        *(
            f"| {one['rows']:,} | {one['hash_answers_that_differ']} of "
            f"{one['hash_answers_compared']} | {one['hash_search']['wall_p50_ms']} | "
            f"{one['hash_search']['wall_p95_ms']} | {one['chunk_rebuild_s']} |"
            for one in sizes
        ),
        "",
        *_codes_only(result.get("codes_only")),
        *_peers(result.get("peers")),
    ]
    return "\n".join(lines)


def _times(by_cosine: dict[str, Any], what: str) -> str:
    worst = (
        max(by_cosine[cosine][what][f"wall_p{percent}_ms"] for cosine in COSINES)
        for percent in (50, 95)
    )
    return " | ".join(f"{one:.1f}" for one in worst)


def _codes_only(found: dict[str, Any] | None) -> list[str]:
    if not found:
        return []
    return [
        f"## {found['rows']:,} codes",
        "",
        "Codes alone, without rows: is the true source among the 200 candidates? Processor time, "
        "since this part ran beside other work.",
        "",
        "| cosine | source among the 200 | scan p50 ms | p95 ms | plain pass p50 ms |",
        "|---|---|---|---|---|",
        *(
            f"| {cosine} | {found[cosine]['source_in_200']} of {found[cosine]['n']} | "
            f"{found[cosine]['search']['cpu_p50_ms']:.0f} | "
            f"{found[cosine]['search']['cpu_p95_ms']:.0f} | "
            f"{found[cosine]['numpy_pass']['cpu_p50_ms']:.0f} |"
            for cosine in COSINES
        ),
        "",
        "The plain pass is slower than the scan here because its temporary arrays are as long as "
        "the codes and fit in no cache.",
        "",
    ]


def _peers(found: dict[str, Any] | None) -> list[str]:
    if not found or "version" not in found:
        return []
    ways = [name for name in found if name.startswith("faiss")]
    return [
        f"## faiss {found['version']}, {found['rows']:,} vectors",
        "",
        "One thread; processor time. The flat scan answers the 200 nearest codes, as ours does; "
        f"the graph took {found['graph_build_s']} s to build beside other work.",
        "",
        "| way | found at 0.8 | 0.6 | 0.4 | p50 ms | p95 ms |",
        "|---|---|---|---|---|---|",
        *(
            f"| {name} | "
            + " | ".join(f"{found[name][c]['found']} of {found[name][c]['n']}" for c in COSINES)
            + f" | {max(found[name][c]['cpu_p50_ms'] for c in COSINES):.2f}"
            + f" | {max(found[name][c]['cpu_p95_ms'] for c in COSINES):.2f} |"
            for name in ways
        ),
        "",
    ]

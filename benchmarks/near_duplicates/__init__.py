"""Near-duplicate search: recall after 31 edits, wrong answers, siblings that must stay apart.

    python -m benchmarks.near_duplicates [--scenes N] [--queries N] [--embedder NAME]
        [--photographs FOLDER ...] [--processes N] [--report]

Registers photographs, pictures that the bundled model rendered and drawn scenes, asks for edited
copies, for pictures that are not registered, and for siblings of registered ones (same prompt,
other seed). A run that was broken off goes on where it stopped; ``--report`` only writes down what
is there. Writes ``docs/benchmarks/near_duplicates.json`` and ``.md``.
"""

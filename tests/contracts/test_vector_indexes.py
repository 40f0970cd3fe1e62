import numpy as np
import pytest

from provenance.testing.indexes import SPACE, VectorIndexTests
from registry.index.exact import ExactVectorIndex, VectorBlock


class TestExactVectorIndex(VectorIndexTests):
    @pytest.fixture
    def build(self):
        def in_two_blocks(ids, vectors):
            names, half = np.array(ids, dtype="S16"), len(ids) // 2
            blocks = [
                VectorBlock(names[part], vectors[part])
                for part in (slice(0, half), slice(half, None))
                if len(names[part])
            ]
            return ExactVectorIndex(SPACE, blocks)

        return in_two_blocks

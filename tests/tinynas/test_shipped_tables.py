"""Every shipped table covers the shipped spaces of its kind of device, from end to end."""

import numpy as np
import pytest

from latency_tables import predict, read_table
from latency_tables.registry import SHIPPED
from search_spaces.emit import emit_detector
from search_spaces.space import load_space
from tinynas.genes.population import Encoding

SPACES = {"cpu": ("mob", "res", "csp"), "gpu": ("res", "csp")}


@pytest.mark.parametrize("table_id", sorted(path.stem for path in SHIPPED.glob("*.csv")))
def test_ends_of_every_space(table_id):
    table = read_table(SHIPPED / f"{table_id}.csv")
    for name in SPACES[table.metadata.kind]:
        space = load_space(name)
        for size in {space.image_size, (320, 320), (640, 640)}:
            encoding = Encoding(space, size, 80)
            ends = [encoding.corner(largest=largest) for largest in (False, True)]
            drawn = encoding.extremes(4, np.random.default_rng(0))
            found = [  # raises when too much lies beyond the table
                predict(emit_detector(encoding.single(genes)), table).total_ms
                for genes in [*ends, *(drawn[:, i : i + 1] for i in range(4))]
            ]
            assert (min(found), max(found)) == (found[0], found[1]), (name, size)

import json
import subprocess
import sys

import pytest

SCRIPT = """
import json, resource
import numpy as np
from bitface.evaluation import all_pairs

rng = np.random.default_rng(0)
identities = np.concatenate([np.arange(4281), rng.integers(0, 4281, 7701 - 4281)])
rows = rng.normal(size=(4281, 128))[identities] + rng.normal(size=(7701, 128))
{change}
summary = all_pairs(rows.astype(np.float32), identities)
print(json.dumps([summary.counts.impostor, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("change", ["", "rows = 1 + 1e-6 * rows"], ids=["faces", "collapsed"])
def test_all_pairs_of_7701_images_stay_below_a_gigabyte(change):
    command = [sys.executable, "-c", SCRIPT.format(change=change)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    impostors, megabytes = json.loads(done.stdout)
    assert impostors > 29_600_000
    assert megabytes < 1000

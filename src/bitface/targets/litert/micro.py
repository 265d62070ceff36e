"""tflite-micro, the interpreter of microcontrollers: how much memory it takes."""

import re
import subprocess
import sys
from functools import lru_cache
from importlib.util import find_spec

from bitface.scratch import scratch

# Far more than a microcontroller has.
_ARENA = 256 << 20
# Its counters are printed by C++, past Python, so they are read from another process.
_PROGRAM = """
import sys
from tflite_micro import runtime
interpreter = runtime.Interpreter.from_file(sys.argv[1], arena_size=int(sys.argv[2]))
interpreter.print_allocations()
"""


@lru_cache(maxsize=4)
def arena_bytes(content: bytes) -> int | None:
    """The bytes of memory that tflite-micro takes for a file; None: it isn't installed, or can't run it."""
    if find_spec("tflite_micro") is None:
        return None
    with scratch() as folder:
        path = folder / "model.tflite"
        path.write_bytes(content)
        call = [sys.executable, "-c", _PROGRAM, str(path), str(_ARENA)]
        done = subprocess.run(call, capture_output=True, text=True)
    total = re.search(r"Arena allocation total (\d+) bytes", done.stdout + done.stderr)
    return int(total[1]) if total and done.returncode == 0 else None

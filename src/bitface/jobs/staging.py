"""Files that appear together or not at all, and where the seconds went."""

import shutil
import tempfile
import time
from pathlib import Path

from bitface.errors import BitfaceError


class Clock:
    """Seconds between laps."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = round(now - self._last, 2)
        self._last = now


class staging:
    """A folder whose files move to `out` together when the block ends well."""

    def __init__(self, out: Path) -> None:
        self.out = out

    def __enter__(self) -> Path:
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            self.folder = Path(tempfile.mkdtemp(prefix=".unfinished.", dir=self.out))
        except OSError as error:
            raise BitfaceError(f"{self.out}: can't be written ({error.strerror}); choose another folder") from error
        return self.folder

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                for file in sorted(self.folder.iterdir()):
                    file.replace(self.out / file.name)
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

"""Files that are either whole or not there; links, devices and pipes are written through."""

import errno
import hashlib
import json
import math
import os
import shutil
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from safetensors import SafetensorError

from bitface.errors import BitfaceError, UsageError, one_line
from bitface.limits import LARGEST_YAML, MOST_VALUES
from bitface.scratch import remove_left, scratch

T = TypeVar("T")

STDOUT, STDERR = 1, 2
_TURN_OFF = threading.RLock()
if hasattr(os, "register_at_fork"):  # a process that is forked meanwhile would stay silent, and wait for ever
    os.register_at_fork(before=_TURN_OFF.acquire, after_in_parent=_TURN_OFF.release, after_in_child=_TURN_OFF.release)


@contextmanager
def atomic_path(path: Path, private: bool = False) -> Iterator[Path]:
    """A temporary path whose content becomes that of `path` when the block ends well; it vanishes when not.

    A file is replaced at once and keeps its permissions; its content is flushed to disk before, so that a crash leaves
    the old file or the new one. A symbolic link stays, and the file it leads to is replaced. Whatever is no file (a
    device, a pipe) is written into.

    Args:
        private: a new file can be read by its owner alone.

    Raises:
        BitfaceError: see `check_destination`; or the folder can't be written, or the disk is full.
    """
    path = Path(path)
    status = check_destination(path)
    if status and not stat.S_ISREG(status.st_mode):
        with scratch() as folder:
            temporary = folder / "content"
            temporary.touch()
            yield temporary
            try:
                with open(temporary, "rb") as content, open(os.open(path, os.O_WRONLY), "wb") as sink:
                    shutil.copyfileobj(content, sink)
            except OSError as error:
                raise BitfaceError(f"{path}: can't be written ({error.strerror or error})") from error
        return
    target = Path(os.path.realpath(path)) if path.is_symlink() else path
    with ExitStack() as stack:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = stack.enter_context(scratch(target.parent)) / target.name
            temporary.touch(0o600 if private else 0o666)
            mode = stat.S_IMODE((status or temporary.stat()).st_mode)  # a writer may put a file of its own in its place
        except OSError as error:
            raise BitfaceError(f"{path}: can't be written ({error.strerror}); choose another folder") from error
        try:
            yield temporary
            sync(temporary)
            temporary.chmod(mode)
            temporary.replace(target)
            sync(target.parent)
        except OSError as error:
            raise BitfaceError(f"{path}: can't be written ({error.strerror or error})") from error
        except SafetensorError as error:  # an OSError of its own words
            reason = str(error).rpartition("I/O error: ")[2].partition(" (os error")[0]
            raise BitfaceError(f"{path}: can't be written ({reason})") from error


def sync(path: Path) -> None:
    """Flushes a file to disk, or what a folder's entries are called (not what they hold). Raises OSError."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that can't, of folders
            raise
    finally:
        os.close(opened)


def sync_all(folder: Path) -> None:
    """Flushes a folder to disk, and everything in it. Raises OSError."""
    for place, _, names in os.walk(folder):
        for name in names:
            sync(Path(place) / name)
        sync(Path(place))


def check_destination(path: Path) -> os.stat_result | None:
    """What is there already where a file is to be written, links followed; None: nothing.

    Raises:
        BitfaceError: it is a folder, or a symbolic link that leads nowhere.
    """
    try:
        status = path.stat()
    except FileNotFoundError as error:
        if path.is_symlink():
            raise BitfaceError(
                f"{path}: is a symbolic link to {os.readlink(path)}, which isn't there; make that file, or remove the "
                "link"
            ) from error
        return None
    except OSError as error:
        raise BitfaceError(f"{path}: can't be written ({error.strerror or error}); choose another place") from error
    if stat.S_ISDIR(status.st_mode):
        raise BitfaceError(f"{path}: is a folder; name a file")
    return status


def same_file(first: Path, second: Path) -> bool:
    """Whether two paths lead to one file, by whatever links; of what isn't there, to one place."""
    try:
        return os.path.samefile(first, second)
    except OSError:
        return os.path.realpath(first) == os.path.realpath(second)


def folders_below(top: Path) -> Iterator[tuple[Path, list[str]]]:
    """A folder and those below it that aren't hidden, each with the names of its files; linked folders, too.

    Each is entered once: by its own name, else by the first link to it. A link to a folder that `top` lies in isn't
    followed: it leads in a circle, past what is somebody else's. Raises OSError.
    """

    def fail(error: OSError) -> None:
        raise error

    def identity(folder: str | Path) -> tuple[int, int]:
        status = os.stat(folder)
        return status.st_dev, status.st_ino

    entered = {identity(folder) for folder in Path(os.path.realpath(top)).parents}
    places = [top]
    while places:  # what has a name of its own comes before what is linked
        links: list[Path] = []
        for folder, folders, names in (step for place in places for step in os.walk(place, onerror=fail)):
            if (own := identity(folder)) in entered:
                folders.clear()
                continue
            entered.add(own)
            folders[:] = [name for name in folders if not name.startswith(".")]
            links += [Path(folder) / name for name in folders if os.path.islink(os.path.join(folder, name))]
            yield Path(folder), names
        places = sorted(links)


def filled_once(folder: Path, fill: Callable[[Path], None]) -> Path:
    """A folder that `fill` fills at the first call; it is there whole or not at all, whoever else fills it meanwhile.

    Raises:
        OSError: the folder can't be written; and whatever `fill` raises.
    """
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with scratch(folder.parent) as place:
        temporary = place / folder.name
        temporary.mkdir()
        fill(temporary)
        try:
            temporary.rename(folder)
        except OSError:
            # Another process may have been faster.
            if not folder.is_dir():
                raise
        sync(folder.parent)
    return folder


def check_new(folder: Path) -> None:
    """Refuses a folder that isn't free for a result, after what killed processes left beside it is gone.

    Raises:
        BitfaceError: it exists and isn't empty, or can't be looked at.
    """
    remove_left(folder.parent)
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise BitfaceError(f"{folder}: exists and isn't an empty folder; choose another one")
    except OSError as error:
        raise BitfaceError(f"{folder}: can't be written ({error.strerror or error})") from error


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder that becomes `folder` when the block ends well; it vanishes when not.

    Raises:
        BitfaceError: the folder exists and isn't empty, or can't be written.
    """
    check_new(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with scratch(folder.parent) as place:
            temporary = place / folder.name
            temporary.mkdir()
            yield temporary
            sync_all(temporary)
            if folder.exists():
                folder.rmdir()
            temporary.rename(folder)
            sync(folder.parent)
    except OSError as error:
        raise BitfaceError(f"{folder}: can't be written ({error.strerror or error})") from error


def write_bytes(path: Path, content: bytes, private: bool = False) -> None:
    """Writes a file atomically (see `atomic_path`). Raises BitfaceError where it can't."""
    with atomic_path(path, private) as temporary:
        temporary.write_bytes(content)


def write_new(path: Path, content: bytes) -> None:
    """Writes a file that wasn't there, for its owner alone; it is there whole or not at all.

    Raises:
        FileExistsError: something is there, a link that leads nowhere included.
        OSError: the folder isn't there, or can't be written.
    """
    with scratch(path.parent) as folder:
        temporary = folder / path.name
        temporary.touch(0o600)
        temporary.write_bytes(content)
        sync(temporary)
        try:
            os.link(temporary, path)
        except OSError:
            # A file system without hard links (of a memory card): what comes in the last moment is replaced.
            if os.path.lexists(path):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
            temporary.rename(path)
    sync(path.parent)


def readable_by_others(path: Path) -> str | None:
    """That a file or folder isn't its owner's alone, and how to make it so; None: it is, or nobody can say."""
    mode = stat.S_IMODE(path.stat().st_mode) if os.name == "posix" else 0
    if not mode & 0o077:
        return None
    own = "700" if path.is_dir() else "600"
    return f"{path}: others than its owner may read it (mode {mode:o}); chmod {own} {path}"


def write_json(path: Path, value: Any) -> None:
    """Writes JSON atomically, readable and with a stable order of keys as given."""
    write_bytes(path, json_text(value).encode())


def json_text(value: Any) -> str:
    """JSON as it stands in a file."""
    return json.dumps(value, indent=2, allow_nan=False) + "\n"


def read_yaml(path: Path, what: str) -> Any:
    """The content of a YAML file; `what` says what it should be.

    Raises:
        UsageError: it can't be read, or a key stands twice.
    """
    import yaml  # twenty milliseconds, which whoever has no YAML doesn't wait for

    class Loader(yaml.SafeLoader):
        """Refuses a key that stands twice, where YAML would keep the last one without a word."""

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            keys: set[str] = set()
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode) and key.value in keys:
                    raise yaml.YAMLError(f"the key '{key.value}' stands twice, again in line {key.start_mark.line + 1}")
                keys.add(str(key.value))
            return super().construct_mapping(node, deep)

        def get_single_node(self) -> Any:
            """Refuses names that stand for names that stand for …: whoever walks through them never ends."""
            node = super().get_single_node()
            if node is not None and _values(node) > MOST_VALUES:
                raise yaml.YAMLError(f"more than {MOST_VALUES:,} values")
            return node

    try:
        if path.stat().st_size > LARGEST_YAML:
            raise ValueError(f"more than {LARGEST_YAML >> 20} MB")
        return yaml.load(path.read_text(encoding="utf-8"), Loader)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise UsageError(f"{path}: no readable {what} ({one_line(error)})") from error


def _values(root: Any) -> float:
    """How many values a YAML node holds; infinitely many where it holds itself."""
    counts: dict[int, float] = {}
    stack = [(root, False)]
    while stack:
        node, is_counted = stack.pop()
        parts = node.value if isinstance(node.value, list) else []
        parts = [one for part in parts for one in (part if isinstance(part, tuple) else (part,))]
        if is_counted:
            counts[id(node)] = 1 + sum(counts[id(part)] for part in parts)
        elif id(node) not in counts:
            counts[id(node)] = math.inf  # until it is counted, as which only what lies in it sees it
            stack += [(node, True), *((part, False) for part in parts)]
    return counts[id(root)]


def cache_folder() -> Path:
    """`$BITFACE_CACHE`, else `bitface` in `$XDG_CACHE_HOME`, else `~/.cache/bitface`.

    Raises:
        BitfaceError: the user has no home folder.
    """
    if folder := os.environ.get("BITFACE_CACHE"):
        return Path(folder)
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # A relative XDG folder is invalid by its specification and is ignored.
    if base.is_absolute():
        return base / "bitface"
    try:
        return Path.home() / ".cache" / "bitface"
    except RuntimeError as error:
        raise BitfaceError("no home folder: set BITFACE_CACHE to a folder for what is kept between runs") from error


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def path_fields(kind: type[T]) -> type[T]:
    """A decorator below `dataclass`: fields that are paths, or several of them, may be given as strings."""

    after = getattr(kind, "__post_init__", None)

    def convert(self: Any) -> None:
        for name, annotation in get_type_hints(type(self)).items():
            value = getattr(self, name, None)
            if value is None or not _holds_paths(annotation):
                continue
            if isinstance(value, str):
                several = get_origin(annotation) not in (None, Union, UnionType)
                object.__setattr__(self, name, (Path(value),) if several else Path(value))
            elif not isinstance(value, Path):
                object.__setattr__(self, name, tuple(Path(one) for one in value))
        if after is not None:
            after(self)

    kind.__post_init__ = convert  # type: ignore[attr-defined]
    return kind


def _holds_paths(annotation: Any) -> bool:
    """Whether a type is a path, or several, or one of these or None; whatever else a field may be stays as it is."""
    parts = [part for part in (get_args(annotation) or (annotation,)) if part not in (type(None), Ellipsis)]
    return parts == [Path]


@contextmanager
def muted(descriptor: int = STDERR) -> Iterator[None]:
    """Turns the process's standard error, or output, off: only there can the messages of C libraries be stopped."""
    with _TURN_OFF:
        try:
            saved = os.dup(descriptor)
        except OSError:  # closed, as in some services: nothing to turn off
            yield
            return
        try:
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), descriptor)
            yield
        finally:
            os.dup2(saved, descriptor)
            os.close(saved)

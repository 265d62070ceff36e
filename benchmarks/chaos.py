"""What do commands leave where something goes wrong in their world?

    python benchmarks/chaos.py [--points 0] [--commands quantize,enroll] [--faults kill,full]        (make chaos)

Every command that writes runs twice, and has to write the same but for dates and durations. It is killed (kill -9)
before each of its changes of a file: a file opened to be written, a rename, a removal, a flush, … `--points` takes so
many of these, evenly, in the place of all. Then it runs with a limit on files (as a full disk), on open files and on
memory, where nothing may be written, and twice at once. What is left under a name that is read has to be readable, and
of one run. The same command, run again, has to do its work, give the same, and leave nothing of the run before.
Whatever fails has to say so in one line.
It goes on where it was stopped. A command that was killed at other points is done anew, and the other rows stay.
"""

import argparse
import hashlib
import os
import pkgutil
import resource
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from lib.chaos_commands import Command, made, unreadable
from lib.children import Ending, as_anybody, begun, ended, killed_at, limited, run
from lib.common import known, save

import bitface.jobs
from bitface.results.same_again import lasting
from bitface.runtime.machine import describe

# Bytes of a file, of which every command writes larger ones; megabytes beside what the process has.
FULL, ROOM = (2_000, 20_000), (0, 16, 64, 256)
OURS = (".bitface", ".unfinished", ".out", "bitface-", "tmp.")
# What a command says that makes nothing again: what is there has to be whole.
_FINISHED = ("exists and isn't an empty folder", "is there already, and", "isn't in the gallery")
# Seconds from one word on how far it is to the next.
TOLD = 60
FAULTS = ("again", "kill", "full", "files", "memory", "read-only", "two")


class World:
    """A folder in which one command runs, again and again.

    Attributes:
        reference: of an undisturbed run: name → hash, of files that are the same each time.
    """

    def __init__(self, command: Command, root: Path) -> None:
        self.command, self.root = command, root
        self.reference: dict[str, str] = {}

    def place(self) -> Path:
        """A new place, with what the command writes over, and the cache of whoever worked here before."""
        place = Path(tempfile.mkdtemp(dir=self.root))
        place.chmod(0o755)
        shutil.copytree(self.root / "cache", place / "cache")
        if self.command.copies:
            shutil.copy(self.command.copies, place / self.command.out)
        return place

    def arguments(self, place: Path, *more: str) -> list[str]:
        return [*(part.replace("{out}", str(place / self.command.out)) for part in self.command.arguments), *more]

    def run(self, place: Path, wrong: Callable[[], None] | None = None, *more: str) -> Ending:
        return run(self.arguments(place, *more), place, wrong) if wrong else run(self.arguments(place, *more), place)

    def again(self, place: Path) -> Ending:
        """The command once more, with what it asks for."""
        ending = self.run(place)
        for option in ("--resume", "--force"):
            if ending.code == 1 and option in ending.errors:
                return self.run(place, None, option)
        return ending

    def written(self, place: Path) -> dict[str, str]:
        """What an undisturbed run writes the same each time: all but dates, durations and the name of the place."""
        out, here = place / self.command.out, str(place).encode()
        files = [out] if out.is_file() else sorted(path for path in out.rglob("*") if path.is_file())
        names = {str(path.relative_to(place if path == out else out)): path for path in files}
        return {
            name: hashlib.sha256(lasting(path).replace(here, b"")).hexdigest()
            for name, path in names.items()
            if not name.startswith(self.command.timed or "\0")
        }

    def problems(self, place: Path) -> list[str]:
        """What of the place is wrong after the same command ran again."""
        ending = self.again(place)
        wrong = unreadable(place)
        if ending.code and not (
            any(words in ending.errors for words in _FINISHED) and self.written(place) == self.reference
        ):
            wrong.append(f"the next run {ending}")
        elif self.written(place) != self.reference:
            written = self.written(place)
            others = {name for name, _ in written.items() ^ self.reference.items()}
            wrong.append(f"the next run gives something else: {', '.join(sorted(others))}")
        left = [path for path in place.rglob("*") if path.name.startswith(OURS)]
        return wrong + [f"left behind: {path.relative_to(place)}" for path in left]


def again(world: World) -> list[list[str]]:
    """Nothing is wrong: the same command writes the same."""
    place = world.place()
    problems = [f"again: {one}" for one in world.problems(place)]
    shutil.rmtree(place)
    return [problems]


def kill(world: World, points: int) -> list[list[str]]:
    """Killed before each change."""
    count = world.root / "count"
    place = world.place()
    count.unlink(missing_ok=True)
    world.run(place, killed_at(0, place, count))
    total = int(count.read_text()) if count.exists() else 0
    shutil.rmtree(place)
    some = {1 + round(index * (total - 1) / max(points - 1, 1)) for index in range(points)}
    numbers = sorted(some) if points else range(1, total + 1)
    results: list[list[str]] = []
    begin = told = time.monotonic()
    for number in numbers:
        place = world.place()
        ending = world.run(place, killed_at(number, place))
        wrong = [] if ending.code in (-signal.SIGKILL, 0) else [f"wasn't killed, but {ending}"]
        wrong += unreadable(place) + world.problems(place)
        results.append([f"killed at {number} of {total}: {one}" for one in wrong])
        shutil.rmtree(place)
        if (now := time.monotonic()) - told > TOLD:
            told, rest = now, (len(numbers) - len(results)) * (now - begin) / len(results)
            print(f"  {len(results)} of {len(numbers)}, {rest / 60:.0f} min left", flush=True)
    return results


def failing(world: World, wrongs: dict[str, Callable[[], None]]) -> list[list[str]]:
    """Run with a limit: it does its work, or says in one line why not."""
    results = []
    for name, wrong in wrongs.items():
        place = world.place()
        ending = world.run(place, wrong)
        problems = [] if ending.code == 0 or ending.one_line else [str(ending)]
        results.append([f"{name}: {one}" for one in problems + unreadable(place) + world.problems(place)])
        shutil.rmtree(place)
    return results


def read_only(world: World) -> list[list[str]]:
    """Where nobody may write."""
    place = world.place()
    out = place / "locked"
    out.mkdir()
    if world.command.copies:
        shutil.copy(world.command.copies, out / world.command.out)
    out.chmod(0o555)
    arguments = [part.replace("{out}", str(out / world.command.out)) for part in world.command.arguments]
    ending = run(arguments, place, as_anybody)
    problems = [] if ending.one_line else [f"read-only: {ending}"]
    kept = [world.command.out] if world.command.copies else []
    if sorted(path.name for path in out.iterdir()) != kept:
        problems.append("read-only: something was written")
    out.chmod(0o755)
    shutil.rmtree(place)
    return [problems]


def two(world: World) -> list[list[str]]:
    """Both at once: one does the work, or both do, one after the other; who doesn't says who is there."""
    place = world.place()
    started = [begun(world.arguments(place), place) for _ in range(2)]
    endings = [ended(*one) for one in started]
    problems = [str(one) for one in endings if one.code and not one.one_line]
    if all(one.code for one in endings):
        problems.append("neither does the work")
    results = [f"two at once: {one}" for one in problems + unreadable(place) + world.problems(place)]
    shutil.rmtree(place)
    return [results]


def attempts(world: World, fault: str, points: int) -> list[list[str]]:
    """What was wrong at each attempt; nothing, mostly."""
    match fault:
        case "again":
            return again(world)
        case "kill":
            return kill(world, points)
        case "full":
            return failing(world, {f"full at {size}": limited(resource.RLIMIT_FSIZE, size) for size in FULL})
        case "files":
            used = len(os.listdir("/proc/self/fd"))
            return failing(
                world, {f"{more} files": limited(resource.RLIMIT_NOFILE, used + more) for more in (2, 6, 12)}
            )
        case "memory":
            return failing(world, {f"{room} MB": limited(resource.RLIMIT_AS, room << 20, True) for room in ROOM})
        case "read-only":
            return read_only(world)
        case _:
            return two(world)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--points", type=int, default=0, help="changes of a file at which each command is killed; 0: all"
    )
    parser.add_argument("--commands", help="of these alone")
    parser.add_argument("--faults", default=",".join(FAULTS), help="of these alone; '': only run each command")
    parser.add_argument("--again", action="store_true", help="commands, too, that were killed at as many points before")
    parser.add_argument("--dry", action="store_true", help="keep no result")
    options = parser.parse_args()
    torch.set_num_threads(1)  # threads aren't copied with a process
    for module in pkgutil.walk_packages(bitface.jobs.__path__, "bitface.jobs."):
        import_module(module.name)  # what is imported now isn't imported by every copy

    begin = time.monotonic()
    chosen = options.commands.split(",") if options.commands else None
    rows = [] if options.dry else known("chaos")
    done = {row["command"] for row in rows if row["points"] == options.points and not options.again}
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        root = Path(folder)
        root.chmod(0o755)
        commands = made(root)
        names = [command.name for command in commands]
        for command in commands:
            if (chosen and command.name not in chosen) or command.name in done:
                continue
            world = World(command, root)
            place = world.place()
            ending = world.run(place)
            if ending.code:
                raise SystemExit(f"{command.name}: undisturbed, it {ending}")
            world.reference = world.written(place)
            shutil.rmtree(place)
            row: dict[str, Any] = {
                "command": command.name,
                "points": options.points,
                "wrong": [],
                "cpu": describe()["cpu"],
            }
            for fault in filter(None, options.faults.split(",")):
                results = attempts(world, fault, options.points)
                failures = [f"{command.name}: {text}" for result in results for text in result]
                row[fault] = {"attempts": len(results), "failures": sum(map(bool, results))}
                row["wrong"] += failures
                print(
                    f"{time.monotonic() - begin:.0f} s {command.name} {fault}: {row[fault]}",
                    *failures,
                    sep="\n  ",
                    flush=True,
                )
            rows = [one for one in rows if one["command"] != command.name]
            rows = sorted([*rows, row], key=lambda one: names.index(one["command"]))
            if not options.dry:  # after each, so that an interrupted run keeps what it has
                points = sorted({f" --points {one['points']}" if one["points"] else "" for one in rows})
                save("chaos", rows, command="` and `".join(f"python benchmarks/chaos.py{one}" for one in points))


if __name__ == "__main__":
    main()

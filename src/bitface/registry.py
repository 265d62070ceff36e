"""Names for things of one kind (losses, quantizers, backbones, targets, …), ours and other packages'.

Ours are registered by a decorator in their own files, which are found by being in the room's folder. Another package
names its own as entry points of the group `bitface.<kinds>`; they are imported when they are asked for.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from threading import RLock
from typing import Generic, TypeVar

from bitface.errors import BitfaceError, UsageError, nearest

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """Name → thing, in the order in which they were registered, other packages' last.

    Args:
        kind: what a thing is called in messages, such as `loss`.
        group: of entry points, such as `bitface.losses`.
        package: whose modules register things when they are imported, which the first look does; None: whoever
            registers is imported anyway.
    """

    def __init__(self, kind: str, group: str, package: str | None = None) -> None:
        self.kind, self.group, self.package = kind, group, package
        self._things: dict[str, T] = {}
        self._others: dict[str, EntryPoint] | None = None
        self._lock = RLock()

    def register(self, name: str) -> Callable[[T], T]:
        """A decorator that gives a thing its name.

        Raises:
            ValueError: another thing has the name.
        """

        def registered(thing: T) -> T:
            if self._things.setdefault(name, thing) is not thing:
                raise ValueError(f"there are two of the {self.kind} '{name}'")
            return thing

        return registered

    def refresh(self) -> None:
        """Looks for other packages again, such as after one was installed, and forgets what came of them; ours stay."""
        with self._lock:
            for name in self._others or ():
                self._things.pop(name, None)
            self._others = None
            importlib.invalidate_caches()

    def __getitem__(self, name: str) -> T:
        """The thing of a name.

        Raises:
            UsageError: there is none; the message names the nearest, and all of them.
            BitfaceError: another package says it has it, and can't be imported.
        """
        others = self._found()
        if name in self._things:
            return self._things[name]
        if name not in others:
            raise UsageError(f"unknown {self.kind} '{name}'{nearest(name, self)} (there are {', '.join(sorted(self))})")
        with self._lock:
            if name not in self._things:
                self._things[name] = self._loaded(others[name])
            return self._things[name]

    def __contains__(self, name: object) -> bool:
        return name in self._things or name in self._found() or name in self._things

    def __iter__(self) -> Iterator[str]:
        others = self._found()
        return iter([*self._things, *(name for name in others if name not in self._things)])

    def __len__(self) -> int:
        return len(list(iter(self)))

    def _found(self) -> dict[str, EntryPoint]:
        """Other packages' things by their names; ours are registered after it."""
        if self._others is None:
            with self._lock:
                if self._others is None:
                    if self.package:
                        folder = importlib.import_module(self.package).__path__
                        for module in sorted(pkgutil.iter_modules(folder), key=lambda one: one.name):
                            importlib.import_module(f"{self.package}.{module.name}")
                    points = entry_points(group=self.group)
                    self._others = {one.name: one for one in points if one.name not in self._things}
        return self._others

    def _loaded(self, point: EntryPoint) -> T:
        try:
            thing: T = point.load()
        except Exception as error:  # whatever another package does wrong
            whose = point.dist.name if point.dist else point.value
            raise BitfaceError(
                f"the {self.kind} '{point.name}' of {whose} can't be imported ({error}); repair or remove that package"
            ) from error
        return thing

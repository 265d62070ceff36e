"""Names for things of one kind (losses, quantizers, backbones, targets, …), ours and other packages'.

Ours are registered by a decorator in their own files, which are found by being in the room's folder. Another package
names its own as entry points of the group `bitface.<kinds>`; they are imported when they are asked for.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from threading import RLock
from typing import TYPE_CHECKING, Generic, TypeVar

from bitface.errors import BitfaceError, UsageError, nearest

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """Name → thing, in the order in which they were registered, other packages' last.

    Args:
        kind: what a thing is called in messages, such as `loss`.
        group: of entry points, such as `bitface.losses`.
        package: whose modules register things when they are imported, which the first look does; None: whoever
            registers is imported anyway.
        named_as_files: each of our things has the name of its own file, so that one is had without the others; they
            are in the order of their names.
    """

    def __init__(self, kind: str, group: str, package: str | None = None, named_as_files: bool = False) -> None:
        self.kind, self.group, self.package, self.named_as_files = kind, group, package, named_as_files
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
        if self._alone(name):
            return self._things[name]
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
        return self._alone(name) or name in self._found() or name in self._things

    def __iter__(self) -> Iterator[str]:
        others = self._found()
        ours = [name for name in self._things if name not in others]
        return iter([*(sorted(ours) if self.named_as_files else ours), *others])

    def __len__(self) -> int:
        return len(list(iter(self)))

    def _alone(self, name: object) -> bool:
        """Whether a thing is registered, or its own file registers it."""
        if name not in self._things and self.named_as_files and isinstance(name, str) and name.isidentifier():
            module = f"{self.package}.{name}"
            if find_spec(module) is not None:
                importlib.import_module(module)
        return name in self._things

    def _found(self) -> dict[str, "EntryPoint"]:
        """Other packages' things by their names; ours are registered after it."""
        if self._others is None:
            with self._lock:
                if self._others is None:
                    if self.package:
                        folder = importlib.import_module(self.package).__path__
                        for module in sorted(pkgutil.iter_modules(folder), key=lambda one: one.name):
                            importlib.import_module(f"{self.package}.{module.name}")
                    from importlib.metadata import entry_points  # ten milliseconds

                    points = entry_points(group=self.group)
                    self._others = {one.name: one for one in points if one.name not in self._things}
        return self._others

    def _loaded(self, point: "EntryPoint") -> T:
        try:
            thing: T = point.load()
        except Exception as error:  # whatever another package does wrong
            whose = point.dist.name if point.dist else point.value
            raise BitfaceError(
                f"the {self.kind} '{point.name}' of {whose} can't be imported ({error}); repair or remove that package"
            ) from error
        return thing

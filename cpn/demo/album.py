"""The last few photos, in memory only."""

import secrets
from collections import OrderedDict
from dataclasses import dataclass, field

from cpn.demo.analysis import Person
from cpn.demo.uploads import BAD_REQUEST, NOT_FOUND, RefusedError

MAX_PHOTOS = 8
# Of one photo; their crops stay in memory, too.
MAX_PEOPLE = 300


@dataclass
class StoredPhoto:
    """A photo as it was uploaded.

    Attributes:
        content: the file.
        picture: what is shown, a JPEG file.
        people: those found, then those that somebody drew a box around.
    """

    content: bytes
    picture: bytes
    people: list[Person]

    def person(self, number: int) -> Person:
        """By its place in `people`.

        Raises:
            RefusedError: there is none.
        """
        if not 0 <= number < len(self.people):
            raise RefusedError(f"the photo has no person {number}", NOT_FOUND)
        return self.people[number]

    def add(self, person: Person) -> int:
        """Somebody whom a box was drawn around; gives their place in `people`.

        Raises:
            RefusedError: there are too many already.
        """
        self.check_place()
        self.people.append(person)
        return len(self.people) - 1

    def check_place(self) -> None:
        """Before anybody works on one more.

        Raises:
            RefusedError: there are too many already.
        """
        if len(self.people) >= MAX_PEOPLE:
            raise RefusedError(
                f"the photo has {len(self.people)} people, and {MAX_PEOPLE} is the most: give it"
                " again to begin anew",
                BAD_REQUEST,
            )


@dataclass
class Album:
    """`MAX_PHOTOS` photos; a new one pushes out the one that was asked for longest ago."""

    _photos: OrderedDict[str, StoredPhoto] = field(default_factory=OrderedDict)

    def add(self, photo: StoredPhoto) -> str:
        """Its key, which nobody can guess."""
        key = secrets.token_urlsafe(16)
        self._photos[key] = photo
        while len(self._photos) > MAX_PHOTOS:
            self._photos.popitem(last=False)
        return key

    def __getitem__(self, key: str) -> StoredPhoto:
        """A photo by its key.

        Raises:
            RefusedError: it is not, or no longer, there.
        """
        if key not in self._photos:
            raise RefusedError(
                f"the photo is no longer in memory, which holds {MAX_PHOTOS}: give it again",
                NOT_FOUND,
            )
        self._photos.move_to_end(key)
        return self._photos[key]

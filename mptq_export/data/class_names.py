"""Names of a model's classes, and the class that a folder's name means."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import import_module
from typing import Any

from mptq_export.support.errors import MptqError

_SYNSET = re.compile(r"n\d{8}")
_SHOWN = 3


@dataclass(frozen=True)
class ClassNames:
    """What the classes of a model are called.

    Attributes:
        numbers: the logit of every name; several names may have one.
        origin: where the names are from, for people.
    """

    numbers: Mapping[str, int]
    origin: str

    @classmethod
    def in_order(cls, names: Sequence[str], origin: str) -> "ClassNames":
        """From one name a logit; a name that two logits have means none of them."""
        counts = {name: 0 for name in names}
        for name in names:
            counts[name] += 1
        return cls({name: number for number, name in enumerate(names) if counts[name] == 1}, origin)

    @classmethod
    def of_imagenet(cls, folders: Iterable[str], logits: int) -> "ClassNames | None":
        """WordNet's synsets, where all folders are named by them and so many logits are a set of ImageNet's."""
        folders = set(folders)
        if not all(map(_SYNSET.fullmatch, folders)):
            return None
        timm = _timm_data()
        subset = timm.infer_imagenet_subset({"num_classes": logits})
        return None if subset is None else cls.in_order(timm.ImageNetInfo(subset).label_names(), f"{subset}'s synsets")

    def number_all(self, folders: Iterable[str]) -> dict[str, int] | None:
        """The logit of every folder; None where one is no class, or two are one class by a name that is not its own."""
        numbers: dict[str, int] = {}
        for folder in folders:
            number = self.number(folder)
            if number is None:
                return None
            numbers[folder] = number
        return None if self._doubled(numbers) else numbers

    def number(self, folder: str) -> int | None:
        """The logit of a folder: by its name as it is; then without regard to case, `_` and `-`; then by WordNet.

        A name such as "tench, Tinca tinca" answers to each of its parts. A synset (n01440764) means the words that
        WordNet has for it, and these words the synset.
        """
        if folder in self.numbers:
            return self.numbers[folder]
        folded = self._folded.get(_fold(folder))
        if folded is None and _SYNSET.fullmatch(folder):
            meant = {self._folded.get(_fold(word)) for word in _words(_lemmas().get(folder, ""))} - {None}
            folded = meant.pop() if len(meant) == 1 else None
        return folded

    def problem(self, folders: Sequence[str]) -> str:
        """Why `number_all` has no answer, for people."""
        stranger = next((folder for folder in folders if self.number(folder) is None), None)
        if stranger is not None:
            shown = ", ".join(list(self.numbers)[:_SHOWN]) + (" ..." if len(self.numbers) > _SHOWN else "")
            return f"folder {stranger} is none of the classes that {self.origin} names ({shown})"
        doubled = self._doubled({folder: number for folder in folders if (number := self.number(folder)) is not None})
        return "folders {} and {} are the same class".format(*doubled) if doubled else "its folders do not agree"

    def _doubled(self, numbers: Mapping[str, int]) -> tuple[str, str] | None:
        """Two folders of one class, unless the names themselves say so."""
        first: dict[int, str] = {}
        for folder, number in numbers.items():
            other = first.setdefault(number, folder)
            if other != folder and not (folder in self.numbers and other in self.numbers):
                return other, folder
        return None

    @cached_property
    def _folded(self) -> dict[str, int | None]:
        """The logit of every folded name and of its parts; None for what several logits answer to."""
        found: dict[str, int | None] = {}
        lemmas = _lemmas() if self.numbers and all(map(_SYNSET.fullmatch, self.numbers)) else {}
        for name, number in self.numbers.items():
            for word in {_fold(each) for each in (name, *_words(name), *_words(lemmas.get(name, "")))}:
                if found.setdefault(word, number) != number:
                    found[word] = None
        return found


def _words(name: str) -> list[str]:
    return [word for word in name.split(",") if word.strip()]


def _fold(name: str) -> str:
    return " ".join(re.split(r"[\s_-]+", name.strip().casefold()))


@cache
def _lemmas() -> Mapping[str, str]:
    """WordNet's words for every synset of ImageNet's, with commas between."""
    info = _timm_data().ImageNetInfo("imagenet-22k")
    return {synset: info.label_name_to_description(synset) for synset in info.label_names()}


def _timm_data() -> Any:
    try:
        return import_module("timm.data")  # imports torch
    except ModuleNotFoundError as error:
        raise MptqError(
            "the folders are named by WordNet's synsets; what these mean stands in timm, which is not installed here: "
            "give --class-map FILE with the names of the folders, one a line in the order of the logits"
        ) from error

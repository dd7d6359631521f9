"""The figures of a run: samples by scenario, variant, measure and proxy; medians and ratios."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median
from typing import Any

from attrs import define, field, frozen


@frozen
class Measure:
    """What a column is: its name, its unit, and which way is better."""

    name: str
    unit: str
    less_is_better: bool = True


@frozen
class Key:
    """What a series of samples belongs to; ``variant`` is empty where a scenario has but one."""

    scenario: str
    variant: str
    measure: Measure


@frozen
class Spread:
    """A median with the least and the greatest sample."""

    middle: float
    least: float
    most: float

    @classmethod
    def of(cls, samples: list[float]) -> Spread:
        """The spread of at least one sample."""
        return cls(median(samples), min(samples), max(samples))


@define
class Results:
    """Every sample of a run in the order measured, and the remarks a reader must see."""

    samples: dict[Key, dict[str, list[float]]] = field(factory=dict)
    remarks: list[str] = field(factory=list)

    def add(self, key: Key, subject: str, sample: float) -> None:
        """Append one sample of ``subject`` (a proxy's name)."""
        self.samples.setdefault(key, {}).setdefault(subject, []).append(sample)

    def remark(self, text: str) -> None:
        """Note something once."""
        if text not in self.remarks:
            self.remarks.append(text)

    def spread(self, key: Key, subject: str) -> Spread | None:
        """The median of one subject's samples, None when it was not measured."""
        samples = self.samples.get(key, {}).get(subject)
        return Spread.of(samples) if samples else None

    def ratio(self, key: Key, subject: str, peer: str) -> Spread | None:
        """``subject`` over ``peer``, round by round, so that a noisy minute hits both alike."""
        by_subject = self.samples.get(key, {})
        pairs = zip(by_subject.get(subject, []), by_subject.get(peer, []), strict=False)
        ratios = [mine / theirs for mine, theirs in pairs if theirs]
        return Spread.of(ratios) if ratios else None

    def scenarios(self) -> list[str]:
        """The scenarios that have figures, in the order measured."""
        return list(dict.fromkeys(key.scenario for key in self.samples))

    def of(self, scenario: str) -> Iterator[tuple[Key, dict[str, list[float]]]]:
        """The series of one scenario."""
        return ((key, value) for key, value in self.samples.items() if key.scenario == scenario)

    def as_json(self) -> list[dict[str, Any]]:
        """Every sample, for a machine."""
        return [
            {
                "scenario": key.scenario,
                "variant": key.variant,
                "measure": key.measure.name,
                "unit": key.measure.unit,
                "subject": subject,
                "samples": samples,
            }
            for key, by_subject in self.samples.items()
            for subject, samples in by_subject.items()
        ]

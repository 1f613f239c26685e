"""The way from one rule to another: nothing that is measured is left out, and each change is told."""

import dataclasses
import itertools
from typing import Any

import pytest

from hpsbench.errors import ProtocolMismatch
from hpsbench.evaluation.rule_changes import (
    CAUSES,
    NOT_MEASURED,
    can_be_scored,
    changes,
    describe,
    pair_metrics,
)
from hpsbench.protocols.catalog import get_protocol, list_protocols
from hpsbench.protocols.protocol import JointSource, Metric, Rule
from hpsbench.protocols.schema import SmoothTable


def rule_of(name: str, dataset: str = "3dpw") -> Rule:
    return get_protocol(name).rule(dataset)


@pytest.mark.parametrize(("kind", "part"), [(Rule, "rule"), (JointSource, "source"), (Metric, "metric")])
def test_every_part_of_a_rule_belongs_to_one_cause(kind: Any, part: str) -> None:
    """A key that is added to the rules must be given a cause, or be told not to be measured."""
    named = [name for cause in CAUSES for name in getattr(cause, part)] + list(NOT_MEASURED[kind])
    assert sorted(named) == sorted(field.name for field in dataclasses.fields(kind))


def test_the_way_ends_where_it_should() -> None:
    """After the last cause all that is measured is the second rule's, for any two protocols on any dataset they share."""
    seen = 0
    for one, other in itertools.permutations(list_protocols(), 2):
        for dataset in {"3dpw", "h36m", "mpi-inf-3dhp"}:
            try:
                first, second = rule_of(one, dataset), rule_of(other, dataset)
            except ProtocolMismatch:
                continue
            pairs = pair_metrics(first, second)
            steps = list(changes(first, second, pairs))
            last = steps[-1].rule
            for cause in CAUSES:
                for name in cause.rule:
                    assert getattr(last, name) == getattr(second, name), (one, other, name)
            assert (last.target, last.pred) == (second.target, second.pred)
            for metric, (_, wanted) in zip(last.metrics, pairs, strict=True):
                assert dataclasses.replace(metric, title="") == dataclasses.replace(wanted, title="")
            assert all(can_be_scored(step.rule) for step in steps)
            assert all(step.what for step in steps)
            seen += 1
    assert seen > 90


def test_causes_between_two_protocols() -> None:
    def causes(one: str, other: str) -> list[str]:
        first, second = rule_of(one), rule_of(other)
        return [step.cause for step in changes(first, second, pair_metrics(first, second))]

    assert causes("tcmr", "mpsnet") == ["frames"]
    assert causes("tcmr", "vibe") == ["frames", "windows"]
    assert causes("vibe", "vibe-strict") == ["joins", "coordinates", "precision"]
    assert causes("tcmr", "spin") == ["frames", "windows", "gaps", "body", "joints and root"]
    assert causes("tcmr", "tcmr") == []


def test_each_step_changes_its_own_cause_alone() -> None:
    first, second = rule_of("tcmr"), rule_of("hmmr")
    before = dataclasses.replace(
        first, metrics=tuple(metric for metric, _ in pair_metrics(first, second)), expect={}
    )
    for step in changes(first, second, pair_metrics(first, second)):
        (cause,) = [cause for cause in CAUSES if cause.name == step.cause]
        for other in CAUSES:
            if other is not cause:
                for name in other.rule:
                    assert getattr(step.rule, name) == getattr(before, name)
                for side, name in itertools.product(("target", "pred"), other.source):
                    assert getattr(getattr(step.rule, side), name) == getattr(getattr(before, side), name)
        before = step.rule


def test_changes_are_told_in_words() -> None:
    first, second = rule_of("tcmr"), rule_of("spin")
    told = {step.cause: step.what for step in changes(first, second, pair_metrics(first, second))}
    assert told["frames"] == ("view tcmr -> spin",)
    assert "length 16 -> 1" in told["windows"]
    assert told["body"] == ("target body smpl-neutral -> smpl-gendered",)
    assert told["joints and root"] == ("root mid-hip -> h36m17_regressor/hip",)
    first, second = rule_of("tcmr"), rule_of("hmmr")
    told = {step.cause: step.what for step in changes(first, second, pair_metrics(first, second))}
    assert told["average"] == ("average frame -> video", "round none -> 1e-05"), "once, not once per metric"
    assert "accel_err, accel_pred: align root -> none" in told["definition"]
    assert "target mesh smpl-neutral -> smpl-refit" in told["body"]
    smoothed = dataclasses.replace(first, smooth=SmoothTable(method="slerp", ratio=0.3, mesh=True))
    assert describe(first, smoothed) == ["smooth none -> slerp 0.3 with the mesh"]
    assert describe(first, first) == []
    challenge = rule_of("3dpw-challenge")
    assert "windows 16 frames -> none" in describe(
        dataclasses.replace(first, metrics=()), dataclasses.replace(challenge, metrics=())
    )


def test_metrics_are_paired_by_name_or_by_being_the_only_one_of_their_kind() -> None:
    def names(one: str, other: str) -> list[tuple[str, str]]:
        return [(a.name, b.name) for a, b in pair_metrics(rule_of(one), rule_of(other))]

    assert ("pve_raw", "pve_pelvis") in names("tcmr", "wham-camera")
    assert ("accel_err", "accel_err") in names("tcmr", "wham-camera")
    assert "accel_err_si" not in dict(names("tcmr", "wham-camera")).values(), "another unit"
    assert names("tcmr", "wham-world") == [], "two joint errors each: which is which?"
    assert "pve_tpose" not in dict(names("tcmr", "hmmr")).values()


def test_what_cannot_be_scored_by_itself_goes_with_the_next_cause() -> None:
    """From a body to annotated joints: without a body and still by a regressor there are no joints."""
    first = rule_of("tcmr")
    field = dataclasses.replace(
        first.target, kind="field", source="joints3d", source_set=None, body=None, mesh=None
    )
    second = dataclasses.replace(first, target=field)
    steps = list(changes(first, second, pair_metrics(first, second)))
    assert [step.cause for step in steps] == ["body + joints and root"]
    back = list(changes(second, first, pair_metrics(second, first)))
    assert back[-1].rule.target == first.target

"""Values of options that several commands share."""

import pytest

from modeling_retrieveall.cli.options import parse_labels, parse_prior, parse_threshold


@pytest.mark.parametrize("value", ["PER,ORG", "PER, ORG", " PER ,ORG "])
def test_spaces_around_labels_are_ignored(value: str) -> None:
    assert parse_labels(value) == ["PER", "ORG"]


@pytest.mark.parametrize("value", ["PER=0.5,ORG=0.8", "PER=0.5, ORG=0.8", " PER = 0.5 , ORG = 0.8 "])
def test_spaces_in_thresholds_are_ignored(value: str) -> None:
    assert parse_threshold(value) == {"PER": 0.5, "ORG": 0.8}
    assert parse_threshold(" 0.5 ") == 0.5


@pytest.mark.parametrize("value", ["da=2,no", "da=2, no", " da = 2 , no "])
def test_spaces_in_priors_are_ignored(value: str) -> None:
    assert parse_prior(value) == {"da": 2.0, "no": 1.0}

"""Which topics are taken beside our own, and as what."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.errors import UserError
from app.history.dead_letters import Letter
from app.history.view import LetterRow
from app.ingest.settings import IngestSettings, choose, found, patterns
from app.settings import load
from topics.formats import READERS
from topics.spec import Origin
from topics.telemetry import EVENTS, METRICS


def test_topics_and_patterns_are_set_in_the_file_or_as_json_in_a_variable(tmp_path: Path) -> None:
    file = tmp_path / "opsloop.toml"
    file.write_text('[ingest.topics]\ncollectd = "collectd"\n"metrics-*" = "auto"\n')
    assert load(file, {}).ingest.topics == {"collectd": "collectd", "metrics-*": "auto"}
    assert load(environment={"OPSLOOP_INGEST__TOPICS": '{"a.b": "otlp"}'}).ingest.topics == {"a.b": "otlp"}


@pytest.mark.parametrize("value", ['{"a": "no such format"}', "{", "collectd"])
def test_a_setting_that_means_nothing_is_told_in_words(value: str) -> None:
    with pytest.raises(UserError, match=r"settings: .*\$\.ingest\.topics"):
        load(environment={"OPSLOOP_INGEST__TOPICS": value})


def test_every_format_can_be_chosen() -> None:
    for name in (*READERS, "auto", "mixed", "opsloop"):
        assert load(environment={"OPSLOOP_INGEST__TOPICS": f'{{"a": "{name}"}}'}).ingest.topics == {"a": name}


def test_the_first_pattern_that_fits_a_topic_says_what_it_holds() -> None:
    settings = IngestSettings({"metrics.web": "telegraf", "metrics.*": "influx", "log?": "rsyslog"})
    chosen = choose(settings)
    assert [chosen(t) for t in ("metrics.web", "metrics.db", "log1")] == ["telegraf", "influx", "rsyslog"]
    exact, many, one = patterns(settings)
    assert re.match(exact, "metrics.web")
    assert not re.match(exact, "metricsxweb")
    assert not re.match(exact, "metrics.web.old")
    assert re.match(many, "metrics.db.eu")
    assert not re.match(one, "log12")


def test_what_a_pattern_finds_is_never_ours_or_kafkas() -> None:
    topics = ["metrics.b", "metrics.a", "opsloop.incidents", "__consumer_offsets", "logs"]
    settings = IngestSettings({"metrics.*": "auto", "*": "auto", "none": "auto"})
    assert found(settings, topics) == {
        "metrics.*": ["metrics.a", "metrics.b"], "*": ["logs", "metrics.a", "metrics.b"], "none": [],
    }  # fmt: skip


@pytest.mark.parametrize("pattern", ["opsloop.telemetry.metrics", "__consumer_offsets", "a(b|c)", ""])
def test_what_is_no_topic_or_is_our_own_is_refused(pattern: str) -> None:
    with pytest.raises(UserError, match="ingest"):
        patterns(IngestSettings({pattern: "auto"}))


@pytest.mark.parametrize(
    ("dlq", "origin", "topic"),
    [
        (METRICS.dlq, "telegraf-3-17", "telegraf"), (METRICS.dlq, f"{METRICS.name}-3-17", METRICS.name),
        (METRICS.dlq, "opsloop.actions.commands-0-1", METRICS.name), (METRICS.dlq, "a b-0-1", METRICS.name),
        (METRICS.dlq, "__consumer_offsets-0-1", METRICS.name), (EVENTS.dlq, "telegraf-3-17", EVENTS.name),
    ],
)  # fmt: skip
def test_a_letter_goes_back_to_a_foreign_topic_but_no_header_leads_it_to_another_of_ours(
    dlq: str, origin: str, topic: str
) -> None:
    row = LetterRow("l1", dlq, "malformed", "", origin, "", Origin(dlq, 0, 0), 0)
    assert Letter.of(row).topic == topic

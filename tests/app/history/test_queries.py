"""What was shown by decisions, verdicts and settings, read from the index."""

from __future__ import annotations

import msgspec
import pytest

from app.errors import UserError
from app.history import queries
from app.kafka.embedded import Embedded
from models.safety.settings import SafetySettings
from models.safety.signing import sign_setting
from tests.app.history.test_explain import run
from tests.builders import NOW, decision, incident, proposal
from tests.histories import write
from tests.keys import RING, key_of
from topics.settings import Setting

CLASS = "shop/restart_service/instance/production"


def test_what_was_shown_is_folded_from_decisions_verdicts_and_settings(
    embedded: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    grant = sign_setting(Setting(name=f"autonomy/{CLASS}", value="granted", ts=NOW, by="ana"), key_of("ana"))
    forged = msgspec.structs.replace(grant, name="autonomy/shop/scale_out/service/production")
    write(embedded.broker, [*(read.record for read in run().told), grant, forged])
    monkeypatch.setattr(queries, "Keys", lambda _: RING)
    trust = queries.trust(embedded.broker, SafetySettings())
    assert {name: (s.count, s.helped) for name, s in trust.standing.items()} == {
        "shop/autonomous": (1, 1),
        CLASS: (1, 1),
    }
    assert list(trust.grants) == [CLASS]


def test_an_id_is_found_by_its_beginning_when_no_other_begins_so(embedded: Embedded) -> None:
    made = decision(proposed=proposal(id="p9"))
    write(embedded.broker, [incident(id="abc1"), incident(id="abd2", seq=3), incident(id="abd2", seq=2), made])
    assert queries.incident_of(embedded.broker, "abd").seq == 3
    assert queries.decision_of(embedded.broker, made.id[:4]) == made
    for start, told in (("ab", "several incidents begin with 'ab'"), ("x", "no incident begins with 'x'")):
        with pytest.raises(UserError, match=told):
            queries.incident_of(embedded.broker, start)

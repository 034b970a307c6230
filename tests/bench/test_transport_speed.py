"""Our transport beside stock Faust on the same topic in one run: no slower, and in batches ten times as quick."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.bench.transport import WAYS, filled, rate
from app.kafka.broker import Broker

pytestmark = [pytest.mark.bench, pytest.mark.kafka, pytest.mark.timeout(600)]
MESSAGES = 60_000


async def test_batch_channels_are_ten_times_as_quick_as_stock(broker: Broker, tmp_path: Path) -> None:
    topic = filled(broker, MESSAGES)
    stock, ours, in_batches = [await rate(broker, topic, MESSAGES, tmp_path, way) for way in WAYS]
    print(f"messages a second: stock {stock:,.0f}, ours {ours:,.0f}, in batches {in_batches:,.0f}")
    assert ours > 0.9 * stock
    assert in_batches > 10 * stock

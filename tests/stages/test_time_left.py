"""The time left that a stage's progress shows."""

import json

from holdfast.models.stack import resolve
from holdfast.stages import work
from holdfast.stages.making import make_stage
from holdfast.stages.time_left import TimeLeft


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_it_is_what_is_left_at_the_speed_of_the_last_minutes():
    clock = Clock()
    left = TimeLeft(clock)
    told = []
    for step in range(101):  # a hundredth every 5 s
        clock.now = 5.0 * step
        told.append(left.at(step / 200))
    assert told[:2] == ["", ""]
    assert told[2] == "16.5 min left"  # (1 - 0.01) / 0.01 · 10 s
    assert told[100] == "8.3 min left"
    # Another part that is ten times as slow: five minutes later nothing of the first counts.
    for step in range(1, 101):
        clock.now += 5.0
        last = left.at(0.5 + step / 2000)
    assert last == "75.0 min left"  # 0.45 / 0.0005 · 5 s
    assert left.at(1.0) == ""
    assert left.at(0.0) == ""  # it began again


def test_every_stage_tells_it_on_the_terminal_and_to_status(tmp_path, monkeypatch):
    clock, told = Clock(), []
    monkeypatch.setattr(work.time, "monotonic", clock)
    monkeypatch.setattr(work, "TimeLeft", lambda: TimeLeft(clock))
    stage = make_stage("align", {"rows": 10})
    one = work.Work(
        stage, tmp_path, resolve("organism"), None, lambda *said: told.append(said), bool
    )
    one.progress(0.1, "step 1/10")
    clock.now = 20.0
    one.progress(0.2, "step 2/10, loss 1.0")
    assert told == [(0.1, "step 1/10"), (0.2, "step 2/10, loss 1.0, 2.7 min left")]
    assert json.loads((tmp_path / "progress.json").read_text())["note"] == told[-1][1]

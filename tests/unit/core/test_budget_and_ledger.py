import math
import os
import signal
import subprocess
import sys
import time

import pytest

from scrimp.core import budget, interrupts, progress
from scrimp.core.budget import Bill, Budget, Meter, Moment, resident_bytes
from scrimp.core.errors import BudgetError, Stopped
from scrimp.core.ledger import Ledger, environment


def test_a_meter_counts_what_earlier_attempts_spent():
    meter = Meter(Budget(time=100), before=Bill(wall_s=90, tokens_backward=5))
    assert 9 < meter.remaining_s() <= 10
    assert meter.out_of() is None
    assert meter.out_of(seconds=11) == "time"
    assert meter.bill().tokens_backward == 5
    with pytest.raises(BudgetError, match="training needs about 20 s"):
        meter.require(20, "training")


def test_a_meter_counts_from_when_the_work_was_asked_for():
    now = Moment.now()
    meter = Meter(Budget(time=100), since=Moment(now.wall - 30, now.cpu - 20))
    assert 69 < meter.remaining_s() <= 70
    assert 30 <= meter.bill().wall_s < 31 and 20 <= meter.bill().cpu_s < 21
    with meter.part() as part:
        assert part.elapsed_s() < 1


def test_a_process_knows_when_it_was_started():
    code = ("import time; time.sleep(1.0); from scrimp.core.budget import Moment; "
            "print(Moment.now().wall - Moment.of_start().wall, Moment.of_start().cpu)")
    before = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    ran, cpu = map(float, done.stdout.split())
    assert 1.0 <= ran <= time.monotonic() - before + 0.02 and cpu == 0


@pytest.mark.parametrize("told", ["", "1 (a) b) S 2", f"1 (python) S {f'{10**18} ' * 50}", f"1 (p) S {'0 ' * 50}"],
                         ids=["nothing", "something else", "in the future", "hours ago"])
def test_a_start_that_cannot_be_is_not_believed(monkeypatch, tmp_path, told):
    (tmp_path / "stat").write_text(told)
    monkeypatch.setattr(budget, "_OF_THIS_PROCESS", tmp_path / "stat")
    monkeypatch.setattr(budget, "_LONGEST_START_S", 0.0)
    before = Moment.now()
    found = Moment.of_start()
    assert before.wall <= found.wall <= time.monotonic() and found.cpu >= before.cpu


def test_a_part_is_billed_by_itself_and_to_the_whole():
    whole = Meter(Budget(time=50, tokens=100))
    with whole.part(Budget(time=5)) as part:
        part.charge(tokens_forward=7, tokens_backward=100, flops=1e9)
        assert part.remaining_s() <= 5
        assert part.out_of() == "tokens"
    assert part.bill().tokens_forward == 7 == whole.bill().tokens_forward
    assert whole.bill().flops == 1e9
    frozen = part.bill()
    time.sleep(0.02)
    assert part.bill() == frozen
    assert whole.bill().wall_s > frozen.wall_s


def test_no_budget_is_no_limit():
    assert Meter().remaining_s() == math.inf
    assert Meter().out_of(1e9) is None


def test_memory_is_watched_part_by_part():
    whole = Meter()
    with whole.part() as part:
        block = bytearray(os.urandom(1 << 20)) * 256
        assert Meter(Budget(memory=resident_bytes() - (64 << 20))).out_of() == "memory"
        assert Meter(Budget(memory=resident_bytes() + (1 << 30))).out_of() is None
        time.sleep(0.12)
    del block
    with whole.part() as later:
        pass
    assert part.bill().peak_memory - later.bill().peak_memory > 128 << 20
    assert whole.bill().peak_memory >= part.bill().peak_memory


def test_bills_add_up():
    both = Bill(wall_s=1, tokens_forward=2, peak_memory=10) + Bill(wall_s=2, tokens_forward=3, peak_memory=7)
    assert (both.wall_s, both.tokens_forward, both.peak_memory) == (3, 5, 10)


def test_a_ledger_survives_a_line_that_is_too_deep(tmp_path):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.write("one")
    with ledger.path.open("a") as file:
        file.write("[" * 100_000 + "\n")
    ledger.write("two")
    assert [entry["event"] for entry in ledger.read()] == ["one", "two"]


def test_a_ledger_survives_a_line_cut_short(tmp_path):
    ledger = Ledger(tmp_path / "runs" / "ledger.jsonl")
    assert ledger.read() == []
    ledger.write("start", seed=1)
    with ledger.path.open("a") as file:
        file.write('{"event": "val')
    ledger.write("end", text="\ud800 😀")
    assert [e["event"] for e in ledger.read()] == ["start", "end"]
    assert ledger.read("start")[0]["seed"] == 1


def test_the_environment_names_versions_and_device():
    found = environment()
    assert found["torch"].startswith("2.")
    assert {"python", "processor", "threads", "device", "scrimp"} <= set(found)


def test_ctrl_c_is_noted_and_twice_interrupts():
    with interrupts.graceful():
        assert not interrupts.stop_requested()
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupts.stop_requested()
        with pytest.raises(Stopped, match="everything up to here is saved"):
            interrupts.stop_if_requested()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
    assert not interrupts.stop_requested()


def test_plain_lines_without_a_terminal(monkeypatch, capsys):
    said = []
    monkeypatch.setattr(progress, "say", said.append)
    monkeypatch.setattr(progress, "_QUIET_S", 0.0)
    assert list(progress.track([1, 2, 3], "reading")) == [1, 2, 3]
    assert len(said) == 1
    assert said[0].startswith("reading: 1/3")


def test_a_bill_without_a_part_of_it_is_never_negative() -> None:
    whole, part = Bill(wall_s=10, tokens_forward=5, peak_memory=100), Bill(wall_s=4, tokens_forward=7, peak_memory=90)
    assert whole.less(part, peak=70) == Bill(wall_s=6, peak_memory=70)

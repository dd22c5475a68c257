import sys
from pathlib import Path

import pytest
from taximeter_sandbox.demo.processes import Command, Fleet, ProcessFailed, own_environment

SLEEP = ("timeit", "-n", "1", "-r", "1", "-s", "import time", "time.sleep(60)")


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


def command(*arguments: str, name: str = "one") -> Command:
    return Command(name, arguments, own_environment())


async def test_a_process_is_stopped_by_sigterm(fleet: Fleet) -> None:
    fleet.start(command(*SLEEP))

    assert fleet.exit_code("one") is None
    assert await fleet.stop(["one"], 10.0) == {"one": -15}


async def test_a_process_that_fails_is_named_with_the_place_of_its_log(fleet: Fleet) -> None:
    fleet.start(command("no_such_module"))
    await fleet._until_ended("one", sys.float_info.max)

    with pytest.raises(ProcessFailed, match=r"one ended with exit code 1; its log is .*one\.log"):
        fleet.check()
    fleet.kill_all()


async def test_waiting_for_a_file_ends_when_the_process_does(fleet: Fleet, tmp_path: Path) -> None:
    fleet.start(command("no_such_module"))

    with pytest.raises(ProcessFailed, match="while starting"):
        await fleet.wait_for_file("one", tmp_path / "never", 60.0)
    fleet.kill_all()


async def test_joining_lets_a_process_end_by_itself(fleet: Fleet) -> None:
    fleet.start(command("this"))

    assert await fleet.join(["one"], 60.0) == {"one": 0}
    assert "Zen" in fleet.log("one").read_text()


async def test_a_killed_name_can_be_started_again(fleet: Fleet) -> None:
    fleet.start(command(*SLEEP))
    first = fleet.pid("one")
    fleet.kill("one")
    fleet.start(command(*SLEEP))

    assert fleet.pid("one") != first
    fleet.kill_all()


def test_the_environment_of_another_installation_does_not_leak_in(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TAXIMETER_KAFKA_PARTITIONS", "KAFKA_BOOTSTRAP_SERVERS", "STRIPE_API_KEY"):
        monkeypatch.setenv(name, "theirs")

    assert not [name for name in own_environment() if name.startswith(("TAXIMETER_", "KAFKA_", "STRIPE_"))]

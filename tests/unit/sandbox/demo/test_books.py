from pathlib import Path

import pytest
from taximeter_sandbox.demo.books import ExpectedBooks, expected_books
from taximeter_sandbox.demo.load.journal import Journal, read_journal
from taximeter_sandbox.demo.load.workload import Emission, Kind

TOKENS = "alpaca_ai_tokens"
AUDIO = "alpaca_audio_seconds"


def emission(event_id: str, *, customer: str = "cus_1", tokens: int = 10, audio: int = 0, kind: Kind = Kind.FRESH) -> Emission:
    return Emission(kind, event_id, customer, 1_763_800_000_000, tokens, 1, audio, "alpaca-7b")


def write(path: Path, *sendings: tuple[list[Emission], list[int]]) -> Path:
    with Journal(path) as journal:
        for emissions, refused in sendings:
            journal.told(journal.sending(emissions), refused=refused)
    return path


def books_of(path: Path) -> ExpectedBooks:
    return expected_books([path])


def test_a_fresh_event_is_billed_to_its_customer_by_each_meter_it_concerns(tmp_path: Path) -> None:
    books = books_of(write(tmp_path / "a", ([emission("1", tokens=10, audio=7), emission("2", customer="cus_2", tokens=5)], [])))

    assert books.meters[TOKENS].by_customer == {"cus_1": 11, "cus_2": 6}
    assert books.meters[AUDIO].by_customer["cus_1"] == 7
    assert (books.meters[TOKENS].counted, books.meters[AUDIO].counted) == (2, 1)
    assert books.surprises == []


def test_the_first_of_an_id_counts_a_repeat_is_a_duplicate_and_other_content_a_dead_letter(tmp_path: Path) -> None:
    first, again = emission("1"), emission("1", kind=Kind.RETRY)
    other = emission("1", tokens=99, kind=Kind.CONFLICT)
    line = books_of(write(tmp_path / "a", ([first, again], []), ([again, other], []))).meters[TOKENS]

    assert (line.emitted, line.accepted, line.counted, line.duplicates, line.dead_lettered) == (4, 4, 1, 2, 1)
    assert line.units == 11


def test_the_same_id_in_another_journal_is_another_event(tmp_path: Path) -> None:
    paths = [write(tmp_path / name, ([emission("1")], [])) for name in ("a", "b")]

    assert expected_books(paths).totals.counted == 2


def test_what_was_sent_again_without_knowing_that_it_arrived_may_be_set_aside_again(tmp_path: Path) -> None:
    with Journal(tmp_path / "a") as journal:
        journal.told(journal.sending([emission("1"), emission("2", kind=Kind.MALFORMED)]), resent=2)

    line = books_of(tmp_path / "a").meters[TOKENS]
    assert (line.counted, line.dead_lettered, line.dead_lettered_again) == (1, 1, 2)


def test_a_malformed_event_is_refused_or_set_aside_and_never_billed(tmp_path: Path) -> None:
    malformed = [emission("1", kind=Kind.MALFORMED), emission("2", kind=Kind.MALFORMED)]
    books = books_of(write(tmp_path / "a", (malformed, [0])))

    line = books.meters[TOKENS]
    assert (line.refused, line.dead_lettered, line.counted, line.units) == (1, 1, 0, 0)
    assert books.surprises == []


def test_a_good_event_that_was_refused_is_a_surprise(tmp_path: Path) -> None:
    books = books_of(write(tmp_path / "a", ([emission("1")], [0])))

    assert books.surprise_count == 1
    assert "good event 1 was refused" in books.surprises[0]


@pytest.mark.parametrize("outcome_written", [False, True])
def test_a_sending_without_a_known_outcome_is_a_surprise(tmp_path: Path, outcome_written: bool) -> None:
    path = tmp_path / "a"
    with Journal(path) as journal:
        number = journal.sending([emission("1")])
        if outcome_written:
            journal.told(number, failed=[0])

    assert books_of(path).surprise_count == 1


def test_a_journal_reads_back_as_it_was_written(tmp_path: Path) -> None:
    path = write(tmp_path / "a", ([emission("1", audio=3), emission("2", kind=Kind.LATE)], [1]))

    [entry] = read_journal(path)
    assert entry.kinds == "fl"
    assert list(entry.ids) == ["1", "2"]
    assert entry.usage == {"input_tokens": [10, 10], "output_tokens": [1, 1], "audio_seconds": [3, 0]}
    assert (entry.refused, entry.failed, entry.told) == (frozenset({1}), frozenset(), True)

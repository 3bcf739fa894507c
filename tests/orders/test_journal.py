"""No order is meant twice under one id: the database itself refuses it."""

import sqlite3
from contextlib import closing

import pytest

from research.live.journal import Journal, JournalError, read
from research.live.journal.files import writing


def meant(name):
    return "intent", {"cid": name, "time": 5}


def test_a_second_intent_of_one_id_cannot_be_written(tmp_path):
    with Journal.open(tmp_path) as journal:
        journal.append(meant("a"), ("send", {"cid": "a"}), meant("b"))
        journal.append(("send", {"cid": "a"}), ("note", {"cid": "a"}))
        with pytest.raises(JournalError, match="UNIQUE"):
            journal.append(("note", {}), meant("a"))
    assert [event.kind for event in read(tmp_path)] == ["intent", "send", "intent", "send", "note"]
    with Journal.open(tmp_path) as journal:
        journal.append(meant("c"))
        with pytest.raises(JournalError):
            journal.append(meant("c"), meant("c"))


def test_a_journal_made_without_the_rule_opens_and_gets_it(tmp_path):
    with Journal.open(tmp_path) as journal:
        journal.append(("start", {"time": 1}), meant("a"))
    with closing(writing(tmp_path)) as connection:
        connection.execute("DROP INDEX intents")
    with Journal.open(tmp_path) as journal, pytest.raises(JournalError):
        journal.append(meant("a"))
    with closing(writing(tmp_path)) as connection, pytest.raises(sqlite3.IntegrityError):
        row = "SELECT 3, kind, time, body, hash FROM events WHERE kind = 'intent'"
        connection.execute(f"INSERT INTO events {row}")

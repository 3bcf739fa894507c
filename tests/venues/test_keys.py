"""Keys come from the environment or a private file, and are shown nowhere."""

import os
import traceback

import pytest

from research.errors import UserError
from research.venues.keys import Keys, read, variables

PAIR = "ALPHABOOK_KRAKEN_KEY=canary-key\nALPHABOOK_KRAKEN_SECRET='canary-secret'\n"


def written(root, text=PAIR, mode=0o600):
    path = root / ".env"
    path.write_text(text)
    path.chmod(mode)
    return root


def test_file_and_environment(tmp_path):
    assert read("kraken", root=written(tmp_path), environ={}) == Keys("canary-key", "canary-secret")
    set_ = {"ALPHABOOK_KRAKEN_KEY": "k", "ALPHABOOK_KRAKEN_SECRET": " s\n"}
    assert read("kraken", root=tmp_path, environ=set_) == Keys("k", "s")


def test_an_account_may_have_its_own(tmp_path):
    both = {
        "ALPHABOOK_KRAKEN_KEY": "k",
        "ALPHABOOK_KRAKEN_SECRET": "s",
        "ALPHABOOK_KRAKEN_MY_TWO_KEY": "k2",
        "ALPHABOOK_KRAKEN_MY_TWO_SECRET": "s2",
    }
    assert read("kraken:my-two", root=tmp_path, environ=both).key == "k2"
    assert read("kraken:other", root=tmp_path, environ=both).key == "k"
    assert variables("kraken:my-two")[0] == "ALPHABOOK_KRAKEN_MY_TWO"


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o606, 0o610, 0o777])
def test_a_file_that_others_may_read_is_refused(tmp_path, mode):
    root = written(tmp_path, mode=mode)
    for environ in ({}, {"ALPHABOOK_KRAKEN_KEY": "k", "ALPHABOOK_KRAKEN_SECRET": "s"}):
        with pytest.raises(UserError, match=r"chmod 600 .*\.env"):
            read("kraken", root=root, environ=environ)


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_a_private_file_is_read(tmp_path, mode):
    assert read("kraken", root=written(tmp_path, mode=mode), environ={}).key == "canary-key"


def test_a_file_of_another_user_is_refused(tmp_path, monkeypatch):
    root = written(tmp_path)
    monkeypatch.setattr(os, "getuid", lambda: (root / ".env").stat().st_uid + 1)
    with pytest.raises(UserError, match="belongs to another user"):
        read("kraken", root=root, environ={})


def test_a_file_without_keys_may_be_open(tmp_path):
    root = written(tmp_path, "ALPHABOOK_DATA=/somewhere\n# ALPHABOOK_KRAKEN_KEY=x\n", 0o644)
    with pytest.raises(UserError, match="ALPHABOOK_KRAKEN_KEY and ALPHABOOK_KRAKEN_SECRET"):
        read("kraken", root=root, environ={})


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({}, "are not set"),
        ({"ALPHABOOK_KRAKEN_KEY": "canary-key"}, "ALPHABOOK_KRAKEN_SECRET is not set"),
        ({"ALPHABOOK_KRAKEN_SECRET": "canary"}, "ALPHABOOK_KRAKEN_KEY is not set"),
    ],
)
def test_what_is_missing_is_named(tmp_path, environ, says):
    with pytest.raises(UserError, match=says) as told:
        read("kraken", root=tmp_path, environ=environ)
    assert "canary" not in str(told.value)


@pytest.mark.parametrize("account", ["kraken:../x", "kraken:A", "krakken", "kraken:" + "a" * 21])
def test_names_of_accounts(account):
    with pytest.raises(UserError, match="account: must be one of"):
        variables(account)


def test_they_are_shown_nowhere():
    keys = Keys("canary-key", "canary-secret")
    shown = [repr(keys), str(keys), f"{keys}", f"{[keys]}"]
    try:
        raise ValueError(keys)
    except ValueError:
        shown.append(traceback.format_exc())
    assert not any("canary" in text for text in shown)

from pathlib import Path

import pytest

from errors import UserError
from files.paths import expand


def test_home_and_variables(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("DATA_1", "/data $X")
    assert expand("~/a") == "/home/me/a"
    assert expand("$DATA_1/a") == "/data $X/a"
    assert expand("x/${DATA_1}b") == "x//data $Xb"
    for plain in ("a/b", "a~b", "costs 5$", "$5", "/a/~", ""):
        assert expand(plain) == plain


def test_an_undefined_variable_is_named(monkeypatch, tmp_path):
    monkeypatch.delenv("NOWHERE", raising=False)
    for path in ("a/$NOWHERE/b", "${NOWHERE}b"):
        with pytest.raises(UserError, match="no environment variable NOWHERE") as error:
            expand(path)
        assert path in str(error.value)


def test_what_has_that_very_name_is_taken(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in ("$RECYCLE", "~"):
        Path(name).mkdir()
        assert expand(name) == name

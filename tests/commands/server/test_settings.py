from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from commands.compose import make
from commands.errors import BadInput
from commands.server.keys import Keys, read_keys
from commands.server.settings import Settings
from policy.budget import BadBudget, Budget

CONF = Path(__file__).resolve().parents[3] / "conf" / "serve.yaml"


def test_the_yaml_names_every_setting_and_refuses_others() -> None:
    config = OmegaConf.load(CONF).settings
    made = make("settings", config)
    assert isinstance(made, Settings) and set(config) - {"_target_"} == set(vars(made))
    for wrong in ({"misspelled": 1}, {"at_once": 0}, {"at_once": "many"}, {"efforts": {"huge": "1s"}}, {"model": " "},
                  {"efforts": ["low"]}, {"efforts": None}, {"efforts": {1: "3s"}},
                  {"stop_within": 1.0}, {"header_timeout": float("inf")}):
        with pytest.raises(BadInput):
            make("settings", {**OmegaConf.to_container(config), **wrong})
    for wrong in ({"budget": "2h"}, {"max_budget": "100tok"}, {"efforts": {"high": "soon"}}):
        with pytest.raises(BadBudget):
            make("settings", {**OmegaConf.to_container(config), **wrong})


def test_budgets_are_what_was_asked_for_within_bounds() -> None:
    settings = Settings(budget="3s", max_budget="20s+9000tok", efforts={"low": "1s", "none": "1sims"})
    assert settings.granted() == Budget(3.0, 9000)
    assert settings.granted("200sims") == Budget(20.0, 9000, 200)
    assert settings.granted(None, "none") == Budget(20.0, 9000, 1)
    assert settings.granted("2s", "none", 500) == Budget(2.0, 500)
    assert settings.granted("100tok", None, 500) == Budget(20.0, 100)
    for text, effort in (("21s", None), ("9001tok", None), ("soon", None), (None, "high"), ("0s", None)):
        with pytest.raises(BadBudget):
            settings.granted(text, effort)


def test_keys_are_compared_whole() -> None:
    keys = Keys(["first-key-of-16-characters", "second-key-of-16-characters"])
    assert keys and not Keys()
    assert keys.name("Bearer first-key-of-16-characters") == "key1"
    assert keys.name("bearer second-key-of-16-characters ") == "key2"
    for wrong in (None, "", "Bearer", "first-key-of-16-characters", "Basic first-key-of-16-characters", "Bearer \udcff",
                  "Bearer first-key-of-16-character", "Bearer first-key-of-16-charactersX"):
        assert keys.name(wrong) is None
    for bad in ("short", "with spaces between them", "ünicode-key-of-16-characters"):
        with pytest.raises(BadInput) as refused:
            Keys([bad])
        assert bad not in str(refused.value)


def test_keys_come_from_a_file_and_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "keys"
    file.write_text("# ours\nfirst-key-of-16-characters  # of the lab\n\nsecond-key-of-16-characters\n")
    monkeypatch.setenv("KEYS", "third-key-of-16-characters")
    assert read_keys(str(file), "KEYS").name("Bearer third-key-of-16-characters") == "key3"
    assert not read_keys(None, "ABSENT") and not read_keys(None, None)
    monkeypatch.setenv("KEYS", " ")
    with pytest.raises(BadInput, match="holds none"):
        read_keys(None, "KEYS")
    with pytest.raises(FileNotFoundError):
        read_keys(str(tmp_path / "nowhere"), None)

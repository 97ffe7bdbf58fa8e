"""Names of plugins: found, called with options, and explained where they are broken."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace
from typing import Protocol, runtime_checkable

import pytest

from score_rl.core import plugins
from score_rl.core.errors import ScoreError

GROUP = "score_rl.tests"


@runtime_checkable
class Sized(Protocol):
    size: int

    def grow(self) -> None: ...


MODULE = """
from types import SimpleNamespace

def thing(num_envs, size=1, **rest):
    return SimpleNamespace(size=size * num_envs, grow=lambda: None, rest=rest)

def strict(num_envs, depth):
    return SimpleNamespace(size=depth, grow=lambda: None)

def fails(num_envs):
    raise RuntimeError("no display")

def other(num_envs):
    return SimpleNamespace(size=1)

NUMBER = 3
"""


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plugins: `good` (with a part), `bare` (without), and `broken`, whose package cannot be imported."""
    package = tmp_path / "fake_plugin"
    for name, source in {
        "things.py": MODULE,
        "good/__init__.py": "",
        "good/part.py": "VALUE = {'a': 1}",
        "wrong/__init__.py": "",
        "wrong/part.py": "VALUE = 3",
        "bare/__init__.py": "",
        "broken/__init__.py": "raise RuntimeError('half an installation')",
        "__init__.py": "",
    }.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    found = [EntryPoint(name, f"fake_plugin.{name}", GROUP) for name in ("good", "wrong", "bare", "broken")]
    found += [EntryPoint("thing", "fake_plugin.things:thing", GROUP)]
    monkeypatch.setattr(plugins, "entry_points", lambda group: found if group == GROUP else [])
    yield
    for name in [name for name in sys.modules if name.startswith("fake_plugin")]:
        del sys.modules[name]


def part(name: str) -> object:
    return plugins.load_part(GROUP, name, "part", "VALUE", "thing", dict)


def make(uri: str) -> SimpleNamespace:
    return plugins.make(GROUP, uri, "thing", {"num_envs": 2}, Sized)


def test_parts_of_packages() -> None:
    assert plugins.names(GROUP) == ("bare", "broken", "good", "thing", "wrong")
    assert plugins.names(GROUP, "part") == ("broken", "good", "thing", "wrong")  # what is broken is not hidden
    assert part("good") == {"a": 1}


def test_factories_by_name_and_by_module_with_options() -> None:
    assert make("thing").size == 2
    assert make("thing?size=3").size == 6
    found = make("fake_plugin.things:thing?size=5&label=a b&deep=true&rate=0.5")
    assert (found.size, found.rest) == (10, {"label": "a b", "deep": True, "rate": 0.5})
    assert make("fake_plugin.things:strict?depth=4").size == 4


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("thng", "unknown thing 'thng'; did you mean 'thing'?"),
        ("broken", "thing 'broken' (fake_plugin.broken) cannot be loaded: RuntimeError: half an installation"),
        ("good", "thing 'good' is no factory"),
        ("fake_plugin.things:NUMBER", "is no factory, but 3"),
        ("fake_plugin.thing:x", "No module named 'fake_plugin.thing'"),
        ("gymnsium:CartPole-v1", "thing 'gymnsium:CartPole-v1' is no package.module:factory"),
        ("fake_plugin.things:", "is no package.module:factory"),
        (":thing", "is no package.module:factory"),
        ("fake_plugin.things:thin", "has no attribute 'thin'"),
        ("thing?num_envs=9", "unknown option of thing 'thing' 'num_envs'"),
        (
            "fake_plugin.things:strict?deepth=1",
            "unknown option of thing 'fake_plugin.things:strict' 'deepth'",
        ),
        ("fake_plugin.things:strict", "needs the option depth"),
        ("fake_plugin.things:fails", "cannot be made: RuntimeError: no display"),
        ("fake_plugin.things:other", "is no Sized: SimpleNamespace has no grow"),
        ("types:SimpleNamespace", "is no Sized: SimpleNamespace has no size, grow"),
    ],
)
def test_what_is_wrong_with_a_factory_is_said(uri: str, message: str) -> None:
    with pytest.raises(ScoreError) as error:
        make(uri)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("god", "unknown thing 'god'; did you mean 'good'?"),
        ("bare", "unknown thing 'bare'"),
        ("broken", "thing 'broken' (fake_plugin.broken.part) cannot be loaded: RuntimeError: half an installation"),
        ("wrong", "(fake_plugin.wrong.part) is broken: VALUE must be a dict, but the module has 3"),
    ],
)
def test_what_is_wrong_with_a_package_is_said(name: str, message: str) -> None:
    with pytest.raises(ScoreError) as error:
        part(name)
    assert message in str(error.value)


def test_a_plugin_that_ends_the_program_is_one_that_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fake_plugin" / "quits").mkdir()
    (tmp_path / "fake_plugin" / "quits" / "__init__.py").write_text("raise SystemExit(0)")
    (tmp_path / "fake_plugin" / "leaving.py").write_text("def leave(num_envs):\n    raise SystemExit(0)")
    quits = EntryPoint("quits", "fake_plugin.quits", GROUP)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [quits])
    assert plugins.names(GROUP, "part") == ("quits",)
    for ask in (lambda: part("quits"), lambda: make("quits"), lambda: make("fake_plugin.leaving:leave")):
        with pytest.raises(ScoreError, match=r"cannot be (loaded|made): SystemExit: 0"):
            ask()


def test_options_have_the_types_that_the_factory_says(tmp_path: Path) -> None:
    source = (
        "from __future__ import annotations\nfrom types import SimpleNamespace\n\n"
        "def typed(num_envs: int, flag: bool = True, label: str = '', rates: float | list[float] = 1.0,\n"
        "          pair: tuple[float, float] = (1, 1), size=1):\n"
        "    return SimpleNamespace(size=size, grow=print, flag=flag, label=label, rates=rates, pair=pair)\n\n"
        "def unknown(num_envs: int, label: NoSuchType = None):\n"
        "    return SimpleNamespace(size=1, grow=print, label=label)\n"
    )
    (tmp_path / "fake_plugin" / "typed.py").write_text(source)
    uri = "fake_plugin.typed:typed?"
    for given, name, value in (
        ("flag=false", "flag", False),
        ("label=3", "label", "3"),
        ("label=true", "label", "true"),
        ("rates=2", "rates", 2),
        ("rates=[1, 2.5]", "rates", [1, 2.5]),
        ("pair=[1, 2]", "pair", (1, 2)),
        ("size=3", "size", 3),
    ):
        assert getattr(make(uri + given), name) == value
    assert make("fake_plugin.typed:unknown?label=3").label == 3
    for given in ("flag=False", "flag=no", "flag=1", "rates=fast", "rates=[1, x]", f"rates={'9' * 5000}"):
        with pytest.raises(ScoreError, match=f"{given.split('=')[0]} of thing .* is .*, expected") as error:
            make(uri + given)
        assert len(str(error.value)) < 250


def test_a_factory_is_checked_without_calling_it() -> None:
    plugins.check_factory(GROUP, "fake_plugin.things:fails", "thing", ["num_envs"])
    with pytest.raises(ScoreError, match="must take an argument rows"):
        plugins.check_factory(GROUP, "fake_plugin.things:fails", "thing", ["rows"])

"""Policies as TOML files: the shipped ones, and a user's own.

A file states the policy that it is based on and what it changes. Unknown tables, fields and words
are errors that name the file, the table, the field and what is allowed there, so that a typing
mistake never loosens a rule unseen.
"""

from __future__ import annotations

import re
import tomllib
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from detector.opinions import EvidenceKind
from detector.policy_rules import (
    DECIDED,
    MACHINE_ORIGINS,
    OTHER_ORIGINS,
    STANDARD,
    SURE,
    FilterRules,
    Policy,
    Weight,
)
from provenance.errors import ConfigError
from provenance.types import Assurance, FilterAction, Origin

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from enum import StrEnum

__all__ = ["FORMAT", "SHIPPED", "find_policies", "load_policy", "parse_policy", "read_shipped"]

FORMAT = "countermark-policy-1"

SHIPPED = ("default", "strict", "lenient")

MAX_FILE_BYTES = 64 * 1024
"""Thirty times the longest shipped file; a picture given by mistake is not read whole."""

MAX_TOOLS = 200
MAX_TEXT_CHARACTERS = 200

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}")
_SUFFIX = ".toml"

W = TypeVar("W", bound="StrEnum")


def load_policy(named: str, folder: Path | None = None) -> Policy:
    """The policy of that name, or in that file.

    Args:
        named: ``default``, ``strict``, ``lenient``, the name of a file ``NAME.toml`` in `folder`,
            or the path of a TOML file.
        folder: Where policies of an installation's own lie; None means nowhere.

    Raises:
        ConfigError: There is none, or it is defective.
    """
    if named in SHIPPED:
        return parse_policy(read_shipped(named), where=f"the shipped policy {named}")
    if named.endswith(_SUFFIX) or "/" in named or "\\" in named:
        return _read_file(_user_path(named))
    own = find_policies(folder)
    if named in own:
        return _read_file(own[named])
    known = [*SHIPPED, *own]
    place = f", or put it into {folder} as {named}{_SUFFIX}" if folder and _is_name(named) else ""
    raise ConfigError(
        f"there is no policy {_shown(named)}{_nearest(named, known)}; or give the path of a "
        f"{_SUFFIX} file{place}"
    )


def find_policies(folder: Path | None) -> Mapping[str, Path]:
    """Files of an installation's own policies by name; those named as a shipped one are left out.

    Raises:
        ConfigError: The folder cannot be read.
    """
    if folder is None or not folder.is_dir():
        return {}
    try:
        found = sorted(folder.glob(f"*{_SUFFIX}"))
    except OSError as error:
        raise ConfigError(f"{folder} cannot be read ({error.strerror}); check its mode") from error
    return {path.stem: path for path in found if path.stem not in SHIPPED}


def read_shipped(name: str) -> str:
    """The text of a shipped policy, comments and all."""
    return files("detector.policies").joinpath(f"{name}{_SUFFIX}").read_text(encoding="utf-8")


def _user_path(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"{text}: there is no such user's home folder ({error})") from error


def _read_file(path: Path) -> Policy:
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a name that holds a NUL
        said = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"the policy file {path} cannot be read ({said}); check the path"
        ) from error
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(
            f"{path} is longer than {MAX_FILE_BYTES} bytes, so it is no policy; start from a "
            "shipped one: countermark policy show default"
        )
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not readable TOML: it is not UTF-8 text") from error
    policy = parse_policy(text, where=str(path))
    if policy.name in SHIPPED:
        raise ConfigError(
            f"{path}: name = {policy.name!r} belongs to a shipped policy; give yours a name of its "
            "own, because the name stands in every verdict"
        )
    return policy


# -- the text ------------------------------------------------------------------------------------


def parse_policy(text: str, *, where: str) -> Policy:
    """The policy that a TOML text states.

    Args:
        text: The file's.
        where: What messages call it.

    Raises:
        ConfigError: It is no TOML, or states something that no policy can.
    """
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where} is not readable TOML: {error}") from error
    top = _Table(table, where, "")
    top.only("format", "name", "description", "based_on", "verdict", "filter")
    top.choice("format", (FORMAT,), None)
    base = _base_of(top)
    verdict = top.table("verdict")
    verdict.only("weakest", "unlisted_signers", "expired_signers", "evidence", "tools")
    evidence = verdict.table("evidence")
    evidence.only(*EvidenceKind)
    tools = verdict.table("tools")
    tools.only("only", "ignore")
    return Policy(
        name=top.name(),
        description=top.text("description"),
        weakest=Assurance(verdict.choice("weakest", DECIDED, base.weakest)),
        unlisted_signers=verdict.word("unlisted_signers", Weight, base.unlisted_signers),
        expired_signers=verdict.word("expired_signers", Weight, base.expired_signers),
        evidence={
            kind: evidence.word(kind, Weight, base.evidence.get(kind, Weight.DECIDES))
            for kind in EvidenceKind
        },
        only_tools=tools.names("only", base.only_tools),
        ignore_tools=tools.names("ignore", base.ignore_tools),
        filter=_parse_rules(top.table("filter"), base.filter),
    )


def _base_of(top: _Table) -> Policy:
    named = top.choice("based_on", SHIPPED, "")
    if not named or named == STANDARD.name:
        return STANDARD
    return parse_policy(read_shipped(named), where=f"the shipped policy {named}")


def _parse_rules(table: _Table, base: FilterRules) -> FilterRules:
    table.only("unknown", "unreadable", *MACHINE_ORIGINS, *OTHER_ORIGINS)
    actions, hints = dict(base.actions), dict(base.hints)
    for origin in OTHER_ORIGINS:
        actions |= _read_actions(table, origin, DECIDED, base)
    for origin in MACHINE_ORIGINS:
        actions |= _read_actions(table, origin, SURE, base)
        hints |= _read_hints(table, origin, base)
    return FilterRules(
        unknown=table.word("unknown", FilterAction, base.unknown),
        unreadable=table.word("unreadable", FilterAction, base.unreadable),
        actions=actions,
        hints=hints,
    )


def _read_actions(
    table: _Table, origin: Origin, assurances: Sequence[Assurance], base: FilterRules
) -> dict[tuple[Origin, Assurance], FilterAction]:
    one = table.action_or_table(origin)
    if isinstance(one, FilterAction):
        return {(origin, assurance): one for assurance in assurances}
    one.only(*DECIDED)
    return {(origin, a): one.word(a, FilterAction, base.actions[origin, a]) for a in assurances}


def _read_hints(
    table: _Table, origin: Origin, base: FilterRules
) -> dict[tuple[Origin, EvidenceKind], FilterAction]:
    one = table.action_or_table(origin)
    hint = one if isinstance(one, FilterAction) else one.action_or_table(Assurance.HINT)
    if isinstance(hint, FilterAction):
        return {(origin, kind): hint for kind in EvidenceKind}
    hint.only(*EvidenceKind)
    return {(origin, k): hint.word(k, FilterAction, base.hints[origin, k]) for k in EvidenceKind}


class _Table:
    """A table of the file, and its name for messages."""

    def __init__(self, values: Mapping[str, Any], where: str, path: str) -> None:
        self._values = values
        self._where = where
        self._path = path

    def _field(self, key: str) -> str:
        return f"{self._where}: " + (f"[{self._path}] " if self._path else "") + key

    def only(self, *known: str) -> None:
        """Refuses fields of other names."""
        for key in self._values:
            if key not in known:
                place = f"[{self._path}]" if self._path else "the top of the file"
                raise ConfigError(
                    f"{self._where}: {place} has no field {_shown(key)}{_nearest(key, known)}"
                )

    def table(self, key: str) -> _Table:
        value = self._values.get(key, {})
        if not isinstance(value, dict):
            raise ConfigError(f"{self._field(key)} must be a table, not {_shown(value)}")
        return _Table(value, self._where, f"{self._path}.{key}" if self._path else key)

    def action_or_table(self, key: str) -> FilterAction | _Table:
        """An action that holds for all below, or the finer table."""
        value = self._values.get(key, {})
        if isinstance(value, dict):
            return self.table(key)
        if isinstance(value, str):
            return self.word(key, FilterAction, None)
        raise self._refusal(key, value, [*_words(FilterAction), "a table"])

    def word(self, key: str, kind: type[W], default: W | None) -> W:
        """A word of `kind`."""
        return kind(self.choice(key, tuple(kind), default))

    def choice(self, key: str, known: Sequence[str], default: str | None) -> str:
        """One of some words; a missing one is an error where there is no default."""
        value = self._values.get(key, default)
        if value is None:
            raise ConfigError(f"{self._field(key)} is missing; write {key} = {known[0]!r}")
        if value == default or (isinstance(value, str) and value in known):
            return str(value)
        raise self._refusal(key, value, [str(word) for word in known])

    def _refusal(self, key: str, value: object, known: Sequence[str]) -> ConfigError:
        near = _near(value, known) if isinstance(value, str) else ""
        hint = f"; did you mean {near}?" if near else ""
        said = " or ".join(known) if len(known) < 3 else f"one of {', '.join(known)}"
        return ConfigError(f"{self._field(key)} = {_shown(value)} must be {said}{hint}")

    def name(self) -> str:
        value = self._values.get("name")
        if isinstance(value, str) and _is_name(value):
            return value
        if value is None:
            raise ConfigError(f'{self._field("name")} is missing; write name = "my-policy"')
        raise ConfigError(
            f"{self._field('name')} = {_shown(value)} must be 1 to 40 of the letters A-Z and a-z, "
            "digits, dots, dashes and underscores, and begin with a letter or digit"
        )

    def text(self, key: str) -> str:
        value = self._values.get(key, "")
        if isinstance(value, str) and value.isprintable() and len(value) <= MAX_TEXT_CHARACTERS:
            return value
        raise ConfigError(
            f"{self._field(key)} must be one line of at most {MAX_TEXT_CHARACTERS} characters"
        )

    def names(self, key: str, default: frozenset[str]) -> frozenset[str]:
        value = self._values.get(key)
        if value is None:
            return default
        if not isinstance(value, list) or not all(isinstance(v, str) and v.strip() for v in value):
            raise ConfigError(
                f"{self._field(key)} = {_shown(value)} must be a list of programs' names, like "
                '["ComfyUI", "InvokeAI"]'
            )
        if len(value) > MAX_TOOLS:
            raise ConfigError(f"{self._field(key)} names more than {MAX_TOOLS} programs")
        return frozenset(v.strip().casefold() for v in value)


def _is_name(text: str) -> bool:
    return bool(_NAME.fullmatch(text))


def _words(kind: type[StrEnum]) -> Iterator[str]:
    return (word.value for word in kind)


def _near(word: str, known: Sequence[str]) -> str:
    return next(iter(get_close_matches(word, [str(k) for k in known], n=1, cutoff=0.6)), "")


def _nearest(word: str, known: Sequence[str]) -> str:
    near = _near(word, known)
    hint = f"; did you mean {near}?" if near else ""
    return f"{hint} (known: {', '.join(known)})"


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # a hexadecimal number of thousands of digits
        text = "a number"
    return text if len(text) <= 60 else f"{text[:60]}..."

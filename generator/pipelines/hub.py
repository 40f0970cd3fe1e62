"""Finds a model folder: the bundled one, a local one, or a hub repository at one exact commit.

Of a hub repository only the files that are loaded come down, chosen by `weights.select_files`
from the repository's own list *before* the first large byte: a repository with pickles only is
refused at once, not after 7 GB.
"""

from __future__ import annotations

import importlib
import logging
import re
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from generator.pipelines.weights import (
    CHECKER_FILES,
    INDEX_NAME,
    ModelFiles,
    ModelIndex,
    WeightFormats,
    list_files,
    read_model_index,
    select_files,
)
from provenance.errors import BackendUnavailableError, InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["ModelFolder", "kept_folder", "open_folder", "open_model"]

_log = logging.getLogger(__name__)

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
"""``owner/name``. Source: `validate_repo_id` of huggingface_hub (96 characters each)."""
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A model on disk, checked but not loaded.

    Attributes:
        path: Where it lies.
        name: Hub id, or the folder's own name: what records show.
        commit: Full commit hash of a hub model; None for a local folder.
        index: Its components.
        files: What the pipeline will read.
    """

    path: Path
    name: str
    commit: str | None
    index: ModelIndex
    files: ModelFiles

    @property
    def safety_checker_folder(self) -> Path | None:
        """The model folder, when it brings a whole safety checker; None otherwise."""
        return self.path if all((self.path / n).is_file() for n in CHECKER_FILES) else None


def open_model(
    model: str,
    *,
    formats: WeightFormats,
    revision: str | None = None,
    variant: str | None = None,
    hub_cache: Path | None = None,
    offline: bool = False,
) -> ModelFolder:
    """Finds a local folder or fetches a hub repository.

    Args:
        model: A folder, or a hub id ``owner/name``. An existing folder wins.
        formats: Whether pickles may be read.
        revision: Commit, tag or branch of a hub repository; None means its newest commit.
        variant: ``fp16`` and the like.
        hub_cache: Where hub files are kept; None means the hub library's own place.
        offline: Use only what is already kept.

    Raises:
        InputError: No such model; the message names the field ``model`` or ``revision``.
        BackendUnavailableError: The hub cannot be reached, or doesn't let us in.
    """
    path = Path(model).expanduser()
    try:
        is_folder, exists = path.is_dir(), path.exists()
    except (OSError, ValueError) as error:
        raise InputError(f"model: {model[:80]!r} is neither a path nor a hub id") from error
    if is_folder:
        if revision is not None:
            raise InputError(
                f"revision: {model} is a local folder, which has no revisions; leave it out"
            )
        return open_folder(path, formats=formats, variant=variant)
    if exists:
        raise InputError(
            f"model: {model} is a file; give the folder in diffusers layout that holds "
            f"{INDEX_NAME} (single-file checkpoints must be converted to it)"
        )
    if not _HUB_ID.fullmatch(model):
        raise InputError(
            f"model: there is no folder {model[:200]!r}, and a hub id looks like owner/name"
        )
    fetch = _Hub(model, cache=hub_cache)
    folder, commit = (
        fetch.kept(revision)
        if offline
        else fetch.download(revision, formats=formats, variant=variant)
    )
    return open_folder(folder, formats=formats, variant=variant, name=model, commit=commit)


def open_folder(
    path: Path,
    *,
    formats: WeightFormats,
    variant: str | None = None,
    name: str | None = None,
    commit: str | None = None,
) -> ModelFolder:
    """Checks a folder on disk.

    Raises:
        InputError: It is no diffusers model, or lacks files.
    """
    shown = name or path.resolve().name
    index = read_model_index(path)
    files = select_files(list_files(path), index, formats=formats, variant=variant, where=shown)
    return ModelFolder(path=path, name=shown, commit=commit, index=index, files=files)


def kept_folder(model: str, revision: str | None) -> Path:
    """The folder of a model as far as it is on this machine; nothing is fetched.

    Raises:
        InputError: No such model.
        BackendUnavailableError: It isn't here.
    """
    path = Path(model).expanduser()
    if path.is_dir():
        return path
    if not _HUB_ID.fullmatch(model):
        raise InputError(f"model: there is no folder {model[:200]!r}")
    return _Hub(model, cache=None).kept(revision)[0]


class _Hub:
    """One repository of the hub. The only code of Countermark that downloads a model."""

    def __init__(self, repo_id: str, *, cache: Path | None) -> None:
        self._repo_id = repo_id
        self._cache = cache

    def kept(self, revision: str | None) -> tuple[Path, str]:
        """Folder and commit of what an earlier download left here."""
        return self._fetch_index(revision, local_files_only=True)

    def download(
        self, revision: str | None, *, formats: WeightFormats, variant: str | None
    ) -> tuple[Path, str]:
        """Folder and commit, fetched as far as it isn't here yet."""
        library = _hub_library()
        try:
            with self._translated(revision):
                info = library.model_info(self._repo_id, revision=revision)
        except BackendUnavailableError as error:
            return self._kept_instead(revision, error)
        # Under the name asked for, so that the name is kept too and a later start finds the
        # commit without the hub.
        folder, commit = self._fetch_index(revision, local_files_only=False)
        if commit != info.sha:  # the branch moved between the two requests
            with self._translated(revision):
                info = library.model_info(self._repo_id, revision=commit)
        names = [sibling.rfilename for sibling in info.siblings or ()]
        index = read_model_index(folder)
        files = select_files(names, index, formats=formats, variant=variant, where=self._repo_id)
        with self._translated(revision):
            library.snapshot_download(
                self._repo_id,
                revision=commit,
                cache_dir=self._cache,
                allow_patterns=[*files.all, *_companions(names)],
            )
        return folder, commit

    def _kept_instead(
        self, revision: str | None, problem: BackendUnavailableError
    ) -> tuple[Path, str]:
        """A hub that is down must not stop a service whose model is already here.

        Whether it is here whole, `open_folder` checks.
        """
        try:
            found = self.kept(revision)
        except BackendUnavailableError:
            raise problem from problem.__cause__
        _log.warning("the hub cannot be reached; using the kept copy of %s", self._repo_id)
        return found

    def _fetch_index(self, revision: str | None, *, local_files_only: bool) -> tuple[Path, str]:
        with self._translated(revision):
            path = _hub_library().hf_hub_download(
                self._repo_id,
                INDEX_NAME,
                revision=revision,
                cache_dir=self._cache,
                local_files_only=local_files_only,
            )
        folder = Path(path).parent
        if not _COMMIT.fullmatch(folder.name):
            raise BackendUnavailableError(
                f"the hub keeps {self._repo_id} under {folder.name!r}, which is no commit hash, so "
                "the model cannot be pinned; empty the hub cache and try again"
            )
        return folder, folder.name

    @contextmanager
    def _translated(self, revision: str | None) -> Iterator[None]:
        """Turns what the hub library raises into our errors, one clear line each."""
        errors = importlib.import_module("huggingface_hub.errors")
        try:
            yield
        except errors.GatedRepoError as error:
            raise BackendUnavailableError(
                f"model {self._repo_id} is gated: accept its licence on its page, then log in with "
                "'hf auth login' (or set HF_TOKEN)"
            ) from error
        except errors.RepositoryNotFoundError as error:
            raise InputError(
                f"model: the hub has no repository {self._repo_id}, or it is private; check the "
                "spelling, or log in with 'hf auth login'"
            ) from error
        except errors.RevisionNotFoundError as error:
            raise InputError(
                f"revision: {self._repo_id} has no revision {revision!r}; "
                "give a commit hash, a tag or a branch"
            ) from error
        except errors.LocalEntryNotFoundError as error:
            raise BackendUnavailableError(
                f"model {self._repo_id} is not kept on this machine, and the hub was not asked or "
                "cannot be reached; connect once without offline, or give a local folder"
            ) from error
        except errors.EntryNotFoundError as error:
            raise InputError(
                f"model: the repository {self._repo_id} has no {INDEX_NAME}, so it is no "
                "diffusers model; look for one whose files are in diffusers layout"
            ) from error
        # NOTE: the HTTP library below has changed twice (requests, httpx, httpx2); each time its
        # root error was a base of the hub's own.
        except (OSError, *errors.HfHubHTTPError.__bases__) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
            raise BackendUnavailableError(
                f"model {self._repo_id} cannot be fetched from the hub ({reason}); "
                "check the connection and the free disk space, or give a local folder"
            ) from error


def _companions(names: Iterable[str]) -> list[str]:
    """Files beside the pipeline's own: the model card (licence) and the safety checker."""
    return [name for name in names if name == "README.md" or name in CHECKER_FILES]


def _hub_library() -> Any:
    try:
        return importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise BackendUnavailableError(
            "models need the module huggingface_hub, which is not installed; "
            "install it with: pip install 'countermark[generate]'"
        ) from error

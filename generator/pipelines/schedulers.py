"""The samplers that requests may name, by our names and by those of AUTOMATIC1111.

A scheduler is made anew for each render from the configuration of the model's own, so that
whatever the model was trained with stays: noise schedule, kind of prediction, zero terminal SNR.
A flow-matching model (SD 3, FLUX, Z-Image) is trained for its own scheduler alone.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from provenance.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "SCHEDULERS",
    "Sampler",
    "build_scheduler",
    "canonical_name",
    "is_flow_matching",
    "scheduler_class",
    "scheduler_digest",
]

_SIGMAS = {"use_karras_sigmas": False, "use_exponential_sigmas": False, "use_beta_sigmas": False}
"""All off, since the model's own configuration may have one on."""
_KARRAS = {**_SIGMAS, "use_karras_sigmas": True}
_DPM_2M = {"algorithm_type": "dpmsolver++", "solver_order": 2, "solver_type": "midpoint"}
_DPM_2M_SDE = {**_DPM_2M, "algorithm_type": "sde-dpmsolver++"}
_UNCLIPPED = {"clip_sample": False}
"""Latents are not confined to -1..1; the class's own default is for pixels."""


@dataclass(frozen=True, slots=True)
class Sampler:
    """One entry of the table.

    Attributes:
        class_name: Class in diffusers.
        options: Set over the model's configuration.
        fallbacks: Set only where the model's configuration says nothing.
    """

    class_name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    fallbacks: Mapping[str, Any] = field(default_factory=dict)


SCHEDULERS: Mapping[str, Sampler] = {
    "ddim": Sampler(
        "DDIMScheduler", fallbacks={**_UNCLIPPED, "set_alpha_to_one": False, "steps_offset": 1}
    ),
    "ddpm": Sampler("DDPMScheduler", fallbacks=_UNCLIPPED),
    "deis": Sampler("DEISMultistepScheduler", _SIGMAS),
    "dpm2": Sampler("KDPM2DiscreteScheduler", _SIGMAS),
    "dpm2_a": Sampler("KDPM2AncestralDiscreteScheduler", _SIGMAS),
    "dpm2_karras": Sampler("KDPM2DiscreteScheduler", _KARRAS),
    "dpm2_a_karras": Sampler("KDPM2AncestralDiscreteScheduler", _KARRAS),
    "dpmpp_2m": Sampler("DPMSolverMultistepScheduler", {**_DPM_2M, **_SIGMAS}),
    "dpmpp_2m_karras": Sampler("DPMSolverMultistepScheduler", {**_DPM_2M, **_KARRAS}),
    "dpmpp_2m_sde": Sampler("DPMSolverMultistepScheduler", {**_DPM_2M_SDE, **_SIGMAS}),
    "dpmpp_2m_sde_karras": Sampler("DPMSolverMultistepScheduler", {**_DPM_2M_SDE, **_KARRAS}),
    "dpmpp_2s": Sampler("DPMSolverSinglestepScheduler", _SIGMAS),
    "dpmpp_2s_karras": Sampler("DPMSolverSinglestepScheduler", _KARRAS),
    "euler": Sampler("EulerDiscreteScheduler", _SIGMAS),
    "euler_karras": Sampler("EulerDiscreteScheduler", _KARRAS),
    "euler_a": Sampler("EulerAncestralDiscreteScheduler"),
    "heun": Sampler("HeunDiscreteScheduler", _SIGMAS),
    "heun_karras": Sampler("HeunDiscreteScheduler", _KARRAS),
    "lcm": Sampler("LCMScheduler", fallbacks=_UNCLIPPED),
    "lms": Sampler("LMSDiscreteScheduler", _SIGMAS),
    "lms_karras": Sampler("LMSDiscreteScheduler", _KARRAS),
    "pndm": Sampler(
        "PNDMScheduler",
        fallbacks={"skip_prk_steps": True, "set_alpha_to_one": False, "steps_offset": 1},
    ),
    "tcd": Sampler("TCDScheduler", fallbacks=_UNCLIPPED),
    "unipc": Sampler("UniPCMultistepScheduler", _SIGMAS),
    "unipc_karras": Sampler("UniPCMultistepScheduler", _KARRAS),
}
"""Source: the sampler table of diffusers' documentation ("Schedulers", k-diffusion names)."""

_ALIASES: Mapping[str, str] = {
    "dpm++ 2m": "dpmpp_2m",
    "dpm++ 2m karras": "dpmpp_2m_karras",
    "dpm++ 2m sde": "dpmpp_2m_sde",
    "dpm++ 2m sde karras": "dpmpp_2m_sde_karras",
    "dpm++ 2s a": "dpmpp_2s",
    "dpm++ 2s a karras": "dpmpp_2s_karras",
    "dpm2": "dpm2",
    "dpm2 karras": "dpm2_karras",
    "dpm2 a": "dpm2_a",
    "dpm2 a karras": "dpm2_a_karras",
    "euler": "euler",
    "euler a": "euler_a",
    "euler karras": "euler_karras",
    "heun": "heun",
    "heun karras": "heun_karras",
    "lms": "lms",
    "lms karras": "lms_karras",
    "plms": "pndm",
    "unipc": "unipc",
}
"""AUTOMATIC1111's names, in lower case. Its ancestral 2S is diffusers' single-step solver, which
is not ancestral: the nearest that there is."""

FLOW = "flow_match_euler"
"""What the scheduler of a flow-matching model may be called."""


def canonical_name(name: str) -> str:
    """Our name of a sampler, from ours or AUTOMATIC1111's.

    Raises:
        InputError: No such sampler.
    """
    folded = " ".join(name.lower().split())
    for candidate in (_ALIASES.get(folded, ""), folded.replace(" ", "_").replace("++", "pp")):
        if candidate in SCHEDULERS or candidate == FLOW:
            return candidate
    raise InputError(
        f"scheduler {name[:64]!r} is unknown; leave it out for the model's own, or use one of "
        f"{', '.join(SCHEDULERS)}"
    )


def is_flow_matching(scheduler: Any) -> bool:
    """Whether a model with this scheduler was trained to follow a flow."""
    return type(scheduler).__name__.startswith("FlowMatch")


def scheduler_class(own: Any, name: str | None) -> str:
    """The class that runs, for records.

    Raises:
        InputError: No such sampler.
    """
    wanted = None if name is None else canonical_name(name)
    return type(own).__name__ if wanted in (None, FLOW) else SCHEDULERS[wanted].class_name


def scheduler_digest(own: Any, name: str | None, *, model: str) -> str:
    """64 hex digits of the class that runs and its settings, for records.

    A setting that is as the class would have it counts as unsaid: a library that knows more
    settings answers the same.

    Args:
        own: As in `build_scheduler`.
        name: As in `build_scheduler`.
        model: As in `build_scheduler`.

    Raises:
        InputError: As `build_scheduler`.
    """
    import inspect

    scheduler = build_scheduler(own, name, model=model)
    usual = inspect.signature(type(scheduler).__init__).parameters
    said = {
        key: _as_text(value)
        for key, value in scheduler.config.items()
        if key in usual and _as_text(value) != _as_text(usual[key].default)
    }
    return hashlib.sha256(_as_text([type(scheduler).__name__, said]).encode()).hexdigest()


def _as_text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def build_scheduler(own: Any, name: str | None, *, model: str) -> Any:
    """A fresh scheduler for one render.

    Args:
        own: The model's own; not changed.
        name: What the request names; None means one like `own`.
        model: What to call the model in errors.

    Raises:
        InputError: No such sampler, or it doesn't suit the model.
    """
    wanted = None if name is None else canonical_name(name)
    if wanted is None or (wanted == FLOW and is_flow_matching(own)):
        return type(own).from_config(own.config)
    if is_flow_matching(own) or wanted == FLOW:
        kind = "a flow-matching model" if is_flow_matching(own) else "no flow-matching model"
        raise InputError(
            f"scheduler {name} doesn't suit {model}, {kind} that works with its own scheduler "
            f"({type(own).__name__}); leave the scheduler out"
        )
    sampler = SCHEDULERS[wanted]
    kind = getattr(importlib.import_module("diffusers"), sampler.class_name)
    said = set(own.config) - set(own.config.get("_use_default_values", ()))
    filled = {key: value for key, value in sampler.fallbacks.items() if key not in said}
    accepted = _accepted_options(kind)
    options = {k: v for k, v in {**filled, **sampler.options}.items() if k in accepted}
    try:
        return kind.from_config(own.config, **options)
    except (ImportError, ValueError, TypeError, NotImplementedError) as error:
        raise InputError(
            f"scheduler {name} doesn't go together with {model}: "
            f"{str(error).strip().splitlines()[0][:200]}; choose another one"
        ) from error


def _accepted_options(kind: Any) -> set[str]:
    import inspect

    return set(inspect.signature(kind.__init__).parameters)

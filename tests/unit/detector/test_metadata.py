"""The rules recognise what each program writes, and nothing that merely mentions it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detector.evidence.containers import FileMetadata, TextField
from detector.evidence.generators import find_generators
from detector.evidence.generators.novelai import novelai_evidence
from detector.evidence.labels import LABEL_RULES
from detector.evidence.metadata import MetadataSource
from detector.evidence.signals import Signals, Text, as_plain, read_signals
from detector.evidence.xmp import XmpProperty
from provenance.imaging import open_candidate
from provenance.types import Finding, MediaType, MetadataEvidence, RasterImage, SourceClaim

DATA = Path(__file__).parents[4] / "shared" / "data"
FULLY, PARTLY, POSSIBLY = SourceClaim.FULLY_AI, SourceClaim.PARTLY_AI, SourceClaim.POSSIBLY_AI

IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
TC260 = "http://www.tc260.org.cn/ns/AIGC/1.0/"
PHOTOSHOP = "http://ns.adobe.com/photoshop/1.0/"
XMP_BASIC = "http://ns.adobe.com/xap/1.0/"
EXIF = "http://ns.adobe.com/exif/1.0/"
A1111 = (
    "a secret prompt\nNegative prompt: bad\n"
    'Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 512x512, Lora hashes: "a: b, c: d"'
)
DUBLIN_CORE = "http://purl.org/dc/elements/1.1/"
UUID = "2b6e053b-9a65-4ca9-9e13-b6f4465164d4"


def signals(
    texts: dict[str, str] | None = None, xmp: list[tuple[str, str, str]] | None = None
) -> Signals:
    return Signals(
        tuple(Text(f"place {key}", key, text) for key, text in (texts or {}).items()),
        tuple(("XMP", XmpProperty(*item)) for item in xmp or []),
        (),
    )


def evidence_in(found: Signals) -> list[MetadataEvidence]:
    labels = [item for rule in LABEL_RULES for item in rule(found)]
    return [*find_generators(found), *labels]


def claims_in(found: Signals) -> list[MetadataEvidence]:
    """Without the evidence that claims nothing: camera tags, personal data."""
    return [e for e in evidence_in(found) if e.claim is not SourceClaim.NO_CLAIM]


def comfy(denoise: float, *, loader: str = "LoadImage", by: str = "pixels") -> str:
    return json.dumps(
        {
            "1": {"class_type": loader, "inputs": {"image": "secret.png"}},
            "2": {"class_type": "VAEEncode", "inputs": {by: ["1", 0], "vae": ["4", 2]}},
            "3": {
                "class_type": "KSampler",
                "inputs": {"denoise": denoise, "latent_image": ["2", 0], "model": ["4", 0]},
            },
            "4": {"class_type": "CheckpointLoaderSimple", "inputs": {}},
        }
    )


LABELLED: list[tuple[str, dict[str, str], str, SourceClaim]] = [
    ("A1111", {"parameters": A1111}, "AUTOMATIC1111", FULLY),
    ("A1111 in EXIF", {"UserComment": A1111 + ", Version: v1.10.1"}, "AUTOMATIC1111", FULLY),
    (
        "A1111 image to image",
        {"parameters": A1111 + ", Denoising strength: 0.4"},
        "AUTOMATIC1111",
        PARTLY,
    ),
    (
        "A1111 two-pass text to image",
        {"parameters": A1111 + ", Denoising strength: 0.4, Hires upscale: 2"},
        "AUTOMATIC1111",
        FULLY,
    ),
    (
        "Forge",
        {"parameters": A1111 + ", Version: f2.0.1v1.10.1-previous"},
        "Stable Diffusion WebUI Forge",
        FULLY,
    ),
    (
        "reForge",
        {"parameters": A1111 + ", Version: f1.0.0v2-v1.10.1RC"},
        "Stable Diffusion WebUI reForge",
        FULLY,
    ),
    (
        "another extension's version is not the program's",
        {"parameters": A1111 + ", ADetailer Version: f2.0"},
        "AUTOMATIC1111",
        FULLY,
    ),
    ("SD.Next", {"parameters": A1111 + ", App: SD.Next"}, "SD.Next", FULLY),
    (
        "Civitai",
        {"UserComment": A1111 + ", Civitai resources: [], Civitai metadata: {}"},
        "Civitai",
        FULLY,
    ),
    (
        "Civitai by its other EXIF tags",
        {
            "UserComment": A1111,
            "Artist": "ai",
            "Software": "42adebcb-68ad-45e2-9c83-f92b6b11d852",
        },
        "Civitai",
        FULLY,
    ),
    ("ComfyUI", {"prompt": comfy(1.0)}, "ComfyUI", FULLY),
    ("ComfyUI image to image", {"prompt": comfy(0.87)}, "ComfyUI", PARTLY),
    ("ComfyUI control picture only", {"prompt": comfy(0.87, by="mask")}, "ComfyUI", FULLY),
    ("ComfyUI in EXIF", {"Make": "Prompt: " + comfy(1.0)}, "ComfyUI", FULLY),
    (
        "ComfyUI workflow",
        {"workflow": json.dumps({"nodes": [{"type": "KSampler"}]})},
        "ComfyUI",
        FULLY,
    ),
    (
        "ComfyUI without a sampler",
        {"workflow": json.dumps({"nodes": [{"type": "ImageScale"}]})},
        "ComfyUI",
        POSSIBLY,
    ),
    (
        "InvokeAI inpainting",
        {"invokeai_metadata": json.dumps({"generation_mode": "inpaint"})},
        "InvokeAI",
        PARTLY,
    ),
    (
        "InvokeAI 2",
        {"sd-metadata": json.dumps({"app_id": "invoke-ai/InvokeAI", "image": {"type": "img2img"}})},
        "InvokeAI",
        PARTLY,
    ),
    ("InvokeAI 1", {"Dream": '"secret" -s 50 -S 29 -W 512 -H 768 -C 5'}, "InvokeAI", FULLY),
    (
        "Fooocus",
        {"parameters": json.dumps({"adm_guidance": "1", "base_model": "x", "steps": 30})},
        "Fooocus",
        FULLY,
    ),
    (
        "RuinedFooocus",
        {"parameters": json.dumps({"software": "RuinedFooocus"})},
        "RuinedFooocus",
        FULLY,
    ),
    (
        "SwarmUI from a picture",
        {"UserComment": json.dumps({"sui_image_params": {"initimage": "x"}})},
        "SwarmUI",
        PARTLY,
    ),
    (
        "Easy Diffusion",
        {"UserComment": json.dumps({"use_stable_diffusion_model": "x"})},
        "Easy Diffusion",
        FULLY,
    ),
    (
        "Easy Diffusion, one chunk a field",
        {"use_stable_diffusion_model": "x", "prompt_strength": "0.5"},
        "Easy Diffusion",
        PARTLY,
    ),
    (
        "A1111's form by a ComfyUI node",
        {"UserComment": A1111.replace("Euler a", "euler_ancestral_karras")},
        "ComfyUI",
        FULLY,
    ),
    ("EasyReforge", {"parameters": A1111 + ", Version: f1.3.0-v1.10.1RC"}, "EasyReforge", FULLY),
    (
        "Fooocus in A1111's form",
        {"parameters": A1111 + ", Version: Fooocus v2.5.5"},
        "Fooocus",
        FULLY,
    ),
    (
        "A1111, picture only enlarged",
        {"postprocessing": "Postprocess upscale by: 4, Postprocess upscaler: R-ESRGAN 4x+"},
        "AUTOMATIC1111",
        POSSIBLY,
    ),
    (
        "ComfyUI upscaling only",
        {"prompt": json.dumps({"1": {"class_type": "ImageUpscaleWithModel", "inputs": {}}})},
        "ComfyUI",
        POSSIBLY,
    ),
    ("graph in UserComment", {"UserComment": comfy(1.0)}, "ComfyUI", FULLY),
    (
        "Civitai's graph",
        {
            "UserComment": comfy(1.0),
            "Artist": "ai",
            "Software": "42adebcb-68ad-45e2-9c83-f92b6b11d852",
        },
        "Civitai",
        FULLY,
    ),
    (
        "Civitai enlarging its own picture",
        {
            "UserComment": json.dumps(
                {
                    "1": {"class_type": "LoadImage", "inputs": {}},
                    "2": {"class_type": "ImageUpscaleWithModel", "inputs": {}},
                    "extraMetadata": json.dumps({"prompt": "secret", "steps": 25}),
                }
            )
        },
        "Civitai",
        FULLY,
    ),
    ("InvokeAI's graph alone", {"invokeai_graph": '{"nodes": {}}'}, "InvokeAI", FULLY),
    (
        "Stability Matrix",
        {"parameters-json": json.dumps({"PositivePrompt": "secret", "Steps": 20})},
        "Stability Matrix",
        FULLY,
    ),
    (
        "SwarmUI from a picture that it does not name",
        {"parameters": json.dumps({"sui_image_params": {"initimagecreativity": 0.4}})},
        "SwarmUI",
        PARTLY,
    ),
    (
        "Hugging Face Space",
        {"parameters": json.dumps({"num_inference_steps": 24, "resolution": "1024 x 1024"})},
        "Hugging Face Space",
        FULLY,
    ),
    (
        "Easy Diffusion with the names for people",
        {"Stable Diffusion model": "x", "Negative Prompt": "secret"},
        "Easy Diffusion",
        FULLY,
    ),
    (
        "Luma by its comment",
        {"Comment": "Generated by Luma AI's Uni-1 model (https://lumalabs.ai)"},
        "Luma AI",
        FULLY,
    ),
    (
        "Samsung",
        {"PEg_Info": '{"genImageVersion":"v1","genAIType":8}'},
        "Samsung Galaxy AI",
        PARTLY,
    ),
    (
        "Dreamina",
        {"ImageDescription": json.dumps({"product": "dreamina", "exportType": "generation"})},
        "Dreamina",
        FULLY,
    ),
    ("NovelAI by name", {"Software": "NovelAI"}, "NovelAI", FULLY),
    ("Stable Diffusion by name", {"Software": "Stable Diffusion 1.5"}, "Stable Diffusion", FULLY),
    ("Firefly by name", {"Software": "Adobe Firefly"}, "Adobe Firefly", FULLY),
    ("Reve by name", {"Software": "reve.com"}, "Reve", FULLY),
    ("Mochi Diffusion", {"OriginatingProgram": "Mochi Diffusion"}, "Mochi Diffusion", FULLY),
    ("Google in IPTC", {"Credit": "Edited with Google AI"}, "Google AI", PARTLY),
    ("Higgsfield", {"hf-job-id": "2b6e053b-9a65-4ca9"}, "Higgsfield", FULLY),
    ("Tensor.Art", {"generation_data": json.dumps({"prompt": "x"}) + "\0"}, "Tensor.Art", FULLY),
    ("Midjourney", {"Description": f"secret --v 5.2 Job ID: {UUID}"}, "Midjourney", FULLY),
    ("Midjourney by name", {"Software": "Midjourney v6.1"}, "Midjourney", FULLY),
    ("Ideogram", {"Make": "Ideogram AI"}, "Ideogram", FULLY),
    ("Luma", {"Source": "Luma AI"}, "Luma AI", FULLY),
    (
        "Grok",
        {"Artist": UUID, "ImageDescription": "Signature: aGVsbG8="},
        "Grok (Aurora)",
        FULLY,
    ),
    (
        "NovelAI unsigned",
        {"Software": "NovelAI", "Comment": json.dumps({"prompt": "secret"})},
        "NovelAI",
        FULLY,
    ),
    (
        "NovelAI image to image",
        {
            "Software": "NovelAI",
            "Comment": json.dumps({"request_type": "Img2ImgRequest", "signed_hash": "AA=="}),
        },
        "NovelAI",
        PARTLY,
    ),
]


@pytest.mark.parametrize(
    ("texts", "tool", "claim"), [c[1:] for c in LABELLED], ids=[c[0] for c in LABELLED]
)
def test_rules_name_the_tool_and_its_claim(
    texts: dict[str, str], tool: str, claim: SourceClaim
) -> None:
    (evidence,) = claims_in(signals(texts))
    assert (evidence.tool, evidence.claim, evidence.finding) == (tool, claim, Finding.PRESENT)
    assert evidence.signed_by is None
    assert "secret" not in repr(evidence)


@pytest.mark.parametrize(
    "texts",
    [
        {"parameters": "Steps: follow the recipe, then bake"},
        {"Comment": "generated by OpenAI, Google and Midjourney"},
        {"Description": "a photograph of the Midjourney office"},
        {"Description": f"Print order 5. Job ID: {UUID}"},
        {"Software": "Adobe Photoshop Elements 7.0"},
        {"Software": "GIMP 2.10"},
        {"prompt": "not a graph"},
        {"prompt": json.dumps({"a": 1})},
        {"workflow": json.dumps({"nodes": []})},
        {"UserComment": json.dumps({"Label": "1"})},
        {"parameters": json.dumps({"base_model": "x"})},
        {"Artist": UUID},
        {"Artist": UUID, "ImageDescription": "Signature: in ink"},
        {"": "Steps: 20 steps to better pictures"},
        {"Make": "Canon", "Model": "{" + "x" * 80},
        {"Software": "Adobe Photoshop 25.0 with Firefly plug-in"},
        {"Software": "Adobe Photoshop Lightroom Classic 13.0", "Artist": "A Human"},
        {"Software": "Stable Diffusionist's Darkroom"},
        {"Software": "Idéogramme 2", "Make": "Ideogrammatic Instruments"},
        {"Artist": "ai", "Software": "42adebcb-68ad-45e2-9c83-f92b6b11d852"},
        {"UserComment": "Taken in the rain. ISO: 400, Seed: none"},
        {"UserComment": json.dumps({"prompt": "what to photograph", "workflow": "raw to print"})},
        {"ImageDescription": json.dumps({"product": "dreamina", "exportType": "retouch"})},
        {"ImageDescription": json.dumps({"product": "doubao"})},
        {"PEg_Info": '{"genImageVersion":"v1","genAIType":0}'},
        {"Credit": "Made with Google AI tools by A Human"},
        {"Source": "Luma AI fan club"},
        {"postprocessing": "cropped, sharpened"},
        {"generation_data": "a note"},
        {"invokeai_graph": "a drawing"},
        {"AIGC": json.dumps({"Label": "1"})},
        {"Stable Diffusion model": "a thesis on diffusion"},
    ],
)
def test_words_that_merely_occur_are_no_label(texts: dict[str, str]) -> None:
    assert claims_in(signals(texts)) == []


@pytest.mark.parametrize(
    ("term", "claim"),
    [
        ("http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia", FULLY),
        ("https://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia/", FULLY),
        ("trainedAlgorithmicMedia", FULLY),
        ("compositeWithTrainedAlgorithmicMedia", PARTLY),
        ("compositeSynthetic", PARTLY),
        ("digitalCapture", SourceClaim.CAPTURE),
        ("algorithmicMedia", SourceClaim.NOT_AI),
        ("quantumHolographicMedia", SourceClaim.NO_CLAIM),
        ("http://evil.example/trainedAlgorithmicMedia", SourceClaim.NO_CLAIM),
    ],
)
def test_digital_source_type_is_read_in_its_variants(term: str, claim: SourceClaim) -> None:
    (evidence,) = evidence_in(signals(xmp=[(IPTC, "DigitalSourceType", term)]))
    assert evidence.claim is claim


def test_iptc_ai_fields_alone_claim_a_part_and_beside_a_term_nothing() -> None:
    field = (IPTC, "AISystemUsed", "a system")
    (alone,) = evidence_in(signals(xmp=[field]))
    assert alone.claim is PARTLY
    term = (IPTC, "DigitalSourceType", "trainedAlgorithmicMedia")
    claims = [e.claim for e in evidence_in(signals(xmp=[field, term]))]
    assert sorted(claims) == [FULLY, SourceClaim.NO_CLAIM]


@pytest.mark.parametrize(
    ("value", "claim"), [("1", FULLY), ("2", POSSIBLY), (3, POSSIBLY), ("9", SourceClaim.NO_CLAIM)]
)
def test_china_label_is_read_wherever_it_stands(value: Any, claim: SourceClaim) -> None:
    label = {"Label": value, "ContentProducer": "001191110102MACQD9K64010000"}
    for found in (
        signals(xmp=[(TC260, "AIGC", json.dumps(label))]),
        signals({"AIGC": json.dumps(label)}),
        signals({"UserComment": json.dumps({"AIGC": label})}),
    ):
        (evidence,) = evidence_in(found)
        assert evidence.claim is claim


def test_google_credit_is_read() -> None:
    (evidence,) = evidence_in(signals(xmp=[(PHOTOSHOP, "Credit", "Made with Google AI")]))
    assert (evidence.tool, evidence.claim) == ("Google AI", FULLY)
    assert not evidence_in(signals(xmp=[(PHOTOSHOP, "Credit", "Google")]))


def test_draw_things_is_read() -> None:
    comment = json.dumps({"c": "secret", "model": "m", "steps": 8, "strength": 0.5})
    xmp = [(XMP_BASIC, "CreatorTool", "Draw Things"), (EXIF, "UserComment", comment)]
    (evidence,) = evidence_in(signals(xmp=xmp))
    assert (evidence.tool, evidence.claim) == ("Draw Things", PARTLY)


def test_draw_things_is_read_from_its_description_or_its_name_alone() -> None:
    named = (XMP_BASIC, "CreatorTool", "Draw Things")
    described = (DUBLIN_CORE, "description", A1111.replace("Sampler", "Strength: 0.5, Sampler"))
    (evidence,) = evidence_in(signals(xmp=[named, described]))
    assert (evidence.tool, evidence.claim) == ("Draw Things", PARTLY)
    (evidence,) = evidence_in(signals(xmp=[named]))
    assert (evidence.tool, evidence.claim) == ("Draw Things", FULLY)


def test_settings_that_an_editor_moved_from_exif_into_xmp_are_read() -> None:
    packet = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-'
        f'syntax-ns#"><rdf:Description xmlns:e="{EXIF}"><e:UserComment><rdf:Alt><rdf:li>{A1111}'
        "</rdf:li></rdf:Alt></e:UserComment></rdf:Description></rdf:RDF></x:xmpmeta>"
    )
    found = read_signals(FileMetadata(xmp=[("JPEG XMP", packet.encode())]))
    (evidence,) = evidence_in(found)
    assert (evidence.tool, evidence.place) == ("AUTOMATIC1111", "JPEG XMP UserComment")


def test_texts_within_one_object_are_seen_as_png_keeps_them() -> None:
    for value in (json.loads(comfy(0.5)), comfy(0.5)):
        whole = json.dumps({"prompt": value, "workflow": {"nodes": []}})
        found = read_signals(FileMetadata(texts=[TextField("JPEG comment", "", whole)]))
        (evidence,) = evidence_in(found)
        assert (evidence.tool, evidence.claim) == ("ComfyUI", PARTLY)
        assert evidence.place == "JPEG comment prompt"


def test_a_human_artists_xmp_is_no_label() -> None:
    xmp = [
        (XMP_BASIC, "CreatorTool", "Adobe Photoshop 25.1 (Windows)"),
        (PHOTOSHOP, "Credit", "A Human / Agency"),
        (DUBLIN_CORE, "creator", "A Human"),
        (DUBLIN_CORE, "description", "An AI conference, painted after midjourney"),
        (IPTC, "DigImageGUID", UUID),
    ]
    (evidence,) = evidence_in(signals(xmp=xmp))
    assert evidence.claim is SourceClaim.NO_CLAIM
    assert dict(evidence.private) == {"creator": "A Human"}
    assert "A Human" not in repr(evidence)


def test_midjourneys_xmp_names_it_only_beside_the_term_for_generated_media() -> None:
    base = "http://cv.iptc.org/newscodes/digitalsourcetype/"
    guid = (IPTC, "DigImageGUID", UUID)
    for term, tools in (
        ("trainedAlgorithmicMedia", {None, "Midjourney"}),
        ("digitalCapture", {None}),
    ):
        found = evidence_in(signals(xmp=[guid, (IPTC, "DigitalSourceType", base + term)]))
        assert {e.tool for e in found} == tools


def test_a_graph_belongs_to_the_program_that_ran_it() -> None:
    swarm = json.dumps({"sui_image_params": {"steps": 20}})
    hosts = {
        "SwarmUI": {"parameters": swarm},
        "Tensor.Art": {"generation_data": json.dumps({"prompt": "x"})},
        "Stability Matrix": {"smproj": json.dumps({"ProjectType": "TextToImage"})},
        "ComfyUI": {"parameters": A1111},
    }
    for tool, beside in hosts.items():
        found = evidence_in(signals({"prompt": comfy(1.0), **beside}))
        assert {e.tool for e in found} == {tool}


SPELLED: list[dict[str, str]] = [
    {"parameters": A1111 + ", Model: m.safetensors, Model hash: 45a21ea00a"},
    {
        "parameters": json.dumps(
            {
                "sui_image_params": {
                    "prompt": "a secret prompt",
                    "negativeprompt": "bad",
                    "model": "folder/of/somebody/m.safetensors",
                    "seed": 1,
                    "steps": 20,
                    "cfgscale": 7.0,
                    "width": 512,
                    "height": 512,
                    "sampler": "Euler a",
                }
            }
        )
    },
    {
        "UserComment": json.dumps(
            {
                "use_stable_diffusion_model": "C:\\Users\\somebody\\m.safetensors",
                "prompt": "a secret prompt",
                "negative_prompt": "bad",
                "num_inference_steps": 20,
                "guidance_scale": 7,
                "seed": "1",
                "width": 512,
                "height": 512,
                "sampler_name": "Euler a",
            }
        )
    },
    {
        "invokeai_metadata": json.dumps(
            {
                "positive_prompt": "a secret prompt",
                "negative_prompt": "bad",
                "model": {"name": "m.safetensors"},
                "scheduler": "ignored",
                "sampler": "Euler a",
                "steps": 20,
                "cfg_scale": 7.0,
                "seed": 1,
                "width": 512,
                "height": 512,
            }
        )
    },
    {
        "prompt": json.dumps(
            {
                "1": {
                    "class_type": "KSampler",
                    "inputs": {
                        "seed": 1,
                        "steps": 20,
                        "cfg": 7.0,
                        "sampler_name": "Euler a",
                        "denoise": 1.0,
                        "positive": ["2", 0],
                        "negative": ["3", 0],
                        "latent_image": ["4", 0],
                    },
                },
                "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "a secret prompt"}},
                "3": {"class_type": "CLIPTextEncode", "inputs": {"text": "bad"}},
                "4": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 512}},
                "5": {
                    "class_type": "CheckpointLoaderSimple",
                    "inputs": {"ckpt_name": "m.safetensors"},
                },
            }
        )
    },
]


@pytest.mark.parametrize("texts", SPELLED)
def test_settings_come_out_in_one_shape(texts: dict[str, str]) -> None:
    (evidence,) = evidence_in(signals(texts))
    settings = evidence.settings
    assert settings is not None
    assert (settings.model, settings.sampler, settings.steps) == ("m.safetensors", "Euler a", 20)
    assert (settings.guidance, settings.seed) == (7.0, 1)
    assert (settings.width_px, settings.height_px) == (512, 512)
    assert (settings.prompt, settings.negative_prompt) == ("a secret prompt", "bad")
    assert "somebody" not in repr(evidence)


def test_china_label_gives_its_fields_and_its_service() -> None:
    label = {
        "Label": "1",
        "ContentProducer": "001191110102MACQD9K64010000",
        "ProduceID": "e3578014edd949debed102781a8c26f7",
        "ContentPropagator": "0012" + 18 * "7" + "00000",
        "PropagateID": "<script>",
        "ReservedCode1": "x",
    }
    (evidence,) = evidence_in(signals(xmp=[(TC260, "AIGC", json.dumps(label))]))
    assert evidence.tool == "Doubao"
    assert dict(evidence.detail) == {
        "label": "1",
        "content_producer": "001191110102MACQD9K64010000",
        "produce_id": "e3578014edd949debed102781a8c26f7",
        "reserved_code_1": "present",
    }
    assert list(evidence.private) == ["content_propagator"]


def test_iptc_ai_fields_name_the_system_and_keep_the_prompt_back() -> None:
    fields = [
        (IPTC, "AISystemUsed", "Painter"),
        (IPTC, "AISystemVersionUsed", "3.1"),
        (IPTC, "AIPromptInformation", "a secret prompt"),
        (IPTC, "AIPromptWriterName", "secret person"),
    ]
    (evidence,) = evidence_in(signals(xmp=fields))
    assert (evidence.tool, evidence.version) == ("Painter", "3.1")
    assert dict(evidence.private) == {"prompt": "a secret prompt", "prompt_writer": "secret person"}
    assert "secret" not in repr(evidence)


def test_private_data_is_repeated_only_when_asked_for() -> None:
    from detector.policy import STANDARD, decide
    from detector.schemas import Disclosure, view_verdict

    found = signals({"parameters": A1111, "Artist": "secret person", "Copyright": "secret"})
    verdict = decide(evidence_in(found), STANDARD, {})
    public = view_verdict(verdict, file="x", sha256="0").model_dump_json()
    assert "secret" not in public
    assert public.count('"redacted":true') == 2
    private = view_verdict(verdict, file="x", sha256="0", disclosure=Disclosure.PRIVATE)
    said = private.model_dump_json()
    assert "a secret prompt" in said
    assert "secret person" in said
    assert '"redacted":true' not in said


def test_camera_tags_claim_nothing_and_are_not_repeated() -> None:
    (evidence,) = evidence_in(signals({"Make": "Canon", "Model": "Serial 12345"}))
    assert evidence.claim is SourceClaim.NO_CLAIM
    assert "12345" not in repr(evidence)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("Euler a", "Euler a"),
        (20, 20),
        (float("nan"), None),
        (10**4000, None),
        ("<script>", None),
        ("x" * 100, None),
        ("two\nlines", None),
        (True, None),
        (None, None),
    ],
)
def test_only_plain_values_are_shown(value: object, shown: object) -> None:
    assert as_plain(value) == shown


def test_hostile_texts_take_no_more_than_linear_time() -> None:
    hostile = {
        "parameters": "\n" * 1_000_000 + " " * 1_000_000,
        "Dream": " -s 1 -S 1" * 100_000,
        "Description": "Job ID: " * 100_000,
        "UserComment": 'Steps: 1, Seed: "' + ', A: "\\' * 100_000,
        "prompt": "[" * 500_000,
        "workflow": '{"nodes":' * 100_000,
    }
    assert len(evidence_in(signals(hostile))) <= 1


def collect(path: Path) -> list[MetadataEvidence]:
    candidate = open_candidate(path.read_bytes(), name=path.name)
    return [e for e in MetadataSource().collect(candidate) if isinstance(e, MetadataEvidence)]


needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the sample files are not here")


@needs_data
def test_personal_data_of_real_files_is_never_repeated() -> None:
    secrets = {
        "generators/midjourney_v5.png": ["wiltodelta", "control panel"],
        "generators/a1111_jpeg.jpg": ["hatsune"],
        "generators/novelai_signed.webp": ["hatsune"],
        "camera/nikon_p6000_gps_a.jpg": ["43.", "COOLPIX"],
        "camera/photoshop_elements_no_camera.jpg": ["©"],
    }
    for name, words in secrets.items():
        shown = repr(collect(DATA / name))
        assert not [word for word in words if word in shown]


@needs_data
def test_novelai_signature_is_verified_and_dies_with_one_pixel() -> None:
    path = DATA / "generators" / "novelai_signed.webp"
    exif, alpha = collect(path)
    assert (exif.signed_by, alpha.signed_by) == ("NovelAI", "NovelAI")
    assert (exif.place, alpha.place) == (
        "WebP EXIF UserComment",
        "lowest bits of alpha (stealth_pngcomp)",
    )
    candidate = open_candidate(path.read_bytes(), name=path.name)
    assert candidate.raster is not None
    comment = json.loads(_user_comment(path))
    found = signals({"UserComment": json.dumps(comment)})
    pixels = np.array(candidate.raster.pixels)
    assert [e.signed_by for e in novelai_evidence(found, RasterImage(pixels))] == ["NovelAI"]
    pixels[0, 0, 0] ^= 1
    assert [e.signed_by for e in novelai_evidence(found, RasterImage(pixels))] == [None]
    # The same bytes as another shape are another picture.
    wide = candidate.raster.pixels.reshape(512, 2048, 3)
    assert [e.signed_by for e in novelai_evidence(found, RasterImage(wide))] == [None]


def _user_comment(path: Path) -> str:
    data = path.read_bytes()
    start = data.index(b"ASCII\0\0\0") + 8
    return data[start:].split(b"\0", 1)[0].decode()


@needs_data
def test_a_damaged_packet_is_unreadable_not_absent() -> None:
    (evidence,) = collect(DATA / "generators" / "synthetic" / "20-corrupt-xmp.jpg")
    assert evidence.finding is Finding.UNREADABLE


def test_a_picture_without_labels_is_absent_and_an_unknown_kind_unreadable() -> None:
    from provenance.types import Candidate

    plain = Candidate("x", b"\xff\xd8\xff\xd9", "0" * 64, MediaType.JPEG, None)
    (evidence,) = MetadataSource().collect(plain)
    assert evidence.finding is Finding.ABSENT
    bitmap = Candidate("x", b"BM", "0" * 64, MediaType.BMP, None)
    (evidence,) = MetadataSource().collect(bitmap)
    assert evidence.finding is Finding.UNREADABLE

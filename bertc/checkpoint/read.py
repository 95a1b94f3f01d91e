"""The stage's door: a folder or hub id comes in, a `Checkpoint` goes out. Reading it is reading the order of checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bertc.checkpoint.adapters import ADAPTER_CONFIG, AdaptedWeights, adapted_weights, refuse_adapter_alone
from bertc.checkpoint.checkpoint import Checkpoint, Weights, architecture_from_config
from bertc.checkpoint.config_json import config_from_path, family_from_config
from bertc.checkpoint.crf_tensors import crf_from_weights, crf_names, notes_on_crf
from bertc.checkpoint.cross_encoder import FILE, notes_on_score, with_squash
from bertc.checkpoint.dense_modules import WithModules, dense_weights
from bertc.checkpoint.exit_classifiers import exits_from_weights, is_exit, refuse_fastbert, with_last_classifier
from bertc.checkpoint.google_folder import CONFIG, is_google_folder, notes_on_google_folder
from bertc.checkpoint.head import LATE_INTERACTION, head_from_files
from bertc.checkpoint.heads_apart import JoinedHeads
from bertc.checkpoint.hub import local_folder
from bertc.checkpoint.interaction_files import METADATA, InteractionFiles, interaction_from_files
from bertc.checkpoint.inventory import check_config, check_tensors
from bertc.checkpoint.lstm_tensors import LstmNames, lstm_from_weights, lstm_names, notes_on_lstm, with_emissions
from bertc.checkpoint.one_segment import notes_on_segments
from bertc.checkpoint.parted_weights import PartedWeights
from bertc.checkpoint.quantizers import notes_on_quantizers
from bertc.checkpoint.sentence_modules import SentenceModules, sentence_modules_from_path
from bertc.checkpoint.shared_heads import RepeatedHeads
from bertc.checkpoint.text_encoder import TextEncoder
from bertc.checkpoint.token_scores import with_token_scores
from bertc.checkpoint.tokenizer import TOKENIZER_FILES, text_encoder_from_path
from bertc.checkpoint.weights import MappedWeights, weights_from_path
from bertc.core.digest import digest_from_files
from bertc.core.head import Head
from bertc.core.plugins import FAMILIES
from bertc.evaluate.task import HeadFiles
from bertc.ir.architecture import Architecture
from bertc.tasks import task_from_name


def checkpoint_from_path(path: str | Path, *, task: str | None = None) -> Checkpoint:
    """Read a trained checkpoint from a folder (Hugging Face's, or of Google's BERT), or a hub id ("org/name").

    `task` overrides the task that the checkpoint was trained for (say, to take embeddings from a classifier). Weights
    are mapped, not read. Nothing that a checkpoint names is imported or run. Raises `InputError` for files that are
    missing, damaged, not supported or in disagreement, and `EnvironmentLackError` for a missing library or network.
    """
    root = local_folder(path)
    modules = sentence_modules_from_path(root)
    folder = root if modules is None else modules.folder
    refuse_adapter_alone(folder)
    config = config_from_path(folder)
    family = family_from_config(config, folder)
    weights = _encoder_weights(folder, FAMILIES.module(family).PREFIX)
    architecture = architecture_from_config(family, config)
    of_crf, of_lstm = crf_names(folder, weights), lstm_names(folder, weights, architecture)
    whole = with_emissions(with_last_classifier(weights, architecture.layers), of_lstm)
    told = HeadFiles(folder=folder, config=config, weights=whole, spans=architecture.spans, sentences=modules)
    sequences, scores = bool(of_crf or of_lstm), architecture.token_scores
    head = head_from_files(replace(told, tagger=sequences, token_scores=scores), task=task)
    of_task = task_from_name(head.task)
    late = of_task.has_architecture(LATE_INTERACTION)
    encoder = text_encoder_from_path(folder, config, sentences=of_task.sentence_modules and not late)
    behind: tuple[str, ...] = ()
    head = with_squash(root, config, head)
    if of_task.crf:
        behind, head = _with_sequences(head, folder, config, whole, (of_crf, of_lstm))
    if of_task.token_scores:
        behind, head = with_token_scores(head, folder, weights, encoder, architecture)
    heads = of_task.head_weights and (*of_task.head_weights, f"{architecture.spans}.weight")
    parted = _as_linear_layers(whole, architecture)
    exits = exits_from_weights(folder, config, parted, architecture)
    notes = (
        *weights.notes,
        *notes_on_google_folder(folder, config),
        *check_config(folder, config),
        *notes_on_score(root, config, head.problem),
        *notes_on_quantizers(folder, weights.quantizers, architecture),
        *(*notes_on_crf(config, head.crf), *notes_on_lstm(config, head.lstm)),
        *check_tensors(folder, [name for name in parted if not is_exit(name)], architecture, heads, behind=behind),
    )
    projected = {each.folder: dense_weights(root / each.folder) for each in head.projections if each.folder}
    if late:
        head, encoder = _with_interaction(root, folder, head, encoder, architecture)
    files = _small_files(root, folder, modules)
    return Checkpoint(
        path=root,
        family=family,
        config=config,
        weights=WithModules(parted, projected) if projected else parted,
        encoder=encoder,
        head=head,
        digest=digest_from_files(root, _digested(folder, files, weights.files, projected)),
        parameters=weights.parameters + sum(each.parameters for each in projected.values()),
        ignored_bytes=weights.ignored_bytes,
        files=files,
        quantizers=weights.quantizers,
        exits=exits,
        notes=(*notes, *notes_on_segments(architecture, encoder)),
    )


def _with_sequences(
    head: Head,
    folder: Path,
    config: Mapping[str, Any],
    weights: Weights,
    names: tuple[Sequence[str], LstmNames | None],
) -> tuple[tuple[str, ...], Head]:
    """Return a tagger's head with what goes over whole sequences, the CRF and the LSTM of those names, and the tensors
    that these have.
    """
    of_crf, of_lstm = names
    crf = crf_from_weights(folder, config, weights, of_crf, head.labels) if of_crf else None
    lstm = None if of_lstm is None else lstm_from_weights(folder, config, weights, of_lstm, crf)
    return (*of_crf, *(() if of_lstm is None else of_lstm.tensors)), replace(head, crf=crf, lstm=lstm)


def _encoder_weights(folder: Path, prefix: str | tuple[str, ...]) -> MappedWeights | AdaptedWeights:
    weights = adapted_weights(folder, weights_from_path(folder, prefix=prefix), prefix=prefix)
    refuse_fastbert(folder, weights)
    return weights


def _as_linear_layers(whole: Weights, architecture: Architecture) -> Weights:
    """Return the weights with what files store as one, with its heads apart, or with heads shared, as the layers that
    it is."""
    parted = PartedWeights(whole, architecture.joined) if architecture.joined else whole
    joined = JoinedHeads(parted, architecture) if architecture.apart else parted
    return RepeatedHeads(joined, architecture) if architecture.shared_heads > 1 else joined


def _with_interaction(
    root: Path, folder: Path, head: Head, encoder: TextEncoder, architecture: Architecture
) -> tuple[Head, TextEncoder]:
    """Return the head and the tokenizer of a model that compares tokens, with what the files say of that."""
    interaction = interaction_from_files(
        InteractionFiles(
            root=root,
            folder=folder,
            encoder=encoder,
            projection=head.projections[-1],
            architecture=architecture,
        )
    )
    return replace(head, interaction=interaction), encoder.with_interaction(interaction)


def _digested(
    folder: Path, files: Sequence[Path], weights: Sequence[Path], projected: Mapping[str, MappedWeights]
) -> tuple[Path, ...]:
    """Return all files that say what the model computes."""
    beside = (file for each in projected.values() for file in each.files)
    adapter = folder / ADAPTER_CONFIG
    return (*files, *weights, *beside, *([adapter] if adapter.is_file() else []))


def _small_files(root: Path, folder: Path, modules: SentenceModules | None) -> tuple[Path, ...]:
    """Return the files beside the weights that say something of the model."""
    configuration = CONFIG if is_google_folder(folder) else "config.json"
    small = [folder / name for name in (configuration, *TOKENIZER_FILES)]
    small += [root / name for name in ("modules.json", FILE) if modules is None] + [root / METADATA]
    return tuple(file for file in (*small, *(modules.files if modules else ())) if file.is_file())

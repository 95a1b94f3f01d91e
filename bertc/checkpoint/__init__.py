"""Reading a trained checkpoint: files in, a `Checkpoint` out. No graph, no quantization."""

from bertc.checkpoint.checkpoint import Checkpoint, Weights
from bertc.checkpoint.read import checkpoint_from_path
from bertc.checkpoint.text_encoder import EncodedText, TextEncoder
from bertc.checkpoint.tokenizer import text_encoder_from_path

__all__ = ["Checkpoint", "EncodedText", "TextEncoder", "Weights", "checkpoint_from_path", "text_encoder_from_path"]

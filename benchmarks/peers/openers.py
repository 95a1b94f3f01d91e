"""Every way in which an engine is opened and run. What a tool needs is imported where it is opened."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from inputs import Feature, Feeds, Inputs, ordered, padded

ANSWERS_BATCH = 32
MOST_SEQUENCES = 64
"""Of one call of llama.cpp."""


class Opened(ABC):
    """An open engine; a subclass says how one batch runs."""

    @abstractmethod
    def run(self, feeds: Feeds) -> list[Any]:
        """Return the outputs of a batch as arrays."""

    def stream(self, features: Sequence[Feature], batch: int, order: str) -> None:
        """Run all features in batches, each padded to its longest."""
        places = ordered(features, order)
        for start in range(0, len(places), batch):
            self.run(padded([features[place] for place in places[start : start + batch]]))

    def answers(self, features: Sequence[Feature], per_token: bool) -> list[list[Any]]:
        """Return each output as one array per feature, padding cut off."""
        found: list[list[Any]] = []
        for start in range(0, len(features), ANSWERS_BATCH):
            part = features[start : start + ANSWERS_BATCH]
            outputs = self.run(padded(part))
            found = found or [[] for _ in outputs]
            for kept, values in zip(found, outputs, strict=True):
                kept += [np.array(row[: len(f[0])] if per_token else row) for row, f in zip(values, part, strict=True)]
        return found


class OnnxRuntime(Opened):
    """A session."""

    def __init__(self, wanted: dict[str, Any]) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = wanted["threads"]
        options.log_severity_level = 3
        model = str(Path(wanted["folder"]) / "model.onnx")
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.names = [value.name for value in self.session.get_inputs()]

    def run(self, feeds: Feeds) -> list[Any]:
        """Run a batch."""
        found: list[Any] = self.session.run(None, {name: feeds[name] for name in self.names})
        return found


class Openvino(Opened):
    """A compiled model with one request."""

    def __init__(self, wanted: dict[str, Any]) -> None:
        import openvino

        core = openvino.Core()
        options = {"INFERENCE_NUM_THREADS": wanted["threads"], **wanted["options"]}
        model = core.read_model(Path(wanted["folder"]) / "openvino_model.xml")
        self.compiled = core.compile_model(model, "CPU", options)
        self.request = self.compiled.create_infer_request()
        self.names = [value.any_name for value in self.compiled.inputs]

    def run(self, feeds: Feeds) -> list[Any]:
        """Run a batch."""
        self.request.infer({name: feeds[name] for name in self.names}, share_inputs=True)
        return [np.array(self.request.get_output_tensor(place).data) for place in range(len(self.compiled.outputs))]


class OpenvinoStreams(Openvino):
    """A compiled model with as many requests as it likes, which run beside each other."""

    def stream(self, features: Sequence[Feature], batch: int, order: str) -> None:
        """Run all features in batches, several at a time."""
        import openvino

        queue = openvino.AsyncInferQueue(self.compiled)
        places = ordered(features, order)
        for start in range(0, len(places), batch):
            feeds = padded([features[place] for place in places[start : start + batch]])
            queue.start_async({name: feeds[name] for name in self.names})
        queue.wait_all()


class Torch(Opened):
    """A transformers model, eager or compiled."""

    def __init__(self, wanted: dict[str, Any], inputs: Inputs) -> None:
        import torch
        from checkpoints import torch_model

        torch.set_num_threads(wanted["threads"])
        self.torch = torch
        options = wanted["options"]
        self.dtype = getattr(torch, options.get("dtype", "float32"))
        self.model = torch_model(Path(wanted["checkpoint"])).to(self.dtype)
        if options.get("freezing"):
            import torch._inductor.config

            torch._inductor.config.freezing = True
        if options.get("compile"):
            self.model = torch.compile(self.model)

    def run(self, feeds: Feeds) -> list[Any]:
        """Run a batch."""
        with self.torch.inference_mode():
            found = self.model(**{name: self.torch.from_numpy(values) for name, values in feeds.items()})
        return [value.float().numpy() for value in found.to_tuple()]


class TorchInt8(Torch):
    """PyTorch's X86 Inductor INT8, as torchao's tutorial has it: export, prepare, calibrate, convert, compile."""

    def __init__(self, wanted: dict[str, Any], inputs: Inputs) -> None:
        import torch
        from build_torch import int8_model

        torch.set_num_threads(wanted["threads"])
        self.torch = torch
        self.model = int8_model(Path(wanted["checkpoint"]), inputs)

    def run(self, feeds: Feeds) -> list[Any]:
        """Run a batch."""
        ordered_feeds = [feeds[name] for name in ("input_ids", "attention_mask", "token_type_ids")]
        with self.torch.no_grad():
            found = self.model(*map(self.torch.from_numpy, ordered_feeds))
        return [value.float().numpy() for value in found]


class Bertc(Opened):
    """An artefact, used as `bertc.load` gives it: whole lists of texts go in, it makes the batches."""

    def __init__(self, wanted: dict[str, Any]) -> None:
        from bertc.core.batch import Batch
        from bertc.core.feature import Feature as Encoded
        from bertc.core.outputs import output_names
        from bertc.jobs.predict import predictor_from_path

        self.predictor = predictor_from_path(Path(wanted["folder"]) / "out", threads=wanted["threads"])
        self.names = output_names(self.predictor.task.outputs(self.predictor.head))
        self.batch, self.encoded = Batch, Encoded

    def run(self, feeds: Feeds) -> list[Any]:
        """Run a batch."""
        ids, mask, types = (feeds[name] for name in ("input_ids", "attention_mask", "token_type_ids"))
        batch = self.batch(input_ids=ids, token_type_ids=types, mask=mask, order=tuple(range(len(ids))))
        return self.predictor.run_batch(batch, self.names)

    def stream(self, features: Sequence[Feature], batch: int, order: str) -> None:
        """Give it `batch` texts at a time as they arrive, or all at once where all are known."""
        step = batch if order == "arrival" else len(features)
        for start in range(0, len(features), step):
            self._run_texts(features[start : start + step])

    def answers(self, features: Sequence[Feature], per_token: bool) -> list[list[Any]]:
        """Give it the texts as they arrive."""
        found: dict[str, list[Any]] = {}
        for start in range(0, len(features), ANSWERS_BATCH):
            for name, values in self._run_texts(features[start : start + ANSWERS_BATCH]).items():
                found.setdefault(name, []).extend(values)
        return list(found.values())

    def _run_texts(self, features: Sequence[Feature]) -> Any:
        texts = [
            self.encoded(input_ids=ids, token_type_ids=types, row=row) for row, (ids, types) in enumerate(features)
        ]
        return self.predictor.run_features(texts)


class Llama(Opened):
    """llama.cpp's embeddings of first tokens, and the checkpoint's pooler and classifier behind them in numpy.

    Several texts go into one call of at most `tokens` tokens, one at least.
    """

    def __init__(self, wanted: dict[str, Any]) -> None:
        import llama_cpp

        self.api = llama_cpp
        folder = Path(wanted["folder"])
        with np.load(folder / "head.npz") as arrays:
            self.head = dict(arrays)
        llama_cpp.llama_backend_init()
        model = llama_cpp.llama_model_default_params()
        model.use_extra_bufts = False  # its AMX kernels end the process in threads that have not set up their tiles
        self.model = llama_cpp.llama_model_load_from_file(str(folder / "model.gguf").encode(), model)
        if not self.model:
            raise SystemExit(f"llama.cpp does not open {folder / 'model.gguf'}")
        longest: int = llama_cpp.llama_model_n_ctx_train(self.model)
        self.most = max(longest, wanted["options"]["tokens"])
        self.each = wanted["options"]["tokens"]
        options = llama_cpp.llama_context_default_params()
        options.n_ctx = options.n_batch = options.n_ubatch = self.most
        options.n_seq_max = MOST_SEQUENCES
        options.kv_unified = True
        options.n_threads = options.n_threads_batch = wanted["threads"]
        options.embeddings = True
        options.pooling_type = llama_cpp.LLAMA_POOLING_TYPE_CLS
        self.context = llama_cpp.llama_init_from_model(self.model, options)
        if not self.context:
            raise SystemExit("llama.cpp opens no context")
        self.width: int = llama_cpp.llama_model_n_embd(self.model)
        self.batch = llama_cpp.llama_batch_init(self.most, 0, 1)

    def run(self, feeds: Feeds) -> list[Any]:
        """Run a batch without its padding."""
        lengths = feeds["attention_mask"].astype(bool).sum(axis=1)
        texts = [row[:length] for row, length in zip(feeds["input_ids"], lengths, strict=True)]
        first = np.concatenate([self._embeddings(part) for part in self._calls(texts)])
        pooled = np.tanh(first @ self.head["pooler.weight"].T + self.head["pooler.bias"])
        return [pooled @ self.head["classifier.weight"].T + self.head["classifier.bias"]]

    def _calls(self, texts: Sequence[Any]) -> list[list[Any]]:
        found: list[list[Any]] = [[]]
        for text in texts:
            tokens = sum(map(len, found[-1])) + len(text)
            if found[-1] and (tokens > self.each or len(found[-1]) == MOST_SEQUENCES):
                found.append([])
            found[-1].append(text)
        return found

    def _embeddings(self, texts: Sequence[Any]) -> Any:
        lengths = [len(text) for text in texts]
        tokens = sum(lengths)
        for field, values in (
            ("token", np.concatenate(texts)),
            ("pos", np.concatenate([np.arange(length) for length in lengths])),
            ("n_seq_id", 1),
            ("logits", 1),
        ):
            np.ctypeslib.as_array(getattr(self.batch, field), (tokens,))[:] = values
        for place, number in enumerate(np.repeat(np.arange(len(texts)), lengths).tolist()):
            self.batch.seq_id[place][0] = number
        self.batch.n_tokens = tokens
        if self.api.llama_encode(self.context, self.batch):
            raise SystemExit("llama.cpp does not run a batch")
        rows = [self.api.llama_get_embeddings_seq(self.context, number) for number in range(len(texts))]
        return np.array([np.ctypeslib.as_array(row, (self.width,)) for row in rows])


class NativeGemm(Opened):
    """A yardstick: GEMMs in bertc's native engine, which beside them does little."""

    def __init__(self, wanted: dict[str, Any]) -> None:
        from yardsticks import native_gemms

        self.engine, self.given = native_gemms(wanted["threads"])

    def run(self, feeds: Feeds) -> list[Any]:
        """Multiply, whatever the feeds."""
        found: list[Any] = self.engine.run(self.given, ["first"])
        return found


class TorchGemm(Opened):
    """A yardstick: torch's INT8 GEMM."""

    def __init__(self, wanted: dict[str, Any]) -> None:
        import torch
        from yardsticks import TORCH_SIZE

        torch.set_num_threads(wanted["threads"])
        self.multiply = torch._int_mm
        self.factors = [torch.randint(-127, 128, (TORCH_SIZE, TORCH_SIZE), dtype=torch.int8) for _ in range(2)]

    def run(self, feeds: Feeds) -> list[Any]:
        """Multiply, whatever the feeds."""
        return [self.multiply(*self.factors)]


def open_engine(wanted: dict[str, Any], inputs: Inputs) -> Opened:
    """Open what is wanted: `kind`, `folder`, `checkpoint`, `options`, `threads`."""
    kinds = {
        "onnxruntime": OnnxRuntime,
        "openvino": Openvino,
        "openvino-streams": OpenvinoStreams,
        "llama": Llama,
        "bertc": Bertc,
        "native-gemm": NativeGemm,
        "torch-gemm": TorchGemm,
    }
    torch_kinds = {"torch": Torch, "torch-int8": TorchInt8}
    if wanted["kind"] in kinds:
        opened: Opened = kinds[wanted["kind"]](wanted)
        return opened
    return torch_kinds[wanted["kind"]](wanted, inputs)

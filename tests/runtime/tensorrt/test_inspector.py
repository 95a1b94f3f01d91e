"""What the inspector's JSON says of an engine, and the ranges of lengths that engines are built for."""

from __future__ import annotations

import json

import pytest

from bertc.errors import InputError
from bertc.runtime.tensorrt.inspector import optimized_from_json
from bertc.runtime.tensorrt.profiles import profiles_from_lengths, profiles_from_text, text_from_profiles


def layer(name: str, nodes: str, kind: str = "Myelin", types: str = "Half", kernel: str = "") -> dict[str, object]:
    metadata = "\x1e".join(f"[ONNX Layer: {node}]" for node in nodes.split())
    inputs = [{"Name": "x", "Format/Datatype": types}]
    return {"Name": name, "LayerType": kind, "Metadata": metadata, "Inputs": inputs, "TacticName": kernel}


def read(*layers: object) -> tuple[dict[str, int], int, int]:
    text = json.dumps({"Layers": layers})
    found = optimized_from_json(text, runtime="tensorrt 11", requirement="", bound_to={})
    return dict(found.fused), found.gemms_int8, found.gemms_float


def test_a_fused_layer_counts_for_all_that_it_computes() -> None:
    fused, int8, floats = read(
        layer(
            "qkv", "layer.0.query_gemm layer.0.key_gemm layer.0.value_gemm layer.0.query", kernel="sm90_gemm_i8i8_i32"
        ),
        layer("mha", "layer.0.scores layer.0.probs layer.0.context_heads", types="Int8", kernel="_gemm_mha_v2"),
        layer("norm", "layer.0.hidden encoder.output layer.0.hidden.codes"),
        layer("fc", "layer.0.intermediate_gemm layer.0.gelu", kernel="sm80_xmma_sparse_gemm_f16"),
        layer("out", "layer.0.output_gemm", kind="Reformat", types="Int8"),
    )
    assert (int8, floats) == (3, 1)
    assert fused == {"attention": 1, "int8_attention": 1, "layer_norm": 2, "sparse_gemms": 1}


def test_an_attention_in_two_layers_is_not_fused() -> None:
    fused, *_ = read(layer("one", "layer.0.scores", types="Int8"), layer("two", "layer.0.context_heads"))
    assert fused["attention"] == fused["int8_attention"] == 0


def test_two_products_in_int8_count_though_they_are_not_fused() -> None:
    one, two = layer("one", "layer.0.scores", types="Int8"), layer("two", "layer.0.context_heads", kernel="imma")
    fused, *_ = read(one, two)
    assert (fused["attention"], fused["int8_attention"]) == (0, 1)


@pytest.mark.parametrize(
    "types, kernel, coded",
    [
        ("FP8", "", True),
        ("Row major linear FP8 format", "", True),
        ("Half", "sm90_xmma_gemm_e4m3bf16_e4m3f32_f32_tn_n_tilesize128x128x128", True),
        ("Half", "sm80_xmma_gemm_f16f16_f16f16_f16_nn_n_tilesize32x32x64", False),
        ("FP32", "", False),
        ("BFloat16", "", False),
    ],
)
def test_fp8_is_known_by_a_tensor_s_type_or_a_kernel_s_name(types: str, kernel: str, coded: bool) -> None:
    assert read(layer("gemm", "layer.0.query_gemm", types=types, kernel=kernel))[1:] == (int(coded), int(not coded))
    mha = layer("mha", "layer.0.scores layer.0.context_heads", types=types, kernel=kernel)
    assert read(mha)[0]["int8_attention"] == int(coded)


def test_an_attention_layer_in_float_is_fused_and_not_int8() -> None:
    fused, *_ = read(layer("layer.3.attention", "", kind="Attention"))
    assert (fused["attention"], fused["int8_attention"]) == (1, 0)
    assert read(layer("layer.3.attention_gemm", "", kind="gemm"))[0]["attention"] == 0


@pytest.mark.parametrize("layers", [[], ["a name alone"]])
def test_an_engine_without_details_is_refused(layers: list[str]) -> None:
    with pytest.raises(InputError, match="without the details"):
        read(*layers)


@pytest.mark.parametrize(
    "lengths, longest, borders", [((), 512, [512]), ((9, 9, 9), 128, [32, 128]), ((400,) * 9, 384, [384])]
)
def test_profiles_follow_the_lengths(lengths: tuple[int, ...], longest: int, borders: list[int]) -> None:
    profiles = profiles_from_lengths(lengths, longest)
    assert [profile.length[2] for profile in profiles] == borders
    assert all(profile.batch[2] * profile.length[2] <= 16384 for profile in profiles)
    assert profiles_from_text(text_from_profiles(profiles)) == profiles

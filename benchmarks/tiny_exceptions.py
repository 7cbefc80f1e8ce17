"""What single model types need to be tiny, beside the sizes that all get (`tiny_models.py`)."""

from __future__ import annotations

from typing import Any, Final

LEFT_OUT: Final = "left out"  # as a value: transformers' own default
_MROPE: Final = {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [2, 1, 1]}
_DEFAULT_ROPE: Final = {"rope_type": "default", "rope_theta": 10_000.0}
_SEEING: Final = "glm46v glm4v glm_ocr glmga paddleocr_vl qwen2_5_omni_thinker qwen2_vl qwen2_5_vl"

_COMPASS: Final = {
    "layer_types": ["sliding_attention", "full_attention"],
    "rope_parameters": {
        "full_attention": None,
        "sliding_attention": {**_MROPE, "rope_theta": 10_000.0},
    },
}
_GEMMA3N: Final = {
    "layer_types": ["sliding_attention", "full_attention"] * 2,
    "num_hidden_layers": 4,
    "num_kv_shared_layers": 2,
    "activation_sparsity_pattern": [0.0] * 4,
    "altup_num_inputs": 2,
    "laurel_rank": 4,
}
_TOWER: Final = {"architecture": "test_vit"}
_DOTS: Final = {
    "num_key_value_heads": 4,
    "layer_types": ["indexed_attention", "sliding_attention"],
    **{"swa_num_attention_heads": 4, "swa_num_key_value_heads": 4, "swa_head_dim": 16},
    **{"swa_q_lora_rank": 8, "swa_kv_lora_rank": 8, "swa_qk_nope_head_dim": 8, "swa_v_head_dim": 8},
}
_QWEN4: Final = {
    **{"indexer_n_heads": 2, "indexer_kv_heads": 1, "indexer_head_dim": 8},
    **{"indexer_budget": 16, "indexer_compress_ratio": 4},
}
EXCEPTIONS: Final[dict[str, dict[str, Any]]] = {
    **{name: {"text_config": {"rope_parameters": _MROPE}} for name in _SEEING.split()},
    "afmoe": {"num_dense_layers": 1},
    "apertus1p5": {
        "audio_config": {"hidden_size": 512, "num_filters": 2, "codebook_size": 64},
        "vision_config": {"base_channels": 32, "channel_multiplier": [1, 1], "codebook_size": 64},
        **{"image_token_offset": 100, "audio_token_offset": 164},
    },
    "bailing_hybrid": {
        "num_key_value_heads": 4,
        "layer_types": ["linear_attention", "full_attention"],
        "mlp_layer_types": ["dense", "sparse"],
    },
    "bamba": {"attn_layer_indices": [1], "mamba_n_groups": 1},
    "beam": {"mlp_layer_types": ["dense", "sparse"]},
    "blt": {
        "encoder_hash_byte_group_vocab": 100,
        **{"vocab_size": 300, "patcher_config": {"vocab_size": 300}},
        "encoder_config": {"vocab_size": 300, "hidden_size_global": 32},
        "decoder_config": {"vocab_size": 300, "hidden_size_global": 32},
    },
    "chameleon": {
        "vocabulary_map": {"<image>": 290},
        "vq_config": {"base_channels": 32, "channel_multiplier": [1, 1], "num_embeddings": 64},
    },
    "codegen": {"rotary_dim": 4},
    "cohere_compass": {"text_config": _COMPASS},
    "cohere_compass_text": _COMPASS,
    "cosmos3_edge": {"text_config": {"rope_parameters": _MROPE}},
    "dbrx": {
        "ffn_config": {"ffn_hidden_size": 48, "moe_num_experts": 4, "moe_top_k": 2},
        "attn_config": {"kv_n_heads": 2, "clip_qkv": 8.0, "rope_theta": 10_000.0},
    },
    "deepseek_ocr2": {
        "text_config": {
            "mlp_layer_types": ["dense", "sparse"],
            **{"n_group": 1, "topk_group": 1, "num_experts_per_tok": 2},
        }
    },
    "deepseek_v2": {"num_experts_per_tok": 2, "n_group": 1, "topk_group": 1},
    "dots1": {"n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2},
    "diffusion_gemma": {
        "text_config": {"num_experts": 4, "top_k_experts": 2, "moe_intermediate_size": 24}
    },
    "dots3_note": {
        "text_config": _DOTS,
        "vision_config": {"per_layer_config": {}, "adapter_in_dim": 32, "adapter_out_dim": 32},
        "audio_config": {"adapter_input_size": 32, "adapter_out_dim": 32},
    },
    "dots3_note_text": _DOTS,
    "encoder-decoder": {"decoder": {"is_decoder": True, "add_cross_attention": True}},
    "emu3": {
        "vocabulary_map": {"<|extra_200|>": 290, "<image>": 291},
        "vq_config": {
            **{"base_channels": 32, "channel_multiplier": [1, 1], "codebook_size": 64},
            "hidden_size": 32,
        },
    },
    "ernie4_5_vl_moe": {
        "text_config": {
            "rope_parameters": {**_MROPE, "mrope_section": [1, 1, 2]},
            "moe_intermediate_size": [24, 24],
        }
    },
    "flint": {"mlp_only_layers": [0]},
    "florence2": {
        "vision_config": {
            **{"depths": [1, 1], "patch_size": [3, 3], "patch_stride": [2, 2]},
            **{"patch_padding": [1, 1], "patch_prenorm": [False, True]},
            **{"embed_dim": [16, 32], "num_heads": [2, 4], "num_groups": [2, 4]},
        }
    },
    "fun_asr_nano": {"adaptor_config": {"intermediate_size": 8}},
    # Three towers are timm's.
    "fast_vlm": {"vision_config": {**_TOWER, "hidden_size": 64}},
    "gemma3n": {"text_config": _GEMMA3N, "vision_config": _TOWER},
    "perception_lm": {"vision_config": {**_TOWER, "model_args": {"embed_dim": 64}}},
    "gemma3n_text": _GEMMA3N,
    "gemma4_assistant": {
        "text_config": {
            "model_type": "gemma4_text",
            **{"hidden_size_per_layer_input": 0, "vocab_size_per_layer_input": 0},
            **{"num_kv_shared_layers": 2, "num_hidden_layers": 2},
        }
    },
    "gemma4": {"text_config": {"num_kv_shared_layers": LEFT_OUT}},
    "gemma4_text": {"num_kv_shared_layers": LEFT_OUT},
    "gemma4_unified": {"text_config": {"num_kv_shared_layers": LEFT_OUT}},
    "gemma4_unified_text": {"num_kv_shared_layers": LEFT_OUT},
    "glm4v_moe": {"text_config": {"rope_parameters": {**_MROPE, "mrope_section": [1, 1, 0]}}},
    "glm5_next": {
        "text_config": {
            **{"index_kpool": 2, "layer_types": ["linear_attention", "indexed_attention"]},
            "mlp_layer_types": ["dense", "sparse"],
        }
    },
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "num_layers": 2},
    "gptj": {"rotary_dim": 4},
    "granite4_vision": {
        "deepstack_layer_map": [[-1, 0]],
        "downsample_rate": "1/2",
        "vision_config": {"hidden_size": 64},
    },
    "granitemoehybrid": {"layer_types": ["linear_attention", "full_attention"]},
    "hunyuan_vl": {"text_config": {"rope_parameters": _MROPE}},
    "hy_v4_vl": {"text_config": {"rope_parameters": _MROPE}},
    "jamba": {
        "num_hidden_layers": 4,
        **{"attn_layer_period": 2, "attn_layer_offset": 1},
        **{"expert_layer_period": 2, "expert_layer_offset": 1},
    },
    "kimi_linear": {
        "num_key_value_heads": 4,
        **{"n_routed_experts": 4, "num_experts": 4, "num_experts_per_token": 2},
        "linear_attn_config": LEFT_OUT,
    },
    "janus": {
        "vq_config": {
            **{"base_channels": 32, "channel_multiplier": [1, 1], "latent_channels": 32},
            **{"num_embeddings": 64, "image_token_embed_dim": 32},
        }
    },
    "kyutai_speech_to_text": {
        "codec_config": {"num_filters": 4, "upsample_groups": 4, "upsampling_ratios": [2, 2]}
    },
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "lfm2_moe": {
        **{"layer_types": ["conv", "full_attention"], "num_hidden_layers": 2},
        "num_dense_layers": 1,
    },
    "lfm3_vl": {"vision_config": {"num_hidden_layers": 2}},
    "llama4": {
        "vision_config": {
            **{"projector_input_dim": 32, "projector_output_dim": 32, "vision_output_dim": 32}
        }
    },
    "mamba2": {"num_heads": 8, "head_dim": 8, "n_groups": 2, "chunk_size": 8},
    "marian": {"decoder_start_token_id": 0, "pad_token_id": 0},
    "mistral4": {
        "rope_parameters": {
            **_DEFAULT_ROPE,
            "llama_4_scaling_beta": 0.1,
            "original_max_position_embeddings": 16,
        }
    },
    "molmo2": {"adapter_config": {"vision_feature_layer": [0, 1]}},
    "muse_spark": {"audio_config": {"num_hidden_layers": 4, "hidden_sizes": [16] * 4}},
    "musicgen": {"audio_encoder": {"num_filters": 2}},
    "musicgen_melody": {"audio_encoder": {"num_filters": 2}},
    "mpt": {"attn_config": {"attn_pdrop": 0}},
    "nemo_speechlm": {
        "audio_config": {
            "asr_config": {"num_key_value_heads": 4},
            "diarization_config": {"audio_config": {"num_key_value_heads": 4}},
        },
        "word_timestamp_config": {"num_key_value_heads": 4},
    },
    "nemotron_h": {
        "layers_block_type": ["linear_attention", "full_attention", "moe", "mlp"],
        "num_hidden_layers": 4,
    },
    "nllb-moe": {"encoder_sparse_step": 2, "decoder_sparse_step": 2},
    "nemotron_h_omni": {"vision_config": {"video_temporal_patch_size": 2}},
    "qwen2_5_omni": {
        "enable_audio_output": False,  # whose voices are stored as a pickle
        "token2wav_config": {
            "bigvgan_config": {
                **{"upsample_initial_channel": 16, "upsample_rates": [2]},
                "upsample_kernel_sizes": [4],
            }
        },
    },
    "qwen3_omni_moe": {
        "talker_config": {
            "spatial_merge_size": 2,
            "text_config": {"shared_expert_intermediate_size": 24},
        },
        "code2wav_config": {"decoder_dim": 32},
    },
    "qwen4_exp": {"text_config": _QWEN4},
    "qwen4_exp_text": _QWEN4,
    "recurrent_gemma": {"num_hidden_layers": 3},
    "reformer": {
        **{"attn_layers": ["local", "lsh"], "num_hashes": 2, "num_buckets": 4},
        **{"axial_pos_embds_dim": [16, 16], "axial_pos_shape": [16, 16]},
        **{"local_attn_chunk_length": 8, "lsh_attn_chunk_length": 8},
        **{"attention_head_size": 8, "feed_forward_size": 48},
    },
    "step3p7": {
        "text_config": {
            **{"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 6},
            "mlp_layer_types": ["dense", "sparse"],
        }
    },
    "t5": {"decoder_start_token_id": 0},
    "vibevoice_asr": {
        f"{part}_tokenizer_encoder_config": {"num_filters": 2, "depths": [1] * 7}
        for part in ("acoustic", "semantic")
    },
    "xlstm": {"hidden_size": 128, "embedding_dim": 128},
    "xmod": {"default_language": "en_XX"},
    "zamba": {
        **{"mamba_d_state": 8, "n_mamba_heads": 2, "layers_block_type": LEFT_OUT},
        **{"attention_head_dim": 16, "attention_hidden_size": 64},
        **{"num_hidden_layers": 6, "attn_layer_period": 3, "attn_layer_offset": 2},
    },
    "zamba2": {
        "layers_block_type": ["linear_attention", "hybrid"] * 2,
        **{"num_hidden_layers": 4, "n_mamba_heads": 8, "mamba_headdim": 8},
        **{"adapter_rank": 4, "mamba_ngroups": 1, "attention_head_dim": 16},
        **{"attention_hidden_size": 64, "num_key_value_heads": 4},
    },
}

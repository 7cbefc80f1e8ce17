"""Other tools' keys that a recipe has no counterpart for, by the reason.

Of LLaMA-Factory 0.9.5, axolotl 0.19 with its plugins, TRL 1.16, PEFT 0.21 and Unsloth 2026.10. A
name that ends in * stands for all keys that begin so.
"""

from __future__ import annotations

from typing import Final

_PREFERENCES = "of learning from preferences or rewards, which is not done here"

# What a recipe does not need: training is the same without the key.
UNNEEDED: Final[dict[str, tuple[str, ...]]] = {
    "four bits are NF4": ("bnb_4bit_quant_type", "quantization_type"),
    "the scales of four bits are quantised again": ("use_bnb_nested_quant", "double_quantization"),
    "four bits are bitsandbytes'": ("quantization_method", "bnb_4bit_quant_storage", "bnb_*"),
    "experts are quantised with the rest": ("quantize_moe_experts",),
    "the tables get rows for the tokens of model.add_tokens": (
        *("resize_vocab", "resize_token_embeddings_to_32x", "shrink_embeddings"),
        *("mean_resizing_embeddings",),
    ),
    "models are loaded by transformers' own classes": (
        *("trust_remote_code", "tokenizer_type", "model_type", "strict", "tokenizer_use_fast"),
        *("tokenizer_legacy", "use_fast_tokenizer", "type_of_model", "experts_implementation"),
        *("llama4_linearized_experts", "tokenizer_save_jinja_files", "trainer_cls", "gptq"),
        *("is_llama_derived_model", "is_falcon_derived_model", "is_mistral_derived_model"),
        *("is_qwen_derived_model", "tokenizer_use_mistral_common", "torchdistx_path"),
        *("model_quantization_config", "model_quantization_config_kwargs", "use_cache"),
        *("use_kv_cache", "merge_method", "merge_lora", "ignore_bias_buffers"),
    ),
    "train.precision sets the number format of computation": (
        *("bf16_full_eval", "fp16_full_eval", "bfloat16", "float16", "float32", "fp32_norms"),
        *("fp32_norm_classes", "upcast_layernorm", "upcast_lmhead_output", "compute_dtype"),
        *("embeddings_skip_upcast", "peft_autocast_adapter_dtype", "infer_dtype"),
    ),
    "of a document longer than train.max_length the source text is cut, never the answer": (
        *("excess_length_strategy", "truncation_mode", "max_packed_sequence_len"),
        *("model_max_length",),
    ),
    "the order of rows is drawn again for each epoch from train.seed": (
        *("shuffle_dataset", "shuffle_before_merging_datasets"),
    ),
    "train.seed also sets the order of rows": ("data_seed",),
    "the best weights are those of the lowest validation loss": (
        *("metric_for_best_model", "greater_is_better"),
    ),
    "the trackers are tensorboard, wandb and mlflow": (
        *("use_swanlab", "use_comet", "use_trackio", "use_otel_metrics"),
        *("swanlab_*", "comet_*", "trackio_*", "otel_*", "project"),
    ),
    "the end of every learned answer is learned, as the chat template writes it": (
        *("eot_tokens", "efficient_eos", "train_on_eos", "train_on_eot"),
    ),
    "the columns show what rows are, or data.templates sets it": (
        *("type", "format_type", "formatting"),
    ),
    "a run has the name of its folder": ("run_name",),
    "layers are recomputed automatically when memory runs out": (
        *("gradient_checkpointing", "activation_offloading", "gradient_checkpointing_kwargs"),
        *("use_reentrant", "disable_gradient_checkpointing", "use_reentrant_gc"),
        *("layer_offloading", "activation_checkpointing", "activation_checkpointing_kwargs"),
        *("selective_checkpointing", "gc_steps", "gc_collect_steps", "torch_empty_cache_steps"),
        *("ple_cpu_offload", "lora_on_cpu", "max_memory", "gpu_memory_limit", "offload_folder"),
    ),
    "passes are packed without padding, and a document sees only itself": (
        *("packing", "neat_packing", "sample_packing", "eval_sample_packing", "padding_free"),
        *("pad_to_sequence_len", "pad_to_multiple_of", "group_by_length", "eval_packing"),
        *("packing_strategy", "batch_flattening", "block_diag_attn", "length_column_name"),
        *("sample_packing_*", "multipack_real_batches", "pretrain_multipack_*"),
        *("total_num_tokens", "total_supervised_tokens", "sortish_sampler"),
        *("ignore_pad_token_for_loss", "streaming_multipack_buffer_size"),
        *("pretraining_sample_concatenation",),
    ),
    "how data are loaded cannot be set": (
        *("preprocessing_num_workers", "overwrite_cache", "dataset_prepared_path"),
        *("dataset_num_proc", "dataset_processes", "remove_unused_columns", "streaming"),
        *("dataset_exact_dedup", "dataset_exact_deduplication", "dataset_streaming"),
        *("buffer_size", "tokenized_path", "dataloader_*", "preprocessing_batch_size"),
        *("cache_dir", "low_cpu_mem_usage", "dataset_keep_in_memory", "preprocess_iterable"),
        *("num_dataset_shards_to_save", "push_dataset_to_hub", "data_shared_file_system"),
        *("is_preprocess", "accelerator_config", "label_names", "prediction_loss_only"),
        *("qlora_sharded_model_loading", "experimental_skip_move_to_device"),
    ),
    "every row is learned, the last ones of an epoch too": ("dataloader_drop_last",),
    "every step is in events.jsonl": (
        *("logging_*", "wandb_*", "include_tokens_per_second", "plot_loss", "tensorboard_dir"),
        *("mlflow_*", "hf_mlflow_log_artifacts", "log_level", "log_level_replica"),
        *("log_on_each_node", "disable_tqdm", "include_num_input_tokens_seen", "include_tkps"),
        *("include_effective_tokens_per_second", "include_for_metrics", "print_param_status"),
        *("skip_memory_metrics", "debug", "profiler_*", "profile_modules", "axolotl_config_path"),
        *("enable_torch_profiler",),
    ),
    "brulee run trains and scores, brulee train trains alone": (
        *("do_train", "do_eval", "do_predict", "predict_with_generate", "compute_accuracy"),
        *("eval_on_start", "do_causal_lm_eval", "eval_causal_lm_metrics", "do_bench_eval"),
        *("bench_*", "lm_eval_*", "eval_table_size", "eval_on_each_dataset", "eval_delay"),
        *("eval_accumulation_steps", "eval_do_concat_batches", "eval_use_gather_object"),
        *("batch_eval_metrics",),
    ),
    "a run's folder is kept; --fresh moves it aside": (
        *("overwrite_output_dir", "save_only_model", "save_safetensors", "save_first_step"),
        *("save_on_each_node", "enable_jit_checkpoint", "dynamic_checkpoint"),
    ),
    "brulee resume RUN goes on where a run was": (
        *("resume_from_checkpoint", "auto_resume_from_checkpoints", "ignore_data_skip"),
        *("restore_callback_states_from_checkpoint",),
    ),
    "attention and kernels are chosen automatically": (
        *("flash_attention", "flash_attn", "attn_implementation", "xformers_attention"),
        *("sdp_attention", "enable_liger_kernel", "use_liger_kernel", "torch_compile"),
        *("lora_mlp_kernel", "lora_qkv_kernel", "lora_o_kernel", "lora_embedding_kernel"),
        *("lora_fan_in_fan_out", "fan_in_fan_out", "use_unsloth", "use_unsloth_gc", "plugins"),
        *("flex_attention", "sage_attention", "eager_attention", "s2_attention", "tf32"),
        *("torch_compile_*", "liger_*", "cut_cross_entropy", "chunked_cross_entropy*"),
        *("fused_attn_kernel", "flash_attn_*", "flash_optimum", "sdpa_varlen", "tiled_mlp*"),
        *("large_head_attention", "use_kernels", "use_v1_kernels", "flex_attn_compile_kwargs"),
        *("gemma4_hybrid_attn_impl", "use_scattermoe", "use_sonicmoe", "dsv4_*", "moe_*"),
        *("use_dsv4_kernels", "use_glm_dsa_kernels", "use_kt", "kt_*", "full_determinism"),
        *("gemma4_*", "nonexpert_quantization", "expert_backend", "nvfp4_*"),
    ),
    "a GPU is taken where there is one; CUDA_VISIBLE_DEVICES hides it": (
        *("use_cpu", "device_map", "device", "quantization_device_map"),
    ),
    "not in a recipe: torchrun, or accelerate launch --use_fsdp, around brulee train": (
        *("ddp", "ddp_*", "fsdp", "fsdp_*", "deepspeed", "deepcompile", "local_rank"),
        *("context_parallel_size", "tensor_parallel_size", "dp_shard_size", "world_size"),
        *("dp_replicate_size", "sequence_parallel_degree", "heads_k_stride", "ring_attn_func"),
        *("parallelism_config", "use_ray", "ray_*", "resources_per_worker", "master_addr"),
        *("master_port", "use_mca", "use_hyper_parallel", "hyper_parallel_args"),
        *("expert_parallel_*", "average_tokens_across_devices", "hatchery"),
    ),
    "passes are cut by the memory there is": ("auto_find_batch_size",),
    "not in a recipe: brulee adapters push": (
        *("hub_model_id", "push_to_hub", "hub_*", "hf_use_auth_token"),
    ),
    "never in a recipe": (
        *("hf_token", "hub_token", "wandb_token", "wandb_api_key", "hf_hub_token"),
        *("ms_hub_token", "om_hub_token", "swanlab_api_key", "comet_api_key"),
    ),
    "a loss that jumps is told, and train.max_skips ends what is not finite": (
        *("loss_watchdog_threshold", "loss_watchdog_patience"),
    ),
    "validated and saved once an epoch, or by train.validate_every and save_every": (
        *("per_device_eval_batch_size", "eval_batch_size"),
        *("eval_strategy", "evaluation_strategy", "save_strategy"),
    ),
    "of models with images, which are not trained here": (
        *("vision_all_linear", "finetune_vision_layers", "finetune_language_layers"),
        *("image_*", "video_*", "audio_*", "use_audio_in_video", "crop_to_patches"),
        *("freeze_multi_modal_projector", "freeze_language_model", "freeze_mm_modules"),
        *("processor_kwargs", "role_boundaries", "cls_model_config", "num_labels"),
    ),
    "method.target says which modules: all-linear, attention, mlp or their names": (
        *("finetune_attention_modules", "finetune_mlp_modules", "lora_task_type"),
        *("task_type", "peft_type", "inference_mode", "auto_mapping"),
    ),
    _PREFERENCES: (
        *("dpo_*", "kto_*", "ppo_*", "simpo_*", "cpo_alpha", "orpo_alpha", "rpo_alpha"),
        *("rl_beta", "ld_alpha", "pref_*", "reward_*", "ref_model_*", "trl", "vllm", "ebft"),
        *("nemo_gym_*", "max_prompt_len", "center_rewards_coefficient"),
    ),
    "of exporting and of answering, which are commands of their own: adapters merge, serve": (
        *("export_*", "vllm_*", "sglang_*", "infer_backend", "gradio_*", "adapter_folder"),
    ),
    "evaluate.generation sets how answers are written that are scored": (
        *("generation_config", "generation_max_length", "generation_num_beams"),
        *("eval_num_beams", "do_sample", "skip_special_tokens", "eval_max_new_tokens"),
    ),
    "train.generate_every and generate_rows write answers of validation rows": (
        *("generate_samples", "generation_*", "num_generation_samples"),
    ),
    "method.init: pissa takes the exact directions": ("pissa_iter", "pissa_convert"),
    "control tokens in the text of rows are read as text": ("split_special_tokens",),
}
# Values of keys below that say what is done here anyway.
USUAL: Final[dict[str, tuple[str, ...]]] = {
    "loss_type": ("nll", "chunked_nll"),
    "bias": ("none",),
    "freeze_trainable_modules": ("all",),
    "init_special_tokens": ("noise_init",),
    "dataset_test_split": ("test", "validation"),
}
# What a recipe cannot say: training differs without the key.
LOST: Final[dict[str, tuple[str, ...]]] = {
    "the base is held in full or in four bits (model.quantise: nf4)": (
        *("load_in_8bit", "fp8", "fp8_*", "qat", "quantization", "use_onebitllms"),
        *("llmcompressor",),
    ),
    "the tokenizer's own end and padding tokens are used": ("eos_token", "pad_token"),
    "the model's own tokenizer and configuration are used": (
        *("tokenizer_config", "base_model_config", "revision_of_model", "model_init_kwargs"),
        *("overrides_of_model_kwargs", "added_tokens_overrides", "new_special_tokens_config"),
        *("init_special_tokens", "fix_untrained_tokens", "hub_revision"),
    ),
    "training begins from the model's weights": ("train_from_scratch", "reinit_weights"),
    "LoRA begins as in its paper, or with method.init: pissa": (
        *("use_loftq", "loftq_config", "eva_config", "corda_config", "lora_ga_config"),
    ),
    "no option of method.name: lora": (
        *("lora_bias", "bias", "layer_replication", "peft_layer_replication", "peft"),
        *("layers_pattern", "peft_layers_pattern", "exclude_modules", "megatron_*"),
        *("use_qalora", "qalora_group_size", "use_bdlora", "alora_invocation_tokens"),
        *("arrow_config", "kasa_config", "velora_config", "monteclora_config"),
        *("ensure_weight_tying", "peft_ensure_weight_tying", "runtime_config"),
    ),
    "no method here; `brulee methods list` names those there are": (
        *("relora", "relora_*", "lisa_*", "mora", "mora_*", "use_mora", "oft_*"),
        *("use_llama_pro", "mixture_of_depths", "spectrum_*", "module_dropout"),
    ),
    "the loss is the cross-entropy of the learned tokens": (
        *("use_dft_loss", "use_asft_loss", "asft_alpha", "use_eaft", "use_eaft_loss"),
        *("eaft_*", "moe_aux_loss_coef", "router_aux_loss_coef", "kd_*", "diffusion"),
        *("dense_mixer", "loss_type"),
    ),
    "rates are train.learning_rate, embedding_learning_rate and LoRA+'s method.plus_ratio": (
        "lr_groups",
    ),
    "no train.optimizer has such settings": (
        *("use_galore", "use_apollo", "use_badam", "use_adam_mini", "optim_args"),
        *("optim_target_modules", "adam_beta3", "adam_epsilon2", "galore_*", "qgalore_*"),
        *("apollo_*", "badam_*", "dion_*", "grokfast_*"),
    ),
    "no train.schedule has such settings": (
        *("lr_scheduler_kwargs", "lr_quadratic_warmup", "lr_div_factor"),
        *("cosine_constant_lr_ratio", "jagged_restart_*"),
    ),
    "of a model's configuration only model.rope_scaling": ("overrides_of_model_config",),
    "a token sees the whole of its document": (
        "shift_attn",
        "scaling_softmax*",
        "pose_*",
        "use_pose",
    ),
    "trained values are held in float32": ("pure_bf16",),
    "rows with text alone are plain text; a column of another name is given by data.templates: "
    "plain-text with data.columns: {text: COLUMN}": ("dataset_text_field", "text_column"),
    "train.max_length is also that of validation": ("eval_sequence_len",),
    "every row is read; data.limit takes the first ones": (
        *("min_sample_len", "dataset_shard_idx", "dataset_shard_num", "skip_prepare_dataset"),
        *("dataset_kwargs",),
    ),
    "the chat template says how tools and thoughts are written (model.chat_template)": (
        *("tool_format", "preserve_thinking"),
    ),
}

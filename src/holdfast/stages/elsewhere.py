"""Settings of transformers that a stage sets itself, has no use for, or that decide no result."""

# Settings of transformers that a stage sets itself.
OURS = {"output_dir", "seed", "do_train", "do_eval", "do_predict", "remove_unused_columns"}
_PUSH = "`holdfast push` publishes a stage's folder"
_NO_ROWS = "a stage has no rows to measure on while it trains; `holdfast evaluate` measures it"
_PROCESSES = "processes=N with parallel=ddp or fsdp2 trains in several processes"
# Settings of transformers that a stage has no use for, and what is there in their place.
ELSEWHERE = {
    **dict.fromkeys(("push_to_hub", "hub_model_id", "hub_token", "hub_strategy"), _PUSH),
    **dict.fromkeys(("hub_private_repo", "hub_always_push", "hub_revision"), _PUSH),
    **dict.fromkeys(("eval_strategy", "eval_on_start", "load_best_model_at_end"), _NO_ROWS),
    **dict.fromkeys(("fsdp", "fsdp_config", "deepspeed", "local_rank"), _PROCESSES),
    "resume_from_checkpoint": "the same command goes on from where it was interrupted",
}
# Settings that change nothing in the result, so a stage's identity leaves them out.
NEUTRAL = {
    "logging_steps",
    "logging_strategy",
    "save_steps",
    "save_strategy",
    "save_total_limit",
    "disable_tqdm",
    "report_to",
    "run_name",
    "batch_size",  # of a repair's forward passes
    "logging_first_step",
    "dataloader_num_workers",
    "dataloader_pin_memory",
    "device_map",
    "gpu_memory_utilization",
}

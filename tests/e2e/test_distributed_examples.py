"""The files of examples/distributed start what they say, as far as accelerate and Thinker read them here."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from thinker.training.hf_peft.distributed import problem_of_sharding, sharding

EXAMPLES = Path(__file__).parents[2] / "examples" / "distributed"
PROCESSES = {"ddp": 2, "two_nodes": 16, "fsdp": 8, "deepspeed_zero2": 8, "deepspeed_zero3": 8}


def environment(name: str) -> tuple[int, dict[str, str]]:
    """How many processes accelerate would start, and with what environment."""
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env

    arguments = ["--config_file", str(EXAMPLES / f"{name}.yaml"), "--num_cpu_threads_per_process", "1", "-m", "thinker"]
    args, defaults, _ = _validate_launch_command(launch_command_parser().parse_args(arguments))
    if args.use_deepspeed:
        args.deepspeed_fields_from_accelerate_config = ",".join(defaults.deepspeed_config)
        return args.num_processes, prepare_deepspeed_cmd_env(args)[1]
    return args.num_processes, prepare_multi_gpu_env(args)


@pytest.mark.parametrize("name", PROCESSES)
def test_accelerate_starts_the_processes_and_thinker_has_nothing_to_refuse(name: str, project, monkeypatch) -> None:
    import torch

    from thinker.config import load_experiment

    recipe = load_experiment(project.root / "pipeline.yaml", command="train").recipe
    assert recipe is not None
    processes, variables = environment(name)
    assert processes == PROCESSES[name]
    way = sharding(variables)
    assert way == {"fsdp": "FSDP", "deepspeed_zero2": "DeepSpeed", "deepspeed_zero3": "DeepSpeed"}.get(name)
    if way:
        assert problem_of_sharding(recipe, torch.device("cuda", 0), way, variables) is None


def test_the_readme_lists_every_file() -> None:
    listed = set(re.findall(r"\]\(([\w.]+)\)", (EXAMPLES / "README.md").read_text(encoding="utf-8")))
    assert listed == {path.name for path in EXAMPLES.iterdir()} - {"README.md"}


def test_the_slurm_script_is_one_that_a_shell_reads() -> None:
    import subprocess

    subprocess.run(["bash", "-n", str(EXAMPLES / "train.slurm")], check=True)

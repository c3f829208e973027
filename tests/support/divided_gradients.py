"""The gradients of a plan's steps, of a whole model or of one divided by FSDP.

Run by torchrun, it divides the model among the processes (`fully_shard`, gloo, CPU), and process 0 saves the gradients:
`python -m torch.distributed.run … divided_gradients.py MODEL OUT`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from thinker.data.encode import EncodedExample
from thinker.data.encoded_rows import EncodedRows
from thinker.data.plan import Plan
from thinker.processes import World
from thinker.training.hf_peft.distributed import whole
from thinker.training.hf_peft.loader import PlanLoader
from thinker.training.hf_peft.loss import PaddedRows
from thinker.training.hf_peft.trainer import PlanTrainer


def adapted(folder: Path) -> Any:
    """The model with an adapter whose weights, unlike a fresh one's, all have a gradient."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_pretrained(folder)
    return get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj", "down_proj"], init_lora_weights=False))


def divide(model: Any) -> None:
    """As accelerate does: each layer by itself, then what is left."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh("cpu", (torch.distributed.get_world_size(),))
    for layer in model.get_base_model().model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)


def gradients(model: Any, *, accumulation: int, world: World) -> list[dict[str, torch.Tensor]]:
    """Of each step, by weight's name; the last step has one row, so that a process may get none."""
    rows = EncodedRows.of(
        [EncodedExample([5 + n * k % 90 for k in range(9 * n)], [5.0, 1.0, 2.0, 0.5 * n]) for n in range(1, 6)]
    )
    plan = Plan(len(rows), True, 7, 1, micro_batch_size=1, accumulation=accumulation, world_size=world.size)
    layout = PaddedRows(0)
    trainer: Any = SimpleNamespace(
        _layout=layout, step_loss=torch.zeros((), dtype=torch.float64), args=SimpleNamespace(world_size=world.size)
    )
    batches = iter(PlanLoader(rows, range(len(rows)), plan, layout.collate, world.rank))
    found = []
    for step in plan:
        for _ in step.micro_batches:
            PlanTrainer.compute_loss(trainer, model, next(batches)).backward()
        trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        found.append({name: whole(weight.grad).clone() for name, weight in trained.items()})
        model.zero_grad()
    return found


def main() -> None:
    torch.distributed.init_process_group("gloo")
    world = World(torch.distributed.get_rank(), torch.distributed.get_world_size())
    model = adapted(Path(sys.argv[1]))
    divide(model)
    found = gradients(model, accumulation=2, world=world)
    if world.is_main:
        torch.save(found, sys.argv[2])


if __name__ == "__main__":
    main()

"""A SmolVLA of a few thousand random weights, saved as lerobot saves one; runs in lerobot's environment, offline.

ENV/bin/python benchmarks/lerobot_smolvla.py FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.policies.factory import make_pre_post_processors
from lerobot.policies.smolvla.configuration_smolvla import SmolVLAConfig
from lerobot.policies.smolvla.modeling_smolvla import SmolVLAPolicy
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import Idefics3ImageProcessor, Idefics3Processor, PreTrainedTokenizerFast, SmolVLMConfig

PIXELS = 32
SPECIAL = ("<fake_token_around_image>", "<global-img>", "<image>", "<end_of_utterance>")
NAMES = ("fake_image_token", "global_image_token", "image_token", "end_of_utterance_token")


def save_backbone(folder: Path) -> None:
    """A language model that reads pixels, of two layers, with a tokenizer of six words."""
    words = {word: k for k, word in enumerate(("<unk>", "<pad>", *SPECIAL, "go", "there"))}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokens = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        pad_token="<pad>",
        extra_special_tokens=dict(zip(NAMES, SPECIAL)),
    )
    Idefics3Processor(Idefics3ImageProcessor(), tokens).save_pretrained(folder)
    text = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    text |= {"model_type": "llama", "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 64, "pad_token_id": 1}
    vision = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision |= {"image_size": PIXELS, "patch_size": 8}
    config = SmolVLMConfig(
        text_config=text, vision_config=vision, scale_factor=2, image_token_id=words["<image>"], pad_token_id=1
    )
    config.save_pretrained(folder)


def save_policy(folder: Path) -> int:
    """4 numbers and one camera in, chunks of 8 actions of 2 dimensions out, which are padded to 6; its weights."""
    backbone = folder / "backbone"
    save_backbone(backbone)
    torch.manual_seed(0)
    config = SmolVLAConfig(
        input_features={
            "observation.state": PolicyFeature(FeatureType.STATE, (4,)),
            "observation.images.top": PolicyFeature(FeatureType.VISUAL, (3, PIXELS, PIXELS)),
        },
        output_features={"action": PolicyFeature(FeatureType.ACTION, (2,))},
        chunk_size=8,
        n_action_steps=8,
        max_state_dim=8,
        max_action_dim=6,
        vlm_model_name=str(backbone),
        load_vlm_weights=False,
        num_vlm_layers=2,
        num_steps=4,
        resize_imgs_with_padding=(PIXELS, PIXELS),
        device="cpu",
    )
    policy = SmolVLAPolicy(config)
    size = {"observation.state": 4, "action": 2}
    stats = {key: {"mean": torch.zeros(n), "std": torch.ones(n)} for key, n in size.items()}
    for part in (policy, *make_pre_post_processors(config, dataset_stats=stats)):
        part.save_pretrained(folder)
    return sum(weight.numel() for weight in policy.parameters())


if __name__ == "__main__":
    print(save_policy(Path(sys.argv[1]).resolve()))

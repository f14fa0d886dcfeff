"""Dynamo 1.6.1 on slices without a GPU: its front end, and its mocker as the engine. Called by tests and `make stack`.

The mocker has a KV cache of as many blocks as it is told and answers as fast as it is told; both are derived from the
slice's profile here, so that a larger slice really holds and serves more.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from allocator.mig.profile import Profile
from testbed.consumers.packages import Packages

BLOCK_TOKENS = 64

# of Qwen3-0.6B in bfloat16: 596 M parameters, and 2 × 28 layers × 8 KV heads × 128 × 2 bytes for a token
_WEIGHTS_MIB = 1137
_TOKEN_KIB = 112
_OVERHEAD_MIB = 1024  # CUDA context, activations, graphs
_USED_SHARE = 0.9  # vLLM's --gpu-memory-utilization
_WHOLE_GPU_SPEEDUP = 20.0  # of the mocker's own timing, for a whole GPU; slices have their share of its bandwidth
_MEMORY_SLICES = 8

_VOCABULARY = 8192  # the mocker answers with ids from 1000 on, which must be words
_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
)


@dataclass(frozen=True, slots=True)
class Dynamo:
    """Dynamo's files: those that were fetched, and a directory of the caller's for a model's tokenizer."""

    packages: Packages
    directory: Path

    def write(self) -> None:
        """Fill the directory with a model of 8192 words: a tokenizer and a configuration, no weights."""
        self.directory.mkdir(parents=True)
        for name, document in _model_files().items():
            (self.directory / name).write_text(json.dumps(document), encoding="utf-8")

    def frontend(self, *options: str) -> list[str]:
        """The front end's command line."""
        return [str(self.packages.python), "-m", "dynamo.frontend", *options]

    def worker(self, model: str, profile: Profile, *options: str) -> list[str]:
        """A worker's command line: the mocker, serving as `model`, with what a slice of this profile could hold."""
        return [
            *(str(self.packages.python), "-m", "dynamo.mocker"),
            *("--model-path", str(self.directory), "--model-name", model),
            *("--block-size", str(BLOCK_TOKENS), "--num-gpu-blocks-override", str(kv_blocks(profile))),
            *("--speedup-ratio", f"{speedup(profile):g}"),
            *options,
        ]

    def environment(self) -> dict[str, str]:
        """What the vendor's image would set."""
        path = f"{self.packages.python.parent}:/usr/bin:/bin"
        return {"PATH": path, "HF_HUB_OFFLINE": "1", "HOME": "/tmp", "DYN_LOGGING_JSONL": "true"}


def kv_blocks(profile: Profile) -> int:
    """Blocks of the KV cache that Qwen3-0.6B leaves room for on a slice; at least one.

    Raises ValueError for a profile whose memory is not published.
    """
    if profile.memory_mib is None:
        raise ValueError(f"the memory of {profile.name} is not published")
    room_mib = profile.memory_mib * _USED_SHARE - _WEIGHTS_MIB - _OVERHEAD_MIB
    return max(1, int(room_mib * 1024 / (_TOKEN_KIB * BLOCK_TOKENS)))


def speedup(profile: Profile) -> float:
    """How much faster than the mocker's own timing a slice decodes: by its share of the GPU's memory bandwidth."""
    return _WHOLE_GPU_SPEEDUP * profile.memory_slices / _MEMORY_SLICES


def _model_files() -> dict[str, object]:
    letters = _byte_letters()
    words = {word: index for index, word in enumerate([*letters, *_SPECIAL])}
    words |= {f"\u0120w{index}": index for index in range(len(words), _VOCABULARY)}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {
        "tokenizer.json": {
            "version": "1.0",
            "added_tokens": [{"id": words[word], "content": word, "special": True, **flags} for word in _SPECIAL],
            "pre_tokenizer": byte_level,
            "decoder": byte_level,
            "model": {"type": "BPE", "vocab": words, "merges": []},
        },
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": _SPECIAL[2],
            "model_max_length": 4096,
            "chat_template": _TEMPLATE,
        },
        "config.json": {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "intermediate_size": 128,
            "vocab_size": _VOCABULARY,
            "max_position_embeddings": 4096,
            "eos_token_id": words[_SPECIAL[2]],
            "bos_token_id": words[_SPECIAL[1]],
        },
        "generation_config.json": {"eos_token_id": words[_SPECIAL[2]]},
    }


def _byte_letters() -> Sequence[str]:
    """The letter that a byte-level tokenizer has for each of the 256 bytes: itself where it can be printed."""
    printed = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printed]
    return [chr(code) for code in [*printed, *(256 + index for index in range(len(others)))]]


def chat(model: str, text: str, tokens: int = 8) -> bytes:
    """The body of a chat completion."""
    messages = [{"role": "user", "content": text}]
    return json.dumps({"model": model, "messages": messages, "max_tokens": tokens}).encode()


def completion(body: bytes) -> str:
    """The text of a chat completion's answer."""
    text: str = json.loads(body)["choices"][0]["message"]["content"]
    return text

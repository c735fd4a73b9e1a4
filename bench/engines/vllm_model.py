"""Converts a GGUF file to a model that vLLM can load. vLLM's own Python runs it.

python bench/engines/vllm_model.py FILE.gguf DIR
"""

import argparse
import importlib
from pathlib import Path
from typing import Any


def make(weights: Path, directory: Path) -> None:
    """Write the weights as safetensors in bfloat16, with tokenizer and chat template, to `directory`."""
    # Packages of vLLM's environment, which our type checkers do not know.
    torch: Any = importlib.import_module("torch")
    transformers: Any = importlib.import_module("transformers")
    source = {"pretrained_model_name_or_path": str(weights.parent), "gguf_file": weights.name}
    quantized = transformers.AutoModelForCausalLM.from_pretrained(**source)
    config = quantized.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    # A new model, because one loaded from GGUF would be saved with its quantization.
    model = transformers.AutoModelForCausalLM.from_config(config).to(torch.bfloat16)
    model.load_state_dict(quantized.state_dict())
    model.save_pretrained(directory)
    transformers.AutoTokenizer.from_pretrained(**source).save_pretrained(directory)


def main() -> None:
    """Convert the model that the command line names."""
    parser = argparse.ArgumentParser(prog="python bench/engines/vllm_model.py")
    parser.add_argument("weights", type=Path)
    parser.add_argument("directory", type=Path)
    given = parser.parse_args()
    make(given.weights, given.directory)


if __name__ == "__main__":
    main()

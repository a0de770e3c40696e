"""The finished adapter of a run: its weights, index, manifest, validation F1 and model card.

>>> writer = AdapterWriter(setup)
>>> writer.write(state, writer.weights())
"""

import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import torch
from peft import LoraConfig
from torch import Tensor

from ..data.loading import dataset_name
from ..evaluation.span_f1 import Report, evaluate_examples
from ..hub.cards import write_card
from ..model.atomic import replacing
from ..model.embedded_llm import EMBEDDED_BASE, EMBEDDED_ON_HUB
from ..model.entities import Example
from ..model.language_adapter import PLOT, LanguageAdapter, hash_sentences, sentence_hash
from ..model.lora_files import LORA_WEIGHTS
from ..model.manifest import Manifest
from ..model.tensor_files import save_tensors
from .accelerator import describe_hardware
from .checkpoints import TrainingState, lora_tensors
from .fsdp import uses_fsdp
from .plots import plot_training
from .setup import TrainingSetup
from .weight_averaging import average_weights

_RECORDED_ARGUMENTS = (
    *("max_steps", "batch_size", "gradient_accumulation_steps", "examples_share", "tags_share", "empty_share", "seed"),
    *("max_train_samples", "quantization"),
)
"""Arguments that the manifest records as they were given, unless they are ``None``."""
_logger = logging.getLogger(__name__)


class AdapterWriter:
    """Writes and measures the adapter of a run.

    Args:
        setup: The run.
    """

    def __init__(self, setup: TrainingSetup) -> None:
        self._setup = setup

    def weights(self) -> dict[str, Tensor]:
        """The final LoRA tensors in bfloat16: the average of the initial and the trained ones.

        Under FSDP all processes must call it together.
        """
        setup = self._setup
        trained = lora_tensors(setup.lora, torch.float32)
        averaged = average_weights(trained, setup.checkpoints.initial, setup.hyperparameters.start_share or 0.0)
        return {name: tensor.to(torch.bfloat16) for name, tensor in averaged.items()}

    def write(self, state: TrainingState, weights: dict[str, Tensor]) -> None:
        """Writes the adapter to a temporary folder, measures it, and moves it to the output folder.

        Args:
            state: The state of the run after its last step.
            weights: The final tensors.
        """
        arguments = self._setup.arguments
        with replacing(Path(arguments.output_dir)) as folder:
            adapter = self._save(folder, weights, state)
            if uses_fsdp(self._setup.accelerator):
                _logger.warning("F1 is not measured with FSDP. Measure it afterwards with `evaluate`.")
            else:
                self._measure(adapter)
            plot_training(state.curve, state.f1, max(state.epoch, 1), folder / PLOT)
            write_card(adapter)

    def validation_f1(self) -> float | None:
        """F1 of the current LoRA on the validation sentences of all datasets, in percent; ``None`` without such sentences."""
        known = set(self._training_hashes().tolist())
        unseen = [e for group in self._setup.data for e in group.validation if sentence_hash(e.key) not in known]
        if not unseen:
            return None
        with TemporaryDirectory() as folder:
            return self._evaluate(self._save(Path(folder), self.weights(), TrainingState()), unseen).f1

    def _save(self, folder: Path, weights: dict[str, Tensor], state: TrainingState) -> LanguageAdapter:
        """Writes weights, index and manifest."""
        setup = self._setup
        base_model = setup.arguments.base_model
        config = setup.lora.peft_config["default"]
        # PEFT has set this to the folder that the base LLM was loaded from, which is a path of this machine.
        config.base_model_name_or_path = EMBEDDED_ON_HUB if base_model == EMBEDDED_BASE else base_model
        config.inference_mode = True
        config.save_pretrained(str(folder))
        config.inference_mode = False
        save_tensors(weights, folder / LORA_WEIGHTS)
        no_vectors = torch.zeros(0, setup.index.sentence_vectors.shape[1])
        adapter = LanguageAdapter(self._manifest(state), setup.index, no_vectors, self._training_hashes(), folder)
        adapter.save_index(folder)
        return adapter

    def _training_hashes(self) -> Tensor:
        """Hashes of all sentences that this run or its initial adapter was trained on."""
        initial = self._setup.initial
        hashes = hash_sentences(example for group in self._setup.data for example in [*group.train, *group.empty])
        if initial is None:
            return hashes
        return torch.tensor(sorted({*hashes.tolist(), *initial.training_hashes.tolist()}))

    def _measure(self, adapter: LanguageAdapter) -> None:
        """Measures F1 on the validation sentences of each dataset, and adds the results to the manifest."""
        known = adapter.known_hashes()  # sentences that this run or its initial adapter has seen
        for group in self._setup.data:
            unseen = [example for example in group.validation if sentence_hash(example.key) not in known]
            if not unseen:
                if self._setup.arguments.max_eval_samples:
                    _logger.warning("%s has no validation sentences, so F1 is not measured.", group.name)
                continue
            if new := sorted({span.label for e in unseen for span in e.spans} - set(adapter.manifest.entity_types)):
                _logger.warning(
                    "%s: the labels %s occur in the validation sentences only; their entities count as missed.",
                    *(group.name, ", ".join(new)),
                )
            report = self._evaluate(adapter, unseen)
            _logger.info("%s: validation F1 %.1f on %d sentences", group.name, report.f1, report.n_test)
            results = {**report.to_dict(), "n_dropped": len(group.validation) - len(unseen)}
            adapter.manifest.metrics.append({"dataset": dataset_name(group.name), "split": "validation", **results})
        adapter.manifest.save(adapter.path)

    def _evaluate(self, adapter: LanguageAdapter, examples: list[Example]) -> Report:
        """Evaluates an adapter as in inference: loaded from its folder, on the base LLM without the LoRA that is trained."""
        model = self._setup.model
        was_training = model.training
        model.eval()
        with torch.no_grad(), self._setup.lora.disable_adapter(), self._setup.accelerator.autocast():
            model.add_language(adapter.path)
            report = evaluate_examples(model, examples, adapter.language, oracle_routing=True)
            model.remove_language(adapter.language)
        model.train(was_training)
        return report

    def _manifest(self, state: TrainingState) -> Manifest:
        setup = self._setup
        arguments, config = setup.arguments, setup.model.config
        has_examples = arguments.examples_share > 0
        return Manifest(
            language=arguments.language_code,
            entity_types=setup.labels,
            decodings=arguments.decodings(),
            base_model=arguments.base_model,
            base_revision=config.base_revision,
            hidden_size=setup.model.base.config.get_text_config().hidden_size,
            encoder_layer=config.encoder_layer,
            n_entities=config.n_entities if has_examples else 0,
            n_sentences=config.n_sentences if has_examples else 0,
            initialised_from=self._origin(),
            training=self._training_record(state),
        )

    def _training_record(self, state: TrainingState) -> dict[str, Any]:
        """The table ``training`` of the manifest."""
        setup = self._setup
        arguments, accelerator, data = setup.arguments, setup.accelerator, setup.data
        processes = accelerator.num_processes
        lora = cast(LoraConfig, setup.lora.peft_config["default"])
        stopped_by_max_steps = state.step == arguments.max_steps
        return {
            "datasets": [dataset_name(name) for name in arguments.dataset],
            "sentences": sum(len(group.train) for group in data),
            "empty_sentences_added": sum(len(group.empty) for group in data),
            "duplicates_dropped": sum(group.duplicates for group in data),
            **({} if stopped_by_max_steps else {"num_train_epochs": arguments.epochs_for(len(setup.sampler), processes)}),
            "learning_rate": setup.hyperparameters.learning_rate,
            "rank": lora.r,
            "lora_alpha": lora.lora_alpha,
            **({} if setup.initial is None else {"start_share": setup.hyperparameters.start_share}),
            **{name: value for name in _RECORDED_ARGUMENTS if (value := getattr(arguments, name)) is not None},
            "mixed_precision": accelerator.mixed_precision,
            "processes": processes,
            "hardware": describe_hardware(accelerator.device, processes),
            "steps": state.step,
            "loss": round(sum(state.losses) / max(len(state.losses), 1), 4),
            "seconds": state.seconds,
            "loss_curve": state.curve,
            "f1_curve": state.f1,
        }

    def _origin(self) -> str | None:
        """The initial adapter: its repository on the Hub, or its language if it was a folder."""
        initial = self._setup.initial
        if initial is None:
            return None
        return initial.source if initial.snapshot else initial.language

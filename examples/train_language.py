"""Learn Swahili from the package's own sentences, and use it at once.

    python examples/train_language.py

The same from the shell:

    retrieveall train --language sw --dataset examples/sentences/sw.conll --output runs/sw
    retrieveall extract --add runs/sw "Wangari Maathai alizaliwa Nyeri."
"""

from pathlib import Path

from modeling_retrieveall import RetrieveAllModel
from modeling_retrieveall.training.arguments import TrainingArguments
from modeling_retrieveall.training.trainer import train


def main() -> None:
    sentences = Path(__file__).parent / "sentences" / "sw.conll"
    adapter = train(TrainingArguments(language="sw", dataset=[str(sentences)], output="runs/sw"))

    model = RetrieveAllModel.from_pretrained("shipped")
    model.add_language(adapter)
    for entity in model.extract("Wangari Maathai alizaliwa Nyeri.", language="sw").entities:
        print(f"{entity.label:4} {entity.text}  [{entity.start}:{entity.end}]  {entity.score:.2f}")


if __name__ == "__main__":
    main()

"""Train a Swahili adapter on the package's own sentences, and use it.

    python examples/train_language.py

The same from the shell:

    retrieveall train --language sw --dataset examples/sentences/sw.conll --output-dir runs/sw
    retrieveall extract --add runs/sw "Wangari Maathai alizaliwa Nyeri."
"""

from pathlib import Path

from modeling_retrieveall import AdapterTrainingArguments, RetrieveAllModel, train


def main() -> None:
    sentences = Path(__file__).parent / "sentences" / "sw.conll"
    adapter = train(AdapterTrainingArguments(language=["sw"], dataset=[str(sentences)], output_dir="runs/sw"))

    model = RetrieveAllModel.from_pretrained("shipped")
    model.add_language(adapter)
    for entity in model.extract("Wangari Maathai alizaliwa Nyeri.", language="sw").entities:
        print(f"{entity.label:4} {entity.text}  [{entity.start}:{entity.end}]  {entity.score:.2f}")


if __name__ == "__main__":
    main()

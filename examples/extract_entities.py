"""Extract entities from sentences of several languages in one call.

python examples/extract_entities.py
"""

from modeling_retrieveall import RetrieveAllModel

SENTENCES = [
    "Angela Merkel besuchte gestern Nairobi und sprach dort mit Vertretern der Vereinten Nationen.",
    "The University of Oxford invited Wangari Maathai to speak in London.",
    "Gabriela Mistral nació en Vicuña y trabajó para la Sociedad de las Naciones.",
    "Шопен родился в Польше, а учился в Варшаве.",
    "Христо Стоичков игра за Барселона и ЦСКА София.",
    "ரவீந்திரநாத் தாகூர் கொல்கத்தாவில் பிறந்தார்.",
]


def main() -> None:
    model = RetrieveAllModel.from_pretrained("shipped")
    for result in model.extract(SENTENCES):
        print(f"[{result.language}] {result.text}")
        for entity in result.entities:
            print(f"    {entity.label:4} {entity.text}  [{entity.start}:{entity.end}]  {entity.score:.2f}")


if __name__ == "__main__":
    main()

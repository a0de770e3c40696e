"""The sentences cover the whole text, and no name is split, in any language."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeling_retrieveall.model.sentence_splitting import sentence_bounds
from tests.conftest import SHIPPED_LANGUAGES

LANGUAGES = ("am", "bg", "de", "en", "ru", "zh", "mul", "xx-Latn")

odd_text = st.text(st.characters(codec=None) | st.sampled_from(' .!?\n\r\t\0。।…“”")1a-:>\x85\u2028\u2029'))


def cut(text: str, *languages: str) -> list[str]:
    return [text[start:end] for start, end in sentence_bounds(text, languages)]


@given(odd_text, st.lists(st.sampled_from(LANGUAGES)))
def test_the_sentences_cover_the_whole_text_in_order(text: str, languages: list[str]) -> None:
    bounds = sentence_bounds(text, languages)
    assert "".join(text[start:end] for start, end in bounds) == text
    assert [start for start, _ in bounds] == [0, *(end for _, end in bounds[:-1])]
    assert all(start < end for start, end in bounds) or not text


@given(st.text(st.sampled_from(">\n \tab.:-1")))
def test_lines_of_quoted_mails_are_split_without_an_error(text: str) -> None:
    assert "".join(cut(text, "en")) == text


@pytest.mark.parametrize("blank", [">", "> ", "> >"])
def test_a_quoted_blank_line_ends_a_paragraph(blank: str) -> None:
    text = f"> Hello John\n{blank}\n> World Bank"
    assert cut(text, "en") == ["> Hello John", f"\n{blank}\n", "> World Bank"]


@given(odd_text)
def test_no_sentence_begins_inside_a_word(text: str) -> None:
    for start, _ in sentence_bounds(text, ["de"])[1:]:
        before, after = text[start - 1], text[start]
        assert not (before.isalnum() and after.isalnum())


@given(odd_text, odd_text)
def test_paragraphs_are_split_independently(first: str, second: str) -> None:
    text = f"{first}\n\n{second}"
    before = [end for _, end in sentence_bounds(first, ["de"])][:-1]
    after = [end + len(first) + 2 for _, end in sentence_bounds(second, ["de"])][:-1]
    cuts = [end for _, end in sentence_bounds(text, ["de"])]
    border = range(len(first.rstrip()), len(text) - len(second.lstrip()) + 1)
    assert [at for at in cuts[:-1] if at not in border] == [at for at in [*before, *after] if at not in border]


@pytest.mark.parametrize(
    ("language", "sentences"),
    [
        ("de", ["Prof. Dr. Merkel kam am 3. Mai nach Bonn. ", "Graz liegt an der Mur."]),
        ("ru", ["Он родился в 1950 г. в Москве. ", "Потом уехал."]),
        ("zh", ["我住在北京。", "你呢？"]),
        ("bn", ["আমি ঢাকায় থাকি। ", "তুমি কোথায়?"]),
        ("am", ["አበበ በሶ በላ። ", "ጫላ ጩቤ ጨበጠ።"]),
        ("en", ["Is 😀 one character? ", "Yes."]),
        ("hi", ["वह दिल्ली में है। ", "मैं यहाँ हूँ।"]),
        ("ur", ["وہ لاہور میں ہے۔ ", "میں یہاں ہوں۔"]),
        ("my", ["သူ ရန်ကုန်မှာ နေတယ်။ ", "ငါ ဒီမှာ။"]),
        ("hy", ["Նա ապրում է Երևանում։ ", "Ես այստեղ եմ։"]),
        ("hy", ["Տ. Ա. Պետրոսյան։ ", "Նա եկավ։"]),
        ("el", ["Πού είναι ο Γιώργος; ", "Ήρθε ο Νίκος."]),
        ("ar", ["أين يسكن أحمد؟ ", "يسكن في القاهرة."]),
        ("ka", ["თბილისი დიდი ქალაქია. ", "ის მტკვარზე მდებარეობს."]),
        ("ta", ["அவர் சென்னையில் வசிக்கிறார். ", "நான் இங்கே இருக்கிறேன்."]),
        ("ja", ["田中さんは東京に住んでいる。", "私は大阪だ。"]),
        ("fr", ["Où est Paul ? ", "Il est à Lyon."]),
        ("es", ["Vive en Madrid. ", "¿Dónde está Juan?"]),
        ("en", ["He lived there in 1990. ", "Then he left."]),
        ("en", ['She said, "We will go home." ', "Then she left."]),
        ("en", ["He stayed (we think). ", "Nobody knows."]),
        ("de", ["Er fragte: „Wohin gehen wir denn heute Abend?“ ", "Niemand antwortete."]),
    ],
)
def test_every_language_has_its_own_sentence_ends(language: str, sentences: list[str]) -> None:
    text = "".join(sentences)
    assert cut(text, language) == cut(text, *SHIPPED_LANGUAGES) == sentences


@pytest.mark.parametrize(
    "text",
    [
        # initials, also with marks, in pairs, of several letters, and names of letters
        "Космонавт Ю. А. Гагарин родился под Гжатском.",
        "Космонавт Ю.А. Гагарин родился под Гжатском.",
        "Писатель Е. Ё. Йовков и Х. Ц. Шопов, а также Щ. Э. Юрьев.",
        "மு. கருணாநிதி திருக்குவளையில் பிறந்தார்.",
        "இரா. நெடுஞ்செழியன் தமிழ்நாட்டில் பிறந்தார்.",
        "எஸ். பி. பாலசுப்பிரமணியம் பாடினார்.",
        "মো. আব্দুল হামিদ কিশোরগঞ্জে জন্মগ্রহণ করেন।",
        "ড. মুহাম্মদ ইউনূস ও এ. পি. জে. আবদুল কালাম এলেন।",
        "डॉ. ए. पी. जे. अब्दुल कलाम रामेश्वरम में जन्मे।",
        "ඒ. ජේ. රණසිංහ සහ එම්. එස්. පෙරේරා පැමිණියේය.",
        "ఎన్. టి. రామారావు నటించారు.",
        "എം. ടി. വാസുദേവൻ നായർ എഴുതി.",
        "ი. ჭავჭავაძე ქართველი მწერალია.",
        "Հ. Թումանյան ծնվել է Դսեղում։",
        "Ο Κ. Π. Καβάφης γεννήθηκε στην Αλεξάνδρεια.",
        "Ο Θ. Αγγελόπουλος γύρισε ταινίες.",
        "ש. י. עגנון נולד בבוצ'אץ'.",
        "ג'יי. קיי. רולינג כתבה ספרים.",
        'ד"ר א. ב. יהושע כתב על חיפה.',
        "د. أ. محمود درويش ولد في الجليل.",
        "جان اف. کندی رئیس جمهور بود.",
        "رابرٹ ایچ. گربس امریکی تھے۔",
        "Č. Ö. Álvarez und É. Ünsal trafen Á. Ñandú, Š. Žižek und Ø. Ås.",
        "Georg Th. Meyer und Dž. Karić kamen mit Lj. Novak aus Zagreb.",
        "J. R. R. Tolkien met H. C. Andersen in the U.S. Navy.",
        "O\u0308. Mu\u0308ller und C\u030c. Novak wohnen in Wien.",
        # titles and abbreviations
        "Prof. Dr. med. Anna Müller wohnt in der Goethestr. 5 in St. Gallen.",
        "Mr. Smith, Mrs. Jones, Ms. Lee and Dr. Brown met Gov. Walker at St. John's.",
        "La Sra. García y el Dr. Pérez viven en la Avda. Diagonal.",
        "O Dr. Silva e a Sra. Souza moram na Av. Paulista.",
        "Компания ЗАО им. Кирова, ул. Ленина, гр. Иванов и проф. Петров.",
        "Проф. д-р Иван Вазов живя на бул. Витоша в гр. София.",
        "Bor d.o.o. Zagreb i Inter d.d. Split imaju ing. Horvata.",
        "Selskabet Novo A/S, bl.a. Hr. Jensen og f.eks. Fru Hansen.",
        "Firma BKT Sh.A. Tirana punon me z. Hoxha.",
        "Apple Inc. Chief Tim Cook met Acme Corp. Director Jones.",
        "She works at Yahoo! Inc. and at Yum! Ltd..",
        "Le Dr. Dupont et M. Martin de la Sté. Générale.",
        "Wlk. Brytania i woj. Mazowieckie mają prof. Kowalskiego przy ul. Długiej.",
        "Tp. Hồ Chí Minh và Ts. Nguyễn Văn An.",
        # ordinals
        "Der 1. FC Köln verlor gegen den 1. FC Union Berlin.",
        "Hertha BSC - 1. FC Union Berlin und Borussia gegen 1. FC Köln.",
        "Philip Stanhope, 5. Earl Stanhope, starb am 24. Dezember.",
        "Han kom den 3. maj til København.",
        "Konec 19. stoletja je živel v Ljubljani.",
        "Johannes Paul II. Flughafen und Ludwig XIV. Statue in Paris.",
        "Saksa jäi 2. Maailmasõja järel jagatuks.",
        "A 3. Magyar Hadsereg a Donnál harcolt.",
        "21. 3. Praha, 30. 9. Brno.",
        # titles of films and brands
        "«Звёздные войны. Эпизод II» вышел в прокат.",
        "Oh! My Goddess, eine Manga-Serie",
        "Yu-Gi-Oh! Duel Monsters (2000)",
        "Что? Где? Когда?",
        # Thai has no full stop
        "น.พ. ดร. สมชาย อยู่ที่ จ. เชียงใหม่ และ อ. เมือง",
        "3.5 Millionen kamen um 10.30 Uhr nach www.bonn.de.",
        "He said ... nothing more.",
    ],
)
def test_names_are_not_split_whether_the_language_is_known_or_not(text: str) -> None:
    for languages in (SHIPPED_LANGUAGES, ("de",), ("en",), ("ru",), ("ta",), ("xx",)):
        assert cut(text, *languages) == [text]


@pytest.mark.parametrize(
    "text",
    [
        "Die Temperatur stieg im Jahr 1990. Niemand glaubte es.",
        "Bayern gewann mit 3:2. Niemand glaubte es.",
        "Wir riefen die 30 65 09. Niemand kam.",
    ],
)
def test_a_number_that_is_not_an_ordinal_can_end_a_sentence(text: str) -> None:
    assert len(cut(text, "de")) == len(cut(text, *SHIPPED_LANGUAGES)) == 2


def test_english_text_is_split_before_a_lower_case_word() -> None:
    text = "i have never been there. well, i do not know."
    assert cut(text, "en") == ["i have never been there. ", "well, i do not know."]
    assert cut(text, *SHIPPED_LANGUAGES) == [text]


def test_ordinals_of_every_possible_language_are_respected() -> None:
    text = "Komutasındaki 42. Tümen geldi."
    assert cut(text, "tr") == cut(text, "en", "tr") == [text]


def test_consecutive_single_words_are_sentences() -> None:
    assert cut("Bonn. Graz. Wien.", "de") == ["Bonn. ", "Graz. ", "Wien."]


def test_blank_lines_end_sentences_unless_there_are_no_languages() -> None:
    assert cut("Bonn\n\nGraz", "de") == ["Bonn", "\n\n", "Graz"]
    assert cut("Bonn\r\n \t\r\nGraz", "de") == ["Bonn", "\r\n \t\r\n", "Graz"]
    assert cut("Bonn\u2029Graz", "de") == ["Bonn", "\u2029", "Graz"]
    assert cut("Bonn. Graz.") == ["Bonn. Graz."]


@pytest.mark.parametrize(
    "text",
    [
        "John Smith\nMary Jones\nBoston",
        "John Smith\r\nMary Jones\r\nBoston",
        "John Smith\x0bMary Jones\x85Boston\u2028Rome",
        "john smith\nmary jones\nboston",
        "JOHN SMITH\nMARY JONES",
        "John Smith Jr.\nAcme Inc.\nBoston",
        "John Smith,\nMary Jones,\nBoston.",
        "John Smith;\nMary Jones;\nBoston.",
        "Name: John Smith\nCity: Boston\nEmployer: Acme Corp",
        "NAME: JOHN SMITH\nCITY: BOSTON",
        "Имя: Иван Петров\nГород: Москва",
        "名前：田中太郎\n住所：東京都",
        "From: John Smith\nTo: Mary Jones\nSubject: Trip to Boston",
        "- John Smith\n- Mary Jones\n- Boston",
        "• Angela Merkel\n• Olaf Scholz",
        "1. John Smith\n2. Mary Jones",
        "1) John Smith\n2) Mary Jones",
        "1\n2\n3",
        "Max Mustermann\nHauptstr. 5\n10115 Berlin",
        "Acme Inc.\n12 Main St.\nBoston, MA 02110\nUSA",
        "Best regards,\nJohn Smith\nAcme Corp",
        "John\tBoston\tAcme\nMary\tParis\tBeta",
        "张三\n李四\n王五",
        "جون سميث\nماري جونز\nبوسطن",
        "ராமன்\nசீதா\nசென்னை",
        "ნინო\nგიორგი\nთბილისი",
        "Bonn.\nGraz.\nWien.",
        "Teilnehmer:\nAngela Merkel\nOlaf Scholz",
        "> John Smith\nMary Jones",
        "Boston Marathon\nThe runners gathered early in the morning near Hopkinton in Massachusetts for the start.",
    ],
)
def test_items_of_a_list_and_fields_of_a_form_are_sentences(text: str) -> None:
    for languages in (SHIPPED_LANGUAGES, ("en",)):
        sentences = cut(text, *languages)
        assert "".join(sentences) == text
        assert all(len(sentence.strip().splitlines()) == 1 for sentence in sentences)


@pytest.mark.parametrize(
    "text",
    [
        "Angela\nMerkel besuchte Nairobi.",
        "Angela\r\nMerkel besuchte Nairobi.",
        "Gestern besuchte Angela\nMerkel die Hauptstadt.",
        "Gestern besuchte Angela\n    Merkel die Hauptstadt.",
        "- Angela\n  Merkel besuchte Nairobi.",
        "> Angela\n> Merkel besuchte Nairobi.",
        "Der 1.\nFC Köln verlor.",
        "Dr.\nAngela Merkel kam.",
        "Wilhelm\nII. besuchte Bonn.",
        "Nordrhein-\nWestfalen ist groß.",
        "他居住在北\n京市朝阳区。",
        "أنجيلا\nميركل زارت نيروبي.",
        "The committee met in New\nYork on Monday, and Mary\nJones spoke.",
        "He lives in\nbonn and works.",
    ],
)
def test_a_name_that_is_wrapped_stays_together(text: str) -> None:
    assert cut(text, *SHIPPED_LANGUAGES) == cut(text, "de") == [text]


PROSE = (
    "Gestern besuchte Angela Dorothea Merkel die kenianische Hauptstadt Nairobi und sprach dort mit Präsident Uhuru Muigai "
    "Kenyatta über den Handel zwischen Deutschland und Kenia. Danach flog sie weiter nach New York City, wo sie Barack Hussein "
    "Obama traf."
)


@given(st.integers(18, 120), st.sampled_from(["\n", "\r\n", "\u2028", "\n> "]))
def test_wrapped_text_is_split_like_unwrapped_text(width: int, line_end: str) -> None:
    lines, line = [], ""
    for word in PROSE.split():
        if line and len(line) + 1 + len(word) > width:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}".lstrip()
    first = "> " if ">" in line_end else ""
    wrapped = first + line_end.join([*lines, line])
    assert [" ".join(sentence.replace(">", "").split()) for sentence in cut(wrapped, "de")] == [
        sentence.strip() for sentence in cut(PROSE, "de")
    ]


def test_a_lone_surrogate_is_treated_like_any_character() -> None:
    assert cut("Er wohnt in Bo\ud800nn. Sie wohnt in Graz.", "de") == ["Er wohnt in Bo\ud800nn. ", "Sie wohnt in Graz."]


SENTENCE = "Prof. Dr. Jensen wohnt seit dem 3. Mai in Aarhus. "
PATHOLOGICAL = (".", ". ", ". - ", "a. ", "1. ", "(. ", '" ." ', "! a", "\n", "\t.", "ab\n", "> ", "a\u0301", "。", "Name: x\n")


def seconds(text: str, language: str) -> float:
    """The processor time of splitting a text. Other processes can slow it down, so the tests below try three times."""
    start = time.process_time()
    sentence_bounds(text, [language])
    return time.process_time() - start


@pytest.mark.parametrize("piece", PATHOLOGICAL)
def test_time_is_linear_in_the_text(piece: str) -> None:
    assert any(seconds(piece * 60_000, "de") < 45 * max(seconds(piece * 3_000, "de"), 0.005) for _ in range(3))


def test_danish_is_split_as_fast_as_german() -> None:
    assert any(seconds(SENTENCE * 1000, "da") < 2 * seconds(SENTENCE * 1000, "de") for _ in range(3))

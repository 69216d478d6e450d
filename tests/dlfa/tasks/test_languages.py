"""The file of languages: whom it covers, that it is consistent, and facts checked against their sources."""

import re
from collections import defaultdict
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from dlfa.tasks import TASKS
from dlfa.tasks.languages import LANGUAGES, Language, find_language, genus, load_languages

XTREME = (
    "af", "ar", "bg", "bn", "de", "el", "en", "es", "et", "eu", "fa", "fi", "fr", "he", "hi", "hu", "id", "it", "ja",
    "jv", "ka", "kk", "ko", "ml", "mr", "ms", "my", "nl", "pt", "ru", "sw", "ta", "te", "th", "tl", "tr", "ur", "vi",
    "yo", "zh",
)  # fmt: skip
XTREME_R = (*XTREME, "az", "gu", "ht", "lt", "pa", "pl", "qu", "ro", "uk", "wo")

# Configurations `udpos.*` of google/xtreme, in the order of their ISO codes.
UDPOS_NAMES = [
    "Afrikaans", "Arabic", "Bulgarian", "German", "Greek", "English", "Spanish", "Estonian", "Basque", "Persian",
    "Finnish", "French", "Hebrew", "Hindi", "Hungarian", "Indonesian", "Italian", "Japanese", "Kazakh", "Korean",
    "Marathi", "Dutch", "Portuguese", "Russian", "Tamil", "Telugu", "Thai", "Tagalog", "Turkish", "Urdu", "Vietnamese",
    "Yoruba", "Chinese",
]  # fmt: skip

# XTREME's Tatoeba set: the code in the file names of LASER, and XTREME's own.
TATOEBA = {
    "afr": "af", "ara": "ar", "bul": "bg", "ben": "bn", "deu": "de", "ell": "el", "spa": "es", "est": "et",
    "eus": "eu", "pes": "fa", "fin": "fi", "fra": "fr", "heb": "he", "hin": "hi", "hun": "hu", "ind": "id",
    "ita": "it", "jpn": "ja", "jav": "jv", "kat": "ka", "kaz": "kk", "kor": "ko", "mal": "ml", "mar": "mr",
    "nld": "nl", "por": "pt", "rus": "ru", "swh": "sw", "tam": "ta", "tel": "te", "tha": "th", "tgl": "tl",
    "tur": "tr", "urd": "ur", "vie": "vi", "cmn": "zh", "eng": "en",
    "aze": "az", "lit": "lt", "pol": "pl", "ukr": "uk", "ron": "ro",
}  # fmt: skip

GOOD = "de: {code3: deu, name: German, family: Indo-European, genus: Germanic, script: Latn, wikipedia_bytes: 5}"


def written(folder: Path, text: str) -> Path:
    path = folder / "languages.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_has_every_language_of_the_benchmarks_and_no_stray_one() -> None:
    assert (len(XTREME), len(XTREME_R)) == (40, 50)
    assert list(LANGUAGES) == sorted([*XTREME_R, "da", "sv"])


@pytest.mark.parametrize("task", TASKS)
def test_has_every_language_of_a_task(task: str) -> None:
    assert [code for code in TASKS[task].languages if code not in LANGUAGES] == []


def test_has_every_language_of_the_shared_data(shared_data: Path) -> None:
    folders = [path.name for kind in ("ud", "uner", "pawsx") for path in (shared_data / kind).iterdir()]
    codes = {name for name in folders if len(name) == 2}
    codes |= {path.stem.partition("-")[2] for path in (shared_data / "nli").glob("*.tsv")}
    codes |= {path.suffix[1:] for path in (shared_data / "tatoeba").glob("tatoeba.*")}
    assert {"da", "fa", "cmn", "eng"} <= codes
    assert sorted(code for code in codes if find_language(code) is None) == []


def test_codes_are_unique_and_well_formed() -> None:
    for code, language in LANGUAGES.items():
        assert language.code == code
        assert re.fullmatch("[a-z]{2}", code)
        assert re.fullmatch("[a-z]{3}", language.code3)
        assert re.fullmatch("[A-Z][a-z]{3}", language.script)
    for values in (
        [language.code3 for language in LANGUAGES.values()],
        [language.name for language in LANGUAGES.values()],
    ):
        assert len(set(values)) == len(values)


def test_a_genus_is_of_one_family() -> None:
    families = defaultdict(set)
    for language in LANGUAGES.values():
        families[language.genus].add(language.family)
    assert {genus: names for genus, names in families.items() if len(names) > 1} == {}


def test_families_are_those_that_xtreme_names() -> None:
    assert {LANGUAGES[code].family for code in XTREME} == {
        "Afro-Asiatic", "Austro-Asiatic", "Austronesian", "Basque", "Dravidian", "Indo-European", "Japonic",
        "Kartvelian", "Korean", "Kra-Dai", "Niger-Congo", "Sino-Tibetan", "Turkic", "Uralic",
    }  # fmt: skip


def test_names_are_those_of_the_hub_s_udpos_configurations() -> None:
    assert [LANGUAGES[code].name for code in TASKS["udpos"].languages] == UDPOS_NAMES


def test_three_letter_codes_are_those_of_tatoeba() -> None:
    assert {LANGUAGES[code].code3: code for code in TATOEBA.values()} == TATOEBA


def test_only_languages_that_mbert_did_not_see_have_no_size() -> None:
    assert [code for code, language in LANGUAGES.items() if language.wikipedia_bytes is None] == ["qu", "wo"]


def test_sizes_order_the_languages_as_their_wikipedias_were() -> None:
    sizes = {code: language.wikipedia_bytes or 0 for code, language in LANGUAGES.items()}
    ordered = sorted((code for code in sizes if sizes[code]), key=lambda code: -sizes[code])
    assert ordered[:10] == ["en", "de", "fr", "ru", "es", "ja", "it", "zh", "pl", "pt"]
    assert ordered[-6:] == ["jv", "my", "sw", "gu", "ht", "yo"]


@pytest.mark.parametrize(
    ("code", "language"),
    [
        ("en", ("eng", "English", "Indo-European", "Germanic", "Latn", 17_790_269_746)),
        ("fi", ("fin", "Finnish", "Uralic", "Finnic", "Latn", 713_981_580)),
        ("kk", ("kaz", "Kazakh", "Turkic", "Turkic", "Cyrl", 113_342_663)),
        ("yo", ("yor", "Yoruba", "Niger-Congo", "Defoid", "Latn", 12_528_509)),
        ("zh", ("cmn", "Chinese", "Sino-Tibetan", "Chinese", "Hani", 2_031_626_246)),
    ],
)
def test_facts(code: str, language: tuple[str, str, str, str, str, int]) -> None:
    code3, name, family, genus, script, size = language
    assert LANGUAGES[code] == Language(
        code=code, code3=code3, name=name, family=family, genus=genus, script=script, wikipedia_bytes=size
    )


def test_finds_a_language_by_either_code_and_by_name() -> None:
    for language in LANGUAGES.values():
        assert [find_language(name) for name in (language.code, language.code3, language.name)] == [language] * 3


@pytest.mark.parametrize("name", ["xx", "xxx", "Klingon", "", "DE", "no"])
def test_does_not_find_what_is_not_there(name: str) -> None:
    assert find_language(name) is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("de", "Germanic"),
        ("cmn", "Chinese"),
        ("Haitian Creole", "Creoles and Pidgins"),
        ("zh-Hant", "Chinese"),
        ("zh_CN", "Chinese"),
        ("pt_br", "Romance"),
        ("es-419", "Romance"),
        ("sr-Latn-RS", None),
        ("xx", None),
        ("", None),
    ],
)
def test_genus_of_a_code_with_and_without_script_and_region(name: str, expected: str | None) -> None:
    assert genus(name) == expected


def test_nobody_can_change_the_languages() -> None:
    with pytest.raises(TypeError):
        LANGUAGES["xx"] = LANGUAGES["de"]  # type: ignore[index]
    with pytest.raises(FrozenInstanceError):
        LANGUAGES["de"].family = "Uralic"  # type: ignore[misc]


def test_loads_a_file(tmp_path: Path) -> None:
    assert load_languages(written(tmp_path, GOOD)) == {
        "de": Language(
            code="de", code3="deu", name="German", family="Indo-European", genus="Germanic", script="Latn",
            wikipedia_bytes=5,
        )
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (f"{GOOD}\n{GOOD}", "a key twice"),
        (GOOD.replace("script: Latn", "script: Latn, script: Cyrl"), "a key twice"),
        (f"{GOOD}\n{GOOD.replace('de:', 'nl:').replace('German,', 'Dutch,')}", "share a code or a name"),
        (f"{GOOD}\n{GOOD.replace('de:', 'nl:').replace('deu', 'nld')}", "share a code or a name"),
        (GOOD.replace("script", "alphabet"), "alphabet"),
        (GOOD.replace("genus: Germanic, ", ""), "genus"),
        (GOOD.replace("de:", "deu:"), "code='deu'"),
        (GOOD.replace("deu", "de"), "code3='de'"),
        (GOOD.replace("Latn", "latin"), "script='latin'"),
        (GOOD.replace("German,", "'',"), "name=''"),
        (GOOD.replace("bytes: 5", "bytes: 0"), "wikipedia_bytes=0"),
        (GOOD.replace("bytes: 5", "bytes: 5.5"), "wikipedia_bytes=5.5"),
        (GOOD.replace("bytes: 5", "bytes: yes"), "wikipedia_bytes=True"),
        (GOOD.replace("de:", "no:"), "bool"),  # YAML reads a bare `no` as a truth value
    ],
)
def test_refuses_a_wrong_file(tmp_path: Path, text: str, error: str) -> None:
    with pytest.raises((AssertionError, TypeError), match=re.escape(error)):
        load_languages(written(tmp_path, text))

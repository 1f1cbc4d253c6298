"""Texts as ids of words, and the readers of intents: small files of the same form made here, and the real ones where they are."""

import csv
import gzip
import json
import zlib

import jax
import numpy as np
import pytest

import jmeta
from jmeta.tasks import build_vocabulary, encode_texts

TRAINING = ("auto_and_commute", "home", "kitchen_and_dining", "travel", "utility")
DOMAINS = (*TRAINING, "banking", "credit_cards", "meta", "small_talk", "work")
SPLITS = {"train": 60, "validation": 15, "test": 75}


def test_words_that_occur_often_enough_have_ids_the_most_frequent_first():
    vocabulary = build_vocabulary(["What's up?", "what\u2019s ÜBER up", "über, UP and 24"], least=2, buckets=5)
    assert vocabulary == ({"up": 0, "what's": 1, "über": 2}, 8)


def test_texts_are_cut_padded_and_masked():
    vocabulary = build_vocabulary(["a b c", "a b", "a"], least=1, buckets=2)
    encoded = encode_texts(["b a", "", "c! c, c; c", "?"], vocabulary, length=3)
    np.testing.assert_array_equal(encoded["ids"], [[1, 0, 0], [0, 0, 0], [2, 2, 2], [0, 0, 0]])
    np.testing.assert_array_equal(encoded["mask"], [[1, 1, 0], [0, 0, 0], [1, 1, 1], [0, 0, 0]])
    assert (encoded["ids"].dtype, encoded["mask"].dtype) == (np.int32, bool)


def test_other_words_share_the_ids_that_are_left_in_every_process_alike():
    vocabulary = build_vocabulary(["known known rare"], buckets=7)
    ids = encode_texts(["known rare new"], vocabulary, length=3)["ids"][0]
    # CRC-32 of the word, as in any zip archive.
    assert ids.tolist() == [0, 1 + zlib.crc32(b"rare") % 7, 1 + zlib.crc32(b"new") % 7]
    assert len(set(ids)) == 3
    alone = build_vocabulary(["known known rare"], buckets=1)
    assert encode_texts(["rare new"], alone, length=2)["ids"].tolist() == [[1, 1]]


def test_numbers_of_texts_are_checked():
    for options in ({"least": 0}, {"buckets": 0}):
        with pytest.raises(ValueError, match=f"{next(iter(options))} must be a whole number of at least 1; got 0"):
            build_vocabulary(["a"], **options)
    with pytest.raises(ValueError, match="length must be a whole number of at least 1; got 0"):
        encode_texts(["a"], build_vocabulary(["a"]), length=0)


# --- CLINC150 --------------------------------------------------------------------------------------------------------------------


def made_up_clinc150():
    """Five intents in each of ten domains, six texts of each, of a word of all, of the domain, of the intent and of the text."""
    domains = {domain: [f"{domain} {letter}" for letter in "edcba"] for domain in DOMAINS}
    texts = {
        intent: [f"all {domain} {intent.replace(' ', '')} {number}" for number in range(6)]
        for domain, intents in domains.items()
        for intent in intents
    }
    parts = {"train": slice(0, 4), "val": slice(4, 5), "test": slice(5, 6)}
    data = {part: [[text, intent] for intent in texts for text in texts[intent][rows]] for part, rows in parts.items()}
    return data | {"oos_test": [["nothing of this", "oos"]]}, domains


def write_clinc150(folder, *, official, data=None, domains=None):
    known = made_up_clinc150()
    data, domains = known[0] if data is None else data, known[1] if domains is None else domains
    if official:
        (folder / "data_full.json").write_text(json.dumps(data))
        (folder / "domains.json").write_text(json.dumps(domains))
    else:
        (folder / "clinc150.json.gz").write_bytes(gzip.compress(json.dumps(data | {"domains": domains}).encode()))


def words(vocabulary, rows):
    """Turns ids back into words, those of other ids into a question mark."""
    known = {number: word for word, number in vocabulary.words.items()}
    return [" ".join(known.get(int(one), "?") for one in ids[mask]) for ids, mask in zip(rows["ids"], rows["mask"], strict=True)]


@pytest.mark.parametrize("official", [True, False])
def test_clinc150_is_divided_by_domain(tmp_path, monkeypatch, official):
    (tmp_path / "clinc150").mkdir()
    write_clinc150(tmp_path / "clinc150", official=official)
    monkeypatch.setenv("JMETA_DATA", str(tmp_path))
    vocabulary = jmeta.clinc150_vocabulary(None, buckets=3)
    # Of five intents of a training domain, the third in alphabetical order is held out.
    trained = [f"{domain}{letter}" for domain in TRAINING for letter in "abde"]
    assert set(vocabulary.words) == {"all", *TRAINING, *trained, *map(str, range(6))}
    assert vocabulary.size == len(vocabulary.words) + 3
    expected = {
        "train": {f"all {domain} {domain}{letter}" for domain in TRAINING for letter in "abde"},
        "validation": {f"all {domain} ?" for domain in TRAINING},
        "test": {"all ? ?"},
    }
    for split, size in {"train": 20, "validation": 5, "test": 25}.items():
        sampler = jmeta.clinc150(str(tmp_path / "clinc150"), split, queries=5, length=4, vocabulary=vocabulary)
        x = jax.tree.map(np.asarray, sampler.data["x"])
        assert x["ids"].shape == (size, 6, 4)
        # The number of the text is its last word, and all six of an intent are there, of whatever part.
        found = [words(vocabulary, jax.tree.map(lambda leaf, row=row: leaf[row], x)) for row in range(size)]
        assert all([text[-1] for text in texts] == list("012345") for texts in found)
        assert {text[:-2] for texts in found for text in texts} == expected[split]


def test_an_episode_of_texts_has_their_masks_and_no_text_twice(tmp_path):
    write_clinc150(tmp_path, official=False)
    sampler = jmeta.clinc150(tmp_path / "clinc150.json.gz", "train", ways=3, shots=2, queries=4, length=5)
    episode = jax.jit(sampler.sample)(sampler.data, jax.random.key(0))
    vocabulary = jmeta.clinc150_vocabulary(tmp_path)
    assert episode.support.x["ids"].shape == episode.support.x["mask"].shape == (6, 5)
    np.testing.assert_array_equal(np.concatenate([episode.support.x["mask"], episode.query.x["mask"]]), [[1, 1, 1, 1, 0]] * 18)
    support, query = (words(vocabulary, jax.tree.map(np.asarray, part.x)) for part in (episode.support, episode.query))
    assert len({*support, *query}) == 18
    labels, intents = [*episode.support.y, *episode.query.y], [set(), set(), set()]
    for text, label in zip(support + query, labels, strict=True):
        intents[label].add(text.split()[2])
    assert list(map(len, intents)) == [1, 1, 1]
    assert len(set.union(*intents)) == 3


# --- Banking77 -------------------------------------------------------------------------------------------------------------------


def write_banking77(folder, *, official):
    """Seven intents, of which intent k has k + 3 texts; the first text is there twice."""
    texts = {
        f"intent {size - 3}": [f'same, {letter}{text}\n"quoted"' for text in range(size)]
        for size, letter in enumerate("abcdefg", 3)
    }
    pairs = [[text, intent] for intent in texts for text in texts[intent]]
    parts = {"train": [*pairs[::2], pairs[0]], "test": pairs[1::2]}
    if not official:
        (folder / "banking77.json.gz").write_bytes(gzip.compress(json.dumps(parts).encode()))
        return
    for part, rows in parts.items():
        with open(folder / f"{part}.csv", "w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([["text", "category"], *rows])


@pytest.mark.parametrize("official", [True, False])
def test_banking77_is_divided_by_every_third_intent(tmp_path, monkeypatch, official):
    (tmp_path / "banking77").mkdir()
    write_banking77(tmp_path / "banking77", official=official)
    monkeypatch.setenv("JMETA_DATA", str(tmp_path))
    own = jmeta.banking77_vocabulary(None, buckets=2)
    # Single words of the training intents are rare.
    assert set(own.words) == {"same", "quoted"}
    for split, intents in {"train": (0, 3, 6), "validation": (1, 4), "test": (2, 5), "all": range(7)}.items():
        sampler = jmeta.banking77(None, split, ways=2, queries=2, length=4)
        np.testing.assert_array_equal(sampler.data["counts"], [intent + 3 for intent in intents])
        mask = np.asarray(sampler.data["x"]["mask"])
        np.testing.assert_array_equal(mask.any(-1), np.arange(mask.shape[1]) < np.asarray(sampler.data["counts"])[:, None])


def test_banking77_takes_the_words_of_another_domain(tmp_path):
    write_banking77(tmp_path, official=True)
    other = build_vocabulary(["quoted a0", "a0 b1 quoted"], buckets=1)
    x = jmeta.banking77(tmp_path, "all", ways=2, queries=2, length=3, vocabulary=other).data["x"]
    texts = {text for row in range(7) for text in words(other, jax.tree.map(lambda leaf, row=row: np.asarray(leaf)[row], x))}
    assert texts == {"? a0 quoted", "? ? quoted", ""}


# --- what is wrong ---------------------------------------------------------------------------------------------------------------

READERS = {
    "clinc150": (jmeta.clinc150, write_clinc150, "clinc150.json.gz", "data_full.json"),
    "banking77": (jmeta.banking77, write_banking77, "banking77.json.gz", "train.csv"),
}


def one_sentence(error):
    text = str(error.value)
    assert "\n" not in text
    assert len(text) < 400
    return text


@pytest.mark.parametrize("name", READERS)
def test_missing_texts_say_what_to_put_where(tmp_path, monkeypatch, name):
    read, _, _, official = READERS[name]
    monkeypatch.delenv("JMETA_DATA", raising=False)
    for path, place in ((tmp_path, str(tmp_path)), (None, "JMETA_DATA is not set")):
        with pytest.raises(FileNotFoundError) as error:
            read(path, "train")
        text = one_sentence(error)
        assert all(part in text for part in (place, official, "github.com", f"'{name}'"))


@pytest.mark.parametrize("name", READERS)
def test_an_unknown_split_of_texts_is_refused_before_anything_is_read(tmp_path, name):
    with pytest.raises(ValueError, match=r"split must be one of train, validation, test.*; got 'val'"):
        READERS[name][0](tmp_path, "val")


@pytest.mark.parametrize("official", [True, False])
@pytest.mark.parametrize("damage", ["truncated", "other", "empty", "bytes"])
@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_of_texts_is_named(tmp_path, name, damage, official):
    read, write, archive, plain = READERS[name]
    write(tmp_path, official=official)
    file = tmp_path / (plain if official else archive)
    content = file.read_bytes()
    # The end of a table is cut within a text.
    damages = {"truncated": content[:-15], "other": b"<html>", "empty": b"", "bytes": b"\xff\xfe" + content}
    file.write_bytes(damages[damage])
    with pytest.raises(ValueError, match=f"path .*{file.name} is not a sound") as error:
        read(tmp_path, "train")
    one_sentence(error)


@pytest.mark.parametrize(
    ("data", "domains", "sentence"),
    [
        ({"train": [], "val": []}, None, r"must hold lists train, val, test by name; got train, val, domains\."),
        ({"train": [["a", "b", "c"]], "val": [], "test": []}, None, r"must hold lists of texts .*; got \['a', 'b', 'c'\]"),
        ({"train": "abc", "val": [], "test": []}, None, r"must hold lists of texts .*; got 'abc'"),
        ({"train": [["a", 1]], "val": [], "test": []}, None, r"must hold lists of texts .*; got \['a', 1\]"),
        (None, {"home": []}, "must hold lists of intents by domain, auto_and_commute, .* among them; got home"),
        (None, dict.fromkeys(DOMAINS, 1), "must hold lists of intents by domain"),
        (None, {domain: [] for domain in DOMAINS}, "must name the domain of each intent, and no other; got auto_and_commute a, "),
    ],
)
def test_a_file_of_something_else_than_clinc150_is_named(tmp_path, data, domains, sentence):
    write_clinc150(tmp_path, official=False, data=data, domains=domains)
    with pytest.raises(ValueError, match=rf"clinc150\.json\.gz {sentence}") as error:
        jmeta.clinc150(tmp_path, "train")
    one_sentence(error)


def test_a_table_of_something_else_than_banking77_is_named(tmp_path):
    write_banking77(tmp_path, official=True)
    (tmp_path / "test.csv").write_text("question,intent\na,b\n")
    with pytest.raises(ValueError, match=r"test\.csv is not a sound file of Banking77 \(columns question, intent\)"):
        jmeta.banking77(tmp_path, "train")
    (tmp_path / "banking77.json.gz").write_bytes(gzip.compress(b"[]"))
    with pytest.raises(ValueError, match=r"banking77\.json\.gz must hold lists train and test by name; got list"):
        jmeta.banking77(tmp_path, "train")
    (tmp_path / "banking77.json.gz").write_bytes(gzip.compress(b'{"train": [["a", "b"]], "test": []}'))
    with pytest.raises(ValueError, match=r"must hold at least 3 intents; got b\."):
        jmeta.banking77(tmp_path, "train")


def test_too_many_shots_name_the_intent(tmp_path):
    write_banking77(tmp_path, official=False)
    with pytest.raises(ValueError, match=r"got 1 \+ 3 and class intent 0 with 3"):
        jmeta.banking77(tmp_path, "train", ways=2, queries=3)


# --- the real texts --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clinc150_path(real_data):
    return real_data("clinc150")


def test_clinc150_has_its_intents_and_domains(clinc150_path):
    vocabulary = jmeta.clinc150_vocabulary(clinc150_path)
    rows, unknown = {}, {}
    for split, intents in SPLITS.items():
        data = jmeta.clinc150(clinc150_path, split).data
        # A text that is in an intent twice is there once.
        assert data["counts"].shape == (intents,)
        assert 145 <= data["counts"].min() <= data["counts"].max() == 150
        ids, mask = np.asarray(data["x"]["ids"]), np.asarray(data["x"]["mask"])
        assert ids.max() < vocabulary.size
        rows[split] = {bytes(row) for row in np.where(mask, ids, -1)[mask.any(-1)]}
        unknown[split] = (ids[mask] >= len(vocabulary.words)).mean()
    # New domains have more words that are new; the training has those that occur once.
    assert 0 < unknown["train"] < unknown["validation"] < unknown["test"] < 0.2
    # Some requests of different intents are the same words.
    assert len(rows["train"] & rows["test"]) < 20


def test_the_words_of_clinc150_are_those_of_its_training_intents(clinc150_path):
    with gzip.open(f"{clinc150_path}/clinc150.json.gz") as stream:
        data = json.load(stream)
    held = {intent for domain in TRAINING for intent in sorted(data["domains"][domain])[2::5]}
    trained = {intent for domain in TRAINING for intent in data["domains"][domain]} - held
    texts = {(text, intent) for part in ("train", "val", "test") for text, intent in data[part] if intent in trained}
    padded = [f" {' '.join(''.join(letter if letter.isalnum() else ' ' for letter in text).split())} " for text, _ in texts]
    vocabulary = jmeta.clinc150_vocabulary(clinc150_path)
    plain = [word for word in vocabulary.words if word.isalnum()][::50]
    assert all(sum(text.count(f" {word} ") for text in padded) >= 2 for word in plain)
    assert len(trained) == 60
    assert "overdraft" not in vocabulary.words


def test_banking77_has_its_intents(real_data):
    path = real_data("banking77")
    counts = {split: jmeta.banking77(path, split).data["counts"] for split in ("train", "validation", "test", "all")}
    assert {split: len(found) for split, found in counts.items()} == {"train": 26, "validation": 26, "test": 25, "all": 77}
    # 10,003 and 3,080 questions, no two of which are the same.
    assert counts["all"].sum() == 13_083

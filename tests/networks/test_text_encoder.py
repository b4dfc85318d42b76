"""The text encoder: what the Hugging Face model gives, once for each sentence, whatever stands beside it."""

from __future__ import annotations

import shutil
import warnings

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoTokenizer, T5Config, T5EncoderModel, T5ForConditionalGeneration

from textdiff_monai import TextEncoder
from textdiff_monai.networks import text_encoder as text_module

SHORT, LONG = "infection", "left upper lung infection, right lower lung infection."
TOO_LONG = " ".join(["left"] * 30)


@pytest.fixture
def encoder(bert_folder):
    return TextEncoder(bert_folder)


@pytest.fixture
def reference(bert_folder):
    """Embeddings by the Hugging Face classes themselves (L, D)."""
    tokenizer, model = AutoTokenizer.from_pretrained(bert_folder), AutoModel.from_pretrained(bert_folder).eval()

    @torch.no_grad()
    def embed(sentence, **options):
        return model(**tokenizer(sentence, return_tensors="pt", **options)).last_hidden_state[0]

    return embed


def count_calls(encoder):
    """A list that grows by one, the number of sentences, whenever the encoder's network runs."""
    calls = []
    encoder.model.register_forward_hook(lambda module, inputs, output: calls.append(len(output.last_hidden_state)))
    return calls


def test_embeddings_are_those_of_the_hugging_face_model(encoder, reference):
    embeddings, mask = encoder([LONG, SHORT, ""])
    assert embeddings.shape[2] == encoder.out_channels == 16
    for sentence, embedding, seen in zip([LONG, SHORT, ""], embeddings, mask, strict=True):
        torch.testing.assert_close(embedding[seen], reference(sentence))


def test_each_distinct_sentence_is_encoded_once(encoder):
    calls = count_calls(encoder)
    first, _ = encoder([SHORT, LONG, SHORT, SHORT])
    assert sum(calls) == 2
    again, _ = encoder([SHORT, LONG, SHORT, SHORT])
    assert sum(calls) == 2
    assert torch.equal(first, again)
    assert torch.equal(first[0], first[2])
    encoder(["right", LONG])
    assert sum(calls) == 3


def test_training_mode_and_later_use_do_not_change_a_remembered_sentence(encoder):
    before, _ = encoder.train()([LONG])
    before.add_(1)
    after, _ = encoder.eval()([LONG])
    torch.testing.assert_close(after + 1, before)


def test_the_embedding_of_a_sentence_does_not_depend_on_its_neighbours(bert_folder):
    alone, _ = TextEncoder(bert_folder)([SHORT])
    beside, mask = TextEncoder(bert_folder)([LONG, SHORT, "left"])
    assert torch.equal(beside[1][mask[1]], alone[0])


def test_padding_and_nothing_else_is_masked(encoder, reference):
    sentences = [LONG, SHORT, ""]
    embeddings, mask = encoder(sentences)
    lengths = [len(reference(sentence)) for sentence in sentences]
    assert len(set(lengths)) == 3
    assert mask.dtype == torch.bool
    assert mask.tolist() == [[token < length for token in range(max(lengths))] for length in lengths]
    assert embeddings.shape[:2] == mask.shape


def test_an_empty_sentence_is_its_special_tokens(encoder, reference):
    embeddings, mask = encoder([""])
    assert mask.tolist() == [[True, True]]
    torch.testing.assert_close(embeddings[0], reference(""))


def test_unmasked_padding_goes_to_max_length_and_is_seen(bert_folder, reference):
    embeddings, mask = TextEncoder(bert_folder, max_length=12, mask_padding=False)([SHORT, LONG, ""])
    assert embeddings.shape == (3, 12, 16)
    assert mask.all()
    for sentence, embedding in zip([SHORT, LONG, ""], embeddings, strict=True):
        torch.testing.assert_close(embedding, reference(sentence, padding="max_length", max_length=12))


def test_unmasked_padding_needs_a_max_length(bert_folder):
    with pytest.raises(ValueError, match="max_length"):
        TextEncoder(bert_folder, mask_padding=False)


@pytest.mark.parametrize("max_length", [None, 5])
def test_a_text_that_is_too_long_is_cut_with_a_warning_that_does_not_quote_it(bert_folder, reference, max_length):
    encoder, limit = TextEncoder(bert_folder, max_length=max_length), max_length or 24
    with pytest.warns(UserWarning, match=f"longer than {limit} tokens are truncated") as caught:
        embeddings, mask = encoder([TOO_LONG])
    assert not [warning for warning in caught if "left" in str(warning.message)]
    assert mask.tolist() == [[True] * limit]
    torch.testing.assert_close(embeddings[0], reference(TOO_LONG, truncation=True, max_length=limit))


def test_a_text_that_just_fits_is_not_cut(bert_folder):
    encoder = TextEncoder(bert_folder, max_length=5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert encoder(["left upper lung"])[1].tolist() == [[True] * 5]


def test_loading_is_silent(bert_folder, capfd):
    TextEncoder(bert_folder)
    assert capfd.readouterr() == ("", "")


def test_long_texts_are_warned_of_once_in_a_process(bert_folder):
    """Training words a caption anew in every epoch."""
    encoder = TextEncoder(bert_folder)
    with warnings.catch_warnings(record=True, action="default") as caught:
        encoder([TOO_LONG])
        encoder([f"{TOO_LONG} left"])
    assert len(caught) == 1


def test_a_long_text_leaves_no_trace_in_the_log(encoder, caplog, capfd):
    with pytest.warns(UserWarning, match="truncated"):
        encoder([TOO_LONG])
    assert "left" not in caplog.text + "".join(capfd.readouterr())


@pytest.mark.parametrize("max_length", [-1, 0, 2, 25])
def test_a_max_length_that_the_encoder_cannot_take_is_an_error_that_says_what_it_takes(bert_folder, max_length):
    with pytest.raises(ValueError, match="3 to 24"):
        TextEncoder(bert_folder, max_length=max_length)


@pytest.mark.parametrize("max_length", [3, 24])
def test_the_shortest_and_longest_max_length_work(bert_folder, max_length):
    with pytest.warns(UserWarning, match="truncated"):
        assert TextEncoder(bert_folder, max_length=max_length)([TOO_LONG])[0].shape[1] == max_length


def without(folder, target, part):
    """A copy of an encoder's folder without the tensors that have `part` in their names."""
    shutil.copytree(folder, target)
    tensors = load_file(target / "model.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if part not in name}
    assert len(kept) < len(tensors)
    save_file(kept, target / "model.safetensors", metadata={"format": "pt"})
    return target


@pytest.mark.parametrize("part", ["layer.0.output.dense.bias", "word_embeddings"])
def test_missing_weights_are_an_error_that_names_the_folder_and_one_of_them(bert_folder, tmp_path, part):
    with pytest.raises(ValueError, match=part) as caught:
        TextEncoder(without(bert_folder, tmp_path / "cut", part))
    assert str(tmp_path / "cut") in str(caught.value)


def test_a_missing_pooler_makes_no_difference(bert_folder, encoder, tmp_path):
    other = TextEncoder(without(bert_folder, tmp_path / "cut", "pooler"))
    assert torch.equal(other([LONG])[0], encoder([LONG])[0])
    assert other.identity == encoder.identity


def test_identity_tells_weights_vocabularies_and_options_apart(bert_folder, encoder, tmp_path):
    assert TextEncoder(bert_folder).identity == encoder.identity
    other = shutil.copytree(bert_folder, tmp_path / "weights")
    tensors = load_file(other / "model.safetensors")
    name = next(name for name in tensors if name.endswith("word_embeddings.weight"))
    save_file(tensors | {name: tensors[name] + 1e-3}, other / "model.safetensors", metadata={"format": "pt"})
    swapped = shutil.copytree(bert_folder, tmp_path / "words")
    text = (swapped / "tokenizer.json").read_text().replace('"left"', '"@@"').replace('"right"', '"left"')
    (swapped / "tokenizer.json").write_text(text.replace('"@@"', '"right"'))
    encoders = [
        encoder,
        TextEncoder(other),
        TextEncoder(swapped),
        TextEncoder(bert_folder, max_length=10),
        TextEncoder(bert_folder, max_length=10, mask_padding=False),
    ]
    assert not torch.allclose(encoders[2](["left"])[0], encoder(["left"])[0])
    identities = [str(e.identity) for e in encoders]
    assert len(set(identities)) == len(identities)


def test_only_the_encoder_of_an_encoder_and_decoder_is_kept(bert_folder, tmp_path):
    torch.manual_seed(0)
    config = T5Config(vocab_size=2000, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2, decoder_start_token_id=0)
    for file in bert_folder.glob("*tok*"):
        shutil.copy(file, tmp_path)
    T5ForConditionalGeneration(config).save_pretrained(tmp_path)
    encoder, expected = TextEncoder(tmp_path), T5EncoderModel.from_pretrained(tmp_path).eval()
    tokens = AutoTokenizer.from_pretrained(tmp_path)(SHORT, return_tensors="pt")
    with torch.no_grad():
        theirs = expected(tokens["input_ids"]).last_hidden_state[0]
    torch.testing.assert_close(encoder([SHORT])[0][0], theirs)
    assert not [name for name, _ in encoder.named_parameters() if "decoder" in name]


def test_more_sentences_than_are_remembered_work(encoder, monkeypatch):
    monkeypatch.setattr(text_module, "_REMEMBERED", 3)
    sentences = ["left", "right", "upper", "lower", "middle"]
    expected = {sentence: encoder([sentence])[0][0] for sentence in sentences}
    for batch in (["left", "right"], ["upper", "left", "lower"], ["lower", "middle", "left"], sentences):
        embeddings, _ = encoder(batch)
        for sentence, embedding in zip(batch, embeddings, strict=True):
            assert torch.equal(embedding, expected[sentence])


def test_sentences_are_not_kept(encoder):
    encoder(["left lung of Zbigniew"])
    assert "Zbigniew" not in repr(vars(encoder))
    assert len(encoder._embeddings) == 2


def test_words_know_their_tokens_and_marks_belong_to_none(encoder):
    sentence = "Left  lung-infection, the"
    words = encoder.words(sentence)
    assert [word for word, _ in words] == sentence.split()
    ids = encoder.tokenizer(sentence)["input_ids"]
    tokens = [[encoder.tokenizer.convert_ids_to_tokens(ids[place]) for place in places] for _, places in words]
    assert "".join(tokens[1]).replace("##", "") == "lung-infection,"
    assert sorted(place for _, places in words for place in places) == list(range(1, len(ids) - 1))
    assert encoder(["Left  lung-infection, the"])[0].shape[1] == len(ids)
    assert encoder.words("") == []


def test_words_that_are_cut_off_are_not_read(bert_folder):
    assert TextEncoder(bert_folder, max_length=4).words("left upper lung") == [("left", [1]), ("upper", [2])]
    padded = TextEncoder(bert_folder, max_length=10, mask_padding=False)
    assert padded.words("left upper") == [("left", [1]), ("upper", [2])]

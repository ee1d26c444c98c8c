import pytest

from data import names

KINDS, PATHS = ("tinystories", "tiny-imagenet", "fashion_mnist", "hf"), {"hf"}


def find(name):
    return names.find(name, KINDS, PATHS, "dataset")


@pytest.mark.parametrize(
    "name, kind",
    [
        ("TinyStories", "tinystories"),
        ("tiny_imagenet", "tiny-imagenet"),
        ("Fashion-MNIST", "fashion_mnist"),
    ],
)
def test_names_may_be_spelled_as_the_papers_do(name, kind):
    assert find(name) == (kind, "", {})


def test_options_follow_a_name_or_a_path():
    assert find("hf:owner/a,b,label=x=y,config=z") == (
        "hf",
        "owner/a,b",
        {"label": "x=y", "config": "z"},
    )
    assert find("tinystories,text=story").options == {"text": "story"}


@pytest.mark.parametrize(
    "name, message",
    [
        ("tinystory", "no dataset 'tinystory'; did you mean tinystories.*hf:PATH"),
        ("hf", "no dataset 'hf'"),
        ("tinystories:x", "no dataset 'tinystories:x'"),
        ("tinystories,lable=x", "no option 'lable' in .*; there are image, label"),
    ],
)
def test_what_is_not_known_is_answered_with_what_there_is(name, message):
    with pytest.raises(ValueError, match=message):
        find(name)


def test_a_reader_says_which_options_it_takes():
    def reader(path, image=None, label=None):
        return path, image, label

    takes = names.taken(reader)
    assert names.suited(takes, {"label": "x"}, "n") == {"label": "x"}
    with pytest.raises(ValueError, match="'n' has no use for the option 'config'; it has image, l"):
        names.suited(takes, {"config": "x"}, "n")

import tomllib

from harness.suite.toml_lines import key_lines, line_of


def test_keys_of_tables_and_of_the_top_have_their_lines():
    lines = key_lines('name = "x"\n\n[a.b]\nkey = 1\n\n[a.c]\nkey = 2\n')
    assert lines["name",] == 1
    assert (lines["a", "b"], lines["a", "b", "key"]) == (3, 4)
    assert (lines["a", "c"], lines["a", "c", "key"]) == (6, 7)


def test_quoted_names_are_read_as_toml_reads_them():
    text = '[candidates."minilm/128"]\nfrom = 1\n[candidates.\'it"s\']\n"a.b" = 2\n'
    lines = key_lines(text)
    assert lines["candidates", "minilm/128", "from"] == 2
    assert lines["candidates", 'it"s', "a.b"] == 4


def test_names_may_hold_brackets_equal_signs_hashes_and_escaped_quotes():
    text = '[a."x[1]"]\nk = 1\n[a."y = 2"]\nk = 1\n[a."#3"]\nk = 1\n[a."\\"4\\""] # note\nk = 1\n'
    lines = key_lines(text)
    assert [lines["a", name, "k"] for name in ("x[1]", "y = 2", "#3", '"4"')] == [2, 4, 6, 8]
    assert set(tomllib.loads(text)["a"]) == {"x[1]", "y = 2", "#3", '"4"'}


def test_keys_of_an_inline_table_stand_on_its_line():
    lines = key_lines("[a]\nx = 1\nrerank = { model = 2, depth = 3 }\n")
    assert line_of(lines, ("a", "rerank", "depth")) == 3


def test_dotted_keys_are_found_whole_and_in_part():
    lines = key_lines("[a]\nrerank.model = 1\nrerank.depth = 2\n")
    assert lines["a", "rerank", "depth"] == 3
    assert line_of(lines, ("a", "rerank")) == 2


def test_text_over_several_lines_holds_no_keys():
    for quotes in ('"""', "'''"):
        lines = key_lines(f"q = {quotes}\nname = 1\n[table]\nkey = 2{quotes}\nlast = 3\n")
        assert lines == {("q",): 1, ("last",): 5}


def test_triple_quotes_in_comments_and_strings_open_nothing():
    lines = key_lines("# it's \"\"\" here\na = \"'''\" # don't\nb = 2\n")
    assert lines == {("a",): 2, ("b",): 3}


def test_lines_end_where_toml_ends_them():
    text = "# a\u2028b\x85c\na = 1\r\nb = 2\r\n"
    assert key_lines(text) == {("a",): 2, ("b",): 3}


def test_arrays_over_several_lines_leave_the_following_keys_alone():
    lines = key_lines('fuse = [\n  "a",\n  "b", # second\n]\nmethod = "rrf"\n')
    assert lines == {("fuse",): 1, ("method",): 5}


def test_what_is_not_there_stands_where_its_nearest_table_begins():
    lines = key_lines("x = 1\n[a]\ny = 2\n")
    assert line_of(lines, ("a", "missing", "deeper")) == 2
    assert line_of(lines, ("missing",)) == 1
    assert line_of(lines, ()) == 1
